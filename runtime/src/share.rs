//! Shares: planes of bits, and words mod a power of two. Zeroised when dropped, never printed.

use heq_ir::protocol::plane_bytes;
use std::ops::Range;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Arithmetic shares, one word an element; bits above the ring's width are zero.
pub type Words = Zeroizing<Vec<u64>>;

/// Elements of a word of a plane.
const WORD_BITS: usize = u64::BITS as usize;

/// A party's share of one bit of every element, 64 elements a word; unused bits are zero.
#[derive(Clone, Default, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Plane(Vec<u64>);

impl std::fmt::Debug for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plane(..)")
    }
}

/// The low `bits` bits set.
#[must_use]
pub fn mask(bits: u32) -> u64 {
    u64::MAX.checked_shr(u64::BITS.saturating_sub(bits)).unwrap_or(0)
}

impl Plane {
    /// All zeros.
    #[must_use]
    pub fn zeros(elements: usize) -> Self {
        Self(vec![0; elements.div_ceil(WORD_BITS)])
    }

    /// All zeros, of the length of this one.
    pub(crate) fn zeros_alike(&self) -> Self {
        Self(vec![0; self.0.len()])
    }

    /// All ones.
    #[must_use]
    pub fn ones(elements: usize) -> Self {
        let mut plane = Self(vec![u64::MAX; elements.div_ceil(WORD_BITS)]);
        plane.clear_unused(elements);
        plane
    }

    /// The plane of `elements` bits (0 or 1 each) from an iterator of at least as many.
    pub fn from_bits(elements: usize, bits: impl IntoIterator<Item = u64>) -> Self {
        let mut plane = Self::zeros(elements);
        let mut bits = bits.into_iter().take(elements);
        for word in &mut plane.0 {
            for (place, bit) in bits.by_ref().take(WORD_BITS).enumerate() {
                *word |= bit << place;
            }
        }
        plane
    }

    /// The plane whose words are given; bits beyond `elements` must be zero.
    #[must_use]
    pub fn from_words(words: &[u64]) -> Self {
        Self(words.to_vec())
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// The words, to be changed; bits beyond the elements must stay zero.
    #[must_use]
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }

    /// Bit `index`, 0 or 1.
    #[must_use]
    pub fn bit(&self, index: usize) -> u64 {
        self.0[index / WORD_BITS] >> (index % WORD_BITS) & 1
    }

    /// Exclusive or.
    ///
    /// # Panics
    /// If the planes have different lengths; planes of one circuit have one.
    #[must_use]
    pub fn xor(&self, other: &Self) -> Self {
        assert_eq!(self.0.len(), other.0.len());
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a ^ b).collect())
    }

    /// Conjunction of bits that this party knows.
    ///
    /// # Panics
    /// If the planes have different lengths.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        assert_eq!(self.0.len(), other.0.len());
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    /// Adds `other` in place, as exclusive or.
    ///
    /// # Panics
    /// If the planes have different lengths.
    pub fn xor_assign(&mut self, other: &Self) {
        self.xor_words(&other.0);
    }

    /// Adds the words of a plane in place, as exclusive or.
    pub(crate) fn xor_words(&mut self, other: &[u64]) {
        assert_eq!(self.0.len(), other.len());
        self.0.iter_mut().zip(other).for_each(|(a, b)| *a ^= b);
    }

    /// Takes the bits of `other` where `selector` is set.
    pub(crate) fn select(&mut self, other: &Self, selector: &Self) {
        assert!(self.0.len() == other.0.len() && self.0.len() == selector.0.len());
        for ((a, b), selector) in self.0.iter_mut().zip(&other.0).zip(&selector.0) {
            *a ^= (*a ^ b) & selector;
        }
    }

    /// Exchanges the bits of `self` and `other` where `selector` is set.
    pub(crate) fn exchange(&mut self, other: &mut Self, selector: &Self) {
        assert!(self.0.len() == other.0.len() && self.0.len() == selector.0.len());
        for ((a, b), selector) in self.0.iter_mut().zip(&mut other.0).zip(&selector.0) {
            let difference = (*a ^ *b) & selector;
            *a ^= difference;
            *b ^= difference;
        }
    }

    /// Adds `bit`, 0 or 1, to the bits of the elements in `range`, as exclusive or.
    pub(crate) fn flip(&mut self, range: Range<usize>, bit: u64) {
        let last = range.end.div_ceil(WORD_BITS);
        for index in range.start / WORD_BITS..last {
            let first = index * WORD_BITS;
            let mut places = u64::MAX << range.start.saturating_sub(first);
            if range.end - first < WORD_BITS {
                places &= (1 << (range.end - first)) - 1;
            }
            self.0[index] ^= bit.wrapping_neg() & places;
        }
    }

    /// The part of the plane that starts with element `start`, a multiple of 64, and has at most
    /// `elements` elements.
    pub(crate) fn part(&self, start: usize, elements: usize) -> Self {
        let words = &self.0[start / WORD_BITS..];
        Self(words[..words.len().min(elements.div_ceil(WORD_BITS))].to_vec())
    }

    /// The plane whose bit `i` is bit `sources[i]` of this one, zero where there is no source.
    #[must_use]
    pub fn gather(&self, sources: &[Option<usize>]) -> Self {
        Self::from_bits(
            sources.len(),
            sources.iter().map(|source| source.map_or(0, |index| self.bit(index))),
        )
    }

    /// Appends the plane to a message.
    pub fn write_to(&self, message: &mut Vec<u8>, elements: usize) {
        let start = message.len();
        message.resize(start + elements.div_ceil(8), 0);
        let (whole, rest) = message[start..].as_chunks_mut();
        whole.iter_mut().zip(&self.0).for_each(|(bytes, word)| *bytes = word.to_le_bytes());
        if let Some(last) = self.0.get(whole.len()) {
            rest.copy_from_slice(&last.to_le_bytes()[..rest.len()]);
        }
    }

    /// Sets the part of the plane that starts with element `start`, a multiple of 64.
    pub(crate) fn set_part(&mut self, start: usize, part: &Self) {
        self.0[start / WORD_BITS..][..part.0.len()].copy_from_slice(&part.0);
    }

    fn clear_unused(&mut self, elements: usize) {
        if !elements.is_multiple_of(WORD_BITS)
            && let Some(last) = self.0.last_mut()
        {
            *last &= (1 << (elements % WORD_BITS)) - 1;
        }
    }
}

