//! A whole linear layer on polynomials: the shares sum to the schoolbook product, and the measured
//! noise is what the bound says.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

use heq_he::Ring;
use heq_he::client::SecretKey;
use heq_he::sampling::Seed;
use heq_he::server::{Request, WeightPolynomial, ZeroKey};
use heq_ir::params::noise::NoiseModel;
use heq_ir::params::{RlweParams, RlweSpec};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

struct Case {
    ring_degree: usize,
    modulus_bits: u32,
    share_bits: u32,
    guard_bits: u32,
    request_drop_bits: u32,
    response_drop_bits: u32,
    tiles: usize,
    weights: usize,
    weight_magnitude: i64,
}

impl Case {
    fn params(&self) -> RlweParams {
        let Self { ring_degree, modulus_bits, .. } = *self;
        RlweParams::check(RlweSpec { ring_degree, modulus_bits }).unwrap()
    }

    fn model(&self) -> NoiseModel {
        let magnitude = self.weight_magnitude as f64;
        NoiseModel {
            weight_norm_squared: (self.tiles * self.weights) as f64 * magnitude * magnitude,
            request_drop_bits: self.request_drop_bits,
            response_drop_bits: self.response_drop_bits,
        }
    }

    /// Runs the layer; returns for every coefficient how far the shares' sum mod `2^output_bits` is
    /// above `2^(output_bits - share_bits)` times the true result.
    fn run(&self, output_bits: u32, seed: u64) -> Vec<i64> {
        let params = self.params();
        let ring = Ring::new(params);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (n, mask) = (self.ring_degree, (1_u64 << self.share_bits) - 1);
        let a_prime = Seed::derive(&[1; 32], "zero key", 0);
        let (key, message) = SecretKey::generate(&ring, &a_prime, &mut rng);
        let zero = ZeroKey::decode(&ring, &a_prime, &message, &mut rng).unwrap();
        let mut expected = vec![0_i64; n];
        let mut operands = Vec::new();
        for tile in 0..self.tiles {
            let client: Vec<u64> = (0..n).map(|_| rng.next_u64() & mask).collect();
            let server: Vec<u64> = (0..n).map(|_| rng.next_u64() & mask).collect();
            let weights: Vec<(usize, i64)> = (0..self.weights)
                .map(|i| {
                    let sign = i64::from(rng.next_u32() & 1) * 2 - 1;
                    (i * n / self.weights, sign * self.weight_magnitude)
                })
                .collect();
            for &(j, w) in &weights {
                for i in 0..n {
                    let x = (client[i].wrapping_add(server[i]) & mask).cast_signed();
                    let sign = if i + j < n { 1 } else { -1 };
                    let slot = &mut expected[(i + j) % n];
                    *slot = slot.wrapping_add(sign * w.wrapping_mul(x));
                }
            }
            let seed = Seed::derive(&[2; 32], "request", tile as u64);
            let sent = key.encrypt(
                &ring,
                &seed,
                client.iter().copied().enumerate(),
                self.share_bits,
                self.request_drop_bits,
                &mut rng,
            );
            assert_eq!(sent.len() as u64, params.polynomial_bytes(self.request_drop_bits));
            let request = Request::decode(
                &ring,
                &seed,
                &sent,
                server.iter().copied().enumerate(),
                self.share_bits,
                self.request_drop_bits,
                &mut rng,
            )
            .unwrap();
            operands.push((request, WeightPolynomial::new(&ring, weights.into_iter())));
        }
        let (response, server_shares) = zero.respond(
            &ring,
            operands.iter().map(|(request, weight)| (request, weight)),
            0..n,
            output_bits,
            self.response_drop_bits,
            &mut rng,
        );
        assert_eq!(response.len() as u64, params.polynomial_bytes(self.response_drop_bits));
        let client_shares = key
            .share_response(&ring, &response, self.response_drop_bits, 0..n, output_bits, &mut rng)
            .unwrap();
        let unused = i64::BITS - output_bits;
        let guard = output_bits - self.share_bits;
        (0..n)
            .map(|i| {
                let sum = client_shares[i].wrapping_add(server_shares[i]).cast_signed();
                (sum.wrapping_sub(expected[i] << guard) << unused) >> unused
            })
            .collect()
    }
}

