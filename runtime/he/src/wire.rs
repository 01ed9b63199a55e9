//! Polynomials on the wire: residues without their low bits, packed without gaps.
//!
//! A sender floors, the receiver rebuilds at one of the two middle values of the dropped range with a
//! fair coin, so that the error has mean zero: rounding half up has a bias that weights of equal sign
//! add up.

use crate::sampling::Stream;
use crate::simd::vectorised;
use crate::{HeError, Ring};
use heq_ir::packing::{pack_bits, unpack_bits, unpack_wide_bits};
use heq_mutation::broken;
use rand_core::CryptoRng;
use std::ops::Range;

/// The coefficients of a polynomial that travel: as many as `length` from `start` on, mod N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    start: usize,
    length: usize,
    ring_degree: usize,
}

impl Window {
    /// A window as [`heq_ir::layout::ConvLayout::request_window`] gives it; no longer than N.
    #[must_use]
    pub fn new(ring: &Ring, (start, length): (usize, usize)) -> Self {
        let ring_degree = ring.params().ring_degree();
        Self { start: start % ring_degree, length: length.min(ring_degree), ring_degree }
    }

    /// All coefficients.
    #[must_use]
    pub fn whole(ring: &Ring) -> Self {
        Self::new(ring, (0, ring.params().ring_degree()))
    }

    /// Number of coefficients.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The coefficients, those up to N before those from 0 on.
    pub(crate) fn ranges(&self) -> [Range<usize>; 2] {
        let end = self.start + self.length;
        [self.start..end.min(self.ring_degree), 0..end.saturating_sub(self.ring_degree)]
    }

    /// Coefficient `index` of the window.
    #[inline]
    fn place(&self, index: usize) -> usize {
        let place = self.start + index;
        if place < self.ring_degree { place } else { place - self.ring_degree }
    }
}

/// Encodes the integers mod q in a window of a polynomial with `drop_bits` low bits left out.
pub(crate) fn encode_residues(
    ring: &Ring,
    residues: &[u64],
    window: Window,
    drop_bits: u32,
) -> Vec<u8> {
    let bits = ring.modulus.bits() - drop_bits;
    if ring.narrow.is_some() {
        let [first, second] = window.ranges().map(|range| &residues[range]);
        let mut words = [first, second].concat();
        vectorised(|| words.iter_mut().for_each(|word| *word >>= drop_bits));
        return pack_bits(words.into_iter(), bits);
    }
    let places = (0..window.length).map(|index| window.place(index));
    pack_bits(places.map(|place| ring.join(residues, place) >> drop_bits), bits)
}

/// Decodes and rebuilds the residues in a window; others are zero.
///
/// # Errors
/// [`HeError::MessageLength`], or [`HeError::Residue`] if one is not below q: a peer that follows the
/// protocol never sends such a word.
pub(crate) fn decode_residues<R: CryptoRng>(
    ring: &Ring,
    bytes: &[u8],
    window: Window,
    drop_bits: u32,
    rng: &mut R,
) -> Result<Vec<u64>, HeError> {
    let bits = ring.modulus.bits() - drop_bits;
    let mut coins = Stream::secret(rng);
    let mut residues = vec![0; ring.polynomial_words()];
    if let Some(modulus) = &ring.narrow {
        let q = modulus.value();
        let mut words = unpack_bits(bytes, bits, window.length)?;
        vectorised(|| words.iter_mut().for_each(|word| *word <<= drop_bits));
        let is_wrong = vectorised(|| words.iter().fold(false, |any, &word| any | (word >= q)));
        if is_wrong
            && !broken!(
                "residues of one prime may be any words",
                "heq-he lib residues_not_below_the_modulus_are_refused"
            )
        {
            let index = words.iter().position(|&word| word >= q).unwrap_or(0);
            return Err(HeError::Residue { index });
        }
        for words in words.chunks_mut(64) {
            let (middle, coins) = (1_u64 << drop_bits >> 1, toss(drop_bits, &mut coins));
            vectorised(|| {
                for (word, index) in words.iter_mut().zip(0..) {
                    *word = modulus.normalise(*word + middle - (coins >> index & 1));
                }
            });
        }
        let [first, second] = window.ranges();
        let (lower, upper) = words.split_at(first.len());
        residues[first].copy_from_slice(lower);
        residues[second].copy_from_slice(upper);
        return Ok(residues);
    }
    let words = unpack_wide_bits(bytes, bits, window.length)?;
    for (first, words) in (0..).step_by(64).zip(words.chunks(64)) {
        let (middle, coins) = (1_u128 << drop_bits >> 1, toss(drop_bits, &mut coins));
        for (place, word) in words.iter().enumerate() {
            let (index, floor) = (first + place, word << drop_bits);
            let is_wrong = floor >= ring.modulus.value();
            if is_wrong
                && !broken!(
                    "residues of several primes may be any words",
                    "heq-he lib residues_not_below_the_modulus_are_refused"
                )
            {
                return Err(HeError::Residue { index });
            }
            let rebuilt = floor + middle - u128::from(coins >> place & 1);
            let rebuilt = ring.modulus.normalise(rebuilt);
            for (modulus, limb) in ring.limbs() {
                residues[limb.start + window.place(index)] = modulus.reduce(rebuilt);
            }
        }
    }
    Ok(residues)
}

