//! Proof that the processor has the vectors, and blocks in them: four to a vector.
#![expect(unsafe_code, reason = "loads and stores of vectors")]

use core::arch::x86_64::*;

use crate::block::Block;

/// Blocks in a vector.
pub(crate) const LANES: usize = 4;

/// Exists only if the processor has AVX-512 F, BW, DQ, VL and VBMI, VAES and GFNI.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The proof, if it can be given.
    pub(crate) fn detect() -> Option<Self> {
        let supported = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("gfni");
        supported.then_some(Self(()))
    }

    /// Runs a plain loop, compiled for these vectors.
    #[inline]
    pub(crate) fn vectorised<T>(self, run: impl FnOnce() -> T) -> T {
        // SAFETY: the processor has the features, since `self` exists.
        unsafe { with_vectors(run) }
    }
}

#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn with_vectors<T>(run: impl FnOnce() -> T) -> T {
    run()
}

/// Four blocks.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn load(blocks: &[Block; LANES]) -> __m512i {
    // SAFETY: reads the 64 bytes of the array; the instruction needs no alignment.
    unsafe { _mm512_loadu_si512(blocks.as_ptr().cast()) }
}

/// Writes four blocks.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn store(blocks: &mut [Block; LANES], value: __m512i) {
    // SAFETY: writes the 64 bytes of the array; the instruction needs no alignment.
    unsafe { _mm512_storeu_si512(blocks.as_mut_ptr().cast(), value) }
}

/// At most four blocks; the lanes beyond are zero.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn load_some(blocks: &[Block]) -> __m512i {
    // SAFETY: the mask keeps the words of the slice alone, others are not read.
    unsafe { _mm512_maskz_loadu_epi64(mask(blocks), blocks.as_ptr().cast()) }
}

/// Writes at most four blocks, of the first lanes.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn store_some(blocks: &mut [Block], value: __m512i) {
    // SAFETY: the mask keeps the words of the slice alone, others are not written.
    unsafe { _mm512_mask_storeu_epi64(blocks.as_mut_ptr().cast(), mask(blocks), value) }
}

/// The 64-bit words of a vector that the blocks fill.
fn mask(blocks: &[Block]) -> __mmask8 {
    const MASKS: [__mmask8; LANES + 1] = [0, 0b11, 0b1111, 0b11_1111, 0b1111_1111];
    MASKS[blocks.len().min(LANES)]
}

/// One block in every lane.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn splat(block: &Block) -> __m512i {
    // SAFETY: reads the 16 bytes of the block; the instruction needs no alignment.
    _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(core::ptr::from_ref(block).cast()) })
}

/// Writes lane `LANE` of a vector.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn store_lane<const LANE: i32>(block: &mut Block, value: __m512i) {
    let lane = _mm512_extracti32x4_epi32::<LANE>(value);
    // SAFETY: writes the 16 bytes of the block; the instruction needs no alignment.
    unsafe { _mm_storeu_si128(core::ptr::from_mut(block).cast(), lane) }
}

/// Bytes in the order of an index table.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn load_bytes(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: reads the 64 bytes of the array; the instruction needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// The eight words of a vector.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn words(value: __m512i) -> [u64; 8] {
    let mut words = [0; 8];
    // SAFETY: writes the 64 bytes of the array; the instruction needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), value) }
    words
}

/// Transposes the 8 x 8 bits of every word: bit `c` of byte `7 - r` becomes bit `r` of byte `c`.
#[target_feature(enable = "avx512f,gfni")]
#[inline]
pub(crate) fn transpose_bits(value: __m512i) -> __m512i {
    // The product of the word, as a matrix, with the unit vectors.
    let units = _mm512_set1_epi64(0x8040_2010_0804_0201_u64.cast_signed());
    _mm512_gf2p8affine_epi64_epi8::<0>(units, value)
}

/// Transposes 16 x 16 bytes in every lane: byte `c` of vector `r` becomes byte `r` of vector `c`. Of the
/// result only the first `wanted` vectors, 1, 2, 4, 8 or 16, are meant; a smaller number is faster.
#[target_feature(enable = "avx512bw")]
#[inline]
pub(crate) fn transpose_bytes(rows: &[__m512i; 16], wanted: usize) -> [__m512i; 16] {
    let zero = _mm512_setzero_si512();
    let (mut columns, mut low, mut high) = ([zero; 16], [zero; 8], [zero; 8]);
    for (low, rows) in low.iter_mut().zip(rows.as_chunks().0) {
        let [a, b] = *rows;
        *low = _mm512_unpacklo_epi8(a, b);
    }
    gather_eight(low, wanted, &mut columns[..8]);
    if wanted > 8 {
        for (high, rows) in high.iter_mut().zip(rows.as_chunks().0) {
            let [a, b] = *rows;
            *high = _mm512_unpackhi_epi8(a, b);
        }
        gather_eight(high, wanted, &mut columns[8..]);
    }
    columns
}

#[target_feature(enable = "avx512bw")]
#[inline]
fn gather_eight([a, b, c, d, e, f, g, h]: [__m512i; 8], wanted: usize, columns: &mut [__m512i]) {
    let low = [
        _mm512_unpacklo_epi16(a, b),
        _mm512_unpacklo_epi16(c, d),
        _mm512_unpacklo_epi16(e, f),
        _mm512_unpacklo_epi16(g, h),
    ];
    gather_four(low, wanted, &mut columns[..4]);
    if wanted > 4 {
        let high = [
            _mm512_unpackhi_epi16(a, b),
            _mm512_unpackhi_epi16(c, d),
            _mm512_unpackhi_epi16(e, f),
            _mm512_unpackhi_epi16(g, h),
        ];
        gather_four(high, wanted, &mut columns[4..]);
    }
}

#[target_feature(enable = "avx512bw")]
#[inline]
fn gather_four([a, b, c, d]: [__m512i; 4], wanted: usize, columns: &mut [__m512i]) {
    let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
    columns[0] = _mm512_unpacklo_epi64(ab, cd);
    columns[1] = _mm512_unpackhi_epi64(ab, cd);
    if wanted > 2 {
        let (ab, cd) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
        columns[2] = _mm512_unpacklo_epi64(ab, cd);
        columns[3] = _mm512_unpackhi_epi64(ab, cd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that a vector of a slice's blocks reads and writes are those of the slice, also of none.
    #[test]
    fn masks_cover_the_blocks_alone() {
        let blocks = [Block::ZERO; LANES];
        let masks: Vec<u8> = (0..=LANES).map(|count| mask(&blocks[..count])).collect();
        assert_eq!(masks, [0, 0b11, 0b1111, 0b11_1111, 0b1111_1111]);
    }
}