const CASES: [Case; 6] = [
    Case {
        ring_degree: 2048,
        modulus_bits: 38,
        share_bits: 16,
        guard_bits: 1,
        request_drop_bits: 3,
        response_drop_bits: 11,
        tiles: 2,
        weights: 64,
        weight_magnitude: 8,
    },
    Case {
        ring_degree: 4096,
        modulus_bits: 60,
        share_bits: 28,
        guard_bits: 2,
        request_drop_bits: 3,
        response_drop_bits: 18,
        tiles: 40,
        weights: 16,
        weight_magnitude: 2000,
    },
    Case {
        ring_degree: 2048,
        modulus_bits: 26,
        share_bits: 8,
        guard_bits: 1,
        request_drop_bits: 0,
        response_drop_bits: 4,
        tiles: 1,
        weights: 9,
        weight_magnitude: 7,
    },
    Case {
        ring_degree: 4096,
        modulus_bits: 62,
        share_bits: 30,
        guard_bits: 3,
        request_drop_bits: 2,
        response_drop_bits: 18,
        tiles: 1,
        weights: 16,
        weight_magnitude: 100,
    },
    Case {
        ring_degree: 4096,
        modulus_bits: 87,
        share_bits: 40,
        guard_bits: 2,
        request_drop_bits: 20,
        response_drop_bits: 35,
        tiles: 40,
        weights: 4,
        weight_magnitude: 1 << 18,
    },
    Case {
        ring_degree: 8192,
        modulus_bits: 120,
        share_bits: 44,
        guard_bits: 3,
        request_drop_bits: 48,
        response_drop_bits: 62,
        tiles: 2,
        weights: 8,
        weight_magnitude: 1 << 19,
    },
];

#[test]
fn shares_sum_to_the_product_with_guard_bits() {
    for (index, case) in CASES.iter().enumerate() {
        let output_bits = case.share_bits + case.guard_bits;
        let margin = case.model().margin(&case.params(), output_bits);
        assert!(margin > 9.0, "case {index}: {margin}");
        for seed in 0..3 {
            let deltas = case.run(output_bits, seed);
            assert!(deltas.iter().all(|delta| (0..=1).contains(delta)), "case {index}");
            assert!(deltas.contains(&0) && deltas.contains(&1), "case {index}");
        }
    }
}

#[test]
fn measured_noise_matches_the_bound() {
    for (index, case) in CASES.iter().enumerate() {
        let params = case.params();
        // The finest rounding that stays below q, or fits a word, resolves the noise itself.
        let fine_bits = case.modulus_bits.min(61) - 1;
        let unit = params.modulus() as f64 / f64::from(fine_bits).exp2();
        let mut sum = 0.0;
        let mut count = 0.0;
        for seed in 10..14 {
            for error in case.run(fine_bits, seed) {
                sum += (error as f64 * unit).powi(2);
                count += 1.0;
            }
        }
        let predicted = case.model().variance(&params);
        let ratio = (sum / count / predicted).sqrt();
        // Rounding to units adds a unit at most; the key factor of 1.1 makes the bound a bound.
        let slack = 2.0 * unit / predicted.sqrt();
        assert!(ratio < 1.02 + slack, "case {index}: measured/predicted deviation {ratio}");
        assert!(ratio > 0.90, "case {index}: measured/predicted deviation {ratio}");
    }
}

#[test]
fn malformed_messages_are_refused() {
    for (ring_degree, modulus_bits) in [(1024, 26), (4096, 61), (4096, 62), (8192, 120)] {
        let params = RlweParams::check(RlweSpec { ring_degree, modulus_bits }).unwrap();
        let ring = Ring::new(params);
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let seed = Seed::derive(&[1; 32], "zero key", 0);
        let (key, message) = SecretKey::generate(&ring, &seed, &mut rng);
        let mut padded = message.clone();
        padded.push(0);
        let ones = vec![0xff; message.len()];
        let none = std::iter::empty;
        for bytes in [&message[1..], &message[..9], &padded, &ones, &[]] {
            assert!(ZeroKey::decode(&ring, &seed, bytes, &mut rng).is_err(), "{params}");
            assert!(key.share_response(&ring, bytes, 0, 0..1, 9, &mut rng).is_err(), "{params}");
            let request = Request::decode(&ring, &seed, bytes, none(), 9, 0, &mut rng);
            assert!(request.is_err(), "{params}");
        }
    }
}

#[test]
fn equal_requests_look_different() {
    let params = RlweParams::check(RlweSpec { ring_degree: 1024, modulus_bits: 26 }).unwrap();
    let ring = Ring::new(params);
    let mut rng = ChaCha20Rng::seed_from_u64(6);
    let (key, _) = SecretKey::generate(&ring, &Seed::derive(&[1; 32], "k", 0), &mut rng);
    let messages: Vec<Vec<u8>> = (0..2)
        .map(|index| {
            let seed = Seed::derive(&[2; 32], "request", index);
            key.encrypt(&ring, &seed, std::iter::empty(), 8, 0, &mut rng)
        })
        .collect();
    assert_ne!(messages[0], messages[1]);
}
