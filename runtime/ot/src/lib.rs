//! Oblivious transfer: base OT, extension, random OT.
//!
//! One party, the *sender*, ends with two random pads for each OT; the other, the *receiver*, with
//! a random choice bit and the pad it selects. The sender does not learn the choice, the receiver
//! does not learn the other pad. Everything an interactive protocol needs beyond that (chosen
//! inputs, correlated messages, 1-of-N) is made from such random OTs by the layers above.
//!
//! | step | modules | sender learns | receiver learns |
//! |---|---|---|---|
//! | base OT, [CO15, Figure 1] | [`base`] | both keys of each pair | its choice of each pair |
//! | set-up of the extension, [Roy22, section 3] | [`softspoken`] | all seeds of a tree but the one at Delta | all seeds |
//! | extension, [Roy22, IKNP03] | [`softspoken`] | pads 0 and 1 | random choices and their pads |
//! | silent OT, [YWLZW20, GYWZZ23] | [`silent`] | pads 0 and 1 | random choices and their pads |
//!
//! The sender of the extension is the receiver of the base OTs. Silent OT begins with rows of the
//! extension and sends far less. Underneath are AES-128 in counter mode and a hash from AES under
//! public keys. [`ideal`] is a test double.
//!
//! Invariants:
//! - No I/O: steps take and return typed messages, whose lengths and points are checked while
//!   decoding. No input of a peer causes a panic.
//! - The size of every message is a function of public parameters, given as a `const fn`.
//! - Semi-honest security with [`COMPUTATIONAL_SECURITY_BITS`] bits. No branch and no memory
//!   address depends on a secret.
//! - Pads, choices, Delta and seeds are zeroized on drop and never printed. Temporaries in
//!   registers and on the stack are not wiped.
//!
//! Source and full description: `docs/protocols/ot.md`.

mod aes128;
pub mod base;
mod bits;
mod block;
mod error;
mod ggm;
mod hash;
pub mod ideal;
mod rot;
pub mod silent;
mod simd;
pub mod softspoken;
mod tiles;
mod transpose;

pub use bits::ChoiceBits;
pub use block::Block;
pub use error::OtError;
pub use rot::{RotBatch, RotReceiverBatch, RotSenderBatch, RotShape, TILE_ROWS};

/// Computational security (kappa), in bits: length of seeds and pads, number of base OTs.
pub const COMPUTATIONAL_SECURITY_BITS: usize = 128;

/// Public name of a session, unique and agreed on by both parties.
///
/// It separates the hashes of different sessions; it is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub [u8; 32]);
