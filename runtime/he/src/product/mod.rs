//! The hot loop of a linear layer: `sum(c*w)` over tiles for both parts of the requests, as a linear
//! scan of the weights at the speed of memory.
//!
//! Evaluations of consecutive polynomials are kept limb by limb as `[N / 32][tiles][32]`: the sums of a
//! block of 32 evaluations stay in registers over all tiles and are reduced once. Evaluations mod a
//! prime below 2^32 share a word in pairs; weights mod a prime below 2^48 take whole bytes, where the
//! processor can spread them. Constant time.

#[cfg(target_arch = "x86_64")]
mod ifma;
mod portable;

use crate::modulus::{Modulus, ShoupFactor};
use crate::ring::{Basis, Limb};
use std::ops::Range;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Evaluations of one polynomial that lie together.
const LANES: usize = 32;

/// Primes of at most this many bits have two evaluations in a word.
const NARROW_BITS: u32 = 32;

/// Bytes of an evaluation in a pair.
const PAIRED: usize = 4;

/// Bytes of an evaluation in a word of its own.
const WORD: usize = 8;

/// Products mod one prime.
#[derive(Clone, Debug)]
pub(crate) struct Multiplier {
    modulus: Modulus,
    kernel: Kernel,
}

#[derive(Clone, Debug)]
enum Kernel {
    Portable(portable::Kernel),
    #[cfg(target_arch = "x86_64")]
    Ifma(ifma::Kernel),
}

/// Eight words on a cache line of their own: a vector that lies on two takes twice as long to load.
#[derive(Clone, Copy, Zeroize)]
#[repr(align(64))]
struct Line([u64; 8]);

/// Polynomials in the order in which they are scanned.
#[derive(Zeroize, ZeroizeOnDrop)]
struct Tiles {
    len: usize,
    limbs: Vec<Plane>,
}

/// One limb of consecutive polynomials.
#[derive(Zeroize)]
struct Plane {
    /// Bytes of an evaluation.
    width: usize,
    /// Lines of one block of all polynomials.
    stride: usize,
    lines: Vec<Line>,
}

/// Requests of consecutive tiles as evaluations. Secret to the server.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RequestBlock {
    parts: [Tiles; 2],
}

/// The weight polynomials whose products with consecutive requests are summed. Secret to the server.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct WeightRow {
    tiles: Tiles,
    /// For each limb, what every weight is multiplied by.
    #[zeroize(skip)]
    scale: Vec<ShoupFactor>,
}

impl std::fmt::Debug for RequestBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RequestBlock(..)")
    }
}

impl std::fmt::Debug for WeightRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WeightRow(..)")
    }
}

impl Multiplier {
    pub(crate) fn new(modulus: Modulus) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(kernel) = ifma::Kernel::new(&modulus) {
            return Self { modulus, kernel: Kernel::Ifma(kernel) };
        }
        Self { modulus, kernel: Kernel::Portable(portable::Kernel::new(modulus)) }
    }

    /// Adds the products of residues `a` and `b` to the residues in `sum`.
    pub(crate) fn multiply_add(&self, sum: &mut [u64], a: &[u64], b: &[u64]) {
        match &self.kernel {
            Kernel::Portable(kernel) => kernel.multiply_add(sum, a, b),
            #[cfg(target_arch = "x86_64")]
            Kernel::Ifma(kernel) => kernel.multiply_add(sum, a, b),
        }
    }

    /// Adds the sums over tiles of both parts times weights, of one block, to the residues in `sums`.
    fn add_block(&self, parts: [&[Line]; 2], weights: &[Line], sums: [&mut [u64; LANES]; 2]) {
        match &self.kernel {
            Kernel::Portable(kernel) if self.is_narrow() => {
                kernel.add_block::<true>(parts, weights, sums);
            }
            Kernel::Portable(kernel) => kernel.add_block::<false>(parts, weights, sums),
            #[cfg(target_arch = "x86_64")]
            Kernel::Ifma(kernel) => kernel.add_block(self.weight_width(), parts, weights, sums),
        }
    }

    /// Puts the evaluations of a polynomial into its place `index` in every block.
    fn place(&self, plane: &mut Plane, index: usize, evaluations: &[u64]) {
        let blocks = plane.lines.chunks_exact_mut(plane.stride);
        let blocks = blocks.zip(evaluations.as_chunks().0);
        match &self.kernel {
            Kernel::Portable(_) => {
                blocks.for_each(|(block, lanes)| portable::place(plane.width, block, index, lanes));
            }
            #[cfg(target_arch = "x86_64")]
            Kernel::Ifma(kernel) => kernel.place(plane.width, blocks, index),
        }
    }

    fn is_narrow(&self) -> bool {
        self.modulus.value() >> NARROW_BITS == 0
    }

    /// Bytes of an evaluation of a request.
    fn request_width(&self) -> usize {
        if self.is_narrow() { PAIRED } else { WORD }
    }

    /// Bytes of an evaluation of a weight polynomial.
    fn weight_width(&self) -> usize {
        match &self.kernel {
            Kernel::Portable(_) => self.request_width(),
            #[cfg(target_arch = "x86_64")]
            Kernel::Ifma(_) => ifma::weight_width(self.modulus.value()),
        }
    }
}

impl Plane {
    /// Room for `capacity` polynomials of `blocks` blocks.
    fn new(width: usize, blocks: usize, capacity: usize) -> Self {
        let stride = (capacity * width * LANES).div_ceil(size_of::<Line>());
        Self { width, stride, lines: vec![Line([0; 8]); blocks * stride] }
    }

