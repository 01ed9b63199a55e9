//! Negacyclic number-theoretic transform over `Z_q[X]/(X^N+1)`.
//!
//! Forward: coefficients in natural order to evaluations in bit-reversed order; inverse: the other
//! way. Products in the ring are pointwise products of evaluations. Constant time. Every path gives
//! the same words, whatever the processor: both parties expand seeds into evaluations.
//! Source: [LN16, Algorithms 1 and 2], [Har14, Section 3].

#[cfg(target_arch = "x86_64")]
mod fma;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod portable;

use crate::modulus::Modulus;

/// The transform of one ring and prime.
#[derive(Clone, Debug)]
pub(crate) struct NttTable {
    modulus: Modulus,
    kernel: Kernel,
}

/// Twiddle factors in the form that one path takes.
#[derive(Clone, Debug)]
enum Kernel {
    Portable(portable::Twiddles),
    #[cfg(target_arch = "x86_64")]
    Fma(fma::Twiddles),
    #[cfg(target_arch = "x86_64")]
    Ifma(ifma::Twiddles),
}

/// The powers from which twiddle factors are made, in bit-reversed order.
struct Roots {
    modulus: Modulus,
    /// Powers of a 2N-th root of unity.
    forward: Vec<u64>,
    /// Powers of its inverse.
    inverse: Vec<u64>,
    /// `1/N`.
    inverse_degree: u64,
}

impl Roots {
    fn new(ring_degree: usize, modulus: Modulus) -> Self {
        let root = primitive_root(2 * ring_degree as u64, &modulus);
        let powers = |base: u64| {
            let mut powers = vec![1; ring_degree];
            let mut power = 1;
            for index in 0..ring_degree {
                powers[reverse_bits(index, ring_degree.trailing_zeros())] = power;
                power = modulus.mul(power, base);
            }
            powers
        };
        Self {
            modulus,
            forward: powers(root),
            inverse: powers(modulus.inverse(root)),
            inverse_degree: modulus.inverse(ring_degree as u64),
        }
    }
}

impl Kernel {
    /// The fastest path that this processor, ring and prime can take.
    fn fastest(roots: &Roots) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(kernel) = ifma::Twiddles::new(roots)
            .map(Self::Ifma)
            .or_else(|| fma::Twiddles::new(roots).map(Self::Fma))
        {
            return kernel;
        }
        Self::Portable(portable::Twiddles::new(roots))
    }
}

impl NttTable {
    /// The table of the ring of degree N (a power of two) with `q = 1 mod 2N`.
    pub(crate) fn new(ring_degree: usize, modulus: Modulus) -> Self {
        let roots = Roots::new(ring_degree, modulus);
        Self { modulus, kernel: Kernel::fastest(&roots) }
    }

    /// The prime.
    pub(crate) fn modulus(&self) -> &Modulus {
        &self.modulus
    }

    /// Coefficients to evaluations, both canonical.
    pub(crate) fn forward(&self, values: &mut [u64]) {
        match &self.kernel {
            Kernel::Portable(twiddles) => twiddles.forward(values),
            #[cfg(target_arch = "x86_64")]
            Kernel::Fma(twiddles) => twiddles.forward(values),
            #[cfg(target_arch = "x86_64")]
            Kernel::Ifma(twiddles) => twiddles.forward(values),
        }
    }

    /// Evaluations to coefficients, both canonical.
    pub(crate) fn inverse(&self, values: &mut [u64]) {
        match &self.kernel {
            Kernel::Portable(twiddles) => twiddles.inverse(values),
            #[cfg(target_arch = "x86_64")]
            Kernel::Fma(twiddles) => twiddles.inverse(values),
            #[cfg(target_arch = "x86_64")]
            Kernel::Ifma(twiddles) => twiddles.inverse(values),
        }
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

    /// Every path that this processor, ring and prime can take.
    fn every_path(ring_degree: usize, modulus: Modulus) -> Vec<NttTable> {
        let roots = Roots::new(ring_degree, modulus);
        let mut kernels = vec![Kernel::Portable(portable::Twiddles::new(&roots))];
        #[cfg(target_arch = "x86_64")]
        {
            kernels.extend(fma::Twiddles::new(&roots).map(Kernel::Fma));
            kernels.extend(ifma::Twiddles::new(&roots).map(Kernel::Ifma));
        }
        kernels.into_iter().map(|kernel| NttTable { modulus, kernel }).collect()
    }

    /// The largest and the smallest prime `1 mod 2N` of `bits` bits.
    fn primes(ring_degree: usize, bits: u32) -> impl Iterator<Item = u64> {
        let step = 2 * ring_degree as u64;
        let (low, high) = (((1 << (bits - 1)) / step).max(1), (1 << bits) / step);
        let prime = move |&k: &u64| is_prime(k * step + 1);
        let found = [(low..high).rev().find(prime), (low..high).find(prime)];
        found.into_iter().flatten().map(move |k| k * step + 1)
    }

    /// Fermat's test to a few bases: enough for numbers of this form in a test.
    fn is_prime(q: u64) -> bool {
        let modulus = Modulus::new(q);
        [2, 3, 5, 7, 11, 13].iter().all(|&base| modulus.pow_vt(base, q - 1) == 1)
    }

    #[test]
    fn all_paths_give_the_same_words() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        for ring_degree in [64, 128, 1024, 2048, 4096, 8192] {
            for q in (14..=50).flat_map(|bits| primes(ring_degree, bits)) {
                let [portable, others @ ..] = &every_path(ring_degree, Modulus::new(q))[..] else {
                    unreachable!()
                };
                let mut draw =
                    |span| (0..ring_degree).map(|_| q - 1 - rng.next_u64() % span).collect();
                let inputs: [Vec<u64>; 3] = [vec![q - 1; ring_degree], draw(2), draw(q)];
                for input in &inputs {
                    let [mut forward, mut inverse] = [input.clone(), input.clone()];
                    portable.forward(&mut forward);
                    portable.inverse(&mut inverse);
                    for path in others {
                        let [mut ours, mut back] = [input.clone(), input.clone()];
                        path.forward(&mut ours);
                        assert!(ours == forward, "N = {ring_degree}, q = {q}, forward");
                        path.inverse(&mut back);
                        assert!(back == inverse, "N = {ring_degree}, q = {q}, inverse");
                    }
                }
            }
        }
    }

    #[test]
    fn products_agree_with_schoolbook() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for (ring_degree, modulus_bits) in
            [(1024, 26), (2048, 40), (2048, 50), (4096, 100), (8192, 120)]
        {
            let params = RlweParams::check(RlweSpec::new(ring_degree, modulus_bits)).unwrap();
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
