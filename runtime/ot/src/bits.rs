//! Packed choice bits.
//!
//! The receiver's choices, in base OT (the complement of Delta) and in random OT (column `u_0`).
//! Invariants: the words hold exactly the bits needed, spare bits of the last word are zero, and
//! the words are zeroized on drop.

use core::fmt;

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bits in a word of the packing.
const WORD_BITS: usize = 64;

/// A sequence of secret choice bits: bit `i` is bit `i mod 64` of word `i / 64`.
///
/// **Security**: `Debug` shows the length alone.
#[derive(Clone, Default, Zeroize, ZeroizeOnDrop)]
pub struct ChoiceBits {
    words: Vec<u64>,
    #[zeroize(skip)]
    len: usize,
}

impl ChoiceBits {
    /// The first `len` bits of `words`; words beyond them are dropped, missing ones are zero.
    #[must_use]
    pub fn from_words(mut words: Vec<u64>, len: usize) -> Self {
        words.resize(len.div_ceil(WORD_BITS), 0);
        if let Some(last) = words.last_mut() {
            *last &= low_mask((len - 1) % WORD_BITS + 1);
        }
        Self { words, len }
    }

    /// `len` uniform bits.
    pub fn random<R: CryptoRng + ?Sized>(len: usize, rng: &mut R) -> Self {
        let words = (0..len.div_ceil(WORD_BITS)).map(|_| rng.next_u64()).collect();
        Self::from_words(words, len)
    }

    /// Number of bits.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no bit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bit `index`, or `None` past the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<bool> {
        (index < self.len).then(|| (self.words[index / WORD_BITS] >> (index % WORD_BITS)) & 1 == 1)
    }

    /// The packed words; spare bits of the last one are zero.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The bits in order.
    pub fn iter(&self) -> impl Iterator<Item = bool> + '_ {
        (0..self.len).map(|i| (self.words[i / WORD_BITS] >> (i % WORD_BITS)) & 1 == 1)
    }

    /// No bits, with room for `len` of them: pushing up to `len` never reallocates, so that no
    /// copy of the bits is left behind.
    pub(crate) fn with_capacity(len: usize) -> Self {
        Self { words: Vec::with_capacity(len.div_ceil(WORD_BITS)), len: 0 }
    }

    /// Appends the `width <= 64` low bits of `bits`, whose other bits are zero.
    fn push_bits(&mut self, bits: u64, width: usize) {
        let shift = self.len % WORD_BITS;
        match self.words.last_mut() {
            Some(last) if shift > 0 => {
                *last |= bits << shift;
                if shift + width > WORD_BITS {
                    self.words.push(bits >> (WORD_BITS - shift));
                }
            }
            _ => self.words.push(bits),
        }
        self.len += width;
    }
}

impl FromIterator<bool> for ChoiceBits {
    fn from_iter<I: IntoIterator<Item = bool>>(bits: I) -> Self {
        let bits = bits.into_iter();
        let mut packed = Self::with_capacity(bits.size_hint().0);
        for bit in bits {
            packed.push_bits(u64::from(bit), 1);
        }
        packed
    }
}

impl fmt::Debug for ChoiceBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChoiceBits").field("len", &self.len).finish_non_exhaustive()
    }
}

/// The word with ones in its `width <= 64` low bits.
fn low_mask(width: usize) -> u64 {
    if width >= WORD_BITS { u64::MAX } else { (1 << width) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_words_clears_the_spare_bits() {
        for (len, expected) in
            [(0, vec![]), (1, vec![1]), (64, vec![u64::MAX]), (65, vec![u64::MAX, 1])]
        {
            assert_eq!(ChoiceBits::from_words(vec![u64::MAX; 3], len).words(), expected, "{len}");
        }
        assert_eq!(ChoiceBits::from_words(vec![], 70).words(), [0, 0]);
    }

    #[test]
    fn get_stops_at_the_end() {
        let bits = ChoiceBits::from_words(vec![0b10], 2);
        assert_eq!([bits.get(0), bits.get(1), bits.get(2)], [Some(false), Some(true), None]);
    }
}
