//! The sender of the extension: holds Delta, reads one message a step, makes both pads.
//!
//! Knows all streams of group `i` but stream `D_i`. Invariants: all streams stand at the same tile,
//! whose number also gives the hash tweaks; streams are held by `y = x ^ D_i`, so that the missing
//! one is `y = 0` and no index depends on Delta.
//!
//! Source: [Roy22, section 3], party `P_R` of the subspace VOLE.

use core::fmt;

use heq_mutation::broken;
use rand_core::CryptoRng;
use subtle::{Choice, ConditionallySelectable};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

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
use crate::rot::{RotSenderBatch, RotShape, TILE_ROWS};
use crate::simd::Path;
use crate::tiles::Places;
use crate::transpose::{QUAD, transpose_quad};

/// The sender's secret: the difference of the two rows that are hashed to the pads of an OT. On the heap,
/// so that moving it leaves no copy.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Delta(Box<Block>);

impl Delta {
    /// A uniform Delta, for one extension.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        if broken!("Delta is zero", "heq-ot rot softspoken_is_random_ot") {
            return Self(Box::default());
        }
        Self(Box::new(Block::random(rng)))
    }

    /// A Delta for silent OT, uniform but for its lowest bit, which is 1: 127 bits are secret.
    pub fn random_odd<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let [low, high] = Block::random(rng).to_words();
        Self(Box::new(Block::from_words(low | 1, high)))
    }

    /// Whether the lowest bit is 1, which is no secret.
    pub(crate) fn is_odd(&self) -> bool {
        self.0.to_words()[0] & 1 == 1
    }

    /// The bits.
    pub(crate) fn block(&self) -> Block {
        *self.0
    }

    /// The choices with which the owner of this Delta takes part in the [`BASE_OTS`] base OTs: its
    /// complement, since a level of a tree needs the sum that leads away from the hole.
    #[must_use]
    pub fn base_choices(&self) -> ChoiceBits {
        let [low, high] = self.0.to_words();
        ChoiceBits::from_words(vec![!low, !high], BASE_OTS)
    }

    /// The bits, constant time.
    fn bits(&self) -> [Choice; BASE_OTS] {
        core::array::from_fn(|r| self.0.bit(r))
    }
}

impl fmt::Debug for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Delta(..)")
    }
}

/// The sender of the extension, after set-up.
pub struct Sender {
    hash: TileHash,
    pub(super) delta: Delta,
    pub(super) matrix: Matrix,
}

impl Sender {
    /// Grows the punctured trees from the keys of the [`BASE_OTS`] base OTs that this party received
    /// with the choices [`Delta::base_choices`], and the message of the peer.
    ///
    /// `tag` and `session` as in [`Receiver::new`](super::Receiver::new).
    ///
    /// # Errors
    /// [`OtError::BaseOtCount`] unless there are [`BASE_OTS`] keys; [`OtError::FieldBitsMismatch`] if
    /// the message was made for another `config`.
    pub fn new(
        config: SoftSpokenConfig,
        session: &SessionId,
        tag: u8,
        delta: Delta,
        base_keys: &[Block],
        message: &GgmMessage,
    ) -> Result<Self, OtError> {
        Self::on(Path::fastest(), config, session, tag, delta, base_keys, message)
    }

    /// As [`new`](Self::new), by a path.
    pub(super) fn on(
        path: Path,
        config: SoftSpokenConfig,
        session: &SessionId,
        tag: u8,
        delta: Delta,
        base_keys: &[Block],
        message: &GgmMessage,
    ) -> Result<Self, OtError> {
        if base_keys.len() != BASE_OTS {
            return Err(OtError::BaseOtCount { expected: BASE_OTS, found: base_keys.len() });
        }
        config.check_same(message.config)?;
        let mut seeds = Zeroizing::new(Vec::with_capacity(config.groups() * config.group_leaves()));
        let (bits, k) = (delta.bits(), config.group_bits());
        for (i, (keys, hole)) in base_keys.chunks_exact(k).zip(bits.chunks_exact(k)).enumerate() {
            seeds.extend_from_slice(&ggm::all_but_one(keys, hole, message.group(i)));
        }
        let masks = Zeroizing::new(
            bits.map(|bit| Block::conditional_select(&Block::ZERO, &Block::ONES, bit)),
        );
        let streams = Streams::new(path, config.group_leaves(), 1, &seeds);
        let matrix = Matrix { config, path, masks: Box::new(masks), streams, tile: 0 };
        Ok(Self { hash: TileHash::on(path, session, tag), delta, matrix })
    }

    /// Makes this party's side of the random OTs of `shapes` that `message` is for.
    ///
    /// # Errors
    /// [`OtError::OtCount`] or [`OtError::FieldBitsMismatch`] if the message was decoded for other
    /// parameters; nothing is consumed then.
    pub fn extend(
        &mut self,
        shapes: &[RotShape],
        message: &ExtendMessage,
    ) -> Result<Vec<RotSenderBatch>, OtError> {
        check_tiles(tiles(shapes), message)?;
        let mut batches: Vec<_> = shapes.iter().map(|&s| RotSenderBatch::zeros(s)).collect();
        let planes = batches.iter_mut().flat_map(RotSenderBatch::stretches);
        let (hash, shifts) = (&self.hash, [Block::ZERO, self.delta.block()]);
        let sinks = Places::split(planes, JOB_TILES).into_iter().map(|mut places| {
            move |tile, rows: &_| {
                if let Some(mut place) = places.next_place() {
                    hash.write_pads(tile, rows, &shifts, &mut place);
                }
            }
        });
        self.matrix.extend(message, sinks)?;
        Ok(batches)
    }

