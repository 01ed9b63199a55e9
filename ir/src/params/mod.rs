//! RLWE parameters: what a plan may ask for, and the checked form that the runtime computes with.
//!
//! Ring `R = Z[X]/(X^N+1)`, ciphertext modulus `q` one NTT prime or the product of two, uniform
//! ternary secret, centred binomial error. A [`RlweSpec`] comes from a file and promises nothing; a [`RlweParams`] satisfies
//! the security table, and there is no other way to make one.

pub mod noise;
mod prime;
pub mod security;

use prime::largest_ntt_prime;
use security::max_modulus_bits;
use serde::{Deserialize, Serialize};

/// Widest prime that the kernels compute with: lazy reductions keep values below four primes, `2^63`.
pub const MAX_PRIME_BITS: u32 = 61;

/// Largest `log2 q`: the product of two primes of [`MAX_PRIME_BITS`], and room to spare in 128 bits.
pub const MAX_MODULUS_BITS: u32 = 120;

/// Smallest `log2 q` for which a prime `q = 1 mod 2N` is searched at every ring degree.
pub const MIN_MODULUS_BITS: u32 = 20;

/// The ring degrees that a plan may use.
pub const RING_DEGREES: [usize; 4] = [1024, 2048, 4096, 8192];

/// Unchecked RLWE parameters as they stand in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RlweSpec {
    /// Ring degree N.
    pub ring_degree: usize,
    /// Width of `q` in bits. Up to [`MAX_PRIME_BITS`], `q` is the largest prime below
    /// `2^modulus_bits` with `q = 1 mod 2N`. Above, it is the product of two such primes: the largest
    /// below `2^ceil(modulus_bits/2)`, and the largest other one that keeps `q < 2^modulus_bits`.
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
         or has no NTT primes"
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
    first_prime: u64,
    second_prime: Option<u64>,
}

impl RlweParams {
    /// Checks a specification against the security table and finds its primes.
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
        let unusable = ParamsError::ModulusBits { modulus_bits };
        if !(MIN_MODULUS_BITS..=MAX_MODULUS_BITS).contains(&modulus_bits) {
            return Err(unusable);
        }
        let (first_prime, second_prime) = if modulus_bits <= MAX_PRIME_BITS {
            (largest_ntt_prime(1 << modulus_bits, ring_degree).ok_or(unusable)?, None)
        } else {
            let (first, second) = prime_pair(modulus_bits, ring_degree).ok_or(unusable)?;
            (first, Some(second))
        };
        let params = Self { spec, first_prime, second_prime };
        let width = u128::BITS - params.modulus().leading_zeros();
        if width == modulus_bits { Ok(params) } else { Err(unusable) }
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

    /// The distinct primes of at most [`MAX_PRIME_BITS`] whose product is q: one or two.
    pub fn primes(&self) -> impl Iterator<Item = u64> + use<> {
        std::iter::once(self.first_prime).chain(self.second_prime)
    }

    /// The modulus q, of exactly [`Self::modulus_bits`] bits.
    #[must_use]
    pub fn modulus(&self) -> u128 {
        self.primes().map(u128::from).product()
    }

    /// Bytes of a polynomial on the wire whose `drop_bits` low bits are left out.
    #[must_use]
    pub fn polynomial_bytes(&self, drop_bits: u32) -> u64 {
        let bits = u64::from(self.modulus_bits().saturating_sub(drop_bits));
        (self.ring_degree() as u64 * bits).div_ceil(8)
    }
}

/// The two primes of a modulus wider than one prime may be.
fn prime_pair(modulus_bits: u32, ring_degree: usize) -> Option<(u64, u64)> {
    let first = largest_ntt_prime(1 << modulus_bits.div_ceil(2), ring_degree)?;
    let largest = u64::try_from((1_u128 << modulus_bits) / u128::from(first)).ok()?;
    let second = match largest_ntt_prime(largest + 1, ring_degree)? {
        prime if prime == first => largest_ntt_prime(first, ring_degree)?,
        prime => prime,
    };
    Some((first, second))
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
        assert!(matches!(check(8192, 121), Err(ParamsError::ModulusBits { .. })));
        assert!(matches!(check(2048, 4), Err(ParamsError::ModulusBits { .. })));
        assert!(matches!(check(2047, 40), Err(ParamsError::RingDegree { .. })));
    }

    #[test]
    fn every_width_has_its_primes() {
        for ring_degree in RING_DEGREES {
            let widest = max_modulus_bits(ring_degree).unwrap().min(MAX_MODULUS_BITS);
            for bits in MIN_MODULUS_BITS..=widest {
                let params = check(ring_degree, bits).unwrap();
                let q = params.modulus();
                assert_eq!(u128::BITS - q.leading_zeros(), bits, "{params}");
                let primes: Vec<u64> = params.primes().collect();
                assert_eq!(primes.len(), if bits <= 61 { 1 } else { 2 }, "{params}");
                assert_eq!(primes.iter().map(|&p| u128::from(p)).product::<u128>(), q, "{params}");
                assert_ne!(primes.first(), primes.get(1), "{params}");
                for prime in primes {
                    assert!(prime >> MAX_PRIME_BITS == 0 && prime >> (bits / 3) > 0, "{params}");
                    assert_eq!(prime % (2 * ring_degree as u64), 1, "{params}");
                }
            }
        }
    }

    #[test]
    fn a_plan_always_names_the_same_primes() {
        for (ring_degree, bits, primes) in [
            (1024, 26, &[67_104_769][..]),
            (2048, 50, &[1_125_899_906_826_241]),
            (4096, 61, &[2_305_843_009_213_554_689]),
            (4096, 62, &[2_147_377_153, 2_147_573_761]),
            (4096, 106, &[9_007_199_254_429_697, 9_007_199_255_019_521]),
            (8192, 77, &[549_755_731_969, 274_877_562_881]),
            (8192, 120, &[1_152_921_504_606_830_593, 1_152_921_504_606_748_673]),
        ] {
            let params = check(ring_degree, bits).unwrap();
            assert_eq!(params.primes().collect::<Vec<_>>(), primes, "{params}");
        }
    }
}
