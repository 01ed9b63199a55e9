//! The receiver of the extension: makes choices and pads, sends one message a step.
//!
//! Knows every stream of every group. Invariant: all streams stand at the same tile, whose number
//! also gives the hash tweaks.
//!
//! Source: [Roy22, section 3], party `P_S` of the subspace VOLE.

use zeroize::Zeroizing;

use super::config::SoftSpokenConfig;
use super::msg::{EncodedBlock, ExtendMessage, GgmMessage};
use super::streams::{ChunkColumns, Streams};
use super::{BASE_OTS, CHUNK_TILES, JOB_TILES, QUADS, for_each_job, tile_after, tiles};
use crate::SessionId;
use crate::bits::ChoiceBits;
use crate::block::Block;
use crate::error::OtError;
use crate::ggm;
use crate::hash::TileHash;
use crate::rot::{RotReceiverBatch, RotShape, TILE_ROWS, TILE_WORDS};
use crate::simd::Path;
use crate::tiles::Places;
use crate::transpose::{QUAD, transpose_quad};

/// The receiver of the extension, after set-up.
pub struct Receiver {
    hash: TileHash,
    pub(super) matrix: Matrix,
}

impl Receiver {
    /// Grows the trees from the keys of the [`BASE_OTS`] base OTs in which this party was the
    /// sender; the message lets the peer grow all but one leaf of each.
    ///
    /// `tag` tells apart the extensions of one session, as the two directions; both parties give
    /// the same, and no two extensions of a session share one. Base OTs serve one extension only.
    ///
    /// # Errors
    /// [`OtError::BaseOtCount`] unless `base` has [`BASE_OTS`] pairs.
    pub fn new(
        config: SoftSpokenConfig,
        session: &SessionId,
        tag: u8,
        base: &[[Block; 2]],
    ) -> Result<(Self, GgmMessage), OtError> {
        Self::on(Path::fastest(), config, session, tag, base)
    }

    /// As [`new`](Self::new), by a path.
    pub(super) fn on(
        path: Path,
        config: SoftSpokenConfig,
        session: &SessionId,
        tag: u8,
        base: &[[Block; 2]],
    ) -> Result<(Self, GgmMessage), OtError> {
        if base.len() != BASE_OTS {
            return Err(OtError::BaseOtCount { expected: BASE_OTS, found: base.len() });
        }
        let mut sums = Vec::with_capacity(config.ggm_message_bytes() / Block::BYTES);
        let mut seeds = Zeroizing::new(Vec::with_capacity(config.groups() * config.group_leaves()));
        for group in base.chunks_exact(config.group_bits()) {
            seeds.extend_from_slice(&ggm::all_leaves(group, &mut sums));
        }
        let streams = Streams::new(path, config.group_leaves(), 0, &seeds);
        let matrix = Matrix { config, path, streams, tile: 0 };
        Ok((Self { hash: TileHash::on(path, session, tag), matrix }, GgmMessage { config, sums }))
    }

    /// Makes random OTs of `shapes` and the message that lets the peer make its side of them.
    ///
    /// **Security**: to the peer the choices are pseudo-random, message included.
    #[must_use]
    pub fn extend(&mut self, shapes: &[RotShape]) -> (Vec<RotReceiverBatch>, ExtendMessage) {
        let mut batches: Vec<_> = shapes.iter().map(|&s| RotReceiverBatch::zeros(s)).collect();
        let planes = batches.iter_mut().flat_map(RotReceiverBatch::stretches);
        let hash = &self.hash;
        let sinks = Places::split(planes, JOB_TILES).into_iter().map(|mut places| {
            move |tile, choices, rows: &_| {
                if let Some(mut place) = places.next_place() {
                    place.write_choices(choices);
                    hash.write_pads(tile, rows, &[Block::ZERO], &mut place);
                }
            }
        });
        let message = self.matrix.extend(tiles(shapes), sinks);
        (batches, message)
    }

