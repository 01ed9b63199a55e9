//! The client's view of a linear layer: responses, and what it decrypts of them.

use super::session::{Session, params};
use super::statistics::{LIMIT, check_uniform};
use heq_he::Window;
use heq_he::product::{RequestBlock, WeightRow, sum_products};
use heq_he::sampling::Seed;
use heq_he::server::Request;
use heq_ir::packing::{unpack_bits, unpack_wide_bits};
use heq_ir::params::noise::NoiseModel;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

const RING: (usize, u32) = (2048, 36);
const KEY_SWITCH: (u32, u32) = (17, 3);
const SHARE_BITS: u32 = 12;
const WORD_BITS: u32 = SHARE_BITS + 1;
const REQUEST_DROP_BITS: u32 = 1;

/// Coefficients of a test.
const COEFFICIENTS: usize = 1_000_000;

/// Weights of a leaf, and their magnitude.
const WEIGHTS: usize = 64;
const MAGNITUDE: i64 = 7;

/// Zero, maximal and random weights.
const KINDS: [&str; 3] = ["zero", "maximal", "random"];

/// A layer whose only input is zeros, of which the true results are zero.
struct Layer {
    session: Session,
    rng: ChaCha20Rng,
    spacings: Vec<usize>,
}

impl Layer {
    fn new(spacings: &[usize]) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(spacings.len() as u64);
        let session = Session::new(params(RING, Some(KEY_SWITCH)), spacings, &mut rng);
        Self { session, rng, spacings: spacings.to_vec() }
    }

    fn leaves(&self) -> usize {
        1 << self.spacings.len()
    }

    /// Sums of products of a request of zeros and weights of a kind, for every leaf.
    fn leaf_sums(&mut self, kind: &str, request: u64) -> Vec<[Vec<u64>; 2]> {
        let (leaves, merge_levels) = (self.leaves(), self.spacings.len() as u32);
        let Self { session: Session { client, key, server, .. }, rng, .. } = self;
        let seed = Seed::derive(&[2; 32], "request", request);
        let (none, whole) = (std::iter::empty, Window::whole(client));
        let sent = key.encrypt(client, &seed, none(), SHARE_BITS, whole, REQUEST_DROP_BITS, rng);
        let decoded = Request::decode(
            server,
            &seed,
            &sent,
            none(),
            SHARE_BITS,
            whole,
            REQUEST_DROP_BITS,
            rng,
        )
        .unwrap();
        let basis = server.basis();
        let mut block = RequestBlock::with_capacity(basis, 1);
        let [c0, c1] = decoded.parts();
        block.push(basis, c0, c1);
        let mut weight = |_| match kind {
            "zero" => 0,
            "maximal" => MAGNITUDE,
            _ => MAGNITUDE * (i64::from(rng.next_u32() & 1) * 2 - 1),
        };
        let mut sums = Vec::new();
        for _ in 0..leaves {
            let mut row = WeightRow::halved(basis, 1, merge_levels);
            let weights: Vec<(usize, i64)> = (0..WEIGHTS).map(|j| (j, weight(j))).collect();
            row.extend(basis, [weights.into_iter()].into_iter());
            sums.push(sum_products(basis, &block, 0, &row));
        }
        sums
    }

    /// A response to `sums`, and the client's and the server's shares of all of its coefficients.
    fn respond(
        &mut self,
        sums: &[[Vec<u64>; 2]],
        word_bits: u32,
        drop_bits: u32,
    ) -> (Vec<u8>, [Vec<u64>; 2]) {
        let Self { session: Session { client, key, server, keys }, rng, spacings } = self;
        let leaf = |index: usize| sums[index].clone();
        let all = 0..RING.0;
        let (message, of_server) = keys
            .respond(server, spacings, sums.len(), leaf, all.clone(), word_bits, drop_bits, rng)
            .unwrap();
        let of_client =
            key.share_response(client, &message, drop_bits, all, word_bits, rng).unwrap();
        (message, [of_client, of_server])
    }
}

