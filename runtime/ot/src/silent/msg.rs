//! The message of silent OT, from sender to receiver.
//!
//! A message in hand has the right length for the parameters it names: decoding checks it, and all
//! strings of that length are valid.

use super::config::SilentConfig;
use crate::block::Block;
use crate::error::{OtError, check_length};

/// The masked sums of the levels of the trees.
///
/// **Shapes**: `[iterations][trees][depth - 1]` blocks of 16 bytes.
#[derive(Clone)]
pub struct SilentMessage {
    config: SilentConfig,
    sums: Vec<Block>,
}

impl SilentMessage {
    /// The message of `iterations` iterations, to be filled in.
    pub(super) fn zero(config: SilentConfig, iterations: usize) -> Self {
        Self { config, sums: vec![Block::ZERO; iterations * iteration_blocks(config)] }
    }

    /// The wire form, [`SilentConfig::iteration_bytes`] for each iteration.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.sums.iter().flat_map(|sum| sum.to_bytes()).collect()
    }

    /// Reads the wire form for `iterations` iterations of `config`.
    ///
    /// # Errors
    /// [`OtError::MessageLength`] if `bytes` has not [`SilentConfig::iteration_bytes`] for each of them.
    pub fn decode(bytes: &[u8], config: SilentConfig, iterations: usize) -> Result<Self, OtError> {
        let expected = config.iteration_bytes().saturating_mul(iterations);
        check_length("SilentMessage", expected, bytes.len())?;
        let (sums, _) = bytes.as_chunks::<{ Block::BYTES }>();
        Ok(Self { config, sums: sums.iter().copied().map(Block::from_bytes).collect() })
    }

    /// Iterations that the message is for.
    #[must_use]
    pub fn iterations(&self) -> usize {
        self.sums.len() / iteration_blocks(self.config)
    }

    /// Refuses a message for other parameters than `iterations` iterations of `config`.
    pub(super) fn check(&self, config: SilentConfig, iterations: usize) -> Result<(), OtError> {
        if self.config == config && self.iterations() == iterations {
            Ok(())
        } else {
            let [expected, found] = [(config, iterations), (self.config, self.iterations())]
                .map(|(config, iterations)| iterations.saturating_mul(config.output_rows()));
            Err(OtError::OtCount { expected, found })
        }
    }

    /// The sums of each iteration.
    pub(super) fn parts(&self) -> impl Iterator<Item = &[Block]> {
        self.sums.chunks_exact(iteration_blocks(self.config))
    }

    /// As [`parts`](Self::parts), to be written.
    pub(super) fn parts_mut(&mut self) -> impl Iterator<Item = &mut [Block]> {
        self.sums.chunks_exact_mut(iteration_blocks(self.config))
    }
}

const fn iteration_blocks(config: SilentConfig) -> usize {
    config.iteration_bytes() / Block::BYTES
}
