//! Early rounding: the lowest bits of an accumulator's shares are dropped before it is requantized.
//!
//! The parties' words sum to `2^g*acc + delta` mod `2^(l+g)`. Both drop their d lowest bits, the server
//! after it has added a constant; what is left sums to `acc / 2^e`, `e = d - g`, mod `2^(l-e)`, rounded at
//! random by the d bits that the client dropped, which are uniform. The noise of a linear layer may then
//! be `2^d` times as large, and the requantization compares d bits fewer. Its result differs from the
//! exact one only where the accumulator is within `2^(e-1)` of the next one, and then by one step.
//! Derivation: docs/protocols/linear.md, "Early rounding".

use crate::protocol::requantize::RequantizeWidths;
use crate::secure::Domain;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Exponents K of the bounds `2^-K` that can be asked for. From 4 on results are at most one step off,
/// however many linear layers are added before.
pub const BOUNDS_LOG2: RangeInclusive<u32> = 4..=40;

/// Whether accumulators are rounded before they are requantized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AccRounding {
    /// They are not: every result is exact.
    #[default]
    Exact,
    /// As far as a requantized element, its accumulator uniform mod `2^s`, differs from the exact one
    /// with probability at most `2^-bound_log2`, noise left aside.
    Within {
        /// One of [`BOUNDS_LOG2`].
        bound_log2: u32,
    },
}

impl AccRounding {
    /// The bits d that parties drop of words with `guard_bits` before a shift by `shift`: 0 if
    /// rounding stays exact there.
    #[must_use]
    pub fn dropped_bits(self, shift: u32, guard_bits: u32) -> u32 {
        match self {
            Self::Exact => 0,
            Self::Within { bound_log2 } => {
                let kept = least_shift(bound_log2);
                if shift > kept { shift - kept + guard_bits } else { 0 }
            }
        }
    }

    /// Whether a requantization that shifts rounded accumulators by `shift` keeps the bound.
    #[must_use]
    pub fn allows(self, shift: u32) -> bool {
        match self {
            Self::Exact => false,
            Self::Within { bound_log2 } => {
                BOUNDS_LOG2.contains(&bound_log2) && shift >= least_shift(bound_log2)
            }
        }
    }
}

impl std::fmt::Display for AccRounding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::Within { bound_log2 } => write!(f, "within:2^-{bound_log2}"),
        }
    }
}

/// The shift that must be left: a result differs with probability `2^-(shift + 2)`.
fn least_shift(bound_log2: u32) -> u32 {
    bound_log2.saturating_sub(2)
}

/// How one accumulator is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlyRounding {
    /// Width `l + g` of the words that are rounded.
    word_bits: u32,
    /// Bits d that are dropped of them, guard bits included; above `guard_bits`.
    dropped_bits: u32,
    guard_bits: u32,
    max_delta: u32,
}

impl EarlyRounding {
    /// How the requantization of a value that lives as `domain` rounds it, if it does.
    #[must_use]
    pub fn of(domain: Domain) -> Option<Self> {
        match domain {
            Domain::Accumulator { acc_bits, guard_bits, max_delta, rounded_bits }
                if rounded_bits > guard_bits =>
            {
                let word_bits = acc_bits.saturating_add(guard_bits);
                Some(Self { word_bits, dropped_bits: rounded_bits, guard_bits, max_delta })
            }
            Domain::Accumulator { .. }
            | Domain::Client { .. }
            | Domain::Arithmetic { .. }
            | Domain::Boolean { .. }
            | Domain::Revealed => None,
        }
    }

    /// Bits d that both parties drop of their words.
    #[must_use]
    pub fn dropped_bits(self) -> u32 {
        self.dropped_bits
    }

    /// Width of the words that are left, `l - e`.
    #[must_use]
    pub fn rounded_word_bits(self) -> u32 {
        self.word_bits.saturating_sub(self.dropped_bits)
    }

    /// Bits e of the accumulator that rounding takes.
    #[must_use]
    pub fn accumulator_bits(self) -> u32 {
        self.dropped_bits - self.guard_bits
    }

    /// What the server adds before it drops bits, so that rounding up is as likely as down.
    fn constant(self) -> u64 {
        ((1 << self.dropped_bits) + (1 << self.guard_bits) - 2 - u64::from(self.max_delta)) >> 1
    }

    /// The client's rounded word.
    #[must_use]
    pub fn round_client(self, word: u64) -> u64 {
        word >> self.dropped_bits
    }

    /// The server's rounded word.
    #[must_use]
    pub fn round_server(self, word: u64) -> u64 {
        let unused = u64::BITS - self.word_bits;
        (word.wrapping_add(self.constant()) << unused >> unused) >> self.dropped_bits
    }

    /// The widths of the requantization of the exact accumulator, where those of the rounded one are
    /// `widths`.
    #[must_use]
    pub fn exact_widths(self, widths: &RequantizeWidths) -> RequantizeWidths {
        let bits = self.accumulator_bits();
        RequantizeWidths {
            acc_bits: widths.acc_bits + bits,
            guard_bits: 0,
            shift: widths.shift + bits,
            ..*widths
        }
    }

