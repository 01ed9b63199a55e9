//! Transposition of a 128 x 128 bit matrix.
//!
//! The extension makes its matrix column by column and hashes it row by row; this turns the one
//! into the other, 128 rows at a time. Portable and safe: the two halves of the rows are held
//! apart, so that every step is a loop over 64-bit words which the compiler vectorises. Time does
//! not depend on the contents.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn transpose_naive(matrix: &[Block; 128]) -> [Block; 128] {
        core::array::from_fn(|c| {
            let bit = |r: usize| ((matrix[r].to_u128() >> c) & 1) << r;
            Block::new((0..128).map(bit).fold(0, |sum, b| sum | b))
        })
    }

    #[test]
    fn single_bits_move_across_the_diagonal() {
        for (r, c) in [(0, 0), (0, 127), (127, 0), (63, 64), (64, 63), (5, 90)] {
            let mut matrix = [Block::ZERO; 128];
            matrix[r] = Block::new(1 << c);
            transpose(&mut matrix);
            assert_eq!(matrix[c], Block::new(1 << r), "({r}, {c})");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn equals_the_naive_transposition(rows in prop::collection::vec(any::<u128>(), 128)) {
            let matrix: [Block; 128] = core::array::from_fn(|r| Block::new(rows[r]));
            let mut transposed = matrix;
            transpose(&mut transposed);
            prop_assert!(transposed == transpose_naive(&matrix));
            transpose(&mut transposed);
            prop_assert!(transposed == matrix);
        }
    }
}
