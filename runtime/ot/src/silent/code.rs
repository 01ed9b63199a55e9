//! The public matrix `A` of learning parity with noise: a local linear code.
//!
//! Row `j` of `A` has ones at [`WEIGHT`] indices below `k`, drawn with repetition from AES in counter
//! mode under a public key, and is the same in every iteration. Reading the `k` secret rows at random is
//! what silent OT spends most time on: those of eight or four rows are under way at once.
//!
//! Invariant: indices are words of `128/lanes` bits, reduced to the bits of `k`, of `lanes = 8` rows a block
//! if `k` has at most 16 bits, else of 4. With `blocks = 128/lanes`, index `i` of row `128*T + lanes*b + r`
//! is word `r` of block `10*blocks*T + blocks*i + b` of the stream.
//! Addresses depend on public values alone.
//!
//! Source: [YWLZW20, COT extension], with ten ones a row.

use crate::aes128::Aes128;
use crate::block::Block;
use crate::rot::TILE_ROWS;
use crate::simd::Path;

/// Ones in a row of `A`.
const WEIGHT: usize = 10;

/// The matrix `A`.
pub(super) struct Code(Aes128);

impl Code {
    /// The matrix of the public `key`.
    pub(super) fn new(path: Path, key: Block) -> Self {
        Self(Aes128::on(path, key))
    }

    /// Adds rows `128*tile ..` of `A*secret` to `rows`; `secret` has as many rows as one of
    /// [`SilentConfig::SIZES`](super::SilentConfig::SIZES), which are held to those known here.
    ///
    /// **Shapes**: `rows: [m][128]`, `secret: [k]`.
    pub(super) fn add(&self, tile: usize, secret: &[Block], rows: &mut [Block]) {
        match secret.len().trailing_zeros() {
            15 => self.add_from::<{ 1 << 15 }, 8>(tile, secret, rows),
            16 => self.add_from::<{ 1 << 16 }, 8>(tile, secret, rows),
            17 => self.add_from::<{ 1 << 17 }, 4>(tile, secret, rows),
            18 => self.add_from::<{ 1 << 18 }, 4>(tile, secret, rows),
            19 => self.add_from::<{ 1 << 19 }, 4>(tile, secret, rows),
            _ => {}
        }
    }

    /// As [`add`](Self::add) for `K` secret rows and blocks with an index of each of `LANES` rows.
    #[expect(clippy::cast_possible_truncation, reason = "the mask keeps the low bits on purpose")]
    fn add_from<const K: usize, const LANES: usize>(
        &self,
        tile: usize,
        secret: &[Block],
        rows: &mut [Block],
    ) {
        let Ok(secret) = <&[Block; K]>::try_from(secret) else { return };
        let index_blocks = TILE_ROWS / LANES;
        let mut space = [Block::ZERO; WEIGHT * TILE_ROWS / 4];
        let indices = &mut space[..WEIGHT * index_blocks];
        for (tile, rows) in (tile..).zip(rows.chunks_exact_mut(TILE_ROWS)) {
            let first = (tile * indices.len()) as u64;
            for (counter, block) in (first..).zip(&mut *indices) {
                *block = Block::from_words(counter, 0);
            }
            self.0.encrypt(indices);
            let (rows, _) = rows.as_chunks_mut::<LANES>();
            for (place, rows) in rows.iter_mut().enumerate() {
                let mut sums = *rows;
                for blocks in indices.chunks_exact(index_blocks) {
                    let [low, high] = blocks[place].to_words();
                    for (lane, sum) in sums.iter_mut().enumerate() {
                        let word = if lane < LANES / 2 { low } else { high };
                        let shift = 128 / LANES * (lane % (LANES / 2));
                        *sum ^= secret[(word >> shift) as usize & (K - 1)];
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

    /// The indices of row `row`, one word of the stream after the other.
    fn indices_naive(key: Block, row: usize, k: usize) -> [usize; WEIGHT] {
        let lanes = if k > 1 << 16 { 4 } else { 8 };
        let blocks = TILE_ROWS / lanes;
        let (tile, place, lane) = (row / TILE_ROWS, row % TILE_ROWS / lanes, row % lanes);
        core::array::from_fn(|i| {
            let counter = tile * WEIGHT * blocks + i * blocks + place;
            let mut block = [Block::new(counter as u128)];
            Aes128::new(key).encrypt(&mut block);
            (block[0].to_u128() >> (128 / lanes * lane)) as usize & (k - 1)
        })
    }

    #[test]
    fn rows_are_sums_of_ten_secret_rows() {
        let key = Block::new(7);
        for (path, k) in
            Path::all().into_iter().flat_map(|p| (15..=19).map(move |log| (p, 1 << log)))
        {
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
