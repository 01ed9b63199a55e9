//! The parameter sets of silent OT, and what they fix: numbers of rows and message sizes.
//!
//! Invariants: there are `w` trees of `n/w` leaves each, `n/w` and `k` powers of two; chunks are whole
//! trees, and all numbers of rows whole tiles. Every set
//! costs every attack of `docs/protocols/ot.md` 2^128 or more, which `tests/silent_security.rs` computes.

use crate::block::Block;
use crate::error::OtError;

/// Rows of a chunk of small trees.
const LEAST_CHUNK_ROWS: usize = 1024;

/// A checked size of an iteration of silent OT: a set of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SilentConfig {
    log_rows: u8,
    log_secret: u8,
    log_leaves: u8,
}

/// [`Code::add`](super::code::Code::add) knows secrets of these sizes alone, and would add nothing of
/// another.
const _: () = {
    let mut index = 0;
    while index < SilentConfig::SIZES.len() {
        assert!(matches!(SilentConfig::SIZES[index].log_secret, 15..=19));
        index += 1;
    }
};

impl SilentConfig {
    /// The supported sizes, smallest first.
    pub const SIZES: [Self; 5] = [
        Self { log_rows: 18, log_secret: 15, log_leaves: 8 },
        Self { log_rows: 19, log_secret: 16, log_leaves: 9 },
        Self { log_rows: 20, log_secret: 17, log_leaves: 10 },
        Self { log_rows: 21, log_secret: 18, log_leaves: 11 },
        Self { log_rows: 22, log_secret: 19, log_leaves: 12 },
    ];

    /// Iterations of `n = 2^log_rows` rows.
    ///
    /// # Errors
    /// [`OtError::UnsupportedSilentRows`] unless `log_rows` is 18 to 22.
    pub fn new(log_rows: u8) -> Result<Self, OtError> {
        let unsupported = OtError::UnsupportedSilentRows { found: log_rows };
        Self::SIZES.into_iter().find(|size| size.log_rows == log_rows).ok_or(unsupported)
    }

    /// `log2 n`.
    #[must_use]
    pub const fn log_rows(self) -> u8 {
        self.log_rows
    }

    /// `n`, the samples of an iteration: rows that it makes.
    #[must_use]
    pub const fn rows(self) -> usize {
        1 << self.log_rows
    }

    /// `k`, the dimension of the code: secret rows.
    #[must_use]
    pub const fn secret_rows(self) -> usize {
        1 << self.log_secret
    }

    /// `w`, the weight of the noise: trees of an iteration, each with one noisy place.
    #[must_use]
    pub const fn noise_weight(self) -> usize {
        1 << (self.log_rows - self.log_leaves)
    }

    /// Rows that the first iteration takes from SoftSpoken, and each further one from the one before;
    /// whole tiles: `k` for the secret and `w*log2(n/w)` for the trees.
    #[must_use]
    pub const fn bootstrap_rows(self) -> usize {
        self.secret_rows() + self.noise_weight() * self.tree_depth()
    }

    /// Rows that one iteration hands out, whole tiles: `n` without those that the next one needs.
    #[must_use]
    pub const fn output_rows(self) -> usize {
        self.rows() - self.bootstrap_rows()
    }

    /// Bytes of message of one iteration: a block for each level of each tree but the first.
    #[must_use]
    pub const fn iteration_bytes(self) -> usize {
        self.noise_weight() * (self.tree_depth() - 1) * Block::BYTES
    }

    /// Iterations that must run to hand out `rows` rows, of which `rows_in_stock` are left over.
    #[must_use]
    pub const fn iterations(self, rows_in_stock: usize, rows: usize) -> usize {
        rows.saturating_sub(rows_in_stock).div_ceil(self.output_rows())
    }

    /// Levels of a tree.
    pub(super) const fn tree_depth(self) -> usize {
        self.log_leaves as usize
    }

    /// Rows made at once: whole trees, whose leaves and scratch space stay in the nearest caches.
    pub(super) const fn chunk_rows(self) -> usize {
        let leaves = 1 << self.log_leaves;
        if leaves > LEAST_CHUNK_ROWS { leaves } else { LEAST_CHUNK_ROWS }
    }

    /// Trees of a chunk.
    pub(super) const fn chunk_trees(self) -> usize {
        self.chunk_rows() >> self.log_leaves
    }

    /// Chunks of an iteration.
    pub(super) const fn chunks(self) -> usize {
        self.rows() / self.chunk_rows()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rot::TILE_ROWS;

    #[test]
    fn only_the_supported_sizes_are_accepted() {
        for log_rows in 0..=u8::MAX {
            match SilentConfig::new(log_rows) {
                Ok(config) => assert_eq!(config.log_rows(), log_rows),
                Err(error) => {
                    assert_eq!(error, OtError::UnsupportedSilentRows { found: log_rows });
                    assert!(!(18..=22).contains(&log_rows));
                }
            }
        }
    }

    #[test]
    fn sizes_follow_the_formulas() {
        let expected = [
            (18, 40_960, 221_184, 114_688),
            (19, 74_752, 449_536, 131_072),
            (20, 141_312, 907_264, 147_456),
            (21, 273_408, 1_823_744, 163_840),
            (22, 536_576, 3_657_728, 180_224),
        ];
        for (config, expected) in SilentConfig::SIZES.into_iter().zip(expected) {
            let sizes = (config.bootstrap_rows(), config.output_rows(), config.iteration_bytes());
            assert_eq!((config.log_rows(), sizes.0, sizes.1, sizes.2), expected);
            assert_eq!(config.bootstrap_rows() % TILE_ROWS, 0);
            assert_eq!(config.output_rows() % TILE_ROWS, 0);
            assert_eq!(config.chunks() * config.chunk_trees(), config.noise_weight());
            let rows = config.output_rows();
            for (stock, wanted, iterations) in
                [(0, 0, 0), (5, 5, 0), (5, 6, 1), (0, rows, 1), (0, rows + 1, 2), (1, rows + 1, 1)]
            {
                assert_eq!(config.iterations(stock, wanted), iterations);
            }
        }
    }
}
