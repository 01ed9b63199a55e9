//! Integer multipliers for the real factors of a requantization.
//!
//! Symbols: `M[k]` is the real factor of channel k, `m[k]` its integer multiplier of `mu` bits, `s`
//! the common shift: `M[k] ~ m[k]/2^s`, with `s` the largest for which `|m[k]| <= 2^mu - 1`.
//! Source: docs/integer-network.md.

/// The widest multiplier that is chosen automatically, in bits.
const MAX_AUTO_BITS: u32 = 12;

/// Bits that a multiplier or factor keeps beyond the width of the output: with 3 it is at most
/// `2^-(b+3)` off relatively, so that an output moves by at most an eighth of its step.
const EXTRA_BITS: u32 = 3;

/// The widest multiplier that can be asked for, in bits.
pub const MAX_FIXED_BITS: u32 = heq_ir::secure::MAX_MULTIPLIER_BITS;

/// Largest shift; the accumulator must fit in 64 bits together with it.
const MAX_SHIFT: i32 = 62;

/// How far, relatively, a factor may be from `m/2^s` and still count as exactly it. Factors are
/// products of about six binary32 numbers and a square root, each with a relative error of at most
/// 2^-24; 2^-20 covers them, and moves an 8-bit result by less than 2^-12 of its step.
const EXACT_TOLERANCE: f64 = 1.0 / (1 << 20) as f64;

/// Precision asked of a result that has no width of its own, in bits.
pub(super) const RESULT_BITS: u32 = 8;

/// How wide multipliers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MultiplierBits {
    /// As wide as the precision of each layer asks for, at most 12 bits.
    #[default]
    Auto,
    /// This many bits, 1 to [`MAX_FIXED_BITS`]; fewer where they are exact.
    Fixed(u32),
}

/// Multipliers with their common power of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Multipliers {
    /// `m[k]`.
    pub(super) values: Vec<i64>,
    /// `mu`; 0 if every multiplier is 1 or -1.
    pub(super) bits: u32,
    /// `s`.
    pub(super) shift: i32,
}

/// The common shift of a sum that is requantized to `output_bits` bits: of factors that become
/// multipliers of weights, one list a linear term, and of public factors. `None` if there is none.
///
/// Multipliers cost width, so the shift is the smallest that is precise enough for every list, but
/// no larger than the widest multipliers allow. Public factors cost nothing.
pub(super) fn common_shift(
    linear: &[Vec<f64>],
    scaled: &[f64],
    output_bits: u32,
    choice: MultiplierBits,
) -> Option<i32> {
    /// Most bits of precision that a term may lose to one of larger factors.
    const LOST_BITS: i32 = 4;
    let mut shift = 0;
    let mut limit = MAX_SHIFT;
    for real in linear {
        let chosen = choose(real, output_bits, choice, 0)?.shift;
        if chosen > MAX_SHIFT {
            return None;
        }
        shift = shift.max(chosen);
        let largest = real.iter().map(|m| m.abs()).fold(0.0, f64::max);
        if largest > 0.0 {
            limit = limit.min(largest_shift(largest, MAX_FIXED_BITS)?);
        }
    }
    for &factor in scaled {
        shift = shift.max(factor_shift(factor, output_bits)?);
    }
    let wanted = shift;
    let shift = shift.min(limit);
    ((0..=MAX_SHIFT).contains(&shift) && wanted - shift <= LOST_BITS).then_some(shift)
}

/// Multipliers for factors `real` at a given shift; `None` if one is wider than allowed.
pub(super) fn at_shift(real: &[f64], shift: i32) -> Option<Multipliers> {
    let values = round_all(real, shift)?;
    let bits = width(&values);
    (bits <= MAX_FIXED_BITS).then_some(Multipliers { values, bits, shift })
}

