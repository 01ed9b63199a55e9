//! Requantization: from shares of an accumulator to shared bits of the shifted, clamped value.
//!
//! The words x (server) and y (client) of M = l+g bits satisfy `x + y = 2^g*acc + delta` with
//! `0 <= delta < 2^g`. With `S = s+g` and `h = l-s-b >= 1` the circuit shares the bits of
//! `clamp(floor((x+y) / 2^S), 0, limit)` of the signed sum, where b is the width of `limit`:
//!
//! 1. carry out of the low S bits; none if S = 0;
//! 2. sum bits `S..S+b` and the carry out of them;
//! 3. `kept`: sum bits `S..M`, read as unsigned, are at most `limit`; and the sign, sum bit M-1;
//! 4. `bit_j = (kept & sum_j) ^ (saturated & limit_j)`, `saturated = not_negative ^ kept`.
//!
//! Each of the first three has several forms. Rounding constant, bias and offset are added to `x`
//! before, so the guard bits and `delta` fall to the truncation. Derivation and security:
//! docs/protocols/requantize.md.

use super::PlaneMachine;
use super::adder::{AdderForm, CarryForm, add, carry, compare, conjunction, half_sum, sum_bit};
use super::circuit::{Circuit, Wire};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::ops::Range;

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

/// How the circuit is laid out; chosen by the planner. All forms give the same result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequantizeForm {
    /// The carry out of the S bits that the shift removes.
    pub carry: CarryForm,
    /// The result's bits and the carry out of them.
    pub sums: AdderForm,
    /// The bits above the result, which tell whether it is in range.
    pub range: AdderForm,
}

impl RequantizeForm {
    /// Whether it is a form of a requantization of `widths`.
    #[must_use]
    pub fn is_valid(&self, widths: &RequantizeWidths) -> bool {
        self.carry.is_valid(widths.removed_bits())
    }

    /// All forms of a requantization of `widths`.
    pub fn all(widths: &RequantizeWidths) -> impl Iterator<Item = Self> {
        const ADDERS: [(AdderForm, AdderForm); 4] = [
            (AdderForm::Ripple, AdderForm::Ripple),
            (AdderForm::Ripple, AdderForm::Select),
            (AdderForm::Select, AdderForm::Ripple),
            (AdderForm::Select, AdderForm::Select),
        ];
        CarryForm::all(widths.removed_bits())
            .flat_map(|carry| ADDERS.map(|(sums, range)| Self { carry, sums, range }))
    }
}

impl Display for RequantizeForm {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}+{}", self.carry, self.sums, self.range)
    }
}

/// Runs the circuit; returns the result's planes, lowest bit first.
///
/// **Security**: neither party learns anything; messages depend on widths, form and element count
/// alone.
///
/// # Errors
/// The machine's error if an interactive step fails.
pub fn requantize<M: PlaneMachine>(
    machine: &mut M,
    widths: &RequantizeWidths,
    form: &RequantizeForm,
) -> Result<Vec<M::Plane>, M::Error> {
    let mut circuit = Circuit::default();
    let outputs = build(&mut circuit, widths, form);
    circuit.run(machine, Vec::new(), &outputs)
}

fn build(circuit: &mut Circuit, widths: &RequantizeWidths, form: &RequantizeForm) -> Vec<Wire> {
    let removed = widths.removed_bits();
    let above = removed + widths.result_bits;
    let low = carry(circuit, 0..removed, form.carry);
    let (sums, high) = add(circuit, removed..above, low, form.sums);
    let within = at_most(circuit, &sums, widths.limit, form.sums);
    let top = above..widths.word_bits();
    // A sign alone needs no test for zero.
    let Placement { kept, not_negative } = if form.range == AdderForm::Select && top.len() > 1 {
        select_range(circuit, top, high, within)
    } else {
        ripple_range(circuit, top, high, within)
    };
    let saturated = circuit.xor(not_negative, kept);
    let bits = circuit.product_list(kept, &sums);
    let limited = |(index, bit): (usize, Wire)| {
        if widths.limit >> index & 1 == 1 { circuit.xor(saturated, bit) } else { bit }
    };
    bits.into_iter().enumerate().map(limited).collect()
}

/// Where the sum lies.
struct Placement {
    /// From zero to the limit.
    kept: Wire,
    /// From zero on.
    not_negative: Wire,
}

