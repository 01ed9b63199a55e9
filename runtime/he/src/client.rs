//! The client's half of a linear layer: keys, requests, shares of responses.

use crate::ring::Coefficients;
use crate::sampling::{Seed, error, ternary};
use crate::wire::{decode_residues, encode_residues};
use crate::{HeError, Ring, share};
use heq_ir::params::noise::{ERROR_VARIANCE, KEY_REJECTION_FACTOR};
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A client's secret key for one parameter set and one session.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretKey {
    /// Evaluations of the ternary secret.
    secret: Vec<u64>,
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl SecretKey {
    /// Draws a fresh key and the message `b' = -a'*s + e'` with which the server encrypts zeros.
    ///
    /// `a_prime` is a seed that the **server** chose: were it the client's, `a' = 0` would uncover
    /// the weights. Draws again while the secret's weight or the error's norm is so far above its
    /// mean that the noise bound would not cover it (docs/protocols/linear.md).
    ///
    /// **Security**: the message shows the server an RLWE sample.
    pub fn generate<R: CryptoRng>(ring: &Ring, a_prime: &Seed, rng: &mut R) -> (Self, Vec<u8>) {
        let n = ring.params().ring_degree() as f64;
        let secret = draw_below(ring, rng, ternary, KEY_REJECTION_FACTOR * 2.0 / 3.0 * n);
        let mut b = draw_below(ring, rng, error, KEY_REJECTION_FACTOR * ERROR_VARIANCE * n);
        let a = ring.evaluate_uniform(a_prime);
        for (modulus, limb) in ring.limbs() {
            for i in limb {
                b[i] = modulus.sub(b[i], modulus.mul(a[i], secret[i]));
            }
        }
        (Self { secret }, encode_residues(ring.interpolate(b).iter(), &ring.modulus, 0))
    }

    /// Encrypts one request: `c0 = -a*s + e + q*m / 2^l`, rounded, without its low bits.
    ///
    /// `elements` are `(coefficient, share)` with shares mod `2^share_bits`; other coefficients hold
    /// zero. `a` is expanded from `seed`, which must never be used again with this key.
    ///
    /// **Security**: the server sees an RLWE ciphertext.
    pub fn encrypt<R: CryptoRng>(
        &self,
        ring: &Ring,
        seed: &Seed,
        elements: impl Iterator<Item = (usize, u64)>,
        share_bits: u32,
        drop_bits: u32,
        rng: &mut R,
    ) -> Vec<u8> {
        let modulus = &ring.modulus;
        let product = self.times_secret(ring, ring.evaluate_uniform(seed));
        let negated = product.iter().map(|c| modulus.sub(modulus.residue(error(rng)), c));
        let mut c0 = Zeroizing::new(negated.collect::<Vec<_>>());
        for (position, value) in elements {
            let c = &mut c0[position];
            *c = modulus.add(*c, share::encode(value, share_bits, modulus, rng.next_u64()));
        }
        encode_residues(c0.iter().copied(), modulus, drop_bits)
    }

    /// The client's shares mod `2^output_bits` of one response's `coefficients`.
    ///
    /// # Errors
    /// [`HeError`] if the response is malformed.
    pub fn share_response<R: CryptoRng>(
        &self,
        ring: &Ring,
        response: &[u8],
        drop_bits: u32,
        coefficients: impl Iterator<Item = usize>,
        output_bits: u32,
        rng: &mut R,
    ) -> Result<Vec<u64>, HeError> {
        let n = ring.params().ring_degree();
        let c1 = decode_residues(response, n, &ring.modulus, drop_bits, rng)?;
        let v = self.times_secret(ring, ring.evaluate(&c1));
        Ok(coefficients
            .map(|position| share::round_client(v.at(position), output_bits, &ring.modulus))
            .collect())
    }

    /// Coefficients of the product of a polynomial, given by evaluations, and the secret.
    fn times_secret<'a>(&self, ring: &'a Ring, mut evaluations: Vec<u64>) -> Coefficients<'a> {
        for (modulus, limb) in ring.limbs() {
            for (a, &s) in evaluations[limb.clone()].iter_mut().zip(&self.secret[limb]) {
                *a = modulus.mul(*a, s);
            }
        }
        ring.interpolate(evaluations)
    }
}

/// Evaluations of a random polynomial whose squared norm is at most `limit`.
///
/// Accepting reveals one bit of a fresh draw that is then used, or thrown away.
fn draw_below<R: CryptoRng>(
    ring: &Ring,
    rng: &mut R,
    sample: fn(&mut R) -> i64,
    limit: f64,
) -> Vec<u64> {
    #[expect(clippy::cast_possible_truncation, reason = "a few times N")]
    let limit = limit as i64;
    loop {
        let mut norm = 0;
        let mut polynomial = ring.evaluate_random(|| {
            let coefficient = sample(rng);
            norm += coefficient * coefficient;
            coefficient
        });
        if norm <= limit {
            return polynomial;
        }
        polynomial.zeroize();
    }
}
