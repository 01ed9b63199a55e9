//! Candidates of the circuits on shared bits: their forms, each with its traffic.

use heq_ir::protocol::count::CountMachine;
use heq_ir::protocol::max_pool::{ComparisonForm, max_over_positions};
use heq_ir::protocol::requantize::{RequantizeForm, RequantizeWidths, requantize};
use heq_ir::protocol::to_arithmetic::ToArithmeticForm;
use heq_ir::traffic::Traffic;

/// Every form of a requantization with its traffic over `elements` elements.
pub fn of_requantize(
    widths: &RequantizeWidths,
    elements: usize,
) -> impl Iterator<Item = (RequantizeForm, Traffic)> {
    RequantizeForm::all(widths).map(move |form| {
        let mut machine = CountMachine::new(elements);
        let Ok(_) = requantize(&mut machine, widths, &form);
        (form, machine.finish())
    })
}

/// Every form of max pooling with its traffic over `outputs` windows of `positions` values of `bits`
/// bits.
pub fn of_max_pool(
    outputs: usize,
    positions: usize,
    bits: u32,
) -> impl Iterator<Item = (ComparisonForm, Traffic)> {
    ComparisonForm::ALL.into_iter().map(move |form| {
        let mut machine = CountMachine::new(outputs);
        let Ok(_) =
            max_over_positions(&mut machine, vec![vec![(); bits as usize]; positions], form);
        (form, machine.finish())
    })
}

/// Every form of turning `planes` planes into shares mod `2^bits` with its traffic over `elements`
/// elements.
pub fn of_to_arithmetic(
    elements: usize,
    planes: u32,
    bits: u32,
) -> impl Iterator<Item = (ToArithmeticForm, Traffic)> {
    ToArithmeticForm::all(planes, bits)
        .map(move |form| (form, form.traffic(elements, planes, bits)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::price::Objective;
    use heq_ir::traffic::FlightClock;

    #[test]
    fn small_tensors_take_few_flights_and_large_ones_few_bytes() {
        let widths =
            RequantizeWidths { acc_bits: 16, guard_bits: 1, shift: 8, result_bits: 4, limit: 15 };
        for (elements, flight_microseconds, flights, plane_count) in [
            (128, 100.0, 7, 136),
            (1_000_000, 100.0, 18, 83),
            (1_000_000, 1_000_000.0, 7, 136),
            (128, 0.0, 18, 83),
        ] {
            let objective = Objective {
                inferences: 1,
                ot_bytes: 0.0,
                bytes_per_microsecond: 2.0,
                flight_microseconds,
            };
            let priced = of_requantize(&widths, elements)
                .map(|(_, traffic)| (objective.traffic(&traffic), traffic));
            let (_, traffic) = priced.min_by(|(a, _), (b, _)| a.total_cmp(b)).unwrap();
            let (up, down) = traffic.payload_bytes();
            let found =
                (FlightClock::default().advance(&traffic), (up + down) / (elements as u64 / 8));
            assert_eq!(found, (flights, plane_count), "{elements} {flight_microseconds}");
        }
    }
}
