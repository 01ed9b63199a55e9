//! RLWE with coefficient packing: the homomorphic half of the linear layers. No I/O.
//!
//! From the bottom up: [`modulus`] (arithmetic mod q), the NTT, [`sampling`], residues as bytes, the conversion between shares and residues, and the two parties' halves of a linear layer:
//! [`client`] (keys, requests, the client's shares) and [`server`] (products, responses, the server's
//! shares). Parameters come checked from `heq_ir`. Protocol: docs/protocols/linear.md.
//!
//! Nothing here branches on or indexes by a secret; secret keys and masks are zeroised.

pub mod client;
pub mod modulus;
mod ntt;
pub mod sampling;
pub mod server;
mod share;
mod wire;

use heq_ir::packing::LengthError;
use heq_ir::params::RlweParams;
use modulus::Modulus;
use ntt::NttTable;

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

/// One parameter set with its tables, shared by all keys and ciphertexts that use it.
#[derive(Clone, Debug)]
pub struct Ring {
    params: RlweParams,
    modulus: Modulus,
    ntt: NttTable,
}

impl Ring {
    /// Tables of a parameter set.
    #[must_use]
    pub fn new(params: RlweParams) -> Self {
        let modulus = Modulus::new(params.modulus());
        Self { params, modulus, ntt: NttTable::new(params.ring_degree(), modulus) }
    }

    /// The parameter set.
    #[must_use]
    pub fn params(&self) -> &RlweParams {
        &self.params
    }

    /// Evaluations of the polynomial with the given coefficients; others are zero.
    ///
    /// Coefficients are signed integers of magnitude below q, positions below N: layouts and parameters
    /// are checked for both.
    fn evaluate_sparse(&self, coefficients: impl Iterator<Item = (usize, i64)>) -> Vec<u64> {
        let mut values = vec![0; self.params.ring_degree()];
        for (position, value) in coefficients {
            values[position] = self.modulus.from_signed(value);
        }
        self.ntt.forward(&mut values);
        values
    }

    /// Evaluations of a polynomial whose coefficients are all drawn from `sample`.
    fn evaluate_random(&self, mut sample: impl FnMut() -> i64) -> Vec<u64> {
        self.evaluate_sparse((0..self.params.ring_degree()).map(|i| (i, sample())))
    }
}
