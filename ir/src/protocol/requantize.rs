//! The fused exact requantization: from shares of an accumulator to shared bits of the result.
//!
//! Notation: server word `x`, client word `y`, both mod `2^M` with `M = l+g`; `x + y = 2^g*acc +
//! delta` with `0 <= delta < 2^g`. With `S = s+g` and `h = l-s-b >= 1` the circuit shares the bits of
//! `clamp(floor((x+y) / 2^S), 0, limit)` of the signed sum, where b is the width of `limit`:
//!
//! 1. carry out of the low S bits, by comparing x with the complement of y in digits; none if S = 0;
//! 2. sum bits `S..M` by a ripple of carries;
//! 3. `kept`: sum bits, read as unsigned, at most `limit`. For `limit = 2^b - 1` the conjunction of
//!    the top h bits' complements; else a chain from the lowest bit on that the ripple carries along;
//! 4. `bit_j = (kept & sum_j) ^ (saturated & limit_j)`, `saturated = not_negative ^ kept`.
//!
//! Rounding constant, bias and offset are added to `x` before, so the guard bits and `delta` fall to
//! the truncation. Derivation and security: docs/protocols/requantize.md.

use super::{Digit, Equality, PlaneMachine, Products, conjunction, merge_comparisons};
use serde::{Deserialize, Serialize};

/// Widths of a requantization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequantizeWidths {
    /// Accumulator width l in bits.
    pub acc_bits: u32,
    /// Guard bits g below the accumulator's lowest bit.
    pub guard_bits: u32,
    /// Right shift s of the accumulator in bits.
    pub shift: u32,
    /// Result width b in bits: that of `limit`.
    pub result_bits: u32,
    /// Largest result, `hi - lo`: 1 to [`RequantizeWidths::MAX_LIMIT`].
    pub limit: u32,
}

impl RequantizeWidths {
    /// Largest limit: results have at most 8 bits.
    pub const MAX_LIMIT: u32 = u8::MAX as u32;

    /// Width M of the parties' words in bits.
    #[must_use]
    pub fn word_bits(&self) -> u32 {
        self.acc_bits + self.guard_bits
    }

    /// Bits S that the truncation removes.
    #[must_use]
    pub fn removed_bits(&self) -> u32 {
        self.shift + self.guard_bits
    }

    /// Whether the sign lies above the result, `limit` has the result's width, and words fit.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let used = self.shift.checked_add(self.result_bits).and_then(|bits| bits.checked_add(1));
        let word_bits = self.acc_bits.checked_add(self.guard_bits);
        (1..=Self::MAX_LIMIT).contains(&self.limit)
            && self.result_bits == u32::BITS - self.limit.leading_zeros()
            && used.is_some_and(|used| used <= self.acc_bits)
            && word_bits.is_some_and(|bits| bits < u64::BITS)
    }

    /// Whether all values of the result's width are allowed, so that the top bits alone tell
    /// whether a sum is in range.
    #[must_use]
    pub fn is_full(&self) -> bool {
        u64::from(self.limit) + 1 == 1 << self.result_bits.min(u32::BITS)
    }

    /// The server's constant that turns the circuit's floor and clamp into the network's: it adds
    /// the rounding constant and moves `lo` to zero. Mod `2^M`.
    #[must_use]
    pub fn offset(&self, lo: i64) -> u64 {
        let half = if self.shift >= 1 { 1_i64 << (self.shift - 1) } else { 0 };
        let offset = half.wrapping_sub(lo.wrapping_shl(self.shift));
        offset.wrapping_shl(self.guard_bits).cast_unsigned()
    }
}

/// How the comparison is split; chosen by the planner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequantizeForm {
    /// Digit width m of the comparison, 1 to 4 bits: a 1-of-2^m OT a digit.
    pub digit_bits: u32,
}

impl RequantizeForm {
    /// Widest digit: its messages are drawn from one 128-bit pad a random OT.
    pub const MAX_DIGIT_BITS: u32 = 4;
}

/// The digits of the low `bits` bits of a word, lowest first; only the lowest needs no equality.
pub fn digits(bits: u32, digit_bits: u32) -> impl Iterator<Item = Digit> {
    (0..bits.div_ceil(digit_bits.max(1))).map(move |index| {
        let low = index * digit_bits;
        let equality = if index == 0 { Equality::Unused } else { Equality::Shared };
        Digit { low, width: digit_bits.min(bits - low), equality }
    })
}

