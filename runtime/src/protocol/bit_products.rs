//! Products of a bit of the client's and a bit of the server's as arithmetic shares, in one exchange.
//!
//! For `a*b mod 2^w`, `a` the client's bit, `b` the server's, a random OT (pads `r0, r1` at the server;
//! `c, r_c` at the client): the client sends `d = a ^ c`, the server at the same time
//! `e = r0 - r1 + b mod 2^w`; `t = r_c + c*e = r0 + c*b`. If d = 0 the shares of `ab` are `t` and `-r0`,
//! else `-t` and `b + r0`. Source: [SiRNN, Section 3.3]; one exchange instead of two flights is ours.

use super::sliced::{add, subtract};
use super::{Link, Role, next_plane, shape};
use crate::error::RunError;
use crate::share::{Plane, read_planes};
use heq_mutation::broken;

/// Shares mod `2^w` of the products of this party's bits and the peer's, as planes, for every
/// `(bits, w)` in `factors` of `elements` bits each; w is the same for both parties.
///
/// **Security**: neither party learns anything.
///
/// # Errors
/// [`RunError`] if the peer goes away or sends a malformed message.
pub(super) fn multiply(
    link: &mut Link<'_>,
    factors: &[(Plane, u32)],
    elements: usize,
) -> Result<Vec<Vec<Plane>>, RunError> {
    let plane_bytes = elements.div_ceil(8);
    let (zeros, ones) = (Plane::zeros(elements), Plane::ones(elements));
    let widths: usize = factors.iter().map(|(_, width)| *width as usize).sum();
    // Room for all planes at once: what grows leaves copies behind.
    let room = |planes: usize| Vec::with_capacity(planes.saturating_mul(plane_bytes));
    let mut products = Vec::with_capacity(factors.len());
    match link.role {
        Role::Client => {
            let mut message = room(factors.len());
            let mut keys = Vec::with_capacity(factors.len());
            for (factor, width) in factors {
                let key = link.receiver.take(shape(1, elements, *width))?;
                let choice = Plane::from_words(key.choices(0));
                let correction = factor.xor(&choice);
                let is_bare = broken!(
                    "the client's factors of bit products are sent bare",
                    "heq-runtime secrecy no_sum_of_messages_shows_anything"
                );
                let sent = if is_bare { factor } else { &correction };
                sent.write_to(&mut message, elements);
                keys.push((key, choice, correction));
            }
            link.channel.send(&message)?;
            drop(message);
            let received = link.channel.recv(widths.saturating_mul(plane_bytes))?;
            let mut planes = read_planes(&received, elements);
            for ((_, width), (key, choice, correction)) in factors.iter().zip(keys) {
                let mut share = Vec::with_capacity(*width as usize);
                let mut taken = Vec::with_capacity(*width as usize);
                for bit in 0..*width as usize {
                    share.push(Plane::from_words(key.pads(0, bit)));
                    taken.push(choice.and(&next_plane(&mut planes)?));
                }
                add(&mut share, 0, taken.iter().map(Plane::words), zeros.clone());
                negate_if(&mut share, &correction, correction.clone());
                products.push(share);
            }
        }
        Role::Server => {
            let mut message = room(widths);
            let mut keys = Vec::with_capacity(factors.len());
            for (factor, width) in factors {
                let key = link.sender.take(shape(1, elements, *width))?;
                let mut correction = pads(*width, |bit| key.pads0(0, bit));
                if broken!(
                    "the server's factors of bit products are sent bare",
                    "heq-runtime secrecy no_sum_of_messages_shows_anything"
                ) {
                    correction.iter_mut().enumerate().for_each(|(bit, plane)| {
                        *plane = Plane::from_words(key.pads1(0, bit));
                    });
                }
                add(&mut correction, 0, [], factor.clone());
                subtract(&mut correction, 0, (0..*width as usize).map(|bit| key.pads1(0, bit)));
                correction.iter().for_each(|plane| plane.write_to(&mut message, elements));
                keys.push(key);
            }
            link.channel.send(&message)?;
            drop(message);
            let received = link.channel.recv(factors.len() * plane_bytes)?;
            let mut corrections = read_planes(&received, elements);
            for ((factor, width), key) in factors.iter().zip(keys) {
                let correction = next_plane(&mut corrections)?;
                let negative = correction.xor(&ones);
                let carry = negative.xor(&factor.and(&correction));
                let mut share = pads(*width, |bit| key.pads0(0, bit));
                negate_if(&mut share, &negative, carry);
                products.push(share);
            }
        }
    }
    Ok(products)
}

fn pads<'a>(width: u32, pad: impl Fn(usize) -> &'a [u64]) -> Vec<Plane> {
    (0..width as usize).map(|bit| Plane::from_words(pad(bit))).collect()
}

/// Complements where `negative` is set, then adds `carry`.
fn negate_if(share: &mut [Plane], negative: &Plane, carry: Plane) {
    share.iter_mut().for_each(|plane| plane.xor_assign(negative));
    add(share, 0, [], carry);
}
