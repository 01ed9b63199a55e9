//! Counts circuits: the messages and random OTs that executing them takes.

use super::{Comparison, Digit, Equality, PlaneMachine, Products, plane_bytes};
use crate::traffic::{Step, Traffic};
use std::convert::Infallible;

/// Collects the traffic of a circuit over tensors of a given size.
#[derive(Clone, Debug)]
pub struct CountMachine {
    elements: usize,
    traffic: Traffic,
}

impl CountMachine {
    /// A machine over planes of `elements` bits.
    #[must_use]
    pub fn new(elements: usize) -> Self {
        Self { elements, traffic: Traffic::default() }
    }

    /// What has been counted.
    #[must_use]
    pub fn finish(self) -> Traffic {
        self.traffic
    }
}

impl PlaneMachine for CountMachine {
    type Plane = ();
    type Error = Infallible;

    fn server_bit(&mut self, _: u32) {}

    fn client_bit(&mut self, _: u32) {}

    fn xor(&mut self, (): &(), (): &()) {}

    fn not(&mut self, (): &()) {}

    fn and(&mut self, groups: &[Products<()>]) -> Result<Vec<Vec<()>>, Infallible> {
        let planes: usize = groups.iter().map(|group| 1 + group.others.len()).sum();
        let bytes = planes as u64 * plane_bytes(self.elements);
        let rots = (groups.len() * self.elements) as u64;
        self.traffic.steps.push(Step::Exchange { up: bytes, down: bytes });
        self.traffic.rots.server_sends += rots;
        self.traffic.rots.client_sends += rots;
        Ok(groups.iter().map(|group| group.others.clone()).collect())
    }

    fn compare_digits(&mut self, digits: &[Digit]) -> Result<Vec<Comparison<()>>, Infallible> {
        let choices: u64 = digits.iter().map(|digit| u64::from(digit.width)).sum();
        let messages: u64 = digits.iter().map(Digit::message_planes).sum();
        let plane = plane_bytes(self.elements);
        self.traffic.steps.push(Step::Up { count: 1, bytes: choices * plane });
        self.traffic.steps.push(Step::Down { count: 1, bytes: messages * plane });
        self.traffic.rots.server_sends += choices * self.elements as u64;
        Ok(digits
            .iter()
            .map(|digit| Comparison {
                greater: (),
                equal: (digit.equality == Equality::Shared).then_some(()),
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::requantize::{RequantizeForm, RequantizeWidths, requantize};

    #[test]
    fn bits_and_random_ots_of_a_requantization() {
        // docs/protocols/requantize.md derives these; b conversions to arithmetic are apart.
        for (acc_bits, guard_bits, shift, limit, bits, rots, flights) in [
            (16, 1, 8, 15, 100, 39, 15),
            (13, 1, 8, 3, 80, 31, 12),
            // One product a limit bit above the lowest 0, and one for the sign.
            (16, 1, 8, 14, 116, 47, 14),
            (16, 1, 8, 8, 116, 47, 14),
            (16, 1, 8, 11, 108, 43, 14),
            (13, 1, 8, 2, 88, 35, 11),
            (12, 1, 8, 2, 80, 31, 10),
            // Nothing is removed: no comparison of digits.
            (8, 0, 0, 7, 52, 24, 11),
            (8, 0, 0, 5, 60, 28, 9),
        ] {
            let result_bits = u32::BITS - u32::leading_zeros(limit);
            let widths = RequantizeWidths { acc_bits, guard_bits, shift, result_bits, limit };
            let elements = 8;
            let mut machine = CountMachine::new(elements);
            let form = RequantizeForm { digit_bits: 2 };
            match requantize(&mut machine, &widths, &form) {
                Ok(planes) => assert_eq!(planes.len(), result_bits as usize),
            }
            let traffic = machine.finish();
            let (up, down) = traffic.payload_bytes();
            let found = (up + down, traffic.rots.total(), traffic.steps.len());
            assert_eq!(found, (bits, rots * elements as u64, flights), "{widths:?}");
        }
    }
}
