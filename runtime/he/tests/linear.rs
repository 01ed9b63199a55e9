//! A whole linear layer on polynomials: the shares sum to the schoolbook product, and the measured
//! noise is what the bound says.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

mod common;

use common::{Session, params};
use heq_he::product::{RequestBlock, WeightRow, sum_products};
use heq_he::sampling::Seed;
use heq_he::server::{Request, ZeroKey};
use heq_he::{GaloisKey, HeError, Window};
use heq_ir::params::RlweParams;
use heq_ir::params::noise::NoiseModel;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

struct Case {
    ring: (usize, u32),
    key_switch: Option<(u32, u32)>,
    share_bits: u32,
    guard_bits: u32,
    request_drop_bits: u32,
    response_drop_bits: u32,
    tiles: usize,
    weights: usize,
    weight_magnitude: i64,
    /// Leaves are merged at the multiples of `2^merge_levels`.
    merge_levels: u32,
    leaves: usize,
}

impl Case {
    fn params(&self) -> RlweParams {
        params(self.ring, self.key_switch)
    }

    fn model(&self) -> NoiseModel {
        let magnitude = self.weight_magnitude as f64;
        NoiseModel {
            weight_norm_squared: (self.tiles * self.weights) as f64 * magnitude * magnitude,
            request_drop_bits: self.request_drop_bits,
            response_drop_bits: self.response_drop_bits,
            merge_levels: self.merge_levels,
        }
    }

    fn spacings(&self) -> Vec<usize> {
        (0..self.merge_levels).rev().map(|level| 1 << level).collect()
    }

    fn mask(&self) -> u64 {
        (1_u64 << self.share_bits) - 1
    }

    /// The requests as the server has them, and the sums of both parties' shares.
    fn requests(&self, session: &Session, rng: &mut ChaCha20Rng) -> (RequestBlock, Vec<Vec<i64>>) {
        let (n, mask) = (self.ring.0, self.mask());
        let basis = session.server.basis();
        let mut block = RequestBlock::with_capacity(basis, self.tiles);
        let mut inputs = Vec::new();
        for tile in 0..self.tiles {
            let client: Vec<u64> = (0..n).map(|_| rng.next_u64() & mask).collect();
            let server: Vec<u64> = (0..n).map(|_| rng.next_u64() & mask).collect();
            let seed = Seed::derive(&[2; 32], "request", tile as u64);
            let sent = session.key.encrypt(
                &session.client,
                &seed,
                client.iter().copied().enumerate(),
                self.share_bits,
                Window::whole(&session.client),
                self.request_drop_bits,
                rng,
            );
            let bytes = self.params().polynomial_bytes(self.request_drop_bits);
            assert_eq!(sent.len() as u64, bytes);
            let request = Request::decode(
                &session.server,
                &seed,
                &sent,
                server.iter().copied().enumerate(),
                self.share_bits,
                Window::whole(&session.server),
                self.request_drop_bits,
                rng,
            )
            .unwrap();
            let [c0, c1] = request.parts();
            block.push(basis, c0, c1);
            let sums = client.iter().zip(&server).map(|(c, s)| c.wrapping_add(*s) & mask);
            inputs.push(sums.map(u64::cast_signed).collect());
        }
        (block, inputs)
    }

    /// The weights of one polynomial.
    fn draw_weights(&self, rng: &mut ChaCha20Rng) -> Vec<(usize, i64)> {
        let step = self.ring.0 / self.weights;
        let weight = |index: usize| {
            let sign = i64::from(rng.next_u32() & 1) * 2 - 1;
            // Spread over all places mod the spacing of leaves.
            (index * step + rng.next_u32() as usize % step, sign * self.weight_magnitude)
        };
        (0..self.weights).map(weight).collect()
    }

