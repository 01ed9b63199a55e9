//! RLWE with coefficient packing: the homomorphic half of the linear layers. No I/O.
//!
//! From the bottom up: arithmetic mod a prime and mod q, the NTT, [`sampling`], the [`Ring`] of one
//! parameter set, residues as bytes, the conversion between shares and residues, key switching, and the
//! two parties' halves of a linear layer: [`client`] (keys, requests, the client's shares), [`product`]
//! and [`server`] (responses, the server's shares). Parameters come checked from `heq_ir`. Protocol: docs/protocols/linear.md.
//!
//! Nothing here branches on or indexes by a secret; secret keys and masks are zeroised.

pub mod client;
mod galois;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod key_switch;
mod merge;
mod modulus;
mod narrow;
mod ntt;
mod operations;
pub mod product;
mod ring;
pub mod sampling;
pub mod server;
mod share;
pub mod simd;
#[cfg(test)]
mod tests;
mod wide;
mod wire;

pub use key_switch::GaloisKey;
pub use merge::leaf_order;
pub use operations::Operations;
pub use ring::{Basis, Ring};
pub use wire::Window;

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
    /// The parameters have no key switching.
    #[error("parameters without key switching have no Galois keys")]
    NoKeySwitch,
    /// No automorphism merges at this spacing.
    #[error("spacing {spacing} is no power of two below the ring degree")]
    Spacing {
        /// The spacing.
        spacing: usize,
    },
    /// The client sent no key for a spacing at which leaves are to be merged.
    #[error("no key for merging at spacing {spacing}")]
    MissingKey {
        /// The spacing.
        spacing: usize,
    },
    /// A response of no leaves, or of more than its spacings merge.
    #[error("a response cannot have {leaves} leaves")]
    Leaves {
        /// Number of leaves.
        leaves: usize,
    },
}