    /// Makes this party's rows `q_j` of the `rows` correlated OTs that `message` is for, a multiple of
    /// [`TILE_ROWS`].
    ///
    /// # Errors
    /// As [`Sender::extend`].
    pub fn correlate(
        &mut self,
        rows: usize,
        message: &ExtendMessage,
    ) -> Result<Zeroizing<Vec<Block>>, OtError> {
        check_tiles(rows / TILE_ROWS, message)?;
        let mut all = Zeroizing::new(vec![Block::ZERO; rows]);
        let sinks = all.chunks_mut(JOB_TILES * TILE_ROWS).map(|all| {
            let mut tiles = all.as_chunks_mut().0.iter_mut();
            move |_, rows: &[Block; TILE_ROWS]| {
                if let Some(tile) = tiles.next() {
                    *tile = *rows;
                }
            }
        });
        self.matrix.extend(message, sinks)?;
        Ok(all)
    }

    /// Ends the extension; its Delta goes on in silent OT.
    #[must_use]
    pub fn into_delta(self) -> Delta {
        self.delta
    }
}

/// Refuses a message that is not for `tiles` tiles.
fn check_tiles(tiles: usize, message: &ExtendMessage) -> Result<(), OtError> {
    if message.tiles == tiles {
        Ok(())
    } else {
        let expected = tiles.saturating_mul(TILE_ROWS);
        Err(OtError::OtCount { expected, found: message.len() })
    }
}

/// The sender's matrix `w`, made tile by tile.
pub(super) struct Matrix {
    config: SoftSpokenConfig,
    path: Path,
    /// Block `r` is all ones if bit `r` of Delta is set, else zero.
    masks: Box<Zeroizing<[Block; BASE_OTS]>>,
    /// Stream `y` of group `i` in place of stream `x = y ^ D_i`; `y = 0` is not known.
    streams: Streams,
    /// Number of the next tile.
    tile: u64,
}

impl Matrix {
    /// Makes the next tiles, as many as the message is for. Of every tile of a job a sink takes, in order,
    /// the number and the rows `q_j`.
    pub(super) fn extend<S>(
        &mut self,
        message: &ExtendMessage,
        sinks: impl Iterator<Item = S>,
    ) -> Result<(), OtError>
    where
        S: FnMut(u64, &[Block; TILE_ROWS]) + Send,
    {
        self.config.check_same(message.config)?;
        let numbers = (self.tile..).step_by(JOB_TILES);
        let jobs = numbers.zip(message.jobs()).zip(sinks).collect();
        for_each_job(jobs, |((first, corrections), sink)| {
            self.extend_job(first, corrections, sink);
        });
        self.tile = tile_after(self.tile, message.tiles);
        Ok(())
    }

    /// Makes the tiles from `tile` on of which `corrections` is the part of the message.
    fn extend_job(
        &self,
        mut tile: u64,
        corrections: &[EncodedBlock],
        mut sink: impl FnMut(u64, &[Block; TILE_ROWS]),
    ) {
        let mut columns: Zeroizing<ChunkColumns> =
            Zeroizing::new([[[Block::ZERO; QUAD]; BASE_OTS]; QUADS]);
        let mut rows = Zeroizing::new([[Block::ZERO; TILE_ROWS]; QUAD]);
        for corrections in corrections.chunks(CHUNK_TILES * self.config.corrections()) {
            let width = corrections.len() / self.config.corrections();
            let quads = width.div_ceil(QUAD);
            for group in 0..self.config.groups() {
                self.streams.sums(group, tile, quads, &mut columns);
            }
            self.path.vectorised(|| self.correct(corrections, width, &mut columns));
            for (start, columns) in (0..width).step_by(QUAD).zip(columns.iter()) {
                transpose_quad(self.path, columns, &mut rows);
                for rows in rows.iter().take(width - start) {
                    sink(tile, rows);
                    tile += 1;
                }
            }
        }
    }

    /// Adds `D_i*d_i` to the columns of a chunk of `width` tiles.
    #[inline]
    fn correct(&self, corrections: &[EncodedBlock], width: usize, columns: &mut ChunkColumns) {
        let k = self.config.group_bits();
        for (i, encoded) in (1..).zip(corrections.chunks_exact(width)) {
            let mut d = [[Block::ZERO; QUAD]; QUADS];
            for (d, encoded) in d.as_flattened_mut().iter_mut().zip(encoded) {
                *d = Block::from_bytes(*encoded);
            }
            for (columns, d) in columns.iter_mut().zip(&d) {
                let group = i * k..(i + 1) * k;
                for (column, mask) in columns[group.clone()].iter_mut().zip(&self.masks[group]) {
                    for (w, d) in column.iter_mut().zip(d) {
                        *w ^= *d & *mask;
                    }
                }
            }
        }
    }
}
