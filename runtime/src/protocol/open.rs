//! Opens values to the client, guard bits and `delta` removed on the way.
//!
//! The shares `sc + ss = 2^g*acc + delta mod 2^(l+g)`, `0 <= delta < 2^g`. One 1-of-2^g OT an
//! element: choice `sc mod 2^g`, messages `floor((ss + j) / 2^g) mod 2^l`; the client adds
//! `floor(sc / 2^g)`. It learns `acc` and nothing of `delta`, which carries traces of the noise.
//! Exact shares, of words (g = 0) or of bits, are sent as they are. See docs/protocols/open.md.

use super::one_of_many::{Extent, ReceiverKeys, SenderKeys};
use super::sliced::{add, add_constant};
use super::{Link, Role};
use crate::error::RunError;
use crate::share::{Plane, planes_of_words, read_planes, words_of_planes};
use heq_ir::eval::wrap;
use heq_ir::protocol::open::MAX_GUARD_BITS;

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
    let plane_bytes = elements.div_ceil(8);
    let extent = Extent { choice_bits: guard_bits, message_bits: acc_bits, elements };
    let mut planes = planes_of_words(words, acc_bits + guard_bits);
    match link.role {
        Role::Client => {
            let mut sum = planes.split_off(guard_bits as usize);
            let mut message = Vec::new();
            let keys = ReceiverKeys::new(link, extent, planes, &mut message)?;
            if guard_bits > 0 {
                link.channel.send(&message)?;
            }
            let due = plane_bytes.saturating_mul(acc_bits as usize) << guard_bits;
            let received = link.channel.recv(due)?;
            let half = keys.choose(0, &mut read_planes(&received, elements))?;
            add(&mut sum, 0, half.iter().map(Plane::words), Plane::zeros(elements));
            let opened = words_of_planes(&sum, elements);
            Ok(opened.iter().map(|word| wrap(word.cast_signed(), acc_bits)).collect())
        }
        Role::Server => {
            let received = match guard_bits {
                0 => Vec::new(),
                _ => link.channel.recv(plane_bytes * guard_bits as usize)?,
            };
            let keys = SenderKeys::new(link, extent, &mut read_planes(&received, elements))?;
            let mut messages = Vec::with_capacity((acc_bits as usize) << guard_bits);
            for value in 0..1 << guard_bits {
                let mut sum = planes.clone();
                add_constant(&mut sum, value, elements);
                messages.extend(sum.drain(guard_bits as usize..));
            }
            keys.encrypt(&mut messages);
            let mut message = Vec::with_capacity(messages.len() * plane_bytes);
            messages.iter().for_each(|plane| plane.write_to(&mut message, elements));
            link.channel.send(&message)?;
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
            let mut opened = planes.to_vec();
            let others = read_planes(&received, elements);
            opened.iter_mut().zip(others).for_each(|(own, other)| own.xor_assign(&other));
            Ok(words_of_planes(&opened, elements).to_vec())
        }
        Role::Server => {
            let mut message = Vec::new();
            planes.iter().for_each(|plane| plane.write_to(&mut message, elements));
            link.channel.send(&message)?;
            Ok(Vec::new())
        }
    }
}
