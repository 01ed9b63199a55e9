//! The transform for primes below 2^50 by AVX-512 IFMA.
//!
//! Two stages to a pass over memory, the last four (the inverse: the first four) on pairs of vectors,
//! with lanes permuted between stages. Below a bound on q no stage reduces its sums: all values are
//! right mod 2^52 and bounded by it, so that the bits above are never looked at.
#![expect(unsafe_code, reason = "the processor's features are known at run time alone")]

use super::Roots;
use crate::ifma::{
    Factor, IfmaModulus, Lanes, load, load_four, load_two, splat, splat_factor, store,
};
use std::arch::x86_64::*;
use std::ops::RangeInclusive;

/// Without reduction a forward stage adds 2q to the bound: 28q below 2^52 after 13 stages.
const FORWARD_UNREDUCED_BITS: u32 = 47;

/// Without reduction an inverse stage doubles the bound: 2^13 * q below 2^52 after 13 stages.
const INVERSE_UNREDUCED_BITS: u32 = 39;

/// Log2 of the ring degrees: the bounds cover 13 stages, the passes need 6.
const STAGES: RangeInclusive<u32> = 6..=13;

type Vector = [u64; 8];

/// Twiddle factors in bit-reversed order.
#[derive(Clone, Debug)]
pub(super) struct Twiddles {
    modulus: IfmaModulus,
    forward: Factors,
    inverse: Factors,
    inverse_degree: [u64; 2],
    /// The root of the last inverse stage over the degree.
    last_root: [u64; 2],
}

#[derive(Clone, Debug)]
struct Factors {
    values: Vec<u64>,
    quotients: Vec<u64>,
}

/// The words of the four stages within a pair of vectors, by pair.
struct Tails<'a> {
    one: &'a [u64],
    two: &'a [[u64; 2]],
    four: &'a [[u64; 4]],
    eight: &'a [[u64; 8]],
}

/// The factors of the four stages within one pair of vectors.
struct Tail {
    one: Factor,
    two: Factor,
    four: Factor,
    eight: Factor,
}

impl<'a> Tails<'a> {
    fn new(words: &'a [u64]) -> Self {
        let n = words.len();
        Self {
            one: &words[n / 16..n / 8],
            two: words[n / 8..n / 4].as_chunks().0,
            four: words[n / 4..n / 2].as_chunks().0,
            eight: words[n / 2..].as_chunks().0,
        }
    }

    /// Lanes in the order in which [`interleave`] puts the blocks.
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    #[inline]
    fn factors(&self, quotients: &Self, pair: usize) -> Tail {
        let of = |value, quotient| Factor { value, quotient };
        Tail {
            one: of(splat(self.one[pair]), splat(quotients.one[pair])),
            two: of(load_two(&self.two[pair]), load_two(&quotients.two[pair])),
            four: of(load_four(&self.four[pair]), load_four(&quotients.four[pair])),
            eight: of(load(&self.eight[pair]), load(&quotients.eight[pair])),
        }
    }
}

impl Factors {
    fn new(modulus: &IfmaModulus, values: &[u64]) -> Self {
        let quotients = values.iter().map(|&value| modulus.quotient(value)).collect();
        Self { values: values.to_vec(), quotients }
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    #[inline]
    fn at(&self, index: usize) -> Factor {
        splat_factor([self.values[index], self.quotients[index]])
    }
}

impl Twiddles {
    /// The factors, if this processor and this prime can take the path.
    pub(super) fn new(roots: &Roots) -> Option<Self> {
        let modulus = IfmaModulus::new(&roots.modulus)?;
        if !STAGES.contains(&roots.forward.len().ilog2()) {
            return None;
        }
        let last_root = roots.modulus.mul(roots.inverse[1], roots.inverse_degree);
        let with_quotient = |factor| [factor, modulus.quotient(factor)];
        Some(Self {
            forward: Factors::new(&modulus, &roots.forward),
            inverse: Factors::new(&modulus, &roots.inverse),
            inverse_degree: with_quotient(roots.inverse_degree),
            last_root: with_quotient(last_root),
            modulus,
        })
    }

    pub(super) fn forward(&self, values: &mut [u64]) {
        let (vectors, _) = values.as_chunks_mut();
        // SAFETY: the modulus exists, so the processor has the features.
        unsafe {
            if self.modulus.value() >> FORWARD_UNREDUCED_BITS == 0 {
                self.forward_vectors::<false>(vectors);
            } else {
                self.forward_vectors::<true>(vectors);
            }
        }
    }

