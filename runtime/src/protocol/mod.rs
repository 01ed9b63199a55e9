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
pub mod requantize;
mod sliced;
pub mod table;
pub mod to_arithmetic;
pub mod top;

use crate::error::RunError;
use crate::share::Plane;
use crate::stock::Stock;
use heq_net::Channel;
use heq_ot::{RotReceiverBatch, RotSenderBatch, RotShape};

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
    pub sender: &'a mut Stock<RotSenderBatch>,
    /// Random OTs in which this party holds one pad.
    pub receiver: &'a mut Stock<RotReceiverBatch>,
}

/// The shape of a batch of random OTs.
fn shape(planes: usize, elements: usize, bits: u32) -> RotShape {
    RotShape { planes, elements, bits: bits as usize }
}

/// The next plane of a message, whose length was checked when it was received.
fn next_plane(planes: &mut impl Iterator<Item = Plane>) -> Result<Plane, RunError> {
    planes.next().ok_or(RunError::Internal { what: "a message has fewer planes than due" })
}