/// The low `bits` bits of `words` as planes, lowest first.
#[must_use]
pub fn planes_of_words(words: &[u64], bits: u32) -> Vec<Plane> {
    let mut planes = vec![Plane::zeros(words.len()); bits as usize];
    let mut square = Zeroizing::new([0; WORD_BITS]);
    for (index, chunk) in words.chunks(WORD_BITS).enumerate() {
        square[..chunk.len()].copy_from_slice(chunk);
        square[chunk.len()..].fill(0);
        transpose(&mut square);
        planes.iter_mut().zip(square.iter()).for_each(|(plane, word)| plane.0[index] = *word);
    }
    planes
}

/// The words of `elements` elements whose bits are `planes`, lowest first, at most 64 of them.
#[must_use]
pub fn words_of_planes(planes: &[Plane], elements: usize) -> Words {
    let mut words: Words = Zeroizing::new(vec![0; elements]);
    let mut square = Zeroizing::new([0; WORD_BITS]);
    for (index, chunk) in words.chunks_mut(WORD_BITS).enumerate() {
        square.fill(0);
        square.iter_mut().zip(planes).for_each(|(word, plane)| *word = plane.0[index]);
        transpose(&mut square);
        chunk.copy_from_slice(&square[..chunk.len()]);
    }
    words
}

/// Transposes in place: bit `c` of `square[r]` becomes bit `r` of `square[c]`; [War12, section 7-3].
fn transpose(square: &mut [u64; WORD_BITS]) {
    let mut width = WORD_BITS / 2;
    let mut mask = u64::MAX >> width;
    while width > 0 {
        for pair in square.chunks_exact_mut(2 * width) {
            let (upper, lower) = pair.split_at_mut(width);
            for (a, b) in upper.iter_mut().zip(lower) {
                let difference = ((*a >> width) ^ *b) & mask;
                *b ^= difference;
                *a ^= difference << width;
            }
        }
        width /= 2;
        mask ^= mask << width;
    }
}

/// Splits a received message into planes of `elements` bits each, ignoring padding bits.
pub(crate) fn read_planes(message: &[u8], elements: usize) -> impl Iterator<Item = Plane> {
    let bytes = usize::try_from(plane_bytes(elements)).unwrap_or(usize::MAX).max(1);
    message.chunks_exact(bytes).map(move |chunk| {
        let mut words = Vec::with_capacity(elements.div_ceil(WORD_BITS));
        let (whole, rest) = chunk.as_chunks();
        words.extend(whole.iter().map(|bytes| u64::from_le_bytes(*bytes)));
        if !rest.is_empty() {
            let mut padded = [0; 8];
            padded[..rest.len()].copy_from_slice(rest);
            words.push(u64::from_le_bytes(padded));
        }
        let mut plane = Plane(words);
        plane.clear_unused(elements);
        plane
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_round_trip_at_every_length() {
        for elements in [1, 7, 8, 9, 63, 64, 65, 130] {
            let plane = Plane::from_bits(elements, (0..).map(|i: u64| (i * i / 3) & 1));
            let mut message = Vec::new();
            plane.write_to(&mut message, elements);
            Plane::ones(elements).write_to(&mut message, elements);
            assert_eq!(message.len() as u64, 2 * plane_bytes(elements));
            let read: Vec<Plane> = read_planes(&message, elements).collect();
            assert!(read == [plane, Plane::ones(elements)], "{elements}");
        }
    }

    #[test]
    fn parts_and_ranges() {
        let plane = Plane::from_bits(200, (0..).map(|i: u64| (i * i / 3) & 1));
        let mut copy = Plane::zeros(200);
        for start in [0, 64, 128, 192] {
            copy.set_part(start, &plane.part(start, 64));
        }
        assert!(copy == plane);
        for (range, bit) in
            [(0..200, 1), (3..5, 1), (60..64, 1), (63..129, 1), (64..64, 1), (7..9, 0)]
        {
            let mut flipped = plane.clone();
            flipped.flip(range.clone(), bit);
            let flip = |i: usize| bit * u64::from(range.contains(&i));
            let expected = Plane::from_bits(200, (0..200).map(|i| plane.bit(i) ^ flip(i)));
            assert!(flipped == expected, "{range:?}");
        }
    }

    #[test]
    fn words_are_planes_of_their_bits() {
        for (elements, bits) in [(0, 3), (1, 64), (63, 5), (64, 17), (65, 1), (200, 48)] {
            let words: Vec<u64> = (0..elements)
                .map(|i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask(bits))
                .collect();
            let planes = planes_of_words(&words, bits);
            assert_eq!(planes.len(), bits as usize);
            for (bit, plane) in planes.iter().enumerate() {
                let expected = Plane::from_bits(words.len(), words.iter().map(|w| w >> bit & 1));
                assert!(*plane == expected, "{elements} {bit}");
            }
            assert_eq!(*words_of_planes(&planes, words.len()), words);
        }
    }

    #[test]
    fn masks() {
        assert_eq!([mask(0), mask(1), mask(63), mask(64)], [0, 1, u64::MAX >> 1, u64::MAX]);
    }
}