    /// One block of the polynomials in `range`, whose start is on a line.
    fn block(&self, block: usize, range: Range<usize>) -> &[Line] {
        let bytes = [range.start, range.end].map(|index| index * self.width * LANES);
        let [start, end] = bytes.map(|bytes| bytes.div_ceil(size_of::<Line>()));
        &self.lines[block * self.stride..][start..end]
    }
}

impl Tiles {
    fn new(basis: Basis<'_>, capacity: usize, width: impl Fn(&Multiplier) -> usize) -> Self {
        let blocks = basis.ring_degree() / LANES;
        let plane = |limb: &Limb| Plane::new(width(&limb.multiplier), blocks, capacity);
        Self { len: 0, limbs: basis.limbs.iter().map(plane).collect() }
    }
}

impl RequestBlock {
    /// Room for the requests of `tiles` tiles.
    #[must_use]
    pub fn with_capacity(basis: Basis<'_>, tiles: usize) -> Self {
        Self { parts: [(); 2].map(|()| Tiles::new(basis, tiles, Multiplier::request_width)) }
    }

    /// Adds the evaluations of the next request; there must be room.
    pub fn push(&mut self, basis: Basis<'_>, c0: &[u64], c1: &[u64]) {
        for (tiles, part) in self.parts.iter_mut().zip([c0, c1]) {
            let limbs = basis.limbs.iter().zip(&mut tiles.limbs);
            for ((limb, plane), (_, place)) in limbs.zip(basis.places()) {
                limb.multiplier.place(plane, tiles.len, &part[place]);
            }
            tiles.len += 1;
        }
    }

    /// Number of requests.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts[0].len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl WeightRow {
    /// Room for `tiles` weight polynomials.
    #[must_use]
    pub fn with_capacity(basis: Basis<'_>, tiles: usize) -> Self {
        Self::halved(basis, tiles, 0)
    }

    /// Room for `tiles` weight polynomials, each to be multiplied by `2^-halvings mod q`.
    #[must_use]
    pub fn halved(basis: Basis<'_>, tiles: usize, halvings: u32) -> Self {
        let scale = basis.places().map(|(modulus, _)| {
            let half = modulus.value().div_ceil(2);
            modulus.shoup(modulus.pow_vt(half, u64::from(halvings)))
        });
        let tiles = Tiles::new(basis, tiles, Multiplier::weight_width);
        Self { tiles, scale: scale.collect() }
    }

    /// Adds the polynomials with weight `w` at each `(coefficient, w)`; there must be room.
    ///
    /// Coefficients are below N; weights at one place add up.
    pub fn extend<P: Iterator<Item = (usize, i64)>>(
        &mut self,
        basis: Basis<'_>,
        polynomials: impl Iterator<Item = P>,
    ) {
        let mut evaluations = Zeroizing::new(vec![0; basis.ring_degree()]);
        let mut weights = Zeroizing::new(Vec::new());
        for polynomial in polynomials {
            weights.clear();
            // Not collected: nested iterators are fast from within only.
            polynomial.for_each(|weight| weights.push(weight));
            let limbs = basis.limbs.iter().zip(&mut self.tiles.limbs);
            for ((limb, plane), &scale) in limbs.zip(&self.scale) {
                evaluations.fill(0);
                for &(place, value) in weights.iter() {
                    let modulus = limb.ntt.modulus();
                    let scaled = modulus.scale_signed(value, scale);
                    evaluations[place] = modulus.add(evaluations[place], scaled);
                }
                limb.ntt.forward(&mut evaluations);
                limb.multiplier.place(plane, self.tiles.len, &evaluations);
            }
            basis.operations.count_weight_transforms(basis.limbs.len());
            self.tiles.len += 1;
        }
    }

    /// Forgets all polynomials and keeps the room.
    pub fn clear(&mut self) {
        self.tiles.len = 0;
    }

    /// Number of polynomials.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tiles.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that the weights take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tiles.limbs.iter().map(|plane| size_of_val(&plane.lines[..])).sum()
    }
}

/// `sum(c0*w)` and `sum(c1*w)` as evaluations, over the requests from `first` on and all of `weights`.
///
/// The sums are unmasked: an encryption of zero is to be added before anything leaves.
#[must_use]
pub fn sum_products(
    basis: Basis<'_>,
    requests: &RequestBlock,
    first: usize,
    weights: &WeightRow,
) -> [Vec<u64>; 2] {
    let mut sums = [[(); 2].map(|()| vec![0; basis.polynomial_words()])];
    add_products(basis, requests, first, &[weights], &mut sums);
    let [sums] = sums;
    sums
}

/// Adds to both parts of each of `sums` the sums of products of one of `rows` and the requests from
/// `first` on, as [`sum_products`] gives them. A few rows at a time find the requests in the cache.
///
/// There are as many rows as sums.
pub fn add_products(
    basis: Basis<'_>,
    requests: &RequestBlock,
    first: usize,
    rows: &[&WeightRow],
    sums: &mut [[Vec<u64>; 2]],
) {
    debug_assert_eq!(rows.len(), sums.len());
    let products: usize = rows.iter().map(|row| row.len()).sum();
    basis.operations.count_products(products * basis.limbs.len());
    for (index, (limb, (_, place))) in basis.limbs.iter().zip(basis.places()).enumerate() {
        for block in 0..basis.ring_degree() / LANES {
            for (row, sums) in rows.iter().zip(&mut *sums) {
                let parts = requests.parts.each_ref();
                let parts =
                    parts.map(|part| part.limbs[index].block(block, first..first + row.len()));
                let weights = row.tiles.limbs[index].block(block, 0..row.len());
                let sums =
                    sums.each_mut().map(|sum| &mut sum[place.clone()].as_chunks_mut().0[block]);
                limb.multiplier.add_block(parts, weights, sums);
            }
        }
    }
}

#[cfg(test)]
mod tests;
