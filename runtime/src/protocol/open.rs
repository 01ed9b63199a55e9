//! Opens accumulators to the client, guard bit and `delta` removed on the way.
//!
//! The shares `sc + ss = 2*acc + delta mod 2^(l+1)`. One 1-of-2 OT an element: choice `sc mod 2`,
//! messages `floor((ss + j) / 2) mod 2^l`; the client adds `floor(sc / 2)`. It learns `acc` and
//! nothing of `delta`, which carries traces of the noise. See docs/protocols/linear.md.

use super::{Link, Role, pad_word};
use crate::error::RunError;
use crate::share::{Plane, mask, read_planes};
use heq_ir::eval::wrap;
use heq_ir::packing::{pack_bits, unpack_bits};
use heq_ir::plan::open_bytes;
use zeroize::Zeroizing;

/// Opens shares mod `2^(acc_bits + 1)`; the client gets signed values, the server nothing.
///
/// **Security**: the client learns the accumulators, the server learns nothing.
///
/// # Errors
/// [`RunError`] if the peer goes away or sends a malformed message.
pub fn open(link: &mut Link<'_>, words: &[u64], acc_bits: u32) -> Result<Vec<i64>, RunError> {
    let elements = words.len();
    let (up, down) = open_bytes(elements, acc_bits);
    let length = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    match link.role {
        Role::Client => {
            let key = link.receiver.take(elements)?;
            let choice = Plane::from_bits(elements, words.iter().map(|word| word & 1));
            let mut message = Vec::new();
            let random = Plane::from_words(key.choices().words());
            choice.xor(&random).write_to(&mut message, elements);
            link.channel.send(&message)?;
            let received = link.channel.recv(length(down))?;
            let (zero, one) = received.split_at(received.len() / 2);
            let zero = unpack_bits(zero, acc_bits, elements)?;
            let one = unpack_bits(one, acc_bits, elements)?;
            Ok((0..elements)
                .map(|i| {
                    let ciphertext = zero[i] ^ ((zero[i] ^ one[i]) & choice.bit(i).wrapping_neg());
                    let half = ciphertext ^ (pad_word(&key.pads()[i]) & mask(acc_bits));
                    wrap((words[i] >> 1).wrapping_add(half).cast_signed(), acc_bits)
                })
                .collect())
        }
        Role::Server => {
            let key = link.sender.take(elements)?;
            let received = link.channel.recv(length(up))?;
            let correction = read_planes(&received, elements).next().unwrap_or_default();
            let mut message = Vec::new();
            for j in 0..2 {
                let ciphertexts: Zeroizing<Vec<u64>> = Zeroizing::new(
                    (0..elements)
                        .map(|i| {
                            let (r0, r1) = (pad_word(&key.pads0()[i]), pad_word(&key.pads1()[i]));
                            let second = (correction.bit(i) ^ j).wrapping_neg();
                            let pad = r0 ^ ((r0 ^ r1) & second);
                            ((words[i].wrapping_add(j) >> 1) ^ pad) & mask(acc_bits)
                        })
                        .collect(),
                );
                message.extend(pack_bits(ciphertexts.iter().copied(), acc_bits));
            }
            link.channel.send(&message)?;
            Ok(Vec::new())
        }
    }
}