/// From bit to bit; the products of the range go along with the carries.
fn ripple_range(
    circuit: &mut Circuit,
    top: Range<u32>,
    mut carry: Option<Wire>,
    within: Option<Wire>,
) -> Placement {
    let sign = top.end - 1;
    let mut kept = within;
    for bit in top.start..sign {
        let (sums, next) = add(circuit, bit..bit + 1, carry, AdderForm::Ripple);
        carry = next;
        kept = sums.into_iter().fold(kept, |kept, sum| Some(is_zero_too(circuit, sum, kept)));
    }
    let sum = sum_bit(circuit, sign, carry);
    let not_negative = circuit.not(sum);
    Placement { kept: is_zero_too(circuit, sum, kept), not_negative }
}

/// Whether a bit is zero and what is known of the bits below holds.
fn is_zero_too(circuit: &mut Circuit, sum: Wire, below: Option<Wire>) -> Wire {
    let zero = circuit.not(sum);
    below.map_or(zero, |below| circuit.and(zero, below))
}

/// For both values of the carry into the top bits, of which that carry selects.
fn select_range(
    circuit: &mut Circuit,
    top: Range<u32>,
    carry: Option<Wire>,
    within: Option<Wire>,
) -> Placement {
    let sign = top.end - 1;
    let sign_half = half_sum(circuit, sign);
    let zeros = top.clone().map(|bit| {
        // As long as all bits below sum to zero, a carry comes out of them unless none is set.
        let half = half_sum(circuit, bit);
        let carry = circuit.server_any(top.start, bit);
        let sum = circuit.xor(half, carry);
        circuit.not(sum)
    });
    let zeros = zeros.collect();
    let low = compare(circuit, top.start..sign, RANGE_DIGIT_BITS);
    let (Some(low), Some(zero)) = (low, conjunction(circuit, zeros)) else {
        return ripple_range(circuit, top, carry, within);
    };
    let sign = circuit.xor(sign_half, low.greater);
    let (mut kept, mut negative) = (zero, sign);
    if let Some(carry) = carry {
        // With a carry the sum is zero if every bit of it is carried through.
        let carried = circuit.and(low.equal, sign_half);
        let change = circuit.xor(zero, carried);
        let [of_sign, of_kept] = circuit.products(carry, [low.equal, change]);
        (kept, negative) = (circuit.xor(zero, of_kept), circuit.xor(sign, of_sign));
    }
    let not_negative = circuit.not(negative);
    let kept = within.map_or(kept, |within| circuit.and(within, kept));
    Placement { kept, not_negative }
}

/// Digit width of the comparison of the bits above the result.
const RANGE_DIGIT_BITS: u32 = 2;

/// Whether `bits`, lowest first, are a number of at most `limit`; none if they always are.
fn at_most(circuit: &mut Circuit, bits: &[Wire], limit: u32, form: AdderForm) -> Option<Wire> {
    let limit_bit = |index: usize| limit >> index & 1 == 1;
    let lowest = (0..bits.len()).find(|&index| !limit_bit(index))?;
    let bits = bits.iter().enumerate().skip(lowest);
    match form {
        AdderForm::Ripple => bits.fold(None, |below, (index, &bit)| match below {
            Some(below) if limit_bit(index) => {
                let exceeds = circuit.not(below);
                let exceeds = circuit.and(bit, exceeds);
                Some(circuit.not(exceeds))
            }
            below => Some(is_zero_too(circuit, bit, below)),
        }),
        AdderForm::Select => {
            let runs = bits.map(|(index, &bit)| {
                if limit_bit(index) {
                    PublicComparison { greater: None, equal: bit }
                } else {
                    PublicComparison { greater: Some(bit), equal: circuit.not(bit) }
                }
            });
            let mut runs: Vec<_> = runs.collect();
            while runs.len() > 1 {
                let pairs = runs.chunks(2);
                runs = pairs
                    .map(|pair| match *pair {
                        [low, high] => low.below(high, circuit),
                        _ => pair[0],
                    })
                    .collect();
            }
            let exceeds = runs.pop()?.greater?;
            Some(circuit.not(exceeds))
        }
    }
}

/// Shared bits compared with public ones.
#[derive(Clone, Copy)]
struct PublicComparison {
    /// The shared bits are greater; none if they never are.
    greater: Option<Wire>,
    equal: Wire,
}

impl PublicComparison {
    /// The comparison of these and the higher bits together.
    fn below(self, high: Self, circuit: &mut Circuit) -> Self {
        let others: Vec<Wire> = std::iter::once(self.equal).chain(self.greater).collect();
        let products = circuit.product_list(high.equal, &others);
        let greater = match (high.greater, products.get(1)) {
            (Some(high), Some(&low)) => Some(circuit.xor(high, low)),
            (high, low) => high.or(low.copied()),
        };
        Self { greater, equal: products[0] }
    }
}

#[cfg(test)]
mod tests;
