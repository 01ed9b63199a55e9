//! Memory of a linear step: requests and responses in batches, at the server the requests that a batch of responses needs.

use super::super::work::BATCH_PER_THREAD;
use super::words;
use crate::layout::LayoutCounts;
use crate::params::RlweParams;

/// Evaluations of a polynomial that lie together.
const LANES: u64 = 32;

/// Bytes of a cache line: blocks of evaluations fill whole ones.
const LINE_BYTES: u64 = 64;

/// Memory of one linear step in bytes, beside its operand and its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinearMemory {
    /// The client's, while the step runs.
    pub client: u64,
    /// The server's, while the step runs.
    pub server: u64,
    /// Transformed weights, which the server keeps as far as it has room for them.
    pub weights: u64,
}

/// Bytes of a polynomial mod q: a word for every coefficient and limb.
pub(super) fn polynomial(params: &RlweParams) -> u64 {
    words(params.ring_degree()).saturating_mul(params.limbs() as u64)
}

/// Bytes of one limb of `tiles` polynomials with evaluations of `width` bytes.
fn scanned(params: &RlweParams, tiles: usize, width: u64) -> u64 {
    let block = (tiles as u64).saturating_mul(width * LANES);
    let lines = block.div_ceil(LINE_BYTES).saturating_mul(params.ring_degree() as u64 / LANES);
    lines.saturating_mul(LINE_BYTES)
}

/// Bytes of an evaluation of a request: those mod narrow primes share a word in pairs.
fn request_width(prime: u64) -> u64 {
    if prime >> 32 == 0 { 4 } else { 8 }
}

/// Bytes of an evaluation of a weight: whole bytes, where the processor can spread them.
fn weight_width(prime: u64) -> u64 {
    match u64::BITS - prime.leading_zeros() {
        ..=32 => 4,
        33..=40 => 5,
        41..=48 => 6,
        _ => 8,
    }
}

/// Bytes of a row of transformed weights: `input_tiles` polynomials.
#[must_use]
pub fn row_bytes(params: &RlweParams, input_tiles: usize) -> u64 {
    let limbs = params.primes().map(|prime| scanned(params, input_tiles, weight_width(prime)));
    limbs.fold(0, u64::saturating_add)
}

/// Memory of a linear step with parameters `params`, whose requests have `message_bytes[0]` and whose
/// responses `message_bytes[1]` bytes each, on `threads` threads.
///
/// What one party sends may wait for the other's socket, what it receives for its own turn.
#[must_use]
pub fn linear_memory(
    params: &RlweParams,
    counts: &LayoutCounts,
    message_bytes: [u64; 2],
    threads: usize,
) -> LinearMemory {
    let [requests, responses] = [counts.requests(), counts.responses()];
    let [request_bytes, response_bytes] = message_bytes;
    let batch = |count: usize| count.min(threads.saturating_mul(BATCH_PER_THREAD)) as u64;
    let running = |count: usize| count.min(threads) as u64;
    let all = |count: usize, bytes: u64| (count as u64).saturating_mul(bytes);
    let (q, n) = (polynomial(params), words(params.ring_degree()));
    // Coefficients joined from several limbs take two words.
    let joined = if params.limbs() == 1 { n } else { 2 * n };
    // Places and values of the coefficients of a request, and their sums.
    let coefficients = 3 * n;
    // A message as words, then as bytes.
    let coding = |message: u64| joined.saturating_add(message);

    let request = coefficients + 2 * q + n + coding(request_bytes);
    let sends = all(requests, request_bytes)
        .saturating_add(batch(requests).saturating_mul(request_bytes))
        .saturating_add(running(requests).saturating_mul(request));
    // Shares and their places, one a coefficient at most.
    let shares = 2 * n;
    let reads = all(responses, response_bytes)
        .saturating_add(batch(responses).saturating_mul(response_bytes.saturating_add(shares)))
        .saturating_add(running(responses).saturating_mul(2 * q + joined));

    let block = params.primes().fold(0_u64, |sum, prime| {
        sum.saturating_add(scanned(params, counts.input_tiles, request_width(prime)))
    });
    let size = threads.saturating_mul(BATCH_PER_THREAD).max(1);
    let windows = (0..responses).step_by(size);
    let windows = windows
        .map(|first| counts.blocks_of(first..responses.min(first.saturating_add(size))).len());
    let blocks = all(2 * windows.max().unwrap_or(0), block);
    let decode = coefficients + joined;
    let receives = blocks
        .max(all(requests, request_bytes))
        .saturating_add(batch(requests).saturating_mul(request_bytes.saturating_add(2 * q)))
        .saturating_add(running(requests).saturating_mul(decode));
    let row = row_bytes(params, counts.input_tiles);
    let respond = response(params, counts).saturating_add(coding(response_bytes));
    let answers = blocks
        .saturating_add(all(responses, response_bytes))
        .saturating_add(batch(responses).saturating_mul(response_bytes.saturating_add(shares)))
        .saturating_add(running(responses).saturating_mul(respond.saturating_add(row)));
    LinearMemory {
        client: sends.max(reads),
        server: receives.max(answers),
        weights: row.saturating_mul(counts.rows as u64),
    }
}

/// What the server needs to make one response: an encryption of zero, and the nodes of a tree of leaves.
fn response(params: &RlweParams, counts: &LayoutCounts) -> u64 {
    let (q, n) = (polynomial(params), words(params.ring_degree()));
    let mask = 2 * q + 2 * n;
    if counts.merge_levels == 0 {
        return mask + 2 * q;
    }
    let extended = q + n;
    let digits = extended + if params.limbs() == 1 { 2 * n } else { 3 * n };
    let node = extended + q;
    // A node a level and the two that are merged, a leaf as it is made, and what merging needs.
    let nodes = u64::from(counts.merge_levels).saturating_add(1).saturating_mul(node);
    nodes.saturating_add(mask + 2 * q + q + 2 * extended + digits)
}
