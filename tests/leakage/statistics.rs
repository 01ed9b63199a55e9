//! Tests of uniformity, and how often they are wrong.
//!
//! A statistic of chi-square becomes a deviate of the normal distribution by the cube root of Wilson and
//! Hilferty, which is right to a few per cent of its tail for hundreds of bins. Both tails count: too even is
//! not random either. A deviate exceeds [`LIMIT`] with probability 2^-21 for the seed at hand, once and for all.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// Largest deviate: either tail beyond it has 2.9e-7, both have 2^-20.7.
pub(crate) const LIMIT: f64 = 5.0;

/// Bins of a histogram, unless there are fewer values.
const BINS: usize = 1 << 8;

/// Counts of equally likely outcomes.
struct Histogram(Vec<u64>);

impl Histogram {
    fn new(bins: usize, outcomes: impl Iterator<Item = usize>) -> Self {
        let mut counts = vec![0; bins];
        outcomes.for_each(|outcome| counts[outcome] += 1);
        Self(counts)
    }

    /// How far the counts are from equal ones, in deviations.
    fn deviate(&self) -> f64 {
        let total = self.0.iter().sum::<u64>() as f64;
        let expected = total / self.0.len() as f64;
        assert!(expected >= 20.0, "too few values: {expected} a bin");
        let freedom = (self.0.len() - 1) as f64;
        let square = |count: &u64| (*count as f64 - expected).powi(2) / expected;
        let sum: f64 = self.0.iter().map(square).sum();
        if self.0.len() == 2 {
            // One degree of freedom: the square of a deviate.
            return sum.sqrt();
        }
        let spread = 2.0 / (9.0 * freedom);
        ((sum / freedom).cbrt() - 1.0 + spread) / spread.sqrt()
    }
}

/// Asserts that `values` are uniform below `range`, by their upper and by their lower bits.
pub(crate) fn check_uniform(name: &str, values: &[u64], range: u128) {
    // Twenty and more in each bin, and no bin much larger than another.
    let mut bins = BINS;
    while bins > 2 && (bins as u128 > range || values.len() < 32 * bins) {
        bins /= 2;
    }
    let upper = |&value: &u64| (u128::from(value) * bins as u128 / range) as usize;
    let lower = |&value: &u64| value as usize % bins;
    for (part, histogram) in [
        ("upper", Histogram::new(bins, values.iter().map(upper))),
        ("lower", Histogram::new(bins, values.iter().map(lower))),
    ] {
        let deviate = histogram.deviate();
        assert!(deviate.abs() < LIMIT, "{name}, {part} bits of {}: {deviate}", values.len());
    }
}

/// Asserts that the bytes of messages are uniform, if there are enough of them to tell.
pub(crate) fn check_bytes(name: &str, messages: &[Vec<u8>]) {
    let bytes: Vec<u64> = messages.iter().flatten().map(|&byte| u64::from(byte)).collect();
    if bytes.len() >= 64 {
        check_uniform(name, &bytes, 1 << 8);
    }
}

#[test]
fn what_is_not_uniform_is_seen() {
    let seen = |values: &[u64], range| {
        let values = values.to_vec();
        std::panic::catch_unwind(move || check_uniform("biased", &values, range)).is_err()
    };
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let fair: Vec<u64> = (0..1 << 18).map(|_| rng.next_u64() >> 44).collect();
    // Every eighth value has its highest, or its lowest, bit set.
    let [high, low] = [1 << 19, 1].map(|bit| {
        let set = |(index, value): (usize, &u64)| if index % 8 == 0 { value | bit } else { *value };
        fair.iter().enumerate().map(set).collect::<Vec<_>>()
    });
    assert!(!seen(&fair, 1 << 20));
    assert!(seen(&high, 1 << 20) && seen(&low, 1 << 20) && seen(&[0; 4096], 1 << 20));
    assert!(seen(&(0..1 << 20).collect::<Vec<_>>(), 1 << 20), "too even");
}