/// The smallest shift at which a public factor is exact or precise enough.
fn factor_shift(factor: f64, output_bits: u32) -> Option<i32> {
    (0..=MAX_SHIFT).find(|&shift| {
        round(factor * power_of_two(shift)).is_some_and(|value| {
            value.unsigned_abs() >= least_precise(output_bits)
                || is_exact(&[factor], &[value], shift)
        })
    })
}

/// The real value of one step of a result that is not requantized, of which factors `real` are nearly
/// multiples; `None` if every factor is 0. Any step will do, so exact ratios are preferred.
pub(super) fn common_scale(real: &[f64], choice: MultiplierBits) -> Option<f64> {
    let smallest = real.iter().map(|m| m.abs()).filter(|m| *m > 0.0).fold(f64::INFINITY, f64::min);
    if !smallest.is_finite() {
        return None;
    }
    let chosen = choose(real, RESULT_BITS, choice, i32::MIN)?;
    let ratios: Vec<f64> = real.iter().map(|m| m / smallest).collect();
    if let Some(values) = round_all(&ratios, 0) {
        let bits = width(&values);
        if bits <= chosen.bits && is_exact(&ratios, &values, 0) {
            return Some(smallest);
        }
    }
    Some(power_of_two(-chosen.shift))
}

/// The step of which all of `real` are small multiples, up to the rounding of binary32.
pub(super) fn common_step(real: &[f64]) -> Option<f64> {
    /// Largest denominator that is tried.
    const MAX_PARTS: u32 = 64;
    let smallest = real.iter().map(|m| m.abs()).filter(|m| *m > 0.0).fold(f64::INFINITY, f64::min);
    (1..=MAX_PARTS).map(|parts| smallest / f64::from(parts)).find(|step| {
        let ratios: Vec<f64> = real.iter().map(|m| m / step).collect();
        step.is_finite()
            && round_all(&ratios, 0).is_some_and(|values| is_exact(&ratios, &values, 0))
    })
}

/// The fewest bits that are exact or precise enough, or the ones asked for.
fn choose(
    real: &[f64],
    output_bits: u32,
    choice: MultiplierBits,
    least_shift: i32,
) -> Option<Multipliers> {
    let largest = real.iter().map(|m| m.abs()).fold(0.0, f64::max);
    if largest <= 0.0 {
        return Some(Multipliers { values: vec![0; real.len()], bits: 1, shift: 0 });
    }
    let (most_bits, fixed) = match choice {
        MultiplierBits::Auto => (MAX_AUTO_BITS, false),
        MultiplierBits::Fixed(bits) => (bits, true),
    };
    for bits in 1..=most_bits {
        let shift = largest_shift(largest, bits)?;
        if shift < least_shift {
            continue;
        }
        let values = round_all(real, shift)?;
        let exact = is_exact(real, &values, shift);
        let precise = !fixed && is_precise(real, &values, output_bits);
        if exact || precise || bits == most_bits {
            let bits = if exact { width(&values) } else { bits };
            return Some(Multipliers { values, bits, shift });
        }
    }
    None
}

/// The largest `s` with `round(largest*2^s) <= 2^bits - 1`.
fn largest_shift(largest: f64, bits: u32) -> Option<i32> {
    let limit = f64::from((1_u32 << bits) - 1) + 0.5;
    let estimate = (limit / largest).log2().floor();
    if estimate.abs() > 512.0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded just above")]
    let mut shift = estimate as i32;
    while largest * power_of_two(shift) >= limit {
        shift -= 1;
    }
    while largest * power_of_two(shift + 1) < limit {
        shift += 1;
    }
    Some(shift)
}

/// `round(real[k]*2^shift)`, ties away from zero.
pub(super) fn round_all(real: &[f64], shift: i32) -> Option<Vec<i64>> {
    real.iter().map(|value| round(value * power_of_two(shift))).collect()
}

