//! RLWE parameters: what a plan may ask for, and the checked form that the runtime computes with.
//!
//! Ring `R = Z[X]/(X^N+1)`, ciphertext modulus `q` a product of one to three NTT primes, uniform
//! ternary secret, centred binomial error; keys that merge responses are modulo `q*P` with one more
//! prime `P`. A [`RlweSpec`] comes from a file and promises nothing; a [`RlweParams`] satisfies the
//! security table, and there is no other way to make one.

pub mod noise;
mod prime;
pub mod security;

use heq_mutation::broken;
use prime::largest_ntt_prime;
use security::max_modulus_bits;
use serde::{Deserialize, Serialize};

/// Widest prime that the kernels compute with: lazy reductions keep values below four primes, `2^52`.
pub const MAX_PRIME_BITS: u32 = 50;

/// Largest `log2 q`: the product of three primes, with room to spare in 128 bits.
pub const MAX_MODULUS_BITS: u32 = 120;

/// Smallest `log2 q` for which a prime `q = 1 mod 2N` is searched at every ring degree.
pub const MIN_MODULUS_BITS: u32 = 20;

/// Most digits of a key switch.
pub const MAX_DIGITS: u32 = 4;

/// The ring degrees that a plan may use.
pub const RING_DEGREES: [usize; 4] = [1024, 2048, 4096, 8192];

/// Unchecked RLWE parameters as they stand in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RlweSpec {
    /// Ring degree N.
    pub ring_degree: usize,
    /// Width of `q` in bits. Up to [`MAX_PRIME_BITS`], `q` is the largest prime below
    /// `2^modulus_bits` with `q = 1 mod 2N`; up to twice that the product of two such primes, above
    /// of three. All but the last are the largest distinct ones below `2^ceil(modulus_bits/primes)`;
    /// the last is the largest other one that keeps `q < 2^modulus_bits`.
    pub modulus_bits: u32,
    /// How ciphertexts are switched between keys, if responses are merged.
    pub key_switch: Option<KeySwitchSpec>,
}

impl RlweSpec {
    /// Parameters without keys to merge responses.
    #[must_use]
    pub const fn new(ring_degree: usize, modulus_bits: u32) -> Self {
        Self { ring_degree, modulus_bits, key_switch: None }
    }
}

/// Unchecked parameters of key switching: the digits of a polynomial times keys mod `q*P`, over P.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeySwitchSpec {
    /// P is the largest prime below `2^special_bits` that is 1 mod 2N and no prime of q.
    pub special_bits: u32,
    /// Digits dnum of a coefficient; each is `ceil(log2(q) / dnum)` bits wide, signed.
    pub digits: u32,
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
    /// Key switching has no digits or more than [`MAX_DIGITS`], or there is no special prime.
    #[error(
        "key switching with {} digits and a special prime of {} bits is not possible at this degree",
        .key_switch.digits, .key_switch.special_bits
    )]
    KeySwitch {
        /// What was asked for.
        key_switch: KeySwitchSpec,
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
    primes: [Option<u64>; 3],
    key_switch: Option<KeySwitchParams>,
}

/// Key switching that satisfies the security table together with its modulus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeySwitchParams {
    /// The special prime P.
    pub special_prime: u64,
    /// Digits dnum of a coefficient.
    pub digits: u32,
    /// Width w of a digit in bits: digits are signed, in `[-2^(w-1), 2^(w-1)]`.
    pub digit_bits: u32,
}

impl RlweParams {
    /// Checks a specification against the security table and finds its primes. What counts is the
    /// widest modulus that a key is used with, the special prime included.
    ///
    /// # Errors
    /// [`ParamsError`] if the degree is unknown, the modulus too wide for 128-bit security, or not
    /// one that the kernels can compute with.
    pub fn check(spec: RlweSpec) -> Result<Self, ParamsError> {
        let RlweSpec { ring_degree, modulus_bits, key_switch } = spec;
        let max_bits =
            max_modulus_bits(ring_degree).ok_or(ParamsError::RingDegree { ring_degree })?;
        let special_bits = key_switch.map_or(0, |key_switch| key_switch.special_bits);
        let key_bits = modulus_bits.saturating_add(special_bits);
        let is_wide = key_bits > max_bits;
        if is_wide
            && !broken!(
                "moduli may be wider than the security table says",
                "heq-ir lib the_security_table_has_no_way_round"
            )
        {
            return Err(ParamsError::Insecure { ring_degree, modulus_bits: key_bits, max_bits });
        }
        let unusable = ParamsError::ModulusBits { modulus_bits };
        if !(MIN_MODULUS_BITS..=MAX_MODULUS_BITS).contains(&modulus_bits) {
            return Err(unusable);
        }
        let primes = modulus_primes(modulus_bits, ring_degree).ok_or(unusable)?;
        let key_switch = match key_switch {
            None => None,
            Some(spec) => {
                let found = check_key_switch(spec, modulus_bits, ring_degree, &primes);
                Some(found.ok_or(ParamsError::KeySwitch { key_switch: spec })?)
            }
        };
        let params = Self { spec, primes, key_switch };
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

    /// The distinct primes of at most [`MAX_PRIME_BITS`] whose product is q: one to three.
    pub fn primes(&self) -> impl Iterator<Item = u64> + use<> {
        self.primes.into_iter().flatten()
    }

    /// Number of primes of q: the limbs of a polynomial.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.primes().count()
    }

