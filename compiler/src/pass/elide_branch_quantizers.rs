//! Leaves out quantizers on the branches of an addition.
//!
//! A quantizer between a layer and an addition costs a whole requantization and, at 8 bits, keeps
//! nearly all of its operand. Without it the wider values are added before they are quantized once.
//! Narrower quantizers are part of what was trained and stay, unless the user decides otherwise.

use super::{PassContext, rearranges};
use heq_ir::graph::infer::TypeError;
use heq_ir::graph::op::{BinaryOp, Op, Quantizer, Rounding};
use heq_ir::graph::{Graph, NodeIndex};
use std::collections::HashMap;

/// Width from which a quantizer on a branch is left out by default, in bits.
const WIDE_BITS: u32 = 8;

/// Which quantizers on the branches of an addition are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BranchQuantizers {
    /// Those of 8 bits or more.
    #[default]
    Auto,
    /// None.
    Keep,
    /// All.
    Elide,
}

/// Connects additions with what their branches quantize.
///
/// # Errors
/// If an addition cannot read the operand of a quantizer, which is a fault of this pass.
pub fn elide_branch_quantizers(
    graph: &mut Graph,
    context: &mut PassContext,
) -> Result<(), TypeError> {
    let least_bits = match context.branch_quantizers {
        BranchQuantizers::Auto => WIDE_BITS,
        BranchQuantizers::Keep => return Ok(()),
        BranchQuantizers::Elide => 0,
    };
    let order = graph.topological();
    let ranges = quantized_ranges(graph, &order);
    for id in order {
        let adds = matches!(graph.node(id).op, Op::Binary(BinaryOp::Add | BinaryOp::Sub));
        if !adds || !is_requantized(graph, id) {
            continue;
        }
        let mut inputs = graph.inputs(id);
        let mut changed = false;
        for input in &mut inputs {
            if graph.only_reader(*input) == Some(id)
                && let Some(source) = elided(graph, &ranges, *input, least_bits)
            {
                *input = source;
                changed = true;
            }
        }
        if changed {
            let node = graph.node(id).clone();
            graph.replace(id, node.origin, node.op, &inputs)?;
        }
    }
    graph.remove_dead();
    Ok(())
}

/// Whether a quantizer follows the sum `id`, or nothing that needs one.
fn is_requantized(graph: &Graph, mut id: NodeIndex) -> bool {
    while let Some(reader) = graph.only_reader(id) {
        match &graph.node(reader).op {
            Op::Quantize(_) => return true,
            Op::Relu | Op::Clip(_) | Op::ChannelAffine(_) | Op::Binary(_) | Op::MaxPool(_) => {}
            op if rearranges(op) => {}
            _ => return false,
        }
        id = reader;
    }
    graph.readers(id).iter().all(|&reader| matches!(graph.node(reader).op, Op::Quantize(_)))
}

/// What the quantizer `id` quantizes, if the addition can read that instead.
fn elided(
    graph: &Graph,
    ranges: &HashMap<NodeIndex, (f64, f64)>,
    id: NodeIndex,
    least_bits: u32,
) -> Option<NodeIndex> {
    let Op::Quantize(Quantizer { quantization, rounding: Rounding::HalfEven }) = graph.node(id).op
    else {
        return None;
    };
    let range = quantization.range;
    if range.bits() < least_bits {
        return None;
    }
    let source = graph.inputs(id)[0];
    let keeps = match ranges.get(&source) {
        // What is quantized already must not be cut by more than rounding does.
        Some(&(lowest, highest)) => {
            let step = quantization.scale;
            real(range.lo - 1, step) <= lowest && highest <= real(range.hi + 1, step)
        }
        // A range on one side of zero is a rectifier; one on both sides was chosen to hold all.
        None => range.lo < 0 && range.hi > 0 && is_sum(graph, source),
    };
    keeps.then_some(source)
}

#[expect(clippy::cast_precision_loss, reason = "quantizers have far less than 53 bits")]
fn real(steps: i64, scale: f64) -> f64 {
    steps as f64 * scale
}

/// The real numbers between which every quantized tensor lies, also after its elements were moved.
fn quantized_ranges(graph: &Graph, order: &[NodeIndex]) -> HashMap<NodeIndex, (f64, f64)> {
    let mut ranges: HashMap<NodeIndex, (f64, f64)> = HashMap::new();
    for &id in order {
        let inputs = graph.inputs(id);
        let joined = || {
            let known = inputs.iter().map(|input| ranges.get(input).copied());
            known.reduce(|a, b| {
                let ((lo, hi), (low, high)) = a.zip(b)?;
                Some((lo.min(low), hi.max(high)))
            })?
        };
        let range = match &graph.node(id).op {
            Op::Quantize(Quantizer { quantization, .. }) => {
                let (scale, range) = (quantization.scale, quantization.range);
                Some((real(range.lo, scale), real(range.hi, scale)))
            }
            Op::Pad(_) => joined().map(|(lo, hi)| (lo.min(0.0), hi.max(0.0))),
            Op::MaxPool(_) => joined(),
            op if rearranges(op) => joined(),
            _ => None,
        };
        if let Some(range) = range {
            ranges.insert(id, range);
        }
    }
    ranges
}

/// Whether a tensor is a sum of linear layers that nothing else reads, with affine maps.
fn is_sum(graph: &Graph, mut id: NodeIndex) -> bool {
    while graph.readers(id).len() == 1 && !graph.outputs().contains(&id) {
        match &graph.node(id).op {
            op if op.is_linear() => return true,
            Op::ChannelAffine(_) => id = graph.inputs(id)[0],
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use crate::pass::tests::check_golden;

    #[test]
    fn golden() {
        check_golden("elide_branch_quantizers", super::elide_branch_quantizers);
    }
}
