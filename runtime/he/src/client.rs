//! The client's half of a linear layer: keys, requests, shares of responses.

use crate::sampling::{Seed, error, ternary};
use crate::wire::{decode_residues, encode_residues};
use crate::{HeError, Ring, share};
use heq_ir::params::noise::{ERROR_VARIANCE, KEY_REJECTION_FACTOR};
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

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
        let n = ring.params.ring_degree() as f64;
        let secret = draw_below(ring, rng, ternary, KEY_REJECTION_FACTOR * 2.0 / 3.0 * n);
        let mut errors = draw_below(ring, rng, error, KEY_REJECTION_FACTOR * ERROR_VARIANCE * n);
        let a_prime = a_prime.expand_uniform(ring.params.ring_degree(), &ring.modulus);
        for ((e, &a), &s) in errors.iter_mut().zip(&a_prime).zip(&secret) {
            *e = ring.modulus.sub(*e, ring.modulus.mul(a, s));
        }
        ring.ntt.inverse(&mut errors);
        let message = encode_residues(&errors, ring.params.modulus_bits(), 0);
        errors.zeroize();
        (Self { secret }, message)
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
        let mut c0 = seed.expand_uniform(ring.params.ring_degree(), &ring.modulus);
        for (a, &s) in c0.iter_mut().zip(&self.secret) {
            *a = ring.modulus.mul(*a, s);
        }
        ring.ntt.inverse(&mut c0);
        for c in &mut c0 {
            *c = ring.modulus.sub(ring.modulus.from_signed(error(rng)), *c);
        }
        for (position, value) in elements {
            let c = &mut c0[position];
            *c = ring
                .modulus
                .add(*c, share::encode(value, share_bits, &ring.modulus, rng.next_u64()));
        }
        encode_residues(&c0, ring.params.modulus_bits(), drop_bits)
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
        let (n, modulus_bits) = (ring.params.ring_degree(), ring.params.modulus_bits());
        let mut c1 = decode_residues(response, n, &ring.modulus, modulus_bits, drop_bits, rng)?;
        ring.ntt.forward(&mut c1);
        for (c, &s) in c1.iter_mut().zip(&self.secret) {
            *c = ring.modulus.mul(*c, s);
        }
        ring.ntt.inverse(&mut c1);
        let shares = coefficients
            .map(|position| share::round_client(c1[position], output_bits, &ring.modulus))
            .collect();
        c1.zeroize();
        Ok(shares)
    }
}

/// Evaluations of a random polynomial whose squared norm is at most `limit`. Accepting reveals one bit of a fresh draw that is then used, or thrown away.
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
