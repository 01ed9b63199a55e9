//! The fused exact requantization: from shares of an accumulator to shared bits of the result.
//!
//! Notation: server word `x`, client word `y`, both mod `2^M` with `M = l+g`; `x + y = 2^g*acc +
//! delta` with `delta` in `{0, 1}` at g = 1. With `S = s+g` and `h = l-s-b >= 1` the circuit shares
//! the bits of `clamp(floor((x+y) / 2^S), 0, 2^b - 1)` of the signed sum:
//!
//! 1. carry out of the low S bits, by comparing x with the complement of y in digits;
//! 2. sum bits `S..M` by a ripple of carries;
//! 3. in range if sign and top bits are zero; saturated if the sign is zero and it is not in range;
//! 4. `bit_j = saturated ^ (in_range & sum_j)`.
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
    /// Result width b in bits.
    pub result_bits: u32,
}

impl RequantizeWidths {
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

    /// Whether the clamp is free: at least one bit above the result, the sign among them.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let used = self.shift.checked_add(self.result_bits).and_then(|bits| bits.checked_add(1));
        self.result_bits >= 1
            && used.is_some_and(|used| used <= self.acc_bits)
            && self.word_bits() < u64::BITS
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
    let removed = widths.removed_bits();
    let leaves: Vec<Digit> = digits(removed, form.digit_bits).collect();
    let runs = machine.compare_digits(&leaves)?;
    let carry = merge_comparisons(machine, vec![runs])?.pop();
    let sums = ripple(machine, removed, widths.word_bits(), carry)?;
    clamp(machine, &sums, widths.result_bits as usize)
}

/// Sum bits `from..to` of the two words, given the carry into bit `from`.
fn ripple<M: PlaneMachine>(
    machine: &mut M,
    from: u32,
    to: u32,
    mut carry: Option<M::Plane>,
) -> Result<Vec<M::Plane>, M::Error> {
    let mut sums = Vec::new();
    for bit in from..to {
        let (x, y) = (machine.server_bit(bit), machine.client_bit(bit));
        let Some(carry_in) = &carry else {
            sums.push(machine.xor(&x, &y));
            continue;
        };
        let x_carry = machine.xor(&x, carry_in);
        sums.push(machine.xor(&x_carry, &y));
        if bit + 1 < to {
            let y_carry = machine.xor(&y, carry_in);
            let product = machine.and(&[Products { common: x_carry, others: vec![y_carry] }])?;
            carry = Some(machine.xor(carry_in, &product[0][0]));
        }
    }
    Ok(sums)
}

/// Clamps a signed sum to `[0, 2^result_bits)`.
fn clamp<M: PlaneMachine>(
    machine: &mut M,
    sums: &[M::Plane],
    result_bits: usize,
) -> Result<Vec<M::Plane>, M::Error> {
    let (result, top) = sums.split_at(result_bits.min(sums.len()));
    let zeros: Vec<_> = top.iter().rev().map(|plane| machine.not(plane)).collect();
    let Some(not_negative) = zeros.first().cloned() else { return Ok(result.to_vec()) };
    let Some(in_range) = conjunction(machine, zeros)? else { return Ok(result.to_vec()) };
    let saturated = machine.xor(&not_negative, &in_range);
    let kept = machine.and(&[Products { common: in_range, others: result.to_vec() }])?;
    Ok(kept.iter().flatten().map(|plane| machine.xor(&saturated, plane)).collect())
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
        value.clamp(0, (1 << widths.result_bits) - 1).cast_unsigned()
    }

    #[test]
    fn exhaustive_at_small_widths() {
        for (acc_bits, guard_bits, shift, result_bits, digit_bits) in [
            (6, 1, 2, 2, 1),
            (6, 1, 0, 3, 2),
            (7, 0, 3, 3, 2),
            (7, 1, 4, 1, 3),
            (7, 1, 1, 4, 4),
            (6, 2, 2, 1, 2),
        ] {
            let widths = RequantizeWidths { acc_bits, guard_bits, shift, result_bits };
            assert!(widths.is_valid(), "{widths:?}");
            let words = 1_u64 << widths.word_bits();
            let (x, y): (Vec<u64>, Vec<u64>) =
                (0..words).flat_map(|x| (0..words).map(move |y| (x, y))).unzip();
            let mut machine = ClearMachine::new(&x, &y);
            let planes = requantize(&mut machine, &widths, &RequantizeForm { digit_bits }).unwrap();
            assert_eq!(planes.len(), result_bits as usize);
            for (i, (&x, &y)) in x.iter().zip(&y).enumerate() {
                let found: u64 =
                    planes.iter().enumerate().map(|(j, plane)| u64::from(plane[i]) << j).sum();
                assert_eq!(found, expected(&widths, x, y), "{widths:?} m={digit_bits} {x}+{y}");
            }
        }
    }

    #[test]
    fn guard_bit_and_delta_fall_to_the_truncation() {
        let widths = RequantizeWidths { acc_bits: 8, guard_bits: 1, shift: 3, result_bits: 3 };
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
