//! Transposition of bit matrices: columns of the extension into rows, hashes into planes.
//!
//! The extension makes its matrix column by column and hashes it row by row; this turns the one into
//! the other, four tiles of 128 rows at a time, whose columns lie side by side. Time does not depend on
//! the contents.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

pub(crate) use portable::transpose;

use crate::block::Block;
use crate::simd::Path;

/// Tiles that are transposed together.
pub(crate) const QUAD: usize = 4;

/// The columns of four tiles: the bits of column c of tile t in `[c][t]`.
pub(crate) type QuadColumns = [[Block; QUAD]; Block::BITS];

/// The rows of four tiles: row r of tile t in `[t][r]`.
pub(crate) type QuadRows = [[Block; Block::BITS]; QUAD];

/// Bit r of column c becomes bit c of row r, in each of four tiles.
pub(crate) fn transpose_quad(path: Path, columns: &QuadColumns, rows: &mut QuadRows) {
    match path {
        Path::Portable => {
            for (tile, rows) in rows.iter_mut().enumerate() {
                rows.iter_mut().zip(columns).for_each(|(row, column)| *row = column[tile]);
                transpose(rows);
            }
        }
        #[cfg(target_arch = "x86_64")]
        Path::Avx512(avx512) => avx512::transpose_quad(avx512, columns, rows),
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
        fn equals_the_naive_transposition(rows in prop::collection::vec(any::<u128>(), 4 * 128)) {
            let columns: QuadColumns =
                core::array::from_fn(|c| core::array::from_fn(|t| Block::new(rows[4 * c + t])));
            for path in Path::all() {
                let mut transposed = [[Block::ZERO; 128]; QUAD];
                transpose_quad(path, &columns, &mut transposed);
                for (tile, rows) in transposed.iter_mut().enumerate() {
                    let matrix = columns.map(|column| column[tile]);
                    prop_assert!(*rows == transpose_naive(&matrix));
                    transpose(rows);
                    prop_assert!(*rows == matrix);
                }
            }
        }
    }
}
