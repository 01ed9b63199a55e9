//! Makes one quantizer of every `QuantizeLinear`, `Clip`, `DequantizeLinear` on an activation.
//!
//! Rounding comes before the zero point is added, so the zero point vanishes into the range:
//! `clamp(round(x/s) + z, lo, hi) - z = clamp(round(x/s), lo - z, hi - z)`. Halves of unequal scale
//! leave a factor behind the quantizer. An input of integers becomes an input of reals that a
//! quantizer reads; that users bring integers is recorded in the input.

use super::fold_constants::clip_range;
use super::{FreshNames, PassContext, rearranges};
use heq_ir::graph::infer::TypeError;
use heq_ir::graph::op::{ChannelAffine, GraphInput, Op, QuantizeParams, Quantizer};
use heq_ir::graph::{Graph, NodeIndex};
use heq_ir::integer::{InputElement, IntRange};
use heq_ir::tensor::ElementType;
use std::collections::HashMap;

/// Fuses every quantizer that has one scale. Quantizers of the same tensor that are equal become
/// one, since exporters repeat the dequantization for every reader. A `QuantizeLinear` that ends the
/// network needs no second half.
///
/// # Errors
/// If the quantizer does not fit its place, which is a fault of this pass.
pub fn fuse_quantizers(graph: &mut Graph, _: &mut PassContext) -> Result<(), TypeError> {
    let mut names = FreshNames::of(graph);
    for id in graph.topological() {
        merge_dequantizers(graph, id);
    }
    let mut fused: HashMap<(NodeIndex, u64, IntRange), NodeIndex> = HashMap::new();
    for id in graph.topological() {
        let Some(found) = quantizer(graph, id).or_else(|| last_quantizer(graph, id)) else {
            continue;
        };
        let origin = graph.node(id).origin.clone();
        let Found { source, quantizer, factor } = found;
        if let Op::Input(input) = graph.node(source).op.clone()
            && let ElementType::Int(ty) = input.ty.element
        {
            let zero_point = ty.range().lo - quantizer.quantization.range.lo;
            let mut input =
                GraphInput { element: InputElement::Integer { ty, zero_point }, ..input };
            input.ty.element = ElementType::Float;
            let input_origin = graph.node(source).origin.clone();
            graph.replace(source, input_origin, Op::Input(input), &[])?;
        }
        let quantization = quantizer.quantization;
        let key = (source, quantization.scale.to_bits(), quantization.range);
        if let Some(factor) = factor {
            let grid = match fused.get(&key) {
                Some(&grid) => grid,
                None => {
                    let name = names.next(graph, id, "quantized");
                    graph.add(origin.clone(), name, Op::Quantize(quantizer), &[source])?
                }
            };
            fused.insert(key, grid);
            let Some(&channels) = graph.node(id).ty.shape.dims().get(1) else { continue };
            let map =
                ChannelAffine { multiplier: vec![factor; channels], offset: vec![0.0; channels] };
            graph.replace(id, origin, Op::ChannelAffine(map), &[grid])?;
            continue;
        }
        graph.replace(id, origin, Op::Quantize(quantizer), &[source])?;
        for moved in moved_to_output(graph, id).unwrap_or_default() {
            let node = graph.node(moved).clone();
            let source = graph.inputs(moved);
            graph.replace(moved, node.origin, node.op, &source)?;
        }
        let first = *fused.entry(key).or_insert(id);
        if first != id && !graph.outputs().contains(&id) {
            graph.redirect(id, first);
        }
    }
    graph.remove_dead();
    Ok(())
}

/// Leaves one of equal `DequantizeLinear` that read the integer input `id`.
fn merge_dequantizers(graph: &mut Graph, id: NodeIndex) {
    if !graph.contains(id) || !matches!(graph.node(id).op, Op::Input(_)) {
        return;
    }
    let readers = graph.readers(id);
    for (index, &reader) in readers.iter().enumerate() {
        let op = &graph.node(reader).op;
        let first = readers[..index].iter().find(|&&first| graph.node(first).op == *op);
        if matches!(op, Op::DequantizeLinear(_))
            && !graph.outputs().contains(&reader)
            && let Some(&first) = first
        {
            graph.redirect(reader, first);
            graph.remove_unread(reader);
        }
    }
}

/// A quantizer, the tensor that it quantizes, and what multiplies it.
struct Found {
    source: NodeIndex,
    quantizer: Quantizer,
    factor: Option<f64>,
}

/// The quantizer that ends in the `DequantizeLinear` `id`.
fn quantizer(graph: &Graph, id: NodeIndex) -> Option<Found> {
    let Op::DequantizeLinear(params) = &graph.node(id).op else { return None };
    let ([scale], [zero]) = (&params.scale[..], &params.zero_point[..]) else { return None };
    let mut bounds = Vec::new();
    let mut at = graph.inputs(id)[0];
    while let Op::Clip(clip) = graph.node(at).op {
        bounds.push(clip);
        at = graph.inputs(at)[0];
    }
    let (source, own) = match &graph.node(at).op {
        Op::QuantizeLinear(quantize) => (graph.inputs(at)[0], one_scale(quantize)?),
        // The reader of an integer input must be its only one, since the input changes its type.
        Op::Input(_) if graph.readers(at).len() == 1 && bounds.is_empty() => {
            (at, (f64::from(*scale), *zero))
        }
        _ => return None,
    };
    if own.1 != *zero {
        return None;
    }
    // The clip next to the quantizer acts first.
    let range =
        bounds.iter().rev().try_fold(params.ty.range(), |range, &clip| clip_range(range, clip))?;
    let range = IntRange { lo: range.lo.checked_sub(*zero)?, hi: range.hi.checked_sub(*zero)? };
    let factor = f64::from(*scale) / own.0;
    let equal = own.0.to_bits() == f64::from(*scale).to_bits();
    Some(Found {
        source,
        quantizer: Quantizer::nearest(own.0, range),
        factor: (!equal).then_some(factor),
    })
}

/// The operators that do no more than move the elements of `id` before they are the network's output,
/// in order; `None` if there is something else.
fn moved_to_output(graph: &Graph, mut id: NodeIndex) -> Option<Vec<NodeIndex>> {
    let mut moves = Vec::new();
    while let Some(reader) = graph.only_reader(id) {
        let op = &graph.node(reader).op;
        if graph.inputs(reader).len() > 1 || !rearranges(op) && !matches!(op, Op::MaxPool(_)) {
            return None;
        }
        moves.push(reader);
        id = reader;
    }
    (graph.outputs().contains(&id) && graph.readers(id).is_empty()).then_some(moves)
}

/// A `QuantizeLinear` whose integers are what the network returns.
fn last_quantizer(graph: &Graph, id: NodeIndex) -> Option<Found> {
    let Op::QuantizeLinear(params) = &graph.node(id).op else { return None };
    moved_to_output(graph, id)?;
    let (scale, zero) = one_scale(params)?;
    let IntRange { lo, hi } = params.ty.range();
    let range = IntRange { lo: lo.checked_sub(zero)?, hi: hi.checked_sub(zero)? };
    let quantizer = Quantizer::nearest(scale, range);
    Some(Found { source: graph.inputs(id)[0], quantizer, factor: None })
}

/// Scale and zero point, if there is one of each.
fn one_scale(params: &QuantizeParams) -> Option<(f64, i64)> {
    match (&params.scale[..], &params.zero_point[..]) {
        ([scale], [zero]) => Some((f64::from(*scale), *zero)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::pass::tests::check_golden;

    #[test]
    fn golden() {
        check_golden("fuse_quantizers", super::fuse_quantizers);
    }
}
