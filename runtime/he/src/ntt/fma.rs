//! The transform for primes below 2^50 by AVX2 and FMA, in 64-bit floating point.
//!
//! Values are integers of magnitude below `2^53` held exactly. A product is taken apart into its
//! rounded value and the error of that, which a fused multiply-add gives exactly; subtracting q times
//! the rounded quotient leaves a small integer. With `|a| <= k*q`, `|w| <= q/2`, `q < 2^50` the
//! quotient is off by `1/2 + k/8` at most, so the result is within `(1/2 + k/8)*q`.
#![expect(unsafe_code, reason = "loads and stores; the processor's features are known at run time")]

use super::Roots;
use crate::modulus::Modulus;
use std::arch::x86_64::*;

/// Widest prime of this path.
const MAX_PRIME_BITS: u32 = 50;

/// `2^52`: with this exponent the low bits of a double are an integer.
const INTEGER_EXPONENT: f64 = 4_503_599_627_370_496.0;

/// Words that hold the bits of four doubles between the conversions.
type Vector = [u64; 4];

/// Twiddle factors in bit-reversed order. Exists only if the processor has AVX2 and FMA.
#[derive(Clone, Debug)]
pub(super) struct Twiddles {
    q: f64,
    forward: Factors,
    inverse: Factors,
    inverse_degree: [f64; 2],
    /// The root of the last inverse stage over the degree.
    last_root: [f64; 2],
}

/// Residues in `[-q/2, q/2]`, and these over q.
#[derive(Clone, Debug)]
struct Factors {
    values: Vec<f64>,
    quotients: Vec<f64>,
}

#[derive(Clone, Copy)]
struct Factor {
    value: __m256d,
    quotient: __m256d,
}

/// The modulus in every lane.
#[derive(Clone, Copy)]
struct Lanes {
    q: __m256d,
    /// `1/q`.
    inverse: __m256d,
}

/// A residue in `[-q/2, q/2]`, and this over q.
fn balanced(residue: u64, modulus: &Modulus) -> [f64; 2] {
    let q = modulus.value() as f64;
    let value = residue as f64 - if residue > modulus.value() / 2 { q } else { 0.0 };
    [value, value / q]
}

impl Factors {
    fn new(residues: &[u64], modulus: &Modulus) -> Self {
        let (values, quotients) =
            residues.iter().map(|&residue| balanced(residue, modulus).into()).unzip();
        Self { values, quotients }
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn one(&self, index: usize) -> Factor {
        factor([self.values[index], self.quotients[index]])
    }

    /// Factors `index` and `index + 1`, each twice.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn two(&self, index: usize) -> Factor {
        let twice = |f: &[f64]| _mm256_setr_pd(f[index], f[index], f[index + 1], f[index + 1]);
        Factor { value: twice(&self.values), quotient: twice(&self.quotients) }
    }

    /// Factors `index` to `index + 3`.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn four(&self, index: usize) -> Factor {
        let each = |f: &[f64]| _mm256_setr_pd(f[index], f[index + 1], f[index + 2], f[index + 3]);
        Factor { value: each(&self.values), quotient: each(&self.quotients) }
    }
}

impl Twiddles {
    /// The factors, if this processor and this prime can take the path.
    pub(super) fn new(roots: &Roots) -> Option<Self> {
        let supported = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let modulus = &roots.modulus;
        // The passes need six stages.
        if !supported || modulus.value() >> MAX_PRIME_BITS != 0 || roots.forward.len() < 64 {
            return None;
        }
        let last_root = modulus.mul(roots.inverse[1], roots.inverse_degree);
        Some(Self {
            q: modulus.value() as f64,
            forward: Factors::new(&roots.forward, modulus),
            inverse: Factors::new(&roots.inverse, modulus),
            inverse_degree: balanced(roots.inverse_degree, modulus),
            last_root: balanced(last_root, modulus),
        })
    }

    pub(super) fn forward(&self, values: &mut [u64]) {
        // SAFETY: the factors exist, so the processor has the features.
        unsafe { self.forward_vectors(values.as_chunks_mut().0) }
    }

    pub(super) fn inverse(&self, values: &mut [u64]) {
        // SAFETY: the factors exist, so the processor has the features.
        unsafe { self.inverse_vectors(values.as_chunks_mut().0) }
    }

