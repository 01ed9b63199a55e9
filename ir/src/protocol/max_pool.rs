//! Max pooling on shared bits, before they become arithmetic shares.
//!
//! All windows are reduced at once: a *value* here is the planes of one window position over all
//! windows. Unsigned values of b bits; padding is zero, which is the smallest value.

use super::PlaneMachine;
use super::adder::merge_runs;
use super::circuit::{Circuit, Comparison, Wire};
use serde::{Deserialize, Serialize};

/// How two values are compared; chosen by the planner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ComparisonForm {
    /// From bit to bit: fewest bits on the wire, b exchanges.
    Ripple,
    /// A tree: `1 + ceil(log2 b)` exchanges.
    Tree,
}

impl ComparisonForm {
    /// Every form.
    pub const ALL: [Self; 2] = [Self::Ripple, Self::Tree];
}

/// Whether `a` is greater than `b`; none without bits.
fn greater(circuit: &mut Circuit, a: &[Wire], b: &[Wire], form: ComparisonForm) -> Option<Wire> {
    let mut bits = a.iter().zip(b);
    match form {
        ComparisonForm::Ripple => bits.fold(None, |below, (&a, &b)| {
            let b = circuit.not(b);
            let Some(below) = below else { return Some(circuit.and(a, b)) };
            let (a, b) = (circuit.xor(a, below), circuit.xor(b, below));
            let differ = circuit.and(a, b);
            Some(circuit.xor(below, differ))
        }),
        ComparisonForm::Tree => {
            let runs = bits.by_ref().map(|(&a, &b)| {
                let b = circuit.not(b);
                Comparison { greater: circuit.and(a, b), equal: circuit.xor(a, b) }
            });
            let runs = runs.collect();
            merge_runs(circuit, runs).map(|run| run.greater)
        }
    }
}

/// The larger of two values.
fn maximum(circuit: &mut Circuit, a: &[Wire], b: &[Wire], form: ComparisonForm) -> Vec<Wire> {
    let Some(greater) = greater(circuit, a, b, form) else { return Vec::new() };
    let differences: Vec<_> = a.iter().zip(b).map(|(&a, &b)| circuit.xor(a, b)).collect();
    let selected = circuit.product_list(greater, &differences);
    b.iter().zip(selected).map(|(&b, selected)| circuit.xor(b, selected)).collect()
}

/// The maximum over all window positions: a tree of pairwise maxima.
///
/// `positions[p][j]`: plane `j` of window position `p`, over all windows. Returns the planes of the
/// maximum, lowest bit first; empty if there is no position.
///
/// **Security**: neither party learns anything; messages depend on widths and counts alone.
///
/// # Errors
/// The machine's error if an exchange fails.
pub fn max_over_positions<M: PlaneMachine>(
    machine: &mut M,
    positions: Vec<Vec<M::Plane>>,
    form: ComparisonForm,
) -> Result<Vec<M::Plane>, M::Error> {
    let mut circuit = Circuit::default();
    let mut values: Vec<Vec<Wire>> =
        positions.iter().map(|planes| planes.iter().map(|_| circuit.input()).collect()).collect();
    while values.len() > 1 {
        let pairs = values.chunks(2);
        values = pairs
            .map(|pair| match pair {
                [a, b] => maximum(&mut circuit, a, b, form),
                _ => pair[0].clone(),
            })
            .collect();
    }
    let outputs = values.pop().unwrap_or_default();
    circuit.run(machine, positions.into_iter().flatten().collect(), &outputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::clear::ClearMachine;
    use crate::protocol::count::CountMachine;

    #[test]
    fn maximum_of_every_triple() {
        for bits in 1..=3_u32 {
            let values = 1_u64 << bits;
            let triples: Vec<[u64; 3]> = (0..values.pow(3))
                .map(|i| [i % values, i / values % values, i / values / values])
                .collect();
            let position = |p: usize| -> Vec<Vec<u64>> {
                let mut planes = vec![vec![0; triples.len().div_ceil(64)]; bits as usize];
                for (i, triple) in triples.iter().enumerate() {
                    for (j, plane) in planes.iter_mut().enumerate() {
                        plane[i / 64] |= (triple[p] >> j & 1) << (i % 64);
                    }
                }
                planes
            };
            for form in ComparisonForm::ALL {
                let mut machine = ClearMachine::new(&[], &[]);
                let positions = (0..3).map(position).collect();
                let planes = max_over_positions(&mut machine, positions, form).unwrap();
                for (i, triple) in triples.iter().enumerate() {
                    let bit = |plane: &Vec<u64>| plane[i / 64] >> (i % 64) & 1;
                    let found = planes.iter().rev().fold(0, |value, plane| 2 * value + bit(plane));
                    assert_eq!(Some(&found), triple.iter().max(), "{form:?} {triple:?}");
                }
            }
        }
    }

    #[test]
    fn bits_and_random_ots_of_a_maximum() {
        for (bits, positions, form, expected) in [
            (4, 4, ComparisonForm::Tree, (120, 48, 8)),
            (4, 4, ComparisonForm::Ripple, (78, 30, 10)),
            (2, 2, ComparisonForm::Tree, (18, 8, 3)),
            (2, 2, ComparisonForm::Ripple, (14, 6, 3)),
            (8, 4, ComparisonForm::Tree, (258, 96, 10)),
            (8, 4, ComparisonForm::Ripple, (150, 54, 18)),
        ] {
            let mut machine = CountMachine::new(8);
            let Ok(_) = max_over_positions(&mut machine, vec![vec![(); bits]; positions], form);
            let traffic = machine.finish();
            let (up, down) = traffic.payload_bytes();
            let found = (up + down, traffic.rot_counts().total() / 8, traffic.steps.len());
            assert_eq!(found, expected, "{bits} {positions} {form:?}");
        }
    }
}
