//! Transposition of a 128 x 128 bit matrix in plain words.
//!
//! The two halves of the rows are held apart, so that every step is a loop over 64-bit words which the
//! compiler vectorises.
//!
//! Source: recursive exchange of quadrants, [War12, section 7-3], on the 64 x 64 quarters.

use crate::block::Block;

/// Rows, and columns, of a quarter of the matrix.
const QUARTER: usize = u64::BITS as usize;

/// Transposes in place: bit `c` of `matrix[r]` becomes bit `r` of `matrix[c]`.
pub(crate) fn transpose(matrix: &mut [Block; Block::BITS]) {
    let (mut top_low, mut top_high) = ([0; QUARTER], [0; QUARTER]);
    let (mut bottom_low, mut bottom_high) = ([0; QUARTER], [0; QUARTER]);
    let (top, bottom) = matrix.split_at_mut(QUARTER);
    split(top, &mut top_low, &mut top_high);
    split(bottom, &mut bottom_low, &mut bottom_high);
    for quarter in [&mut top_low, &mut top_high, &mut bottom_low, &mut bottom_high] {
        transpose_quarter(quarter);
    }
    join(top, &top_low, &bottom_low);
    join(bottom, &top_high, &bottom_high);
}

fn split(rows: &[Block], low: &mut [u64; QUARTER], high: &mut [u64; QUARTER]) {
    for ((row, low), high) in rows.iter().zip(low).zip(high) {
        [*low, *high] = row.to_words();
    }
}

fn join(rows: &mut [Block], low: &[u64; QUARTER], high: &[u64; QUARTER]) {
    for ((row, low), high) in rows.iter_mut().zip(low).zip(high) {
        *row = Block::from_words(*low, *high);
    }
}

fn transpose_quarter(quarter: &mut [u64; QUARTER]) {
    exchange::<32>(quarter, 0x0000_0000_ffff_ffff);
    exchange::<16>(quarter, 0x0000_ffff_0000_ffff);
    exchange::<8>(quarter, 0x00ff_00ff_00ff_00ff);
    exchange::<4>(quarter, 0x0f0f_0f0f_0f0f_0f0f);
    exchange::<2>(quarter, 0x3333_3333_3333_3333);
    exchange::<1>(quarter, 0x5555_5555_5555_5555);
}

/// Exchanges the upper right with the lower left `W` x `W` quadrant of every aligned square of side
/// `2W`; `mask` has the low `W` of every `2W` bits set.
fn exchange<const W: usize>(quarter: &mut [u64; QUARTER], mask: u64) {
    for square in quarter.chunks_exact_mut(2 * W) {
        let (upper, lower) = square.split_at_mut(W);
        for (a, b) in upper.iter_mut().zip(lower) {
            let difference = ((*a >> W) ^ *b) & mask;
            *b ^= difference;
            *a ^= difference << W;
        }
    }
}