    /// Runs the layer; returns for every output how far the shares' sum mod `2^word_bits` is above
    /// `2^(word_bits - share_bits)` times the true result.
    fn run(&self, session: &Session, word_bits: u32, rng: &mut ChaCha20Rng) -> Vec<i64> {
        let n = self.ring.0;
        let (block, inputs) = self.requests(session, rng);
        let stride = 1 << self.merge_levels;
        let basis = session.server.basis();
        let mut expected = vec![0_i64; n];
        let rows: Vec<WeightRow> = (0..self.leaves)
            .map(|leaf| {
                let mut row = WeightRow::halved(basis, self.tiles, self.merge_levels);
                for input in &inputs {
                    let weights = self.draw_weights(rng);
                    for &(j, w) in &weights {
                        for i in (0..n).step_by(stride) {
                            let (x, sign) =
                                if i >= j { (input[i - j], 1) } else { (input[i + n - j], -1) };
                            let slot = &mut expected[i + leaf];
                            *slot = slot.wrapping_add(sign * w.wrapping_mul(x));
                        }
                    }
                    row.extend(basis, [weights.into_iter()].into_iter());
                }
                row
            })
            .collect();
        let places: Vec<usize> = (0..n).filter(|place| place % stride < self.leaves).collect();
        let leaf = |leaf: usize| sum_products(basis, &block, 0, &rows[leaf]);
        let (response, server_shares) = session
            .keys
            .respond(
                &session.server,
                &self.spacings(),
                self.leaves,
                leaf,
                places.iter().copied(),
                word_bits,
                self.response_drop_bits,
                rng,
            )
            .unwrap();
        let bytes = self.params().polynomial_bytes(self.response_drop_bits);
        assert_eq!(response.len() as u64, bytes);
        let client_shares = session
            .key
            .share_response(
                &session.client,
                &response,
                self.response_drop_bits,
                places.iter().copied(),
                word_bits,
                rng,
            )
            .unwrap();
        let unused = i64::BITS - word_bits;
        let guard = word_bits - self.share_bits;
        let shares = client_shares.iter().zip(&server_shares).zip(&places);
        shares
            .map(|((client, server), &place)| {
                let sum = client.wrapping_add(*server).cast_signed();
                (sum.wrapping_sub(expected[place] << guard) << unused) >> unused
            })
            .collect()
    }
}

const NARROW: Case = Case {
    ring: (2048, 38),
    key_switch: None,
    share_bits: 16,
    guard_bits: 1,
    request_drop_bits: 3,
    response_drop_bits: 11,
    tiles: 2,
    weights: 64,
    weight_magnitude: 8,
    merge_levels: 0,
    leaves: 1,
};

const CASES: [Case; 10] = [
    NARROW,
    Case {
        ring: (4096, 60),
        share_bits: 28,
        guard_bits: 2,
        response_drop_bits: 18,
        tiles: 40,
        weights: 16,
        weight_magnitude: 2000,
        ..NARROW
    },
    Case {
        ring: (2048, 26),
        share_bits: 8,
        request_drop_bits: 0,
        response_drop_bits: 4,
        tiles: 1,
        weights: 9,
        weight_magnitude: 7,
        ..NARROW
    },
    Case {
        ring: (4096, 87),
        share_bits: 40,
        guard_bits: 2,
        request_drop_bits: 20,
        response_drop_bits: 35,
        tiles: 40,
        weights: 4,
        weight_magnitude: 1 << 18,
        ..NARROW
    },
    Case {
        ring: (8192, 120),
        share_bits: 44,
        guard_bits: 3,
        request_drop_bits: 48,
        response_drop_bits: 62,
        tiles: 2,
        weights: 8,
        weight_magnitude: 1 << 19,
        ..NARROW
    },
    // Merged: the request's noise leads.
    Case { key_switch: Some((15, 4)), merge_levels: 2, leaves: 4, ..NARROW },
    // A last response with some leaves absent.
    Case { key_switch: Some((15, 4)), merge_levels: 3, leaves: 5, response_drop_bits: 4, ..NARROW },
    // Key switching leads.
    Case {
        ring: (2048, 36),
        key_switch: Some((17, 3)),
        share_bits: 13,
        request_drop_bits: 0,
        response_drop_bits: 4,
        tiles: 1,
        weights: 16,
        merge_levels: 5,
        leaves: 32,
        ..NARROW
    },
    // Two primes, and digits wider than P.
    Case {
        ring: (4096, 60),
        key_switch: Some((30, 2)),
        share_bits: 28,
        response_drop_bits: 18,
        weight_magnitude: 2000,
        merge_levels: 3,
        leaves: 8,
        ..NARROW
    },
    // Three primes, one digit wider than a word.
    Case {
        ring: (8192, 120),
        key_switch: Some((50, 1)),
        share_bits: 36,
        request_drop_bits: 57,
        response_drop_bits: 50,
        weights: 8,
        weight_magnitude: 1 << 19,
        merge_levels: 2,
        leaves: 4,
        ..NARROW
    },
];