/// Runs the circuit; returns the result's planes, lowest bit first.
///
/// **Security**: neither party learns anything; messages depend on widths and element count alone.
///
/// # Errors
/// The machine's error if an interactive step fails.
pub fn requantize<M: PlaneMachine>(
    machine: &mut M,
    widths: &RequantizeWidths,
    form: &RequantizeForm,
) -> Result<Vec<M::Plane>, M::Error> {
    let leaves: Vec<Digit> = digits(widths.removed_bits(), form.digit_bits).collect();
    let carry = if leaves.is_empty() {
        None
    } else {
        let runs = machine.compare_digits(&leaves)?;
        merge_comparisons(machine, vec![runs])?.pop()
    };
    let Sums { planes: sums, within } = ripple(machine, widths, carry)?;
    let (result, top) = sums.split_at(sums.len().min(widths.result_bits as usize));
    let zeros: Vec<_> = top.iter().rev().map(|plane| machine.not(plane)).collect();
    let Some(not_negative) = zeros.first().cloned() else { return Ok(result.to_vec()) };
    let kept = if widths.is_full() { conjunction(machine, zeros)? } else { within };
    let Some(kept) = kept else { return Ok(result.to_vec()) };
    let saturated = machine.xor(&not_negative, &kept);
    let bits = machine.and(&[Products { common: kept, others: result.to_vec() }])?;
    let limited = |(index, plane): (usize, &M::Plane)| {
        if widths.limit >> index & 1 == 1 { machine.xor(&saturated, plane) } else { plane.clone() }
    };
    Ok(bits.iter().flatten().enumerate().map(limited).collect())
}

/// The sum bits that are not removed.
struct Sums<P> {
    /// The bits, lowest first.
    planes: Vec<P>,
    /// Whether they are at most the limit when read as unsigned; none if the limit is full.
    within: Option<P>,
}

