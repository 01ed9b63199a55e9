//! The public matrix `A` of learning parity with noise: a local linear code.
//!
//! Row `j` of `A` has ones at [`WEIGHT`] indices below `k`, drawn with repetition from AES in counter
//! mode under a public key, and is the same in every iteration. Reading the `k` secret rows at random is
//! what silent OT spends most time on: they fit the second cache, and eight rows are under way at once.
//!
//! Invariant: indices are 16-bit words, reduced to the bits of `k`; index `i` of row `128*T + 8*b + r` is
//! 16-bit word `r` of block `160*T + 16*i + b` of the stream, so that every block serves eight rows.
//! Addresses depend on public values alone.
//!
//! Source: [YWLZW20, COT extension], with ten ones a row.

use crate::aes128::Aes128;
use crate::block::Block;
use crate::rot::TILE_ROWS;
use crate::simd::Path;

/// Ones in a row of `A`.
const WEIGHT: usize = 10;

/// Rows whose indices are in one block.
const LANES: usize = Block::BITS / u16::BITS as usize;

/// Blocks with one index of each row of a tile.
const INDEX_BLOCKS: usize = TILE_ROWS / LANES;

/// Blocks of indices of a tile.
const TILE_BLOCKS: usize = WEIGHT * INDEX_BLOCKS;

/// The matrix `A`.
pub(super) struct Code(Aes128);

impl Code {
    /// The matrix of the public `key`.
    pub(super) fn new(path: Path, key: Block) -> Self {
        Self(Aes128::on(path, key))
    }

    /// Adds rows `128*tile ..` of `A*secret` to `rows`; `secret` has `2^15` or `2^16` rows, as
    /// [`SilentConfig::SIZES`](super::SilentConfig::SIZES) are held to when compiled.
    ///
    /// **Shapes**: `rows: [m][128]`, `secret: [k]`.
    pub(super) fn add(&self, tile: usize, secret: &[Block], rows: &mut [Block]) {
        const SMALL: usize = 1 << 15;
        const LARGE: usize = 1 << 16;
        if let Ok(secret) = <&[Block; SMALL]>::try_from(secret) {
            self.add_from(tile, secret, rows);
        } else if let Ok(secret) = <&[Block; LARGE]>::try_from(secret) {
            self.add_from(tile, secret, rows);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the mask keeps the low bits on purpose")]
    fn add_from<const K: usize>(&self, tile: usize, secret: &[Block; K], rows: &mut [Block]) {
        let mut indices = [Block::ZERO; TILE_BLOCKS];
        for (tile, rows) in (tile..).zip(rows.chunks_exact_mut(TILE_ROWS)) {
            let first = tile as u64 * TILE_BLOCKS as u64;
            for (counter, block) in (first..).zip(&mut indices) {
                *block = Block::from_words(counter, 0);
            }
            self.0.encrypt(&mut indices);
            let (rows, _) = rows.as_chunks_mut::<LANES>();
            for (place, rows) in rows.iter_mut().enumerate() {
                let mut sums = *rows;
                for blocks in indices.chunks_exact(INDEX_BLOCKS) {
                    let [low, high] = blocks[place].to_words();
                    for (lane, sum) in sums.iter_mut().enumerate() {
                        let word = if lane < LANES / 2 { low } else { high };
                        *sum ^= secret[(word >> (16 * (lane % (LANES / 2)))) as usize & (K - 1)];
                    }
                }
                *rows = sums;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The indices of row `row`, one 16-bit word of the stream after the other.
    fn indices_naive(key: Block, row: usize, k: usize) -> [usize; WEIGHT] {
        let (tile, place, lane) = (row / TILE_ROWS, row % TILE_ROWS / LANES, row % LANES);
        core::array::from_fn(|i| {
            let counter = tile * TILE_BLOCKS + i * INDEX_BLOCKS + place;
            let mut block = [Block::new(counter as u128)];
            Aes128::new(key).encrypt(&mut block);
            (block[0].to_u128() >> (16 * lane)) as usize & 0xffff & (k - 1)
        })
    }

    #[test]
    fn rows_are_sums_of_ten_secret_rows() {
        let key = Block::new(7);
        for (path, k) in Path::all().into_iter().flat_map(|p| [(p, 1 << 15), (p, 1 << 16)]) {
            let secret: Vec<_> = (1..=k as u128).map(|i| Block::new(i * i * i)).collect();
            let mut rows = vec![Block::new(9); 3 * TILE_ROWS];
            Code::new(path, key).add(5, &secret, &mut rows);
            let mut used = vec![false; k];
            for (row, sum) in (5 * TILE_ROWS..).zip(rows) {
                let indices = indices_naive(key, row, k);
                let naive = indices.iter().fold(Block::new(9), |sum, i| sum ^ secret[*i]);
                assert_eq!(sum, naive, "k={k} row {row}");
                indices.iter().for_each(|i| used[*i] = true);
            }
            let used = used.iter().filter(|used| **used).count();
            assert!(used > 3600, "k={k}: {used} of 3840 indices are distinct");
        }
    }
}
