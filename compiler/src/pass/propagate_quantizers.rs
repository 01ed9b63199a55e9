//! Moves every quantizer up to the layer that makes its tensor.
//!
//! Quantizing is monotone, so it commutes with a maximum, and a rectifier or clip before it is a
//! narrower range of the quantizer. It is elementwise, so it commutes with reshaping. Each rewrite
//! keeps every value bit for bit.

use super::FreshNames;
use heq_ir::graph::infer::TypeError;
use heq_ir::graph::op::{Bounds, Op};
use heq_ir::graph::{Graph, NodeIndex};
use heq_ir::integer::{IntRange, Quantization};

/// Absorbs activations and moves quantizers before pooling and reshaping, until nothing changes.
///
/// # Errors
/// If a moved operator does not fit its new place, which is a fault of this pass.
pub fn propagate_quantizers(graph: &mut Graph) -> Result<(), TypeError> {
    let mut names = FreshNames::of(graph);
    let mut pending = graph.topological();
    while let Some(id) = pending.pop() {
        if !graph.contains(id) {
            continue;
        }
        let Op::Quantize(quantization) = graph.node(id).op else { continue };
        pending.extend(step(graph, &mut names, id, quantization)?);
    }
    graph.remove_dead();
    Ok(())
}

/// Moves the quantizer `id` up by one operator; returns where it is now, if it moved.
fn step(
    graph: &mut Graph,
    names: &mut FreshNames,
    id: NodeIndex,
    quantization: Quantization,
) -> Result<Option<NodeIndex>, TypeError> {
    let above = graph.inputs(id)[0];
    let origin = graph.node(id).origin.clone();
    let range = match graph.node(above).op {
        Op::Relu => bounded(quantization, Bounds::RELU),
        Op::Clip(bounds) => bounded(quantization, bounds),
        Op::Quantize(first) if first.scale.to_bits() == quantization.scale.to_bits() => {
            let IntRange { lo, hi } = quantization.range;
            IntRange { lo: first.range.lo.clamp(lo, hi), hi: first.range.hi.clamp(lo, hi) }
        }
        Op::MaxPool(_) | Op::Flatten { .. } | Op::Reshape { .. }
            if graph.only_reader(above) == Some(id) =>
        {
            let moved = graph.node(above).clone();
            let name = names.next(graph, above, "quantized");
            let source = graph.inputs(above)[0];
            let quantizer = graph.add(origin, name, Op::Quantize(quantization), &[source])?;
            graph.replace(id, moved.origin, moved.op, &[quantizer])?;
            graph.remove_unread(above);
            return Ok(Some(quantizer));
        }
        _ => return Ok(None),
    };
    let source = graph.inputs(above)[0];
    graph.replace(id, origin, Op::Quantize(Quantization { range, ..quantization }), &[source])?;
    // What nothing reads any more would hide that its operand has one reader only.
    graph.remove_unread(above);
    Ok(Some(id))
}

/// The range of the quantizer after its operand was clipped.
fn bounded(quantization: Quantization, bounds: Bounds) -> IntRange {
    let IntRange { lo, hi } = quantization.range;
    let steps = |bound: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and is then cut to range")]
        let steps = (bound / quantization.scale).round_ties_even() as i64;
        steps.clamp(lo, hi)
    };
    IntRange { lo: steps(bounds.lower), hi: steps(bounds.upper) }
}

#[cfg(test)]
mod tests {
    use crate::pass::tests::check_golden;

    #[test]
    fn golden() {
        check_golden("propagate_quantizers", super::propagate_quantizers);
    }
}
