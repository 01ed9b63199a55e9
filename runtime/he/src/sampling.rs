//! Randomness: seeds, uniform polynomials, ternary secrets and centred binomial errors.
//!
//! All of it comes in blocks from AES-128 in counter mode, whose key and first counter are a seed: a
//! public one, from which both parties expand the same polynomial, or 32 bytes of the caller's
//! generator. Secrets and errors are sampled in constant time. Expansion of a public seed rejects, so
//! its time depends on the seed, which both parties know.

use crate::modulus::{Modulus, high, low};
use crate::simd::vectorised;
use aes::Aes128Enc;
use aes::cipher::{BlockEncrypt, KeyInit};
use heq_ir::params::noise::ERROR_COINS;
use heq_mutation::broken;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

/// Words of one refill of a [`Stream`].
const BLOCK_WORDS: usize = 32;

/// A public 256-bit seed from which one party's uniform polynomials are expanded by both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The seed that `owner`, a nonce drawn by one party for one session, gives to its `index`-th use
    /// of `purpose`. Distinct purposes and indices give independent seeds.
    #[must_use]
    pub fn derive(owner: &[u8; 32], purpose: &str, index: u64) -> Self {
        let unnamed = broken!(
            "seeds do not depend on their purpose",
            "heq-he lib seeds_are_separated_by_every_part"
        );
        let uncounted = broken!(
            "seeds do not depend on their number",
            "heq-he lib seeds_are_separated_by_every_part"
        );
        let unowned = broken!(
            "seeds do not depend on their owner",
            "heq-he lib seeds_are_separated_by_every_part"
        );
        let purpose = if unnamed { "" } else { purpose };
        let index = if uncounted { 0 } else { index };
        let owner = if unowned { &[0; 32] } else { owner };
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
        moduli: impl Iterator<Item = &'a Modulus>,
    ) -> Vec<u64> {
        let mut stream = Stream::new(&self.0);
        let mut residues = Vec::new();
        for modulus in moduli {
            let first = residues.len();
            residues.resize(first + ring_degree, 0);
            stream.fill_below(modulus.value(), &mut residues[first..]);
        }
        residues
    }
}

/// A stream of uniform words.
pub(crate) struct Stream {
    cipher: Aes128Enc,
    counter: u128,
    /// What the cipher works on: a field, so that dropping the stream wipes it.
    blocks: [aes::Block; BLOCK_WORDS / 2],
    words: [u64; BLOCK_WORDS],
    /// How many of the words were handed out.
    used: usize,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.counter.zeroize();
        self.blocks.iter_mut().for_each(|block| block.as_mut_slice().zeroize());
        self.words.zeroize();
    }
}

impl Stream {
    fn new(seed: &[u8; 32]) -> Self {
        let [mut key, mut counter] = [[0; 16]; 2];
        key.copy_from_slice(&seed[..16]);
        counter.copy_from_slice(&seed[16..]);
        let cipher = Aes128Enc::new(&key.into());
        key.zeroize();
        let counter = u128::from_le_bytes(counter);
        let (blocks, words) = ([aes::Block::default(); BLOCK_WORDS / 2], [0; BLOCK_WORDS]);
        Self { cipher, counter, blocks, words, used: BLOCK_WORDS }
    }

