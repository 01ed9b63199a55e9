//! Opens values to the client, guard bits and `delta` removed on the way.
//!
//! The shares `sc + ss = 2^g*acc + delta mod 2^(l+g)`, `0 <= delta < 2^g`. One 1-of-2^g OT an
//! element: choice `sc mod 2^g`, messages `floor((ss + j) / 2^g) mod 2^l`; the client adds
//! `floor(sc / 2^g)`. It learns `acc` and nothing of `delta`, which carries traces of the noise.
//! Exact shares, of words (g = 0) or of bits, are sent as they are. See docs/protocols/open.md.

use super::one_of_many::{ReceiverKeys, SenderKeys, Slices, equal_mask};
use super::{Link, Role};
use crate::error::RunError;
use crate::share::{Plane, mask, read_planes};
use heq_ir::eval::wrap;
use heq_ir::packing::{pack_bits, unpack_bits};
use heq_ir::protocol::open::MAX_GUARD_BITS;
use heq_ir::protocol::packed_bytes;

/// Opens shares mod `2^(acc_bits + guard_bits)`, at most [`MAX_GUARD_BITS`] guard bits; the client
/// gets signed values of `acc_bits` bits, the server nothing.
///
/// Without guard bits the shares must be exact: results of an exact step, or sums of such.
///
/// **Security**: the client learns the accumulators, the server learns nothing.
///
/// # Errors
/// [`RunError`] if the peer goes away or sends a malformed message, or there are too many guard bits.
pub fn open(
    link: &mut Link<'_>,
    words: &[u64],
    acc_bits: u32,
    guard_bits: u32,
) -> Result<Vec<i64>, RunError> {
    if guard_bits > MAX_GUARD_BITS {
        return Err(RunError::Internal { what: "an opening has too many guard bits" });
    }
    let elements = words.len();
    let part_bytes = usize::try_from(packed_bytes(elements, acc_bits)).unwrap_or(usize::MAX);
    // Slices of one word, since messages have up to 64 bits.
    let slices = Slices { choice_bits: guard_bits, bytes: size_of::<u64>() };
    match link.role {
        Role::Client => {
            let choices: Vec<Plane> = (0..guard_bits)
                .map(|bit| Plane::from_bits(elements, words.iter().map(|word| word >> bit & 1)))
                .collect();
            let mut keys = ReceiverKeys::send(link, slices, &choices, elements)?;
            let received = link.channel.recv(part_bytes.saturating_mul(1 << guard_bits))?;
            let messages = received
                .chunks_exact(part_bytes.max(1))
                .map(|part| unpack_bits(part, acc_bits, elements))
                .collect::<Result<Vec<_>, _>>()?;
            let open_one = |(index, word): (usize, &u64)| {
                let choice = word & mask(guard_bits);
                let keys = keys.keys(index);
                let mut half = 0;
                for (j, (message, key)) in (0..).zip(messages.iter().zip(key_words(keys))) {
                    half ^= (message[index] ^ key) & equal_mask(j, choice);
                }
                let half = half & mask(acc_bits);
                wrap((word >> guard_bits).wrapping_add(half).cast_signed(), acc_bits)
            };
            Ok(words.iter().enumerate().map(open_one).collect())
        }
        Role::Server => {
            let mut keys = SenderKeys::receive(link, slices, elements)?;
            let mut messages = vec![Vec::with_capacity(elements); 1 << guard_bits];
            for (index, word) in words.iter().enumerate() {
                let keys = keys.keys(index);
                for (j, (message, key)) in (0..).zip(messages.iter_mut().zip(key_words(keys))) {
                    let half = word.wrapping_add(j) >> guard_bits;
                    message.push((half ^ key) & mask(acc_bits));
                }
            }
            let parts = messages.iter().flat_map(|part| pack_bits(part.iter().copied(), acc_bits));
            link.channel.send(&parts.collect::<Vec<u8>>())?;
            Ok(Vec::new())
        }
    }
}

/// Opens shared `planes`, lowest bit first; the client gets unsigned values, the server nothing.
///
/// **Security**: the client learns the values, the server learns nothing.
///
/// # Errors
/// [`RunError`] if the peer goes away or sends a malformed message.
pub fn open_bits(
    link: &mut Link<'_>,
    planes: &[Plane],
    elements: usize,
) -> Result<Vec<u64>, RunError> {
    match link.role {
        Role::Client => {
            let bytes = elements.div_ceil(8).saturating_mul(planes.len());
            let received = link.channel.recv(bytes)?;
            let mut values = vec![0; elements];
            for (j, (own, other)) in planes.iter().zip(read_planes(&received, elements)).enumerate()
            {
                for (index, value) in values.iter_mut().enumerate() {
                    *value |= (own.bit(index) ^ other.bit(index)) << j;
                }
            }
            Ok(values)
        }
        Role::Server => {
            let mut message = Vec::new();
            planes.iter().for_each(|plane| plane.write_to(&mut message, elements));
            link.channel.send(&message)?;
            Ok(Vec::new())
        }
    }
}

/// The slices of a stream, one word each.
fn key_words(stream: &[u8]) -> impl Iterator<Item = u64> {
    let (words, _) = stream.as_chunks();
    words.iter().map(|word| u64::from_le_bytes(*word))
}
