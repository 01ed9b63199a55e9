//! Mutations of bytes.

use super::Dice;

/// A few random changes; `other` is a file to take pieces from.
pub(super) fn mutate(dice: &mut Dice, mut bytes: Vec<u8>, other: &[u8]) -> Vec<u8> {
    for _ in 0..dice.draw(1, 3) {
        if bytes.is_empty() {
            return bytes;
        }
        let at = dice.index(bytes.len());
        let length = dice.draw(1, 40) as usize;
        let end = (at + length).min(bytes.len());
        match dice.draw(0, 8) {
            0 => bytes[at] ^= 1 << dice.draw(0, 7),
            1 => bytes[at] = dice.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let from = dice.index(other.len());
                let piece = other[from..(from + length).min(other.len())].to_vec();
                bytes.splice(at..end, piece);
            }
            // Lengths and counts are variable-length integers.
            6 => drop(bytes.splice(at..=at, [0xff, 0xff, 0xff, 0xff, 0x0f])),
            7 => drop(bytes.splice(at..=at, [0xff; 9].into_iter().chain([0x01]))),
            _ => {
                let step = dice.draw(-3, 3);
                bytes[at] = bytes[at].wrapping_add_signed(step as i8);
            }
        }
    }
    bytes
}
