//! Negacyclic number-theoretic transform over `Z_q[X]/(X^N+1)`.
//!
//! Forward: coefficients in natural order to evaluations in bit-reversed order; inverse: the other
//! way. Products in the ring are pointwise products of evaluations. Constant time. Lazy butterflies
//! keep values below 4q. Source: [LN16, Algorithms 1 and 2], [Har14, Section 3].

use crate::modulus::{Modulus, ShoupFactor};

/// Twiddle factors of one ring and prime.
#[derive(Clone, Debug)]
pub(crate) struct NttTable {
    modulus: Modulus,
    /// Powers of the 2N-th root of unity in bit-reversed order.
    roots: Vec<ShoupFactor>,
    /// Powers of its inverse in bit-reversed order.
    inverse_roots: Vec<ShoupFactor>,
    inverse_degree: ShoupFactor,
}

impl NttTable {
    /// The table of the ring of degree N (a power of two) with `q = 1 mod 2N`.
    pub(crate) fn new(ring_degree: usize, modulus: Modulus) -> Self {
        let root = primitive_root(2 * ring_degree as u64, &modulus);
        let inverse_root = modulus.inverse(root);
        let powers = |base: u64| {
            let mut factors = vec![modulus.shoup(1); ring_degree];
            let mut power = 1;
            for index in 0..ring_degree {
                factors[reverse_bits(index, ring_degree.trailing_zeros())] = modulus.shoup(power);
                power = modulus.mul(power, base);
            }
            factors
        };
        Self {
            modulus,
            roots: powers(root),
            inverse_roots: powers(inverse_root),
            inverse_degree: modulus.shoup(modulus.inverse(ring_degree as u64)),
        }
    }

    /// The prime.
    pub(crate) fn modulus(&self) -> &Modulus {
        &self.modulus
    }

    /// Coefficients to evaluations, both canonical.
    pub(crate) fn forward(&self, values: &mut [u64]) {
        let modulus = &self.modulus;
        let two_q = 2 * modulus.value();
        let mut half = values.len();
        let mut blocks = 1;
        while half > 1 {
            half /= 2;
            for (block, root) in values.chunks_exact_mut(2 * half).zip(&self.roots[blocks..]) {
                let (left, right) = block.split_at_mut(half);
                for (u, v) in left.iter_mut().zip(right) {
                    let a = modulus.halve_range(*u);
                    let b = modulus.mul_lazy(*v, *root);
                    *u = a + b;
                    *v = a + two_q - b;
                }
            }
            blocks *= 2;
        }
        values.iter_mut().for_each(|value| *value = modulus.normalise(*value));
    }

    /// Evaluations to coefficients, both canonical.
    pub(crate) fn inverse(&self, values: &mut [u64]) {
        let modulus = &self.modulus;
        let two_q = 2 * modulus.value();
        let mut half = 1;
        let mut blocks = values.len() / 2;
        while blocks >= 1 {
            let roots = &self.inverse_roots[blocks..];
            for (block, root) in values.chunks_exact_mut(2 * half).zip(roots) {
                let (left, right) = block.split_at_mut(half);
                for (u, v) in left.iter_mut().zip(right) {
                    let (a, b) = (*u, *v);
                    *u = modulus.halve_range(a + b);
                    *v = modulus.mul_lazy(a + two_q - b, *root);
                }
            }
            half *= 2;
            blocks /= 2;
        }
        let scale = |value: u64| modulus.normalise(modulus.mul_lazy(value, self.inverse_degree));
        values.iter_mut().for_each(|value| *value = scale(*value));
    }
}

fn reverse_bits(index: usize, bits: u32) -> usize {
    if bits == 0 { 0 } else { index.reverse_bits() >> (usize::BITS - bits) }
}

/// An element of order exactly `order` (a power of two that divides q - 1).
fn primitive_root(order: u64, modulus: &Modulus) -> u64 {
    let q = modulus.value();
    (2..q)
        .map(|base| modulus.pow_vt(base, (q - 1) / order))
        .find(|&root| modulus.pow_vt(root, order / 2) == q - 1)
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use heq_ir::params::{RlweParams, RlweSpec};
    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    fn schoolbook(a: &[u64], b: &[u64], modulus: &Modulus) -> Vec<u64> {
        let n = a.len();
        let mut product = vec![0; n];
        for (i, &x) in a.iter().enumerate() {
            for (j, &y) in b.iter().enumerate() {
                let term = modulus.mul(x, y);
                let slot = &mut product[(i + j) % n];
                *slot = if i + j < n { modulus.add(*slot, term) } else { modulus.sub(*slot, term) };
            }
        }
        product
    }

    #[test]
    fn products_agree_with_schoolbook() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for (ring_degree, modulus_bits) in
            [(1024, 26), (2048, 40), (2048, 53), (4096, 61), (8192, 120)]
        {
            let params = RlweParams::check(RlweSpec { ring_degree, modulus_bits }).unwrap();
            let modulus = Modulus::new(params.primes().last().unwrap());
            let table = NttTable::new(ring_degree, modulus);
            let mut draw =
                || (0..ring_degree).map(|_| rng.next_u64() % modulus.value()).collect::<Vec<_>>();
            let (a, b) = (draw(), draw());
            let (mut fa, mut fb) = (a.clone(), b.clone());
            table.forward(&mut fa);
            table.forward(&mut fb);
            let mut product: Vec<u64> =
                fa.iter().zip(&fb).map(|(&x, &y)| modulus.mul(x, y)).collect();
            table.inverse(&mut product);
            assert_eq!(product, schoolbook(&a, &b, &modulus), "{params}");
            table.inverse(&mut fa);
            assert_eq!(fa, a, "{params}");
        }
    }
}