    #[target_feature(enable = "avx2,fma")]
    fn lanes(&self) -> Lanes {
        Lanes { q: _mm256_set1_pd(self.q), inverse: _mm256_set1_pd(1.0 / self.q) }
    }

    /// Bounds: 5q/2 between passes.
    #[target_feature(enable = "avx2,fma")]
    fn forward_vectors(&self, values: &mut [Vector]) {
        let m = self.lanes();
        let mut blocks = 1;
        let mut half = values.len() / 2;
        values.iter_mut().for_each(|words| store(words, from_words(words)));
        if half.ilog2() % 2 == 1 {
            let root = self.forward.one(1);
            let (left, right) = values.split_at_mut(half);
            for (u, v) in left.iter_mut().zip(right) {
                let (x, y) = m.forward_butterfly(load(u), load(v), root);
                store(u, x);
                store(v, y);
            }
            (blocks, half) = (2, half / 2);
        }
        while half > 1 {
            for (block, values) in values.chunks_exact_mut(2 * half).enumerate() {
                let outer = self.forward.one(blocks + block);
                let left = self.forward.one(2 * (blocks + block));
                let right = self.forward.one(2 * (blocks + block) + 1);
                for_quarters(values, |[a, b, c, d]| {
                    let (a, c) = m.forward_butterfly(m.reduce(a), c, outer);
                    let (b, d) = m.forward_butterfly(m.reduce(b), d, outer);
                    let (a, b) = m.forward_butterfly(a, b, left);
                    let (c, d) = m.forward_butterfly(c, d, right);
                    [a, b, c, d]
                });
            }
            (blocks, half) = (4 * blocks, half / 4);
        }
        for (pair, values) in values.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let [a, b] = [load(&values[0]), load(&values[1])];
            let (a, b) = m.forward_butterfly(m.reduce(a), b, self.forward.one(blocks + pair));
            let (a, b) = swap_halves(a, b);
            let two = self.forward.two(2 * (blocks + pair));
            let (a, b) = m.forward_butterfly(a, b, two);
            let (a, b) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
            let four = self.forward.four(4 * (blocks + pair));
            let (a, b) = m.forward_butterfly(m.reduce(a), b, four);
            let (a, b) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
            let (a, b) = swap_halves(a, b);
            store(&mut values[0], m.to_words(a));
            store(&mut values[1], m.to_words(b));
        }
    }

    /// Bounds: q between passes, as the larger of `q/2` and `(1/2 + 4/8)*q`.
    #[target_feature(enable = "avx2,fma")]
    fn inverse_vectors(&self, values: &mut [Vector]) {
        let m = self.lanes();
        let mut blocks = values.len() / 2;
        for (pair, values) in values.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let [a, b] = [from_words(&values[0]), from_words(&values[1])];
            let (a, b) = swap_halves(a, b);
            let (a, b) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
            let four = self.inverse.four(4 * (blocks + pair));
            let (a, b) = m.inverse_butterfly(a, b, four);
            let (a, b) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
            let two = self.inverse.two(2 * (blocks + pair));
            let (a, b) = m.inverse_butterfly(m.reduce(a), m.reduce(b), two);
            let (a, b) = swap_halves(a, b);
            let (a, b) = m.inverse_butterfly(a, b, self.inverse.one(blocks + pair));
            store(&mut values[0], m.reduce(a));
            store(&mut values[1], b);
        }
        let mut half = 2;
        blocks /= 2;
        if blocks.ilog2().is_multiple_of(2) {
            for (block, values) in values.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let root = self.inverse.one(blocks + block);
                let (left, right) = values.split_at_mut(half);
                for (u, v) in left.iter_mut().zip(right) {
                    let (x, y) = m.inverse_butterfly(load(u), load(v), root);
                    store(u, m.reduce(x));
                    store(v, y);
                }
            }
            (blocks, half) = (blocks / 2, 2 * half);
        }
        while blocks > 2 {
            for (block, values) in values.chunks_exact_mut(4 * half).enumerate() {
                let left = self.inverse.one(blocks + 2 * block);
                let right = self.inverse.one(blocks + 2 * block + 1);
                let outer = self.inverse.one(blocks / 2 + block);
                for_quarters(values, |[a, b, c, d]| {
                    let (a, b) = m.inverse_butterfly(a, b, left);
                    let (c, d) = m.inverse_butterfly(c, d, right);
                    let (a, c) = m.inverse_butterfly(a, c, outer);
                    let (b, d) = m.inverse_butterfly(b, d, outer);
                    [m.reduce(a), m.reduce(b), c, d]
                });
            }
            (blocks, half) = (blocks / 4, 4 * half);
        }
        let [left, right] = [self.inverse.one(2), self.inverse.one(3)];
        let [sum, difference] = [factor(self.inverse_degree), factor(self.last_root)];
        for_quarters(values, |[a, b, c, d]| {
            let (a, b) = m.inverse_butterfly(a, b, left);
            let (c, d) = m.inverse_butterfly(c, d, right);
            let last = |a, b| {
                let above = m.multiply(_mm256_add_pd(a, b), sum);
                (m.to_words(above), m.to_words(m.multiply(_mm256_sub_pd(a, b), difference)))
            };
            let ((a, c), (b, d)) = (last(a, c), last(b, d));
            [a, b, c, d]
        });
    }
}

