//! Tweakable correlation-robust hash, from AES with one fixed key a session.
//!
//! Breaks the correlation between the rows `q` and `q ^ Delta` of the extension matrix, last step
//! of random OT. Invariant of the callers: within a session no tweak is used for two rows (a row
//! and its shift by Delta share one).
//!
//! Source: [GKWY20, construction TMMO]: `H(x, i) = pi(pi(x) ^ i) ^ pi(x)`, tweakable circular
//! correlation robust when `pi` is an ideal permutation. `pi` is AES-128 under a key derived from
//! the session id, so that work on one session does not help against another.

use aes::Aes128Enc;
use aes::cipher::{BlockEncrypt, KeyInit};
use sha2::{Digest, Sha256};

use crate::SessionId;
use crate::block::Block;
use crate::prg::LANES;

/// Domain of the SHA-256 call that derives the fixed key.
const KEY_DOMAIN: &[u8] = b"heq-ot/hash-key/1";

/// The hash `H(x, i)` of one session; its key is public.
pub(crate) struct TccrHash {
    permutation: Aes128Enc,
}

impl TccrHash {
    /// The hash of `session`.
    pub(crate) fn new(session: &SessionId) -> Self {
        let digest = Sha256::new().chain_update(KEY_DOMAIN).chain_update(session.0).finalize();
        let mut key = aes::Block::default();
        key.copy_from_slice(&digest[..Block::BYTES]);
        Self { permutation: Aes128Enc::new(&key) }
    }

    /// Replaces `blocks[j]` by `H(blocks[j], first_tweak + j)`.
    ///
    /// **Security**: time depends on the length alone.
    pub(crate) fn hash(&self, blocks: &mut [Block], first_tweak: u128) {
        let mut once = [aes::Block::default(); LANES];
        let mut twice = [aes::Block::default(); LANES];
        let mut tweak = first_tweak;
        for chunk in blocks.chunks_mut(LANES) {
            let once = &mut once[..chunk.len()];
            let twice = &mut twice[..chunk.len()];
            for (lane, block) in once.iter_mut().zip(&*chunk) {
                *lane = (*block).into();
            }
            self.permutation.encrypt_blocks(once);
            for (lane, image) in twice.iter_mut().zip(&*once) {
                *lane = (Block::from(*image) ^ Block::new(tweak)).into();
                tweak = tweak.wrapping_add(1);
            }
            self.permutation.encrypt_blocks(twice);
            for ((block, outer), inner) in chunk.iter_mut().zip(&*twice).zip(&*once) {
                *block = Block::from(*outer) ^ Block::from(*inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pi(hash: &TccrHash, x: Block) -> Block {
        let mut lane = aes::Block::from(x);
        hash.permutation.encrypt_block(&mut lane);
        lane.into()
    }

    #[test]
    fn batch_follows_the_formula() {
        let hash = TccrHash::new(&SessionId([3; 32]));
        for len in [0_u128, 1, 7, 8, 9, 100] {
            let inputs: Vec<_> = (0..len).map(|i| Block::new(i * i + 1)).collect();
            let mut outputs = inputs.clone();
            hash.hash(&mut outputs, 1000);
            for ((x, y), tweak) in inputs.iter().zip(&outputs).zip(1000..) {
                let image = pi(&hash, *x);
                assert_eq!(*y, pi(&hash, image ^ Block::new(tweak)) ^ image, "tweak {tweak}");
            }
        }
    }

    #[test]
    fn session_and_tweak_separate() {
        let at = |session: u8, tweak| {
            let mut x = [Block::new(42)];
            TccrHash::new(&SessionId([session; 32])).hash(&mut x, tweak);
            x[0]
        };
        assert_ne!(at(0, 0), at(1, 0));
        assert_ne!(at(0, 0), at(0, 1));
    }
}
