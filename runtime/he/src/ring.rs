//! One parameter set with its tables, and polynomials as residues of each prime.
//!
//! A polynomial is a vector of limbs, one after the other: N residues or evaluations mod the first
//! prime, then N mod the second if q is a product of two. Transforms and products go limb by limb;
//! integers mod q are joined from residues by the Chinese remainder theorem.

use crate::modulus::{Modulus, ShoupFactor, low, wide};
use crate::ntt::NttTable;
use crate::sampling::Seed;
use crate::wide::WideModulus;
use heq_ir::params::RlweParams;
use std::ops::Range;
use zeroize::Zeroizing;

/// One parameter set with its tables, shared by all keys and ciphertexts that use it.
#[derive(Clone, Debug)]
pub struct Ring {
    params: RlweParams,
    limbs: Vec<NttTable>,
    joint: Option<Joint>,
    pub(crate) modulus: WideModulus,
}

/// What joins residues mod two primes: `x0 + p0*((x1 - x0)/p0 mod p1)`.
#[derive(Clone, Debug)]
struct Joint {
    first: u64,
    second: Modulus,
    /// A multiple of p1 that is not below p0.
    offset: u64,
    /// `1/p0 mod p1`.
    inverse: ShoupFactor,
}

/// A polynomial by its coefficients, wiped when dropped.
pub(crate) struct Coefficients<'a> {
    joint: Option<&'a Joint>,
    residues: Zeroizing<Vec<u64>>,
}

impl Ring {
    /// Tables of a parameter set.
    #[must_use]
    pub fn new(params: RlweParams) -> Self {
        let tables = params.primes().map(|p| NttTable::new(params.ring_degree(), Modulus::new(p)));
        let limbs: Vec<_> = tables.collect();
        let joint = match limbs.as_slice() {
            [first, second] => Some(Joint::new(first.modulus().value(), *second.modulus())),
            _ => None,
        };
        Self { modulus: WideModulus::new(params.modulus()), params, limbs, joint }
    }

    /// The parameter set.
    #[must_use]
    pub fn params(&self) -> &RlweParams {
        &self.params
    }

    /// Every prime with the place of its limb in a polynomial.
    pub(crate) fn limbs(&self) -> impl Iterator<Item = (&Modulus, Range<usize>)> {
        let n = self.params.ring_degree();
        self.limbs.iter().zip(0..).map(move |(ntt, i)| (ntt.modulus(), i * n..(i + 1) * n))
    }

    /// Words of a polynomial: N for every limb.
    pub(crate) fn polynomial_words(&self) -> usize {
        self.limbs.len() * self.params.ring_degree()
    }

    /// Sums of products of residues as residues, limb by limb.
    pub(crate) fn reduce(&self, sums: &[u128]) -> Vec<u64> {
        let mut values = Vec::with_capacity(sums.len());
        for (modulus, limb) in self.limbs() {
            values.extend(sums[limb].iter().map(|&sum| modulus.reduce(sum)));
        }
        values
    }

    /// Integers in `[0, q)` as the evaluations of the polynomial with these coefficients.
    pub(crate) fn evaluate(&self, coefficients: &[u128]) -> Vec<u64> {
        let mut values = Vec::with_capacity(self.polynomial_words());
        for ntt in &self.limbs {
            match self.joint {
                None => values.extend(coefficients.iter().map(|&c| low(c))),
                Some(_) => values.extend(coefficients.iter().map(|&c| ntt.modulus().reduce(c))),
            }
        }
        self.forward(&mut values);
        values
    }

