//! Planes of hashes in plain words: one byte of every hash is transposed alone, more of them as the
//! whole square.

use zeroize::Zeroizing;

use crate::aes128::Aes128;
use crate::block::Block;
use crate::rot::TILE_ROWS;
use crate::transpose::transpose;

/// Calls `write(bit, half, word)` with the first `bits` planes of the hashes of `rows ^ shift`.
pub(super) fn planes(
    cipher: &Aes128,
    rows: &[Block; TILE_ROWS],
    shift: Block,
    bits: usize,
    mut write: impl FnMut(usize, usize, u64),
) {
    let shifted = Zeroizing::new(rows.map(|row| row ^ shift));
    let mut hashes = Zeroizing::new([Block::ZERO; TILE_ROWS]);
    cipher.encrypt_xor(&*shifted, &mut *hashes);
    if bits > 8 {
        transpose(&mut hashes);
        for (bit, plane) in hashes[..bits].iter().enumerate() {
            plane
                .to_words()
                .into_iter()
                .enumerate()
                .for_each(|(half, word)| write(bit, half, word));
        }
    } else {
        for (half, hashes) in hashes.chunks_exact(TILE_ROWS / 2).enumerate() {
            let words = low_planes(hashes);
            words[..bits].iter().enumerate().for_each(|(bit, word)| write(bit, half, *word));
        }
    }
}

/// The planes of the low bytes of 64 hashes.
fn low_planes(hashes: &[Block]) -> [u64; 8] {
    let mut planes = [0; 8];
    for (shift, hashes) in (0..).step_by(8).zip(hashes.chunks_exact(8)) {
        let mut square = 0;
        for (row, hash) in (0..).step_by(8).zip(hashes) {
            square |= (hash.to_words()[0] & 0xff) << row;
        }
        for (plane, byte) in planes.iter_mut().zip(transpose_square(square).to_le_bytes()) {
            *plane |= u64::from(byte) << shift;
        }
    }
    planes
}

/// Transposes 8 x 8 bits: bit `c` of byte `r` becomes bit `r` of byte `c`. Source: [War12, section 7-3].
fn transpose_square(mut square: u64) -> u64 {
    for (distance, mask) in
        [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)]
    {
        let difference = (square ^ (square >> distance)) & mask;
        square ^= difference ^ (difference << distance);
    }
    square
}
