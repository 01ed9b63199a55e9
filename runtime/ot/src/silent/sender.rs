//! The sender of silent OT: grows whole trees, sends their sums.
//!
//! Source: [YWLZW20, COT extension], party `P_A`.

use zeroize::Zeroizing;

use super::config::SilentConfig;
use super::msg::SilentMessage;
use super::stock::{Jobs, Stock};
use super::{JOB_CHUNKS, with_choice};
use crate::SessionId;
use crate::block::Block;
use crate::error::OtError;
use crate::hash::TileHash;
use crate::rot::{RotSenderBatch, RotShape, TILE_ROWS};
use crate::simd::Path;
use crate::softspoken::{Delta, tiles};

/// The sender of silent OT.
pub struct Sender {
    hash: TileHash,
    delta: Delta,
    pub(super) stock: Stock,
}

impl Sender {
    /// Takes over the rows `q` of [`SilentConfig::bootstrap_rows`] correlated OTs with `delta`.
    ///
    /// `tag` and `session` as in [`Receiver::new`](super::Receiver::new).
    ///
    /// # Errors
    /// [`OtError::BootstrapRows`] if the number of rows is another; [`OtError::EvenDelta`] unless `delta`
    /// is odd, as [`Delta::random_odd`] makes it.
    pub fn new(
        config: SilentConfig,
        session: &SessionId,
        tag: u8,
        delta: Delta,
        rows: Zeroizing<Vec<Block>>,
    ) -> Result<Self, OtError> {
        Self::on(Path::fastest(), config, session, tag, delta, rows)
    }

    /// As [`new`](Self::new), by a path.
    pub(super) fn on(
        path: Path,
        config: SilentConfig,
        session: &SessionId,
        tag: u8,
        delta: Delta,
        mut rows: Zeroizing<Vec<Block>>,
    ) -> Result<Self, OtError> {
        if !delta.is_odd() {
            return Err(OtError::EvenDelta);
        }
        rows.iter_mut().for_each(|row| *row = with_choice(*row, Block::ZERO));
        let stock = Stock::new(path, config, session, tag, rows)?;
        Ok(Self { hash: TileHash::on(path, session, tag), delta, stock })
    }

    /// Rows already made and not handed out.
    #[must_use]
    pub fn rows_left(&self) -> usize {
        self.stock.left()
    }

    /// Makes this party's side of random OTs of `shapes`, and the message that lets the peer make its.
    ///
    /// Rows left over go first; the message is of [`SilentConfig::iterations`] iterations, perhaps none.
    #[must_use]
    pub fn extend(&mut self, shapes: &[RotShape]) -> (Vec<RotSenderBatch>, SilentMessage) {
        let (config, mut tiles) = (self.stock.config, tiles(shapes));
        let iterations = config.iterations(self.rows_left(), tiles * TILE_ROWS);
        let mut message = SilentMessage::zero(config, iterations);
        let mut batches: Vec<_> = shapes.iter().map(|&s| RotSenderBatch::zeros(s)).collect();
        let planes = batches.iter_mut().flat_map(RotSenderBatch::stretches);
        let mut jobs = self.stock.split(planes);
        self.hand_out(&mut tiles, &mut jobs);
        for sums in message.parts_mut() {
            self.iterate(sums);
            self.hand_out(&mut tiles, &mut jobs);
        }
        (batches, message)
    }

    /// Makes the rows of one iteration and fills in its part of the message.
    pub(super) fn iterate(&mut self, sums: &mut [Block]) {
        let (depth, delta) = (self.stock.config.tree_depth(), self.delta.block());
        let part = self.stock.config.chunk_trees() * (depth - 1);
        let sums = sums.chunks_mut(JOB_CHUNKS * part).map(|sums| sums.chunks_exact_mut(part));
        self.stock.iterate(sums, |grower, pi, rows, sums, leaves| {
            grower.grow_all(pi, delta, rows, sums, leaves);
        });
    }

    /// Hashes rows in stock to pads.
    fn hand_out(&mut self, tiles: &mut usize, jobs: &mut Jobs<'_>) {
        let (hash, shifts) = (&self.hash, [Block::ZERO, self.delta.block()]);
        self.stock.hand_out(tiles, jobs, |number, rows, place| {
            hash.write_pads(number, rows, &shifts, place);
        });
    }
}