    /// The coefficients of a polynomial given by evaluations.
    pub(crate) fn interpolate(&self, evaluations: Vec<u64>) -> Coefficients<'_> {
        let mut residues = Zeroizing::new(evaluations);
        for (limb, ntt) in residues.chunks_exact_mut(self.params.ring_degree()).zip(&self.limbs) {
            ntt.inverse(limb);
        }
        Coefficients { joint: self.joint.as_ref(), residues }
    }

    /// Evaluations of the polynomial with the given coefficients; others are zero.
    ///
    /// Coefficients are signed integers of magnitude below every prime, positions below N: layouts and
    /// parameters are checked for both.
    pub(crate) fn evaluate_sparse(
        &self,
        coefficients: impl Iterator<Item = (usize, i64)>,
    ) -> Vec<u64> {
        let mut dense = Zeroizing::new(vec![0; self.params.ring_degree()]);
        for (position, value) in coefficients {
            dense[position] = value;
        }
        self.evaluate_signed(&dense)
    }

    /// Evaluations of a polynomial whose coefficients are all drawn from `sample`.
    pub(crate) fn evaluate_random(&self, sample: impl FnMut() -> i64) -> Vec<u64> {
        let samples = std::iter::repeat_with(sample).take(self.params.ring_degree());
        self.evaluate_signed(&Zeroizing::new(samples.collect::<Vec<_>>()))
    }

    fn evaluate_signed(&self, coefficients: &[i64]) -> Vec<u64> {
        let mut values = Vec::with_capacity(self.polynomial_words());
        for ntt in &self.limbs {
            values.extend(coefficients.iter().map(|&c| ntt.modulus().residue(c)));
        }
        self.forward(&mut values);
        values
    }

    /// Evaluations of the uniform polynomial of a public seed: a polynomial that is uniform mod q has
    /// independent uniform evaluations mod every prime.
    pub(crate) fn evaluate_uniform(&self, seed: &Seed) -> Vec<u64> {
        let moduli = self.limbs.iter().map(NttTable::modulus);
        seed.expand_uniform(self.params.ring_degree(), moduli)
    }

    fn forward(&self, values: &mut [u64]) {
        for (limb, ntt) in values.chunks_exact_mut(self.params.ring_degree()).zip(&self.limbs) {
            ntt.forward(limb);
        }
    }
}

impl Joint {
    fn new(first: u64, second: Modulus) -> Self {
        Self {
            first,
            second,
            offset: second.value() * first.div_ceil(second.value()),
            inverse: second.shoup(second.inverse(first % second.value())),
        }
    }

    fn join(&self, x0: u64, x1: u64) -> u128 {
        let digit = self.second.mul_lazy(x1 + self.offset - x0, self.inverse);
        u128::from(x0) + wide(self.first, self.second.normalise(digit))
    }
}

impl Coefficients<'_> {
    /// Coefficient `index`, in `[0, q)`.
    pub(crate) fn at(&self, index: usize) -> u128 {
        match self.joint {
            None => u128::from(self.residues[index]),
            Some(joint) => {
                let second = self.residues.len() / 2 + index;
                joint.join(self.residues[index], self.residues[second])
            }
        }
    }

    /// All coefficients, in `[0, q)`.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = u128> {
        let limbs = if self.joint.is_some() { 2 } else { 1 };
        (0..self.residues.len() / limbs).map(|index| self.at(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heq_ir::params::RlweSpec;
    use num_bigint::BigUint;
    use proptest::prelude::*;

    fn ring(ring_degree: usize, modulus_bits: u32) -> Ring {
        Ring::new(RlweParams::check(RlweSpec { ring_degree, modulus_bits }).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn products_agree_with_big_integers(
            which in 0..6_usize, seed: [u8; 32], places in prop::collection::vec(0..1024_usize, 1..6),
        ) {
            let (n, bits) =
                [(1024, 26), (2048, 53), (4096, 61), (4096, 62), (4096, 105), (8192, 120)][which];
            let ring = ring(n, bits);
            let q = ring.modulus.value();
            let a = ring.interpolate(ring.evaluate_uniform(&Seed::derive(&seed, "a", 0)));
            let a: Vec<u128> = a.iter().collect();
            prop_assert!(a.iter().all(|&a| a < q) && a.iter().any(|&a| a >> (bits - 4) != 0));
            let b: Vec<(usize, u128)> =
                places.iter().map(|&place| (place * (n / 1024), q - 1 - place as u128)).collect();
            let mut dense = vec![0; n];
            b.iter().for_each(|&(place, value)| dense[place] = value);
            let mut product = ring.evaluate(&a);
            prop_assert!(ring.interpolate(product.clone()).iter().eq(a.iter().copied()));
            let factors = ring.evaluate(&dense);
            for (modulus, limb) in ring.limbs() {
                limb.for_each(|i| product[i] = modulus.mul(product[i], factors[i]));
            }
            let product = ring.interpolate(product);
            for k in (0..n).step_by(n / 64) {
                let mut expected = BigUint::ZERO;
                for (j, &value) in dense.iter().enumerate().filter(|(_, value)| **value != 0) {
                    let term = BigUint::from(a[(k + n - j) % n]) * value;
                    // X^N = -1.
                    expected += if k >= j { term } else { term * (q - 1) };
                }
                prop_assert_eq!(BigUint::from(product.at(k)), expected % q);
            }
        }
    }
}
