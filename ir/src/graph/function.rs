//! What the functions of one number compute, in double precision.
//!
//! The one definition: [`evaluate`](super::evaluate) applies it, and a lowering that tabulates a
//! function takes its values from here. Parameters are the binary32 numbers of the file, exactly.

use super::op::Function;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

impl Function {
    /// The function of `x`, an element of `channel`; only [`Function::LeakyRelu`] looks at the
    /// channel. Finite if `x` and the parameters are, unless the value itself is too large.
    ///
    /// Relative error below 1e-13 where it does not underflow.
    #[must_use]
    pub fn apply(&self, x: f64, channel: usize) -> f64 {
        match self {
            Self::Elu { alpha } if x <= 0.0 => f64::from(*alpha) * x.exp_m1(),
            Self::Gelu { tanh: false } => 0.5 * x * erfc(-x * FRAC_1_SQRT_2),
            Self::Gelu { tanh: true } => {
                // tanh(u) + 1 = 2/(1 + exp(-2u)), which does not cancel for u below 0.
                let u = (2.0 / PI).sqrt() * (x + 0.044_715 * x * x * x);
                x / (1.0 + (-2.0 * u).exp())
            }
            Self::HardSigmoid { alpha, beta } => {
                (f64::from(*alpha) * x + f64::from(*beta)).clamp(0.0, 1.0)
            }
            Self::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Self::LeakyRelu { slopes } if x <= 0.0 => {
                let slope = slopes.get(channel).or(slopes.first()).copied().unwrap_or_default();
                f64::from(slope) * x
            }
            Self::Elu { .. } | Self::LeakyRelu { .. } => x,
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
        }
    }
}

/// Where the series of [`erfc`] hands over to the continued fraction. The series loses
/// `1/erfc(2) < 2^8` of its relative precision at most; the fraction converges from here on.
const SPLIT: f64 = 2.0;

/// The complement of the error function, `1 - erf(x)`.
///
/// Near 0 by the series with positive terms,
/// `erf(x) = 2/sqrt(pi)*exp(-x^2)*sum(2^n*x^(2n+1)/(1*3*...*(2n+1)))`; beyond [`SPLIT`] by the
/// continued fraction `sqrt(pi)*exp(x^2)*erfc(x) = 1/(x + (1/2)/(x + (2/2)/(x + (3/2)/(x + ...))))`.
/// Both are in Abramowitz and Stegun, Handbook of Mathematical Functions, as 7.1.6 and 7.1.14.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    let bell = 0.5 * FRAC_2_SQRT_PI * (-x * x).exp();
    if x >= SPLIT {
        let fraction = (1..=60_u32).rev().fold(x, |tail, n| x + 0.5 * f64::from(n) / tail);
        return bell / fraction;
    }
    let (mut term, mut sum) = (x, 0.0);
    // At x = 2 the terms fall below 2^-53 of the sum after about 40 of them.
    for n in 1..=60_u32 {
        sum += term;
        term *= 2.0 * x * x / f64::from(2 * n + 1);
    }
    1.0 - 2.0 * bell * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(function: &Function, rows: &[(f64, f64)]) {
        for &(x, expected) in rows {
            let found = function.apply(x, 1);
            let error = (found - expected).abs();
            assert!(
                error <= 1e-13 * expected.abs(),
                "{function:?} of {x}: {found}, expected {expected}"
            );
        }
    }

    #[test]
    fn known_values() {
        check(
            &Function::Elu { alpha: 0.5 },
            &[(2.0, 2.0), (0.0, 0.0), (-1.0, -0.316_060_279_414_278_8)],
        );
        check(&Function::HardSwish, &[(-4.0, 0.0), (0.0, 0.0), (1.0, 2.0 / 3.0), (5.0, 5.0)]);
        check(
            &Function::HardSigmoid { alpha: 0.25, beta: 0.5 },
            &[(-3.0, 0.0), (1.0, 0.75), (2.0, 1.0), (9.0, 1.0)],
        );
        check(&Function::LeakyRelu { slopes: vec![0.5] }, &[(-2.0, -1.0), (2.0, 2.0)]);
        check(&Function::LeakyRelu { slopes: vec![9.0, 0.25] }, &[(-2.0, -0.5), (2.0, 2.0)]);
        check(
            &Function::Sigmoid,
            &[(0.0, 0.5), (1.0, 0.731_058_578_630_004_9), (-800.0, 0.0), (800.0, 1.0)],
        );
        check(&Function::Tanh, &[(0.5, 0.462_117_157_260_009_8), (-99.0, -1.0)]);
        check(
            &Function::Gelu { tanh: false },
            &[
                (0.0, 0.0),
                (1.0, 0.841_344_746_068_542_9),
                (-1.0, -0.158_655_253_931_457_05),
                (-5.0, -1.433_257_859_395_973_1e-6),
                (3.0, 2.995_950_305_905_111),
                (-800.0, 0.0),
                (800.0, 800.0),
            ],
        );
        check(
            &Function::Gelu { tanh: true },
            &[(0.0, 0.0), (1.0, 0.841_191_990_608_277), (-800.0, 0.0), (800.0, 800.0)],
        );
    }

    /// Values as tabulated to 20 digits, relative, on both sides of the split.
    #[test]
    fn complementary_error_function() {
        for (x, expected) in [
            (0.5, 0.479_500_122_186_953_5),
            (1.0, 0.157_299_207_050_285_13),
            (2.0, 0.004_677_734_981_047_266),
            (3.0, 2.209_049_699_858_544e-5),
            (4.0, 1.541_725_790_028_002e-8),
            (5.0, 1.537_459_794_428_035e-12),
        ] {
            assert!((erfc(x) / expected - 1.0).abs() < 1e-13, "erfc({x}) = {}", erfc(x));
            assert!((erfc(-x) - (2.0 - expected)).abs() < 1e-15);
        }
        let below = erfc(SPLIT - 1e-15);
        assert!((below / erfc(SPLIT) - 1.0).abs() < 1e-13, "{below}");
    }
}
