//! Words of any width as bytes, without gaps: the form of polynomials and corrections on the wire.

use heq_mutation::broken;

/// A message has another length than its contents take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {found} bytes where {expected} were due")]
pub struct LengthError {
    /// Bytes due.
    pub expected: usize,
    /// Bytes that came.
    pub found: usize,
}

/// Packs words of `bits` bits each, at most 120, lowest bit first; higher bits of a word must be zero.
#[must_use]
pub fn pack_bits<W: Into<u128>>(words: impl ExactSizeIterator<Item = W>, bits: u32) -> Vec<u8> {
    let mut writer = Writer::with_capacity((words.len() * bits as usize).div_ceil(8));
    let (lower, upper) = halves(bits);
    for word in words {
        let word = word.into();
        writer.push(low_word(word), lower);
        if upper > 0 {
            writer.push(low_word(word >> 64), upper);
        }
    }
    writer.finish()
}

/// Bits of a word in its lower and upper half.
fn halves(bits: u32) -> (u32, u32) {
    (bits.min(64), bits.saturating_sub(64))
}

#[expect(clippy::cast_possible_truncation, reason = "takes the low half on purpose")]
fn low_word(value: u128) -> u64 {
    value as u64
}

/// Bytes with fewer than 64 bits pending.
struct Writer {
    /// Of the final length and 8 more: the last word may not be full.
    bytes: Vec<u8>,
    place: usize,
    pending: u64,
    count: u32,
}

impl Writer {
    fn with_capacity(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes + 8], place: 0, pending: 0, count: 0 }
    }

    /// Appends a word of at most 64 bits.
    #[inline]
    fn push(&mut self, word: u64, bits: u32) {
        self.pending |= word << self.count;
        // What does not fit; shifted in two steps, since 64 in one would be too far.
        let rest = word >> 1 >> (63 - self.count);
        self.count += bits;
        if self.count >= 64 {
            self.store();
            self.place += 8;
            self.count -= 64;
            self.pending = rest;
        }
    }

    #[inline]
    fn store(&mut self) {
        if let Some(place) = self.bytes.get_mut(self.place..self.place + 8) {
            place.copy_from_slice(&self.pending.to_le_bytes());
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.store();
        self.bytes.truncate(self.bytes.len() - 8);
        self.bytes
    }
}

/// Unpacks `count` words of `bits` bits each, at most 64.
///
/// # Errors
/// [`LengthError`] if there are not exactly as many bytes as that takes.
pub fn unpack_bits(bytes: &[u8], bits: u32, count: usize) -> Result<Vec<u64>, LengthError> {
    unpack(bytes, bits, count)
}

/// Unpacks `count` words of `bits` bits each, at most 120.
///
/// # Errors
/// [`LengthError`] if there are not exactly as many bytes as that takes.
pub fn unpack_wide_bits(bytes: &[u8], bits: u32, count: usize) -> Result<Vec<u128>, LengthError> {
    unpack(bytes, bits, count)
}

fn unpack<W: TryFrom<u128> + Default>(
    bytes: &[u8],
    bits: u32,
    count: usize,
) -> Result<Vec<W>, LengthError> {
    let expected = (count * bits as usize).div_ceil(8);
    let is_wrong = bytes.len() != expected;
    if is_wrong
        && !broken!(
            "packed words may have any length",
            "heq-he linear malformed_messages_are_refused"
        )
    {
        return Err(LengthError { expected, found: bytes.len() });
    }
    let (lower, upper) = halves(bits);
    let word = |first_bit: usize| {
        let low = u128::from(read(bytes, first_bit, lower));
        let high = if upper > 0 { read(bytes, first_bit + 64, upper) } else { 0 };
        W::try_from(low | u128::from(high) << 64).unwrap_or_default()
    };
    Ok((0..count).map(|index| word(index * bits as usize)).collect())
}

/// The 1 to 64 bits from `first_bit` on; bits beyond the end are zero.
#[inline]
fn read(bytes: &[u8], first_bit: usize, bits: u32) -> u64 {
    let rest = &bytes[first_bit / 8..];
    let shift = first_bit % 8;
    let low = match rest.first_chunk() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    };
    let next = rest.get(8).map_or(0, |&byte| u64::from(byte));
    // Shifted in two steps: by 64 - 0 in one would be too far.
    let word = low >> shift | next << 1 << (63 - shift);
    word & u64::MAX.checked_shr(64 - bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packing_round_trips(bits in 1_u32..=120, words in prop::collection::vec(any::<u128>(), 0..40)) {
            let words: Vec<u128> = words.iter().map(|w| w & ((1 << bits) - 1)).collect();
            let bytes = pack_bits(words.iter().copied(), bits);
            prop_assert_eq!(bytes.len(), (words.len() * bits as usize).div_ceil(8));
            prop_assert_eq!(unpack_wide_bits(&bytes, bits, words.len()).unwrap(), words.clone());
            if bits <= 64 {
                let narrow = unpack_bits(&bytes, bits, words.len()).unwrap();
                prop_assert!(narrow.iter().map(|&word| u128::from(word)).eq(words.iter().copied()));
            }
            let wrong_length = matches!(
                unpack_bits(&bytes, bits, words.len() + 8),
                Err(LengthError { .. })
            );
            prop_assert!(wrong_length);
        }
    }
}
