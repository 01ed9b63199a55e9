//! Carries of the sum of the server's and the client's private words; `docs/protocols/requantize.md`.
//!
//! A carry or a "greater" that is missing is a constant zero.

use super::circuit::{Circuit, Comparison, Wire};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::ops::Range;

/// How carries travel through bits that are wanted themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AdderForm {
    /// From bit to bit: fewest bits on the wire, a flight a bit.
    Ripple,
    /// For both values of the carry into them at once, of which that carry selects: few flights.
    Select,
}

/// How the carry out of bits that are not wanted themselves is computed: the low ones are compared in
/// digits, and the carry ripples through those above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CarryForm {
    /// Number of low bits that are compared.
    pub compared_bits: u32,
    /// Digit width m of the comparison, 1 to [`CarryForm::MAX_DIGIT_BITS`]: a 1-of-2^m OT a digit.
    pub digit_bits: u32,
}

impl CarryForm {
    /// Widest digit: wider ones cost more bits than they save flights.
    pub const MAX_DIGIT_BITS: u32 = 4;

    /// Carries from bit to bit.
    pub const RIPPLE: Self = Self { compared_bits: 0, digit_bits: 1 };

    /// Whether it is a form of the carry out of `bits` bits.
    #[must_use]
    pub fn is_valid(&self, bits: u32) -> bool {
        self.compared_bits <= bits && (1..=Self::MAX_DIGIT_BITS).contains(&self.digit_bits)
    }

    /// All forms of the carry out of `bits` bits, without those that another one equals.
    pub fn all(bits: u32) -> impl Iterator<Item = Self> {
        let compared = (1..=bits).flat_map(|compared_bits| {
            let digit_bits = 1..=Self::MAX_DIGIT_BITS.min(compared_bits);
            digit_bits.map(move |digit_bits| Self { compared_bits, digit_bits })
        });
        std::iter::once(Self::RIPPLE).chain(compared)
    }
}

impl Display for AdderForm {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ripple => "ripple",
            Self::Select => "select",
        })
    }
}

/// `6 by 3`: the bits that are compared, and the width of a digit.
impl Display for CarryForm {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.compared_bits, self.digit_bits)
    }
}

/// Digit width of the comparisons that serve several carries.
const PREFIX_DIGIT_BITS: u32 = 2;

fn digits(bits: Range<u32>, width: u32) -> impl Iterator<Item = (u32, u32)> {
    let high = bits.end;
    bits.step_by(width.max(1) as usize).map(move |low| (low, width.min(high - low)))
}

/// Compares the server's private bits with the complement of the client's: a tree over digits of
/// `digit_bits` bits. "Greater" is the carry out, "equal" whether a carry in comes out. None without
/// bits. Source: [CrypTFlow2, Section 3.1].
pub(super) fn compare(
    circuit: &mut Circuit,
    bits: Range<u32>,
    digit_bits: u32,
) -> Option<Comparison> {
    let digits = digits(bits, digit_bits);
    let runs = digits.map(|(low, width)| circuit.compare(low, width)).collect();
    merge_runs(circuit, runs)
}

/// Merges comparisons of adjacent digits, lowest first, into one: depth `ceil(log2(digits))`.
pub(super) fn merge_runs(circuit: &mut Circuit, mut runs: Vec<Comparison>) -> Option<Comparison> {
    while runs.len() > 1 {
        let pairs = runs.chunks(2);
        runs = pairs
            .map(|pair| match *pair {
                [low, high] => circuit.merge(low, high),
                _ => pair[0],
            })
            .collect();
    }
    runs.pop()
}

/// The carry out of `bits`, if nothing is carried in.
pub(super) fn carry(circuit: &mut Circuit, bits: Range<u32>, form: CarryForm) -> Option<Wire> {
    let ripple = bits.start.saturating_add(form.compared_bits).min(bits.end);
    let low = compare(circuit, bits.start..ripple, form.digit_bits).map(|run| run.greater);
    (ripple..bits.end).fold(low, |carry, bit| Some(carry_out(circuit, bit, carry)))
}

