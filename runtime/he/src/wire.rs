//! Polynomials on the wire: residues without their low bits, packed without gaps.
//!
//! A sender floors, the receiver rebuilds at one of the two middle values of the dropped range with a
//! fair coin, so that the error has mean zero: rounding half up has a bias that weights of equal sign
//! add up.

use crate::HeError;
use crate::modulus::Modulus;
use crate::sampling::Coins;
use heq_ir::packing::{pack_bits, unpack_bits};
use rand_core::CryptoRng;

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
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

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