    /// A stream that nobody else knows.
    pub(crate) fn secret<R: CryptoRng>(rng: &mut R) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        if broken!(
            "secret streams are equal",
            "heq-he lib equal_responses_look_different_by_fresh_encryptions_of_zero, heq-tests leakage masks_and_seeds_of_a_run_are_distinct"
        ) {
            seed.fill(0);
        }
        Self::new(&seed)
    }

    /// The next words of the stream, all of which count as handed out.
    fn refill(&mut self) -> &[u64; BLOCK_WORDS] {
        for block in &mut self.blocks {
            *block = self.counter.to_le_bytes().into();
            let repeats =
                broken!("streams repeat a block", "heq-he lib no_word_is_handed_out_twice");
            self.counter = self.counter.wrapping_add(u128::from(!repeats));
        }
        self.cipher.encrypt_blocks(&mut self.blocks);
        for (words, block) in self.words.chunks_exact_mut(2).zip(&self.blocks) {
            let value = u128::from_le_bytes((*block).into());
            words.copy_from_slice(&[low(value), high(value)]);
        }
        self.used = BLOCK_WORDS;
        &self.words
    }

    /// One uniform word.
    #[inline]
    pub(crate) fn next_word(&mut self) -> u64 {
        if self.used == BLOCK_WORDS {
            self.refill();
            self.used = 0;
        }
        let word = self.words[self.used];
        self.used += 1;
        word
    }

    /// `count` words, each what `sample` makes of a uniform one.
    #[inline]
    fn map(&mut self, count: usize, sample: impl Fn(u64) -> i64) -> Zeroizing<Vec<i64>> {
        let mut samples = Zeroizing::new(vec![0; count]);
        vectorised(|| {
            for chunk in samples.chunks_mut(BLOCK_WORDS) {
                for (value, &word) in chunk.iter_mut().zip(self.refill()) {
                    *value = sample(word);
                }
            }
        });
        samples
    }

    /// Fills `residues` with uniform ones below `modulus`, by rejection.
    fn fill_below(&mut self, modulus: u64, residues: &mut [u64]) {
        let mask = u64::MAX >> modulus.leading_zeros();
        let mut filled = 0;
        while filled < residues.len() {
            for &word in self.refill() {
                let Some(place) = residues.get_mut(filled) else { break };
                *place = word & mask;
                filled += usize::from(word & mask < modulus);
            }
        }
    }

    /// Coefficients uniform in `{-1, 0, 1}`; the bias of the 62-bit draws is below 2^-61.
    pub(crate) fn ternary(&mut self, count: usize) -> Zeroizing<Vec<i64>> {
        if broken!("ternary secrets are zero", "heq-he lib moments_are_those_of_the_distributions")
        {
            return Zeroizing::new(vec![0; count]);
        }
        self.map(count, |word| ((3 * (word >> 2)) >> 62).cast_signed() - 1)
    }

    /// Error coefficients: centred binomial of [`ERROR_COINS`] coin pairs. The difference of two sums
    /// of coins is distributed as the sum of all of them less its mean.
    pub(crate) fn errors(&mut self, count: usize) -> Zeroizing<Vec<i64>> {
        if broken!("errors are zero", "heq-he lib moments_are_those_of_the_distributions") {
            return Zeroizing::new(vec![0; count]);
        }
        let mask = (1_u64 << (2 * ERROR_COINS)) - 1;
        self.map(count, |word| i64::from((word & mask).count_ones()) - i64::from(ERROR_COINS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heq_ir::params::noise::ERROR_VARIANCE;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

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
        let mut stream = Stream::secret(&mut rng);
        let errors = stream.errors(count);
        let (mean, variance) = moments(&errors);
        assert!(mean.abs() < 0.04 && (variance / ERROR_VARIANCE - 1.0).abs() < 0.02);
        let secrets = stream.ternary(count);
        let (mean, variance) = moments(&secrets);
        assert!(mean.abs() < 0.01 && (variance * 1.5 - 1.0).abs() < 0.02);
        assert!(secrets.iter().all(|s| (-1..=1).contains(s)));
    }

    #[test]
    fn no_word_is_handed_out_twice() {
        let mut stream = Stream::new(&[3; 32]);
        let mut words = vec![stream.next_word()];
        let mut uniform = [0; 40];
        for _ in 0..3 {
            stream.fill_below(u64::MAX, &mut uniform);
            words.extend(uniform);
            words.extend((0..3).map(|_| stream.next_word()));
            words.extend(stream.map(40, u64::cast_signed).iter().map(|word| word.cast_unsigned()));
            words.extend((0..3).map(|_| stream.next_word()));
        }
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
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
