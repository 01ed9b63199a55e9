//! Exact arithmetic on dyadic numbers, and the one quotient that is rounded.

use heq_tests::onnx::generate::Ties;
use std::cmp::Ordering;
use std::ops::{Add, Mul, Neg, Sub};

/// `mantissa * 2^exponent`; the mantissa is odd, or everything is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dyadic {
    mantissa: i128,
    exponent: i32,
}

impl Dyadic {
    pub(crate) const ZERO: Self = Self { mantissa: 0, exponent: 0 };

    fn new(mantissa: i128, exponent: i32) -> Self {
        if mantissa == 0 {
            return Self::ZERO;
        }
        let zeros = mantissa.trailing_zeros();
        Self { mantissa: mantissa >> zeros, exponent: exponent + zeros.cast_signed() }
    }

    pub(crate) fn from_f64(value: f64) -> Self {
        assert!(value.is_finite());
        let bits = value.to_bits();
        let (fraction, biased) = (bits & ((1 << 52) - 1), (bits >> 52 & 0x7ff) as i32);
        let (mantissa, exponent) = match biased {
            0 => (fraction, -1074),
            _ => (fraction | 1 << 52, biased - 1075),
        };
        let sign = if value.is_sign_negative() { -1 } else { 1 };
        Self::new(sign * i128::from(mantissa), exponent)
    }

    pub(crate) fn to_f64(self) -> f64 {
        self.mantissa as f64 * 2.0_f64.powi(self.exponent)
    }

    /// The number as an integer.
    pub(crate) fn integer(self) -> i128 {
        assert!(self.exponent >= 0, "an integer");
        shifted(self.mantissa, self.exponent)
    }

    /// Divides by a power of two.
    pub(crate) fn halved(self, times: i32) -> Self {
        Self::new(self.mantissa, self.exponent - times)
    }

    /// The square root of a power of four.
    pub(crate) fn root(self) -> i32 {
        assert!(self.mantissa == 1 && self.exponent % 2 == 0, "a power of four");
        self.exponent / 2
    }

    /// The quotient, rounded to the nearest integer.
    pub(crate) fn divided(self, divisor: Self, ties: Ties) -> i128 {
        let shift = self.exponent - divisor.exponent;
        if self.to_f64().abs() < divisor.to_f64() / 4.0 {
            return 0;
        }
        let (n, d) = match shift >= 0 {
            true => (shifted(self.mantissa, shift), divisor.mantissa),
            false => (self.mantissa, shifted(divisor.mantissa, -shift)),
        };
        assert!(d > 0, "a positive scale");
        let (n, d) = (2 * n + d, 2 * d);
        let nearest = n.div_euclid(d);
        match ties {
            Ties::Even if n.rem_euclid(d) == 0 && nearest % 2 != 0 => nearest - 1,
            _ => nearest,
        }
    }
}

fn shifted(mantissa: i128, shift: i32) -> i128 {
    assert!(shift.cast_unsigned() + 2 < mantissa.unsigned_abs().leading_zeros(), "overflow");
    mantissa << shift
}

impl From<i128> for Dyadic {
    fn from(value: i128) -> Self {
        Self::new(value, 0)
    }
}

impl Add for Dyadic {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        if self.mantissa == 0 {
            return other;
        }
        if other.mantissa == 0 {
            return self;
        }
        let exponent = self.exponent.min(other.exponent);
        let at = |x: Self| shifted(x.mantissa, x.exponent - exponent);
        Self::new(at(self) + at(other), exponent)
    }
}

impl Neg for Dyadic {
    type Output = Self;
    fn neg(self) -> Self {
        Self { mantissa: -self.mantissa, ..self }
    }
}

impl Sub for Dyadic {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for Dyadic {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let product = self.mantissa.checked_mul(other.mantissa).unwrap();
        Self::new(product, self.exponent).halved(-other.exponent)
    }
}

impl PartialOrd for Dyadic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Dyadic {
    fn cmp(&self, other: &Self) -> Ordering {
        (*self - *other).mantissa.cmp(&0)
    }
}

#[test]
fn quotients_round_as_stated() {
    for (n, d, up, even) in [
        (5, 2, 3, 2),
        (-5, 2, -2, -2),
        (7, 2, 4, 4),
        (-7, 2, -3, -4),
        (4, 3, 1, 1),
        (-4, 3, -1, -1),
        (10, 4, 3, 2),
        (3, 6, 1, 0),
    ] {
        let (n, d) = (Dyadic::from(n), Dyadic::from(d));
        assert_eq!((n.divided(d, Ties::Up), n.divided(d, Ties::Even)), (up, even), "{n:?} {d:?}");
    }
    assert_eq!(Dyadic::from_f64(-0.375), Dyadic { mantissa: -3, exponent: -3 });
    assert_eq!(Dyadic::from(3) * Dyadic::from_f64(0.5) + Dyadic::from(1), Dyadic::from_f64(2.5));
}
