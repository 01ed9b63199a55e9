//! Randomness: seeds, uniform polynomials, ternary secrets and centred binomial errors.
//!
//! Secrets and errors are sampled in constant time. Expansion of a public seed rejects, so its time
//! depends on the seed, which both parties know.

use crate::modulus::Modulus;
use heq_ir::params::noise::ERROR_COINS;
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// A public 256-bit seed from which one party's uniform polynomials are expanded by both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The seed that `owner`, a nonce drawn by one party for one session, gives to its `index`-th use
    /// of `purpose`. Distinct purposes and indices give independent seeds.
    #[must_use]
    pub fn derive(owner: &[u8; 32], purpose: &str, index: u64) -> Self {
        let hash = Sha256::new()
            .chain_update(b"heq/1/seed/")
            .chain_update((purpose.len() as u64).to_le_bytes())
            .chain_update(purpose)
            .chain_update(owner)
            .chain_update(index.to_le_bytes());
        Self(hash.finalize().into())
    }

    /// For each modulus in turn `ring_degree` residues, uniform and independent.
    pub(crate) fn expand_uniform<'a>(
        &self,
        ring_degree: usize,
        moduli: impl ExactSizeIterator<Item = &'a Modulus>,
    ) -> Vec<u64> {
        let mut rng = ChaCha20Rng::from_seed(self.0);
        let mut residues = Vec::with_capacity(ring_degree * moduli.len());
        for modulus in moduli {
            let mask = u64::MAX >> modulus.value().leading_zeros();
            let draws = std::iter::repeat_with(|| rng.next_u64() & mask);
            residues.extend(draws.filter(|&draw| draw < modulus.value()).take(ring_degree));
        }
        residues
    }
}

/// A coefficient uniform in `{-1, 0, 1}`; the bias of the 64-bit draw is below 2^-62.
pub(crate) fn ternary<R: CryptoRng>(rng: &mut R) -> i64 {
    let scaled = (u128::from(rng.next_u64()) * 3) >> 64;
    i64::try_from(scaled).unwrap_or(0) - 1
}

/// An error coefficient: centred binomial of [`ERROR_COINS`] coin pairs.
pub(crate) fn error<R: CryptoRng>(rng: &mut R) -> i64 {
    let coins = rng.next_u64();
    let mask = (1_u64 << ERROR_COINS) - 1;
    let ones = |bits: u64| i64::from((bits & mask).count_ones());
    ones(coins) - ones(coins >> ERROR_COINS)
}

/// Fair coins, 64 to a draw.
pub(crate) struct Coins<'a, R> {
    rng: &'a mut R,
    bits: u64,
    left: u32,
}

impl<'a, R: CryptoRng> Coins<'a, R> {
    pub(crate) fn new(rng: &'a mut R) -> Self {
        Self { rng, bits: 0, left: 0 }
    }

    /// 0 or 1.
    pub(crate) fn toss(&mut self) -> u64 {
        if self.left == 0 {
            self.bits = self.rng.next_u64();
            self.left = u64::BITS;
        }
        self.left -= 1;
        self.bits >> self.left & 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heq_ir::params::noise::ERROR_VARIANCE;

    fn moments(samples: &[i64]) -> (f64, f64) {
        let n = samples.len() as f64;
        let mean = samples.iter().map(|&x| x as f64).sum::<f64>() / n;
        let variance = samples.iter().map(|&x| (x as f64 - mean).powi(2)).sum::<f64>() / n;
        (mean, variance)
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let count = 200_000;
        let errors: Vec<i64> = (0..count).map(|_| error(&mut rng)).collect();
        let (mean, variance) = moments(&errors);
        assert!(mean.abs() < 0.04 && (variance / ERROR_VARIANCE - 1.0).abs() < 0.02);
        let secrets: Vec<i64> = (0..count).map(|_| ternary(&mut rng)).collect();
        let (mean, variance) = moments(&secrets);
        assert!(mean.abs() < 0.01 && (variance * 1.5 - 1.0).abs() < 0.02);
        assert!(secrets.iter().all(|s| (-1..=1).contains(s)));
    }

    #[test]
    fn seeds_are_separated_by_every_part() {
        let base = Seed::derive(&[1; 32], "request", 0);
        for other in [
            Seed::derive(&[2; 32], "request", 0),
            Seed::derive(&[1; 32], "reques", 0),
            Seed::derive(&[1; 32], "request", 1),
        ] {
            assert_ne!(base, other);
        }
        let moduli = [Modulus::new(1_073_479_681), Modulus::new((1 << 50) - 27)];
        let residues = base.expand_uniform(4096, moduli.iter());
        assert_eq!(residues.len(), 8192);
        for (modulus, limb) in moduli.iter().zip(residues.chunks(4096)) {
            assert!(limb.iter().all(|&r| r < modulus.value()));
            let mean = limb.iter().map(|&r| r as f64).sum::<f64>() / 4096.0;
            assert!((mean / modulus.value() as f64 - 0.5).abs() < 0.03);
        }
    }
}
