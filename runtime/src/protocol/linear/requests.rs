//! The server's end of requests: received as responses need them, decoded, kept in blocks.
//!
//! Invariant: requests come in the order of the layout, so a block is complete when the last of its input
//! tiles has come; blocks that no later response needs are dropped.

use super::{Layer, RequestSeeds, batches, operand};
use crate::error::RunError;
use crate::protocol::Link;
use crate::random::fork;
use crate::share::Words;
use heq_he::product::RequestBlock;
use heq_he::server::Request;
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;
use std::collections::VecDeque;
use std::ops::Range;

/// The requests of a layer as far as they have come and are needed, in blocks: of a spatial tile and a tile
/// over the groups.
pub(super) struct Blocks {
    /// The server's shares, as they are packed.
    words: Words,
    /// Requests that have come.
    received: usize,
    /// Number of the first of `blocks`.
    first: usize,
    blocks: VecDeque<RequestBlock>,
}

impl Blocks {
    /// No requests yet; `words` are the server's shares, as they are packed.
    pub(super) fn new(words: Words) -> Self {
        Self { words, received: 0, first: 0, blocks: VecDeque::new() }
    }

    /// Block `index`.
    ///
    /// # Errors
    /// [`RunError::Internal`] unless it was provided and is kept.
    pub(super) fn get(&self, index: usize) -> Result<&RequestBlock, RunError> {
        let block = index.checked_sub(self.first).and_then(|index| self.blocks.get(index));
        block.ok_or(RunError::Internal { what: "a response was made before its requests had come" })
    }

    /// Receives what is missing of the blocks up to the end of `range`, and drops those before it.
    ///
    /// # Errors
    /// [`RunError`] if the peer goes away or sends a malformed message.
    pub(super) fn provide(
        &mut self,
        link: &mut Link<'_>,
        layer: &Layer<'_>,
        seeds: &mut RequestSeeds,
        range: Range<usize>,
        rng: &mut ChaCha20Rng,
    ) -> Result<(), RunError> {
        let tiles = layer.step.layout.counts().input_tiles;
        while self.first < range.start {
            self.blocks.pop_front();
            self.first += 1;
        }
        let first = self.received;
        for batch in batches((range.end * tiles).saturating_sub(first)) {
            let batch = first + batch.start..first + batch.end;
            self.receive(link, layer, seeds, batch, rng)?;
        }
        Ok(())
    }

    fn receive(
        &mut self,
        link: &mut Link<'_>,
        layer: &Layer<'_>,
        seeds: &mut RequestSeeds,
        batch: Range<usize>,
        rng: &mut ChaCha20Rng,
    ) -> Result<(), RunError> {
        let Layer { ring, step, .. } = *layer;
        let tiles = step.layout.counts().input_tiles;
        let mut tasks = Vec::with_capacity(batch.len());
        for index in batch {
            tasks.push((index, seeds.take(), link.channel.recv(layer.request_bytes())?, fork(rng)));
        }
        let words = &self.words;
        let requests = tasks
            .into_par_iter()
            .map(|(index, seed, message, mut rng)| {
                let values = operand::coefficients(step, index, words);
                Ok(Request::decode(
                    ring,
                    &seed,
                    &message,
                    values.iter().copied(),
                    step.op.plain_bits(),
                    layer.window(),
                    step.choice.request_drop_bits,
                    &mut rng,
                )?)
            })
            .collect::<Result<Vec<_>, RunError>>()?;
        for request in requests {
            if self.received.is_multiple_of(tiles) {
                self.blocks.push_back(RequestBlock::with_capacity(ring.basis(), tiles));
            }
            if let Some(block) = self.blocks.back_mut() {
                let [c0, c1] = request.parts();
                block.push(ring.basis(), c0, c1);
            }
            self.received += 1;
        }
        Ok(())
    }
}
