//! Polynomials on the wire: residues without their low bits, packed without gaps.
//!
//! A sender floors, the receiver rebuilds at one of the two middle values of the dropped range with a
//! fair coin, so that the error has mean zero: rounding half up has a bias that weights of equal sign
//! add up.

use crate::HeError;
use crate::sampling::Coins;
use crate::wide::WideModulus;
use heq_ir::packing::{pack_bits, unpack_wide_bits};
use rand_core::CryptoRng;

/// Encodes residues with `drop_bits` low bits left out.
pub(crate) fn encode_residues(
    residues: impl ExactSizeIterator<Item = u128>,
    modulus: &WideModulus,
    drop_bits: u32,
) -> Vec<u8> {
    pack_bits(residues.map(|residue| residue >> drop_bits), modulus.bits() - drop_bits)
}

/// Decodes and rebuilds residues.
///
/// # Errors
/// [`HeError::MessageLength`], or [`HeError::Residue`] if one is not below q: a peer that follows the
/// protocol never sends such a word.
pub(crate) fn decode_residues<R: CryptoRng>(
    bytes: &[u8],
    count: usize,
    modulus: &WideModulus,
    drop_bits: u32,
    rng: &mut R,
) -> Result<Vec<u128>, HeError> {
    let mut words = unpack_wide_bits(bytes, modulus.bits() - drop_bits, count)?;
    let mut coins = Coins::new(rng);
    for (index, word) in words.iter_mut().enumerate() {
        let floor = *word << drop_bits;
        if floor >= modulus.value() {
            return Err(HeError::Residue { index });
        }
        let rebuilt = if drop_bits == 0 { floor } else { floor + middle(drop_bits, &mut coins) };
        *word = modulus.normalise(rebuilt);
    }
    Ok(words)
}

/// `2^(bits-1)` or one less, by a fair coin.
fn middle<R: CryptoRng>(bits: u32, coins: &mut Coins<'_, R>) -> u128 {
    (1 << (bits - 1)) - u128::from(coins.toss())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    const NARROW: u128 = 1_073_479_681;
    const WIDE: u128 = (1 << 107) - 1;

    #[test]
    fn dropped_bits_are_rebuilt_without_bias() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        for (q, drop_bits) in
            [(NARROW, 0), (NARROW, 1), (NARROW, 9), (WIDE, 0), (WIDE, 4), (WIDE, 40)]
        {
            let modulus = WideModulus::new(q);
            let residues: Vec<u128> = (0..60_000).map(|i| i * ((q / 61_757) | 1) % q).collect();
            let bytes = encode_residues(residues.iter().copied(), &modulus, drop_bits);
            let rebuilt =
                decode_residues(&bytes, residues.len(), &modulus, drop_bits, &mut rng).unwrap();
            let errors: Vec<f64> = rebuilt
                .iter()
                .zip(&residues)
                .map(|(&a, &b)| modulus.centred(modulus.sub(a, b)) as f64)
                .collect();
            let mean = errors.iter().sum::<f64>() / errors.len() as f64;
            let variance = errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64;
            let width = f64::from(drop_bits).exp2();
            let expected = if drop_bits == 0 { 0.0 } else { (width * width + 2.0) / 12.0 };
            assert!(mean.abs() <= width / 60.0, "{q} {drop_bits}: mean {mean}");
            assert!((variance - expected).abs() <= 0.03 * expected, "{q} {drop_bits}: {variance}");
        }
    }

    #[test]
    fn residues_not_below_the_modulus_are_refused() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        for (q, drop_bits) in [(NARROW, 0), (WIDE - 4, 0), (WIDE - (1 << 20), 18)] {
            let modulus = WideModulus::new(q);
            let words = [q - 1, q].map(|word| word >> drop_bits);
            let bytes = pack_bits([words[0], words[1] + 1].into_iter(), modulus.bits() - drop_bits);
            assert_eq!(
                decode_residues(&bytes, 2, &modulus, drop_bits, &mut rng),
                Err(HeError::Residue { index: 1 })
            );
        }
    }
}
