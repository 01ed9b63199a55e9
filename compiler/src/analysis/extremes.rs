//! Between what sums of products lie: exact arithmetic on ranges.

use heq_ir::integer::IntRange;

/// A range of sums, wide enough for any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extremes {
    pub(super) lowest: i128,
    pub(super) highest: i128,
}

impl Extremes {
    pub(super) fn of(range: IntRange) -> Self {
        Self { lowest: i128::from(range.lo), highest: i128::from(range.hi) }
    }

    pub(super) fn constant(value: i128) -> Self {
        Self { lowest: value, highest: value }
    }

    pub(super) fn symmetric(magnitude: i128) -> Self {
        Self { lowest: -magnitude, highest: magnitude }
    }

    pub(super) fn with_zero(self) -> Self {
        Self { lowest: self.lowest.min(0), highest: self.highest.max(0) }
    }

    pub(super) fn times(self, factor: i128) -> Self {
        let (a, b) = (self.lowest.saturating_mul(factor), self.highest.saturating_mul(factor));
        Self { lowest: a.min(b), highest: a.max(b) }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            lowest: self.lowest.saturating_add(other.lowest),
            highest: self.highest.saturating_add(other.highest),
        }
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self { lowest: self.lowest.min(other.lowest), highest: self.highest.max(other.highest) }
    }

    /// Smallest width whose signed range holds both.
    pub(super) fn signed_bits(self) -> u32 {
        let magnitude = self.highest.max(-1 - self.lowest).max(0);
        i128::BITS - magnitude.leading_zeros() + 1
    }

    /// The range, of a sum that an accumulator of at most 48 bits holds.
    pub(super) fn range(self) -> IntRange {
        let bound = |value: i128| {
            let limit = i128::from(i64::MAX);
            i64::try_from(value.clamp(-limit, limit)).unwrap_or(0)
        };
        IntRange { lo: bound(self.lowest), hi: bound(self.highest) }
    }
}

/// Sums of the weights of a kernel by their sign.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SignedSums {
    positive: i64,
    negative: i64,
}

impl SignedSums {
    pub(super) fn add(&mut self, weight: i32) {
        self.positive += i64::from(weight.max(0));
        self.negative += i64::from(weight.min(0));
    }

    /// What the sum of products lies in, for values in `x`, which has zero.
    pub(super) fn extremes(self, multiplier: i64, x: Extremes) -> Extremes {
        let folded =
            [self.positive, self.negative].map(|sum| i128::from(sum) * i128::from(multiplier));
        folded.into_iter().map(|sum| x.times(sum)).fold(Extremes::default(), Extremes::plus)
    }
}
