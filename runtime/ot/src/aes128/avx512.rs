//! AES-128 by VAES, four blocks to a vector and eight vectors in flight.
#![expect(unsafe_code, reason = "the processor's features are known at run time alone")]

use core::arch::x86_64::*;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::block::Block;
use crate::simd::avx512::{Avx512, LANES, load, load_some, splat, store, store_lane, store_some};

/// The initial key and those of ten rounds.
pub(crate) const ROUND_KEYS: usize = 11;

/// Vectors in flight: enough for the latency of a round.
const VECTORS: usize = 8;

/// Round keys. Exist only if the processor has the vectors.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Schedule([Block; ROUND_KEYS]);

impl Schedule {
    pub(crate) fn new(_: Avx512, key: Block) -> Self {
        // SAFETY: the processor has the features, as the argument proves.
        unsafe { Self::expand(key) }
    }

    /// The schedules of four keys.
    pub(crate) fn new_four(_: Avx512, keys: &[Block; LANES]) -> [Self; LANES] {
        // SAFETY: the processor has the features, as the argument proves.
        unsafe { Self::expand_four(keys) }
    }

    pub(crate) fn keys(&self) -> &[Block; ROUND_KEYS] {
        &self.0
    }

    pub(crate) fn encrypt(&self, blocks: &mut [Block]) {
        // SAFETY: the schedule exists, so the processor has the features.
        unsafe { self.encrypt_vectors(blocks) }
    }

    pub(crate) fn encrypt_xor(&self, input: &[Block], out: &mut [Block]) {
        // SAFETY: the schedule exists, so the processor has the features.
        unsafe { self.encrypt_xor_vectors(input, out) }
    }

    #[target_feature(enable = "avx512bw,vaes")]
    fn expand(key: Block) -> Self {
        let mut schedule = Self([Block::ZERO; ROUND_KEYS]);
        for (block, key) in schedule.0.iter_mut().zip(round_keys(splat(&key))) {
            store_lane::<0>(block, key);
        }
        schedule
    }

    #[target_feature(enable = "avx512bw,vaes")]
    fn expand_four(keys: &[Block; LANES]) -> [Self; LANES] {
        let mut schedules = [const { Self([Block::ZERO; ROUND_KEYS]) }; LANES];
        let [first, second, third, fourth] = &mut schedules;
        for (round, keys) in round_keys(load(keys)).into_iter().enumerate() {
            store_lane::<0>(&mut first.0[round], keys);
            store_lane::<1>(&mut second.0[round], keys);
            store_lane::<2>(&mut third.0[round], keys);
            store_lane::<3>(&mut fourth.0[round], keys);
        }
        schedules
    }

    #[target_feature(enable = "avx512bw,vaes")]
    fn encrypt_vectors(&self, blocks: &mut [Block]) {
        let (chunks, rest) = blocks.as_chunks_mut::<{ VECTORS * LANES }>();
        for chunk in chunks {
            let (chunk, _) = chunk.as_chunks_mut::<LANES>();
            let mut vectors = [_mm512_setzero_si512(); VECTORS];
            for (vector, blocks) in vectors.iter_mut().zip(&*chunk) {
                *vector = load(blocks);
            }
            for (image, blocks) in encrypt(&self.0, vectors).into_iter().zip(chunk) {
                store(blocks, image);
            }
        }
        for blocks in rest.chunks_mut(LANES) {
            let [image] = encrypt(&self.0, [load_some(blocks)]);
            store_some(blocks, image);
        }
    }

    #[target_feature(enable = "avx512bw,vaes")]
    fn encrypt_xor_vectors(&self, input: &[Block], out: &mut [Block]) {
        let (in_chunks, in_rest) = input.as_chunks::<{ VECTORS * LANES }>();
        let (out_chunks, out_rest) = out.as_chunks_mut::<{ VECTORS * LANES }>();
        for (input, out) in in_chunks.iter().zip(out_chunks) {
            let ((input, _), (out, _)) = (input.as_chunks::<LANES>(), out.as_chunks_mut::<LANES>());
            let mut vectors = [_mm512_setzero_si512(); VECTORS];
            for (vector, blocks) in vectors.iter_mut().zip(input) {
                *vector = load(blocks);
            }
            for ((input, out), image) in input.iter().zip(out).zip(encrypt(&self.0, vectors)) {
                store(out, _mm512_xor_si512(image, load(input)));
            }
        }
        for (input, out) in in_rest.chunks(LANES).zip(out_rest.chunks_mut(LANES)) {
            let blocks = load_some(input);
            let [image] = encrypt(&self.0, [blocks]);
            store_some(out, _mm512_xor_si512(image, blocks));
        }
    }
}

/// `E(x)` of the blocks of vectors, with the same round keys in every lane.
// Loops, since functions of the core library that take closures are compiled without the vectors.
#[target_feature(enable = "avx512f,vaes")]
#[inline]
pub(crate) fn encrypt<const N: usize>(
    keys: &[Block; ROUND_KEYS],
    mut blocks: [__m512i; N],
) -> [__m512i; N] {
    let key = splat(&keys[0]);
    for block in &mut blocks {
        *block = _mm512_xor_si512(*block, key);
    }
    for key in &keys[1..ROUND_KEYS - 1] {
        let key = splat(key);
        for block in &mut blocks {
            *block = _mm512_aesenc_epi128(*block, key);
        }
    }
    let key = splat(&keys[ROUND_KEYS - 1]);
    for block in &mut blocks {
        *block = _mm512_aesenclast_epi128(*block, key);
    }
    blocks
}

/// The round keys of the keys in the lanes.
///
/// The last round of the cipher substitutes the bytes of a word that fills the lane: shifting its rows
/// changes nothing, and the key that it adds is the constant of the round. Source: FIPS 197, section 5.2.
#[target_feature(enable = "avx512bw,vaes")]
#[inline]
fn round_keys(mut key: __m512i) -> [__m512i; ROUND_KEYS] {
    const CONSTANTS: [i32; ROUND_KEYS - 1] = [1, 2, 4, 8, 16, 32, 64, 128, 0x1b, 0x36];
    let rotated_last = _mm512_set1_epi32(0x0c0f_0e0d);
    let mut keys = [key; ROUND_KEYS];
    for (next, constant) in keys[1..].iter_mut().zip(CONSTANTS) {
        let last = _mm512_shuffle_epi8(key, rotated_last);
        let word = _mm512_aesenclast_epi128(last, _mm512_set1_epi32(constant));
        key = _mm512_xor_si512(key, _mm512_bslli_epi128::<4>(key));
        key = _mm512_xor_si512(key, _mm512_bslli_epi128::<8>(key));
        key = _mm512_xor_si512(key, word);
        *next = key;
    }
    keys
}
