//! A linear layer: the client's encrypted shares, the server's products, shares of accumulators.
//!
//! One request an input tile, one response an output tile, each a frame of its own. Ciphertexts are
//! made and used in parallel; they travel in the order of the layout. docs/protocols/linear.md.

use crate::error::RunError;
use crate::random::fork;
use crate::share::{Words, mask};
use heq_he::Ring;
use heq_he::client::SecretKey;
use heq_he::sampling::Seed;
use heq_he::server::{Request, WeightPolynomial, ZeroKey};
use heq_ir::plan::LinearStep;
use heq_ir::plan::weights::LinearWeights;
use heq_net::Channel;
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;
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

    fn take(&mut self, count: usize) -> Vec<Seed> {
        let first = self.next;
        self.next += count as u64;
        (first..self.next).map(|index| Seed::derive(&self.nonce, "request", index)).collect()
    }
}

/// The server's weights of one layer, ready to multiply.
pub struct PreparedWeights {
    /// In the order of the layout.
    polynomials: Vec<WeightPolynomial>,
    bias: Zeroizing<Vec<i64>>,
}

impl PreparedWeights {
    /// Places and transforms the weights of `step`, multipliers folded in.
    #[must_use]
    pub fn new(ring: &Ring, step: &LinearStep<'_>, weights: &LinearWeights) -> Self {
        let folded: Zeroizing<Vec<i64>> = Zeroizing::new(weights.folded().collect());
        let polynomial = |index| {
            let elements = step.layout.weight_elements(index);
            WeightPolynomial::new(ring, elements.map(|(position, i)| (position, folded[i])))
        };
        let polynomials =
            (0..step.layout.counts().weights()).into_par_iter().map(polynomial).collect();
        Self { polynomials, bias: Zeroizing::new(weights.bias.clone()) }
    }
}

/// The client's side: sends requests for its `shares` mod `2^l` or wider, returns its shares of the
/// accumulators mod `2^(l+g)`.
///
/// # Errors
/// [`RunError`] if the peer goes away or sends a malformed response.
pub fn client(
    channel: &mut Channel,
    ring: &Ring,
    key: &SecretKey,
    step: &LinearStep<'_>,
    seeds: &mut RequestSeeds,
    shares: &[u64],
    rng: &mut ChaCha20Rng,
) -> Result<Words, RunError> {
    let counts = step.layout.counts();
    let acc_mask = mask(step.op.acc_bits);
    let tasks: Vec<_> =
        seeds.take(counts.requests()).into_iter().map(|seed| (seed, fork(rng))).collect();
    let requests: Vec<Vec<u8>> = tasks
        .into_par_iter()
        .enumerate()
        .map(|(index, (seed, mut rng))| {
            let elements = step.layout.request_elements(index);
            key.encrypt(
                ring,
                &seed,
                elements.map(|(position, i)| (position, shares[i] & acc_mask)),
                step.op.acc_bits,
                step.choice.request_drop_bits,
                &mut rng,
            )
        })
        .collect();
    for request in &requests {
        channel.send(request)?;
    }
    let drop_bits = step.choice.response_drop_bits;
    let length = usize::try_from(ring.params().polynomial_bytes(drop_bits)).unwrap_or(usize::MAX);
    let mut responses = Vec::with_capacity(counts.responses());
    for _ in 0..counts.responses() {
        responses.push((channel.recv(length)?, fork(rng)));
    }
    let output_bits = step.op.acc_bits + step.op.guard_bits;
    let parts = responses
        .into_par_iter()
        .enumerate()
        .map(|(index, (response, mut rng))| {
            let positions = response_positions(step, index);
            key.share_response(ring, &response, drop_bits, positions, output_bits, &mut rng)
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(place_outputs(step, parts))
}

/// The server's side: answers requests with its `weights` and `shares`, returns its shares of the
/// accumulators mod `2^(l+g)`, bias included.
///
/// # Errors
/// [`RunError`] if the peer goes away or sends a malformed request.
pub fn server(
    channel: &mut Channel,
    ring: &Ring,
    key: &ZeroKey,
    step: &LinearStep<'_>,
    weights: &PreparedWeights,
    seeds: &mut RequestSeeds,
    shares: &[u64],
    rng: &mut ChaCha20Rng,
) -> Result<Words, RunError> {
    let counts = step.layout.counts();
    let acc_mask = mask(step.op.acc_bits);
    let drop_bits = step.choice.request_drop_bits;
    let length = usize::try_from(ring.params().polynomial_bytes(drop_bits)).unwrap_or(usize::MAX);
    let mut received = Vec::with_capacity(counts.requests());
    for seed in seeds.take(counts.requests()) {
        received.push((seed, channel.recv(length)?, fork(rng)));
    }
    let requests = received
        .into_par_iter()
        .enumerate()
        .map(|(index, (seed, message, mut rng))| {
            let elements = step.layout.request_elements(index);
            let elements = elements.map(|(position, i)| (position, shares[i] & acc_mask));
            let acc_bits = step.op.acc_bits;
            Request::decode(ring, &seed, &message, elements, acc_bits, drop_bits, &mut rng)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let output_bits = step.op.acc_bits + step.op.guard_bits;
    let forks: Vec<_> = (0..counts.responses()).map(|_| fork(rng)).collect();
    let (messages, parts): (Vec<_>, Vec<_>) = forks
        .into_par_iter()
        .enumerate()
        .map(|(index, mut rng)| {
            let drop_bits = step.choice.response_drop_bits;
            let positions = response_positions(step, index);
            let products = counts.products_of(index);
            let products = products.map(|(i, j)| (&requests[i], &weights.polynomials[j]));
            key.respond(ring, products, positions, output_bits, drop_bits, &mut rng)
        })
        .unzip();
    for message in &messages {
        channel.send(message)?;
    }
    let mut words = place_outputs(step, parts);
    let per_channel = words.len() / weights.bias.len().max(1);
    for (word, bias) in words.chunks_mut(per_channel.max(1)).zip(weights.bias.iter()) {
        let bias = bias.cast_unsigned() << step.op.guard_bits;
        word.iter_mut().for_each(|word| *word = word.wrapping_add(bias) & mask(output_bits));
    }
    Ok(words)
}

/// The wanted coefficients of response `index`.
fn response_positions(step: &LinearStep<'_>, index: usize) -> impl Iterator<Item = usize> + use<> {
    step.layout.response_elements(index).map(|(position, _)| position)
}

/// Moves the shares of every response to their places in the output `[K, OH, OW]`.
fn place_outputs(step: &LinearStep<'_>, parts: Vec<Vec<u64>>) -> Words {
    let elements = step.op.geometry.output().map_or(0, |shape| shape.len());
    let mut words = Zeroizing::new(vec![0; elements]);
    for (index, part) in parts.into_iter().map(Zeroizing::new).enumerate() {
        for ((_, output), &share) in step.layout.response_elements(index).zip(part.iter()) {
            words[output] = share;
        }
    }
    words
}