/// `floor(real[k]*2^shift)`, where what is an integer up to the rounding of binary32 counts as one.
pub(super) fn floor_all(real: &[f64], shift: i32) -> Option<Vec<i64>> {
    let floor = |value: &f64| {
        let scaled = value * power_of_two(shift);
        round(if is_integer(scaled) { scaled } else { scaled.floor() })
    };
    real.iter().map(floor).collect()
}

/// Whether all are integers up to the rounding of binary32.
pub(super) fn are_integers(real: &[f64]) -> bool {
    real.iter().all(|&value| is_integer(value))
}

fn is_integer(value: f64) -> bool {
    (value - value.round()).abs() <= EXACT_TOLERANCE * value.abs().max(1.0)
}

/// The nearest integer, ties away from zero; `None` beyond 62 bits.
pub(super) fn round(value: f64) -> Option<i64> {
    let limit = power_of_two(62);
    #[expect(clippy::cast_possible_truncation, reason = "guarded by the limit")]
    (value.abs() < limit).then(|| value.round() as i64)
}

/// Whether every factor is its multiplier times a power of two, up to the rounding of binary32.
#[expect(clippy::cast_precision_loss, reason = "multipliers that matter have at most 16 bits")]
fn is_exact(real: &[f64], values: &[i64], shift: i32) -> bool {
    real.iter().zip(values).all(|(real, &value)| {
        let scaled = real * power_of_two(shift);
        (scaled - value as f64).abs() <= EXACT_TOLERANCE * scaled.abs()
    })
}

/// The smallest multiplier of [`EXTRA_BITS`] bits more than the output has.
pub(crate) fn least_precise(output_bits: u32) -> u64 {
    1 << (output_bits + EXTRA_BITS - 1)
}

/// Whether the multiplier at the 10th percentile (nearest rank, channels that are 0 left out) is
/// precise enough.
fn is_precise(real: &[f64], values: &[i64], output_bits: u32) -> bool {
    let used = real.iter().zip(values).filter(|(real, _)| real.abs() > 0.0);
    is_percentile_precise(used.map(|(_, value)| value.unsigned_abs()).collect(), output_bits)
}

/// Whether the multiplier at the 10th percentile, of those that are not 0, is precise enough.
pub(crate) fn are_precise(values: &[i64], output_bits: u32) -> bool {
    let used = values.iter().filter(|&&value| value != 0);
    is_percentile_precise(used.map(|value| value.unsigned_abs()).collect(), output_bits)
}

fn is_percentile_precise(mut sizes: Vec<u64>, output_bits: u32) -> bool {
    sizes.sort_unstable();
    let rank = sizes.len().div_ceil(10).max(1);
    sizes.get(rank - 1).is_none_or(|&size| size >= least_precise(output_bits))
}

/// Bits of the largest multiplier; 0 if all are 1 or -1.
pub(crate) fn width(values: &[i64]) -> u32 {
    if values.iter().all(|value| value.unsigned_abs() == 1) {
        return 0;
    }
    let largest = values.iter().map(|value| value.unsigned_abs()).max().unwrap_or(0);
    (u64::BITS - largest.leading_zeros()).max(1)
}

