//! Leaves out what a network does to its logits at the very end.
//!
//! `Softmax` keeps the order of the logits and `ArgMax` is a function of them, so the client computes
//! either from the logits that it learns. They are dropped together with the quantizers and reshapes
//! behind them, and a note says so.

use super::PassContext;
use heq_ir::graph::infer::TypeError;
use heq_ir::graph::op::Op;
use heq_ir::graph::{Graph, NodeIndex};

/// Makes the logits the output.
///
/// # Errors
/// Never.
pub fn drop_probabilities(graph: &mut Graph, context: &mut PassContext) -> Result<(), TypeError> {
    let outputs = graph.outputs().to_vec();
    let logits = outputs.iter().map(|&id| match logits(graph, id) {
        Some((operator, source)) => {
            let node = graph.node(operator);
            context.notes.push(format!(
                "{} {:?} is left out: the client learns the logits {:?} and can apply it to them",
                node.origin.operator,
                node.origin.node,
                graph.node(source).tensor,
            ));
            source
        }
        None => id,
    });
    let logits = logits.collect();
    graph.set_outputs(logits);
    graph.remove_dead();
    Ok(())
}

/// The operator on logits that an output ends with, and the logits.
fn logits(graph: &Graph, output: NodeIndex) -> Option<(NodeIndex, NodeIndex)> {
    let mut at = output;
    let mut found = None;
    loop {
        let Some(&source) = graph.inputs(at).first() else { return found };
        match &graph.node(at).op {
            Op::Softmax { .. } | Op::ArgMax { .. } => found = Some((at, source)),
            // All elements are still there, each on its own.
            Op::Quantize(_)
            | Op::QuantizeLinear(_)
            | Op::DequantizeLinear(_)
            | Op::Flatten { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. } => {}
            _ => return found,
        }
        at = source;
    }
}

#[cfg(test)]
mod tests {
    use crate::pass::tests::check_golden;

    #[test]
    fn golden() {
        check_golden("drop_probabilities", super::drop_probabilities);
    }
}
