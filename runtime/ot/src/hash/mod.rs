//! Correlation-robust hash, from AES under a key of its own for every tile.
//!
//! Breaks the correlation between the rows `q` and `q ^ Delta` of the extension matrix, last step
//! of random OT: `H(x) = E_K(x) ^ x`, with a public key K that no other tile, tag or session uses.
//! Pads longer than a block take further blocks under further keys.
//!
//! Invariants of the callers: within a session no tile number is hashed twice under one tag (a row and
//! its shift by Delta share a key); the rows of a tile, chosen by neither party, differ from each other
//! and from their shifts but with negligible probability; Delta is uniform to whoever knows the rows.
//! Why that is enough: `docs/protocols/ot.md`.
//!
//! Source: [GKWY20, section 7.2] for `pi(x) ^ x`, correlation robust when `pi` is an ideal permutation;
//! [GKWWY20, section 4] for a fresh key every few calls, with which work on many tiles does not help
//! against one.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use heq_mutation::broken;
use sha2::{Digest, Sha256};

use crate::SessionId;
use crate::aes128::{Aes128, Schedule};
use crate::block::Block;
use crate::rot::TILE_ROWS;
use crate::simd::Path;
use crate::tiles::TilePlace;

/// Domain of the SHA-256 call that derives the session's key.
const KEY_DOMAIN: &[u8] = b"heq-ot/hash-key/2";

/// The hashes of one extension; their keys are public.
pub(crate) struct TileHash {
    path: Path,
    /// Key of the session, with the tag in its top byte.
    base: Block,
}

impl TileHash {
    /// The hashes of extension `tag` of `session`, by a path.
    pub(crate) fn on(path: Path, session: &SessionId, tag: u8) -> Self {
        let any_session = broken!(
            "pads do not depend on the session",
            "heq-ot lib session_tag_tile_and_block_separate"
        );
        let tag = if broken!(
            "pads do not depend on the tag",
            "heq-ot lib session_tag_tile_and_block_separate"
        ) {
            0
        } else {
            tag
        };
        let session = if any_session { &[0; 32] } else { &session.0 };
        let digest = Sha256::new().chain_update(KEY_DOMAIN).chain_update(session).finalize();
        let mut key = [0; Block::BYTES];
        key.copy_from_slice(&digest[..Block::BYTES]);
        Self { path, base: Block::from_bytes(key) ^ Block::new(u128::from(tag) << 120) }
    }

    /// Block `block` of the hashes of the rows of tile `tile`.
    ///
    /// **Security**: time depends on the length alone.
    #[cfg(test)]
    fn hash(&self, tile: u64, block: u32, rows: &[Block], hashes: &mut [Block]) {
        self.cipher(tile, block).encrypt_xor(rows, hashes);
    }

    /// Writes the pads of tile `tile` at its place: pad `p` of row x is the hash of `x ^ shifts[p]`, cut
    /// to the bits that the batch has.
    ///
    /// **Security**: time depends on shapes alone.
    pub(crate) fn write_pads(
        &self,
        tile: u64,
        rows: &[Block; TILE_ROWS],
        shifts: &[Block],
        place: &mut TilePlace<'_, '_>,
    ) {
        for (block, first) in (0..).zip((0..place.bits()).step_by(Block::BITS)) {
            let cipher = self.cipher(tile, block);
            let bits = Block::BITS.min(place.bits() - first);
            for (pad, shift) in shifts.iter().enumerate() {
                let write = |bit, half, word| place.write_pads(pad, first + bit, half, word);
                match &cipher.0 {
                    Schedule::Portable(_) => portable::planes(&cipher, rows, *shift, bits, write),
                    #[cfg(target_arch = "x86_64")]
                    Schedule::Avx512(keys) => avx512::planes(keys, rows, *shift, bits, write),
                }
            }
        }
    }

    /// The cipher of block `block` of the hashes of tile `tile`.
    fn cipher(&self, tile: u64, block: u32) -> Aes128 {
        let tile = if broken!(
            "pads do not depend on the tile",
            "heq-ot lib session_tag_tile_and_block_separate"
        ) {
            0
        } else {
            tile
        };
        let block = if broken!(
            "pads do not depend on the block",
            "heq-ot lib session_tag_tile_and_block_separate"
        ) {
            0
        } else {
            block
        };
        let tweak = Block::new((u128::from(block) << 64) | u128::from(tile));
        Aes128::on(self.path, self.base ^ tweak)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rot::{RotBatch, RotSenderBatch, RotShape};
    use crate::tiles::Places;

    fn hashes(session: u8, tag: u8, tile: u64, block: u32, rows: &[Block]) -> Vec<Block> {
        let mut hashes = vec![Block::ZERO; rows.len()];
        TileHash::on(Path::fastest(), &SessionId([session; 32]), tag).hash(
            tile,
            block,
            rows,
            &mut hashes,
        );
        hashes
    }

    #[test]
    fn batch_follows_the_formula() {
        let base = TileHash::on(Path::fastest(), &SessionId([3; 32]), 9).base;
        let key = base ^ Block::new((2 << 64) | 1000);
        let cipher = Aes128::new(key);
        for len in [0_u128, 1, 7, 8, 9, 100] {
            let rows: Vec<_> = (0..len).map(|i| Block::new(i * i + 1)).collect();
            for (row, hash) in rows.iter().zip(hashes(3, 9, 1000, 2, &rows)) {
                let mut image = [*row];
                cipher.encrypt(&mut image);
                assert_eq!(hash, image[0] ^ *row);
            }
        }
    }

    #[test]
    fn pads_are_the_bits_of_hashes() {
        let rows: [Block; TILE_ROWS] =
            core::array::from_fn(|r| Block::new((r as u128 + 1).wrapping_pow(17) << (r % 50)));
        let shifts = [Block::ZERO, Block::new(u128::MAX / 5)];
        for path in Path::all() {
            let hash = TileHash::on(path, &SessionId([7; 32]), 3);
            for bits in [0, 1, 7, 8, 9, 16, 17, 32, 33, 60, 64, 65, 128, 129, 260] {
                let mut batch = RotSenderBatch::zeros(RotShape { planes: 1, elements: 100, bits });
                let mut jobs = Places::split(batch.stretches(), 1);
                hash.write_pads(5, &rows, &shifts, &mut jobs[0].next_place().unwrap());
                for (pad, shift) in shifts.iter().enumerate() {
                    let shifted = rows.map(|row| row ^ *shift);
                    for bit in 0..batch.shape().bits {
                        let block = u32::try_from(bit / 128).unwrap();
                        let expected = hashes(7, 3, 5, block, &shifted)[..100]
                            .iter()
                            .enumerate()
                            .fold(0, |sum, (r, h)| sum | (((h.to_u128() >> (bit % 128)) & 1) << r));
                        let plane = [batch.pads0(0, bit), batch.pads1(0, bit)][pad];
                        let found = Block::from_words(plane[0], plane[1]);
                        assert_eq!(found.to_u128(), expected, "{path:?} {bits} {pad} {bit}");
                    }
                }
            }
        }
    }

    #[test]
    fn session_tag_tile_and_block_separate() {
        let row = [Block::new(42)];
        let seen = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
            .map(|(session, tag, tile, block)| hashes(session, tag, tile, block, &row)[0]);
        for (index, hash) in seen.iter().enumerate() {
            assert!(!seen[..index].contains(hash), "{index}");
        }
    }
}
