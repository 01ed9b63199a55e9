//! A linear layer: the client's encrypted shares, the server's products, shares of accumulators.
//!
//! If coefficients hold several elements, shares are lifted first, in one exchange (`operand.rs`). Then
//! one message a request and one a response, in the order of the layout. Both parties work on a
//! bounded number of ciphertexts at a time, in parallel; the server answers as soon as it has the requests
//! that a batch of responses needs, and keeps no others, and as many transformed weights as it was given
//! memory for. docs/protocols/linear.md, docs/protocols/packing.md.
//!
//! [`client`] and [`server`] run one layer by themselves: all they need beside the layer and the keys
//! ([`super::keys`]) is a [`Link`] with a random OT for every lifted element.

mod operand;
mod outputs;
mod requests;
mod weights;

pub use weights::PreparedWeights;

use super::{Link, Role};
use crate::error::RunError;
use crate::random::fork;
use crate::share::{Words, mask};
use heq_he::client::SecretKey;
use heq_he::product::{RequestBlock, sum_products};
use heq_he::sampling::Seed;
use heq_he::server::ServerKeys;
use heq_he::{Ring, Window};
use heq_ir::layout::OutputRun;
use heq_ir::plan::LinearStep;
use heq_ir::predict::BATCH_PER_THREAD;
use heq_ir::secure::Domain;
use heq_mutation::broken;
use outputs::OutputFields;
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;
use requests::Blocks;
use weights::Rows;
use zeroize::Zeroizing;

/// Request seeds of one session: each is used once.
#[derive(Debug)]
pub struct RequestSeeds {
    nonce: [u8; 32],
    next: u64,
}

impl RequestSeeds {
    /// The sequence that the client's `nonce`, drawn for this session, stands for.
    #[must_use]
    pub fn new(nonce: [u8; 32]) -> Self {
        Self { nonce, next: 0 }
    }

    fn take(&mut self) -> Seed {
        let index = self.next;
        if !broken!(
            "requests share a seed",
            "heq-tests leakage masks_and_seeds_of_a_run_are_distinct"
        ) {
            self.next += 1;
        }
        Seed::derive(&self.nonce, "request", index)
    }
}

/// A linear step as both parties see it.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    /// Tables of the step's parameters.
    pub ring: &'a Ring,
    /// The step.
    pub step: &'a LinearStep<'a>,
    /// Where the operand lives: with the client, or as arithmetic shares.
    pub operand: Domain,
}

