//! Polynomials on the wire: residues without their low bits, packed without gaps.
//!
//! A sender floors, the receiver rebuilds at one of the two middle values of the dropped range with a
//! fair coin, so that the error has mean zero: rounding half up has a bias that weights of equal sign
//! add up.

use crate::HeError;
use crate::modulus::Modulus;
use crate::sampling::Coins;
use rand_core::CryptoRng;

/// Packs words of `bits` bits each, lowest bit first; higher bits of a word must be zero.
#[must_use]
pub fn pack_bits(words: impl ExactSizeIterator<Item = u64>, bits: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((words.len() * bits as usize).div_ceil(8));
    let (mut pending, mut count) = (0_u128, 0);
    for word in words {
        pending |= u128::from(word) << count;
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

/// Unpacks `count` words of `bits` bits each.
///
/// # Errors
/// [`HeError::MessageLength`] if there are not exactly as many bytes as that takes.
pub fn unpack_bits(bytes: &[u8], bits: u32, count: usize) -> Result<Vec<u64>, HeError> {
    let expected = (count * bits as usize).div_ceil(8);
    if bytes.len() != expected {
        return Err(HeError::MessageLength { expected, found: bytes.len() });
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
        words.push(u64::try_from(pending & mask).unwrap_or(0));
        pending >>= bits;
        available -= bits;
    }
    Ok(words)
}

/// Encodes residues with `drop_bits` low bits left out of `modulus_bits`.
pub(crate) fn encode_residues(residues: &[u64], modulus_bits: u32, drop_bits: u32) -> Vec<u8> {
    pack_bits(residues.iter().map(|residue| residue >> drop_bits), modulus_bits - drop_bits)
}

/// Decodes and rebuilds residues.
///
/// # Errors
/// [`HeError::MessageLength`], or [`HeError::Residue`] if one is not below q: a peer that follows the
/// protocol never sends such a word.
pub(crate) fn decode_residues<R: CryptoRng>(
    bytes: &[u8],
    count: usize,
    modulus: &Modulus,
    modulus_bits: u32,
    drop_bits: u32,
    rng: &mut R,
) -> Result<Vec<u64>, HeError> {
    let mut words = unpack_bits(bytes, modulus_bits - drop_bits, count)?;
    let mut coins = Coins::new(rng);
    for (index, word) in words.iter_mut().enumerate() {
        let floor = *word << drop_bits;
        if floor >= modulus.value() {
            return Err(HeError::Residue { index });
        }
        let rebuilt = if drop_bits == 0 { floor } else { floor + middle(drop_bits, &mut coins) };
        *word = modulus.sub(rebuilt, if rebuilt >= modulus.value() { modulus.value() } else { 0 });
    }
    Ok(words)
}

/// `2^(bits-1)` or one less, by a fair coin.
fn middle<R: CryptoRng>(bits: u32, coins: &mut Coins<'_, R>) -> u64 {
    (1 << (bits - 1)) - coins.toss()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    proptest! {
        #[test]
        fn packing_round_trips(bits in 1_u32..=61, words in prop::collection::vec(any::<u64>(), 0..40)) {
            let words: Vec<u64> = words.iter().map(|w| w & ((1 << bits) - 1)).collect();
            let bytes = pack_bits(words.iter().copied(), bits);
            prop_assert_eq!(bytes.len(), (words.len() * bits as usize).div_ceil(8));
            prop_assert_eq!(unpack_bits(&bytes, bits, words.len()).unwrap(), words.clone());
            let wrong_length = matches!(
                unpack_bits(&bytes, bits, words.len() + 8),
                Err(HeError::MessageLength { .. })
            );
            prop_assert!(wrong_length);
        }
    }

    #[test]
    fn dropped_bits_are_rebuilt_without_bias() {
        let modulus = Modulus::new(1_073_479_681);
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let residues: Vec<u64> = (0..60_000).map(|i| i * 17_389 % modulus.value()).collect();
        for drop_bits in [0, 1, 4, 9] {
            let bytes = encode_residues(&residues, 30, drop_bits);
            let rebuilt =
                decode_residues(&bytes, residues.len(), &modulus, 30, drop_bits, &mut rng).unwrap();
            let errors: Vec<f64> = rebuilt
                .iter()
                .zip(&residues)
                .map(|(&a, &b)| modulus.centred(modulus.sub(a, b)) as f64)
                .collect();
            let mean = errors.iter().sum::<f64>() / errors.len() as f64;
            let variance = errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64;
            let width = f64::from(drop_bits).exp2();
            let expected = if drop_bits == 0 { 0.0 } else { (width * width + 2.0) / 12.0 };
            assert!(mean.abs() <= width / 60.0, "{drop_bits}: mean {mean}");
            assert!((variance - expected).abs() <= 0.03 * expected, "{drop_bits}: {variance}");
        }
    }

    #[test]
    fn residues_not_below_the_modulus_are_refused() {
        let modulus = Modulus::new(1_073_479_681);
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let bytes = pack_bits([5, modulus.value()].into_iter(), 30);
        assert_eq!(
            decode_residues(&bytes, 2, &modulus, 30, 0, &mut rng),
            Err(HeError::Residue { index: 1 })
        );
    }
}
