//! A step's traffic in stages: what is held together of its messages and random OTs.

use super::{Both, plane};
use crate::protocol::plane_bytes;
use crate::traffic::{RotRun, RotSender, Step, Traffic};
use std::ops::Range;

/// Messages that go out without waiting for the other party's, and the random OTs that they take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    /// Bytes of messages, up and down.
    bytes: [u64; 2],
    /// Bytes of the largest message, up and down.
    largest: [u64; 2],
    /// Random OTs of the step that it takes.
    pub(super) runs: Range<usize>,
    pub(super) usage: Usage,
}

/// How random OTs of a stage are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// All are taken before the first is used up.
    Together,
    /// Each is used up before the next is taken: 1-of-2^k OTs.
    OneByOne,
}

impl Stage {
    /// What both parties hold of its messages: what they send while it is made and while it waits for the
    /// socket, and what they receive.
    fn messages(&self) -> Both {
        let [up, down] = self.bytes;
        let [largest_up, largest_down] = self.largest;
        let moved = up.saturating_add(down);
        Both {
            client: moved.saturating_add(largest_up),
            server: moved.saturating_add(largest_down),
        }
    }
}

/// What both parties hold of a run: the sender two pads, the receiver one and the choices.
pub(super) fn run_memory(run: &RotRun) -> Both {
    let pads = run.pad_bytes();
    let elements = usize::try_from(run.elements).unwrap_or(usize::MAX);
    let choices = plane(elements).saturating_mul(run.planes);
    Both::of_sender(run.sender, pads, (pads / 2).saturating_add(choices))
}

/// The stages of a step: an exchange is one, and so are consecutive messages one way. The messages say how
/// many random OTs a stage takes, as in `runtime/src/protocol/`.
pub(super) fn stages(traffic: &Traffic) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    let mut taken = 0;
    let mut last_way = None;
    for step in &traffic.steps {
        let (way, usage, bytes, largest, corrections) = match *step {
            Step::Up { count, bytes } => {
                let all = count.saturating_mul(bytes);
                (Some(0), Usage::OneByOne, [all, 0], [bytes, 0], all)
            }
            Step::Down { count, bytes } => {
                (Some(1), Usage::OneByOne, [0, count.saturating_mul(bytes)], [0, bytes], 0)
            }
            Step::Exchange { up, down } => (None, Usage::Together, [up, down], [up, down], up),
        };
        let start = taken;
        taken = end_of_stage(&traffic.rots, start, usage, corrections);
        match stages.last_mut() {
            Some(stage) if way.is_some() && way == last_way => {
                for (sum, bytes) in stage.bytes.iter_mut().zip(bytes) {
                    *sum = sum.saturating_add(bytes);
                }
                for (most, bytes) in stage.largest.iter_mut().zip(largest) {
                    *most = (*most).max(bytes);
                }
                stage.runs.end = taken;
            }
            _ => stages.push(Stage { bytes, largest, runs: start..taken, usage }),
        }
        last_way = way;
    }
    if taken < traffic.rots.len() {
        let runs = taken..traffic.rots.len();
        let usage = Usage::Together;
        stages.push(Stage { bytes: [0; 2], largest: [0; 2], runs, usage });
    }
    stages
}

/// Where the random OTs end that messages of `corrections` bytes up are for: a plane for every plane of a
/// 1-of-2^k OT or of products of the parties' own bits; of a group of products of shared bits, which takes
/// one run each way, a plane for the common factor and each of the others.
fn end_of_stage(rots: &[RotRun], start: usize, usage: Usage, corrections: u64) -> usize {
    let (mut end, mut sent) = (start, 0_u64);
    while let Some(run) = rots.get(end).filter(|_| sent < corrections) {
        let elements = usize::try_from(run.elements).unwrap_or(usize::MAX);
        let is_group = usage == Usage::Together
            && rots.get(end + 1).is_some_and(|next| {
                run.sender == RotSender::Server && next.sender == RotSender::Client
            });
        let planes = if is_group { run.bits.saturating_add(1) } else { run.planes };
        sent = sent.saturating_add(planes.saturating_mul(plane_bytes(elements)));
        end += if is_group { 2 } else { 1 };
    }
    end
}

/// Bytes of messages of `traffic` that each party holds at once, `[client, server]`.
#[must_use]
pub fn traffic_memory(traffic: &Traffic) -> [u64; 2] {
    let mut most = Both::default();
    let mut received = 0;
    for stage in stages(traffic) {
        // The server reads the corrections of a 1-of-2^k OT while it makes its message.
        let both = stage.messages().add(Both { client: 0, server: received });
        most = most.max(both);
        received = if stage.usage == Usage::OneByOne { stage.bytes[0] } else { 0 };
    }
    [most.client, most.server]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::count::CountMachine;
    use crate::protocol::table::TableWidths;
    use crate::protocol::to_arithmetic::ToArithmeticForm;
    use crate::protocol::{Digit, Equality, PlaneMachine, Products};

    #[test]
    fn every_run_is_of_the_stage_that_takes_it() {
        let circuit = {
            let mut machine = CountMachine::new(100);
            let digit = |low, width| Digit { low, width, equality: Equality::Shared };
            let Ok(_) = machine.compare_digits(&[digit(0, 2), digit(2, 3)]);
            let group = |others| Products { common: (), others: vec![(); others] };
            let Ok(_) = machine.and(&[group(1), group(3)]);
            let Ok(_) = machine.and(&[group(2)]);
            machine.finish()
        };
        let table = TableWidths { input_bits: 3, result_bits: 2 }.traffic(8193);
        let direct = ToArithmeticForm::Direct.traffic(100, 3, 5);
        for (traffic, expected) in [
            (circuit, vec![[0, 2], [2, 2], [2, 6], [6, 8]]),
            (table, vec![[0, 2], [2, 2]]),
            (direct, vec![[0, 3]]),
            (Traffic::default(), vec![]),
        ] {
            let ends = |stage: Stage| [stage.runs.start, stage.runs.end];
            let found: Vec<_> = stages(&traffic).into_iter().map(ends).collect();
            assert_eq!(found, expected, "{traffic:?}");
        }
    }

    #[test]
    fn messages_of_a_stage_are_held_together() {
        let exchange = Step::Exchange { up: 10, down: 100 };
        let up = |bytes| Step::Up { count: 1, bytes };
        let down = |bytes| Step::Down { count: 1, bytes };
        for (steps, expected) in [
            (vec![], [0, 0]),
            (vec![exchange.clone()], [120, 210]),
            (vec![exchange.clone(), exchange], [120, 210]),
            // Both messages one way wait; the larger is made while the other does.
            (vec![up(7), up(5)], [19, 12]),
            // The server answers while it reads.
            (vec![up(7), down(100)], [100, 207]),
        ] {
            let traffic = Traffic::new(steps, Vec::new());
            assert_eq!(traffic_memory(&traffic), expected, "{traffic:?}");
        }
    }
}
