//! Circuits on bit planes as data: built wire by wire, pruned, and run in as few exchanges as their
//! depth allows.
//!
//! Private bits are compared first, all digits together; then every exchange makes all products whose
//! factors are known. What no output needs is neither computed nor sent. Exclusive or and negation are
//! local. So a circuit says what it computes, and messages, flights and random OTs follow from that.

use super::{Digit, Equality, PlaneMachine, Products};
use std::ops::Range;

/// A plane of a circuit, by its position among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire(usize);

#[derive(Clone, Copy, Debug)]
enum Node {
    Input,
    ServerBit(u32),
    ClientBit(u32),
    ServerAny {
        low: u32,
        high: u32,
    },
    Xor(Wire, Wire),
    Not(Wire),
    Greater {
        digit: usize,
    },
    Equal {
        digit: usize,
    },
    /// A product of a group: of its common factor and the factor at this position.
    Product {
        group: usize,
        position: usize,
    },
}

/// Products of one common factor; their wires follow each other.
#[derive(Clone, Debug)]
struct Group {
    common: Wire,
    others: Vec<Wire>,
    first: usize,
}

/// Two numbers, or two runs of their digits, compared.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// Left is greater than right.
    pub greater: Wire,
    /// Left equals right.
    pub equal: Wire,
}

/// A circuit under construction.
#[derive(Clone, Debug, Default)]
pub struct Circuit {
    nodes: Vec<Node>,
    /// Lowest bit and width of every digit.
    digits: Vec<(u32, u32)>,
    groups: Vec<Group>,
}

impl Circuit {
    fn push(&mut self, node: Node) -> Wire {
        self.nodes.push(node);
        Wire(self.nodes.len() - 1)
    }

    /// The next of the shared planes that are given when the circuit runs.
    pub fn input(&mut self) -> Wire {
        self.push(Node::Input)
    }

    /// The server's private bit `bit`.
    pub fn server_bit(&mut self, bit: u32) -> Wire {
        self.push(Node::ServerBit(bit))
    }

    /// The client's private bit `bit`.
    pub fn client_bit(&mut self, bit: u32) -> Wire {
        self.push(Node::ClientBit(bit))
    }

    /// Whether any of the server's private bits `low..high` is set.
    pub fn server_any(&mut self, low: u32, high: u32) -> Wire {
        self.push(Node::ServerAny { low, high })
    }

    /// Exclusive or.
    pub fn xor(&mut self, a: Wire, b: Wire) -> Wire {
        self.push(Node::Xor(a, b))
    }

    /// Negation.
    pub fn not(&mut self, a: Wire) -> Wire {
        self.push(Node::Not(a))
    }

    /// Product of two planes.
    pub fn and(&mut self, a: Wire, b: Wire) -> Wire {
        let [product] = self.products(a, [b]);
        product
    }

    /// Products of `common` with each of `others`, in one exchange as soon as all are known.
    pub fn products<const N: usize>(&mut self, common: Wire, others: [Wire; N]) -> [Wire; N] {
        let first = self.all_products(common, &others).start;
        std::array::from_fn(|position| Wire(first + position))
    }

    /// As [`Circuit::products`], for any number of factors.
    pub fn product_list(&mut self, common: Wire, others: &[Wire]) -> Vec<Wire> {
        self.all_products(common, others).map(Wire).collect()
    }

    fn all_products(&mut self, common: Wire, others: &[Wire]) -> Range<usize> {
        let (group, first) = (self.groups.len(), self.nodes.len());
        self.groups.push(Group { common, others: others.to_vec(), first });
        self.nodes.extend((0..others.len()).map(|position| Node::Product { group, position }));
        first..self.nodes.len()
    }

    /// Compares the server's private bits `low..low + width` with the complement of the client's.
    pub fn compare(&mut self, low: u32, width: u32) -> Comparison {
        self.digits.push((low, width));
        let digit = self.digits.len() - 1;
        let greater = self.push(Node::Greater { digit });
        let equal = if width == 1 {
            // Of single bits equality is local.
            let (x, y) = (self.server_bit(low), self.client_bit(low));
            self.xor(x, y)
        } else {
            self.push(Node::Equal { digit })
        };
        Comparison { greater, equal }
    }

    /// The comparison of two adjacent runs of digits together.
    pub fn merge(&mut self, low: Comparison, high: Comparison) -> Comparison {
        let [greater, equal] = self.products(high.equal, [low.greater, low.equal]);
        Comparison { greater: self.xor(high.greater, greater), equal }
    }

