//! AES-128 on many blocks at once: what generators, trees and hashes are made of.
//!
//! Invariants: every path gives the same blocks; time depends on lengths alone; the key schedule is
//! zeroized on drop.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;

use aes::Aes128Enc;
use aes::cipher::{BlockEncrypt, KeyInit};

use crate::block::Block;
use crate::simd::Path;

/// Blocks encrypted by one call of the cipher.
const LANES: usize = 16;

/// AES-128 under one key, in the direction of encryption.
pub(crate) struct Aes128(pub(crate) Schedule);

/// The round keys, in the form that one path takes.
#[cfg_attr(
    target_arch = "x86_64",
    expect(clippy::large_enum_variant, reason = "the portable form has room for bit-sliced keys")
)]
pub(crate) enum Schedule {
    Portable(Aes128Enc),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Schedule),
}

impl Aes128 {
    /// Expands `key`.
    pub(crate) fn new(key: Block) -> Self {
        Self::on(Path::fastest(), key)
    }

    /// Expands `key` for a path.
    pub(crate) fn on(path: Path, key: Block) -> Self {
        Self(match path {
            Path::Portable => Schedule::Portable(Aes128Enc::new(&key.into())),
            #[cfg(target_arch = "x86_64")]
            Path::Avx512(avx512) => Schedule::Avx512(avx512::Schedule::new(avx512, key)),
        })
    }

    /// Replaces every block x by `E(x)`.
    pub(crate) fn encrypt(&self, blocks: &mut [Block]) {
        match &self.0 {
            Schedule::Portable(cipher) => encrypt(cipher, blocks),
            #[cfg(target_arch = "x86_64")]
            Schedule::Avx512(schedule) => schedule.encrypt(blocks),
        }
    }

    /// Overwrites `out` with `E(x) ^ x` of the blocks x of `input`, of the same length.
    pub(crate) fn encrypt_xor(&self, input: &[Block], out: &mut [Block]) {
        match &self.0 {
            Schedule::Portable(cipher) => {
                out.copy_from_slice(input);
                encrypt(cipher, out);
                out.iter_mut().zip(input).for_each(|(out, input)| *out ^= *input);
            }
            #[cfg(target_arch = "x86_64")]
            Schedule::Avx512(schedule) => schedule.encrypt_xor(input, out),
        }
    }
}

/// Replaces every block x by `E(x)` with the cipher of the `aes` crate.
fn encrypt(cipher: &Aes128Enc, blocks: &mut [Block]) {
    let mut lanes = [aes::Block::default(); LANES];
    for chunk in blocks.chunks_mut(LANES) {
        let lanes = &mut lanes[..chunk.len()];
        lanes.iter_mut().zip(&*chunk).for_each(|(lane, block)| *lane = (*block).into());
        cipher.encrypt_blocks(lanes);
        chunk.iter_mut().zip(&*lanes).for_each(|(block, lane)| *block = (*lane).into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths around those at which the paths change their step.
    const COUNTS: [usize; 13] = [0, 1, 2, 3, 4, 5, 15, 16, 31, 32, 33, 50, 200];

    /// FIPS 197, appendix C.1.
    #[test]
    fn block_is_that_of_the_standard() {
        let key: [u8; 16] = core::array::from_fn(|i| u8::try_from(i).unwrap());
        let plain: [u8; 16] = core::array::from_fn(|i| u8::try_from(i * 0x11).unwrap());
        let plain = Block::from_bytes(plain);
        for path in Path::all() {
            let cipher = Aes128::on(path, Block::from_bytes(key));
            for count in COUNTS {
                let (input, mut out) = (vec![plain; count], vec![Block::ZERO; count]);
                cipher.encrypt_xor(&input, &mut out);
                for out in out {
                    let image = (out ^ plain).to_u128().swap_bytes();
                    assert_eq!(image, 0x69c4_e0d8_6a7b_0430_d8cd_b780_70b4_c55a, "{path:?}");
                }
            }
        }
    }

    #[test]
    fn paths_agree() {
        for key in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978] {
            let portable = Aes128::on(Path::Portable, Block::new(key));
            for path in Path::all() {
                let cipher = Aes128::on(path, Block::new(key));
                for count in COUNTS {
                    let input: Vec<_> =
                        (0..count as u128).map(|i| Block::new(i.wrapping_mul(key) + i)).collect();
                    let (mut expected, mut blocks) = (input.clone(), input.clone());
                    portable.encrypt(&mut expected);
                    cipher.encrypt(&mut blocks);
                    assert!(blocks == expected, "{path:?} {count}");
                    let mut sums = vec![Block::ZERO; count];
                    cipher.encrypt_xor(&input, &mut sums);
                    for ((sum, block), input) in sums.iter().zip(&blocks).zip(&input) {
                        assert_eq!(*sum, *block ^ *input, "{path:?} {count}");
                    }
                }
            }
        }
    }
}
