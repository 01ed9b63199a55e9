//! The server's half of a linear layer: requests, responses, its shares.
//!
//! Products of requests and weights are in [`crate::product`].

use crate::key_switch::GaloisKey;
use crate::merge::{Tree, add, double};
use crate::sampling::{Seed, Stream};
use crate::share::Party;
use crate::simd::vectorised;
use crate::wire::{Window, decode_residues, encode_residues};
use crate::{HeError, Ring, share};
use heq_mutation::broken;
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// What the server needs to encrypt zeros under the client's key.
#[derive(Clone, Debug)]
pub struct ZeroKey {
    /// Evaluations of a'.
    a: Vec<u64>,
    /// Evaluations of b'.
    b: Vec<u64>,
}

/// All that the server has of the client's key for one parameter set.
#[derive(Clone, Debug)]
pub struct ServerKeys {
    zero: ZeroKey,
    galois: Vec<GaloisKey>,
}

/// A request with the server's share added, both parts as evaluations. Secret to the server.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Request {
    c0: Vec<u64>,
    c1: Vec<u64>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Request(..)")
    }
}

impl Request {
    /// Reads the coefficients of a request in `window` and adds the server's own share.
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
        window: Window,
        drop_bits: u32,
        rng: &mut R,
    ) -> Result<Self, HeError> {
        let mut c0 = decode_residues(ring, message, window, drop_bits, rng)?;
        share::add_encoded(ring, &mut c0, elements, share_bits, &mut Stream::secret(rng));
        ring.basis().forward(&mut c0);
        Ok(Self { c0, c1: ring.evaluate_uniform(seed) })
    }

    /// Evaluations of both parts.
    #[must_use]
    pub fn parts(&self) -> [&[u64]; 2] {
        [&self.c0, &self.c1]
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
        let mut b = decode_residues(ring, message, Window::whole(ring), 0, rng)?;
        ring.basis().forward(&mut b);
        Ok(Self { a: ring.evaluate_uniform(a_prime), b })
    }
}

impl ServerKeys {
    /// Keys to answer requests with, and to merge by those of `galois`.
    #[must_use]
    pub fn new(zero: ZeroKey, galois: Vec<GaloisKey>) -> Self {
        Self { zero, galois }
    }

    /// One response: `leaves` sums of products of requests and weights, merged, plus a fresh encryption
    /// of zero.
    ///
    /// `leaf` gives each sum once, when it is due, in the order of [`crate::leaf_order`]: evaluations of both parts,
    /// of weights times `2^-m` for m the number of `spacings`
    /// ([`heq_ir::layout::ConvLayout::merge_spacings`]). Without spacings there is one leaf.
    ///
    /// Returns the message `C1` without its low bits, and the server's shares mod `2^word_bits` of
    /// the `coefficients`; `C0` itself never leaves.
    ///
    /// **Security**: the client sees one RLWE sample with secret `u` and error `e1`, both drawn here;
    /// without it `a*w` would give the weights away.
    ///
    /// # Errors
    /// [`HeError::Leaves`] if there is none or more than `2^m`, [`HeError::MissingKey`] if a spacing has
    /// no key.
    pub fn respond<R: CryptoRng>(
        &self,
        ring: &Ring,
        spacings: &[usize],
        leaves: usize,
        mut leaf: impl FnMut(usize) -> [Vec<u64>; 2],
        coefficients: impl Iterator<Item = usize>,
        word_bits: u32,
        drop_bits: u32,
        rng: &mut R,
    ) -> Result<(Vec<u8>, Vec<u64>), HeError> {
        if leaves == 0 || leaves.div_ceil(1 << spacings.len().min(20)) != 1 {
            return Err(HeError::Leaves { leaves });
        }
        let key = |&spacing: &usize| {
            let found = self.galois.iter().find(|key| key.spacing() == spacing);
            found.ok_or(HeError::MissingKey { spacing })
        };
        let keys = spacings.iter().map(key).collect::<Result<Vec<_>, _>>()?;
        let basis = ring.basis();
        let mut stream = Stream::secret(rng);
        let mask = ZeroMask::draw(ring, &mut stream);
        let a_mask = Zeroizing::new(basis.multiply(&self.zero.a, &mask.u));
        let (mut c0, mut c1) = match keys.first() {
            Some(&key) if leaves > 1 => {
                let mut node = Tree::new(ring, keys, leaves, leaf).merge(&a_mask)?;
                basis.multiply_add(&mut node.c0, &self.zero.b, &mask.u);
                ring.extended_basis().inverse(&mut node.c0);
                key.divide(ring, &mut node.c0);
                (node.c0, node.c1)
            }
            _ => {
                let [mut c0, mut c1] = leaf(0).map(Zeroizing::new);
                for _ in spacings {
                    double(basis, &mut c0);
                    double(basis, &mut c1);
                }
                basis.multiply_add(&mut c0, &self.zero.b, &mask.u);
                add(basis, &mut c1, &a_mask);
                basis.inverse(&mut c0);
                basis.inverse(&mut c1);
                (c0, c1)
            }
        };
        c0.truncate(ring.polynomial_words());
        for (modulus, limb) in ring.limbs() {
            let (c1, errors) = (&mut c1[limb], &mask.e1);
            vectorised(|| {
                for (c1, &error) in c1.iter_mut().zip(errors.iter()) {
                    *c1 = modulus.add(*c1, modulus.residue(error));
                }
            });
        }
        let shares = share::shares(ring, &c0, coefficients, word_bits, Party::Server);
        let mut message = encode_residues(ring, &c1, Window::whole(ring), drop_bits);
        if broken!(
            "responses carry C0 along",
            "heq-he linear shares_sum_to_the_product_with_guard_bits"
        ) {
            message.extend(encode_residues(ring, &c0, Window::whole(ring), drop_bits));
        }
        Ok((message, shares))
    }
}

/// What one encryption of zero is drawn from.
struct ZeroMask {
    /// Evaluations of u.
    u: Zeroizing<Vec<u64>>,
    /// Coefficients of e1.
    e1: Zeroizing<Vec<i64>>,
}

impl ZeroMask {
    fn draw(ring: &Ring, stream: &mut Stream) -> Self {
        let n = ring.params().ring_degree();
        let u = ring.basis().evaluate_signed(&stream.ternary(n));
        let mut mask = Self { u: Zeroizing::new(u), e1: stream.errors(n) };
        if broken!(
            "responses have no encryption of zero",
            "heq-he lib weights_stay_hidden_by_the_encryption_of_zero, heq-tests leakage responses_are_uniform_whatever_the_weights_are"
        ) {
            mask.u.fill(0);
            mask.e1.fill(0);
        }
        if broken!(
            "encryptions of zero have no secret",
            "heq-he lib equal_responses_look_different_by_fresh_encryptions_of_zero"
        ) {
            mask.u.fill(0);
        }
        if broken!(
            "encryptions of zero share a secret",
            "heq-tests leakage responses_are_uniform_whatever_the_weights_are"
        ) {
            mask.u.fill(1);
        }
        if broken!(
            "encryptions of zero have no errors",
            "heq-he lib encryptions_of_zero_have_errors"
        ) {
            mask.e1.fill(0);
        }
        mask
    }
}
