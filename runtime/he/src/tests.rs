//! What hides secrets in a linear layer, each as a property that fails without it: `cargo xtask mutate` breaks
//! the rules behind them.

use crate::client::SecretKey;
use crate::product::{RequestBlock, WeightRow, sum_products};
use crate::sampling::Seed;
use crate::server::{Request, ServerKeys, ZeroKey};
use crate::{GaloisKey, Ring, Window};
use heq_ir::packing::unpack_bits;
use heq_ir::params::noise::ERROR_VARIANCE;
use heq_ir::params::{KeySwitchSpec, RlweParams, RlweSpec};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

const SHARE_BITS: u32 = 12;

/// The weights that a response is to hide.
const WEIGHTS: [(usize, i64); 3] = [(0, 5), (7, -3), (100, 2)];

/// A layer of one request, of ones everywhere, and one weight polynomial for each of its leaves.
struct Layer {
    ring: Ring,
    key: SecretKey,
    keys: ServerKeys,
    rng: ChaCha20Rng,
    seed: Seed,
    spacings: Vec<usize>,
    request_drop_bits: u32,
}

impl Layer {
    fn new(spacings: &[usize]) -> Self {
        let key_switch = Some(KeySwitchSpec { special_bits: 17, digits: 2 });
        let spec = RlweSpec { key_switch, ..RlweSpec::new(2048, 36) };
        let ring = Ring::new(RlweParams::check(spec).unwrap());
        let mut rng = ChaCha20Rng::seed_from_u64(9);
        let seed = Seed::derive(&[1; 32], "zero key", 0);
        let (key, message) = SecretKey::generate(&ring, &seed, &mut rng);
        let zero = ZeroKey::decode(&ring, &seed, &message, &mut rng).unwrap();
        let galois = spacings.iter().map(|&spacing| {
            let seed = Seed::derive(&[1; 32], "galois key", spacing as u64);
            let message = key.galois_key(&ring, &seed, spacing, &mut rng).unwrap();
            GaloisKey::decode(&ring, &seed, spacing, &message).unwrap()
        });
        let keys = ServerKeys::new(zero, galois.collect());
        let spacings = spacings.to_vec();
        Self { ring, key, keys, rng, seed, spacings, request_drop_bits: 0 }
    }

    /// The message of a response with `weights` in its first leaf, and how far the shares' sum mod
    /// `2^word_bits` is above the true result at the multiples of 2^m; `input` is at every coefficient.
    fn run(&mut self, weights: &[(usize, i64)], input: u64, word_bits: u32) -> (Vec<u8>, Vec<i64>) {
        let Self { ring, key, keys, rng, seed, spacings, request_drop_bits } = self;
        let (n, whole) = (ring.params().ring_degree(), Window::whole(ring));
        let (bits, drop_bits) = (SHARE_BITS, *request_drop_bits);
        let elements = (0..n).map(|index| (index, input));
        let message = key.encrypt(ring, seed, elements, bits, whole, drop_bits, rng);
        let none = std::iter::empty();
        let request =
            Request::decode(ring, seed, &message, none, bits, whole, drop_bits, rng).unwrap();
        let (basis, [c0, c1]) = (ring.basis(), request.parts());
        let mut block = RequestBlock::with_capacity(basis, 1);
        block.push(basis, c0, c1);
        let leaf = |index: usize| {
            let mut row = WeightRow::halved(basis, 1, spacings.len().try_into().unwrap());
            let weights = if index == 0 { weights } else { &[] };
            row.extend(basis, [weights.iter().copied()].into_iter());
            sum_products(basis, &block, 0, &row)
        };
        let wanted = (0..n).step_by(1 << spacings.len());
        let leaves = 1 << spacings.len();
        let (message, of_server) =
            keys.respond(ring, spacings, leaves, leaf, wanted.clone(), word_bits, 0, rng).unwrap();
        let of_client =
            key.share_response(ring, &message, 0, wanted.clone(), word_bits, rng).unwrap();
        let shares = of_client.iter().zip(&of_server).zip(wanted);
        let errors = shares.map(|((a, b), place)| {
            let signed = |&(j, w): &(usize, i64)| if place >= j { w } else { -w };
            let expected = weights.iter().map(signed).sum::<i64>() * input.cast_signed();
            let unused = i64::BITS - word_bits;
            let sum = a.wrapping_add(*b).cast_signed();
            (sum.wrapping_sub(expected << (word_bits - SHARE_BITS)) << unused) >> unused
        });
        (message, errors.collect())
    }

    /// The residues of a response's C1 to a request of zeros.
    fn c1(&mut self) -> Vec<u64> {
        let (message, _) = self.run(&WEIGHTS, 0, SHARE_BITS + 1);
        let params = self.ring.params();
        unpack_bits(&message, params.modulus_bits(), params.ring_degree()).unwrap()
    }

    /// Whether the C1 of two equal responses are as far apart as two uniform ones.
    fn is_masked(&mut self) -> bool {
        let [first, second] = [(); 2].map(|()| self.c1());
        let (modulus, _) = self.ring.limbs().next().unwrap();
        let differences = first.iter().zip(&second);
        let differences = differences.map(|(&a, &b)| modulus.centred(modulus.sub(a, b)));
        differences.map(i64::unsigned_abs).max().unwrap() > modulus.value() / 8
    }

    /// Whether the client finds the weights of the first leaf in a response: its C1 is a*w, and a is the
    /// client's own.
    fn reveals_weights(&mut self) -> bool {
        let c1 = self.c1();
        self.quotient(c1).eq(&WEIGHTS)
    }

