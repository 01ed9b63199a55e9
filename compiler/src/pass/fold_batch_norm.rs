//! Turns the bias of a linear layer and the normalizations after it into one affine map a channel.
//!
//! `gamma*(y - mean)/sqrt(variance + epsilon) + beta` is `a*y + b` with `a = gamma/sqrt(...)` and
//! `b = beta - a*mean`. The map stays apart from the integer weights, which it would make real; it
//! ends in the multipliers and biases of the requantization.

use super::FreshNames;
use heq_ir::graph::infer::TypeError;
use heq_ir::graph::op::{BatchNormParams, ChannelAffine, Op};
use heq_ir::graph::{Graph, NodeIndex};
use heq_ir::tensor::TensorData;

/// Replaces constant biases and batch normalizations after linear layers.
///
/// # Errors
/// If a replacement does not fit its place, which is a fault of this pass.
pub fn fold_batch_norm(graph: &mut Graph) -> Result<(), TypeError> {
    let mut names = FreshNames::of(graph);
    for id in graph.topological() {
        let node = graph.node(id).clone();
        if node.op.is_linear() {
            let [x, weights, bias] = graph.inputs(id)[..] else { continue };
            let Some(map) = bias_map(graph, id, bias) else { continue };
            let name = names.next(graph, id, "sum");
            let sum = graph.add(node.origin.clone(), name, node.op, &[x, weights])?;
            graph.replace(id, node.origin, Op::ChannelAffine(map), &[sum])?;
        } else if let Op::BatchNormalization(params) = &node.op {
            let above = graph.inputs(id)[0];
            let map = normalization_map(params);
            let (source, map) = match &graph.node(above).op {
                op if op.is_linear() => (above, map),
                Op::ChannelAffine(first) => (graph.inputs(above)[0], compose(first, &map)),
                _ => continue,
            };
            let finite = map.multiplier.iter().chain(&map.offset).all(|value| value.is_finite());
            if finite {
                graph.replace(id, node.origin, Op::ChannelAffine(map), &[source])?;
            }
        }
    }
    graph.remove_dead();
    Ok(())
}

/// The map that adds a constant bias, one value a channel or one for all.
fn bias_map(graph: &Graph, linear: NodeIndex, bias: NodeIndex) -> Option<ChannelAffine> {
    let channels = *graph.node(linear).ty.shape.dims().get(1)?;
    let mut offset: Vec<f64> = match &graph.node(bias).op {
        Op::Constant(tensor) => match &tensor.data {
            TensorData::Float(values) => values.iter().map(|&value| f64::from(value)).collect(),
            TensorData::Int { .. } => return None,
        },
        Op::QuantizedConstant(tensor) => tensor.reals(),
        _ => return None,
    };
    if let [value] = offset[..] {
        offset = vec![value; channels];
    }
    let usable = offset.len() == channels && offset.iter().all(|value| value.is_finite());
    usable.then(|| ChannelAffine { multiplier: vec![1.0; channels], offset })
}

fn normalization_map(params: &BatchNormParams) -> ChannelAffine {
    let multiplier: Vec<f64> = params
        .gamma
        .iter()
        .zip(&params.variance)
        .map(|(&gamma, &variance)| {
            f64::from(gamma) / (f64::from(variance) + f64::from(params.epsilon)).sqrt()
        })
        .collect();
    let offset = multiplier
        .iter()
        .zip(params.beta.iter().zip(&params.mean))
        .map(|(multiplier, (&beta, &mean))| f64::from(beta) - multiplier * f64::from(mean))
        .collect();
    ChannelAffine { multiplier, offset }
}

/// `second` after `first`.
fn compose(first: &ChannelAffine, second: &ChannelAffine) -> ChannelAffine {
    let pairs = || second.multiplier.iter().zip(&second.offset);
    ChannelAffine {
        multiplier: first.multiplier.iter().zip(pairs()).map(|(a, (m, _))| a * m).collect(),
        offset: first.offset.iter().zip(pairs()).map(|(b, (m, c))| b * m + c).collect(),
    }
}

#[cfg(test)]
mod tests {
    use crate::pass::tests::check_golden;

    #[test]
    fn golden() {
        check_golden("fold_batch_norm", super::fold_batch_norm);
    }
}
