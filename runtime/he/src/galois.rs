//! The automorphisms `X -> X^(N/h + 1)` that merge responses, and the shifts `X^h` that go with them.
//!
//! An automorphism permutes coefficients up to signs, and permutes evaluations: index i of a transform
//! is the value at the `(2*rev(i) + 1)`-th power of a root of order 2N, `rev` reversing the bits.
//! All indices are public. Source: [CDKS21, Section 3.2].

use crate::Ring;
use crate::modulus::Modulus;
use crate::simd::vectorised;

/// `X -> X^(N/h + 1)` and `X^h` in one ring.
#[derive(Clone, Debug)]
pub(crate) struct Automorphism {
    spacing: usize,
    /// For coefficient k of an image, the coefficient that it comes from.
    coefficients: Vec<u32>,
    /// Whether it comes with the opposite sign: all ones, else zero.
    signs: Vec<i64>,
    /// For index i of the evaluations of an image, the index that it comes from.
    evaluations: Vec<u32>,
    /// Evaluations of `X^h` mod `q*P`.
    shift: Vec<u64>,
}

impl Automorphism {
    /// The automorphism of spacing h, a power of two below N.
    pub(crate) fn new(ring: &Ring, spacing: usize) -> Self {
        let n = ring.params().ring_degree();
        let exponent = n / spacing + 1;
        let (mut coefficients, mut signs) = (vec![0; n], vec![0; n]);
        for (index, from) in (0..n).zip(0_u32..) {
            let image = index * exponent % (2 * n);
            coefficients[image % n] = from;
            signs[image % n] = if image < n { 0 } else { -1 };
        }
        let bits = n.trailing_zeros();
        let reverse = |index: usize| index.reverse_bits() >> (usize::BITS - bits);
        let source = |index: usize| reverse((2 * reverse(index) + 1) * exponent % (2 * n) / 2);
        let basis = ring.extended_basis();
        let mut shift = vec![0; basis.polynomial_words()];
        shift.iter_mut().skip(spacing).step_by(n).for_each(|coefficient| *coefficient = 1);
        basis.forward(&mut shift);
        let evaluations = (0..n).map(|i| u32::try_from(source(i)).unwrap_or(0)).collect();
        Self { spacing, coefficients, signs, evaluations, shift }
    }

    /// The spacing h.
    pub(crate) fn spacing(&self) -> usize {
        self.spacing
    }

    /// Evaluations of `X^h` mod `q*P`.
    pub(crate) fn shift(&self) -> &[u64] {
        &self.shift
    }

    /// One limb of evaluations of an image from those of its source.
    pub(crate) fn permute<'a>(&'a self, limb: &'a [u64]) -> impl Iterator<Item = u64> + 'a {
        self.evaluations.iter().map(|&source| limb[source as usize])
    }

    /// Every coefficient of an image: that of its source, and a sign as all ones or zero.
    pub(crate) fn sources(&self) -> impl ExactSizeIterator<Item = (usize, i64)> + '_ {
        self.coefficients.iter().zip(&self.signs).map(|(&source, &sign)| (source as usize, sign))
    }
}

/// Sum and difference of one limb of coefficients and of `X^h` times another: the sum replaces the
/// first, the difference goes to `difference`.
pub(crate) fn shift_and_part(
    modulus: &Modulus,
    spacing: usize,
    even: &mut [u64],
    odd: &[u64],
    difference: &mut [u64],
) {
    let (kept, out) = odd.split_at(odd.len() - spacing);
    let (even_low, even_high) = even.split_at_mut(spacing);
    let (low, high) = difference.split_at_mut(spacing);
    vectorised(|| {
        // X^N = -1: what is shifted out at the top comes back with the opposite sign.
        for ((even, difference), &odd) in even_low.iter_mut().zip(low).zip(out) {
            (*even, *difference) = (modulus.sub(*even, odd), modulus.add(*even, odd));
        }
        for ((even, difference), &odd) in even_high.iter_mut().zip(high).zip(kept) {
            (*even, *difference) = (modulus.add(*even, odd), modulus.sub(*even, odd));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::Seed;
    use heq_ir::params::{KeySwitchSpec, RlweParams, RlweSpec};

    #[test]
    fn coefficients_and_evaluations_agree() {
        for (ring_degree, modulus_bits, special_bits) in [(2048, 36, 17), (4096, 70, 30)] {
            let key_switch = Some(KeySwitchSpec { special_bits, digits: 2 });
            let spec = RlweSpec { ring_degree, modulus_bits, key_switch };
            let ring = Ring::new(RlweParams::check(spec).unwrap());
            let basis = ring.extended_basis();
            for spacing in [1, 2, 8, ring_degree / 4] {
                let automorphism = Automorphism::new(&ring, spacing);
                let evaluations = basis.evaluate_uniform(&Seed::derive(&[1; 32], "a", 0));
                let mut coefficients = evaluations.clone();
                basis.inverse(&mut coefficients);
                let shifted = {
                    let mut product = basis.multiply(&evaluations, automorphism.shift());
                    basis.inverse(&mut product);
                    product
                };
                for (modulus, limb) in basis.places() {
                    let source = &coefficients[limb.clone()];
                    let mut image: Vec<u64> =
                        automorphism
                            .sources()
                            .map(|(from, sign)| {
                                if sign == 0 { source[from] } else { modulus.sub(0, source[from]) }
                            })
                            .collect();
                    // The definition, on the first coefficients.
                    for (index, &coefficient) in source.iter().enumerate().take(9) {
                        let to = index * (ring_degree / spacing + 1) % (2 * ring_degree);
                        let value = image[to % ring_degree];
                        let value = if to < ring_degree { value } else { modulus.sub(0, value) };
                        assert_eq!(value, coefficient);
                    }
                    let table = basis.limbs.iter().find(|l| l.ntt.modulus() == modulus).unwrap();
                    table.ntt.forward(&mut image);
                    let permuted = automorphism.permute(&evaluations[limb.clone()]);
                    assert!(permuted.eq(image.iter().copied()), "{ring_degree} {spacing}");
                    let (mut even, mut difference) = (vec![0; ring_degree], vec![0; ring_degree]);
                    shift_and_part(modulus, spacing, &mut even, source, &mut difference);
                    assert_eq!(even, shifted[limb]);
                    assert!(even.iter().zip(&difference).all(|(&a, &b)| modulus.add(a, b) == 0));
                }
            }
        }
    }
}
