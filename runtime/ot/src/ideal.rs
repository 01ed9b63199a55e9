//! The ideal functionality of random OT: a test double, **not a protocol**.
//!
//! One call plays the trusted party of the security definition and returns the outputs of *both*
//! parties to one caller. Whoever calls it knows all pads and all choices, so it protects nothing;
//! it lets the layers above be tested without running base OT and extension. Two parties cannot be
//! built on it: there is no message and no half of a call.
//!
//! Source: the random OT functionality, [KOS15, functionality of random OT].

use rand_core::CryptoRng;

use crate::bits::ChoiceBits;
use crate::block::Block;
use crate::rot::{RotReceiverBatch, RotSenderBatch};

/// The outputs of both parties of `n` random OTs.
///
/// **Security**: none; the caller learns everything. For tests of upper layers.
pub fn ideal_rot<R: CryptoRng + ?Sized>(
    n: usize,
    rng: &mut R,
) -> (RotSenderBatch, RotReceiverBatch) {
    let choices = ChoiceBits::random(n, rng);
    let mut sender = RotSenderBatch::with_capacity(n);
    let mut pads = Vec::with_capacity(n);
    for choice in choices.iter() {
        let pair = [Block::random(rng), Block::random(rng)];
        sender.extend(&pair[..1], &pair[1..]);
        pads.push(pair[usize::from(choice)]);
    }
    (sender, RotReceiverBatch::new(choices, pads))
}
