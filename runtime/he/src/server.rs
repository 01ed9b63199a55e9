//! The server's half of a linear layer: weights, products, responses, its shares.

use crate::sampling::{Seed, error, ternary};
use crate::wire::{decode_residues, encode_residues};
use crate::{HeError, Ring, share};
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Products summed before a reduction: each is below `2^122`, so 32 of them stay below `2^128`.
const LAZY_PRODUCTS: usize = 32;

/// What the server needs to encrypt zeros under the client's key.
#[derive(Clone, Debug)]
pub struct ZeroKey {
    /// Evaluations of a'.
    a: Vec<u64>,
    /// Evaluations of b'.
    b: Vec<u64>,
}

/// A request with the server's share added, both parts as evaluations. Secret to the server.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Request {
    c0: Vec<u64>,
    c1: Vec<u64>,
}

/// A weight polynomial as evaluations. Secret to the server.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct WeightPolynomial(Vec<u64>);

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Request(..)")
    }
}

impl std::fmt::Debug for WeightPolynomial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WeightPolynomial(..)")
    }
}

impl WeightPolynomial {
    /// The polynomial with weight `w` at each `(coefficient, w)`; magnitudes are below every prime.
    #[must_use]
    pub fn new(ring: &Ring, weights: impl Iterator<Item = (usize, i64)>) -> Self {
        Self(ring.evaluate_sparse(weights))
    }
}

impl Request {
    /// Reads a request and adds the server's own share.
    ///
    /// `elements` are `(coefficient, share)` with shares mod `2^share_bits`, as on the client's side.
    ///
    /// # Errors
    /// [`HeError`] if the request is malformed.
    pub fn decode<R: CryptoRng>(
        ring: &Ring,
        seed: &Seed,
        message: &[u8],
        elements: impl Iterator<Item = (usize, u64)>,
        share_bits: u32,
        drop_bits: u32,
        rng: &mut R,
    ) -> Result<Self, HeError> {
        let n = ring.params().ring_degree();
        let mut c0 = Zeroizing::new(decode_residues(message, n, &ring.modulus, drop_bits, rng)?);
        for (position, value) in elements {
            let c = &mut c0[position];
            let encoded = share::encode(value, share_bits, &ring.modulus, rng.next_u64());
            *c = ring.modulus.add(*c, encoded);
        }
        Ok(Self { c0: ring.evaluate(&c0), c1: ring.evaluate_uniform(seed) })
    }
}

impl ZeroKey {
    /// Reads the client's `b'`; `a_prime` is the seed that the server chose for it.
    ///
    /// # Errors
    /// [`HeError`] if the message is malformed.
    pub fn decode<R: CryptoRng>(
        ring: &Ring,
        a_prime: &Seed,
        message: &[u8],
        rng: &mut R,
    ) -> Result<Self, HeError> {
        let b = decode_residues(message, ring.params().ring_degree(), &ring.modulus, 0, rng)?;
        Ok(Self { a: ring.evaluate_uniform(a_prime), b: ring.evaluate(&b) })
    }

    /// One response: the sum of products of requests and weights, plus a fresh encryption of zero.
    ///
    /// Returns the message `C1` without its low bits, and the server's shares mod `2^output_bits` of
    /// the `coefficients`; `C0` itself never leaves.
    ///
    /// **Security**: the client sees one RLWE sample with secret `u` and error `e1`, both drawn here;
    /// without it `a*w` would give the weights away.
    pub fn respond<'a, R: CryptoRng>(
        &self,
        ring: &Ring,
        products: impl Iterator<Item = (&'a Request, &'a WeightPolynomial)>,
        coefficients: impl Iterator<Item = usize>,
        output_bits: u32,
        drop_bits: u32,
        rng: &mut R,
    ) -> (Vec<u8>, Vec<u64>) {
        let (mut c0, mut c1) = sum_products(ring, products);
        let mut u = ring.evaluate_random(|| ternary(rng));
        let mut e1 = ring.evaluate_random(|| error(rng));
        for (modulus, limb) in ring.limbs() {
            for i in limb {
                c0[i] = modulus.add(c0[i], modulus.mul(self.b[i], u[i]));
                let masked = modulus.add(modulus.mul(self.a[i], u[i]), e1[i]);
                c1[i] = modulus.add(c1[i], masked);
            }
        }
        u.zeroize();
        e1.zeroize();
        let (c0, c1) = (ring.interpolate(c0), ring.interpolate(c1));
        let shares = coefficients
            .map(|position| share::round_server(c0.at(position), output_bits, &ring.modulus))
            .collect();
        (encode_residues(c1.iter(), &ring.modulus, drop_bits), shares)
    }
}

/// `sum(c0*w)` and `sum(c1*w)` as evaluations.
fn sum_products<'a>(
    ring: &Ring,
    products: impl Iterator<Item = (&'a Request, &'a WeightPolynomial)>,
) -> (Vec<u64>, Vec<u64>) {
    let words = ring.polynomial_words();
    // Unmasked: this is what the encryption of zero hides.
    let mut sums = [Zeroizing::new(vec![0_u128; words]), Zeroizing::new(vec![0_u128; words])];
    for (count, (request, weight)) in products.enumerate() {
        for (sum, part) in sums.iter_mut().zip([&request.c0, &request.c1]) {
            if count > 0 && count % (LAZY_PRODUCTS - 1) == 0 {
                for (modulus, limb) in ring.limbs() {
                    sum[limb].iter_mut().for_each(|s| *s = u128::from(modulus.reduce(*s)));
                }
            }
            for ((s, &c), &w) in sum.iter_mut().zip(part).zip(&weight.0) {
                *s += u128::from(c) * u128::from(w);
            }
        }
    }
    let [c0, c1] = sums.map(|sum| ring.reduce(&sum));
    (c0, c1)
}
