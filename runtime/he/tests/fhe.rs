//! Products of polynomials against those of the `fhe-math` crate.
#![allow(clippy::unwrap_used, reason = "clippy exempts test functions, not their helpers")]

mod common;

use common::params;
use fhe_math::rq::traits::TryConvertFrom;
use fhe_math::rq::{Context, Poly, Representation};
use heq_he::Ring;
use heq_he::product::{RequestBlock, WeightRow, sum_products};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::sync::Arc;

/// The product of polynomials given by residues of their coefficients.
fn multiply(context: &Arc<Context>, factors: [&[u64]; 2]) -> Vec<u64> {
    let [mut a, b] = factors.map(|residues| {
        let form = Representation::PowerBasis;
        let mut polynomial =
            Poly::try_convert_from(residues.to_vec(), context, false, form).unwrap();
        polynomial.change_representation(Representation::Ntt);
        polynomial
    });
    a *= &b;
    a.change_representation(Representation::PowerBasis);
    Vec::from(&a)
}

#[test]
fn products_are_those_of_another_library() {
    let mut rng = ChaCha20Rng::seed_from_u64(21);
    for ring in [(1024, 26), (2048, 36), (2048, 53), (4096, 50), (4096, 106), (8192, 120)] {
        let ring = Ring::new(params(ring, None));
        let (basis, n) = (ring.basis(), ring.params().ring_degree());
        let primes: Vec<u64> = ring.params().primes().collect();
        let context = Context::new_arc(&primes, n).unwrap();
        for _ in 0..3 {
            let draw = |q: &u64, rng: &mut ChaCha20Rng| -> Vec<u64> {
                (0..n).map(|_| rng.next_u64() % q).collect()
            };
            let a: Vec<u64> = primes.iter().flat_map(|q| draw(q, &mut rng)).collect();
            let weights: Vec<i64> = (0..n).map(|_| rng.next_u64().cast_signed() >> 46).collect();
            let residues = |&q: &u64| {
                let q = q.cast_signed();
                weights.iter().map(move |w| w.rem_euclid(q).cast_unsigned())
            };
            let b: Vec<u64> = primes.iter().flat_map(residues).collect();
            let expected = multiply(&context, [&a, &b]);

            let mut evaluations = a;
            basis.forward(&mut evaluations);
            let mut requests = RequestBlock::with_capacity(basis, 1);
            requests.push(basis, &evaluations, &vec![0; evaluations.len()]);
            let mut row = WeightRow::with_capacity(basis, 1);
            row.extend(basis, [weights.iter().copied().enumerate()].into_iter());
            let [mut product, _] = sum_products(basis, &requests, 0, &row);
            basis.inverse(&mut product);
            assert_eq!(product, expected, "{}", ring.params());
        }
    }
}
