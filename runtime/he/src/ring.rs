//! One parameter set with its tables, and polynomials as residues of each prime.
//!
//! A polynomial is a vector of limbs, one after the other: N residues or evaluations mod the first
//! prime of a [`Basis`], then N mod the next. Transforms and products go limb by limb; integers mod q
//! are joined from residues digit by digit in mixed radix [Knu97, Section 4.3.2].

use crate::modulus::{Modulus, ShoupFactor};
use crate::narrow::NarrowModulus;
use crate::ntt::NttTable;
use crate::operations::Operations;
use crate::product::Multiplier;
use crate::sampling::Seed;
use crate::simd::vectorised;
use crate::wide::WideModulus;
use heq_ir::params::RlweParams;
use std::ops::Range;
use std::sync::Arc;

/// Most primes of q.
const MAX_PRIMES: usize = 3;

/// One parameter set with its tables, shared by all keys and ciphertexts that use it.
#[derive(Clone, Debug)]
pub struct Ring {
    params: RlweParams,
    /// Of the primes of q, then of the special prime if the parameters have one.
    limbs: Vec<Limb>,
    joint: Joint,
    pub(crate) modulus: WideModulus,
    /// The same if q is one prime.
    pub(crate) narrow: Option<NarrowModulus>,
    operations: Arc<Operations>,
}

/// The tables of one prime.
#[derive(Clone, Debug)]
pub(crate) struct Limb {
    pub(crate) ntt: NttTable,
    pub(crate) multiplier: Multiplier,
}

/// The primes of q, or these and the special prime P: what a polynomial mod q or `q*P` is made of.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    ring_degree: usize,
    pub(crate) limbs: &'a [Limb],
    pub(crate) operations: &'a Operations,
}

/// What joins residues mod distinct primes to `x0 + p0*(x1' + p1*x2')`.
#[derive(Clone, Debug)]
struct Joint {
    primes: Vec<Modulus>,
    /// For digit j the steps that take digits i < j out of residue j.
    steps: Vec<Vec<JointStep>>,
}

/// From residue x and digit d to `(x - d) / p_i mod p_j`.
#[derive(Clone, Debug)]
struct JointStep {
    /// A multiple of p_j that is not below p_i.
    offset: u64,
    /// `1/p_i mod p_j`.
    inverse: ShoupFactor,
}

impl Ring {
    /// Tables of a parameter set.
    #[must_use]
    pub fn new(params: RlweParams) -> Self {
        let special = params.key_switch().map(|key_switch| key_switch.special_prime);
        let limb = |prime| Limb::new(params.ring_degree(), Modulus::new(prime));
        let modulus = WideModulus::new(params.modulus());
        let is_prime = params.limbs() == 1;
        Self {
            narrow: is_prime.then(|| NarrowModulus::new(&modulus)),
            modulus,
            operations: Arc::default(),
            limbs: params.primes().chain(special).map(limb).collect(),
            joint: Joint::new(params.primes().map(Modulus::new).collect()),
            params,
        }
    }

    /// The parameter set.
    #[must_use]
    pub fn params(&self) -> &RlweParams {
        &self.params
    }

    /// What has been computed in this ring and its clones so far.
    #[must_use]
    pub fn operations(&self) -> &Operations {
        &self.operations
    }

    /// The primes of q.
    #[must_use]
    pub fn basis(&self) -> Basis<'_> {
        let limbs = &self.limbs[..self.joint.primes.len()];
        self.basis_of(limbs)
    }

    /// The primes of q, then the special prime if the parameters have one.
    #[must_use]
    pub fn extended_basis(&self) -> Basis<'_> {
        self.basis_of(&self.limbs)
    }

    fn basis_of<'a>(&'a self, limbs: &'a [Limb]) -> Basis<'a> {
        Basis { ring_degree: self.params.ring_degree(), limbs, operations: &self.operations }
    }

    /// Every prime of q with the place of its limb in a polynomial.
    pub(crate) fn limbs(&self) -> impl Iterator<Item = (&Modulus, Range<usize>)> {
        self.basis().places()
    }

    /// Words of a polynomial mod q: N for every limb.
    pub(crate) fn polynomial_words(&self) -> usize {
        self.basis().polynomial_words()
    }

    /// The integer in `[0, q)` that the residues of coefficient `index` stand for.
    #[inline]
    pub(crate) fn join(&self, residues: &[u64], index: usize) -> u128 {
        let n = self.params.ring_degree();
        self.joint.join(|limb| residues[limb * n + index])
    }

    /// Evaluations of the uniform polynomial of a public seed: a polynomial that is uniform mod q has
    /// independent uniform evaluations mod every prime.
    pub(crate) fn evaluate_uniform(&self, seed: &Seed) -> Vec<u64> {
        self.basis().evaluate_uniform(seed)
    }
}

