//! The noise bound of a linear layer, used by the compiler to choose and by the runtime to re-check.
//!
//! Symbols: `sigma^2` error variance, `N` ring degree, `rc`/`dr` low bits dropped from request and
//! response, `||W||^2` squared norm of all weight polynomials that feed one response, `l` accumulator
//! width, `g` guard bits, `T = 2^(l+g)`, `2^m` leaves merged into one response by key switches of `dnum`
//! digits `B_i = 2^w` wide with special prime `P`. A response is right if its noise stays within `q/(2T)`.
//! Derivation: docs/protocols/linear.md.

use super::RlweParams;
use super::security::STATISTICAL_SECURITY_BITS;

/// Number of coin pairs of the centred binomial error; its variance is half of it.
pub const ERROR_COINS: u32 = 21;

/// Variance of one error coefficient: centred binomial of [`ERROR_COINS`], deviation 3.24.
pub const ERROR_VARIANCE: f64 = ERROR_COINS as f64 / 2.0;

/// Largest variance of the error of encoding one party's share, rounded up or down at random.
pub const ENCODING_VARIANCE: f64 = 0.25;

/// A key is drawn again if its secret's weight or its error's norm exceeds the mean by this factor,
/// so that the bound holds for every key in use.
pub const KEY_REJECTION_FACTOR: f64 = 1.1;

/// How the noise of one response comes about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoiseModel {
    /// Upper bound of `||W||^2`.
    pub weight_norm_squared: f64,
    /// Low bits dropped from the request, rc.
    pub request_drop_bits: u32,
    /// Low bits dropped from the response, dr.
    pub response_drop_bits: u32,
    /// Levels m of merging: `2^m` leaves a response.
    pub merge_levels: u32,
}

impl NoiseModel {
    /// Variance of the noise of one response coefficient.
    #[must_use]
    pub fn variance(&self, params: &RlweParams) -> f64 {
        let secret_weight = 2.0 * params.ring_degree() as f64 / 3.0;
        let request =
            ERROR_VARIANCE + dropped_variance(self.request_drop_bits) + 2.0 * ENCODING_VARIANCE;
        let response = 2.0 * ERROR_VARIANCE + dropped_variance(self.response_drop_bits);
        request * self.weight_norm_squared
            + KEY_REJECTION_FACTOR * response * secret_weight
            + merge_factor(self.merge_levels) * key_switch_variance(params)
    }

    /// Window over noise deviation, `q / (2T * sigma_n)`: the response is wrong with probability at
    /// most `2 exp(-margin^2 / 2)` a coefficient.
    #[must_use]
    pub fn margin(&self, params: &RlweParams, output_bits: u32) -> f64 {
        let window = params.modulus() as f64 / 2.0 / power_of_two(output_bits);
        window / self.variance(params).sqrt()
    }
}

/// Key switches whose noise a merged coefficient collects: level j doubles what came before it, so
/// `1 + 4 + ... + 4^(m-1)`.
fn merge_factor(levels: u32) -> f64 {
    (power_of_two(2 * levels) - 1.0) / 3.0
}

/// Variance that one key switch adds: uniform digits times errors of the keys, over P, and rounding.
/// Digits in `[-2^(w-1), 2^(w-1))` have second moment `(4^w + 2)/12`.
fn key_switch_variance(params: &RlweParams) -> f64 {
    let Some(key_switch) = params.key_switch() else { return 0.0 };
    let n = params.ring_degree() as f64;
    let digits = 0..key_switch.digits;
    let squares = digits.map(|index| {
        let left = params.modulus_bits().saturating_sub(index * key_switch.digit_bits);
        power_of_two(2 * left.min(key_switch.digit_bits)) + 2.0
    });
    let special = (key_switch.special_prime as f64).powi(2);
    let errors = n * ERROR_VARIANCE * squares.sum::<f64>() / 12.0 / special;
    KEY_REJECTION_FACTOR * errors + (1.0 + KEY_REJECTION_FACTOR * 2.0 * n / 3.0) / 12.0
}

/// Variance that dropping `bits` low bits adds: uniform on `2^bits` values, rebuilt at one of the two
/// middle ones at random so that its mean is zero.
fn dropped_variance(bits: u32) -> f64 {
    if bits == 0 { 0.0 } else { (power_of_two(2 * bits) + 2.0) / 12.0 }
}

/// `2^exponent`, or more than any figure of a plan.
fn power_of_two(exponent: u32) -> f64 {
    f64::from_bits(u64::from(exponent.min(1023) + 1023) << 52)
}

/// The margin that keeps `outputs` coefficients right but for a probability of `2^-budget_log2`.
#[must_use]
pub fn required_margin(outputs: usize, budget_log2: u32) -> f64 {
    let ln = (2.0 * outputs as f64).ln() + f64::from(budget_log2) * std::f64::consts::LN_2;
    (2.0 * ln).sqrt()
}

/// No error budget is below `2^-this`: what is secure against computation is no better.
pub const MAX_BUDGET_LOG2: u32 = 128;

/// Whether an error budget of `2^-budget_log2` an inference is one that may be used: the window is
/// also the statistical privacy term.
#[must_use]
pub fn is_allowed_budget(budget_log2: u32) -> bool {
    (STATISTICAL_SECURITY_BITS..=MAX_BUDGET_LOG2).contains(&budget_log2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::RlweSpec;

    #[test]
    fn required_margin_matches_the_known_values() {
        for (outputs, expected) in [(1 << 17, 8.97), (10_000_000, 9.44)] {
            assert!((required_margin(outputs, 40) - expected).abs() < 0.01);
        }
    }

    #[test]
    fn margin_halves_with_every_output_bit() {
        let params = RlweParams::check(RlweSpec::new(2048, 40)).unwrap();
        let model = NoiseModel {
            weight_norm_squared: 1e6,
            request_drop_bits: 2,
            response_drop_bits: 9,
            merge_levels: 0,
        };
        let ratio = model.margin(&params, 17) / model.margin(&params, 18);
        assert!((ratio - 2.0).abs() < 1e-9);
    }
}
