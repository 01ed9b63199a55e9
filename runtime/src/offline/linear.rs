//! A linear layer of a prepared inference: the client sends its masked operand, the server adds the layer's
//! output on it to its share. Nothing is encrypted, one message.

use super::{MaskSeed, PreparedLayer};
use crate::error::RunError;
use crate::protocol::linear::PreparedWeights;
use crate::share::{Words, mask};
use heq_ir::integer::IntRange;
use heq_ir::packing::{pack_bits, unpack_bits};
use heq_ir::plan::LinearStep;
use heq_ir::secure::Domain;
use heq_mutation::broken;
use heq_net::Channel;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

/// Where a mask lives while a layer is prepared: with the client. Its range is of no account, since no
/// element is lifted.
pub(super) const MASKED: Domain = Domain::Client { range: IntRange { lo: 0, hi: 0 } };

/// The mask that `seed` stands for: uniform words of `bits` bits. A seed serves one layer once.
pub(super) fn mask_words(seed: &MaskSeed, bits: u32, elements: usize) -> Words {
    let mut rng = ChaCha20Rng::from_seed(***seed);
    Zeroizing::new((0..elements).map(|_| rng.next_u64() & mask(bits)).collect())
}

/// The client's side: sends `shares - r mod 2^l` for the mask r of `layer`, returns its share of the
/// accumulators mod `2^(l+g)`, `[K, OH, OW]`.
///
/// **Security**: the server learns words that are uniform, as long as the layer is used once.
///
/// # Errors
/// [`RunError`] if the connection is lost.
pub(crate) fn client(
    channel: &mut Channel,
    step: &LinearStep<'_>,
    layer: PreparedLayer,
    shares: &[u64],
) -> Result<Words, RunError> {
    let bits = step.op.acc_bits;
    let seed = layer.mask.ok_or(RunError::Internal { what: "a prepared layer has no mask" })?;
    let mut r = mask_words(&seed, bits, shares.len());
    if broken!(
        "prepared operands are sent bare",
        "heq-tests leakage masked_operands_are_uniform_and_no_mask_serves_twice"
    ) {
        r.fill(0);
    }
    let masked = shares.iter().zip(r.iter()).map(|(x, r)| x.wrapping_sub(*r) & mask(bits));
    channel.send(&pack_bits(masked, bits))?;
    Ok(layer.shares)
}

/// The server's side: adds the products of its `weights` with the sum of the client's message and its own
/// `shares` to its share of the output.
///
/// **Security**: the server learns what the client's side says.
///
/// # Errors
/// [`RunError`] if the peer goes away or sends a malformed message.
pub(crate) fn server(
    channel: &mut Channel,
    step: &LinearStep<'_>,
    weights: &PreparedWeights,
    layer: PreparedLayer,
    shares: &[u64],
) -> Result<Words, RunError> {
    let bits = step.op.acc_bits;
    let length = (shares.len() * bits as usize).div_ceil(8);
    let masked = Zeroizing::new(unpack_bits(&channel.recv(length)?, bits, shares.len())?);
    let operand: Words = Zeroizing::new(
        masked.iter().zip(shares).map(|(d, x)| d.wrapping_add(*x) & mask(bits)).collect(),
    );
    let mut outputs = layer.shares;
    let (guard_bits, output_mask) =
        (step.op.guard_bits, mask(step.op.acc_bits + step.op.guard_bits));
    let products = weights.products(step, &operand)?;
    if products.len() != outputs.len() {
        return Err(RunError::Internal { what: "a prepared layer has another shape" });
    }
    for (output, product) in outputs.iter_mut().zip(products.iter()) {
        *output = output.wrapping_add(product << guard_bits) & output_mask;
    }
    Ok(outputs)
}
