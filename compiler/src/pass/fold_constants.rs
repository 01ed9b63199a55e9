//! Evaluates what depends on constants alone.
//!
//! Weights arrive as integers behind `Clip`, `DequantizeLinear` and `Transpose`, or as floats behind
//! `QuantizeLinear` or a quantizer; each chain becomes one quantized constant. A `Clip` of integers narrows their
//! range, which is how 4-bit weights in 8-bit containers are told from 8-bit ones.

use super::PassContext;
use heq_ir::graph::Graph;
use heq_ir::graph::infer::{TypeError, order};
use heq_ir::graph::op::{Bounds, Op, QuantizeParams, QuantizedTensor, Quantizer, Rounding};
use heq_ir::integer::{IntRange, Quantization};
use heq_ir::tensor::{IntType, Shape, Tensor, TensorData, transpose};

/// Replaces every operator on constants by its result.
///
/// # Errors
/// If a result does not fit its place, which is a fault of this pass.
pub fn fold_constants(graph: &mut Graph, _: &mut PassContext) -> Result<(), TypeError> {
    for id in graph.topological() {
        let node = graph.node(id);
        let [input] = graph.inputs(id)[..] else { continue };
        let folded = match &graph.node(input).op {
            Op::Constant(tensor) => fold(&node.op, &node.ty.shape, tensor),
            Op::QuantizedConstant(tensor) => rearrange(&node.op, &node.ty.shape, tensor),
            _ => None,
        };
        if let Some(op) = folded {
            graph.replace(id, node.origin.clone(), op, &[])?;
            // Several copies of all weights are too much.
            graph.empty_unread(input);
        }
    }
    graph.remove_dead();
    Ok(())
}

/// `op` on a constant.
fn fold(op: &Op, result: &Shape, x: &Tensor) -> Option<Op> {
    let data = match (op, &x.data) {
        (Op::Clip(bounds), TensorData::Int { ty, range, values }) => {
            let range = clip_range(*range, *bounds)?;
            let values = values.iter().map(|&value| value.clamp(range.lo, range.hi)).collect();
            TensorData::Int { ty: *ty, range, values }
        }
        (Op::Transpose { perm }, data) => {
            let order = order(perm.as_deref(), x.shape.rank());
            match data {
                TensorData::Float(values) => {
                    TensorData::Float(transpose(&x.shape, values, &order)?.1)
                }
                TensorData::Int { ty, range, values } => TensorData::Int {
                    ty: *ty,
                    range: *range,
                    values: transpose(&x.shape, values, &order)?.1,
                },
            }
        }
        (Op::Flatten { .. } | Op::Reshape { .. }, data) => data.clone(),
        (Op::QuantizeLinear(params), TensorData::Float(values)) => TensorData::Int {
            ty: params.ty,
            range: params.ty.range(),
            values: quantize(params, &x.shape, values)?,
        },
        (Op::Quantize(quantizer), TensorData::Float(values)) => {
            return Some(Op::QuantizedConstant(quantize_at_once(quantizer, &x.shape, values)));
        }
        (Op::DequantizeLinear(params), TensorData::Int { range, values, .. }) => {
            return dequantize(params, &x.shape, *range, values).map(Op::QuantizedConstant);
        }
        _ => return None,
    };
    Some(Op::Constant(Tensor { shape: result.clone(), data }))
}

/// An operator that only moves elements, on a quantized constant.
fn rearrange(op: &Op, result: &Shape, x: &QuantizedTensor) -> Option<Op> {
    let (values, axis) = match op {
        Op::Transpose { perm } => {
            let order = order(perm.as_deref(), x.shape.rank());
            let axis = x.axis.and_then(|axis| order.iter().position(|&from| from == axis));
            (transpose(&x.shape, &x.values, &order)?.1, axis)
        }
        Op::Flatten { .. } | Op::Reshape { .. } => {
            let axis = match x.axis {
                Some(axis) => Some(same_dimension(&x.shape, axis, result)?),
                None => None,
            };
            (x.values.clone(), axis)
        }
        _ => return None,
    };
    let (range, scale) = (x.range, x.scale.clone());
    Some(Op::QuantizedConstant(QuantizedTensor {
        shape: result.clone(),
        values,
        range,
        scale,
        axis,
    }))
}

