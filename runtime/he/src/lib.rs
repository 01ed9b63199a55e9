//! RLWE with coefficient packing: the homomorphic half of the linear layers. No I/O.
//!
//! From the bottom up: arithmetic mod a prime and mod q, the NTT, [`sampling`], the [`Ring`] of one
//! parameter set, residues as bytes, the conversion between shares and residues, and the two parties'
//! halves of a linear layer: [`client`] (keys, requests, the client's shares) and [`server`]
//! (products, responses, the server's shares). Parameters come checked from `heq_ir`. Protocol: docs/protocols/linear.md.
//!
//! Nothing here branches on or indexes by a secret; secret keys and masks are zeroised.

pub mod client;
mod modulus;
mod ntt;
mod ring;
pub mod sampling;
pub mod server;
mod share;
mod wide;
mod wire;

pub use ring::Ring;

use heq_ir::packing::LengthError;

/// What the peer sent cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeError {
    /// A message has another length than its parameters give it.
    #[error(transparent)]
    MessageLength(#[from] LengthError),
    /// A coefficient is not below the modulus.
    #[error("coefficient {index} is not below the modulus")]
    Residue {
        /// Index of the coefficient.
        index: usize,
    },
}
