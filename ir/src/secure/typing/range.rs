//! Ranges of integers, as types have them.

use crate::integer::IntRange;
use crate::secure::{CombineOp, CombineTerm, Domain, ValueType};

pub(super) fn union(a: IntRange, b: IntRange) -> IntRange {
    IntRange { lo: a.lo.min(b.lo), hi: a.hi.max(b.hi) }
}

pub(super) fn with_zero(range: IntRange) -> IntRange {
    union(range, IntRange { lo: 0, hi: 0 })
}

/// The values of a sum without accumulators.
pub(super) fn sum_range(op: &CombineOp, operands: &[ValueType]) -> IntRange {
    let start = IntRange { lo: op.constant, hi: op.constant };
    op.terms.iter().zip(operands).fold(start, |sum, (term, operand)| {
        let (
            CombineTerm::Scaled(term),
            Domain::Client { range } | Domain::Arithmetic { range, .. },
        ) = (term, operand.domain)
        else {
            return sum;
        };
        let area = i64::try_from(term.window.kernel[0] * term.window.kernel[1]).unwrap_or(i64::MAX);
        let may_pad = term.window.pads != [0; 4];
        let range = if may_pad { with_zero(range) } else { range };
        let ends = [range.lo, range.hi].map(|x| x.saturating_mul(area).saturating_mul(term.factor));
        IntRange {
            lo: sum.lo.saturating_add(ends[0].min(ends[1])),
            hi: sum.hi.saturating_add(ends[0].max(ends[1])),
        }
    })
}

/// The largest value that `bits` bits above `lo` hold.
pub(super) fn highest(bits: u32, lo: i64) -> i64 {
    lo.saturating_add((1 << bits.min(62)) - 1)
}