/// The dimension of `result` that holds the same elements as dimension `axis` of `x`, if there is one.
fn same_dimension(x: &Shape, axis: usize, result: &Shape) -> Option<usize> {
    let before = |dims: &[usize], axis: usize| dims[..axis].iter().product::<usize>();
    (0..result.rank()).find(|&index| {
        result.dims()[index] == x.dims()[axis]
            && before(result.dims(), index) == before(x.dims(), axis)
    })
}

/// The integers that remain of `range`; `None` if none do.
pub(super) fn clip_range(range: IntRange, bounds: Bounds) -> Option<IntRange> {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and is then cut to the range")]
    let (lower, upper) = (bounds.lower.ceil() as i64, bounds.upper.floor() as i64);
    let clipped = IntRange { lo: range.lo.max(lower), hi: range.hi.min(upper) };
    (clipped.lo <= clipped.hi).then_some(clipped)
}

/// ONNX `QuantizeLinear` in the arithmetic of ONNX, which is binary32.
fn quantize(params: &QuantizeParams, shape: &Shape, values: &[f32]) -> Option<Vec<i64>> {
    let IntRange { lo, hi } = params.ty.range();
    let channel = channels(params, shape)?;
    let quantized = values.iter().enumerate().map(|(index, value)| {
        let channel = channel(index);
        let steps = (value / params.scale[channel]).round_ties_even();
        #[expect(clippy::cast_possible_truncation, reason = "saturates, as ONNX does")]
        let steps = steps as i64;
        steps.saturating_add(params.zero_point[channel]).clamp(lo, hi)
    });
    Some(quantized.collect())
}

/// Reals on the grid of a quantizer, in the arithmetic of ONNX as above.
fn quantize_at_once(quantizer: &Quantizer, shape: &Shape, values: &[f32]) -> QuantizedTensor {
    let Quantization { scale, range } = quantizer.quantization;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "scales are binary32; saturates, as ONNX does"
    )]
    let quantize = |value: &f32| {
        let steps = value / scale as f32;
        match quantizer.rounding {
            Rounding::HalfEven => steps.round_ties_even() as i64,
            Rounding::Floor => steps.floor() as i64,
        }
    };
    let values = values.iter().map(|value| quantize(value).clamp(range.lo, range.hi)).collect();
    QuantizedTensor { shape: shape.clone(), values, range, scale: vec![scale], axis: None }
}

fn dequantize(
    params: &QuantizeParams,
    shape: &Shape,
    range: IntRange,
    values: &[i64],
) -> Option<QuantizedTensor> {
    if params.ty.bits > IntType::signed(32).bits {
        return None;
    }
    let channel = channels(params, shape)?;
    let values = values
        .iter()
        .enumerate()
        .map(|(index, value)| value - params.zero_point[channel(index)])
        .collect();
    let (lowest, highest) = (params.zero_point.iter().min()?, params.zero_point.iter().max()?);
    Some(QuantizedTensor {
        shape: shape.clone(),
        values,
        range: IntRange { lo: range.lo - highest, hi: range.hi - lowest },
        scale: params.scale.iter().map(|&scale| f64::from(scale)).collect(),
        axis: params.axis.and_then(|axis| shape.axis(axis)),
    })
}

/// The map from the index of an element to the index of its scale.
fn channels(params: &QuantizeParams, shape: &Shape) -> Option<impl Fn(usize) -> usize + use<>> {
    let (stride, extent) = match params.axis {
        None => (1, 1),
        Some(axis) => {
            let axis = shape.axis(axis)?;
            (shape.dims()[axis + 1..].iter().product::<usize>(), shape.dims()[axis])
        }
    };
    Some(move |index: usize| index / stride % extent)
}

#[cfg(test)]
mod tests {
    use crate::pass::tests::check_golden;

    #[test]
    fn golden() {
        check_golden("fold_constants", super::fold_constants);
    }
}
