//! The fast path of integers mod q where q is one prime: what [`crate::wide`] does, in words.

use crate::modulus::{high, low, wide};
use crate::wide::WideModulus;

/// What adds to, rounds or packs a coefficient as an integer in `[0, q)`, in constant time.
pub(crate) trait IntegerModulus {
    /// An integer below 2q.
    type Integer: Copy + Into<u128>;

    /// `floor((q*factor + addend) / 2^bits) mod q` for `factor` and `addend` below `2^bits`, `bits < 64`.
    fn scale(&self, factor: u64, addend: u64, bits: u32) -> Self::Integer;

    /// Quotient of `2^bits * value` by q, for `bits` below 64 and the width of q, and whether the
    /// remainder is at least q/2.
    fn divide_shifted(&self, value: Self::Integer, bits: u32) -> (u64, bool);
}

/// An odd modulus q below 2^62 with its reciprocal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NarrowModulus {
    q: u64,
    bits: u32,
    /// `floor(2^(bits+63) / q)`, of exactly 64 bits.
    reciprocal: u64,
}

impl NarrowModulus {
    /// The same modulus in words.
    pub(crate) fn new(modulus: &WideModulus) -> Self {
        let (q, bits) = (low(modulus.value()), modulus.bits());
        Self { q, bits, reciprocal: low((1 << (bits + 63)) / u128::from(q)) }
    }

    /// The modulus q.
    pub(crate) fn value(&self) -> u64 {
        self.q
    }

    /// A value below 2q as a residue.
    #[inline]
    pub(crate) fn normalise(&self, value: u64) -> u64 {
        value.min(value.wrapping_sub(self.q))
    }
}

impl IntegerModulus for NarrowModulus {
    type Integer = u64;

    #[inline]
    fn scale(&self, factor: u64, addend: u64, bits: u32) -> u64 {
        let sum = wide(self.q, factor) + u128::from(addend);
        // At most q, and no shift of 128 bits.
        self.normalise(low(sum) >> bits | high(sum).wrapping_shl(u64::BITS - bits))
    }

    #[inline]
    fn divide_shifted(&self, value: u64, bits: u32) -> (u64, bool) {
        let estimate = high(wide(value, self.reciprocal)) >> (self.bits - 1 - bits);
        let excess = (value << bits).wrapping_sub(estimate.wrapping_mul(self.q));
        let remainder = self.normalise(excess);
        (estimate + u64::from(remainder != excess), 2 * remainder >= self.q)
    }
}

impl IntegerModulus for WideModulus {
    type Integer = u128;

    #[inline]
    fn scale(&self, factor: u64, addend: u64, bits: u32) -> u128 {
        self.normalise(self.multiply_shift(factor, addend, bits))
    }

    #[inline]
    fn divide_shifted(&self, value: u128, bits: u32) -> (u64, bool) {
        let (quotient, remainder) = Self::divide_shifted(self, value, bits);
        (quotient, 2 * remainder >= self.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_wide_integers(
            q in prop_oneof![1_u64 << 19..1 << 20, 1_u64 << 35..1 << 36, 1_u64 << 49..1 << 50],
            value: u64, near in 0_u64..3, factor: u64, addend: u64, bits in 1_u32..50,
        ) {
            let wide = WideModulus::new(u128::from(q | 1));
            let narrow = NarrowModulus::new(&wide);
            let bits = bits.min(narrow.bits - 1);
            let mask = (1 << bits) - 1;
            let (factor, addend) = (factor & mask, addend & mask);
            let scaled = narrow.scale(factor, addend, bits);
            prop_assert_eq!(u128::from(scaled), wide.scale(factor, addend, bits));
            // The ends of the range, and where the quotient steps up.
            let last = narrow.value() - 1;
            for value in [value % narrow.value(), near, last - near, scaled, (scaled + 1).min(last)] {
                let expected = IntegerModulus::divide_shifted(&wide, u128::from(value), bits);
                prop_assert_eq!(narrow.divide_shifted(value, bits), expected);
            }
        }
    }
}
