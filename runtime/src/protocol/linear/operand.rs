//! The operand of a linear layer: from shares mod a power of two to coefficients mod `t`.
//!
//! A coefficient is the sum of its elements, `sum x_i*2^(i*D) mod t`, D the width of a field. An
//! element in a field below the top one must be shared mod `2^(log2 t - i*D)`, which is wider than D: its
//! shares are *lifted*. With `x' = x - lo` in `[0, 2^(D-1))`, shared mod `2^D`, and `m` the top bits of the
//! two shares, `x' = x'_c + x'_s - 2^D + 2^D*(1-m_c)*(1-m_s)` over the integers: two shares without a top bit do
//! not wrap; all others do, since the top bit of x' itself is 0. One correlated OT shares the product.
//! Derivation: docs/protocols/packing.md.

use crate::error::RunError;
use crate::protocol::bit_products::multiply;
use crate::protocol::{Link, Role};
use crate::share::{Plane, Words, mask, words_of_planes};
use heq_ir::plan::LinearStep;
use heq_ir::secure::Domain;
use zeroize::Zeroizing;

/// This party's shares mod t of all elements of an operand that lives as `operand`: lifted where the
/// layout packs the element into a lower field.
///
/// The client's own values need no lift: its share is the value, the server's is 0.
///
/// # Errors
/// [`RunError`] if the peer goes away or sends a malformed message, or the operand is no operand of a
/// linear step.
pub(super) fn lift(
    link: &mut Link<'_>,
    step: &LinearStep<'_>,
    operand: Domain,
    shares: &[u64],
) -> Result<Words, RunError> {
    let plain_mask = mask(step.op.plain_bits());
    let mut words: Words = Zeroizing::new(shares.iter().map(|word| word & plain_mask).collect());
    let range = match operand {
        Domain::Client { .. } => return Ok(words),
        Domain::Arithmetic { range, .. } => range,
        Domain::Accumulator { .. } | Domain::Boolean { .. } | Domain::Revealed => {
            return Err(RunError::Internal { what: "a linear step reads exact words alone" });
        }
    };
    let lifted = step.lifted_elements(operand);
    if lifted.is_empty() {
        return Ok(words);
    }
    let field_bits = step.op.packing.field_bits();
    // The server moves the range to 0, and takes the wrap off.
    let (lo, wrap) = match link.role {
        Role::Client => (0, 0),
        Role::Server => (range.lo.cast_unsigned(), 1 << field_bits),
    };
    let moved = |index: usize| shares[index].wrapping_sub(lo) & mask(field_bits);
    let is_low = lifted.iter().map(|&index| 1 - (moved(index) >> (field_bits - 1)));
    let bits = [(Plane::from_bits(lifted.len(), is_low), step.op.plain_bits() - field_bits)];
    let products = multiply(link, &bits, lifted.len())?;
    let products = products.first().map_or(&[][..], Vec::as_slice);
    for (&index, product) in lifted.iter().zip(words_of_planes(products, lifted.len()).iter()) {
        let unwrapped = moved(index).wrapping_sub(wrap).wrapping_add(product << field_bits);
        words[index] = unwrapped.wrapping_add(lo) & plain_mask;
    }
    Ok(words)
}

/// The coefficients of request `request`, with their places: sums of `words` in their fields, mod t.
pub(super) fn coefficients(
    step: &LinearStep<'_>,
    request: usize,
    words: &[u64],
) -> Zeroizing<Vec<(usize, u64)>> {
    // Degrees are powers of two.
    let last = step.params.ring_degree() - 1;
    let (first, length) = step.layout.request_window();
    let field_bits = step.op.packing.field_bits() as usize;
    let mut sums: Words = Zeroizing::new(vec![0; length]);
    for run in step.layout.request_runs(request) {
        let shift = run.field * field_bits;
        for (coefficient, index) in run.elements() {
            let sum = &mut sums[coefficient.wrapping_sub(first) & last];
            *sum = sum.wrapping_add(words[index] << shift);
        }
    }
    let plain_mask = mask(step.op.plain_bits());
    let place = |(index, sum): (usize, &u64)| ((first + index) & last, sum & plain_mask);
    Zeroizing::new(sums.iter().enumerate().map(place).collect())
}
