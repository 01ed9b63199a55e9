//! The two messages of the extension, both from receiver to sender.
//!
//! A message in hand has the right length for the parameters it names: decoding checks it, and all
//! strings of that length are valid. Neither message holds a secret of its maker once sent.

use super::JOB_TILES;
use super::config::SoftSpokenConfig;
use crate::block::Block;
use crate::error::{OtError, check_length};
use crate::ggm;
use crate::rot::TILE_ROWS;

/// Message of the set-up: the masked sums of the levels of the GGM trees.
///
/// **Shapes**: `[128/k][k - 1][2]` blocks of 16 bytes.
#[derive(Clone)]
pub struct GgmMessage {
    pub(super) config: SoftSpokenConfig,
    pub(super) sums: Vec<Block>,
}

impl GgmMessage {
    /// The wire form, [`SoftSpokenConfig::ggm_message_bytes`] long.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        self.sums.iter().flat_map(|sum| sum.to_bytes()).collect()
    }

    /// Reads the wire form for `config`.
    ///
    /// # Errors
    /// [`OtError::MessageLength`] if `bytes` has not [`SoftSpokenConfig::ggm_message_bytes`].
    pub fn decode(bytes: &[u8], config: SoftSpokenConfig) -> Result<Self, OtError> {
        check_length("GgmMessage", config.ggm_message_bytes(), bytes.len())?;
        let (sums, _) = bytes.as_chunks::<{ Block::BYTES }>();
        let sums = sums.iter().copied().map(Block::from_bytes).collect();
        Ok(Self { config, sums })
    }

    /// The sums of the tree of group `group`.
    pub(super) fn group(&self, group: usize) -> &[Block] {
        let blocks = ggm::message_blocks(self.config.group_bits());
        &self.sums[group * blocks..(group + 1) * blocks]
    }
}

/// Message of one extension: the corrections `d_i` for `i >= 1`.
///
/// **Shapes**: `[chunks][128/k - 1][tiles of the chunk]` blocks of 16 bytes; a chunk is 16 tiles, the last
/// one may have fewer. Bit `j` of a block belongs to row `j` of its tile.
#[derive(Clone)]
pub struct ExtendMessage {
    pub(super) config: SoftSpokenConfig,
    pub(super) tiles: usize,
    blocks: Vec<u8>,
}

impl ExtendMessage {
    /// The wire form, [`SoftSpokenConfig::extend_message_bytes`] long.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        self.blocks
    }

    /// Reads the wire form for `n` OTs, rounded up to whole tiles of [`TILE_ROWS`]; an owned vector is
    /// taken over without a copy.
    ///
    /// # Errors
    /// [`OtError::MessageLength`] if `bytes` has not [`SoftSpokenConfig::extend_message_bytes`].
    pub fn decode(
        bytes: impl Into<Vec<u8>>,
        config: SoftSpokenConfig,
        n: usize,
    ) -> Result<Self, OtError> {
        let blocks = bytes.into();
        check_length("ExtendMessage", config.extend_message_bytes(n), blocks.len())?;
        Ok(Self { config, tiles: n.div_ceil(TILE_ROWS), blocks })
    }

    /// The message for `tiles` tiles with all corrections zero, to be filled in.
    pub(super) fn zero(config: SoftSpokenConfig, tiles: usize) -> Self {
        let blocks = vec![0; config.extend_message_bytes(tiles.saturating_mul(TILE_ROWS))];
        Self { config, tiles, blocks }
    }

    /// The number of OTs that the message is for, a multiple of [`TILE_ROWS`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.tiles.saturating_mul(TILE_ROWS)
    }

    /// Whether the message is for no OT.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tiles == 0
    }

    /// The corrections of each job.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &[EncodedBlock]> {
        self.blocks.as_chunks().0.chunks(JOB_TILES * self.config.corrections())
    }

    /// As [`jobs`](Self::jobs), to be written.
    pub(super) fn jobs_mut(&mut self) -> impl Iterator<Item = &mut [EncodedBlock]> {
        self.blocks.as_chunks_mut().0.chunks_mut(JOB_TILES * self.config.corrections())
    }
}

/// A block in its wire form.
pub(super) type EncodedBlock = [u8; Block::BYTES];
