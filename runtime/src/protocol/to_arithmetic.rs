//! Bits to arithmetic shares, in one exchange or by way of shares of their own width.
//!
//! Bit j is `a ^ b = a + b - 2ab`, `a` the client's share, `b` the server's: its product is needed
//! mod `2^(L-j-1)`, and not at all if that is 1.

use super::bit_products::multiply;
use super::gates::Gates;
use super::sliced::{add_constant, subtract};
use super::{Link, Role};
use crate::error::RunError;
use crate::share::{Plane, Words, mask, planes_of_words, words_of_planes};
use heq_ir::protocol::adder::CarryForm;
use heq_ir::protocol::to_arithmetic::{ToArithmeticForm, wrap};
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
    form: ToArithmeticForm,
) -> Result<Words, RunError> {
    match form {
        ToArithmeticForm::Direct => direct(link, planes, elements, bits, lo),
        ToArithmeticForm::Lifted(form) => lifted(link, planes, elements, bits, lo, form),
    }
}

/// By way of shares of the planes' own width `b`: their sum is too large by `2^b` if it wraps.
fn lifted(
    link: &mut Link<'_>,
    planes: &[Plane],
    elements: usize,
    bits: u32,
    lo: i64,
    form: CarryForm,
) -> Result<Words, RunError> {
    const NARROW: RunError = RunError::Internal { what: "shares are no wider than the bits" };
    let width = u32::try_from(planes.len()).map_err(|_| NARROW)?;
    let above = bits.checked_sub(width).filter(|&above| above > 0).ok_or(NARROW)?;
    let narrow = direct(link, planes, elements, width, 0)?;
    let own = planes_of_words(&narrow, width);
    let wraps = wrap(&mut Gates::new(link, &own, elements), width, form)?;
    let wraps = direct(link, wraps.as_slice(), elements, above, 0)?;
    let offset = if link.role == Role::Server { lo.cast_unsigned() } else { 0 };
    let lift = |(narrow, wraps): (&u64, &u64)| {
        narrow.wrapping_sub(wraps << width).wrapping_add(offset) & mask(bits)
    };
    Ok(Zeroizing::new(narrow.iter().zip(wraps.iter()).map(lift).collect()))
}

/// Bit by bit, all in one exchange.
fn direct(
    link: &mut Link<'_>,
    planes: &[Plane],
    elements: usize,
    bits: u32,
    lo: i64,
) -> Result<Words, RunError> {
    // A product mod 1 is none.
    let product_bits = (1..bits).rev();
    let factors: Vec<_> = planes.iter().cloned().zip(product_bits).collect();
    let products = multiply(link, &factors, elements)?;
    let mut sum = planes.to_vec();
    sum.resize(bits as usize, Plane::zeros(elements));
    for (j, product) in products.iter().enumerate() {
        subtract(&mut sum, j + 1, product.iter().map(Plane::words));
    }
    if link.role == Role::Server {
        add_constant(&mut sum, lo.cast_unsigned(), elements);
    }
    Ok(words_of_planes(&sum, elements))
}
