//! Moves every `DequantizeLinear` up before the operators that only move elements.
//!
//! Exporters reshape and transpose integers between the two halves of a quantizer. Dequantizing acts
//! on every element alone, so it commutes with that; behind this pass the halves meet.

use super::{FreshNames, PassContext, rearranges};
use heq_ir::graph::infer::TypeError;
use heq_ir::graph::op::Op;
use heq_ir::graph::{Graph, NodeIndex};
use std::collections::HashMap;

/// The dequantizers that were made of every tensor. Tensors that are read on several ways are
/// dequantized once: else a chain of forks would double the graph with every link.
type Made = HashMap<NodeIndex, Vec<(Op, NodeIndex)>>;

/// Moves dequantizers with one scale before reshaping, until nothing changes.
///
/// # Errors
/// If a moved operator does not fit its new place, which is a fault of this pass.
pub fn lift_dequantizers(graph: &mut Graph, _: &mut PassContext) -> Result<(), TypeError> {
    let mut names = FreshNames::of(graph);
    let mut made = Made::new();
    let mut pending = graph.topological();
    while let Some(id) = pending.pop() {
        let lifted = lift(graph, &mut names, &mut made, id)?;
        pending.extend(lifted);
    }
    graph.remove_dead();
    Ok(())
}

/// Moves the dequantizer `id` up by one operator; returns its new nodes.
fn lift(
    graph: &mut Graph,
    names: &mut FreshNames,
    made: &mut Made,
    id: NodeIndex,
) -> Result<Vec<NodeIndex>, TypeError> {
    let above = graph.inputs(id).first().copied();
    let (Op::DequantizeLinear(params), Some(above)) = (&graph.node(id).op, above) else {
        return Ok(Vec::new());
    };
    if params.axis.is_some() || !rearranges(&graph.node(above).op) {
        return Ok(Vec::new());
    }
    let [node, moved] = [id, above].map(|id| graph.node(id).clone());
    let (mut operands, mut lifted) = (Vec::new(), Vec::new());
    for source in graph.inputs(above) {
        let known = made.entry(source).or_default();
        if let Some((_, same)) = known.iter().find(|(op, _)| *op == node.op) {
            operands.push(*same);
            continue;
        }
        let name = names.next(graph, source, "dequantized");
        let new = graph.add(node.origin.clone(), name, node.op.clone(), &[source])?;
        known.push((node.op.clone(), new));
        operands.push(new);
        lifted.push(new);
    }
    graph.replace(id, moved.origin, moved.op, &operands)?;
    Ok(lifted)
}

#[cfg(test)]
mod tests {
    use crate::pass::tests::check_golden;

    #[test]
    fn golden() {
        check_golden("lift_dequantizers", super::lift_dequantizers);
    }
}
