//! Counts circuits: the messages and random OTs that executing them takes.

use super::{Comparison, Digit, Equality, PlaneMachine, Products, are_products, plane_bytes};
use crate::traffic::{RotRun, RotSender, Step, Traffic};
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

    fn take(&mut self, sender: RotSender, planes: u64, bits: u64) {
        let elements = self.elements as u64;
        self.traffic.rots.push(RotRun { sender, planes, elements, bits });
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

    fn server_any(&mut self, _: u32, _: u32) {}

    fn xor(&mut self, (): &(), (): &()) {}

    fn not(&mut self, (): &()) {}

    fn and(&mut self, groups: &[Products<()>]) -> Result<Vec<Vec<()>>, Infallible> {
        let planes: usize = groups.iter().map(|group| 1 + group.others.len()).sum();
        let bytes = planes as u64 * plane_bytes(self.elements);
        self.traffic.steps.push(Step::Exchange { up: bytes, down: bytes });
        for group in groups {
            self.take(RotSender::Server, 1, group.others.len() as u64);
            self.take(RotSender::Client, 1, group.others.len() as u64);
        }
        Ok(groups.iter().map(|group| group.others.clone()).collect())
    }

    fn compare_digits(&mut self, digits: &[Digit]) -> Result<Vec<Comparison<()>>, Infallible> {
        let choices: u64 = digits.iter().map(|digit| u64::from(digit.width)).sum();
        let messages: u64 = digits.iter().map(Digit::message_planes).sum();
        let plane = plane_bytes(self.elements);
        let (up, down) = (choices * plane, messages * plane);
        if are_products(digits) {
            self.traffic.steps.push(Step::Exchange { up, down });
        } else {
            self.traffic.steps.push(Step::Up { count: 1, bytes: up });
            self.traffic.steps.push(Step::Down { count: 1, bytes: down });
        }
        for digit in digits {
            self.take(RotSender::Server, u64::from(digit.width), digit.pad_bits());
        }
        Ok(digits
            .iter()
            .map(|digit| Comparison {
                greater: (),
                equal: (digit.equality == Equality::Shared).then_some(()),
            })
            .collect())
    }
}
