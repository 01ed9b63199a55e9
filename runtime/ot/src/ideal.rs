//! The ideal functionality of random OT: a test double, **not a protocol**.
//!
//! One call plays the trusted party of the security definition and returns the outputs of *both*
//! parties to one caller. Whoever calls it knows all pads and all choices, so it protects nothing;
//! it lets the layers above be tested without running base OT and extension. Two parties cannot be
//! built on it: there is no message and no half of a call.
//!
//! Source: the random OT functionality, [KOS15, functionality of random OT].

use rand_core::CryptoRng;

use crate::block::Block;
use crate::rot::{RotReceiverBatch, RotSenderBatch, RotShape, write_tile};

/// The outputs of both parties of random OTs.
///
/// **Security**: none; the caller learns everything. For tests of upper layers.
pub fn ideal_rot<R: CryptoRng + ?Sized>(
    shape: RotShape,
    rng: &mut R,
) -> (RotSenderBatch, RotReceiverBatch) {
    let mut sender = RotSenderBatch::zeros(shape);
    let mut receiver = RotReceiverBatch::zeros(shape);
    let elements = shape.elements;
    for plane in 0..shape.planes {
        for tile in 0..shape.tiles() {
            let choice = Block::random(rng);
            write_tile(receiver.choices_mut(plane), elements, tile, choice);
            for bit in 0..shape.bits {
                let pads = [Block::random(rng), Block::random(rng)];
                let chosen = pads[0] ^ ((pads[0] ^ pads[1]) & choice);
                write_tile(sender.pads_mut(0, plane, bit), elements, tile, pads[0]);
                write_tile(sender.pads_mut(1, plane, bit), elements, tile, pads[1]);
                write_tile(receiver.pads_mut(plane, bit), elements, tile, chosen);
            }
        }
    }
    (sender, receiver)
}
