//! The client's half of a linear layer: keys, requests, shares of responses.

use crate::galois::Automorphism;
use crate::key_switch::{encode_evaluations, key_randomness};
use crate::modulus::Modulus;
use crate::ring::Basis;
use crate::sampling::{Seed, Stream};
use crate::share::Party;
use crate::simd::vectorised;
use crate::wire::{Window, decode_residues, encode_residues};
use crate::{HeError, Ring, share};
use heq_ir::params::noise::{ERROR_VARIANCE, KEY_REJECTION_FACTOR};
use heq_mutation::broken;
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A client's secret key for one parameter set and one session.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretKey {
    /// Evaluations of the ternary secret, mod `q*P` if there is a special prime.
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
        let n = ring.params().ring_degree();
        let mut stream = Stream::secret(rng);
        let secret = draw_below(2.0 / 3.0 * n as f64, || stream.ternary(n));
        let mut errors = draw_below(ERROR_VARIANCE * n as f64, || stream.errors(n));
        if broken!("the zero key has no errors", "heq-he lib every_sample_has_errors_of_its_own") {
            errors.fill(0);
        }
        let key = Self { secret: ring.extended_basis().evaluate_signed(&secret) };
        let mut b = key.times_secret(ring.basis(), &ring.evaluate_uniform(a_prime));
        ring.basis().inverse(&mut b);
        for (modulus, limb) in ring.limbs() {
            subtract_from(modulus, &errors, &mut b[limb]);
        }
        let message = encode_residues(ring, &b, Window::whole(ring), 0);
        (key, message)
    }

    /// The message by which the server merges at spacing h, a power of two below N: for each digit
    /// `-a_i*s + e_i + P*2^(w*i)*auto(s)` mod `q*P`, as evaluations.
    ///
    /// `seed` is one that the **server** chose, for this key and spacing alone. Draws the errors of a
    /// digit again while their norm is above what the noise bound covers.
    ///
    /// **Security**: the message shows the server RLWE samples, of which one hides the image of s.
    ///
    /// # Errors
    /// [`HeError`] if the parameters have no key switching or the spacing is impossible.
    pub fn galois_key<R: CryptoRng>(
        &self,
        ring: &Ring,
        seed: &Seed,
        spacing: usize,
        rng: &mut R,
    ) -> Result<Vec<u8>, HeError> {
        let params = ring.params().key_switch().ok_or(HeError::NoKeySwitch)?;
        let n = ring.params().ring_degree();
        if !spacing.is_power_of_two() || spacing >= n {
            return Err(HeError::Spacing { spacing });
        }
        let automorphism = Automorphism::new(ring, spacing);
        let basis = ring.extended_basis();
        let mut stream = Stream::secret(rng);
        let randomness = key_randomness(basis, seed, params.digits);
        let mut message = Vec::new();
        for (digit, a) in (0..).zip(randomness.chunks(basis.polynomial_words())) {
            let mut errors = draw_below(ERROR_VARIANCE * n as f64, || stream.errors(n));
            if broken!(
                "Galois keys have no errors",
                "heq-he lib every_sample_has_errors_of_its_own"
            ) {
                errors.fill(0);
            }
            let mut b = Zeroizing::new(basis.evaluate_signed(&errors));
            let product = self.times_secret(basis, a);
            for (modulus, limb) in basis.places() {
                for (b, &product) in b[limb.clone()].iter_mut().zip(&product[limb]) {
                    *b = modulus.sub(*b, product);
                }
            }
            // Mod P the image is multiplied by zero.
            for (modulus, limb) in ring.limbs() {
                let power = modulus.pow_vt(2, u64::from(digit * params.digit_bits));
                let scale =
                    modulus.shoup(modulus.mul(power, params.special_prime % modulus.value()));
                let image = automorphism.permute(&self.secret[limb.clone()]);
                for (b, image) in b[limb].iter_mut().zip(image) {
                    let scaled = modulus.normalise(modulus.mul_lazy(image, scale));
                    *b = modulus.add(*b, scaled);
                }
            }
            message.extend(encode_evaluations(basis, &b));
        }
        Ok(message)
    }

    /// Encrypts one request: `c0 = -a*s + e + q*m / 2^share_bits`, rounded, without its low bits; only
    /// the coefficients in `window`.
    ///
    /// `elements` are `(coefficient, m)` with m mod `2^share_bits` and distinct coefficients in the
    /// window; others hold zero. `a` is expanded from `seed`, which must never be used again with this
    /// key.
    ///
    /// **Security**: the server sees an RLWE ciphertext.
    pub fn encrypt<R: CryptoRng>(
        &self,
        ring: &Ring,
        seed: &Seed,
        elements: impl Iterator<Item = (usize, u64)>,
        share_bits: u32,
        window: Window,
        drop_bits: u32,
        rng: &mut R,
    ) -> Vec<u8> {
        let basis = ring.basis();
        let mut stream = Stream::secret(rng);
        let mut c0 = self.times_secret(basis, &ring.evaluate_uniform(seed));
        basis.inverse(&mut c0);
        let mut errors = stream.errors(window.len());
        if broken!("requests have no errors", "heq-he lib every_sample_has_errors_of_its_own") {
            errors.fill(0);
        }
        if broken!(
            "requests do not contain the secret",
            "heq-tests leakage requests_are_uniform_whatever_the_input_is"
        ) {
            c0.fill(0);
        }
        let mut rest = errors.as_slice();
        for range in window.ranges() {
            let (part, others) = rest.split_at(range.len());
            for (modulus, limb) in basis.places() {
                subtract_from(modulus, part, &mut c0[limb][range.clone()]);
            }
            rest = others;
        }
        share::add_encoded(ring, &mut c0, elements, share_bits, &mut stream);
        encode_residues(ring, &c0, window, drop_bits)
    }

    /// The client's shares mod `2^word_bits` of one response's `coefficients`.
    ///
    /// # Errors
    /// [`HeError`] if the response is malformed.
    pub fn share_response<R: CryptoRng>(
        &self,
        ring: &Ring,
        response: &[u8],
        drop_bits: u32,
        coefficients: impl Iterator<Item = usize>,
        word_bits: u32,
        rng: &mut R,
    ) -> Result<Vec<u64>, HeError> {
        let mut c1 = decode_residues(ring, response, Window::whole(ring), drop_bits, rng)?;
        ring.basis().forward(&mut c1);
        let mut v = self.times_secret(ring.basis(), &c1);
        ring.basis().inverse(&mut v);
        Ok(share::shares(ring, &v, coefficients, word_bits, Party::Client))
    }

    /// Evaluations of the product of a polynomial, given by evaluations, and the secret.
    fn times_secret(&self, basis: Basis<'_>, evaluations: &[u64]) -> Zeroizing<Vec<u64>> {
        Zeroizing::new(basis.multiply(evaluations, &self.secret))
    }
}

