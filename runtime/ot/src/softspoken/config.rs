//! The one parameter of the extension, and what it fixes: message sizes.
//!
//! Invariant: `k` divides 128 and is at most 8. Both parties read `k` from their common plan.
//!
//! Source: [Roy22, introduction]: `k` trades communication, `128/k` bits an OT, for computation,
//! `2^k/k` blocks of cipher for each party an OT.

use super::BASE_OTS;
use crate::block::Block;
use crate::error::OtError;
use crate::ggm;
use crate::rot::TILE_ROWS;

/// A checked number `k` of bits of the SoftSpoken field: 1, 2, 4 or 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SoftSpokenConfig {
    field_bits: u8,
}

impl SoftSpokenConfig {
    /// The smallest field, `k = 1`: the extension of [IKNP03, section 3].
    pub const IKNP: Self = Self { field_bits: 1 };

    /// The extension with a field of `field_bits` bits.
    ///
    /// # Errors
    /// [`OtError::UnsupportedFieldBits`] unless `field_bits` is 1, 2, 4 or 8.
    pub const fn new(field_bits: u8) -> Result<Self, OtError> {
        match field_bits {
            1 | 2 | 4 | 8 => Ok(Self { field_bits }),
            _ => Err(OtError::UnsupportedFieldBits { found: field_bits }),
        }
    }

    /// `k`, in bits.
    #[must_use]
    pub const fn field_bits(self) -> u8 {
        self.field_bits
    }

    /// Length of an encoded [`GgmMessage`](super::GgmMessage), in bytes: `32*(128 - 128/k)`.
    #[must_use]
    pub const fn ggm_message_bytes(self) -> usize {
        self.groups() * ggm::message_blocks(self.group_bits()) * Block::BYTES
    }

    /// Length of an encoded [`ExtendMessage`](super::ExtendMessage) for `n` OTs, in bytes:
    /// `(128/k - 1)*16*ceil(n/128)`.
    #[must_use]
    pub const fn extend_message_bytes(self, n: usize) -> usize {
        self.corrections().saturating_mul(Block::BYTES).saturating_mul(n.div_ceil(TILE_ROWS))
    }

    /// Refuses a message made for another field.
    pub(super) fn check_same(self, found: Self) -> Result<(), OtError> {
        if self == found {
            Ok(())
        } else {
            let (expected, found) = (self.field_bits, found.field_bits);
            Err(OtError::FieldBitsMismatch { expected, found })
        }
    }

    /// `k` as an index type.
    pub(super) const fn group_bits(self) -> usize {
        self.field_bits as usize
    }

    /// `m = 128/k`, the number of groups.
    pub(super) const fn groups(self) -> usize {
        BASE_OTS / self.group_bits()
    }

    /// `m - 1`, the number of groups that have a correction.
    pub(super) const fn corrections(self) -> usize {
        self.groups() - 1
    }

    /// `2^k`, the number of streams in a group.
    pub(super) const fn group_leaves(self) -> usize {
        1 << self.field_bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_supported_fields_are_accepted() {
        for field_bits in 0..=u8::MAX {
            let config = SoftSpokenConfig::new(field_bits);
            if [1, 2, 4, 8].contains(&field_bits) {
                assert_eq!(config.unwrap().field_bits(), field_bits);
            } else {
                assert_eq!(config, Err(OtError::UnsupportedFieldBits { found: field_bits }));
            }
        }
        assert_eq!(SoftSpokenConfig::new(1), Ok(SoftSpokenConfig::IKNP));
    }

    #[test]
    fn sizes_follow_the_formulas() {
        for (k, ggm, extend) in [(1, 0, 127), (2, 2048, 63), (4, 3072, 31), (8, 3584, 15)] {
            let config = SoftSpokenConfig::new(k).unwrap();
            assert_eq!(config.ggm_message_bytes(), ggm, "k={k}");
            for (n, bytes) in [(0, 0), (1, 16), (128, 16), (129, 32), (5000, 640)] {
                assert_eq!(config.extend_message_bytes(n), extend * bytes, "k={k} n={n}");
            }
        }
    }
}