    /// The probability that an element differs by one from the exact one after a shift of the rounded
    /// accumulator by `shift`, if the exact accumulator is uniform mod `2^(shift + e)` and no result is
    /// clamped. `noise_variance` is that of the noise in units of the rounded accumulator.
    #[must_use]
    pub fn differing_probability(shift: u32, noise_variance: f64) -> f64 {
        (0.25 + noise_variance) * (-f64::from(shift)).exp2()
    }

    /// The probability that the element of an exact accumulator differs once it is rounded, noise left
    /// aside. `widths` are those of the rounded one; `moved` is the accumulator with the offset of its
    /// requantization added.
    #[must_use]
    pub fn probability_at(self, widths: &RequantizeWidths, moved: i64) -> f64 {
        let exact = self.exact_widths(widths);
        let (result, limit) = (moved >> exact.shift, i64::from(exact.limit));
        let above = moved & ((1 << exact.shift) - 1);
        let below = (1 << exact.shift) - above;
        let reach = |distance: f64| {
            (0.5 - distance * (-f64::from(self.accumulator_bits())).exp2()).max(0.0)
        };
        let down = if (1..=limit).contains(&result) { reach(above as f64 + 0.5) } else { 0.0 };
        let up = if (0..limit).contains(&result) { reach(below as f64 - 0.5) } else { 0.0 };
        down + up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounding(
        acc_bits: u32,
        guard_bits: u32,
        max_delta: u32,
        rounded_bits: u32,
    ) -> EarlyRounding {
        let domain = Domain::Accumulator { acc_bits, guard_bits, max_delta, rounded_bits };
        EarlyRounding::of(domain).unwrap()
    }

    /// For every accumulator, delta and client word: for how many accumulators the result differs, which
    /// is never by more than one, and for how many it should by the prediction for each of them.
    fn differing(rounding: EarlyRounding, shift: u32) -> (f64, f64) {
        let widths = RequantizeWidths {
            acc_bits: rounding.rounded_word_bits(),
            guard_bits: 0,
            shift,
            result_bits: 3,
            limit: 6,
        };
        let exact = rounding.exact_widths(&widths);
        let (l, g) = (exact.acc_bits, rounding.guard_bits);
        let words = 1_u64 << (l + g);
        let (mut differing, mut predicted) = (0, 0.0);
        let cases = (u64::from(rounding.max_delta) + 1) << rounding.dropped_bits();
        // Away from the ends of the range, where a rounded accumulator would wrap.
        let margin = 1_i64 << (rounding.accumulator_bits() + 1);
        let half = 1_i64 << (l - 1);
        for acc in margin - half..half - margin {
            predicted += rounding.probability_at(&widths, acc);
            let expected = (acc >> exact.shift).clamp(0, 6);
            for delta in 0..=u64::from(rounding.max_delta) {
                for x in 0..1 << rounding.dropped_bits() {
                    let high = (acc.cast_unsigned() << 13) & (words - 1);
                    let client = high >> rounding.dropped_bits() << rounding.dropped_bits() | x;
                    let sum = (acc.cast_unsigned() << g).wrapping_add(delta);
                    let server = sum.wrapping_sub(client) & (words - 1);
                    let sum = rounding.round_client(client) + rounding.round_server(server);
                    let unused = u64::BITS - rounding.rounded_word_bits();
                    let sum = (sum << unused).cast_signed() >> unused;
                    let found = (sum >> shift).clamp(0, 6);
                    assert!(found.abs_diff(expected) <= 1, "{rounding:?} {acc} {delta} {x}");
                    differing += u64::from(found != expected);
                }
            }
        }
        (differing as f64 / cases as f64, predicted)
    }

    #[test]
    fn results_differ_by_one_and_as_often_as_predicted() {
        for (l, g, max_delta, d, shift) in [
            (10, 1, 1, 2, 4),
            (10, 1, 1, 3, 3),
            (11, 1, 1, 5, 2),
            (11, 2, 2, 5, 3),
            (12, 2, 3, 6, 2),
        ] {
            let rounding = rounding(l, g, max_delta, d);
            let (found, predicted) = differing(rounding, shift);
            // Results change at six multiples of 2^s, the clamp hides the others.
            let step = f64::from(shift + rounding.accumulator_bits()).exp2();
            let bound = 6.0 * step * EarlyRounding::differing_probability(shift, 0.0);
            assert!((found - bound).abs() < bound * 0.01, "{rounding:?}: {found} {bound}");
            assert!((predicted - bound).abs() < bound * 0.01, "{rounding:?}: {predicted} {bound}");
        }
    }

    #[test]
    fn bits_are_dropped_as_far_as_the_bound_allows() {
        for (bound_log2, shift, guard_bits, expected) in
            [(8, 14, 1, 9), (8, 14, 2, 10), (8, 7, 1, 2), (8, 6, 1, 0), (4, 2, 1, 0), (4, 3, 1, 2)]
        {
            let rounding = AccRounding::Within { bound_log2 };
            let dropped = rounding.dropped_bits(shift, guard_bits);
            assert_eq!(dropped, expected, "{rounding} {shift} {guard_bits}");
            if let Some(bits) = dropped.checked_sub(guard_bits) {
                assert!(rounding.allows(shift - bits));
                assert!(!rounding.allows(shift - bits - 1));
            }
            assert_eq!(AccRounding::Exact.dropped_bits(shift, guard_bits), 0);
        }
    }
}
