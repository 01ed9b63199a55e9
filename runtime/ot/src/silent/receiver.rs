//! The receiver of silent OT: grows punctured trees from the sums that the sender sends.
//!
//! Source: [YWLZW20, COT extension], party `P_B`.

use zeroize::Zeroizing;

use super::config::SilentConfig;
use super::msg::SilentMessage;
use super::stock::{Jobs, Stock};
use super::{JOB_CHUNKS, choice, with_choice};
use crate::SessionId;
use crate::bits::ChoiceBits;
use crate::block::Block;
use crate::error::OtError;
use crate::hash::TileHash;
use crate::rot::{RotReceiverBatch, RotShape, TILE_ROWS};
use crate::simd::Path;
use crate::softspoken::tiles;

/// The receiver of silent OT.
pub struct Receiver {
    hash: TileHash,
    pub(super) stock: Stock,
}

impl Receiver {
    /// Takes over the choices `c` and the rows `t` of [`SilentConfig::bootstrap_rows`] correlated OTs.
    ///
    /// `tag` tells apart the extensions of one session, also from those of SoftSpoken that hash; both
    /// parties give the same, and no two extensions of a session share one.
    ///
    /// # Errors
    /// [`OtError::BootstrapRows`] if the number of rows, or of choices, is another.
    pub fn new(
        config: SilentConfig,
        session: &SessionId,
        tag: u8,
        choices: &ChoiceBits,
        rows: Zeroizing<Vec<Block>>,
    ) -> Result<Self, OtError> {
        Self::on(Path::fastest(), config, session, tag, choices, rows)
    }

    /// As [`new`](Self::new), by a path.
    pub(super) fn on(
        path: Path,
        config: SilentConfig,
        session: &SessionId,
        tag: u8,
        choices: &ChoiceBits,
        mut rows: Zeroizing<Vec<Block>>,
    ) -> Result<Self, OtError> {
        if choices.len() != rows.len() {
            return Err(OtError::BootstrapRows { expected: rows.len(), found: choices.len() });
        }
        for (row, choice) in rows.iter_mut().zip(choices.iter()) {
            *row = with_choice(*row, Block::from_words(u64::from(choice), 0));
        }
        let stock = Stock::new(path, config, session, tag, rows)?;
        Ok(Self { hash: TileHash::on(path, session, tag), stock })
    }

    /// Rows already made and not handed out.
    #[must_use]
    pub fn rows_left(&self) -> usize {
        self.stock.left()
    }

    /// Makes this party's side of the random OTs of `shapes` that `message` is for.
    ///
    /// # Errors
    /// [`OtError::OtCount`] if the message was decoded for another number of iterations than `shapes`
    /// calls for; nothing is consumed then.
    pub fn extend(
        &mut self,
        shapes: &[RotShape],
        message: &SilentMessage,
    ) -> Result<Vec<RotReceiverBatch>, OtError> {
        let (config, mut tiles) = (self.stock.config, tiles(shapes));
        message.check(config, config.iterations(self.rows_left(), tiles * TILE_ROWS))?;
        let mut batches: Vec<_> = shapes.iter().map(|&s| RotReceiverBatch::zeros(s)).collect();
        let planes = batches.iter_mut().flat_map(RotReceiverBatch::stretches);
        let mut jobs = self.stock.split(planes);
        self.hand_out(&mut tiles, &mut jobs);
        for sums in message.parts() {
            self.iterate(sums);
            self.hand_out(&mut tiles, &mut jobs);
        }
        Ok(batches)
    }

    /// Makes the rows of one iteration from its part of the message.
    pub(super) fn iterate(&mut self, sums: &[Block]) {
        let depth = self.stock.config.tree_depth();
        let part = self.stock.config.chunk_trees() * (depth - 1);
        let sums = sums.chunks(JOB_CHUNKS * part).map(|sums| sums.chunks_exact(part));
        self.stock.iterate(sums, |grower, pi, rows, sums, leaves| {
            grower.grow_punctured(pi, rows, sums, leaves);
        });
    }

    /// Hashes rows in stock to pads, and takes choices from them.
    fn hand_out(&mut self, tiles: &mut usize, jobs: &mut Jobs<'_>) {
        let hash = &self.hash;
        self.stock.hand_out(tiles, jobs, |number, rows, place| {
            place.write_choices(choice_bits(rows));
            hash.write_pads(number, rows, &[Block::ZERO], place);
        });
    }
}

/// The choices of the rows of a tile.
fn choice_bits(rows: &[Block]) -> Block {
    let word = |rows: &[Block]| {
        let bits = rows.iter().map(|row| choice(*row));
        bits.enumerate().fold(0, |word, (place, bit)| word | (bit << place))
    };
    let (low, high) = rows.split_at(TILE_ROWS / 2);
    Block::from_words(word(low), word(high))
}
