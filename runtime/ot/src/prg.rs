//! AES-128 in counter mode as a pseudo-random generator.
//!
//! The leaves of the GGM trees are seeds of this generator, and its output is the columns of the
//! extension matrix; upper layers stretch pads with it. Invariants: block `c` of the output of seed `s` is `AES_s(c)` with `c`
//! little-endian, whatever the lengths of the calls that produced it; the key schedule is zeroized
//! on drop.

use aes::Aes128Enc;
use aes::cipher::consts::U16;
use aes::cipher::generic_array::GenericArray;
use aes::cipher::inout::InOut;
use aes::cipher::typenum::Unsigned;
use aes::cipher::{BlockEncrypt, KeyInit};

use crate::block::Block;

/// Blocks encrypted by one call: twice the number that the AES-NI code of the `aes` crate
/// interleaves, so that a block is read well after it was written.
pub(crate) const LANES: usize = U16::USIZE;

/// [`LANES`] consecutive counters, encoded once for all the streams that stand there.
pub(crate) struct Counters(GenericArray<aes::Block, U16>);

impl Counters {
    /// The counters from `first` on.
    pub(crate) fn new(first: u128) -> Self {
        let mut counter = first;
        let mut lanes = GenericArray::default();
        for lane in &mut lanes {
            *lane = Block::new(counter).into();
            counter = counter.wrapping_add(1);
        }
        Self(lanes)
    }
}

/// A seed, which gives its stream at any position.
pub(crate) struct PrgKey(Aes128Enc);

impl PrgKey {
    pub(crate) fn new(seed: Block) -> Self {
        Self(Aes128Enc::new(&seed.into()))
    }

    /// Overwrites `out`, of at most [`LANES`] blocks, with those of the stream at `counters`.
    pub(crate) fn fill_at(&self, counters: &Counters, out: &mut [Block]) {
        let mut lanes = GenericArray::default();
        let (used, _) = InOut::from((&counters.0, &mut lanes)).into_buf().split_at(out.len());
        self.0.encrypt_blocks_inout(used);
        for (block, lane) in out.iter_mut().zip(&lanes) {
            *block = (*lane).into();
        }
    }
}

/// Overwrites `out` with the first blocks of the stream of `seed`.
///
/// **Security**: pseudo-random to whoever does not know the seed, if AES-128 is a pseudo-random
/// function; a stretched pad must serve nothing else. Time depends on the length alone.
pub fn stretch(seed: &Block, out: &mut [Block]) {
    let key = PrgKey::new(*seed);
    let mut counter = 0;
    for chunk in out.chunks_mut(LANES) {
        key.fill_at(&Counters::new(counter), chunk);
        counter += LANES as u128;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197, appendix C.1, with the plaintext as the counter.
    #[test]
    fn block_is_aes_of_the_counter() {
        let key: [u8; 16] = core::array::from_fn(|i| u8::try_from(i).unwrap());
        let plain: [u8; 16] = core::array::from_fn(|i| u8::try_from(i * 0x11).unwrap());
        let mut out = [Block::ZERO];
        let counters = Counters::new(u128::from_le_bytes(plain));
        PrgKey::new(Block::from_bytes(key)).fill_at(&counters, &mut out);
        assert_eq!(out[0].to_u128().swap_bytes(), 0x69c4_e0d8_6a7b_0430_d8cd_b780_70b4_c55a);
    }

    #[test]
    fn stream_is_the_same_from_any_position() {
        let (key, mut whole) = (PrgKey::new(Block::new(5)), [Block::ZERO; LANES]);
        key.fill_at(&Counters::new(0), &mut whole);
        let mut tail = [Block::ZERO; LANES - 3];
        key.fill_at(&Counters::new(3), &mut tail);
        assert!(whole[3..] == tail);
        let mut stretched = [Block::ZERO; LANES + 3];
        stretch(&Block::new(5), &mut stretched);
        key.fill_at(&Counters::new(LANES as u128), &mut tail[..3]);
        assert!(stretched[..LANES] == whole && stretched[LANES..] == tail[..3]);
    }
}
