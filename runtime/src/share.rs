//! Shares: planes of bits, and words mod a power of two. Zeroised when dropped, never printed.

use heq_ir::protocol::plane_bytes;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Arithmetic shares, one word an element; bits above the ring's width are zero.
pub type Words = Zeroizing<Vec<u64>>;

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
        Self(vec![0; elements.div_ceil(64)])
    }

    /// All ones.
    #[must_use]
    pub fn ones(elements: usize) -> Self {
        Self::from_bits(elements, std::iter::repeat(1))
    }

    /// The plane of `elements` bits (0 or 1 each) from an iterator of at least as many.
    pub fn from_bits(elements: usize, bits: impl IntoIterator<Item = u64>) -> Self {
        let mut plane = Self::zeros(elements);
        for (index, bit) in bits.into_iter().take(elements).enumerate() {
            plane.0[index / 64] |= bit << (index % 64);
        }
        plane
    }

    /// The plane whose words are given; bits beyond `elements` must be zero.
    #[must_use]
    pub fn from_words(words: &[u64]) -> Self {
        Self(words.to_vec())
    }

    /// Bit `index`, 0 or 1.
    #[must_use]
    pub fn bit(&self, index: usize) -> u64 {
        self.0[index / 64] >> (index % 64) & 1
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
        assert_eq!(self.0.len(), other.0.len());
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a ^= b);
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
        let bytes = elements.div_ceil(8);
        message.extend(self.0.iter().flat_map(|word| word.to_le_bytes()).take(bytes));
    }
}

/// Splits a received message into planes of `elements` bits each, ignoring padding bits.
pub(crate) fn read_planes(message: &[u8], elements: usize) -> impl Iterator<Item = Plane> {
    let bytes = usize::try_from(plane_bytes(elements)).unwrap_or(usize::MAX).max(1);
    message.chunks_exact(bytes).map(move |chunk| {
        let mut plane = Plane::zeros(elements);
        for (word, part) in plane.0.iter_mut().zip(chunk.chunks(8)) {
            let mut padded = [0; 8];
            padded[..part.len()].copy_from_slice(part);
            *word = u64::from_le_bytes(padded);
        }
        if !elements.is_multiple_of(64)
            && let Some(last) = plane.0.last_mut()
        {
            *last &= (1 << (elements % 64)) - 1;
        }
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
    fn masks() {
        assert_eq!([mask(0), mask(1), mask(63), mask(64)], [0, 1, u64::MAX >> 1, u64::MAX]);
    }
}
