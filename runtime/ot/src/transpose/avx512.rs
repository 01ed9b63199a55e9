//! Transposition by vectors whose lanes are four tiles: bytes by unpacking, squares of 8 x 8 bits by GFNI.
#![expect(unsafe_code, reason = "the processor's features are known at run time alone")]

use core::arch::x86_64::*;

use super::{QuadColumns, QuadRows};
use crate::block::Block;
use crate::simd::avx512::{Avx512, load, store_lane, transpose_bits, transpose_bytes};

pub(super) fn transpose_quad(_: Avx512, columns: &QuadColumns, rows: &mut QuadRows) {
    // SAFETY: the processor has the features, as the argument proves.
    unsafe { transpose_by_vectors(columns, rows) }
}

#[target_feature(enable = "avx512bw,gfni")]
fn transpose_by_vectors(columns: &QuadColumns, rows: &mut QuadRows) {
    // Byte `8*q + t` of a lane of `bytes[p][j]`: byte j of row `16*p + 8*q + t`.
    let mut bytes = [[_mm512_setzero_si512(); Block::BYTES]; Block::BITS / 16];
    for (j, columns) in columns.as_chunks::<8>().0.iter().enumerate() {
        let mut vectors = [_mm512_setzero_si512(); 8];
        for (vector, column) in vectors.iter_mut().zip(columns.iter().rev()) {
            *vector = load(column);
        }
        for (bytes, square) in bytes.iter_mut().zip(gather_squares(vectors)) {
            bytes[j] = transpose_bits(square);
        }
    }
    let [first, second, third, fourth] = rows;
    for (p, bytes) in bytes.iter().enumerate() {
        for (row, value) in (16 * p..).zip(transpose_bytes(bytes, Block::BYTES)) {
            store_lane::<0>(&mut first[row], value);
            store_lane::<1>(&mut second[row], value);
            store_lane::<2>(&mut third[row], value);
            store_lane::<3>(&mut fourth[row], value);
        }
    }
}

/// Byte i of word q of lane l of vector p of the result is byte `2*p + q` of lane l of column i.
#[target_feature(enable = "avx512bw")]
#[inline]
fn gather_squares([a, b, c, d, e, f, g, h]: [__m512i; 8]) -> [__m512i; 8] {
    let low = [_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d)];
    let high = [_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d)];
    let more_low = [_mm512_unpacklo_epi8(e, f), _mm512_unpacklo_epi8(g, h)];
    let more_high = [_mm512_unpackhi_epi8(e, f), _mm512_unpackhi_epi8(g, h)];
    let mut squares = [_mm512_setzero_si512(); 8];
    let halves = [(low, more_low), (high, more_high)];
    for (squares, ([a, b], [c, d])) in squares.as_chunks_mut::<4>().0.iter_mut().zip(halves) {
        let (low, more_low) = (_mm512_unpacklo_epi16(a, b), _mm512_unpacklo_epi16(c, d));
        let (high, more_high) = (_mm512_unpackhi_epi16(a, b), _mm512_unpackhi_epi16(c, d));
        *squares = [
            _mm512_unpacklo_epi32(low, more_low),
            _mm512_unpackhi_epi32(low, more_low),
            _mm512_unpacklo_epi32(high, more_high),
            _mm512_unpackhi_epi32(high, more_high),
        ];
    }
    squares
}
