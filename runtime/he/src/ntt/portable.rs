//! The transform on any processor, for primes up to 61 bits. Lazy butterflies keep values below 4q.

use super::Roots;
use crate::modulus::{Modulus, ShoupFactor};

/// Twiddle factors in bit-reversed order.
#[derive(Clone, Debug)]
pub(super) struct Twiddles {
    modulus: Modulus,
    roots: Vec<ShoupFactor>,
    inverse_roots: Vec<ShoupFactor>,
    inverse_degree: ShoupFactor,
}

impl Twiddles {
    pub(super) fn new(roots: &Roots) -> Self {
        let modulus = roots.modulus;
        let shoup = |powers: &[u64]| powers.iter().map(|&power| modulus.shoup(power)).collect();
        Self {
            modulus,
            roots: shoup(&roots.forward),
            inverse_roots: shoup(&roots.inverse),
            inverse_degree: modulus.shoup(roots.inverse_degree),
        }
    }

    pub(super) fn forward(&self, values: &mut [u64]) {
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

    pub(super) fn inverse(&self, values: &mut [u64]) {
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
