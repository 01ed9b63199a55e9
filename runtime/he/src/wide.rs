//! Arithmetic mod the ciphertext modulus q, of at most 120 bits, in constant time.
//!
//! Where residues of several primes do not serve: what adds to, rounds or packs a coefficient as an
//! integer in `[0, q)`. Products exceed 128 bits and are taken apart by words; the one division is a
//! multiplication by a fixed-point reciprocal [Bar86] and one conditional subtraction.

use crate::modulus::{high, low, wide};

/// The modulus q, odd, with its reciprocal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WideModulus {
    q: u128,
    bits: u32,
    /// `floor(2^(bits+63) / q)`, of exactly 64 bits.
    reciprocal: u64,
}

impl WideModulus {
    /// A modulus from an odd `2 < q < 2^120`.
    pub(crate) fn new(q: u128) -> Self {
        let bits = u128::BITS - q.leading_zeros();
        let (mut remainder, mut reciprocal) = (1_u128 << (bits - 1), 0);
        for _ in 0..u64::BITS {
            remainder *= 2;
            let digit = u64::from(remainder >= q);
            remainder -= q * u128::from(digit);
            reciprocal = reciprocal << 1 | digit;
        }
        Self { q, bits, reciprocal }
    }

    /// The modulus q.
    pub(crate) fn value(&self) -> u128 {
        self.q
    }

    /// Width of q in bits.
    pub(crate) fn bits(&self) -> u32 {
        self.bits
    }

    /// A value below 2q as a residue.
    #[inline]
    pub(crate) fn normalise(&self, value: u128) -> u128 {
        let difference = value.wrapping_sub(self.q);
        let below = 0_u128.wrapping_sub(difference >> 127);
        difference.wrapping_add(self.q & below)
    }

    /// `a + b mod q`.
    #[cfg(test)]
    pub(crate) fn add(&self, a: u128, b: u128) -> u128 {
        self.normalise(a + b)
    }

    /// `a - b mod q`.
    #[cfg(test)]
    pub(crate) fn sub(&self, a: u128, b: u128) -> u128 {
        self.normalise(a + self.q - b)
    }

    /// `floor((q*factor + addend) / 2^bits)` for `factor` and `addend` below `2^bits`, `bits <= 64`.
    #[inline]
    pub(crate) fn multiply_shift(&self, factor: u64, addend: u64, bits: u32) -> u128 {
        let lower = wide(low(self.q), factor) + u128::from(addend);
        (wide(high(self.q), factor) << (u64::BITS - bits)) + (lower >> bits)
    }

    /// Quotient and remainder of `2^bits * value` by q, for a residue and `bits` below 64 and the
    /// width of q.
    ///
    /// Free of division instructions: their time would depend on `value`. With the reciprocal too
    /// small by less than 1, the estimate is too small by less than
    /// `value * 2^bits / 2^(width+63) < 1` before it is rounded, so by at most 1 after.
    #[inline]
    pub(crate) fn divide_shifted(&self, value: u128, bits: u32) -> (u64, u128) {
        let upper = wide(high(value), self.reciprocal);
        let product = upper + u128::from(high(wide(low(value), self.reciprocal)));
        let estimate = low(product >> (self.bits - 1 - bits));
        let excess = (value << bits).wrapping_sub(u128::from(estimate).wrapping_mul(self.q));
        let remainder = self.normalise(excess);
        (estimate + u64::from(remainder != excess), remainder)
    }

    /// A residue as the integer in `(-q/2, q/2]` that it stands for.
    #[cfg(test)]
    pub(crate) fn centred(&self, residue: u128) -> i128 {
        residue.cast_signed() - if residue > self.q / 2 { self.q.cast_signed() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint::BigUint;
    use proptest::prelude::*;

    const MODULI: [u128; 6] =
        [786_433, (1 << 61) - 1, (1 << 62) - 57, (1 << 89) - 1, (1 << 107) - 1, (1 << 120) - 1];

    proptest! {
        #[test]
        fn agrees_with_big_integers(
            which in 0..MODULI.len(),
            bits in 1_u32..64,
            words in any::<[u128; 2]>(),
            near in 0_u128..3,
            factor: u64,
            addend: u64,
        ) {
            let q = MODULI[which];
            let modulus = WideModulus::new(q);
            let big = BigUint::from(q);
            let b = words[1] % q;
            let bits = bits.min(modulus.bits() - 1);
            let mask = (1 << bits) - 1;
            let (factor, addend) = (factor & mask, addend & mask);
            let product = modulus.multiply_shift(factor, addend, bits);
            prop_assert_eq!(BigUint::from(product), (&big * factor + addend) >> bits);
            // The ends of the range, and where the quotient steps up: there an estimate may be off.
            let step = u128::try_from((&big * factor) >> bits).unwrap();
            for a in [words[0] % q, near, q - 1 - near, step, step + 1] {
                prop_assert_eq!(BigUint::from(modulus.add(a, b)), (BigUint::from(a) + b) % &big);
                prop_assert_eq!(modulus.add(modulus.sub(a, b), b), a);
                let (quotient, remainder) = modulus.divide_shifted(a, bits);
                let scaled = BigUint::from(a) << bits;
                prop_assert_eq!(BigUint::from(quotient), &scaled / &big);
                prop_assert_eq!(BigUint::from(remainder), scaled % &big);
            }
        }
    }
}
