//! The 128-bit block: OT pads, tree nodes, seeds, rows of the extension matrix.
//!
//! Everything secret in this crate is made of blocks, so the type keeps three invariants: it is
//! never printed, it is compared in constant time, and containers of it can be zeroized. Bit `i` of
//! a block is the bit of weight `2^i`; byte encodings are little-endian.

use core::fmt;
use core::ops::{BitAnd, BitXor, BitXorAssign};

use rand_core::CryptoRng;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::DefaultIsZeroes;

/// A string of [`Block::BITS`] bits, usually secret.
///
/// **Security**: `==` takes the same time for all values, and `Debug` hides the value.
#[derive(Clone, Copy, Default)]
#[repr(C, align(16))]
pub struct Block {
    /// Low word, high word: unlike `u128`, loops over words are vectorised by the compiler.
    words: [u64; 2],
}

impl Block {
    /// Length in bits.
    pub const BITS: usize = 128;

    /// Length of the encoding, in bytes.
    pub const BYTES: usize = 16;

    /// The block whose bits are all zero.
    pub const ZERO: Self = Self::from_words(0, 0);

    /// The block whose bits are all one.
    pub(crate) const ONES: Self = Self::from_words(u64::MAX, u64::MAX);

    /// The block whose bit `i` is the bit of weight `2^i` of `value`.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "each cast keeps one half on purpose")]
    pub const fn new(value: u128) -> Self {
        Self::from_words(value as u64, (value >> 64) as u64)
    }

    /// The integer with the bits of this block.
    #[must_use]
    pub const fn to_u128(self) -> u128 {
        let [low, high] = self.words;
        (low as u128) | ((high as u128) << 64)
    }

    /// Reads a little-endian encoding; every string of 16 bytes is valid.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self::new(u128::from_le_bytes(bytes))
    }

    /// The little-endian encoding.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::BYTES] {
        self.to_u128().to_le_bytes()
    }

    /// A uniform block.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut bytes = [0; Self::BYTES];
        rng.fill_bytes(&mut bytes);
        Self::from_bytes(bytes)
    }

    /// The block made of 64 low bits and 64 high bits.
    #[must_use]
    pub(crate) const fn from_words(low: u64, high: u64) -> Self {
        Self { words: [low, high] }
    }

    /// The 64 low bits and the 64 high bits.
    #[must_use]
    pub(crate) const fn to_words(self) -> [u64; 2] {
        self.words
    }

    /// Bit `index` as a constant-time choice; `index` is public and below [`Block::BITS`].
    pub(crate) fn bit(self, index: usize) -> Choice {
        Choice::from((self.to_bytes()[index / 8] >> (index % 8)) & 1)
    }
}

impl BitXor for Block {
    type Output = Self;

    fn bitxor(self, other: Self) -> Self {
        let ([a, b], [c, d]) = (self.words, other.words);
        Self::from_words(a ^ c, b ^ d)
    }
}

impl BitXorAssign for Block {
    fn bitxor_assign(&mut self, other: Self) {
        *self = *self ^ other;
    }
}

impl BitAnd for Block {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        let ([a, b], [c, d]) = (self.words, other.words);
        Self::from_words(a & c, b & d)
    }
}

impl From<Block> for aes::Block {
    fn from(block: Block) -> Self {
        block.to_bytes().into()
    }
}

impl From<aes::Block> for Block {
    fn from(block: aes::Block) -> Self {
        Self::from_bytes(block.into())
    }
}

impl ConditionallySelectable for Block {
    fn conditional_select(a: &Self, b: &Self, choice: Choice) -> Self {
        let select = |i: usize| u64::conditional_select(&a.words[i], &b.words[i], choice);
        Self::from_words(select(0), select(1))
    }
}

impl ConstantTimeEq for Block {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.words.ct_eq(&other.words)
    }
}

impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Block {}

impl DefaultIsZeroes for Block {}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Block(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_is_little_endian_and_inverts() {
        let block = Block::new(0x0102);
        assert_eq!(block.to_bytes()[..3], [2, 1, 0]);
        assert_eq!(Block::from_bytes(block.to_bytes()), block);
        let [low, high] = Block::new((7 << 64) | 9).to_words();
        assert_eq!((low, high), (9, 7));
        assert_eq!(Block::from_words(low, high), Block::new((7 << 64) | 9));
    }

    #[test]
    fn debug_hides_the_value() {
        assert_eq!(format!("{:?}", Block::new(0xdead_beef)), "Block(..)");
    }

    #[test]
    fn bit_follows_the_weight() {
        let block = Block::new(1 << 77);
        assert!((0..128).all(|i| bool::from(block.bit(i)) == (i == 77)));
    }
}