pub(super) fn power_of_two(exponent: i32) -> f64 {
    2.0_f64.powi(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Multipliers of one linear term.
    fn shifted(real: &[f64], output_bits: u32, choice: MultiplierBits) -> Option<Multipliers> {
        at_shift(real, common_shift(&[real.to_vec()], &[], output_bits, choice)?)
    }

    fn check(real: &[f64], output_bits: u32, values: &[i64], bits: u32, shift: i32) {
        let found = shifted(real, output_bits, MultiplierBits::Auto).unwrap();
        let expected = Multipliers { values: values.to_vec(), bits, shift };
        assert_eq!(found, expected, "{real:?} before {output_bits} bits");
    }

    #[test]
    fn exact_factors_need_few_bits() {
        check(&[0.125; 3], 4, &[1, 1, 1], 0, 3);
        check(&[0.125, -0.125], 4, &[1, -1], 0, 3);
        check(&[0.125, 0.5, 0.25], 4, &[1, 4, 2], 3, 3);
        check(&[0.375, 0.0], 4, &[3, 0], 2, 3);
        check(&[0.125 * (1.0 + 1e-7)], 4, &[1], 0, 3);
        check(&[0.0; 2], 4, &[0, 0], 1, 0);
    }

    #[test]
    fn other_factors_keep_three_bits_more_than_the_output() {
        check(&[0.0371], 4, &[76], 7, 11);
        check(&[0.0371], 2, &[19], 5, 9);
        // The smallest of 20 channels is below the 10th percentile, the second smallest is not.
        let mut real = vec![0.0371; 18];
        real.extend([0.0371 / 64.0, 0.0371 / 4.1]);
        let found = shifted(&real, 4, MultiplierBits::Auto).unwrap();
        assert_eq!((found.bits, found.shift), (9, 13));
        assert_eq!(found.values[18..], [5, 74]);
    }

    #[test]
    fn width_asked_for() {
        let found = shifted(&[0.0371], 4, MultiplierBits::Fixed(3)).unwrap();
        assert_eq!((&found.values[..], found.bits, found.shift), (&[5][..], 3, 7));
        let exact = shifted(&[0.5], 4, MultiplierBits::Fixed(3)).unwrap();
        assert_eq!((exact.bits, exact.shift), (0, 1));
    }

    #[test]
    fn factors_out_of_reach() {
        assert_eq!(shifted(&[1e5], 4, MultiplierBits::Auto), None);
        assert_eq!(shifted(&[1e-30], 4, MultiplierBits::Auto), None);
        assert_eq!(shifted(&[1e-300], 4, MultiplierBits::Auto), None);
        check(&[100.3], 1, &[100], 7, 0);
    }

    #[test]
    fn sums_share_a_shift() {
        // 76 = 0.0371*2^11 would do alone; the second list asks for a larger shift.
        let lists = [vec![0.0371], vec![0.0093]];
        assert_eq!(common_shift(&lists, &[], 4, MultiplierBits::Auto), Some(13));
        assert_eq!(common_shift(&lists[..1], &[0.51], 4, MultiplierBits::Auto), Some(11));
        assert_eq!(common_shift(&[], &[0.51], 4, MultiplierBits::Auto), Some(7));
        assert_eq!(common_shift(&[], &[0.75, 2.0], 4, MultiplierBits::Auto), Some(2));
        // The widest multiplier limits the shift, unless a term would lose too much.
        let apart = |ratio: f64| [vec![0.9], vec![0.9 / ratio]];
        assert_eq!(common_shift(&apart(8.0), &[], 8, MultiplierBits::Auto), Some(12));
        assert_eq!(common_shift(&apart(4096.0), &[], 8, MultiplierBits::Auto), None);
    }

    #[test]
    fn steps_that_factors_share() {
        assert_eq!(common_step(&[0.5, -0.75]), Some(0.25));
        assert_eq!(common_step(&[0.3]), Some(0.3));
        assert_eq!(common_step(&[1.0, 0.3711]), None);
        assert_eq!(common_step(&[]), None);
    }

    #[test]
    fn results_without_requantization_share_a_scale() {
        let check = |real: &[f64], values: &[i64], scale: f64| {
            let found = common_scale(real, MultiplierBits::Auto).unwrap();
            assert!((found - scale).abs() < 1e-12, "{real:?}: {found}");
            let steps: Vec<f64> = real.iter().map(|m| m / found).collect();
            assert_eq!(at_shift(&steps, 0).unwrap().values, values, "{real:?}");
        };
        check(&[0.003; 4], &[1; 4], 0.003);
        check(&[0.003, -0.012], &[1, -4], 0.003);
        check(&[0.003, 0.0071], &[1573, 3722], 1.0 / f64::from(1 << 19));
        assert_eq!(common_scale(&[0.0; 2], MultiplierBits::Auto), None);
    }
}