/// `errors - values` in place of the residues `values`.
fn subtract_from(modulus: &Modulus, errors: &[i64], values: &mut [u64]) {
    vectorised(|| {
        for (value, &error) in values.iter_mut().zip(errors) {
            *value = modulus.sub(modulus.residue(error), *value);
        }
    });
}

/// A draw whose squared norm is at most [`KEY_REJECTION_FACTOR`] times its `mean`.
///
/// Accepting reveals one bit of a fresh draw that is then used, or thrown away.
fn draw_below(mean: f64, mut draw: impl FnMut() -> Zeroizing<Vec<i64>>) -> Zeroizing<Vec<i64>> {
    #[expect(clippy::cast_possible_truncation, reason = "a few times N")]
    let limit = (KEY_REJECTION_FACTOR * mean) as i64;
    loop {
        let polynomial = draw();
        let norm = polynomial.iter().map(|coefficient| coefficient * coefficient).sum::<i64>();
        if norm <= limit
            || broken!(
                "keys of any norm are taken",
                "heq-he lib draws_above_the_bound_are_thrown_away"
            )
        {
            return polynomial;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_above_the_bound_are_thrown_away() {
        let mut draws = [3, 2, 1].into_iter();
        let draw = || Zeroizing::new(vec![draws.next().unwrap(); 4]);
        // 4 * 2^2 is 1.1 times the mean and no more.
        assert_eq!(*draw_below(16.0 / KEY_REJECTION_FACTOR + 0.1, draw), [2; 4]);
        assert_eq!(draws.next(), Some(1));
    }
}
