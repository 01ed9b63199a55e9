//! The rows of a party: what the next iteration consumes, and what waits to be handed out.
//!
//! Invariants: the next iteration's secret and the rows of its trees are the last rows of the iteration
//! before (of SoftSpoken at first) and are never handed out; a row leaves the stock once, and every tile
//! that leaves it has a number of its own. Iterations give the same rows on any number of threads.

use core::iter;
use heq_mutation::broken;
use std::vec;

use zeroize::Zeroizing;

use super::code::Code;
use super::config::SilentConfig;
use super::tree::Grower;
use super::{JOB_CHUNKS, JOB_TILES, KeyUse, derive_key};
use crate::SessionId;
use crate::aes128::Aes128;
use crate::block::Block;
use crate::error::OtError;
use crate::rot::TILE_ROWS;
use crate::simd::Path;
use crate::softspoken::for_each_job;
use crate::tiles::{Places, Stretch, TilePlace};

/// The places of tiles that wait for rows, job by job.
pub(super) type Jobs<'a> = vec::IntoIter<Places<'a>>;

/// The rows of one party.
pub(super) struct Stock {
    pub(super) config: SilentConfig,
    path: Path,
    code: Code,
    /// Public key of the trees, to which the number of the chunk is added.
    trees_key: Block,
    /// Number of the next chunk.
    chunk: u64,
    /// `[k + w*depth]`: the secret and the rows of the trees of the next iteration.
    pub(super) state: Zeroizing<Vec<Block>>,
    /// `[n]`: the rows of the last iteration.
    pub(super) rows: Zeroizing<Vec<Block>>,
    /// First of `rows` that is not handed out.
    next: usize,
    /// Number of the next tile.
    tile: u64,
}

impl Stock {
    /// Nothing to hand out yet, and the rows `bootstrap` for the first iteration.
    ///
    /// # Errors
    /// [`OtError::BootstrapRows`] unless there are [`SilentConfig::bootstrap_rows`] of them.
    pub(super) fn new(
        path: Path,
        config: SilentConfig,
        session: &SessionId,
        tag: u8,
        bootstrap: Zeroizing<Vec<Block>>,
    ) -> Result<Self, OtError> {
        let (expected, found) = (config.bootstrap_rows(), bootstrap.len());
        if expected != found {
            return Err(OtError::BootstrapRows { expected, found });
        }
        Ok(Self {
            config,
            path,
            code: Code::new(path, derive_key(session, tag, KeyUse::Code)),
            trees_key: derive_key(session, tag, KeyUse::Trees),
            chunk: 0,
            state: bootstrap,
            rows: Zeroizing::new(vec![Block::ZERO; config.rows()]),
            next: config.output_rows(),
            tile: 0,
        })
    }

    /// Rows that can be handed out without another iteration.
    pub(super) fn left(&self) -> usize {
        self.config.output_rows() - self.next
    }

    /// Makes the next `n` rows in place of those in stock, which have all been handed out.
    ///
    /// `grow` makes the leaves of the trees of a chunk from their rows and its part of `sums`, which come
    /// job by job.
    pub(super) fn iterate<S: Iterator + Send>(
        &mut self,
        sums: impl Iterator<Item = S>,
        grow: impl Fn(&mut Grower, &Aes128, &[Block], S::Item, &mut [Block]) + Sync,
    ) {
        let (config, path, code, key) = (self.config, self.path, &self.code, self.trees_key);
        let (trees, depth) = (config.chunk_trees(), config.tree_depth());
        let chunk_rows = config.chunk_rows();
        let (secret, tree_rows) = self.state.split_at(config.secret_rows());
        let rows = self.rows.chunks_mut(JOB_CHUNKS * chunk_rows).zip(sums);
        let jobs = rows.zip(tree_rows.chunks(JOB_CHUNKS * trees * depth));
        let jobs: Vec<_> = (0..).step_by(JOB_CHUNKS).zip(jobs).collect();
        for_each_job(jobs, |(first, ((rows, sums), tree_rows))| {
            let mut grower = Grower::new(path, trees, depth);
            let chunks = rows.chunks_exact_mut(chunk_rows).zip(sums);
            let chunks = chunks.zip(tree_rows.chunks_exact(trees * depth));
            for (chunk, ((rows, sums), tree_rows)) in (first..).zip(chunks) {
                let number = Block::from_words(self.chunk.wrapping_add(chunk as u64), 0);
                let pi = Aes128::on(path, key ^ number);
                grow(&mut grower, &pi, tree_rows, sums, rows);
                if !broken!(
                    "the noise has no secret rows beside it",
                    "heq-ot lib rows_satisfy_the_correlation_in_every_iteration"
                ) {
                    code.add(chunk * (chunk_rows / TILE_ROWS), secret, rows);
                }
            }
        });
        if !broken!(
            "trees of all iterations share their keys",
            "heq-ot lib keys_of_trees_serve_one_iteration"
        ) {
            self.chunk = self.chunk.wrapping_add(config.chunks() as u64);
        }
        let hands_out = broken!(
            "rows that are handed out are kept",
            "heq-ot lib rows_are_handed_out_once_and_under_numbers_of_their_own"
        );
        let kept = if hands_out { 0 } else { config.output_rows() };
        self.state.copy_from_slice(&self.rows[kept..][..config.bootstrap_rows()]);
        self.next = 0;
    }

    /// Cuts the planes of batches into jobs none of which outlasts the rows in stock, now and after each
    /// further iteration.
    pub(super) fn split<'a>(&self, planes: impl Iterator<Item = Stretch<'a>>) -> Jobs<'a> {
        let fills = iter::once(self.left()).chain(iter::repeat(self.config.output_rows()));
        let sizes = fills.flat_map(|rows| {
            let tiles = rows / TILE_ROWS;
            (0..tiles).step_by(JOB_TILES).map(move |start| JOB_TILES.min(tiles - start))
        });
        Places::split_by(planes, sizes).into_iter()
    }

    /// Hands tiles, with their numbers and places, to `sink` until the stock or `jobs` is exhausted;
    /// `tiles` counts those that wait for rows.
    pub(super) fn hand_out(
        &mut self,
        tiles: &mut usize,
        jobs: &mut Jobs<'_>,
        sink: impl Fn(u64, &[Block; TILE_ROWS], &mut TilePlace<'_, '_>) + Sync,
    ) {
        let count = (*tiles).min(self.left() / TILE_ROWS);
        let end = self.next + count * TILE_ROWS;
        let (rows, _) = self.rows[self.next..end].as_chunks();
        let numbers = (self.tile..).step_by(JOB_TILES);
        let jobs: Vec<_> = numbers.zip(rows.chunks(JOB_TILES)).zip(jobs).collect();
        for_each_job(jobs, |((first, rows), mut places)| {
            for (number, rows) in (first..).zip(rows) {
                if let Some(mut place) = places.next_place() {
                    sink(number, rows, &mut place);
                }
            }
        });
        self.next = end;
        if !broken!(
            "tiles of silent OT are numbered from the beginning each time",
            "heq-ot lib rows_are_handed_out_once_and_under_numbers_of_their_own"
        ) {
            self.tile += count as u64;
        }
        *tiles -= count;
    }
}