impl Lanes {
    /// `a*factor` plus a multiple of q, near zero.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn multiply(&self, a: __m256d, factor: Factor) -> __m256d {
        let product = _mm256_mul_pd(a, factor.value);
        let error = _mm256_fmsub_pd(a, factor.value, product);
        let quotient = round(_mm256_mul_pd(a, factor.quotient));
        _mm256_add_pd(_mm256_fnmadd_pd(quotient, self.q, product), error)
    }

    /// The residue in `[-q/2, q/2]`.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn reduce(&self, a: __m256d) -> __m256d {
        _mm256_fnmadd_pd(round(_mm256_mul_pd(a, self.inverse)), self.q, a)
    }

    /// The residue in `[0, q)` as a word.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn to_words(self, a: __m256d) -> __m256d {
        let residue = self.reduce(a);
        let negative = _mm256_cmp_pd::<_CMP_LT_OQ>(residue, _mm256_setzero_pd());
        let residue = _mm256_add_pd(residue, _mm256_and_pd(negative, self.q));
        let exponent = _mm256_set1_pd(INTEGER_EXPONENT);
        _mm256_xor_pd(_mm256_add_pd(residue, exponent), exponent)
    }

    /// `(a + b*root, a - b*root)`.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn forward_butterfly(&self, a: __m256d, b: __m256d, root: Factor) -> (__m256d, __m256d) {
        let b = self.multiply(b, root);
        (_mm256_add_pd(a, b), _mm256_sub_pd(a, b))
    }

    /// `(a + b, (a - b)*root)`.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn inverse_butterfly(&self, a: __m256d, b: __m256d, root: Factor) -> (__m256d, __m256d) {
        (_mm256_add_pd(a, b), self.multiply(_mm256_sub_pd(a, b), root))
    }
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn factor([value, quotient]: [f64; 2]) -> Factor {
    Factor { value: _mm256_set1_pd(value), quotient: _mm256_set1_pd(quotient) }
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn round(a: __m256d) -> __m256d {
    _mm256_round_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
}

/// The lower halves of both, the upper halves of both.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn swap_halves(a: __m256d, b: __m256d) -> (__m256d, __m256d) {
    (_mm256_permute2f128_pd::<0x20>(a, b), _mm256_permute2f128_pd::<0x31>(a, b))
}

/// Words below 2^52 as doubles.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn from_words(words: &Vector) -> __m256d {
    let exponent = _mm256_set1_pd(INTEGER_EXPONENT);
    _mm256_sub_pd(_mm256_or_pd(load(words), exponent), exponent)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn load(words: &Vector) -> __m256d {
    // SAFETY: reads the 32 bytes of the array; the instruction needs no alignment.
    unsafe { _mm256_loadu_pd(words.as_ptr().cast()) }
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn store(words: &mut Vector, value: __m256d) {
    // SAFETY: writes the 32 bytes of the array; the instruction needs no alignment.
    unsafe { _mm256_storeu_pd(words.as_mut_ptr().cast(), value) }
}

/// Applies `butterflies` to the vectors at equal places of the four quarters.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn for_quarters(values: &mut [Vector], butterflies: impl Fn([__m256d; 4]) -> [__m256d; 4]) {
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
