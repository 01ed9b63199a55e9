//! Words of any width as bytes, without gaps: the form of polynomials and corrections on the wire.

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
    let mut bytes = Vec::with_capacity((words.len() * bits as usize).div_ceil(8));
    let (mut pending, mut count) = (0_u128, 0);
    for word in words {
        pending |= word.into() << count;
        count += bits;
        while count >= 8 {
            bytes.push(low_byte(pending));
            pending >>= 8;
            count -= 8;
        }
    }
    if count > 0 {
        bytes.push(low_byte(pending));
    }
    bytes
}

#[expect(clippy::cast_possible_truncation, reason = "takes the low byte on purpose")]
fn low_byte(value: u128) -> u8 {
    value as u8
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
    if bytes.len() != expected {
        return Err(LengthError { expected, found: bytes.len() });
    }
    let mask = (1_u128 << bits) - 1;
    let (mut pending, mut available) = (0_u128, 0);
    let mut rest = bytes.iter();
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        while available < bits {
            pending |= u128::from(rest.next().copied().unwrap_or(0)) << available;
            available += 8;
        }
        words.push(W::try_from(pending & mask).unwrap_or_default());
        pending >>= bits;
        available -= bits;
    }
    Ok(words)
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
