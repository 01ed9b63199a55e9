//! Moves every quantizer up to the layer that makes its tensor, and merges those that meet.
//!
//! Quantizing is monotone, so it commutes with a maximum, and a rectifier or clip before it is a
//! narrower range of the quantizer; so is one behind it whose bounds lie on its grid. It is
//! elementwise, so it commutes with moving elements, and with padding by zeros if its range holds
//! zero. Each rewrite keeps every value bit for bit.

use super::{FreshNames, PassContext, rearranges};
use heq_ir::graph::infer::TypeError;
use heq_ir::graph::op::{Bounds, Op, Quantizer, Rounding};
use heq_ir::graph::{Graph, NodeIndex};
use heq_ir::integer::{IntRange, Quantization};

/// Absorbs activations and moves quantizers before pooling and reshaping, until nothing changes.
///
/// # Errors
/// If a moved operator does not fit its new place, which is a fault of this pass.
pub fn propagate_quantizers(graph: &mut Graph, _: &mut PassContext) -> Result<(), TypeError> {
    let mut names = FreshNames::of(graph);
    let mut pending = graph.topological();
    while let Some(id) = pending.pop() {
        if !graph.contains(id) {
            continue;
        }
        let quantizer = match graph.node(id).op {
            Op::Quantize(quantizer) => quantizer,
            Op::Relu => match activated(graph, id, Bounds::RELU) {
                Some(quantizer) => quantizer,
                None => continue,
            },
            Op::Clip(bounds) => match activated(graph, id, bounds) {
                Some(quantizer) => quantizer,
                None => continue,
            },
            _ => continue,
        };
        pending.extend(step(graph, &mut names, id, quantizer)?);
    }
    graph.remove_dead();
    Ok(())
}

/// The quantizer that an activation behind a quantizer is, if its bounds lie on the same grid.
fn activated(graph: &Graph, id: NodeIndex, bounds: Bounds) -> Option<Quantizer> {
    let Op::Quantize(first) = graph.node(graph.inputs(id)[0]).op else { return None };
    let Quantization { scale, range } = first.quantization;
    let on_grid = |bound: f64| bound.is_infinite() || (bound / scale).fract() == 0.0;
    let range = on_grid_range(scale, range, bounds);
    (on_grid(bounds.lower) && on_grid(bounds.upper)).then_some(Quantizer::nearest(scale, range))
}

/// Moves the quantizer `quantizer` at `id` up by one operator; returns where it is now, if it moved.
fn step(
    graph: &mut Graph,
    names: &mut FreshNames,
    id: NodeIndex,
    quantizer: Quantizer,
) -> Result<Vec<NodeIndex>, TypeError> {
    let above = graph.inputs(id)[0];
    let origin = graph.node(id).origin.clone();
    let Quantizer { quantization, rounding } = quantizer;
    let merged = match &graph.node(above).op {
        Op::Relu => Quantizer { quantization: bounded(quantizer, Bounds::RELU), rounding },
        Op::Clip(bounds) => Quantizer { quantization: bounded(quantizer, *bounds), rounding },
        Op::Quantize(first)
            if first.quantization.scale.to_bits() == quantization.scale.to_bits() =>
        {
            let IntRange { lo, hi } = quantization.range;
            let first_range = first.quantization.range;
            let range =
                IntRange { lo: first_range.lo.clamp(lo, hi), hi: first_range.hi.clamp(lo, hi) };
            if graph.only_reader(above) != Some(id) {
                if range == first_range {
                    graph.redirect(id, above);
                    graph.remove_unread(id);
                }
                return Ok(Vec::new());
            }
            Quantizer { quantization: Quantization { range, ..quantization }, ..*first }
        }
        op if moves_before(graph, above, op, quantization)
            && graph.only_reader(above) == Some(id) =>
        {
            let moved = graph.node(above).clone();
            let mut quantizers = Vec::new();
            for source in graph.inputs(above) {
                let name = names.next(graph, source, "quantized");
                let op = Op::Quantize(quantizer);
                quantizers.push(graph.add(origin.clone(), name, op, &[source])?);
            }
            graph.replace(id, moved.origin, moved.op, &quantizers)?;
            graph.remove_unread(above);
            return Ok(quantizers);
        }
        _ => return Ok(Vec::new()),
    };
    let source = graph.inputs(above)[0];
    graph.replace(id, origin, Op::Quantize(merged), &[source])?;
    // What nothing reads any more would hide that its operand has one reader only.
    graph.remove_unread(above);
    Ok(vec![id])
}

/// Whether a quantizer moves before `op`: it commutes with it, and either joins an equal grid there
/// or meets the layer that makes the tensor. A second quantizer on another grid would only grow.
fn moves_before(graph: &Graph, id: NodeIndex, op: &Op, quantization: Quantization) -> bool {
    let commutes = match op {
        Op::MaxPool(_) => true,
        Op::Pad(_) => (quantization.range.lo..=quantization.range.hi).contains(&0),
        op => rearranges(op),
    };
    let joins = |source: NodeIndex| {
        grid(graph, source).is_none_or(|scale| scale.to_bits() == quantization.scale.to_bits())
    };
    commutes && (matches!(op, Op::Concat { .. }) || graph.inputs(id).into_iter().all(joins))
}

/// The scale of a tensor that is quantized already.
fn grid(graph: &Graph, mut id: NodeIndex) -> Option<f64> {
    loop {
        match &graph.node(id).op {
            Op::Quantize(quantizer) => return Some(quantizer.quantization.scale),
            Op::MaxPool(_) | Op::Pad(_) | Op::Relu | Op::Clip(_) => id = graph.inputs(id)[0],
            op if rearranges(op) => id = graph.inputs(id)[0],
            _ => return None,
        }
    }
}

/// The quantization after its operand was clipped.
fn bounded(quantizer: Quantizer, bounds: Bounds) -> Quantization {
    let Quantization { scale, range } = quantizer.quantization;
    let range = match quantizer.rounding {
        Rounding::HalfEven => on_grid_range(scale, range, bounds),
        Rounding::Floor => {
            let IntRange { lo, hi } = range;
            let steps = |bound: f64| saturated((bound / scale).floor()).clamp(lo, hi);
            IntRange { lo: steps(bounds.lower), hi: steps(bounds.upper) }
        }
    };
    Quantization { scale, range }
}

/// The integers of `range` between the quantized bounds.
fn on_grid_range(scale: f64, IntRange { lo, hi }: IntRange, bounds: Bounds) -> IntRange {
    let steps = |bound: f64| saturated((bound / scale).round_ties_even()).clamp(lo, hi);
    IntRange { lo: steps(bounds.lower), hi: steps(bounds.upper) }
}

#[expect(clippy::cast_possible_truncation, reason = "saturates, and is then cut to a range")]
fn saturated(value: f64) -> i64 {
    value as i64
}

#[cfg(test)]
mod tests {
    use crate::pass::tests::check_golden;

    #[test]
    fn golden() {
        check_golden("propagate_quantizers", super::propagate_quantizers);
    }
}
