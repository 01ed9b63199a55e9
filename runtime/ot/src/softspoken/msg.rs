//! The two messages of the extension, both from receiver to sender.
//!
//! A message in hand has the right length for the parameters it names: decoding checks it, and all
//! strings of that length are valid. Neither message holds a secret of its maker once sent.

use core::ops::Range;

use super::config::{SoftSpokenConfig, column_bytes};
use crate::block::Block;
use crate::error::{OtError, check_length};
use crate::ggm;

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
/// **Shapes**: `[128/k - 1][ceil(n/8)]` bytes; bit `j` of a column is bit `j mod 8` of byte `j/8`.
/// Spare bits of the last byte of a column are pseudo-random and are ignored.
#[derive(Clone)]
pub struct ExtendMessage {
    pub(super) config: SoftSpokenConfig,
    pub(super) n: usize,
    pub(super) columns: Vec<u8>,
}

impl ExtendMessage {
    /// The wire form, [`SoftSpokenConfig::extend_message_bytes`] long.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        self.columns
    }

    /// Reads the wire form for `n` OTs; an owned vector is taken over without a copy.
    ///
    /// # Errors
    /// [`OtError::MessageLength`] if `bytes` has not [`SoftSpokenConfig::extend_message_bytes`].
    pub fn decode(
        bytes: impl Into<Vec<u8>>,
        config: SoftSpokenConfig,
        n: usize,
    ) -> Result<Self, OtError> {
        let columns = bytes.into();
        check_length("ExtendMessage", config.extend_message_bytes(n), columns.len())?;
        Ok(Self { config, n, columns })
    }

    /// The message for `n` OTs with all corrections zero, to be filled in.
    pub(super) fn zero(config: SoftSpokenConfig, n: usize) -> Self {
        Self { config, n, columns: vec![0; config.extend_message_bytes(n)] }
    }

    /// The number of OTs that the message is for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether the message is for no OT.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The bytes of tiles `tiles` in the correction of group `group >= 1`; the last tile may be cut.
    pub(super) fn part(&self, group: usize, tiles: Range<usize>) -> &[u8] {
        &self.columns[part_range(self.n, group, tiles)]
    }

    /// As [`part`](Self::part), to be written.
    pub(super) fn part_mut(&mut self, group: usize, tiles: Range<usize>) -> &mut [u8] {
        &mut self.columns[part_range(self.n, group, tiles)]
    }
}

fn part_range(n: usize, group: usize, tiles: Range<usize>) -> Range<usize> {
    let bytes = column_bytes(n);
    let start = (group - 1) * bytes;
    start + tiles.start * Block::BYTES..start + bytes.min(tiles.end * Block::BYTES)
}

/// Calls `step(i, block)` for each block of `bytes`, the last one padded with zeros if it is cut.
///
/// Whole blocks take a path of fixed length, which is what makes this fast.
pub(super) fn for_each_block(bytes: &[u8], mut step: impl FnMut(usize, Block)) {
    let (whole, rest) = bytes.as_chunks::<{ Block::BYTES }>();
    for (i, bytes) in whole.iter().enumerate() {
        step(i, Block::from_bytes(*bytes));
    }
    if !rest.is_empty() {
        let mut padded = [0; Block::BYTES];
        padded[..rest.len()].copy_from_slice(rest);
        step(whole.len(), Block::from_bytes(padded));
    }
}

/// Fills `bytes` with the encodings of the blocks of an iterator, the last one cut as needed.
pub(super) fn write_blocks(bytes: &mut [u8], blocks: impl IntoIterator<Item = Block>) {
    let mut blocks = blocks.into_iter();
    let (whole, rest) = bytes.as_chunks_mut::<{ Block::BYTES }>();
    for (bytes, block) in whole.iter_mut().zip(&mut blocks) {
        *bytes = block.to_bytes();
    }
    if let Some(block) = blocks.next() {
        rest.copy_from_slice(&block.to_bytes()[..rest.len()]);
    }
}
