//! Makes one quantizer of every `QuantizeLinear`, `Clip`, `DequantizeLinear` on an activation.
//!
//! Rounding comes before the zero point is added, so the zero point vanishes into the range:
//! `clamp(round(x/s) + z, lo, hi) - z = clamp(round(x/s), lo - z, hi - z)`.

use super::fold_constants::clip_range;
use heq_ir::graph::infer::TypeError;
use heq_ir::graph::op::{Op, QuantizeParams};
use heq_ir::graph::{Graph, NodeIndex};
use heq_ir::integer::{IntRange, Quantization};
use std::collections::HashMap;

/// Fuses every quantizer that has one scale. Quantizers of the same tensor that are equal become
/// one, since exporters repeat the dequantization for every reader.
///
/// # Errors
/// If the quantizer does not fit its place, which is a fault of this pass.
pub fn fuse_quantizers(graph: &mut Graph) -> Result<(), TypeError> {
    let mut fused: HashMap<(NodeIndex, u64, IntRange), NodeIndex> = HashMap::new();
    for id in graph.topological() {
        let Some((source, quantization)) = quantizer(graph, id) else { continue };
        let origin = graph.node(id).origin.clone();
        graph.replace(id, origin, Op::Quantize(quantization), &[source])?;
        let key = (source, quantization.scale.to_bits(), quantization.range);
        let first = *fused.entry(key).or_insert(id);
        if first != id && !graph.outputs().contains(&id) {
            graph.redirect(id, first);
        }
    }
    graph.remove_dead();
    Ok(())
}

/// The quantizer that ends in the `DequantizeLinear` `id`, and the tensor that it quantizes.
fn quantizer(graph: &Graph, id: NodeIndex) -> Option<(NodeIndex, Quantization)> {
    let Op::DequantizeLinear(params) = &graph.node(id).op else { return None };
    let mut bounds = Vec::new();
    let mut at = graph.inputs(id)[0];
    while let Op::Clip(clip) = graph.node(at).op {
        bounds.push(clip);
        at = graph.inputs(at)[0];
    }
    match &graph.node(at).op {
        Op::QuantizeLinear(quantize) if same(quantize, params) => {}
        _ => return None,
    }
    let ([scale], [zero]) = (&params.scale[..], &params.zero_point[..]) else { return None };
    // The clip next to the quantizer acts first.
    let range =
        bounds.iter().rev().try_fold(params.ty.range(), |range, &clip| clip_range(range, clip))?;
    let range = IntRange { lo: range.lo.checked_sub(*zero)?, hi: range.hi.checked_sub(*zero)? };
    Some((graph.inputs(at)[0], Quantization { scale: f64::from(*scale), range }))
}

fn same(a: &QuantizeParams, b: &QuantizeParams) -> bool {
    let bits =
        |params: &QuantizeParams| params.scale.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
    bits(a) == bits(b) && a.zero_point == b.zero_point && a.ty == b.ty
}

#[cfg(test)]
mod tests {
    use crate::pass::tests::check_golden;

    #[test]
    fn golden() {
        check_golden("fuse_quantizers", super::fuse_quantizers);
    }
}