/// Adds the two words from the lowest bit that is not removed on, given the carry into it, if any.
///
/// One exchange a bit; the comparison goes along with the carries, and takes one more for the sign.
fn ripple<M: PlaneMachine>(
    machine: &mut M,
    widths: &RequantizeWidths,
    mut carry: Option<M::Plane>,
) -> Result<Sums<M::Plane>, M::Error> {
    let mut planes = Vec::new();
    // Whether the bits so far are at most the limit's; none as long as they must be.
    let mut within: Option<M::Plane> = None;
    for bit in widths.removed_bits()..widths.word_bits() {
        let (x, y) = (machine.server_bit(bit), machine.client_bit(bit));
        let (x_carry, y_carry) = match &carry {
            Some(carry) => (machine.xor(&x, carry), machine.xor(&y, carry)),
            None => (x, y.clone()),
        };
        let sum = machine.xor(&x_carry, &y);
        let limit_bit = widths.limit.checked_shr(bit - widths.removed_bits()).unwrap_or(0) & 1;

        let mut groups = Vec::new();
        if let Some(below) = &within {
            let (common, other) = if limit_bit == 0 {
                (machine.not(&sum), below.clone())
            } else {
                (sum.clone(), machine.not(below))
            };
            groups.push(Products { common, others: vec![other] });
        }
        if bit + 1 < widths.word_bits() {
            groups.push(Products { common: x_carry, others: vec![y_carry] });
        }
        let products = if groups.is_empty() { Vec::new() } else { machine.and(&groups)? };
        let mut products = products.into_iter().flatten();
        within = match (within, limit_bit) {
            (Some(_), 0) => products.next(),
            (Some(_), _) => products.next().map(|exceeds| machine.not(&exceeds)),
            (None, 0) if !widths.is_full() => Some(machine.not(&sum)),
            (None, _) => None,
        };
        if let Some(product) = products.next() {
            carry = Some(carry.map_or(product.clone(), |carry| machine.xor(&carry, &product)));
        }
        planes.push(sum);
    }
    Ok(Sums { planes, within })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::clear::ClearMachine;

    /// The definition, on one pair of words.
    fn expected(widths: &RequantizeWidths, x: u64, y: u64) -> u64 {
        let bits = widths.word_bits();
        let sum = x.wrapping_add(y) << (64 - bits);
        let value = (sum.cast_signed() >> (64 - bits)) >> widths.removed_bits();
        value.clamp(0, i64::from(widths.limit)).cast_unsigned()
    }

    fn width_of(limit: u32) -> u32 {
        u32::BITS - limit.leading_zeros()
    }

    #[test]
    fn exhaustive_at_small_widths() {
        for (acc_bits, guard_bits, shift, limits, digit_bits) in [
            (6, 1, 2, 1..=7, 1),
            (6, 1, 0, 1..=31, 2),
            (7, 0, 3, 1..=7, 2),
            (6, 0, 0, 1..=31, 2),
            (7, 1, 4, 1..=3, 3),
            (7, 1, 1, 8..=31, 4),
            (5, 2, 0, 1..=15, 3),
            (6, 2, 2, 1..=7, 2),
            (4, 0, 0, 1..=7, 1),
        ] {
            for limit in limits {
                let result_bits = width_of(limit);
                let widths = RequantizeWidths { acc_bits, guard_bits, shift, result_bits, limit };
                assert!(widths.is_valid(), "{widths:?}");
                let words = 1_u64 << widths.word_bits();
                let (x, y): (Vec<u64>, Vec<u64>) =
                    (0..words).flat_map(|x| (0..words).map(move |y| (x, y))).unzip();
                let mut machine = ClearMachine::new(&x, &y);
                let form = RequantizeForm { digit_bits };
                let planes = requantize(&mut machine, &widths, &form).unwrap();
                assert_eq!(planes.len(), result_bits as usize);
                for (i, (&x, &y)) in x.iter().zip(&y).enumerate() {
                    let found: u64 =
                        planes.iter().enumerate().map(|(j, plane)| u64::from(plane[i]) << j).sum();
                    assert_eq!(found, expected(&widths, x, y), "{widths:?} {digit_bits} {x}+{y}");
                }
            }
        }
    }

    #[test]
    fn widths_are_checked() {
        let valid =
            RequantizeWidths { acc_bits: 12, guard_bits: 1, shift: 4, result_bits: 3, limit: 5 };
        let with_limit = |result_bits, limit| RequantizeWidths { result_bits, limit, ..valid };
        for (widths, expected) in [
            (valid, true),
            (with_limit(3, 3), false),
            (with_limit(3, 8), false),
            (with_limit(0, 0), false),
            (with_limit(9, 256), false),
            (with_limit(7, 127), true),
            (with_limit(8, 255), false),
            (RequantizeWidths { guard_bits: 52, ..valid }, false),
            (RequantizeWidths { guard_bits: u32::MAX, ..valid }, false),
            (RequantizeWidths { shift: u32::MAX, ..valid }, false),
        ] {
            assert_eq!(widths.is_valid(), expected, "{widths:?}");
        }
    }

    #[test]
    fn guard_bit_and_delta_fall_to_the_truncation() {
        let widths =
            RequantizeWidths { acc_bits: 8, guard_bits: 1, shift: 3, result_bits: 3, limit: 7 };
        for lo in [0, -4] {
            for acc in -90_i64..90 {
                for delta in 0..2 {
                    let y = 0x155_u64;
                    let raw = (2 * acc + delta).cast_unsigned().wrapping_sub(y);
                    let x = raw.wrapping_add(widths.offset(lo)) & 0x1ff;
                    let mut machine = ClearMachine::new(&[x], &[y]);
                    let form = RequantizeForm { digit_bits: 2 };
                    let planes = requantize(&mut machine, &widths, &form).unwrap();
                    let found: i64 =
                        planes.iter().enumerate().map(|(j, p)| i64::from(p[0]) << j).sum();
                    assert_eq!(found + lo, ((acc + 4) >> 3).clamp(lo, lo + 7), "acc={acc}");
                }
            }
        }
    }

    #[test]
    fn digits_cover_every_bit_once() {
        for bits in 1..20 {
            for digit_bits in 1..=RequantizeForm::MAX_DIGIT_BITS {
                let covered: u32 = digits(bits, digit_bits).map(|digit| digit.width).sum();
                assert_eq!(covered, bits);
            }
        }
    }
}
