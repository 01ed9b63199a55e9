//! The sender of the extension: holds Delta, reads one message a step, makes both pads.
//!
//! Knows all streams of group `i` but stream `D_i`. Invariants: all streams stand at the same tile,
//! whose number also gives the hash tweaks; streams are held by `y = x ^ D_i`, so that the missing
//! one is `y = 0` and no index depends on Delta.
//!
//! Source: [Roy22, section 3], party `P_R` of the subspace VOLE.

use core::fmt;

use rand_core::CryptoRng;
use subtle::{Choice, ConditionallySelectable};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::config::SoftSpokenConfig;
use super::fold::fold;
use super::msg::{ExtendMessage, GgmMessage, for_each_block};
use super::{BASE_OTS, CHUNK_TILES, TILE_ROWS, tile, tile_tweak};
use crate::SessionId;
use crate::bits::ChoiceBits;
use crate::block::Block;
use crate::error::OtError;
use crate::ggm;
use crate::hash::TccrHash;
use crate::prg::{Counters, PrgKey};
use crate::rot::RotSenderBatch;
use crate::transpose::transpose;

/// The sender's secret: the difference of the two rows that are hashed to the pads of an OT.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Delta(Block);

impl Delta {
    /// A uniform Delta, for one extension.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self(Block::random(rng))
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
    tag: u8,
    hash: TccrHash,
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
        if base_keys.len() != BASE_OTS {
            return Err(OtError::BaseOtCount { expected: BASE_OTS, found: base_keys.len() });
        }
        config.check_same(message.config)?;
        let mut streams = Vec::with_capacity(config.groups() * (config.group_leaves() - 1));
        let (bits, k) = (delta.bits(), config.group_bits());
        for (i, (keys, hole)) in base_keys.chunks_exact(k).zip(bits.chunks_exact(k)).enumerate() {
            let leaves = ggm::all_but_one(keys, hole, message.group(i));
            streams.extend(leaves.iter().skip(1).copied().map(PrgKey::new));
        }
        let masks = Zeroizing::new(
            bits.map(|bit| Block::conditional_select(&Block::ZERO, &Block::ONES, bit)),
        );
        let matrix = Matrix { config, masks, streams, tile: 0 };
        Ok(Self { tag, hash: TccrHash::new(session), delta, matrix })
    }

    /// Makes this party's side of the `n` random OTs that `message` is for.
    ///
    /// # Errors
    /// [`OtError::OtCount`] or [`OtError::FieldBitsMismatch`] if the message was decoded for other
    /// parameters; nothing is consumed then.
    pub fn extend(&mut self, n: usize, message: &ExtendMessage) -> Result<RotSenderBatch, OtError> {
        if message.len() != n {
            return Err(OtError::OtCount { expected: n, found: message.len() });
        }
        let mut batch = RotSenderBatch::with_capacity(n);
        self.matrix.extend(message, |tile, rows| {
            let mut shifted = rows.map(|row| row ^ self.delta.0);
            let tweak = tile_tweak(self.tag, tile);
            self.hash.hash(rows, tweak);
            self.hash.hash(&mut shifted, tweak);
            let count = TILE_ROWS.min(n - batch.len());
            batch.extend(&rows[..count], &shifted[..count]);
        })?;
        Ok(batch)
    }
}

/// The sender's matrix `w`, made tile by tile.
pub(super) struct Matrix {
    config: SoftSpokenConfig,
    /// Block `r` is all ones if bit `r` of Delta is set, else zero.
    masks: Zeroizing<[Block; BASE_OTS]>,
    /// `[128/k][2^k - 1]`: stream `y >= 1` of group `i` at `i*(2^k - 1) + y - 1`.
    streams: Vec<PrgKey>,
    /// Number of the next tile.
    tile: u64,
}

impl Matrix {
    /// Makes the next `ceil(n/128)` tiles of rows `q_j`, for the `n` of the message, and hands each
    /// with its number to `sink`.
    pub(super) fn extend(
        &mut self,
        message: &ExtendMessage,
        mut sink: impl FnMut(u64, &mut [Block; TILE_ROWS]),
    ) -> Result<(), OtError> {
        self.config.check_same(message.config)?;
        let tiles = message.len().div_ceil(TILE_ROWS);
        let (k, leaf_count) = (self.config.group_bits(), self.config.group_leaves());
        let mut leaves = Zeroizing::new(vec![Block::ZERO; leaf_count * CHUNK_TILES]);
        let mut columns = Zeroizing::new(vec![Block::ZERO; BASE_OTS * CHUNK_TILES]);
        for start in (0..tiles).step_by(CHUNK_TILES) {
            let width = CHUNK_TILES.min(tiles - start);
            let counters = Counters::new(u128::from(self.tile));
            let leaves = &mut leaves[..leaf_count * width];
            let columns = &mut columns[..BASE_OTS * width];
            let groups = columns.chunks_exact_mut(k * width);
            let streams = self.streams.chunks_exact(leaf_count - 1);
            let masks = self.masks.chunks_exact(k);
            for (i, ((w, streams), masks)) in groups.zip(streams).zip(masks).enumerate() {
                leaves[..width].fill(Block::ZERO);
                for (leaf, stream) in leaves.chunks_exact_mut(width).skip(1).zip(streams) {
                    stream.fill_at(&counters, leaf);
                }
                fold(leaves, width, w);
                if i > 0 {
                    let d = message.part(i, start..start + width);
                    for (w, mask) in w.chunks_exact_mut(width).zip(masks) {
                        for_each_block(d, |tile, d| w[tile] ^= d & *mask);
                    }
                }
            }
            for index in 0..width {
                let mut rows = tile(columns, width, index);
                transpose(&mut rows);
                sink(self.tile, &mut rows);
                self.tile += 1;
            }
        }
        Ok(())
    }
}
