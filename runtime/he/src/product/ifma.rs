//! Products for primes below 2^50 by AVX-512 IFMA: sums of the low and high halves of products, in
//! words of 52 bits. Permutations of bytes (VBMI) spread narrower weights over the lanes.
#![expect(unsafe_code, reason = "the processor's features are known at run time alone")]

use super::{LANES, Line, NARROW_BITS, PAIRED, WORD};
use crate::ifma::{Factor, IfmaModulus, Lanes, WORD_BITS, load, splat, splat_factor, store};
use crate::modulus::Modulus;
use std::arch::x86_64::*;

/// Products summed before a reduction: their low halves and a residue stay below `2^64`.
const LAZY_PRODUCTS: usize = (1 << (u64::BITS - WORD_BITS)) - 1;

/// How far ahead of their use weights are fetched: beyond the page, where the processor stops.
const PREFETCH_BYTES: usize = 8192;

/// Vectors of a block.
const VECTORS: usize = LANES / 8;

/// Bytes of a block of evaluations in pairs and of such in words.
const PAIRED_BLOCK: usize = PAIRED * LANES;
const WORD_BLOCK: usize = WORD * LANES;

/// Bytes of a block of weights of five and of six bytes.
const FIVE_BLOCK: usize = 5 * LANES;
const SIX_BLOCK: usize = 6 * LANES;

#[derive(Clone, Debug)]
pub(super) struct Kernel {
    modulus: IfmaModulus,
    /// `2^52 mod q` and `2^104 mod q`, with their quotients.
    words: [[u64; 2]; 2],
    /// Sums of fewer products stay below `2^104 - 2^64`.
    small_sum: usize,
}

/// Bytes of a weight mod `q`.
pub(super) fn weight_width(q: u64) -> usize {
    match u64::BITS - q.leading_zeros() {
        ..=NARROW_BITS => PAIRED,
        33..=40 => 5,
        41..=48 => 6,
        _ => WORD,
    }
}

/// What reduces a sum.
struct Reducer {
    lanes: Lanes,
    words: [Factor; 2],
}

impl Kernel {
    /// The kernel, if this processor and this prime can take the path.
    pub(super) fn new(modulus: &Modulus) -> Option<Self> {
        let ifma = IfmaModulus::new(modulus)?;
        if !is_x86_feature_detected!("avx512bw") || !is_x86_feature_detected!("avx512vbmi") {
            return None;
        }
        let words = [1, 2].map(|words| modulus.pow_vt(2, words * u64::from(WORD_BITS)));
        let product = u128::from(modulus.value()).pow(2);
        let small_sum = ((1_u128 << (2 * WORD_BITS)) - (1 << u64::BITS)) / product;
        let small_sum = usize::try_from(small_sum).unwrap_or(usize::MAX);
        let words = words.map(|word| [word, ifma.quotient(word)]);
        Some(Self { modulus: ifma, words, small_sum })
    }

    pub(super) fn multiply_add(&self, sum: &mut [u64], a: &[u64], b: &[u64]) {
        // SAFETY: the modulus exists, so the processor has the features.
        unsafe { self.multiply_add_vectors(sum, a, b) }
    }

    /// As [`super::Multiplier::add_block`], for weights of `width` bytes.
    pub(super) fn add_block(
        &self,
        width: usize,
        parts: [&[Line]; 2],
        weights: &[Line],
        sums: [&mut [u64; LANES]; 2],
    ) {
        // SAFETY: the kernel exists, so the processor has the features.
        unsafe {
            match width {
                PAIRED => self.add_vectors::<PAIRED_BLOCK, PAIRED_BLOCK>(parts, weights, sums),
                5 => self.add_vectors::<WORD_BLOCK, FIVE_BLOCK>(parts, weights, sums),
                6 => self.add_vectors::<WORD_BLOCK, SIX_BLOCK>(parts, weights, sums),
                _ => self.add_vectors::<WORD_BLOCK, WORD_BLOCK>(parts, weights, sums),
            }
        }
    }