impl Layer<'_> {
    /// Outputs of the layer.
    fn outputs(&self) -> Words {
        let elements = self.step.op.geometry.output().map_or(0, |shape| shape.len());
        Zeroizing::new(vec![0; elements])
    }

    /// The coefficients of a request that travel.
    fn window(&self) -> Window {
        Window::new(self.ring, self.step.layout.request_window())
    }

    /// Bytes of a request.
    fn request_bytes(&self) -> usize {
        let (_, window) = self.step.layout.request_window();
        let drop_bits = self.step.choice.request_drop_bits;
        let bytes = self.ring.params().coefficient_bytes(window, drop_bits);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Bytes of a response.
    fn response_bytes(&self) -> usize {
        let bytes = self.ring.params().polynomial_bytes(self.step.choice.response_drop_bits);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

/// Consecutive ranges of at most [`BATCH_PER_THREAD`] items a thread.
fn batches(count: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let size = BATCH_PER_THREAD * rayon::current_num_threads().max(1);
    (0..count).step_by(size).map(move |first| first..count.min(first + size))
}

/// The client's side: sends requests for its `shares`, returns its shares of the accumulators mod
/// `2^(l+g)`, `[K, OH, OW]`.
///
/// `shares` are the client's values if the operand is its own, else its shares mod a power of two that
/// the plan's types allow. `seeds` are those of the session that `key` is of.
///
/// **Security**: the client learns nothing; its shares stand for `2^g*acc + delta`, and only a step
/// that removes `delta` may use them.
///
/// # Errors
/// [`RunError`] if the peer goes away or sends a malformed message.
pub fn client(
    link: &mut Link<'_>,
    layer: &Layer<'_>,
    key: &SecretKey,
    seeds: &mut RequestSeeds,
    shares: &[u64],
    rng: &mut ChaCha20Rng,
) -> Result<Words, RunError> {
    let Layer { ring, step, operand } = *layer;
    let counts = step.layout.counts();
    let words = operand::lift(link, step, operand, shares)?;
    for batch in batches(counts.requests()) {
        let tasks: Vec<_> = batch.map(|index| (index, seeds.take(), fork(rng))).collect();
        let requests: Vec<Vec<u8>> = tasks
            .into_par_iter()
            .map(|(index, seed, mut rng)| {
                let values = operand::coefficients(step, index, &words);
                key.encrypt(
                    ring,
                    &seed,
                    values.iter().copied(),
                    step.op.plain_bits(),
                    layer.window(),
                    step.choice.request_drop_bits,
                    &mut rng,
                )
            })
            .collect();
        for request in &requests {
            link.channel.send(request)?;
        }
    }
    drop(words);
    let fields = OutputFields::new(step.op, Role::Client);
    let mut outputs = layer.outputs();
    for batch in batches(counts.responses()) {
        let mut tasks = Vec::with_capacity(batch.len());
        for index in batch {
            tasks.push((index, link.channel.recv(layer.response_bytes())?, fork(rng)));
        }
        let parts = tasks
            .into_par_iter()
            .map(|(index, response, mut rng)| {
                let runs: Vec<_> = step.layout.response_runs(index).collect();
                let words = key.share_response(
                    ring,
                    &response,
                    step.choice.response_drop_bits,
                    runs.iter().flat_map(|run| run.coefficients()),
                    step.op.word_bits(),
                    &mut rng,
                )?;
                Ok((runs, Zeroizing::new(words)))
            })
            .collect::<Result<Vec<_>, RunError>>()?;
        parts.iter().for_each(|(runs, words)| fields.place(&mut outputs, runs, words));
    }
    Ok(outputs)
}

/// The server's side: answers requests with its `weights` and `shares`, returns its shares of the
/// accumulators mod `2^(l+g)`, `[K, OH, OW]`, bias included.
///
/// `shares` are zeros if the operand is the client's own. `seeds` go through the same sequence as the
/// client's.
///
/// **Security**: the server learns nothing; for its shares the same holds as for the client's.
///
/// # Errors
/// [`RunError`] if the peer goes away or sends a malformed message.
pub fn server(
    link: &mut Link<'_>,
    layer: &Layer<'_>,
    keys: &ServerKeys,
    weights: &PreparedWeights,
    seeds: &mut RequestSeeds,
    shares: &[u64],
    rng: &mut ChaCha20Rng,
) -> Result<Words, RunError> {
    let Layer { ring, step, operand } = *layer;
    let words = operand::lift(link, step, operand, shares)?;
    let counts = step.layout.counts();
    let mut blocks = Blocks::new(words);
    let rows = weights.rows(ring, step);
    let fields = OutputFields::new(step.op, Role::Server);
    let mut outputs = layer.outputs();
    for batch in batches(counts.responses()) {
        blocks.provide(link, layer, seeds, counts.blocks_of(batch.clone()), rng)?;
        let tasks: Vec<_> = batch.map(|index| (index, fork(rng))).collect();
        let parts: Vec<_> = tasks
            .into_par_iter()
            .map(|(index, mut rng)| {
                let runs: Vec<_> = step.layout.response_runs(index).collect();
                let (message, words) =
                    respond(layer, keys, &rows, &blocks, index, &runs, &mut rng)?;
                Ok((message, runs, words))
            })
            .collect::<Result<_, RunError>>()?;
        for (message, runs, words) in &parts {
            link.channel.send(message)?;
            fields.place(&mut outputs, runs, words);
        }
    }
    let output_bits = step.op.acc_bits + step.op.guard_bits;
    // All samples have the same biases.
    let channels = step.op.geometry.out_channels * step.op.geometry.batch;
    let per_channel = (outputs.len() / channels.max(1)).max(1);
    for (outputs, bias) in outputs.chunks_mut(per_channel).zip(weights.bias.iter().cycle()) {
        let bias = bias.cast_unsigned() << step.op.guard_bits;
        outputs.iter_mut().for_each(|word| *word = word.wrapping_add(bias) & mask(output_bits));
    }
    Ok(outputs)
}

/// One response and the server's words of its coefficients, those of `runs`.
fn respond(
    layer: &Layer<'_>,
    keys: &ServerKeys,
    rows: &Rows<'_>,
    blocks: &Blocks,
    response: usize,
    runs: &[OutputRun],
    rng: &mut ChaCha20Rng,
) -> Result<(Vec<u8>, Words), RunError> {
    let Layer { ring, step, .. } = *layer;
    let counts = step.layout.counts();
    let spacings: Vec<usize> = step.layout.merge_spacings().collect();
    let leaves = counts.leaves_of(response);
    let range = counts.blocks_of(response..response + 1);
    let needed: Vec<&RequestBlock> =
        range.clone().map(|block| blocks.get(block)).collect::<Result<_, _>>()?;
    let leaf = |index| {
        let leaf = leaves.start + index;
        let block = needed[counts.block_of(leaf) - range.start];
        rows.with_row(counts.row_of(leaf), |row| sum_products(ring.basis(), block, 0, row))
    };
    let (message, words) = keys.respond(
        ring,
        &spacings,
        leaves.len(),
        leaf,
        runs.iter().flat_map(|run| run.coefficients()),
        step.op.word_bits(),
        step.choice.response_drop_bits,
        rng,
    )?;
    Ok((message, Zeroizing::new(words)))
}