    /// Makes the next `rows` correlated OTs, a multiple of [`TILE_ROWS`]: the choices `c_j` and rows
    /// `t_j = q_j + c_j*Delta`, and the message that lets the peer make its rows `q_j`.
    #[must_use]
    pub fn correlate(&mut self, rows: usize) -> (ChoiceBits, Zeroizing<Vec<Block>>, ExtendMessage) {
        let mut all = Zeroizing::new(vec![Block::ZERO; rows]);
        let mut words = vec![0; rows / TILE_ROWS * TILE_WORDS];
        let jobs = all.chunks_mut(JOB_TILES * TILE_ROWS);
        let sinks = jobs.zip(words.chunks_mut(JOB_TILES * TILE_WORDS)).map(|(all, words)| {
            let tiles = all.as_chunks_mut().0.iter_mut();
            let mut places = tiles.zip(words.as_chunks_mut().0);
            move |_, choices: Block, rows: &[Block; TILE_ROWS]| {
                if let Some((tile, words)) = places.next() {
                    (*tile, *words) = (*rows, choices.to_words());
                }
            }
        });
        let message = self.matrix.extend(rows / TILE_ROWS, sinks);
        (ChoiceBits::from_words(words, rows), all, message)
    }
}

/// The receiver's matrix `v`, made tile by tile.
pub(super) struct Matrix {
    config: SoftSpokenConfig,
    path: Path,
    streams: Streams,
    /// Number of the next tile.
    tile: u64,
}

impl Matrix {
    /// Makes the next `tiles` tiles. Of every tile of a job a sink takes, in order, the number, the choices
    /// `c = u_0` and the rows `t_j`; the message has the corrections `d_i = u_i - u_0`.
    pub(super) fn extend<S>(
        &mut self,
        tiles: usize,
        sinks: impl Iterator<Item = S>,
    ) -> ExtendMessage
    where
        S: FnMut(u64, Block, &[Block; TILE_ROWS]) + Send,
    {
        let mut message = ExtendMessage::zero(self.config, tiles);
        let numbers = (self.tile..).step_by(JOB_TILES);
        let jobs = numbers.zip(message.jobs_mut()).zip(sinks).collect();
        for_each_job(jobs, |((first, corrections), sink)| {
            self.extend_job(first, corrections, sink);
        });
        self.tile = tile_after(self.tile, tiles);
        message
    }

    /// Makes the tiles from `tile` on of which `corrections` is the part of the message.
    fn extend_job(
        &self,
        mut tile: u64,
        corrections: &mut [EncodedBlock],
        mut sink: impl FnMut(u64, Block, &[Block; TILE_ROWS]),
    ) {
        let mut columns: Zeroizing<ChunkColumns> =
            Zeroizing::new([[[Block::ZERO; QUAD]; BASE_OTS]; QUADS]);
        let mut rows = Zeroizing::new([[Block::ZERO; TILE_ROWS]; QUAD]);
        for corrections in corrections.chunks_mut(CHUNK_TILES * self.config.corrections()) {
            let width = corrections.len() / self.config.corrections();
            let quads = width.div_ceil(QUAD);
            let u0 = Zeroizing::new(self.streams.sums(0, tile, quads, &mut columns));
            for (group, d) in (1..).zip(corrections.chunks_exact_mut(width)) {
                let u = self.streams.sums(group, tile, quads, &mut columns);
                self.path.vectorised(|| {
                    for ((d, u), u0) in d.iter_mut().zip(&u).zip(&*u0) {
                        *d = (*u ^ *u0).to_bytes();
                    }
                });
            }
            for (columns, u0) in columns.iter().zip(u0[..width].chunks(QUAD)) {
                transpose_quad(self.path, columns, &mut rows);
                for (rows, choices) in rows.iter().zip(u0) {
                    sink(tile, *choices, rows);
                    tile += 1;
                }
            }
        }
    }
}
