//! Bits to arithmetic shares, in one exchange.
//!
//! Bit j is `a ^ b = a + b - 2ab`, `a` the client's share, `b` the server's: its product is needed
//! mod `2^(L-j-1)`.

use super::bit_products::multiply;
use super::{Link, Role};
use crate::error::RunError;
use crate::share::{Plane, Words, mask};
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
    let product_bits = (0..bits).rev();
    let operands: Vec<_> = planes.iter().cloned().zip(product_bits).collect();
    let products = multiply(link, &operands, elements)?;
    let offset = if link.role == Role::Server { lo.cast_unsigned() } else { 0 };
    let mut words: Words = Zeroizing::new(vec![offset; elements]);
    for (j, (plane, products)) in planes.iter().zip(&products).enumerate() {
        for (i, (word, product)) in words.iter_mut().zip(products.iter()).enumerate() {
            let bit = plane.bit(i).wrapping_sub(product << 1);
            *word = word.wrapping_add(bit << j);
        }
    }
    words.iter_mut().for_each(|word| *word &= mask(bits));
    Ok(words)
}