/// All responses answer one request with the same weights, so that nothing but the masks makes them differ.
#[test]
fn responses_are_uniform_whatever_the_weights_are() {
    for (spacings, drop_bits) in [(&[][..], 0), (&[2, 1], 0), (&[2, 1], 5)] {
        let mut layer = Layer::new(spacings);
        let range = layer.session.client.params().modulus().div_ceil(1 << drop_bits);
        for kind in KINDS {
            let name = format!("{spacings:?}, {drop_bits} dropped, {kind} weights");
            let sums = layer.leaf_sums(kind, 0);
            let (mut words, mut shares) = (Vec::new(), [Vec::new(), Vec::new()]);
            let mut ones = 0;
            for _ in 0..COEFFICIENTS.div_ceil(RING.0) {
                let (message, both) = layer.respond(&sums, WORD_BITS, drop_bits);
                words.extend(unpack_bits(&message, RING.1 - drop_bits, RING.0).unwrap());
                for (client, server) in both[0].iter().zip(&both[1]) {
                    let delta = client.wrapping_add(*server) & ((1 << WORD_BITS) - 1);
                    assert!(delta <= 1, "{name}: {delta}");
                    ones += delta;
                }
                shares.iter_mut().zip(both).for_each(|(shares, more)| shares.extend(more));
            }
            check_uniform(&format!("C1, {name}"), &words, range);
            for (party, shares) in ["client", "server"].iter().zip(&shares) {
                check_uniform(&format!("share of the {party}, {name}"), shares, 1 << WORD_BITS);
            }
            // What the shares leave of the noise is a coin that weights do not bias.
            let count = words.len() as f64;
            let deviate = (2.0 * ones as f64 - count) / count.sqrt();
            assert!(deviate.abs() < LIMIT, "delta, {name}: {deviate}");
        }
    }
}

/// Variance of the noise over its bound, which holds for zero weights by the noise of the mask alone. Weights
/// of equal sign add up what rounding would leave on average. A request's noise is common to 64
/// neighbours, so 400 responses have 12 800 independent samples: a deviation of 1.3 %, and [`LIMIT`] of these
/// above the bound.
#[test]
fn noise_stays_within_the_bound_whatever_the_weights_are() {
    const RESPONSES: u64 = 400;
    const FINE_BITS: u32 = RING.1 - 1;
    let mut layer = Layer::new(&[]);
    let params = *layer.session.client.params();
    let unit = params.modulus() as f64 / f64::from(FINE_BITS).exp2();
    for kind in KINDS {
        let norm = if kind == "zero" { 0 } else { WEIGHTS as i64 * MAGNITUDE * MAGNITUDE };
        let model = NoiseModel {
            weight_norm_squared: norm as f64,
            request_drop_bits: REQUEST_DROP_BITS,
            response_drop_bits: 0,
            merge_levels: 0,
        };
        let mut squares = 0.0;
        for request in 0..RESPONSES {
            let sums = layer.leaf_sums(kind, request);
            let (_, [client, server]) = layer.respond(&sums, FINE_BITS, 0);
            for (a, b) in client.iter().zip(&server) {
                let unused = u64::BITS - FINE_BITS;
                let sum = (a.wrapping_add(*b) << unused).cast_signed() >> unused;
                squares += ((sum as f64 - 0.5) * unit).powi(2);
            }
        }
        let variance = squares / (RESPONSES as f64 * RING.0 as f64) - unit * unit / 4.0;
        let ratio = variance / model.variance(&params);
        assert!((0.8..1.0 + 0.013 * LIMIT).contains(&ratio), "{kind} weights: {ratio}");
    }
}

/// What is dropped of a response is no part of it: the same as one that drops no bit, cut off.
#[test]
fn dropped_bits_do_not_travel() {
    for spacings in [&[][..], &[2, 1]] {
        let mut layer = Layer::new(spacings);
        let sums = layer.leaf_sums("random", 0);
        let rng = layer.rng.clone();
        let [whole, cut] = [0, 9].map(|drop_bits| {
            layer.rng = rng.clone();
            let (message, [_, server]) = layer.respond(&sums, WORD_BITS, drop_bits);
            let bits = RING.1 - drop_bits;
            assert_eq!(message.len(), (RING.0 * bits as usize).div_ceil(8));
            (unpack_wide_bits(&message, bits, RING.0).unwrap(), server)
        });
        assert!(whole.0.iter().map(|word| word >> 9).eq(cut.0), "{spacings:?}");
        assert_eq!(whole.1, cut.1, "{spacings:?}: the server's shares");
    }
}
