//! One activation bit less: values of half the range, each step worth twice as much.
//!
//! Values that are only rearranged keep their quantizer, and what is concatenated has one in common; so
//! the bit is taken from all layers that share it. What reads the values multiplies by twice as much.

use super::coarser::{coarsen, double, halve_terms, shifted};
use heq_ir::integer::{IntRange, IntegerNetwork, IntegerOp, SumOp, TableOp, ValueId};

/// Fewest bits of a quantizer that can do with one less: values of one bit are another kind of network.
const LEAST_BITS: u32 = 3;

/// Layers whose results have one quantizer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SharedQuantizer {
    /// The layers that quantize.
    pub(super) layers: Vec<usize>,
    /// The layers that compute with the values.
    pub(super) readers: Vec<usize>,
    /// Width of the widest results in bits.
    pub(super) bits: u32,
    /// The values, results and what is rearranged of them, ascending.
    values: Vec<ValueId>,
}

impl SharedQuantizer {
    /// All quantizers of `network` that can do with a bit less, by their first layers.
    pub(super) fn all(network: &IntegerNetwork) -> Vec<Self> {
        let groups = groups(network);
        let mut found = Vec::new();
        for root in 0..groups.len() {
            let values: Vec<ValueId> =
                (0..groups.len()).filter(|&id| groups[id] == root).map(ValueId).collect();
            // The client's own quantizer is not a layer's.
            if !values.is_empty() && !values.contains(&ValueId(0)) {
                found.extend(Self::of(network, values));
            }
        }
        found.sort_by_key(|quantizer| quantizer.layers.first().copied());
        found
    }

    fn of(network: &IntegerNetwork, values: Vec<ValueId>) -> Option<Self> {
        let mut layers = Vec::new();
        let mut bits = 0;
        for value in &values {
            let index = value.0.checked_sub(1)?;
            let range = match &network.layers.get(index)?.op {
                IntegerOp::Sum(op) => op.requantize?.range,
                IntegerOp::Table(table) => table.output,
                IntegerOp::MaxPool(_)
                | IntegerOp::View(_)
                | IntegerOp::Reshape(_)
                | IntegerOp::Concat { .. } => continue,
            };
            halved_range(range).filter(|_| range.bits() >= LEAST_BITS)?;
            bits = bits.max(range.bits());
            layers.push(index);
        }
        let readers = network.layers.iter().enumerate().filter(|(_, layer)| {
            !rearranges(&layer.op) && layer.inputs.iter().any(|id| values.contains(id))
        });
        let readers = readers.map(|(index, _)| index).collect();
        (!layers.is_empty()).then_some(Self { layers, readers, bits, values })
    }

    /// The network with one bit less; `None` if a range or a table has no half.
    pub(super) fn halved(&self, network: &IntegerNetwork) -> Option<IntegerNetwork> {
        let mut changed = network.clone();
        if self.values.contains(&network.output.value) {
            changed.output.scale *= 2.0;
        }
        for (index, layer) in changed.layers.iter_mut().enumerate() {
            let makes = self.layers.contains(&index);
            let reads: Vec<bool> = layer.inputs.iter().map(|id| self.values.contains(id)).collect();
            match &mut layer.op {
                IntegerOp::Sum(op) => {
                    let is_output = network.output.value == ValueId(index + 1);
                    let scale = halve_sum(op, makes, &reads, is_output)?;
                    changed.output.scale *= scale;
                }
                IntegerOp::Table(table) => halve_table(table, makes, &reads)?,
                IntegerOp::MaxPool(_)
                | IntegerOp::View(_)
                | IntegerOp::Reshape(_)
                | IntegerOp::Concat { .. } => {}
            }
        }
        Some(changed)
    }
}

/// For every value the first of those with which it shares a quantizer.
fn groups(network: &IntegerNetwork) -> Vec<usize> {
    let mut groups: Vec<usize> = (0..=network.layers.len()).collect();
    for (index, layer) in network.layers.iter().enumerate() {
        if !rearranges(&layer.op) {
            continue;
        }
        let joined: Vec<usize> = layer
            .inputs
            .iter()
            .chain([&ValueId(index + 1)])
            .filter_map(|id| groups.get(id.0).copied())
            .collect();
        let first = joined.iter().copied().min().unwrap_or(0);
        for group in &mut groups {
            if joined.contains(group) {
                *group = first;
            }
        }
    }
    groups
}

/// Whether a layer picks or compares values, and computes none.
fn rearranges(op: &IntegerOp) -> bool {
    match op {
        IntegerOp::MaxPool(_)
        | IntegerOp::View(_)
        | IntegerOp::Reshape(_)
        | IntegerOp::Concat { .. } => true,
        IntegerOp::Sum(_) | IntegerOp::Table(_) => false,
    }
}

/// A range with one bit less.
fn halved_range(range: IntRange) -> Option<IntRange> {
    let halved = IntRange { lo: range.lo / 2, hi: range.hi / 2 };
    (halved.bits() + 1 == range.bits()).then_some(halved)
}

/// A sum whose result has half the range, or that `reads` values of half the range. What it gains in
/// scale goes into its shift, as far as its multipliers stay precise; returns what the scale of the
/// network's output gains.
fn halve_sum(op: &mut SumOp, makes: bool, reads: &[bool], is_output: bool) -> Option<f64> {
    let is_read = reads.contains(&true);
    for (term, _) in op.terms.iter_mut().zip(reads).filter(|(_, reads)| **reads) {
        double(term);
    }
    let Some(requantize) = &mut op.requantize else {
        // The step of a result is free: the sums get no wider.
        if is_read && is_output {
            halve_terms(op);
            return Some(2.0);
        }
        return Some(1.0);
    };
    if makes {
        requantize.range = halved_range(requantize.range)?;
        requantize.shift += 1;
    }
    let bits = requantize.range.bits();
    for _ in 0..usize::from(makes) + usize::from(is_read) {
        coarsen(op, bits);
    }
    Some(1.0)
}

/// A table whose result has half the range, or that `reads` values of half the range.
fn halve_table(table: &mut TableOp, makes: bool, reads: &[bool]) -> Option<()> {
    if reads.contains(&true) {
        let size = table.size()?.max(1);
        let old = table.clone();
        for (range, _) in table.inputs.iter_mut().zip(reads).filter(|(_, reads)| **reads) {
            *range = halved_range(*range)?;
        }
        let operands = operands(&table.inputs);
        table.values.clear();
        for values in old.values.chunks(size) {
            for operands in &operands {
                let doubled: Vec<i64> = operands
                    .iter()
                    .zip(reads)
                    .map(|(&x, &reads)| if reads { 2 * x } else { x })
                    .collect();
                table.values.push(*values.get(old.position(&doubled)?)?);
            }
        }
    }
    if makes {
        let IntRange { lo, hi } = halved_range(table.output)?;
        table.output = IntRange { lo, hi };
        table.values.iter_mut().for_each(|value| *value = shifted(*value, 1).clamp(lo, hi));
    }
    Some(())
}

/// All operands of a table in the order of its values.
fn operands(inputs: &[IntRange]) -> Vec<Vec<i64>> {
    inputs.iter().fold(vec![Vec::new()], |known, range| {
        let with = |x: i64| known.iter().map(move |known| [&known[..], &[x]].concat());
        (range.lo..=range.hi).flat_map(with).collect()
    })
}