/// The carry out of one bit: the majority of the bits and the carry in.
fn carry_out(circuit: &mut Circuit, bit: u32, carry: Option<Wire>) -> Wire {
    let Some(carry) = carry else { return circuit.compare(bit, 1).greater };
    let (x, y) = (circuit.server_bit(bit), circuit.client_bit(bit));
    let (x, y) = (circuit.xor(x, carry), circuit.xor(y, carry));
    let differ = circuit.and(x, y);
    circuit.xor(carry, differ)
}

/// Whether exactly one of the parties' bits is set.
pub(super) fn half_sum(circuit: &mut Circuit, bit: u32) -> Wire {
    let (x, y) = (circuit.server_bit(bit), circuit.client_bit(bit));
    circuit.xor(x, y)
}

/// A bit of the sum.
pub(super) fn sum_bit(circuit: &mut Circuit, bit: u32, carry: Option<Wire>) -> Wire {
    let half = half_sum(circuit, bit);
    carry.map_or(half, |carry| circuit.xor(half, carry))
}

/// The bits of the sum, lowest first, and the carry out of them.
pub(super) fn add(
    circuit: &mut Circuit,
    bits: Range<u32>,
    carry: Option<Wire>,
    form: AdderForm,
) -> (Vec<Wire>, Option<Wire>) {
    match form {
        AdderForm::Ripple => ripple(circuit, bits, carry),
        AdderForm::Select => select(circuit, bits, carry),
    }
}

fn ripple(
    circuit: &mut Circuit,
    bits: Range<u32>,
    mut carry: Option<Wire>,
) -> (Vec<Wire>, Option<Wire>) {
    let mut sums = Vec::new();
    for bit in bits {
        sums.push(sum_bit(circuit, bit, carry));
        carry = Some(carry_out(circuit, bit, carry));
    }
    (sums, carry)
}

/// Carries between digits are prefixes of their comparisons ([Skl60]), of which the carry selects;
/// within a digit they ripple.
fn select(
    circuit: &mut Circuit,
    bits: Range<u32>,
    carry: Option<Wire>,
) -> (Vec<Wire>, Option<Wire>) {
    let digits: Vec<(u32, u32)> = digits(bits, PREFIX_DIGIT_BITS).collect();
    let mut prefixes: Vec<_> =
        digits.iter().map(|&(low, width)| circuit.compare(low, width)).collect();
    let mut span = 1;
    while span < prefixes.len() {
        for index in (0..prefixes.len()).filter(|index| index & span != 0) {
            let below = prefixes[(index & !(span - 1)) - 1];
            prefixes[index] = circuit.merge(below, prefixes[index]);
        }
        span *= 2;
    }
    let mut carries: Vec<Wire> = prefixes.iter().map(|prefix| prefix.greater).collect();
    if let Some(carry) = carry {
        let equal: Vec<Wire> = prefixes.iter().map(|prefix| prefix.equal).collect();
        let selected = circuit.product_list(carry, &equal);
        for (carry, selected) in carries.iter_mut().zip(selected) {
            *carry = circuit.xor(*carry, selected);
        }
    }
    let into = std::iter::once(carry).chain(carries.iter().copied().map(Some));
    let mut sums = Vec::new();
    for (&(low, width), carry) in digits.iter().zip(into) {
        sums.extend(ripple(circuit, low..low + width, carry).0);
    }
    (sums, carries.last().copied().or(carry))
}

/// Whether all planes are set: depth `ceil(log2(planes))`. None without planes.
pub(super) fn conjunction(circuit: &mut Circuit, mut planes: Vec<Wire>) -> Option<Wire> {
    while planes.len() > 1 {
        let pairs = planes.chunks(2);
        planes = pairs
            .map(|pair| match *pair {
                [a, b] => circuit.and(a, b),
                _ => pair[0],
            })
            .collect();
    }
    planes.pop()
}
