//! Requantization: rounds words early if the plan says so, moves them, and runs the circuit.
//!
//! All but the circuit ([`heq_ir::protocol::requantize`]) is local. docs/protocols/requantize.md,
//! docs/protocols/linear.md.

use super::gates::Gates;
use super::{Link, Role};
use crate::error::RunError;
use crate::share::{Plane, Words, mask, planes_of_words};
use heq_ir::protocol::requantize::{self, RequantizeForm, RequantizeWidths};
use heq_ir::rounding::EarlyRounding;
use zeroize::Zeroizing;

/// Shares of the bits of `clamp((acc + 2^(s-1)) >> s, lo, hi) - lo`, lowest first, from this party's
/// `words` of accumulators.
///
/// With `rounding` the words are rounded first, and `widths` are those of the rounded accumulator.
///
/// **Security**: neither party learns anything; messages depend on widths and element count alone.
///
/// # Errors
/// [`RunError`] if the peer goes away or sends a malformed message.
pub fn requantize(
    link: &mut Link<'_>,
    rounding: Option<EarlyRounding>,
    widths: &RequantizeWidths,
    lo: i64,
    form: &RequantizeForm,
    words: &[u64],
) -> Result<Vec<Plane>, RunError> {
    let offset = if link.role == Role::Server { widths.offset(lo) } else { 0 };
    let rounded = |word: u64| match (rounding, link.role) {
        (None, _) => word,
        (Some(rounding), Role::Client) => rounding.round_client(word),
        (Some(rounding), Role::Server) => rounding.round_server(word),
    };
    let word_mask = mask(widths.word_bits());
    let moved = words.iter().map(|&word| rounded(word).wrapping_add(offset) & word_mask);
    let moved: Words = Zeroizing::new(moved.collect());
    let planes = planes_of_words(&moved, widths.word_bits());
    requantize::requantize(&mut Gates::new(link, &planes, moved.len()), widths, form)
}
