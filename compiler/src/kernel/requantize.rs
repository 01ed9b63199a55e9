//! Candidates of a requantization: the digit width of its comparison.

use heq_ir::protocol::count::CountMachine;
use heq_ir::protocol::requantize::{RequantizeForm, RequantizeWidths, requantize};
use heq_ir::traffic::Traffic;

/// Every form with its traffic over `elements` elements.
pub fn candidates(
    widths: &RequantizeWidths,
    elements: usize,
) -> impl Iterator<Item = (RequantizeForm, Traffic)> {
    (1..=RequantizeForm::MAX_DIGIT_BITS).map(move |digit_bits| {
        let form = RequantizeForm { digit_bits };
        let mut machine = CountMachine::new(elements);
        let Ok(_) = requantize(&mut machine, widths, &form);
        (form, machine.finish())
    })
}