impl Limb {
    fn new(ring_degree: usize, modulus: Modulus) -> Self {
        Self { ntt: NttTable::new(ring_degree, modulus), multiplier: Multiplier::new(modulus) }
    }
}

impl<'a> Basis<'a> {
    /// Ring degree N.
    #[must_use]
    pub fn ring_degree(&self) -> usize {
        self.ring_degree
    }

    /// Words of a polynomial: N for every limb.
    #[must_use]
    pub fn polynomial_words(&self) -> usize {
        self.limbs.len() * self.ring_degree
    }

    /// Every prime with the place of its limb in a polynomial.
    pub(crate) fn places(self) -> impl ExactSizeIterator<Item = (&'a Modulus, Range<usize>)> {
        let n = self.ring_degree;
        self.limbs.iter().enumerate().map(move |(i, limb)| (limb.ntt.modulus(), i * n..(i + 1) * n))
    }

    /// Residues of coefficients to evaluations, in place.
    pub fn forward(&self, values: &mut [u64]) {
        self.operations.count_transforms(self.limbs.len());
        for (values, limb) in values.chunks_exact_mut(self.ring_degree).zip(self.limbs) {
            limb.ntt.forward(values);
        }
    }

    /// Evaluations to residues of coefficients, in place.
    pub fn inverse(&self, values: &mut [u64]) {
        self.operations.count_transforms(self.limbs.len());
        for (values, limb) in values.chunks_exact_mut(self.ring_degree).zip(self.limbs) {
            limb.ntt.inverse(values);
        }
    }

    /// Evaluations of the polynomial with these coefficients, of magnitude below every prime.
    pub(crate) fn evaluate_signed(&self, coefficients: &[i64]) -> Vec<u64> {
        let mut values = vec![0; self.polynomial_words()];
        for (modulus, limb) in self.places() {
            let pairs = values[limb].iter_mut().zip(coefficients);
            vectorised(|| pairs.for_each(|(value, &c)| *value = modulus.residue(c)));
        }
        self.forward(&mut values);
        values
    }

    /// Evaluations of the uniform polynomial of a public seed.
    pub(crate) fn evaluate_uniform(&self, seed: &Seed) -> Vec<u64> {
        seed.expand_uniform(self.ring_degree, self.places().map(|(modulus, _)| modulus))
    }

    /// Adds to `sum` the products of evaluations `a` and `b`, all residues.
    pub(crate) fn multiply_add(&self, sum: &mut [u64], a: &[u64], b: &[u64]) {
        for (limb, (_, place)) in self.limbs.iter().zip(self.places()) {
            limb.multiplier.multiply_add(&mut sum[place.clone()], &a[place.clone()], &b[place]);
        }
    }

    /// The products of evaluations `a` and `b`, all residues.
    pub(crate) fn multiply(&self, a: &[u64], b: &[u64]) -> Vec<u64> {
        let mut product = vec![0; a.len()];
        self.multiply_add(&mut product, a, b);
        product
    }
}

impl Joint {
    fn new(primes: Vec<Modulus>) -> Self {
        let step = |first: &Modulus, second: &Modulus| {
            let (p, q) = (first.value(), second.value());
            JointStep { offset: q * p.div_ceil(q), inverse: second.shoup(second.inverse(p % q)) }
        };
        let steps = primes.iter().enumerate();
        let steps = steps.map(|(j, q)| primes[..j].iter().map(|p| step(p, q)).collect()).collect();
        Self { primes, steps }
    }

