//! Bits to arithmetic shares, in one exchange.
//!
//! Bit j is `a ^ b = a + b - 2ab`, `a` the client's share, `b` the server's. For the product a random
//! OT (pads `r0, r1` at the server; `c, r_c` at the client) and `w = L-j-1` bits: the client sends
//! `d = a ^ c`, the server at the same time `e = r0 - r1 + b mod 2^w`; `t = r_c + c*e = r0 + c*b`.
//! If d = 0 the shares of `ab` are `-r0` and `t`, else `b + r0` and `-t`.
//! Source: [SiRNN, Section 3.3]; one exchange instead of two flights is ours.

use super::{Link, Role, pad_word};
use crate::error::RunError;
use crate::share::{Plane, Words, mask, read_planes};
use heq_ir::packing::{pack_bits, unpack_bits};
use heq_ir::plan::to_arithmetic_bytes;
use zeroize::Zeroizing;

/// Turns shared `planes`, lowest bit first, into shares mod `2^bits` of the unsigned value plus `lo`.
///
/// **Security**: neither party learns anything.
///
/// # Errors
/// [`RunError`] if the peer goes away or sends a malformed message.
pub fn to_arithmetic(
    link: &mut Link<'_>,
    planes: &[Plane],
    elements: usize,
    bits: u32,
    lo: i64,
) -> Result<Words, RunError> {
    let mut words: Words = Zeroizing::new(vec![0; elements]);
    let product_bits = |j: usize| bits - 1 - u32::try_from(j).unwrap_or(0);
    let count = u32::try_from(planes.len()).unwrap_or(0);
    let (up, down) = to_arithmetic_bytes(elements, count, bits);
    let length = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut message = Vec::new();
    match link.role {
        Role::Client => {
            let mut keys = Vec::with_capacity(planes.len());
            for plane in planes {
                let key = link.receiver.take(elements)?;
                let choice = Plane::from_words(key.choices().words());
                let correction = plane.xor(&choice);
                correction.write_to(&mut message, elements);
                keys.push((key, choice, correction));
            }
            let received = link.channel.exchange(&message, length(down))?;
            let mut rest = received.as_slice();
            for (j, (plane, (key, choice, correction))) in planes.iter().zip(&keys).enumerate() {
                let w = product_bits(j);
                let (part, tail) = rest.split_at((elements * w as usize).div_ceil(8));
                rest = tail;
                for (i, e) in unpack_bits(part, w, elements)?.into_iter().enumerate() {
                    let taken = e & choice.bit(i).wrapping_neg();
                    let t = pad_word(&key.pads()[i]).wrapping_add(taken);
                    add_bit(&mut words[i], plane.bit(i), negate_if(t, correction.bit(i)), j);
                }
            }
        }
        Role::Server => {
            let mut keys = Vec::with_capacity(planes.len());
            for (j, plane) in planes.iter().enumerate() {
                let key = link.sender.take(elements)?;
                let pads = key.pads0().iter().zip(key.pads1());
                let corrections: Zeroizing<Vec<u64>> = Zeroizing::new(
                    pads.enumerate()
                        .map(|(i, (r0, r1))| {
                            let difference = pad_word(r0).wrapping_sub(pad_word(r1));
                            difference.wrapping_add(plane.bit(i)) & mask(product_bits(j))
                        })
                        .collect(),
                );
                message.extend(pack_bits(corrections.iter().copied(), product_bits(j)));
                keys.push(key);
            }
            let received = link.channel.exchange(&message, length(up))?;
            let corrections = read_planes(&received, elements);
            for (j, ((plane, key), correction)) in
                planes.iter().zip(&keys).zip(corrections).enumerate()
            {
                for (i, r0) in key.pads0().iter().enumerate() {
                    let (b, d) = (plane.bit(i), correction.bit(i));
                    let product = negate_if(pad_word(r0), 1 - d).wrapping_add(b & d);
                    add_bit(&mut words[i], b, product, j);
                }
            }
            for word in words.iter_mut() {
                *word = word.wrapping_add(lo.cast_unsigned());
            }
        }
    }
    words.iter_mut().for_each(|word| *word &= mask(bits));
    Ok(words)
}

/// `value` if `negative` is 0, `-value` if it is 1.
fn negate_if(value: u64, negative: u64) -> u64 {
    (value ^ negative.wrapping_neg()).wrapping_add(negative)
}

/// Adds this party's share of bit j: its own bit minus twice its share of the product.
fn add_bit(word: &mut u64, own: u64, product: u64, j: usize) {
    *word = word.wrapping_add(own.wrapping_sub(product << 1) << j);
}