#[test]
fn shares_sum_to_the_product_with_guard_bits() {
    for (index, case) in CASES.iter().enumerate() {
        let word_bits = case.share_bits + case.guard_bits;
        let margin = case.model().margin(&case.params(), word_bits);
        assert!(margin > 9.0, "case {index}: {margin}");
        let mut rng = ChaCha20Rng::seed_from_u64(index as u64);
        let session = Session::new(case.params(), &case.spacings(), &mut rng);
        let deltas = case.run(&session, word_bits, &mut rng);
        assert!(deltas.iter().all(|delta| (0..=1).contains(delta)), "case {index}");
        assert!(deltas.contains(&0) && deltas.contains(&1), "case {index}");
    }
}

/// Standard deviation of the noise over its prediction, over at least `responses` responses, with keys
/// drawn anew now and then; every one stays in its window.
fn noise_ratio(case: &Case, responses: usize) -> f64 {
    let params = case.params();
    // The finest rounding that stays below q, or fits a word, resolves the noise itself.
    let fine_bits = case.ring.1.min(63) - 1;
    let unit = params.modulus() as f64 / f64::from(fine_bits).exp2();
    let window = params.modulus() as f64 / f64::from(case.share_bits + case.guard_bits + 1).exp2();
    let mut rng = ChaCha20Rng::seed_from_u64(77);
    let (mut sum, mut count) = (0.0, 0.0);
    for keys in 0..8 {
        let session = Session::new(params, &case.spacings(), &mut rng);
        for _ in 0..responses.div_ceil(8) {
            for error in case.run(&session, fine_bits, &mut rng) {
                // Rounding leaves 0 or 1 above: 1/2 on average.
                let noise = (error as f64 - 0.5) * unit;
                assert!(noise.abs() < window, "{keys}: {noise} of {window}");
                sum += noise * noise;
                count += 1.0;
            }
        }
    }
    let rounding = unit * unit / 4.0;
    ((sum / count - rounding) / case.model().variance(&params)).sqrt()
}

#[test]
fn measured_noise_matches_the_bound() {
    for (index, case) in CASES.iter().enumerate() {
        let ratio = noise_ratio(case, 16);
        // The key factor of 1.1 makes the bound a bound. Absent leaves save key switches.
        let range = if case.leaves >> case.merge_levels == 1 { 0.95..1.01 } else { 0.8..1.01 };
        assert!(range.contains(&ratio), "case {index}: measured/predicted {ratio}");
    }
}

/// Small layers for very many responses: without merging, merged, and with key switching in the lead.
#[test]
fn noise_never_leaves_its_window() {
    let unmerged = Case {
        ring: (1024, 26),
        share_bits: 13,
        request_drop_bits: 2,
        response_drop_bits: 4,
        tiles: 1,
        weights: 9,
        weight_magnitude: 7,
        ..NARROW
    };
    let merged = Case {
        ring: (2048, 36),
        key_switch: Some((17, 3)),
        share_bits: 16,
        tiles: 1,
        weights: 16,
        merge_levels: 2,
        leaves: 4,
        ..NARROW
    };
    let switched =
        Case { key_switch: Some((17, 2)), share_bits: 22, response_drop_bits: 0, ..merged };
    // Without optimisation the kernels are slow.
    let responses = if cfg!(debug_assertions) { 48 } else { 10_000 };
    for (name, case) in [("unmerged", unmerged), ("merged", merged), ("switched", switched)] {
        let margin = case.model().margin(&case.params(), case.share_bits + case.guard_bits);
        assert!((9.0..18.0).contains(&margin), "{name}: {margin}");
        let ratio = noise_ratio(&case, responses);
        println!("{name}: margin {margin}, measured/predicted {ratio}");
        assert!((0.95..1.01).contains(&ratio), "{name}: measured/predicted {ratio}");
    }
}

