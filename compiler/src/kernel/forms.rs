//! Candidates of the circuits on shared bits: their forms, each with its traffic.

use crate::select::options::FormRule;
use heq_ir::protocol::count::CountMachine;
use heq_ir::protocol::max_pool::{ComparisonForm, max_over_positions};
use heq_ir::protocol::requantize::{RequantizeForm, RequantizeWidths, requantize};
use heq_ir::protocol::to_arithmetic::ToArithmeticForm;
use heq_ir::traffic::{FlightClock, RotCounts, RotRun, Traffic};

impl FormRule {
    /// The forms that may be used among `all` forms of one step, in their order: at least one of any.
    pub fn among<F>(self, all: impl Iterator<Item = (F, Traffic)>) -> Vec<(F, Traffic)> {
        let all: Vec<(F, Traffic)> = all.collect();
        let flights = |traffic: &Traffic| FlightClock::default().advance(traffic);
        let sizes = |traffic: &Traffic| {
            let (up, down) = traffic.payload_bytes();
            [up + down, RotCounts::sum(&traffic.rots, RotRun::rows).total()]
        };
        let fewest = all.iter().map(|(_, traffic)| flights(traffic)).min();
        let all_sizes: Vec<[u64; 2]> = all.iter().map(|(_, traffic)| sizes(traffic)).collect();
        let is_beaten = |own: [u64; 2]| {
            let beats = |other: &[u64; 2]| {
                *other != own && other.iter().zip(&own).all(|(other, own)| other <= own)
            };
            all_sizes.iter().any(beats)
        };
        let allows = |traffic: &Traffic| match self {
            Self::Any => true,
            Self::FewestBytes => !is_beaten(sizes(traffic)),
            Self::FewestFlights => Some(flights(traffic)) == fewest,
        };
        all.into_iter().filter(|(_, traffic)| allows(traffic)).collect()
    }
}

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
    use crate::kernel::price::{Price, Weights};
    use heq_ir::link::LinkProfile;
    use heq_ir::predict::{CostProfile, Situation};
    use heq_ir::traffic::FlightClock;
    use std::time::Duration;

    #[test]
    fn small_tensors_take_few_flights_and_large_ones_few_bytes() {
        let widths =
            RequantizeWidths { acc_bits: 16, guard_bits: 1, shift: 8, result_bits: 4, limit: 15 };
        for (elements, rtt_us, is_short) in
            [(128, 200, true), (1_000_000, 200, false), (1_000_000, 2_000_000, true)]
        {
            let link = LinkProfile::new(16_000_000, Duration::from_micros(rtt_us)).unwrap();
            let profile = CostProfile::default();
            let situation =
                Situation { profile: &profile, link: Some(link), threads: 1, is_shared: false };
            let weights = Weights { path: 1.0, cpu: 0.0, byte: 0.0, row: 0.0, held: 0.0 };
            let price = Price { situation, inferences: 1, weights };
            let priced = of_requantize(&widths, elements)
                .map(|(_, traffic)| (price.traffic(&traffic), traffic));
            let (_, traffic) = priced.min_by(|(a, _), (b, _)| a.total_cmp(b)).unwrap();
            let (up, down) = traffic.payload_bytes();
            let flights = FlightClock::default().advance(&traffic);
            let planes = (up + down) / (elements as u64 / 8);
            // The fewest flights of all forms are 7, the fewest planes 83.
            let is_near = if is_short { flights <= 8 } else { planes <= 87 && flights >= 14 };
            assert!(is_near, "{elements} {rtt_us}: {flights} flights, {planes} planes");
        }
    }
    #[test]
    fn rules_leave_extreme_forms() {
        let flights = |traffic: &Traffic| FlightClock::default().advance(traffic);
        let bytes = |traffic: &Traffic| {
            let (up, down) = traffic.payload_bytes();
            up + down
        };
        let widths = |acc_bits, shift| RequantizeWidths {
            acc_bits,
            guard_bits: 1,
            shift,
            result_bits: 4,
            limit: 15,
        };
        let requantize = |acc_bits, shift| {
            let widths = widths(acc_bits, shift);
            let forms = of_requantize(&widths, 1024);
            forms.map(|(_, traffic)| traffic).collect()
        };
        let all: [(&str, Vec<Traffic>); 5] = [
            ("requantize 16", requantize(16, 8)),
            ("requantize 37", requantize(37, 20)),
            ("requantize 6", requantize(6, 0)),
            ("max pool", of_max_pool(1024, 4, 4).map(|(_, traffic)| traffic).collect()),
            ("arithmetic", of_to_arithmetic(1024, 4, 16).map(|(_, traffic)| traffic).collect()),
        ];
        for (name, all) in all {
            let of_rule = |rule: FormRule| -> Vec<Traffic> {
                let found = rule.among(all.iter().map(|traffic| ((), traffic.clone())));
                found.into_iter().map(|(_, traffic)| traffic).collect()
            };
            assert_eq!(of_rule(FormRule::Any), all, "{name}");
            let small = of_rule(FormRule::FewestBytes);
            assert_eq!(small.iter().map(bytes).min(), all.iter().map(bytes).min(), "{name}");
            let quick = of_rule(FormRule::FewestFlights);
            let fewest = all.iter().map(flights).min().unwrap();
            assert!(quick.iter().all(|traffic| flights(traffic) == fewest), "{name}");
            let most = |forms: &[Traffic]| forms.iter().map(flights).max();
            assert!(!quick.is_empty() && most(&quick) <= most(&small), "{name}");
        }
    }
}
