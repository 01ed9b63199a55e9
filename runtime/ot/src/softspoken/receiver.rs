//! The receiver of the extension: makes choices and pads, sends one message a step.
//!
//! Knows every stream of every group. Invariant: all streams stand at the same tile, whose number
//! also gives the hash tweaks.
//!
//! Source: [Roy22, section 3], party `P_S` of the subspace VOLE.

use zeroize::Zeroizing;

use super::config::SoftSpokenConfig;
use super::fold::fold;
use super::msg::{ExtendMessage, GgmMessage, write_blocks};
use super::{BASE_OTS, CHUNK_TILES, TILE_ROWS, tile, tile_tweak};
use crate::SessionId;
use crate::bits::ChoiceBits;
use crate::block::Block;
use crate::error::OtError;
use crate::ggm;
use crate::hash::TccrHash;
use crate::prg::{Counters, PrgKey};
use crate::rot::RotReceiverBatch;
use crate::transpose::transpose;

/// The receiver of the extension, after set-up.
pub struct Receiver {
    tag: u8,
    hash: TccrHash,
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
        if base.len() != BASE_OTS {
            return Err(OtError::BaseOtCount { expected: BASE_OTS, found: base.len() });
        }
        let mut sums = Vec::with_capacity(config.ggm_message_bytes() / Block::BYTES);
        let mut streams = Vec::with_capacity(config.groups() * config.group_leaves());
        for group in base.chunks_exact(config.group_bits()) {
            streams.extend(ggm::all_leaves(group, &mut sums).iter().copied().map(PrgKey::new));
        }
        let matrix = Matrix { config, streams, tile: 0 };
        Ok((Self { tag, hash: TccrHash::new(session), matrix }, GgmMessage { config, sums }))
    }

    /// Makes the next `n` random OTs and the message that lets the peer make its side of them.
    ///
    /// **Security**: to the peer the choices are pseudo-random, message included.
    #[must_use]
    pub fn extend(&mut self, n: usize) -> (RotReceiverBatch, ExtendMessage) {
        let mut pads = Vec::with_capacity(n);
        let (choices, message) = self.matrix.extend(n, |tile, rows| {
            self.hash.hash(rows, tile_tweak(self.tag, tile));
            pads.extend_from_slice(&rows[..TILE_ROWS.min(n - pads.len())]);
        });
        (RotReceiverBatch::new(choices, pads), message)
    }
}

/// The receiver's matrix `v`, made tile by tile.
pub(super) struct Matrix {
    config: SoftSpokenConfig,
    /// `[128/k][2^k]`: stream `x` of group `i` at `i*2^k + x`.
    streams: Vec<PrgKey>,
    /// Number of the next tile.
    tile: u64,
}

impl Matrix {
    /// Makes the next `ceil(n/128)` tiles of rows `t_j` and hands each with its number to `sink`;
    /// returns the choices `c = u_0` and the corrections `d_i = u_i - u_0`.
    pub(super) fn extend(
        &mut self,
        n: usize,
        mut sink: impl FnMut(u64, &mut [Block; TILE_ROWS]),
    ) -> (ChoiceBits, ExtendMessage) {
        let tiles = n.div_ceil(TILE_ROWS);
        let leaf_count = self.config.group_leaves();
        let mut message = ExtendMessage::zero(self.config, n);
        let mut choices = Vec::with_capacity(2 * tiles);
        let mut leaves = Zeroizing::new(vec![Block::ZERO; leaf_count * CHUNK_TILES]);
        let mut columns = Zeroizing::new(vec![Block::ZERO; BASE_OTS * CHUNK_TILES]);
        let mut u0 = Zeroizing::new([Block::ZERO; CHUNK_TILES]);
        for start in (0..tiles).step_by(CHUNK_TILES) {
            let width = CHUNK_TILES.min(tiles - start);
            let counters = Counters::new(u128::from(self.tile));
            let leaves = &mut leaves[..leaf_count * width];
            let columns = &mut columns[..BASE_OTS * width];
            let u0 = &mut u0[..width];
            let groups = columns.chunks_exact_mut(self.config.group_bits() * width);
            let streams = self.streams.chunks_exact(leaf_count);
            for (i, (v, streams)) in groups.zip(streams).enumerate() {
                for (leaf, stream) in leaves.chunks_exact_mut(width).zip(streams) {
                    stream.fill_at(&counters, leaf);
                }
                fold(leaves, width, v);
                let u = &leaves[..width];
                if i == 0 {
                    u0.copy_from_slice(u);
                } else {
                    let part = message.part_mut(i, start..start + width);
                    write_blocks(part, u.iter().zip(&*u0).map(|(u, u0)| *u ^ *u0));
                }
            }
            choices.extend(u0.iter().flat_map(|u| u.to_words()));
            for index in 0..width {
                let mut rows = tile(columns, width, index);
                transpose(&mut rows);
                sink(self.tile, &mut rows);
                self.tile += 1;
            }
        }
        (ChoiceBits::from_words(choices, n), message)
    }
}
