//! From shares of the coefficients of responses to shares of outputs.
//!
//! A coefficient stands for `sum y_i*2^(i*D)` with signed fields y_i. The server adds
//! `2^(D-1) + 2^(D-2)` to every field but the top one, which then lies in `[2^(D-1), 2^D)`. So of
//! `2*sum + delta` what lies below `2^(i*D)` is at least `2^(i*D)` and below twice that: when both parties
//! drop these bits of their shares they lose a carry of 0 or 1 and keep a 1, and what is left shares
//! `2*y_i + 0 or 1`. Derivation: docs/protocols/packing.md.

use crate::protocol::Role;
use crate::share::mask;
use heq_ir::layout::OutputRun;
use heq_ir::secure::LinearOp;

/// Where the outputs sit in a coefficient.
#[derive(Clone, Copy)]
pub(super) struct OutputFields {
    /// Field width D; 0 if there is one field.
    field_bits: usize,
    /// Field of the first output of a coefficient.
    first: usize,
    /// The top field.
    top: usize,
    /// What this party adds to every field but the top one, at the scale of its words.
    offset: u64,
    word_mask: u64,
    output_mask: u64,
}

impl OutputFields {
    pub(super) fn new(op: &LinearOp, role: Role) -> Self {
        let field_bits = op.packing.field_bits();
        let offset = match (role, field_bits.checked_sub(2)) {
            (Role::Server, Some(bits)) => 3 << bits << op.guard_bits,
            _ => 0,
        };
        Self {
            field_bits: field_bits as usize,
            first: op.packing.planes_per_coefficient() - 1,
            top: op.packing.input_fields() - 1,
            offset,
            word_mask: mask(op.word_bits()),
            output_mask: mask(op.acc_bits + op.guard_bits),
        }
    }

    /// This party's word of a coefficient, with the offsets of its fields.
    fn moved(&self, word: u64) -> u64 {
        let offsets = (0..self.top).map(|field| self.offset << (field * self.field_bits));
        offsets.fold(word, u64::wrapping_add) & self.word_mask
    }

    /// This party's share mod `2^(l+g)` of output `index` of a coefficient whose moved word is given.
    fn output(&self, moved: u64, index: usize) -> u64 {
        let field = self.first + index;
        let offset = if field < self.top { self.offset } else { 0 };
        (moved >> (field * self.field_bits)).wrapping_sub(offset) & self.output_mask
    }

    /// Puts this party's shares of the outputs of `runs`, the words of whose coefficients are given,
    /// into the output `[K, OH, OW]`.
    pub(super) fn place(&self, outputs: &mut [u64], runs: &[OutputRun], mut words: &[u64]) {
        for run in runs {
            let (of_run, rest) = words.split_at(run.len.min(words.len()));
            words = rest;
            for (index, first) in run.outputs.iter().enumerate() {
                let Some(first) = *first else { continue };
                for (output, &word) in outputs[first..].iter_mut().zip(of_run) {
                    *output = self.output(self.moved(word), index);
                }
            }
        }
    }
}
