//! Chooses the sums that are cheaper as one look-up in a table of both operands' bits.
//!
//! A requantized sum of one or two scaled values, of at most 8 bits together, is a function of these
//! bits. Looked up, it needs no arithmetic shares of its operands; whether others still do is part of
//! the price, which is that of all interactive steps behind the integer network either way.

use crate::analysis::range::{NetworkFacts, network_facts};
use crate::kernel::forms;
use crate::kernel::price::Price;
use crate::lower::assign_domains::{LinearSteps, assign_domains};
use crate::lower::plan::PlanOptions;
use heq_ir::diagnostic::Diagnostics;
use heq_ir::geometry::Window;
use heq_ir::integer::{
    IntRange, IntegerLayer, IntegerNetwork, IntegerOp, Requantize, SumOp, TableOp, Term,
};
use heq_ir::protocol::requantize::RequantizeWidths;
use heq_ir::protocol::table::TableWidths;
use heq_ir::secure::{Domain, SecureOp, SecureProgram};
use heq_ir::traffic::Traffic;
use petgraph::graph::NodeIndex;
use std::collections::HashMap;

/// Most operands of a table.
const MAX_OPERANDS: usize = 2;

/// The network with tables in the place of the sums that cost more, and its facts; layers keep their
/// numbers.
///
/// # Errors
/// As [`network_facts`].
pub fn tabulate_sums(
    network: &IntegerNetwork,
    options: &PlanOptions,
) -> Result<(IntegerNetwork, NetworkFacts), Diagnostics> {
    let mut facts = network_facts(network, options.acc_strategy, options.rounding)?;
    let tables = |(index, layer): (usize, &IntegerLayer)| Some((index, table_of(layer, &facts)?));
    let tables: Vec<_> = network.layers.iter().enumerate().filter_map(tables).collect();
    let mut chosen = network.clone();
    if tables.is_empty() {
        return Ok((chosen, facts));
    }
    // What cannot be lowered is reported where the choice is made.
    let mut prices = Prices::new(options);
    let Some(mut least) = prices.price(&chosen, &facts) else { return Ok((chosen, facts)) };
    for (index, table) in tables {
        // A table takes the values of its sum, so the facts of other layers stay.
        let sum = std::mem::replace(&mut chosen.layers[index].op, IntegerOp::Table(table));
        let of_sum = facts.sums[index].take();
        match prices.price(&chosen, &facts).filter(|&price| price < least) {
            Some(price) => least = price,
            None => {
                chosen.layers[index].op = sum;
                facts.sums[index] = of_sum;
            }
        }
    }
    Ok((chosen, facts))
}

/// The table of a sum, if it is the function of few bits.
fn table_of(layer: &IntegerLayer, facts: &NetworkFacts) -> Option<TableOp> {
    let IntegerOp::Sum(op) = &layer.op else { return None };
    let requantize = op.requantize?;
    let is_constant = op.bias.windows(2).all(|pair| pair[0] == pair[1]);
    if op.terms.len() != layer.inputs.len() || op.terms.len() > MAX_OPERANDS || !is_constant {
        return None;
    }
    let inputs = layer.inputs.iter().map(|id| facts.ranges.get(id.0).copied());
    let inputs: Vec<IntRange> = inputs.collect::<Option<_>>()?;
    let bits = inputs.iter().map(|range| range.bits().max(1)).fold(0, u32::saturating_add);
    if bits > TableWidths::MAX_BITS {
        return None;
    }
    Some(TableOp { values: values(op, requantize, &inputs)?, output: requantize.range, inputs })
}

/// All values of a sum of scaled values in `inputs`, those of the first the fastest.
fn values(op: &SumOp, requantize: Requantize, inputs: &[IntRange]) -> Option<Vec<i64>> {
    let mut sums = vec![op.bias.first().copied().unwrap_or(0)];
    for (term, range) in op.terms.iter().zip(inputs) {
        let Term::Scaled(term) = term else { return None };
        if term.window != Window::POINT {
            return None;
        }
        let scaled = (range.lo..=range.hi).map(|x| x.checked_mul(term.factor));
        let scaled: Vec<i64> = scaled.collect::<Option<_>>()?;
        let all = scaled.iter().flat_map(|&x| sums.iter().map(move |&sum| x.checked_add(sum)));
        sums = all.collect::<Option<_>>()?;
    }
    let Requantize { shift, range } = requantize;
    let half = if shift >= 1 { 1_i64.checked_shl(shift - 1)? } else { 0 };
    let rounded = sums.into_iter().map(|sum| {
        let shifted = sum.checked_add(half)?.checked_shr(shift)?;
        Some(shifted.clamp(range.lo, range.hi))
    });
    rounded.collect()
}

