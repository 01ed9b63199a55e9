//! Merging the leaves of a response: a binary tree whose nodes take one key switch each.
//!
//! A node of spacing h has two parts whose wanted coefficients sit at multiples of 2h, and computes
//! `E + X^h*O + auto(E - X^h*O)` with `auto: X -> X^(N/h + 1)`: twice the wanted coefficients of E, and
//! between them those of O. Leaves come with a factor `2^-m` mod q. If O is absent, so is what would
//! land on its places, and the node is `2*E`: n leaves take `n - 1` key switches. The tree runs depth
//! first, and leaves are made when they are due: it holds one node a level. Source: [CDKS21, Section 3.2].

use crate::galois::shift_and_part;
use crate::key_switch::{DigitBuffers, GaloisKey};
use crate::ring::Basis;
use crate::simd::vectorised;
use crate::{HeError, Ring};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Merged leaves. Secret to the server until an encryption of zero is added.
pub(crate) struct Node {
    /// Evaluations mod `q*P`, divided by P mod q.
    pub(crate) c0: Zeroizing<Vec<u64>>,
    /// Residues of coefficients mod q.
    pub(crate) c1: Zeroizing<Vec<u64>>,
}

/// The tree of one response.
pub(crate) struct Tree<'a, F> {
    ring: &'a Ring,
    /// The keys of the levels, from the leaves up.
    keys: Vec<&'a GaloisKey>,
    /// Number of leaves that are present.
    leaves: usize,
    /// Makes a leaf: evaluations mod q, times `2^-m`.
    leaf: F,
    buffers: Buffers,
}

/// What one node needs for a while.
#[derive(Zeroize, ZeroizeOnDrop)]
struct Buffers {
    /// Residues mod q.
    difference: Vec<u64>,
    /// Residues mod `q*P`.
    shifted: Vec<u64>,
    /// Residues mod `q*P`.
    switched: Vec<u64>,
    digits: DigitBuffers,
}

impl<'a, F: FnMut(usize) -> [Vec<u64>; 2]> Tree<'a, F> {
    /// The tree of the first `leaves` leaves, at least 2, with the keys of the levels from the leaves up.
    pub(crate) fn new(ring: &'a Ring, keys: Vec<&'a GaloisKey>, leaves: usize, leaf: F) -> Self {
        let extended = || vec![0; ring.extended_basis().polynomial_words()];
        let buffers = Buffers {
            difference: vec![0; ring.polynomial_words()],
            shifted: extended(),
            switched: extended(),
            digits: DigitBuffers::new(ring),
        };
        Self { ring, keys, leaves, leaf, buffers }
    }

    /// The whole tree; `mask` holds evaluations mod q that are added to its c1.
    pub(crate) fn merge(&mut self, mask: &[u64]) -> Result<Node, HeError> {
        self.node(0, 0, mask)
    }

    /// What is merged of the leaves `first + i * 2^depth`.
    fn node(&mut self, depth: usize, first: usize, mask: &[u64]) -> Result<Node, HeError> {
        let Some(&key) = self.keys.len().checked_sub(depth + 1).and_then(|i| self.keys.get(i))
        else {
            return Ok(self.leaf(first));
        };
        let mut even = self.node(depth + 1, first, &[])?;
        let second = first + (1 << depth);
        if second < self.leaves {
            let odd = self.node(depth + 1, second, &[])?;
            merge_pair(self.ring, key, &mut self.buffers, &mut even, odd, mask);
        } else {
            double(self.ring.extended_basis(), &mut even.c0);
            double(self.ring.basis(), &mut even.c1);
        }
        Ok(even)
    }

    fn leaf(&mut self, index: usize) -> Node {
        let [sum, mut c1] = (self.leaf)(index).map(Zeroizing::new);
        self.ring.basis().inverse(&mut c1);
        // To grow the sum could leave a copy of it behind.
        let mut c0 = Zeroizing::new(vec![0; self.ring.extended_basis().polynomial_words()]);
        c0[..sum.len()].copy_from_slice(&sum);
        Node { c0, c1 }
    }
}

/// The order in which the first `leaves` of `2^levels` leaves are due: indices with their bits reversed.
/// Who makes several leaves at a time, or in parallel, keeps the fewest if it makes them in this order.
pub fn leaf_order(levels: u32, leaves: usize) -> impl Iterator<Item = usize> {
    let reverse =
        move |index: usize| index.reverse_bits().checked_shr(usize::BITS - levels).unwrap_or(0);
    (0..1 << levels).map(reverse).filter(move |&leaf| leaf < leaves)
}

/// Twice the residues.
pub(crate) fn double(basis: Basis<'_>, values: &mut [u64]) {
    for (modulus, limb) in basis.places() {
        let values = &mut values[limb];
        vectorised(|| values.iter_mut().for_each(|value| *value = modulus.add(*value, *value)));
    }
}

/// Adds residues.
pub(crate) fn add(basis: Basis<'_>, sums: &mut [u64], others: &[u64]) {
    for (modulus, limb) in basis.places() {
        let pairs = sums[limb.clone()].iter_mut().zip(&others[limb]);
        vectorised(|| pairs.for_each(|(sum, &other)| *sum = modulus.add(*sum, other)));
    }
}

/// Merges `odd` into `even`, and `mask` with it.
fn merge_pair(
    ring: &Ring,
    key: &GaloisKey,
    buffers: &mut Buffers,
    even: &mut Node,
    mut odd: Node,
    mask: &[u64],
) {
    let (basis, extended) = (ring.basis(), ring.extended_basis());
    let automorphism = &key.automorphism;
    let Buffers { difference, shifted, switched, digits } = buffers;
    for (modulus, limb) in basis.places() {
        let (even, odd) = (&mut even.c1[limb.clone()], &odd.c1[limb.clone()]);
        shift_and_part(modulus, key.spacing(), even, odd, &mut difference[limb]);
    }
    shifted.fill(0);
    extended.multiply_add(shifted, &odd.c0, automorphism.shift());
    for (modulus, limb) in extended.places() {
        let (even, odd) = (&mut even.c0[limb.clone()], &mut odd.c0[limb.clone()]);
        let shifted = &shifted[limb];
        vectorised(|| {
            for ((even, difference), &shifted) in even.iter_mut().zip(&mut *odd).zip(shifted) {
                *difference = modulus.sub(*even, shifted);
                *even = modulus.add(*even, shifted);
            }
            for (even, image) in even.iter_mut().zip(automorphism.permute(odd)) {
                *even = modulus.add(*even, image);
            }
        });
    }
    switched.fill(0);
    switched[..mask.len()].copy_from_slice(mask);
    key.switch(ring, difference, [&mut even.c0, switched], digits);
    extended.inverse(switched);
    key.divide(ring, switched);
    add(basis, &mut even.c1, switched);
}
