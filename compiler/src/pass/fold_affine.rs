//! Turns biases, normalizations and arithmetic with constants into one affine map a channel.
//!
//! `gamma*(y - mean)/sqrt(variance + epsilon) + beta` is `a*y + b` with `a = gamma/sqrt(...)` and
//! `b = beta - a*mean`; adding, subtracting, multiplying by or dividing by a constant is one too.
//! The map stays apart from the integer weights, which it would make real; it ends in the
//! multipliers and biases of the requantization.

use super::{FreshNames, PassContext};
use heq_ir::graph::infer::TypeError;
use heq_ir::graph::op::{BatchNormParams, BinaryOp, ChannelAffine, Op};
use heq_ir::graph::{Graph, NodeIndex, Origin};
use heq_ir::tensor::TensorData;

/// Replaces constant biases, batch normalizations and arithmetic with constants, and composes maps
/// that follow one another. A map that is equal for all channels moves before reshaping.
///
/// # Errors
/// If a replacement does not fit its place, which is a fault of this pass.
pub fn fold_affine(graph: &mut Graph, _: &mut PassContext) -> Result<(), TypeError> {
    let mut names = FreshNames::of(graph);
    for id in graph.topological() {
        if graph.node(id).op.is_linear() {
            let node = graph.node(id).clone();
            let [x, weights, bias] = graph.inputs(id)[..] else { continue };
            let Some(map) = bias_map(graph, id, bias) else { continue };
            let name = names.next(graph, id, "sum");
            let sum = graph.add(node.origin.clone(), name, node.op, &[x, weights])?;
            graph.replace(id, node.origin, Op::ChannelAffine(map), &[sum])?;
        } else if let Some((source, map)) = affine(graph, id) {
            let origin = graph.node(id).origin.clone();
            place(graph, &mut names, id, origin, source, map)?;
        }
    }
    graph.remove_dead();
    Ok(())
}

/// Makes `id` the map `map` of `source`, composed with the map that `source` may be.
fn place(
    graph: &mut Graph,
    names: &mut FreshNames,
    id: NodeIndex,
    made_by: Origin,
    source: NodeIndex,
    map: ChannelAffine,
) -> Result<(), TypeError> {
    if let Op::ChannelAffine(first) = &graph.node(source).op {
        let composed = compose(first, &map);
        if is_finite(&composed) {
            let origin = graph.inputs(source)[0];
            return graph.replace(id, made_by, Op::ChannelAffine(composed), &[origin]);
        }
    }
    let reshapes = matches!(graph.node(source).op, Op::Flatten { .. } | Op::Reshape { .. });
    if reshapes
        && graph.only_reader(source) == Some(id)
        && let Some((multiplier, offset)) = uniform(&map)
    {
        let origin = graph.inputs(source)[0];
        if let Some(&channels) = graph.node(origin).ty.shape.dims().get(1) {
            let map = ChannelAffine {
                multiplier: vec![multiplier; channels],
                offset: vec![offset; channels],
            };
            let name = names.next(graph, source, "mapped");
            let above = graph.node(source).clone();
            let mapped = graph.add(made_by, name, Op::ChannelAffine(map), &[origin])?;
            return graph.replace(id, above.origin, above.op, &[mapped]);
        }
    }
    graph.replace(id, made_by, Op::ChannelAffine(map), &[source])
}

/// The tensor and the map that `id` applies to it, if it is one.
fn affine(graph: &Graph, id: NodeIndex) -> Option<(NodeIndex, ChannelAffine)> {
    let node = graph.node(id);
    let inputs = graph.inputs(id);
    let (source, map) = match &node.op {
        Op::BatchNormalization(params) => (inputs[0], normalization_map(params)),
        Op::Binary(op) => {
            let (first, second) = (constant(graph, id, inputs[0]), constant(graph, id, inputs[1]));
            match (op, first, second) {
                (_, None, Some(values)) => (inputs[0], right_operand(*op, values)?),
                (BinaryOp::Add | BinaryOp::Mul, Some(values), None) => {
                    (inputs[1], right_operand(*op, values)?)
                }
                (BinaryOp::Sub, Some(offset), None) => {
                    let multiplier = vec![-1.0; offset.len()];
                    (inputs[1], ChannelAffine { multiplier, offset })
                }
                _ => return None,
            }
        }
        _ => return None,
    };
    // Broadcasting a smaller tensor to a larger constant is no map of its channels.
    (graph.node(source).ty == node.ty && is_finite(&map)).then_some((source, map))
}

/// The map of a constant on the right.
fn right_operand(op: BinaryOp, values: Vec<f64>) -> Option<ChannelAffine> {
    let (ones, zeros) = (vec![1.0; values.len()], vec![0.0; values.len()]);
    Some(match op {
        BinaryOp::Add => ChannelAffine { multiplier: ones, offset: values },
        BinaryOp::Sub => {
            let offset = values.iter().map(|value| -value).collect();
            ChannelAffine { multiplier: ones, offset }
        }
        BinaryOp::Mul => ChannelAffine { multiplier: values, offset: zeros },
        BinaryOp::Div => {
            let multiplier = values.iter().map(|value| 1.0 / value).collect();
            ChannelAffine { multiplier, offset: zeros }
        }
    })
}

/// The constant `id` as one value for every channel of the tensor that `result` makes.
fn constant(graph: &Graph, result: NodeIndex, id: NodeIndex) -> Option<Vec<f64>> {
    let result = &graph.node(result).ty.shape;
    let channels = *result.dims().get(1)?;
    let node = graph.node(id);
    let dims = node.ty.shape.dims();
    let values = reals(&node.op)?;
    if let [value] = values[..] {
        return Some(vec![value; channels]);
    }
    // Aligned at the last dimension, only the one of the channels may be longer than 1.
    let first = result.rank().checked_sub(dims.len())?;
    let along_channels = dims
        .iter()
        .enumerate()
        .all(|(index, &dim)| dim == 1 || (first + index == 1 && dim == channels));
    (along_channels && values.len() == channels).then_some(values)
}

/// The real numbers of a constant.
fn reals(op: &Op) -> Option<Vec<f64>> {
    match op {
        Op::Constant(tensor) => match &tensor.data {
            TensorData::Float(values) => {
                Some(values.iter().map(|&value| f64::from(value)).collect())
            }
            TensorData::Int { .. } => None,
        },
        Op::QuantizedConstant(tensor) => Some(tensor.reals()),
        _ => None,
    }
}

/// The map that adds a constant bias, one value a channel or one for all.
fn bias_map(graph: &Graph, linear: NodeIndex, bias: NodeIndex) -> Option<ChannelAffine> {
    let channels = *graph.node(linear).ty.shape.dims().get(1)?;
    let mut offset = reals(&graph.node(bias).op)?;
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

/// Factor and offset of a map that is equal for all channels.
pub(super) fn uniform(map: &ChannelAffine) -> Option<(f64, f64)> {
    let (&multiplier, &offset) = (map.multiplier.first()?, map.offset.first()?);
    let equal = |list: &[f64], first: f64| list.iter().all(|v| v.to_bits() == first.to_bits());
    (equal(&map.multiplier, multiplier) && equal(&map.offset, offset))
        .then_some((multiplier, offset))
}

fn is_finite(map: &ChannelAffine) -> bool {
    map.multiplier.iter().chain(&map.offset).all(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use crate::pass::tests::check_golden;

    #[test]
    fn golden() {
        check_golden("fold_affine", super::fold_affine);
    }
}