/// 64 fair coins, or zeros if no bits were dropped.
fn toss(drop_bits: u32, stream: &mut Stream) -> u64 {
    if broken!(
        "dropped bits are rebuilt upward",
        "heq-he lib noise_has_mean_zero_by_ties_broken_at_random, heq-tests leakage noise_stays_within_the_bound_whatever_the_weights_are"
    ) {
        return 0;
    }
    if drop_bits == 0 { 0 } else { stream.next_word() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heq_ir::params::{RlweParams, RlweSpec};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    const CASES: [(usize, u32, u32); 7] = [
        (2048, 30, 0),
        (2048, 30, 1),
        (2048, 30, 9),
        (8192, 107, 0),
        (8192, 107, 4),
        (8192, 107, 40),
        (2048, 53, 20),
    ];

    fn ring(ring_degree: usize, modulus_bits: u32) -> Ring {
        Ring::new(RlweParams::check(RlweSpec::new(ring_degree, modulus_bits)).unwrap())
    }

    /// Mean and variance of what rebuilding `drop_bits` adds, in units of `2^drop_bits`.
    fn moments(ring: &Ring, drop_bits: u32, rng: &mut ChaCha20Rng) -> (f64, f64) {
        let n = ring.params().ring_degree();
        let (q, runs) = (ring.modulus.value(), 60_000 / n);
        let width = f64::from(drop_bits).exp2();
        let mut errors = Vec::new();
        for run in 0..runs {
            let integers: Vec<u128> =
                (0..n).map(|i| (run * n + i) as u128 * ((q / 61_757) | 1) % q).collect();
            let residues: Vec<u64> = ring
                .limbs()
                .flat_map(|(p, _)| integers.iter().map(|&a| p.reduce(a)).collect::<Vec<_>>())
                .collect();
            let window = Window::whole(ring);
            let bytes = encode_residues(ring, &residues, window, drop_bits);
            let rebuilt = decode_residues(ring, &bytes, window, drop_bits, rng).unwrap();
            errors.extend(integers.iter().enumerate().map(|(index, &integer)| {
                let error = ring.modulus.sub(ring.join(&rebuilt, index), integer);
                ring.modulus.centred(error) as f64 / width
            }));
        }
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        (mean, errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64)
    }

    #[test]
    fn dropped_bits_are_rebuilt_without_bias() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        for (ring_degree, modulus_bits, drop_bits) in CASES {
            let (mean, variance) = moments(&ring(ring_degree, modulus_bits), drop_bits, &mut rng);
            let width = f64::from(drop_bits).exp2();
            let expected = if drop_bits == 0 { 0.0 } else { (1.0 + 2.0 / (width * width)) / 12.0 };
            let case = (ring_degree, modulus_bits, drop_bits);
            assert!(mean.abs() <= 1.0 / 60.0, "{case:?}: mean {mean}");
            assert!((variance - expected).abs() <= 0.03 * expected, "{case:?}: {variance}");
        }
    }

    #[test]
    fn only_the_window_travels() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        for (ring_degree, modulus_bits, drop_bits) in CASES {
            let ring = ring(ring_degree, modulus_bits);
            let n = ring_degree;
            let residues: Vec<u64> = (0..ring.polynomial_words() as u64).collect();
            for (start, length) in [(0, n), (5, 7), (n - 3, 10), (n - 1, n), (9, 0)] {
                let window = Window::new(&ring, (start, length));
                let bytes = encode_residues(&ring, &residues, window, 0);
                assert_eq!(bytes.len() as u64, ring.params().coefficient_bytes(length, 0));
                let decoded = decode_residues(&ring, &bytes, window, 0, &mut rng).unwrap();
                for (index, (&found, &sent)) in decoded.iter().zip(&residues).enumerate() {
                    let is_sent = (index % n + n - start) % n < length;
                    assert_eq!(found, if is_sent { sent } else { 0 }, "{start} {length} {index}");
                }
                let dropped = encode_residues(&ring, &residues, window, drop_bits);
                assert_eq!(
                    dropped.len() as u64,
                    ring.params().coefficient_bytes(length, drop_bits)
                );
            }
        }
    }

    #[test]
    fn residues_not_below_the_modulus_are_refused() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        for (ring_degree, modulus_bits, drop_bits) in CASES {
            let ring = ring(ring_degree, modulus_bits);
            let last = (ring.modulus.value() - 1) >> drop_bits;
            // The next word may still be one of modulus_bits - drop_bits bits.
            let bits = modulus_bits - drop_bits;
            if (last + 1) >> bits != 0 {
                continue;
            }
            let bytes = pack_bits([last, last + 1].into_iter(), bits);
            let window = Window::new(&ring, (3, 2));
            assert_eq!(
                decode_residues(&ring, &bytes, window, drop_bits, &mut rng),
                Err(HeError::Residue { index: 1 })
            );
        }
    }
}
