//! Scales that are small odd numbers times powers of two, so that every quotient that a test needs is
//! exact, in binary32 and everywhere else.

/// `odd * 2^exponent`, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Odd part.
    pub odd: i64,
    /// Power of two.
    pub exponent: i32,
}

impl Scale {
    /// A power of two.
    #[must_use]
    pub const fn power(exponent: i32) -> Self {
        Self { odd: 1, exponent }
    }

    /// The number, exactly.
    #[must_use]
    pub fn value(self) -> f32 {
        self.odd as f32 * 2.0_f32.powi(self.exponent)
    }

    /// The product.
    #[must_use]
    pub const fn times(self, other: Self) -> Self {
        Self { odd: self.odd * other.odd, exponent: self.exponent + other.exponent }
    }

    /// The quotient, if it is exact.
    #[must_use]
    pub fn over(self, other: Self) -> Option<Self> {
        (self.odd % other.odd == 0)
            .then(|| Self { odd: self.odd / other.odd, exponent: self.exponent - other.exponent })
    }
}

/// Bits of the multipliers that the exact `factors` need at their common shift.
#[must_use]
pub fn width(factors: &[Scale]) -> u32 {
    let least = factors.iter().map(|factor| factor.exponent).min().unwrap_or(0).min(0);
    let wide = |factor: &Scale| {
        i64::BITS - factor.odd.leading_zeros() + (factor.exponent - least).unsigned_abs()
    };
    factors.iter().map(wide).max().unwrap_or(0)
}
