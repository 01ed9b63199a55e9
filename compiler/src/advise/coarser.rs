//! Sums at half their scale.

use crate::pass::lower_integer::multiplier::{are_precise, least_precise, width};
use heq_ir::integer::{LinearTerm, SumOp, Term};

/// Halves a sum and takes one from its shift, where the multipliers of a result of `output_bits` bits
/// stay exact, or as precise as lowering asks for; says whether it did.
pub(super) fn coarsen(op: &mut SumOp, output_bits: u32) -> bool {
    let Some(requantize) = &mut op.requantize else { return false };
    // The last bit of the shift rounds.
    if requantize.shift < 2 || !op.terms.iter().all(|term| can_halve(term, output_bits)) {
        return false;
    }
    requantize.shift -= 1;
    halve_terms(op);
    true
}

/// Halves every term and the bias, to the nearest.
pub(super) fn halve_terms(op: &mut SumOp) {
    for term in &mut op.terms {
        match term {
            Term::Linear(term) => {
                term.multipliers.iter_mut().for_each(|m| *m = shifted(*m, 1));
                term.multiplier_bits = width(&term.multipliers);
            }
            Term::Scaled(term) => term.factor = shifted(term.factor, 1),
        }
    }
    op.bias.iter_mut().for_each(|bias| *bias = shifted(*bias, 1));
}

/// Doubles what a term multiplies by.
pub(super) fn double(term: &mut Term) {
    match term {
        Term::Linear(LinearTerm { multipliers, multiplier_bits, .. }) => {
            multipliers.iter_mut().for_each(|m| *m = m.saturating_mul(2));
            *multiplier_bits = width(multipliers);
        }
        Term::Scaled(term) => term.factor = term.factor.saturating_mul(2),
    }
}

/// `round(value / 2^bits)`, ties away from zero.
pub(super) fn shifted(value: i64, bits: u32) -> i64 {
    let Some(half) = bits.checked_sub(1).and_then(|bits| 1_i64.checked_shl(bits)) else {
        return value;
    };
    let magnitude = i64::try_from(value.unsigned_abs()).unwrap_or(i64::MAX).saturating_add(half);
    magnitude.checked_shr(bits).unwrap_or(0) * value.signum()
}

fn can_halve(term: &Term, output_bits: u32) -> bool {
    match term {
        Term::Linear(term) => {
            let halved: Vec<i64> = term.multipliers.iter().map(|&m| shifted(m, 1)).collect();
            term.multipliers.iter().all(|m| m % 2 == 0) || are_precise(&halved, output_bits)
        }
        Term::Scaled(term) => {
            term.factor % 2 == 0
                || shifted(term.factor, 1).unsigned_abs() >= least_precise(output_bits)
        }
    }
}