    /// The integer with residue `residue(j)` mod prime j.
    #[inline]
    fn join(&self, residue: impl Fn(usize) -> u64) -> u128 {
        let mut digits = [0; MAX_PRIMES];
        for (j, (modulus, steps)) in self.primes.iter().zip(&self.steps).enumerate() {
            digits[j] = steps.iter().zip(&digits).fold(residue(j), |x, (step, digit)| {
                modulus.normalise(modulus.mul_lazy(x + step.offset - digit, step.inverse))
            });
        }
        let pairs = self.primes.iter().zip(&digits).rev();
        pairs.fold(0, |sum, (p, &digit)| sum * u128::from(p.value()) + u128::from(digit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heq_ir::params::{KeySwitchSpec, RlweSpec};
    use num_bigint::BigUint;
    use proptest::prelude::*;

    fn ring(ring_degree: usize, modulus_bits: u32) -> Ring {
        Ring::new(RlweParams::check(RlweSpec::new(ring_degree, modulus_bits)).unwrap())
    }

    #[test]
    fn signed_coefficients_reach_every_limb() {
        let key_switch = Some(KeySwitchSpec { special_bits: 14, digits: 2 });
        let spec = RlweSpec { key_switch, ..RlweSpec::new(2048, 38) };
        let ring = Ring::new(RlweParams::check(spec).unwrap());
        let basis = ring.extended_basis();
        assert_eq!((basis.polynomial_words(), ring.polynomial_words()), (2 * 2048, 2048));
        let coefficients: Vec<i64> = (-1024..1024).map(|i| i * 10).collect();
        let mut residues = basis.evaluate_signed(&coefficients);
        basis.inverse(&mut residues);
        for (modulus, place) in basis.places() {
            let q = modulus.value().cast_signed();
            for (&residue, c) in residues[place].iter().zip(&coefficients) {
                assert_eq!(residue.cast_signed(), c.rem_euclid(q), "q = {q}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn products_agree_with_big_integers(
            which in 0..6_usize, seed: [u8; 32], places in prop::collection::vec(0..1024_usize, 1..6),
        ) {
            let (n, bits) =
                [(1024, 26), (2048, 50), (2048, 53), (4096, 62), (4096, 106), (8192, 120)][which];
            let ring = ring(n, bits);
            let q = ring.modulus.value();
            let evaluate = |integers: &[u128]| {
                let residue = |q: &Modulus| integers.iter().map(|&a| q.reduce(a)).collect::<Vec<_>>();
                let mut values: Vec<u64> = ring.limbs().flat_map(|(q, _)| residue(q)).collect();
                ring.basis().forward(&mut values);
                values
            };
            let interpolate = |mut values: Vec<u64>| {
                ring.basis().inverse(&mut values);
                (0..n).map(|index| ring.join(&values, index)).collect::<Vec<_>>()
            };
            let a = interpolate(ring.evaluate_uniform(&Seed::derive(&seed, "a", 0)));
            prop_assert!(a.iter().all(|&a| a < q) && a.iter().any(|&a| a >> (bits - 4) != 0));
            let b: Vec<(usize, u128)> =
                places.iter().map(|&place| (place * (n / 1024), q - 1 - place as u128)).collect();
            let mut dense = vec![0; n];
            b.iter().for_each(|&(place, value)| dense[place] = value);
            let factor = evaluate(&a);
            prop_assert_eq!(&interpolate(factor.clone()), &a);
            let product = interpolate(ring.basis().multiply(&factor, &evaluate(&dense)));
            for k in (0..n).step_by(n / 64) {
                let mut expected = BigUint::ZERO;
                for (j, &value) in dense.iter().enumerate().filter(|(_, value)| **value != 0) {
                    let term = BigUint::from(a[(k + n - j) % n]) * value;
                    // X^N = -1.
                    expected += if k >= j { term } else { term * (q - 1) };
                }
                prop_assert_eq!(BigUint::from(product[k]), expected % q);
            }
        }
    }
}
