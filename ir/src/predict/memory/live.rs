//! Counts the planes that a circuit holds at once, by running it on planes that are only counted.

use crate::protocol::{Comparison, Digit, Equality, PlaneMachine, Products, are_products};
use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

/// Planes that there are, and most that there were.
#[derive(Debug, Default)]
struct Counter {
    live: Cell<u64>,
    most: Cell<u64>,
}

impl Counter {
    fn add(&self, planes: u64) {
        let live = self.live.get().saturating_add(planes);
        self.live.set(live);
        self.most.set(self.most.get().max(live));
    }

    fn take_off(&self, planes: u64) {
        self.live.set(self.live.get().saturating_sub(planes));
    }
}

/// A plane that is counted as long as it lives; the default is empty.
#[derive(Debug, Default)]
pub(super) struct LivePlane(Option<Rc<Counter>>);

impl LivePlane {
    fn new(counter: &Rc<Counter>) -> Self {
        counter.add(1);
        Self(Some(Rc::clone(counter)))
    }
}

impl Clone for LivePlane {
    fn clone(&self) -> Self {
        self.0.as_ref().map_or_else(Self::default, Self::new)
    }
}

impl Drop for LivePlane {
    fn drop(&mut self) {
        if let Some(counter) = &self.0 {
            counter.take_off(1);
        }
    }
}

/// Holds planes as `runtime/src/protocol/gates.rs` does, of either party the larger number.
#[derive(Debug, Default)]
pub(super) struct LiveMachine {
    counter: Rc<Counter>,
}

impl LiveMachine {
    /// A plane that is given to the circuit.
    pub(super) fn plane(&self) -> LivePlane {
        LivePlane::new(&self.counter)
    }

    /// Most planes that there were at once.
    pub(super) fn most(&self) -> u64 {
        self.counter.most.get()
    }

    /// Counts `planes` that there are for a while.
    fn pass(&self, planes: u64) {
        self.counter.add(planes);
        self.counter.take_off(planes);
    }
}

impl PlaneMachine for LiveMachine {
    type Plane = LivePlane;
    type Error = Infallible;

    fn server_bit(&mut self, _: u32) -> LivePlane {
        self.plane()
    }

    fn client_bit(&mut self, _: u32) -> LivePlane {
        self.plane()
    }

    fn server_any(&mut self, _: u32, _: u32) -> LivePlane {
        // The result so far, the next bit, and two results of gates on them.
        self.pass(4);
        self.plane()
    }

    fn xor(&mut self, _: &LivePlane, _: &LivePlane) -> LivePlane {
        self.plane()
    }

    fn not(&mut self, _: &LivePlane) -> LivePlane {
        self.pass(2);
        self.plane()
    }

    fn and(&mut self, groups: &[Products<LivePlane>]) -> Result<Vec<Vec<LivePlane>>, Infallible> {
        // The choices of every group, and up to four planes of the product at hand.
        let choices = groups.len() as u64 + 4;
        self.counter.add(choices);
        let products = groups
            .iter()
            .map(|group| group.others.iter().map(|_| LivePlane::new(&self.counter)).collect());
        let products = products.collect();
        self.counter.take_off(choices);
        Ok(products)
    }

    fn compare_digits(
        &mut self,
        digits: &[Digit],
    ) -> Result<Vec<Comparison<LivePlane>>, Infallible> {
        let sum = |planes: fn(&Digit) -> u64| digits.iter().map(planes).sum::<u64>();
        if are_products(digits) {
            // Factors, choices, corrections, and the product at hand.
            self.pass(4 * digits.len() as u64 + 4);
        } else {
            // Of the client choices and keys of all digits; of the server all messages of a digit.
            let client = sum(|digit| u64::from(digit.width + digit.result_planes()));
            let messages = |digit: &Digit| {
                let results = u64::from(digit.result_planes());
                (results + 2) << digit.width
            };
            let largest = digits.iter().map(messages).max().unwrap_or(0);
            self.pass(client.saturating_add(largest));
        }
        let result = |digit: &Digit| Comparison {
            greater: LivePlane::new(&self.counter),
            equal: (digit.equality == Equality::Shared).then(|| LivePlane::new(&self.counter)),
        };
        Ok(digits.iter().map(result).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::circuit::Circuit;

    #[test]
    fn planes_that_no_gate_reads_any_more_are_not_counted() {
        let run = |length: usize| {
            let mut circuit = Circuit::default();
            let mut wire = circuit.input();
            let other = circuit.input();
            for _ in 0..length {
                wire = circuit.and(wire, other);
            }
            let mut machine = LiveMachine::default();
            let inputs = vec![machine.plane(), machine.plane()];
            let Ok(outputs) = circuit.run(&mut machine, inputs, &[wire]);
            assert_eq!((outputs.len(), machine.counter.live.get()), (1, 1));
            drop(outputs);
            assert_eq!(machine.counter.live.get(), 0);
            machine.most()
        };
        // Two inputs and copies of both for the gate, a choice, four for a while, the product.
        assert_eq!(run(1), 10);
        assert_eq!(run(7), run(70));
    }
}