    /// Puts the evaluations of each block, `width` bytes each, into place `index` of the block.
    pub(super) fn place<'a>(
        &self,
        width: usize,
        blocks: impl Iterator<Item = (&'a mut [Line], &'a [u64; LANES])>,
        index: usize,
    ) {
        // SAFETY: the kernel exists, so the processor has the features.
        unsafe {
            match width {
                PAIRED => place_vectors::<PAIRED_BLOCK>(blocks, index),
                5 => place_vectors::<FIVE_BLOCK>(blocks, index),
                6 => place_vectors::<SIX_BLOCK>(blocks, index),
                _ => place_vectors::<WORD_BLOCK>(blocks, index),
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    #[inline]
    fn reducer(&self) -> Reducer {
        Reducer { lanes: self.modulus.lanes(), words: self.words.map(|word| splat_factor(word)) }
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn multiply_add_vectors(&self, sum: &mut [u64], a: &[u64], b: &[u64]) {
        let reducer = self.reducer();
        let factors = a.as_chunks().0.iter().zip(b.as_chunks().0);
        for (sum, (a, b)) in sum.as_chunks_mut().0.iter_mut().zip(factors) {
            let (a, b) = (load(a), load(b));
            let lower = _mm512_madd52lo_epu64(load(sum), a, b);
            let upper = _mm512_madd52hi_epu64(_mm512_setzero_si512(), a, b);
            store(sum, reducer.reduce(lower, upper, false));
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512bw,avx512vbmi")]
    fn add_vectors<const C: usize, const W: usize>(
        &self,
        parts: [&[Line]; 2],
        weights: &[Line],
        sums: [&mut [u64; LANES]; 2],
    ) {
        let reducer = self.reducer();
        let [c0, c1] = parts.map(|lines| bytes(lines).as_chunks::<C>().0);
        let w = bytes(weights).as_chunks::<W>().0;
        let needs_top = w.len().min(LAZY_PRODUCTS) >= self.small_sum;
        let [sums0, sums1] = sums;
        let [c0, c1] = [c0, c1].map(|tiles| tiles.chunks(LAZY_PRODUCTS));
        for ((w, c0), c1) in w.chunks(LAZY_PRODUCTS).zip(c0).zip(c1) {
            let [lower0, upper0, lower1, upper1] = sum_halves(w, c0, c1, [sums0, sums1]);
            for (sums, lower, upper) in
                [(&mut *sums0, lower0, upper0), (&mut *sums1, lower1, upper1)]
            {
                for (i, sum) in sums.as_chunks_mut().0.iter_mut().enumerate() {
                    store(sum, reducer.reduce(lower[i], upper[i], needs_top));
                }
            }
        }
    }
}

/// `sums` plus the low halves of the products with both parts, and the sums of the high halves.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512bw,avx512vbmi")]
#[inline]
fn sum_halves<const C: usize, const W: usize>(
    w: &[[u8; W]],
    c0: &[[u8; C]],
    c1: &[[u8; C]],
    sums: [&[u64; LANES]; 2],
) -> [[__m512i; VECTORS]; 4] {
    let [mut lower0, mut upper0, mut lower1, mut upper1] = [[_mm512_setzero_si512(); VECTORS]; 4];
    for i in 0..VECTORS {
        lower0[i] = load(&sums[0].as_chunks().0[i]);
        lower1[i] = load(&sums[1].as_chunks().0[i]);
    }
    let spread = const { Spread::<W>::new() };
    let spread = spread.indices.each_ref().map(|indices| load_bytes(indices));
    for ((w, c0), c1) in w.iter().zip(c0).zip(c1) {
        for line in (0..W).step_by(size_of::<Line>()) {
            let ahead = w.as_ptr().wrapping_add(PREFETCH_BYTES + line);
            _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
        }
        for i in 0..VECTORS {
            let (w, c0, c1) =
                (lanes(w, i, spread[i]), lanes(c0, i, spread[i]), lanes(c1, i, spread[i]));
            lower0[i] = _mm512_madd52lo_epu64(lower0[i], c0, w);
            upper0[i] = _mm512_madd52hi_epu64(upper0[i], c0, w);
            lower1[i] = _mm512_madd52lo_epu64(lower1[i], c1, w);
            upper1[i] = _mm512_madd52hi_epu64(upper1[i], c1, w);
        }
    }
    [lower0, upper0, lower1, upper1]
}

/// Where the bytes of the lanes of each vector lie in a block of `BLOCK` bytes.
struct Spread<const BLOCK: usize> {
    /// For each vector, the bytes of its lanes counted from [`Spread::start`].
    indices: [[u8; 64]; VECTORS],
}

impl<const BLOCK: usize> Spread<BLOCK> {
    const WIDTH: usize = BLOCK / LANES;

    /// The bytes of each word that evaluations fill, and of each vector.
    const MASK: u64 = ((1 << Self::WIDTH) - 1) * (u64::MAX / 0xff);

    /// Where 64 bytes of the block begin that hold vector `index`.
    const fn start(index: usize) -> usize {
        (BLOCK - 64) * index / (VECTORS - 1)
    }

    const fn new() -> Self {
        let mut indices = [[0; 64]; VECTORS];
        let mut at = 0;
        while at < VECTORS * 64 {
            let (vector, lane, byte) = (at / 64, at / 8 % 8, at % 8);
            let from = (8 * vector + lane) * Self::WIDTH + byte - Self::start(vector);
            indices[vector][at % 64] = (from % 64).to_le_bytes()[0];
            at += 1;
        }
        Self { indices }
    }
}

/// Eight evaluations of a block: a line of words, one half of each, or what `spread` picks.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vbmi")]
#[inline]
fn lanes<const BLOCK: usize>(block: &[u8; BLOCK], index: usize, spread: __m512i) -> __m512i {
    let lines = block.as_chunks().0;
    match BLOCK {
        WORD_BLOCK => load_bytes(&lines[index]),
        PAIRED_BLOCK if index.is_multiple_of(2) => {
            _mm512_and_si512(load_bytes(&lines[index / 2]), splat((1 << NARROW_BITS) - 1))
        }
        PAIRED_BLOCK => _mm512_srli_epi64::<NARROW_BITS>(load_bytes(&lines[index / 2])),
        _ => {
            let packed = load_bytes(&block[Spread::<BLOCK>::start(index)..].as_chunks().0[0]);
            _mm512_maskz_permutexvar_epi8(Spread::<BLOCK>::MASK, spread, packed)
        }
    }
}

/// Puts the evaluations of each block into place `index` of the block.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vbmi")]
fn place_vectors<'a, const BLOCK: usize>(
    blocks: impl Iterator<Item = (&'a mut [Line], &'a [u64; LANES])>,
    index: usize,
) {
    let width = BLOCK / LANES;
    let gather = const { gather(BLOCK / LANES) };
    let gather = load_bytes(&gather);
    for (block, evaluations) in blocks {
        let slot = &mut bytes_mut(block).as_chunks_mut::<BLOCK>().0[index];
        let vectors = evaluations.as_chunks().0;
        match BLOCK {
            WORD_BLOCK => {
                for (line, vector) in slot.as_chunks_mut().0.iter_mut().zip(vectors) {
                    store_bytes(line, load(vector));
                }
            }
            PAIRED_BLOCK => {
                let pairs = vectors.as_chunks().0;
                for (line, [lower, upper]) in slot.as_chunks_mut().0.iter_mut().zip(pairs) {
                    let upper = _mm512_slli_epi64::<NARROW_BITS>(load(upper));
                    store_bytes(line, _mm512_or_si512(load(lower), upper));
                }
            }
            _ => {
                for (slot, vector) in slot.chunks_exact_mut(8 * width).zip(vectors) {
                    let packed = _mm512_permutexvar_epi8(gather, load(vector));
                    let mask = u64::MAX >> (64 - 8 * width);
                    // SAFETY: the mask has as many bits as the slot has bytes.
                    unsafe { _mm512_mask_storeu_epi8(slot.as_mut_ptr().cast(), mask, packed) }
                }
            }
        }
    }
}

/// The bytes of words that make evaluations of `width` bytes.
const fn gather(width: usize) -> [u8; 64] {
    let mut indices = [0; 64];
    let mut at = 0;
    while at < 8 * width {
        indices[at] = (at / width * 8 + at % width).to_le_bytes()[0];
        at += 1;
    }
    indices
}

fn bytes(lines: &[Line]) -> &[u8] {
    // SAFETY: lines are words without padding, and of the bytes any is valid.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
}

fn bytes_mut(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: lines are words without padding, and any bytes make words.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines)) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load_bytes(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: reads the 64 bytes of the array; the instruction needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store_bytes(bytes: &mut [u8; 64], value: __m512i) {
    // SAFETY: writes the 64 bytes of the array; the instruction needs no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), value) }
}

impl Reducer {
    /// `lower + 2^52 * upper mod q` for any 64-bit `lower` and `upper < 2^64 - 2^12`, or where the
    /// `top` is not needed `upper < 2^52 - 2^12`.
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    #[inline]
    fn reduce(&self, lower: __m512i, upper: __m512i, top: bool) -> __m512i {
        let m = &self.lanes;
        let carried = _mm512_add_epi64(upper, _mm512_srli_epi64::<WORD_BITS>(lower));
        let lower = m.reduce(m.word(lower));
        let sum = m.halve_range(m.word(m.multiply_add(lower, carried, self.words[0])));
        if top {
            let upper = _mm512_srli_epi64::<WORD_BITS>(carried);
            m.normalise(m.halve_range(m.word(m.multiply_add(sum, upper, self.words[1]))))
        } else {
            m.normalise(sum)
        }
    }
}
