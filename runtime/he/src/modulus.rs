//! Arithmetic mod a prime q below 2^61, one limb of the ciphertext modulus, in constant time.
//!
//! Residues are canonical, in `[0, q)`, unless a name says *lazy*. Reductions use the wrapping-minimum
//! trick instead of a branch. Source: [Bar86, Har14].

/// A prime modulus with its Barrett constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Modulus {
    q: u64,
    /// `floor(2^128 / q)`, low and high word.
    ratio: [u64; 2],
}

/// A constant factor with its quotient `floor(value * 2^64 / q)`, for Shoup multiplication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShoupFactor {
    value: u64,
    quotient: u64,
}

#[expect(clippy::cast_possible_truncation, reason = "takes the low word on purpose")]
#[inline]
pub(crate) fn low(value: u128) -> u64 {
    value as u64
}

#[inline]
pub(crate) fn high(value: u128) -> u64 {
    low(value >> 64)
}

#[inline]
pub(crate) fn wide(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

/// `value - q` if that is not negative, else `value`: valid for `value < 2^63`.
#[inline]
fn subtract_once(value: u64, q: u64) -> u64 {
    value.min(value.wrapping_sub(q))
}

impl Modulus {
    /// A modulus from a prime `2 < q < 2^61`, as [`heq_ir::params::RlweParams`] gives it.
    pub(crate) fn new(q: u64) -> Self {
        // q is odd, so floor((2^128 - 1) / q) = floor(2^128 / q).
        let ratio = u128::MAX / u128::from(q);
        Self { q, ratio: [low(ratio), high(ratio)] }
    }

    /// The prime q.
    pub(crate) fn value(&self) -> u64 {
        self.q
    }

    /// `a + b mod q`.
    #[inline]
    pub(crate) fn add(&self, a: u64, b: u64) -> u64 {
        subtract_once(a + b, self.q)
    }

    /// `a - b mod q`.
    #[inline]
    pub(crate) fn sub(&self, a: u64, b: u64) -> u64 {
        subtract_once(a + self.q - b, self.q)
    }

    /// `a * b mod q`.
    #[inline]
    pub(crate) fn mul(&self, a: u64, b: u64) -> u64 {
        self.reduce(wide(a, b))
    }

    /// `value mod q` for any 128-bit value, by Barrett reduction.
    #[inline]
    pub(crate) fn reduce(&self, value: u128) -> u64 {
        let quotient = self.approximate_quotient(value);
        subtract_once(low(value).wrapping_sub(quotient.wrapping_mul(self.q)), self.q)
    }

    /// `floor(value / q)` or one less, mod 2^64.
    #[inline]
    fn approximate_quotient(&self, value: u128) -> u64 {
        let (x0, x1) = (low(value), high(value));
        let [r0, r1] = self.ratio;
        let middle = wide(x0, r1) + u128::from(high(wide(x0, r0)));
        let cross = wide(x1, r0) + u128::from(low(middle));
        x1.wrapping_mul(r1).wrapping_add(high(middle)).wrapping_add(high(cross))
    }

    /// A signed integer of magnitude below q as a residue.
    #[inline]
    pub(crate) fn residue(&self, value: i64) -> u64 {
        let negative = (value >> 63).cast_unsigned();
        value.cast_unsigned().wrapping_add(self.q & negative)
    }

    /// `value * factor mod q` for any signed integer.
    #[inline]
    pub(crate) fn scale_signed(&self, value: i64, factor: ShoupFactor) -> u64 {
        let magnitude = self.normalise(self.mul_lazy(value.unsigned_abs(), factor));
        let negative = (value >> 63).cast_unsigned();
        let signed = (magnitude ^ negative).wrapping_sub(negative).wrapping_add(self.q & negative);
        subtract_once(signed, self.q)
    }

    /// A residue as the integer in `(-q/2, q/2]` that it stands for.
    #[cfg(test)]
    pub(crate) fn centred(&self, residue: u64) -> i64 {
        let above = (((self.q / 2).wrapping_sub(residue)).cast_signed() >> 63).cast_unsigned();
        residue.wrapping_sub(self.q & above).cast_signed()
    }

    /// `base^exponent mod q`; time depends on the exponent, which is public.
    pub(crate) fn pow_vt(&self, mut base: u64, mut exponent: u64) -> u64 {
        let mut result = 1;
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = self.mul(result, base);
            }
            base = self.mul(base, base);
            exponent >>= 1;
        }
        result
    }

    /// The inverse of a residue other than zero.
    pub(crate) fn inverse(&self, value: u64) -> u64 {
        self.pow_vt(value, self.q - 2)
    }

    pub(crate) fn shoup(&self, value: u64) -> ShoupFactor {
        ShoupFactor { value, quotient: low((u128::from(value) << 64) / u128::from(self.q)) }
    }

    /// `a * factor` in `[0, 2q)`, for any 64-bit `a`.
    #[inline]
    pub(crate) fn mul_lazy(&self, a: u64, factor: ShoupFactor) -> u64 {
        let quotient = high(wide(a, factor.quotient));
        a.wrapping_mul(factor.value).wrapping_sub(quotient.wrapping_mul(self.q))
    }

    /// A lazy value below 4q as a residue.
    #[inline]
    pub(crate) fn normalise(&self, value: u64) -> u64 {
        subtract_once(subtract_once(value, 2 * self.q), self.q)
    }

    /// `value - 2q` if that is not negative.
    #[inline]
    pub(crate) fn halve_range(&self, value: u64) -> u64 {
        subtract_once(value, 2 * self.q)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRIMES: [u64; 4] = [12_289, 1_073_479_681, (1 << 50) - 27, (1 << 61) - 1];

    proptest! {
        #[test]
        fn agrees_with_wide_division(which in 0..PRIMES.len(), a: u64, b: u64, wide_value: u128) {
            let q = PRIMES[which];
            let modulus = Modulus::new(q);
            let (a, b) = (a % q, b % q);
            let exact = |value: u128| low(value % u128::from(q));
            prop_assert_eq!(modulus.reduce(wide_value), exact(wide_value));
            prop_assert_eq!(modulus.mul(a, b), exact(wide(a, b)));
            prop_assert_eq!(modulus.add(a, b), exact(u128::from(a) + u128::from(b)));
            prop_assert_eq!(modulus.add(modulus.sub(a, b), b), a);
            prop_assert_eq!(modulus.normalise(modulus.mul_lazy(a, modulus.shoup(b))), exact(wide(a, b)));
            prop_assert_eq!(modulus.residue(modulus.centred(a)), a);
            let signed = high(wide_value).cast_signed();
            let scaled = i128::from(signed).rem_euclid(i128::from(q)).cast_unsigned();
            let factor = modulus.shoup(b);
            prop_assert_eq!(modulus.scale_signed(signed, factor), exact(scaled * u128::from(b)));
            prop_assert!(modulus.centred(a).unsigned_abs() <= q / 2);
            if a != 0 {
                prop_assert_eq!(modulus.mul(a, modulus.inverse(a)), 1);
            }
        }
    }
}
