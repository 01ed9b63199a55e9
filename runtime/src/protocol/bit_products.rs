//! Products of a bit of the client's and a bit of the server's as arithmetic shares, in one exchange.
//!
//! For `a*b mod 2^w`, `a` the client's bit, `b` the server's, a random OT (pads `r0, r1` at the server;
//! `c, r_c` at the client): the client sends `d = a ^ c`, the server at the same time
//! `e = r0 - r1 + b mod 2^w`; `t = r_c + c*e = r0 + c*b`. If d = 0 the shares of `ab` are `t` and `-r0`,
//! else `-t` and `b + r0`. Source: [SiRNN, Section 3.3]; one exchange instead of two flights is ours.

use super::{Link, Role, pad_word};
use crate::error::RunError;
use crate::share::{Plane, Words, mask, read_planes};
use heq_ir::packing::{pack_bits, unpack_bits};
use heq_ir::protocol::{packed_bytes, plane_bytes};
use zeroize::Zeroizing;

/// Shares mod `2^w` of the products of this party's bits and the peer's, for every `(bits, w)` in
/// `planes` of `elements` bits each; w is at most 64, and the same for both parties.
///
/// **Security**: neither party learns anything.
///
/// # Errors
/// [`RunError`] if the peer goes away or sends a malformed message.
pub(super) fn multiply(
    link: &mut Link<'_>,
    planes: &[(Plane, u32)],
    elements: usize,
) -> Result<Vec<Words>, RunError> {
    let length = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut message = Vec::new();
    match link.role {
        Role::Client => {
            let mut keys = Vec::with_capacity(planes.len());
            for (plane, _) in planes {
                let key = link.receiver.take(elements)?;
                let choice = Plane::from_words(key.choices().words());
                let correction = plane.xor(&choice);
                correction.write_to(&mut message, elements);
                keys.push((key, choice, correction));
            }
            let part_bytes = |width| length(packed_bytes(elements, width));
            let due = planes.iter().map(|&(_, width)| part_bytes(width)).sum();
            let received = link.channel.exchange(&message, due)?;
            let mut rest = received.as_slice();
            let mut products = Vec::with_capacity(planes.len());
            for (&(_, width), (key, choice, correction)) in planes.iter().zip(&keys) {
                let (part, tail) = rest.split_at(part_bytes(width));
                rest = tail;
                let mut shares: Words = Zeroizing::new(unpack_bits(part, width, elements)?);
                for (i, (share, pad)) in shares.iter_mut().zip(key.pads()).enumerate() {
                    let taken = *share & choice.bit(i).wrapping_neg();
                    let t = pad_word(pad).wrapping_add(taken);
                    *share = negate_if(t, correction.bit(i)) & mask(width);
                }
                products.push(shares);
            }
            Ok(products)
        }
        Role::Server => {
            let mut keys = Vec::with_capacity(planes.len());
            for (plane, width) in planes {
                let key = link.sender.take(elements)?;
                let pads = key.pads0().iter().zip(key.pads1());
                let corrections: Words = Zeroizing::new(
                    pads.enumerate()
                        .map(|(i, (r0, r1))| {
                            let difference = pad_word(r0).wrapping_sub(pad_word(r1));
                            difference.wrapping_add(plane.bit(i)) & mask(*width)
                        })
                        .collect(),
                );
                message.extend(pack_bits(corrections.iter().copied(), *width));
                keys.push(key);
            }
            let due = length(plane_bytes(elements)) * planes.len();
            let received = link.channel.exchange(&message, due)?;
            let corrections = read_planes(&received, elements);
            let mut products = Vec::with_capacity(planes.len());
            for (((plane, width), key), correction) in planes.iter().zip(&keys).zip(corrections) {
                let share = |(i, r0)| {
                    let (b, d) = (plane.bit(i), correction.bit(i));
                    negate_if(pad_word(r0), 1 - d).wrapping_add(b & d) & mask(*width)
                };
                products.push(Zeroizing::new(key.pads0().iter().enumerate().map(share).collect()));
            }
            Ok(products)
        }
    }
}

/// `value` if `negative` is 0, `-value` if it is 1.
fn negate_if(value: u64, negative: u64) -> u64 {
    (value ^ negative.wrapping_neg()).wrapping_add(negative)
}