/// Prices of the interactive steps that depend on the choice.
struct Prices<'a> {
    options: &'a PlanOptions,
    price: Price<'a>,
    /// Of requantizations, by widths and elements: they have many forms.
    requantizations: HashMap<(RequantizeWidths, usize), f64>,
}

impl<'a> Prices<'a> {
    fn new(options: &'a PlanOptions) -> Self {
        let price = options.search.price(options.ot.assumed());
        Self { options, price, requantizations: HashMap::new() }
    }

    /// Of the requantizations, conversions and tables of a network; `None` if it cannot be lowered.
    fn price(&mut self, network: &IntegerNetwork, facts: &NetworkFacts) -> Option<f64> {
        let reveal = self.options.reveal;
        let program = assign_domains(network, facts, &LinearSteps::default(), reveal).ok()?.program;
        Some(program.graph.node_indices().filter_map(|node| self.step(&program, node)).sum())
    }

    fn step(&mut self, program: &SecureProgram, index: NodeIndex) -> Option<f64> {
        let objective = &self.price;
        let node = &program.graph[index];
        let operand = *program.operands(index).first()?;
        let elements = node.result.shape.len();
        match (&node.op, program.graph[operand].result.domain) {
            (&SecureOp::Requantize { widths, .. }, _) => {
                let price = self.requantizations.entry((widths, elements)).or_insert_with(|| {
                    lowest_price(forms::of_requantize(&widths, elements), objective)
                });
                Some(*price)
            }
            (SecureOp::Table { widths, .. }, _) => {
                Some(objective.traffic(&widths.traffic(elements)))
            }
            (&SecureOp::ToArithmetic { bits }, Domain::Boolean { bits: planes, .. }) => {
                let forms = forms::of_to_arithmetic(elements, planes, bits);
                Some(lowest_price(forms, objective))
            }
            // The others do not depend on the choice.
            _ => None,
        }
    }
}

fn lowest_price<F>(forms: impl Iterator<Item = (F, Traffic)>, objective: &Price<'_>) -> f64 {
    forms.map(|(_, traffic)| objective.traffic(&traffic)).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use heq_ir::geometry::Chw;
    use heq_ir::integer::ScaledTerm;

    #[test]
    fn values_are_those_of_the_sum() {
        let input = Chw::new(1, 1, 1);
        let scaled = |factor| Term::Scaled(ScaledTerm { input, window: Window::POINT, factor });
        let sum = |terms, bias| SumOp { output: input, terms, bias, requantize: None };
        let range = |lo, hi| IntRange { lo, hi };
        for (op, shift, output, inputs, expected) in [
            (
                sum(vec![scaled(1), scaled(1)], vec![]),
                1,
                range(0, 3),
                vec![range(0, 1), range(0, 2)],
                Some(vec![0, 1, 1, 1, 1, 2]),
            ),
            (
                sum(vec![scaled(3), scaled(-5)], vec![7]),
                2,
                range(-2, 3),
                vec![range(-1, 1), range(0, 1)],
                Some(vec![1, 2, 3, 0, 1, 1]),
            ),
            (
                sum(vec![scaled(2)], vec![-1, -1]),
                0,
                range(-4, 4),
                vec![range(-3, 3)],
                Some(vec![-4, -4, -3, -1, 1, 3, 4]),
            ),
            (sum(vec![scaled(i64::MAX)], vec![]), 0, range(0, 1), vec![range(0, 2)], None),
            (sum(vec![scaled(1)], vec![i64::MAX]), 1, range(0, 1), vec![range(0, 1)], None),
        ] {
            let found = values(&op, Requantize { shift, range: output }, &inputs);
            assert_eq!(found, expected, "{op:?}");
        }
    }
}