    /// The values of `outputs` on a machine, given the planes of all inputs in order.
    ///
    /// # Errors
    /// The machine's error if an interactive step fails.
    pub fn run<M: PlaneMachine>(
        &self,
        machine: &mut M,
        inputs: Vec<M::Plane>,
        outputs: &[Wire],
    ) -> Result<Vec<M::Plane>, M::Error> {
        let schedule = Schedule::new(self, outputs);
        let mut values = vec![M::Plane::default(); self.nodes.len()];
        let nodes = self.nodes.iter().enumerate();
        let places = nodes.filter(|(_, node)| matches!(node, Node::Input)).map(|(place, _)| place);
        places.zip(inputs).for_each(|(place, input)| values[place] = input);
        self.run_digits(machine, &schedule, &mut values)?;
        for (index, level) in schedule.levels.iter().enumerate() {
            if index > 0 {
                self.run_products(machine, &schedule, level, &mut values)?;
            }
            for &wire in &level.local {
                values[wire] = match self.nodes[wire] {
                    Node::ServerBit(bit) => machine.server_bit(bit),
                    Node::ClientBit(bit) => machine.client_bit(bit),
                    Node::ServerAny { low, high } => machine.server_any(low, high),
                    Node::Xor(a, b) => machine.xor(&values[a.0], &values[b.0]),
                    Node::Not(a) => machine.not(&values[a.0]),
                    Node::Input
                    | Node::Greater { .. }
                    | Node::Equal { .. }
                    | Node::Product { .. } => continue,
                };
            }
            level.last_used.iter().for_each(|&wire| values[wire] = M::Plane::default());
        }
        Ok(outputs.iter().map(|output| values[output.0].clone()).collect())
    }

    fn run_digits<M: PlaneMachine>(
        &self,
        machine: &mut M,
        schedule: &Schedule,
        values: &mut [M::Plane],
    ) -> Result<(), M::Error> {
        let mut wires: Vec<[Option<usize>; 2]> = vec![[None; 2]; self.digits.len()];
        for &wire in schedule.levels.first().map_or(&[][..], |level| &level.local) {
            let node = self.nodes[wire];
            if let Node::Greater { digit } = node {
                wires[digit][0] = Some(wire);
            } else if let Node::Equal { digit } = node {
                wires[digit][1] = Some(wire);
            }
        }
        let (mut digits, mut results) = (Vec::new(), Vec::new());
        for (&(low, width), &[greater, equal]) in self.digits.iter().zip(&wires) {
            if greater.or(equal).is_some() {
                let equality = if equal.is_some() { Equality::Shared } else { Equality::Unused };
                digits.push(Digit { low, width, equality });
                results.push([greater, equal]);
            }
        }
        if digits.is_empty() {
            return Ok(());
        }
        let found = machine.compare_digits(&digits)?;
        for (found, wires) in found.into_iter().zip(results) {
            let planes = [Some(found.greater), found.equal];
            for (wire, plane) in wires.into_iter().zip(planes) {
                if let (Some(wire), Some(plane)) = (wire, plane) {
                    values[wire] = plane;
                }
            }
        }
        Ok(())
    }

    fn run_products<M: PlaneMachine>(
        &self,
        machine: &mut M,
        schedule: &Schedule,
        level: &Level,
        values: &mut [M::Plane],
    ) -> Result<(), M::Error> {
        let (mut groups, mut results) = (Vec::new(), Vec::new());
        for &group in &level.groups {
            let Group { common, others, first } = &self.groups[group];
            let wires = (*first..).zip(others).filter(|(wire, _)| schedule.is_live[*wire]);
            let (wires, others): (Vec<_>, Vec<_>) =
                wires.map(|(wire, other)| (wire, values[other.0].clone())).unzip();
            groups.push(Products { common: values[common.0].clone(), others });
            results.extend(wires);
        }
        let products = machine.and(&groups)?;
        for (wire, product) in results.into_iter().zip(products.into_iter().flatten()) {
            values[wire] = product;
        }
        Ok(())
    }

    fn operands(&self, node: usize) -> impl Iterator<Item = Wire> {
        let operands = match self.nodes[node] {
            Node::Xor(a, b) => [Some(a), Some(b)],
            Node::Not(a) => [Some(a), None],
            Node::Product { group, position } => {
                let Group { common, others, .. } = &self.groups[group];
                [Some(*common), others.get(position).copied()]
            }
            Node::Input
            | Node::ServerBit(_)
            | Node::ClientBit(_)
            | Node::ServerAny { .. }
            | Node::Greater { .. }
            | Node::Equal { .. } => [None, None],
        };
        operands.into_iter().flatten()
    }
}

