//! Lets the user bring the input in the order that the model was exported with.
//!
//! A model that transposes its input from `[1, H, W, C]` first is rewritten to one that reads
//! `[1, C, H, W]`; that arrays hold samples as `[H, W, C]` is recorded in the input.

use super::PassContext;
use heq_ir::graph::infer::TypeError;
use heq_ir::graph::op::Op;
use heq_ir::graph::{Graph, NodeIndex};
use heq_ir::integer::InputLayout;

/// From `[1, H, W, C]` to `[1, C, H, W]`.
const TO_NCHW: [usize; 4] = [0, 3, 1, 2];

/// Removes the transposition of an input that nothing else reads, quantized or not.
///
/// # Errors
/// If the graph does not fit the new input, which is a fault of this pass.
pub fn input_layout(graph: &mut Graph, _: &mut PassContext) -> Result<(), TypeError> {
    for id in graph.topological() {
        if !matches!(graph.node(id).op, Op::Input(_)) {
            continue;
        }
        let node = graph.node(id).clone();
        let Op::Input(mut input) = node.op else { continue };
        let Some((transpose, between)) = first_transpose(graph, id) else { continue };
        input.ty.shape = graph.node(transpose).ty.shape.clone();
        input.layout = InputLayout::Nhwc;
        graph.replace(id, node.origin, Op::Input(input), &[])?;
        for link in between {
            let node = graph.node(link).clone();
            let source = graph.inputs(link);
            graph.replace(link, node.origin, node.op, &source)?;
        }
        let source = graph.inputs(transpose)[0];
        graph.redirect(transpose, source);
    }
    graph.remove_dead();
    Ok(())
}

/// The transposition to NCHW that reads an input, and the elementwise operators between the two.
fn first_transpose(graph: &Graph, input: NodeIndex) -> Option<(NodeIndex, Vec<NodeIndex>)> {
    let mut at = input;
    let mut between = Vec::new();
    loop {
        let reader = graph.only_reader(at)?;
        match &graph.node(reader).op {
            Op::Transpose { perm: Some(perm) } if *perm == TO_NCHW => {
                return Some((reader, between));
            }
            Op::Quantize(_) | Op::Relu | Op::Clip(_) => between.push(reader),
            _ => return None,
        }
        at = reader;
    }
}

#[cfg(test)]
mod tests {
    use crate::pass::tests::check_golden;

    #[test]
    fn golden() {
        check_golden("input_layout", super::input_layout);
    }
}
