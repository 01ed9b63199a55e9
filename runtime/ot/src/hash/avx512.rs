//! Planes of hashes by VAES and GFNI: hashes stay in vectors, of which only the bytes that are wanted
//! are brought together.
#![expect(unsafe_code, reason = "the processor's features are known at run time alone")]

use core::arch::x86_64::*;

use crate::aes128::avx512::{Schedule, encrypt};
use crate::block::Block;
use crate::rot::TILE_ROWS;
use crate::simd::avx512::{LANES, load, load_bytes, splat, transpose_bits, transpose_bytes, words};

/// Byte `8*g + i` comes from row `8*g + 7 - i` of 64, where lane `l` holds the rows `4*v + l` of vectors v.
const ROWS: [u8; 64] = {
    let mut table = [0; 64];
    let mut byte = 0;
    while byte < 64 {
        let row = byte ^ 7;
        table[byte as usize] = 16 * (row % 4) + row / 4;
        byte += 1;
    }
    table
};

/// Transposes 8 x 8 bytes.
const SQUARE: [u8; 64] = {
    let mut table = [0; 64];
    let mut byte = 0;
    while byte < 64 {
        table[byte as usize] = 8 * (byte % 8) + byte / 8;
        byte += 1;
    }
    table
};

/// Calls `write(bit, half, word)` with the first `bits` planes of the hashes of `rows ^ shift`.
pub(super) fn planes(
    keys: &Schedule,
    rows: &[Block; TILE_ROWS],
    shift: Block,
    bits: usize,
    write: impl FnMut(usize, usize, u64),
) {
    // SAFETY: the schedule exists, so the processor has the features.
    unsafe { planes_by_vectors(keys, rows, shift, bits, write) }
}

#[target_feature(enable = "avx512bw,avx512vbmi,gfni,vaes")]
fn planes_by_vectors(
    keys: &Schedule,
    rows: &[Block; TILE_ROWS],
    shift: Block,
    bits: usize,
    mut write: impl FnMut(usize, usize, u64),
) {
    let (shift, order, square) = (splat(&shift), load_bytes(&ROWS), load_bytes(&SQUARE));
    let bytes = bits.div_ceil(8);
    let (quads, _) = rows.as_chunks::<LANES>();
    for (half, quads) in quads.as_chunks::<16>().0.iter().enumerate() {
        let mut hashes = [shift; 16];
        for (hash, quad) in hashes.iter_mut().zip(quads) {
            *hash = _mm512_xor_si512(load(quad), shift);
        }
        hashes = encrypt(keys.keys(), hashes);
        for (hash, quad) in hashes.iter_mut().zip(quads) {
            *hash = _mm512_xor_si512(*hash, _mm512_xor_si512(load(quad), shift));
        }
        let columns = transpose_bytes(&hashes, bytes.next_power_of_two());
        for (byte, column) in columns[..bytes].iter().enumerate() {
            let groups = transpose_bits(_mm512_permutexvar_epi8(order, *column));
            let planes = words(_mm512_permutexvar_epi8(square, groups));
            let first = 8 * byte;
            for (bit, word) in (first..bits).zip(planes) {
                write(bit, half, word);
            }
        }
    }
}