#[test]
fn malformed_messages_are_refused() {
    for (ring, key_switch) in [
        ((1024, 26), None),
        ((2048, 36), Some((17, 3))),
        ((4096, 62), Some((30, 2))),
        ((8192, 120), None),
    ] {
        let params = params(ring, key_switch);
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let Session { key, server: ring, keys, .. } = Session::new(params, &[], &mut rng);
        let seed = Seed::derive(&[1; 32], "zero key", 0);
        let spoil = |message: &[u8]| -> [Vec<u8>; 5] {
            let padded = message.iter().copied().chain([0]).collect();
            [
                message[1..].to_vec(),
                message[..9].to_vec(),
                padded,
                vec![0xff; message.len()],
                vec![],
            ]
        };
        let whole = vec![0; params.polynomial_bytes(0) as usize];
        assert!(ZeroKey::decode(&ring, &seed, &whole, &mut rng).is_ok());
        let window = Window::new(&ring, (ring.params().ring_degree() - 2, 50));
        let part = vec![0; params.coefficient_bytes(50, 3) as usize];
        let none = std::iter::empty;
        let request = |bytes: &[u8], rng: &mut ChaCha20Rng| {
            Request::decode(&ring, &seed, bytes, none(), 9, window, 3, rng).map(drop)
        };
        assert_eq!(request(&part, &mut rng), Ok(()));
        for bytes in spoil(&whole) {
            assert!(ZeroKey::decode(&ring, &seed, &bytes, &mut rng).is_err(), "{params}");
            assert!(key.share_response(&ring, &bytes, 0, 0..1, 9, &mut rng).is_err(), "{params}");
        }
        for bytes in spoil(&part) {
            assert!(request(&bytes, &mut rng).is_err(), "{params}");
        }
        let respond = |spacings: &[usize], leaves: usize, rng: &mut ChaCha20Rng| {
            let leaf = |_| [(); 2].map(|()| vec![0; ring.basis().polynomial_words()]);
            keys.respond(&ring, spacings, leaves, leaf, 0..1, 9, 0, rng).map(drop)
        };
        assert_eq!(respond(&[], 1, &mut rng), Ok(()));
        assert_eq!(respond(&[4, 2], 0, &mut rng), Err(HeError::Leaves { leaves: 0 }));
        assert_eq!(respond(&[], 2, &mut rng), Err(HeError::Leaves { leaves: 2 }));
        assert_eq!(respond(&[4, 2], 4, &mut rng), Err(HeError::MissingKey { spacing: 4 }));
        if key_switch.is_none() {
            let refused = GaloisKey::decode(&ring, &seed, 2, &[]).map(drop);
            assert_eq!(refused, Err(HeError::NoKeySwitch));
            let refused = key.galois_key(&ring, &seed, 2, &mut rng);
            assert_eq!(refused, Err(HeError::NoKeySwitch));
            continue;
        }
        let message = key.galois_key(&ring, &seed, 2, &mut rng).unwrap();
        assert!(GaloisKey::decode(&ring, &seed, 2, &message).is_ok());
        for bytes in spoil(&message) {
            assert!(GaloisKey::decode(&ring, &seed, 2, &bytes).is_err(), "{params}");
        }
        for spacing in [0, 3, ring.params().ring_degree(), usize::MAX] {
            let refused = GaloisKey::decode(&ring, &seed, spacing, &message).map(drop);
            assert_eq!(refused, Err(HeError::Spacing { spacing }));
            let refused = key.galois_key(&ring, &seed, spacing, &mut rng);
            assert_eq!(refused, Err(HeError::Spacing { spacing }));
        }
    }
}

#[test]
fn equal_requests_look_different() {
    let mut rng = ChaCha20Rng::seed_from_u64(6);
    let Session { client, key, .. } = Session::new(params((1024, 26), None), &[], &mut rng);
    let messages: Vec<Vec<u8>> = (0..2)
        .map(|index| {
            let seed = Seed::derive(&[2; 32], "request", index);
            let window = Window::whole(&client);
            key.encrypt(&client, &seed, std::iter::empty(), 8, window, 0, &mut rng)
        })
        .collect();
    assert_ne!(messages[0], messages[1]);
}