    /// How ciphertexts are switched between keys, if responses may be merged.
    #[must_use]
    pub fn key_switch(&self) -> Option<&KeySwitchParams> {
        self.key_switch.as_ref()
    }

    /// The modulus q, of exactly [`Self::modulus_bits`] bits.
    #[must_use]
    pub fn modulus(&self) -> u128 {
        self.primes().map(u128::from).product()
    }

    /// Bytes of `coefficients` coefficients on the wire whose `drop_bits` low bits are left out.
    #[must_use]
    pub fn coefficient_bytes(&self, coefficients: usize, drop_bits: u32) -> u64 {
        let bits = u64::from(self.modulus_bits().saturating_sub(drop_bits));
        (coefficients as u64 * bits).div_ceil(8)
    }

    /// Bytes of a polynomial on the wire whose `drop_bits` low bits are left out.
    #[must_use]
    pub fn polynomial_bytes(&self, drop_bits: u32) -> u64 {
        self.coefficient_bytes(self.ring_degree(), drop_bits)
    }

    /// Bytes of the key of one Galois element on the wire, 0 without key switching: a polynomial mod
    /// `q*P` a digit, limb by limb, each packed at its prime's width.
    #[must_use]
    pub fn galois_key_bytes(&self) -> u64 {
        let Some(key_switch) = self.key_switch() else { return 0 };
        let limbs = self.primes().chain([key_switch.special_prime]);
        let bits: u64 = limbs.map(|prime| u64::from(u64::BITS - prime.leading_zeros())).sum();
        (self.ring_degree() as u64 * bits).div_ceil(8) * u64::from(key_switch.digits)
    }
}

/// The primes of a modulus of `modulus_bits` bits, unless there are too few.
fn modulus_primes(modulus_bits: u32, ring_degree: usize) -> Option<[Option<u64>; 3]> {
    let count = modulus_bits.div_ceil(MAX_PRIME_BITS);
    let mut primes = [None; 3];
    let mut product = 1_u128;
    for index in 0..count as usize {
        let is_last = index + 1 == count as usize;
        let limit = if is_last {
            u64::try_from((1_u128 << modulus_bits) / product).ok()?.min(1 << MAX_PRIME_BITS)
        } else {
            1 << modulus_bits.div_ceil(count)
        };
        let prime = other_prime(limit, ring_degree, &primes)?;
        product *= u128::from(prime);
        *primes.get_mut(index)? = Some(prime);
    }
    Some(primes)
}

/// The largest prime below `limit` that is 1 mod 2N and not among `taken`.
fn other_prime(mut limit: u64, ring_degree: usize, taken: &[Option<u64>]) -> Option<u64> {
    loop {
        let prime = largest_ntt_prime(limit, ring_degree)?;
        if !taken.contains(&Some(prime)) {
            return Some(prime);
        }
        limit = prime;
    }
}

fn check_key_switch(
    spec: KeySwitchSpec,
    modulus_bits: u32,
    ring_degree: usize,
    primes: &[Option<u64>],
) -> Option<KeySwitchParams> {
    let KeySwitchSpec { special_bits, digits } = spec;
    if special_bits > MAX_PRIME_BITS || !(1..=MAX_DIGITS).contains(&digits) {
        return None;
    }
    let special_prime = other_prime(1 << special_bits, ring_degree, primes)?;
    Some(KeySwitchParams { special_prime, digits, digit_bits: modulus_bits.div_ceil(digits) })
}

impl std::fmt::Display for RlweParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rlwe_n{}_q{}", self.ring_degree(), self.modulus_bits())?;
        match self.spec.key_switch {
            Some(key_switch) => write!(f, "_p{}d{}", key_switch.special_bits, key_switch.digits),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