    pub(super) fn inverse(&self, values: &mut [u64]) {
        let (vectors, _) = values.as_chunks_mut();
        // SAFETY: the modulus exists, so the processor has the features.
        unsafe {
            if self.modulus.value() >> INVERSE_UNREDUCED_BITS == 0 {
                self.inverse_vectors::<false>(vectors);
            } else {
                self.inverse_vectors::<true>(vectors);
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn forward_vectors<const REDUCED: bool>(&self, values: &mut [Vector]) {
        let m = self.modulus.lanes();
        let mut blocks = 1;
        let mut half = values.len() / 2;
        if half.ilog2() % 2 == 1 {
            let root = self.forward.at(1);
            let (left, right) = values.split_at_mut(half);
            for (u, v) in left.iter_mut().zip(right) {
                let (x, y) = forward_butterfly::<REDUCED>(&m, load(u), load(v), root);
                store(u, x);
                store(v, y);
            }
            (blocks, half) = (2, half / 2);
        }
        while half > 1 {
            for (block, values) in values.chunks_exact_mut(2 * half).enumerate() {
                let outer = self.forward.at(blocks + block);
                let left = self.forward.at(2 * (blocks + block));
                let right = self.forward.at(2 * (blocks + block) + 1);
                for_quarters(values, |[a, b, c, d]| {
                    let (a, c) = forward_butterfly::<REDUCED>(&m, a, c, outer);
                    let (b, d) = forward_butterfly::<REDUCED>(&m, b, d, outer);
                    let (a, b) = forward_butterfly::<REDUCED>(&m, a, b, left);
                    let (c, d) = forward_butterfly::<REDUCED>(&m, c, d, right);
                    [a, b, c, d]
                });
            }
            (blocks, half) = (4 * blocks, half / 4);
        }
        let [roots, quotients] =
            [&self.forward.values, &self.forward.quotients].map(|words| Tails::new(words));
        for (pair, values) in values.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let tail = roots.factors(&quotients, pair);
            let [a, b] = [load(&values[0]), load(&values[1])];
            let (a, b) = forward_butterfly::<REDUCED>(&m, a, b, tail.one);
            let (a, b) = interleave((a, b));
            let (a, b) = forward_butterfly::<REDUCED>(&m, a, b, tail.two);
            let (a, b) = interleave((a, b));
            let (a, b) = forward_butterfly::<REDUCED>(&m, a, b, tail.four);
            let (a, b) = interleave((a, b));
            let (a, b) = forward_butterfly::<REDUCED>(&m, a, b, tail.eight);
            let (a, b) = interleave((a, b));
            for (value, word) in values.iter_mut().zip([a, b]) {
                let below = if REDUCED { m.halve_range(word) } else { m.reduce(m.word(word)) };
                store(value, m.normalise(below));
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn inverse_vectors<const REDUCED: bool>(&self, values: &mut [Vector]) {
        let m = self.modulus.lanes();
        // A multiple of q above every value: 2q, or where nothing is reduced q, doubled by each stage.
        let bound = if REDUCED { m.two_q } else { m.q };
        let doubled = |bound| if REDUCED { bound } else { _mm512_add_epi64(bound, bound) };
        let [roots, quotients] =
            [&self.inverse.values, &self.inverse.quotients].map(|words| Tails::new(words));
        let mut bounds = [bound; 5];
        (1..5).for_each(|stage| bounds[stage] = doubled(bounds[stage - 1]));
        for (pair, values) in values.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let tail = roots.factors(&quotients, pair);
            let (a, b) = deinterleave((load(&values[0]), load(&values[1])));
            let (a, b) = inverse_butterfly::<REDUCED>(&m, a, b, bounds[0], tail.eight);
            let (a, b) = deinterleave((a, b));
            let (a, b) = inverse_butterfly::<REDUCED>(&m, a, b, bounds[1], tail.four);
            let (a, b) = deinterleave((a, b));
            let (a, b) = inverse_butterfly::<REDUCED>(&m, a, b, bounds[2], tail.two);
            let (a, b) = deinterleave((a, b));
            let (a, b) = inverse_butterfly::<REDUCED>(&m, a, b, bounds[3], tail.one);
            store(&mut values[0], a);
            store(&mut values[1], b);
        }
        let mut bound = bounds[4];
        let mut half = 2;
        let mut blocks = values.len() / 4;
        if blocks.ilog2().is_multiple_of(2) {
            for (block, values) in values.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let root = self.inverse.at(blocks + block);
                let (left, right) = values.split_at_mut(half);
                for (u, v) in left.iter_mut().zip(right) {
                    let (x, y) = inverse_butterfly::<REDUCED>(&m, load(u), load(v), bound, root);
                    store(u, x);
                    store(v, y);
                }
            }
            bound = doubled(bound);
            (blocks, half) = (blocks / 2, 2 * half);
        }
        while blocks > 2 {
            for (block, values) in values.chunks_exact_mut(4 * half).enumerate() {
                let left = self.inverse.at(blocks + 2 * block);
                let right = self.inverse.at(blocks + 2 * block + 1);
                let outer = self.inverse.at(blocks / 2 + block);
                for_quarters(values, |[a, b, c, d]| {
                    let (a, b) = inverse_butterfly::<REDUCED>(&m, a, b, bound, left);
                    let (c, d) = inverse_butterfly::<REDUCED>(&m, c, d, bound, right);
                    let (a, c) = inverse_butterfly::<REDUCED>(&m, a, c, doubled(bound), outer);
                    let (b, d) = inverse_butterfly::<REDUCED>(&m, b, d, doubled(bound), outer);
                    [a, b, c, d]
                });
            }
            bound = doubled(doubled(bound));
            (blocks, half) = (blocks / 4, 4 * half);
        }
        let [left, right] = [self.inverse.at(2), self.inverse.at(3)];
        let sum = splat_factor(self.inverse_degree);
        let difference = splat_factor(self.last_root);
        for_quarters(values, |[a, b, c, d]| {
            let (a, b) = inverse_butterfly::<REDUCED>(&m, a, b, bound, left);
            let (c, d) = inverse_butterfly::<REDUCED>(&m, c, d, bound, right);
            let bound = doubled(bound);
            let last = |a, b| {
                let above = _mm512_add_epi64(_mm512_sub_epi64(a, b), bound);
                let sum = m.multiply(_mm512_add_epi64(a, b), sum);
                (m.normalise(sum), m.normalise(m.multiply(above, difference)))
            };
            let ((a, c), (b, d)) = (last(a, c), last(b, d));
            [a, b, c, d]
        });
    }
}

/// Applies `butterflies` to the vectors at equal places of the four quarters.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
#[inline]
fn for_quarters(values: &mut [Vector], butterflies: impl Fn([__m512i; 4]) -> [__m512i; 4]) {
    let (lower, upper) = values.split_at_mut(values.len() / 2);
    let (a, b) = lower.split_at_mut(lower.len() / 2);
    let (c, d) = upper.split_at_mut(upper.len() / 2);
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        let [w, x, y, z] = butterflies([load(a), load(b), load(c), load(d)]);
        store(a, w);
        store(b, x);
        store(c, y);
        store(d, z);
    }
}

/// `(a + b*root, a - b*root)`, both 2q higher at most.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
#[inline]
fn forward_butterfly<const REDUCED: bool>(
    m: &Lanes,
    a: __m512i,
    b: __m512i,
    root: Factor,
) -> (__m512i, __m512i) {
    if REDUCED {
        let (a, b) = (m.halve_range(a), m.multiply(b, root));
        (_mm512_add_epi64(a, b), _mm512_sub_epi64(_mm512_add_epi64(a, m.two_q), b))
    } else {
        let sum = m.multiply_add(a, b, root);
        let twice = _mm512_add_epi64(_mm512_add_epi64(a, a), m.two_q);
        (sum, _mm512_sub_epi64(twice, sum))
    }
}

/// `(a + b, (a - b)*root)` for values up to `bound`, a multiple of q.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
#[inline]
fn inverse_butterfly<const REDUCED: bool>(
    m: &Lanes,
    a: __m512i,
    b: __m512i,
    bound: __m512i,
    root: Factor,
) -> (__m512i, __m512i) {
    let sum = _mm512_add_epi64(a, b);
    let difference = _mm512_add_epi64(_mm512_sub_epi64(a, b), bound);
    if REDUCED {
        (m.halve_range(sum), m.multiply(difference, root))
    } else {
        (sum, m.multiply_add(_mm512_setzero_si512(), difference, root))
    }
}

/// Lanes of both vectors in turn.
///
/// From natural order, with x and y for the vectors, three times in a row:
/// `(x0 y0 x1 y1 x2 y2 x3 y3), (x4 y4 x5 y5 x6 y6 x7 y7)`, the halves of blocks of eight;
/// `(x0 x4 y0 y4 x1 x5 y1 y5), (x2 x6 y2 y6 x3 x7 y3 y7)`, of blocks of four;
/// `(x0 x2 x4 x6 y0 y2 y4 y6), (x1 x3 x5 x7 y1 y3 y5 y7)`, of blocks of two. Blocks repeat in the
/// order of their roots. A fourth time gives natural order again.
#[target_feature(enable = "avx512f")]
#[inline]
fn interleave((a, b): (__m512i, __m512i)) -> (__m512i, __m512i) {
    let first = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    let second = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
    (_mm512_permutex2var_epi64(a, first, b), _mm512_permutex2var_epi64(a, second, b))
}

/// The inverse of [`interleave`].
#[target_feature(enable = "avx512f")]
#[inline]
fn deinterleave((a, b): (__m512i, __m512i)) -> (__m512i, __m512i) {
    let even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    let odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
    (_mm512_permutex2var_epi64(a, even, b), _mm512_permutex2var_epi64(a, odd, b))
}
