//! Products on any processor: sums of 128 bits.

use super::{LANES, Line, NARROW_BITS, PAIRED};
use crate::modulus::{Modulus, wide};

#[derive(Clone, Debug)]
pub(super) struct Kernel {
    modulus: Modulus,
    /// Products summed before a reduction: they stay below 2^128.
    lazy_products: usize,
}

impl Kernel {
    pub(super) fn new(modulus: Modulus) -> Self {
        let product_bits = 2 * (u64::BITS - modulus.value().leading_zeros());
        Self { modulus, lazy_products: 1 << (u128::BITS - product_bits).min(20) }
    }

    pub(super) fn multiply_add(&self, sum: &mut [u64], a: &[u64], b: &[u64]) {
        for ((sum, &a), &b) in sum.iter_mut().zip(a).zip(b) {
            *sum = self.modulus.reduce(wide(a, b) + u128::from(*sum));
        }
    }

    pub(super) fn add_block<const NARROW: bool>(
        &self,
        parts: [&[Line]; 2],
        weights: &[Line],
        sums: [&mut [u64; LANES]; 2],
    ) {
        let block_lines = if NARROW { LANES / 16 } else { LANES / 8 };
        let lazy_lines = self.lazy_products * block_lines;
        for (part, sums) in parts.into_iter().zip(sums) {
            for (part, weights) in part.chunks(lazy_lines).zip(weights.chunks(lazy_lines)) {
                let mut wide_sums = [0; LANES];
                let pairs = part.chunks_exact(block_lines);
                for (c, w) in pairs.zip(weights.chunks_exact(block_lines)) {
                    add_products::<NARROW>(&mut wide_sums, c, w);
                }
                for (sum, wide_sum) in sums.iter_mut().zip(wide_sums) {
                    *sum = self.modulus.add(*sum, self.modulus.reduce(wide_sum));
                }
            }
        }
    }
}

/// Puts evaluations of `width` bytes into place `index` of a block.
pub(super) fn place(width: usize, block: &mut [Line], index: usize, lanes: &[u64; LANES]) {
    if width == PAIRED {
        let slot = &mut block.as_chunks_mut::<{ LANES / 16 }>().0[index];
        for (line, lanes) in slot.iter_mut().zip(lanes.as_chunks::<16>().0) {
            let (lower, upper) = lanes.split_at(8);
            line.0 = std::array::from_fn(|k| lower[k] | upper[k] << NARROW_BITS);
        }
    } else {
        let slot = &mut block.as_chunks_mut::<{ LANES / 8 }>().0[index];
        slot.iter_mut().zip(lanes.as_chunks().0).for_each(|(line, lanes)| line.0 = *lanes);
    }
}

#[inline]
fn add_products<const NARROW: bool>(sums: &mut [u128; LANES], c: &[Line], w: &[Line]) {
    let words = c.iter().zip(w).map(|(c, w)| c.0.into_iter().zip(w.0));
    if NARROW {
        let lower = |word: u64| word & ((1 << NARROW_BITS) - 1);
        for (sums, words) in sums.as_chunks_mut::<16>().0.iter_mut().zip(words) {
            let (first, second) = sums.split_at_mut(8);
            for ((first, second), (c, w)) in first.iter_mut().zip(second).zip(words) {
                *first += u128::from(lower(c) * lower(w));
                *second += u128::from((c >> NARROW_BITS) * (w >> NARROW_BITS));
            }
        }
    } else {
        sums.iter_mut().zip(words.flatten()).for_each(|(sum, (c, w))| *sum += wide(c, w));
    }
}
