//! RLWE parameters: what a plan may ask for, and the checked form that the runtime computes with.
//!
//! Ring `R = Z[X]/(X^N+1)`, ciphertext modulus `q` one NTT prime, uniform ternary secret, centred
//! binomial error. A [`RlweSpec`] comes from a file and promises nothing; a [`RlweParams`] satisfies
//! the security table, and there is no other way to make one.

pub mod noise;
mod prime;
pub mod security;

use prime::largest_ntt_prime;
use security::max_modulus_bits;
use serde::{Deserialize, Serialize};

/// Largest `log2 q` that the kernels compute with: lazy reductions keep values below `4q < 2^63`.
pub const MAX_MODULUS_BITS: u32 = 61;

/// Smallest `log2 q` for which a prime `q = 1 mod 2N` is searched at every ring degree.
pub const MIN_MODULUS_BITS: u32 = 20;

/// The ring degrees that a plan may use.
pub const RING_DEGREES: [usize; 4] = [1024, 2048, 4096, 8192];

/// Unchecked RLWE parameters as they stand in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RlweSpec {
    /// Ring degree N.
    pub ring_degree: usize,
    /// `q` is the largest prime below `2^modulus_bits` with `q = 1 mod 2N`.
    pub modulus_bits: u32,
}

/// Why RLWE parameters are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamsError {
    /// The ring degree is not one of [`RING_DEGREES`].
    #[error("ring degree {ring_degree} is not one of {RING_DEGREES:?}")]
    RingDegree {
        /// The degree that was asked for.
        ring_degree: usize,
    },
    /// The modulus is wider than the security table allows at this ring degree.
    #[error(
        "a modulus of {modulus_bits} bits at N = {ring_degree} is below 128-bit security \
         (at most {max_bits} bits)"
    )]
    Insecure {
        /// The degree that was asked for.
        ring_degree: usize,
        /// The width that was asked for.
        modulus_bits: u32,
        /// The widest that the table allows.
        max_bits: u32,
    },
    /// The kernels cannot compute with a modulus of this width.
    #[error(
        "a modulus of {modulus_bits} bits is outside {MIN_MODULUS_BITS}..={MAX_MODULUS_BITS}, \
         or has no NTT prime"
    )]
    ModulusBits {
        /// The width that was asked for.
        modulus_bits: u32,
    },
}

/// RLWE parameters that satisfy the security table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RlweParams {
    spec: RlweSpec,
    modulus: u64,
}

impl RlweParams {
    /// Checks a specification against the security table and finds its prime.
    ///
    /// # Errors
    /// [`ParamsError`] if the degree is unknown, the modulus too wide for 128-bit security, or not
    /// one that the kernels can compute with.
    pub fn check(spec: RlweSpec) -> Result<Self, ParamsError> {
        let RlweSpec { ring_degree, modulus_bits } = spec;
        let max_bits =
            max_modulus_bits(ring_degree).ok_or(ParamsError::RingDegree { ring_degree })?;
        if modulus_bits > max_bits {
            return Err(ParamsError::Insecure { ring_degree, modulus_bits, max_bits });
        }
        if !(MIN_MODULUS_BITS..=MAX_MODULUS_BITS).contains(&modulus_bits) {
            return Err(ParamsError::ModulusBits { modulus_bits });
        }
        let modulus = largest_ntt_prime(modulus_bits, ring_degree)
            .ok_or(ParamsError::ModulusBits { modulus_bits })?;
        Ok(Self { spec, modulus })
    }

    /// The specification that was checked.
    #[must_use]
    pub fn spec(&self) -> RlweSpec {
        self.spec
    }

    /// Ring degree N.
    #[must_use]
    pub fn ring_degree(&self) -> usize {
        self.spec.ring_degree
    }

    /// Width of a residue mod q in bits.
    #[must_use]
    pub fn modulus_bits(&self) -> u32 {
        self.spec.modulus_bits
    }

    /// The prime q.
    #[must_use]
    pub fn modulus(&self) -> u64 {
        self.modulus
    }

    /// Bytes of a polynomial on the wire whose `drop_bits` low bits are left out.
    #[must_use]
    pub fn polynomial_bytes(&self, drop_bits: u32) -> u64 {
        let bits = u64::from(self.modulus_bits().saturating_sub(drop_bits));
        (self.ring_degree() as u64 * bits).div_ceil(8)
    }
}

impl std::fmt::Display for RlweParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rlwe_n{}_q{}", self.ring_degree(), self.modulus_bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ring_degree: usize, modulus_bits: u32) -> Result<RlweParams, ParamsError> {
        RlweParams::check(RlweSpec { ring_degree, modulus_bits })
    }

    #[test]
    fn the_security_table_has_no_way_round() {
        for (ring_degree, widest) in [(1024, 26), (2048, 53)] {
            assert!(check(ring_degree, widest).is_ok());
            assert_eq!(
                check(ring_degree, widest + 1),
                Err(ParamsError::Insecure {
                    ring_degree,
                    modulus_bits: widest + 1,
                    max_bits: widest
                })
            );
        }
        assert!(matches!(check(4096, 107), Err(ParamsError::Insecure { .. })));
        assert!(matches!(check(4096, 62), Err(ParamsError::ModulusBits { .. })));
        assert!(matches!(check(2048, 4), Err(ParamsError::ModulusBits { .. })));
        assert!(matches!(check(2047, 40), Err(ParamsError::RingDegree { .. })));
    }

    #[test]
    fn every_width_has_an_ntt_prime() {
        for ring_degree in RING_DEGREES {
            let widest = max_modulus_bits(ring_degree).unwrap().min(MAX_MODULUS_BITS);
            for bits in MIN_MODULUS_BITS..=widest {
                let params = check(ring_degree, bits).unwrap();
                let q = params.modulus();
                assert_eq!(q % (2 * ring_degree as u64), 1, "{params}");
                assert_eq!(u64::BITS - q.leading_zeros(), bits, "{params}");
            }
        }
    }
}
