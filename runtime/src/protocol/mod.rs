//! The interactive steps of a plan.
//!
//! Roles: in every step the *server* is the OT sender of digit comparisons, conversions, table
//! look-ups and the opening, the *client* the receiver; products of shared bits take one random OT each way. The
//! client encrypts, the server multiplies. Lengths of all messages are functions of the plan.

mod bit_products;
pub mod gates;
pub mod keys;
pub mod linear;
mod one_of_many;
pub mod open;
pub mod table;
pub mod to_arithmetic;

use crate::share::Plane;
use heq_net::Channel;
use heq_ot::{Block, RotReceiverPool, RotSenderPool};

/// Which of the two parties this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Brings the input, learns the output.
    Client,
    /// Brings the weights, learns nothing.
    Server,
}

/// What an interactive step on shared bits needs.
pub struct Link<'a> {
    /// Which party this is.
    pub role: Role,
    /// The channel to the other.
    pub channel: &'a mut Channel,
    /// Random OTs in which this party holds both pads.
    pub sender: &'a mut RotSenderPool,
    /// Random OTs in which this party holds one pad.
    pub receiver: &'a mut RotReceiverPool,
}

/// Bits `first..first + count` of every pad as planes.
fn pad_planes(pads: &[Block], first: u32, count: u32) -> Vec<Plane> {
    (first..first + count)
        .map(|bit| {
            let bits = pads.iter().map(|pad| u64::from(pad.to_u128() >> bit & 1 == 1));
            Plane::from_bits(pads.len(), bits)
        })
        .collect()
}

/// The low 64 bits of a pad.
#[expect(clippy::cast_possible_truncation, reason = "takes the low word on purpose")]
fn pad_word(pad: &Block) -> u64 {
    pad.to_u128() as u64
}