/// What happens after a number of exchanges.
#[derive(Clone, Debug, Default)]
struct Level {
    /// Groups whose products are made by the last of these exchanges.
    groups: Vec<usize>,
    /// Other planes that are known then, in the order in which they depend on each other.
    local: Vec<usize>,
    /// Planes that are not needed later.
    last_used: Vec<usize>,
}

/// What is computed, and when.
struct Schedule {
    is_live: Vec<bool>,
    levels: Vec<Level>,
}

impl Schedule {
    fn new(circuit: &Circuit, outputs: &[Wire]) -> Self {
        let count = circuit.nodes.len();
        let mut is_live = vec![false; count];
        outputs.iter().for_each(|output| is_live[output.0] = true);
        for node in (0..count).rev() {
            if is_live[node] {
                circuit.operands(node).for_each(|wire| is_live[wire.0] = true);
            }
        }
        let mut level_of = vec![0; count];
        let mut levels = vec![Level::default()];
        for node in (0..count).filter(|&node| is_live[node]) {
            let known = |node| circuit.operands(node).map(|wire| level_of[wire.0]).max();
            let Node::Product { group, .. } = circuit.nodes[node] else {
                let level = known(node).unwrap_or(0);
                level_of[node] = level;
                levels[level].local.push(node);
                continue;
            };
            if level_of[node] == 0 {
                // The first of its group: all its products are made as soon as all factors are known.
                let Group { others, first, .. } = &circuit.groups[group];
                let wires = *first..first + others.len();
                let live = wires.clone().filter(|&wire| is_live[wire]);
                let level = live.filter_map(known).max().unwrap_or(0) + 1;
                level_of[wires].fill(level);
                levels.resize_with(levels.len().max(level + 1), Level::default);
                levels[level].groups.push(group);
            }
        }
        let mut last_use: Vec<usize> = level_of.clone();
        for node in (0..count).filter(|&node| is_live[node]) {
            for wire in circuit.operands(node) {
                last_use[wire.0] = last_use[wire.0].max(level_of[node]);
            }
        }
        outputs.iter().for_each(|output| last_use[output.0] = levels.len());
        for (node, last_use) in last_use.into_iter().enumerate().filter(|(node, _)| is_live[*node])
        {
            if let Some(level) = levels.get_mut(last_use) {
                level.last_used.push(node);
            }
        }
        Self { is_live, levels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::count::CountMachine;
    use crate::traffic::Traffic;

    fn traffic(circuit: &Circuit, outputs: &[Wire]) -> Traffic {
        let mut machine = CountMachine::new(8);
        let Ok(_) = circuit.run(&mut machine, Vec::new(), outputs);
        machine.finish()
    }

    #[test]
    fn what_no_output_needs_is_not_sent() {
        let mut circuit = Circuit::default();
        let low = circuit.compare(0, 2);
        let high = circuit.compare(2, 2);
        let both = circuit.merge(low, high);
        let bit = circuit.compare(7, 1);
        let product = circuit.and(bit.greater, both.equal);
        for (outputs, payload, rots, steps) in [
            (&[][..], (0, 0), 0, 0),
            (&[low.greater], (2, 3), 16, 2),
            (&[high.equal], (2, 6), 16, 2),
            (&[bit.greater], (1, 1), 8, 1),
            (&[bit.equal], (0, 0), 0, 0),
            (&[both.greater], (6, 11), 48, 3),
            (&[both.greater, both.equal], (7, 15), 48, 3),
            (&[both.greater, product], (10, 18), 72, 4),
        ] {
            let traffic = traffic(&circuit, outputs);
            let found =
                (traffic.payload_bytes(), traffic.rot_counts().total(), traffic.steps.len());
            assert_eq!(found, (payload, rots, steps), "{outputs:?}");
        }
    }

    #[test]
    fn products_wait_for_nothing_but_their_factors() {
        let mut circuit = Circuit::default();
        let [a, b, c, d] = [0, 1, 2, 3].map(|bit| circuit.server_bit(bit));
        let ab = circuit.and(a, b);
        let abc = circuit.and(ab, c);
        let cd = circuit.and(c, d);
        let last = circuit.xor(abc, cd);
        let last = circuit.and(last, ab);
        assert_eq!(traffic(&circuit, &[last, cd]).steps.len(), 3);
        assert_eq!(traffic(&circuit, &[cd]).steps.len(), 1);
    }
}