    /// The coefficients other than zero of `c1/a`, small or not.
    fn quotient(&self, mut c1: Vec<u64>) -> Vec<(usize, i64)> {
        let ring = &self.ring;
        ring.basis().forward(&mut c1);
        let a = ring.evaluate_uniform(&self.seed);
        for (modulus, limb) in ring.limbs() {
            for (c1, &a) in c1[limb.clone()].iter_mut().zip(&a[limb]) {
                *c1 = modulus.mul(*c1, modulus.inverse(a));
            }
        }
        ring.basis().inverse(&mut c1);
        let (modulus, _) = ring.limbs().next().unwrap();
        let found = c1.iter().enumerate().filter(|(_, residue)| **residue != 0);
        found.map(|(index, &residue)| (index, modulus.centred(residue))).collect()
    }
}

#[test]
fn weights_stay_hidden_by_the_encryption_of_zero() {
    let mut layer = Layer::new(&[]);
    assert!(!layer.reveals_weights());
}

#[test]
fn equal_responses_look_different_by_fresh_encryptions_of_zero() {
    for spacings in [&[][..], &[1], &[2, 1]] {
        let mut layer = Layer::new(spacings);
        assert!(layer.is_masked(), "{spacings:?}");
    }
}

/// Without errors the mask of a response is `a'*u`: linear equations for u, and so for the weights.
#[test]
fn encryptions_of_zero_have_errors() {
    let mut layer = Layer::new(&[]);
    let (message, _) = layer.run(&[], 0, SHARE_BITS + 1);
    let params = layer.ring.params();
    let c1 = unpack_bits(&message, params.modulus_bits(), params.ring_degree()).unwrap();
    // The key's a' and the request's a are of one seed.
    let quotient = layer.quotient(c1);
    assert!(quotient.iter().any(|(_, u)| u.unsigned_abs() > 1));
}

/// Two samples of one secret and one uniform polynomial differ by their errors alone.
#[test]
fn every_sample_has_errors_of_its_own() {
    let Layer { ring, key, seed, mut rng, .. } = Layer::new(&[]);
    let request = |rng: &mut ChaCha20Rng| {
        key.encrypt(&ring, &seed, std::iter::empty(), SHARE_BITS, Window::whole(&ring), 0, rng)
    };
    assert_ne!(request(&mut rng), request(&mut rng), "requests");
    let galois = |rng: &mut ChaCha20Rng| key.galois_key(&ring, &seed, 2, rng).unwrap();
    assert_ne!(galois(&mut rng), galois(&mut rng), "Galois keys");
    // A request of zeros is -a*s + e, the zero key -a'*s + e'.
    let (key, zero_key) = SecretKey::generate(&ring, &seed, &mut rng);
    let sample = key.encrypt(
        &ring,
        &seed,
        std::iter::empty(),
        SHARE_BITS,
        Window::whole(&ring),
        0,
        &mut rng,
    );
    let params = ring.params();
    let words =
        |message: &[u8]| unpack_bits(message, params.modulus_bits(), params.ring_degree()).unwrap();
    let (modulus, _) = ring.limbs().next().unwrap();
    let differences = words(&sample).into_iter().zip(words(&zero_key));
    let differences = differences.map(|(a, b)| modulus.centred(modulus.sub(a, b)) as f64);
    let variance = differences.map(|d| d * d).sum::<f64>() / params.ring_degree() as f64;
    // Twice that of an error; 2048 of them leave a deviation of 3 % of it.
    let ratio = variance / (2.0 * ERROR_VARIANCE);
    assert!((0.8..1.2).contains(&ratio), "zero keys: {ratio}");
}

#[test]
fn results_are_exact_by_the_guard_bit() {
    for spacings in [&[][..], &[1], &[2, 1]] {
        let mut layer = Layer::new(spacings);
        // What the exact truncation makes of the sum with a guard bit, and of the one without.
        let with = |sum: &i64| sum >> 1 == 0;
        let without = |sum: &i64| *sum == 0;
        assert!(layer.run(&WEIGHTS, 1000, SHARE_BITS + 1).1.iter().all(with), "{spacings:?}");
        assert!(!layer.run(&WEIGHTS, 1000, SHARE_BITS).1.iter().all(without), "{spacings:?}");
    }
}

/// Mean of the noise of a response over its deviation, times the square root of the number of samples.
fn bias(layer: &mut Layer) -> f64 {
    // Weights of equal sign add up what rounding leaves on average.
    let weights: Vec<(usize, i64)> = (0..512).map(|index| (index, 3)).collect();
    let word_bits = layer.ring.params().modulus_bits() - 1;
    let runs = (0..40).flat_map(|_| {
        let (_, errors) = layer.run(&weights, 0, word_bits);
        // Beyond the weights the signs of the sums differ; neighbours share their noise.
        errors.into_iter().skip(512).step_by(512)
    });
    let errors: Vec<f64> = runs.map(|error| error as f64 - 0.5).collect();
    let count = errors.len() as f64;
    let mean = errors.iter().sum::<f64>() / count;
    let variance = errors.iter().map(|error| (error - mean).powi(2)).sum::<f64>() / count;
    mean / (variance / count).sqrt()
}

#[test]
fn noise_has_mean_zero_by_ties_broken_at_random() {
    let mut layer = Layer::new(&[]);
    // The fewest bits have the largest bias in units of their deviation.
    layer.request_drop_bits = 1;
    let fair = bias(&mut layer);
    assert!(fair.abs() < 5.0, "{fair}");
}
