//! Linear layers: a convolution or matrix product with constant weights.
//!
//! With input scale `s_x` and weight scales `s_w[k]`, the real factor of the integer sums is
//! `s_x*s_w[k]`; what follows multiplies it further. Widths follow from ranges and scales alone,
//! never from the weights.

use super::expression::{Expression, Part};
use super::{Faults, Known, Lowering, Value, ValueKind, chw, fault, place};
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::geometry::{ConvGeometry, Window};
use heq_ir::graph::op::Op;
use heq_ir::graph::{Graph, NodeIndex};
use heq_ir::integer::IntRange;
use heq_ir::secure::MAX_WEIGHT_BITS;
use heq_ir::tensor::{Shape, transpose};
use std::sync::Arc;

/// Weights `[K, C/G, R, S]`.
struct Weights {
    values: Vec<i32>,
    bits: u32,
    /// Scale of every output channel.
    scales: Vec<f64>,
}

impl Lowering<'_> {
    /// The sum of the linear operator `id`.
    pub(super) fn linear(&mut self, id: NodeIndex) -> Result<Known, Faults> {
        let mut found = Vec::new();
        let inputs = self.graph.inputs(id);
        let input = self.linear_input(id).unwrap_or_else(|faults| {
            found.extend(faults);
            None
        });
        if inputs.len() > 2 {
            found.push(fault(
                Code::NotConstant,
                place(self.graph.node(id)),
                "its bias is computed, not constant",
                "export with a constant bias",
            ));
        }
        let weights = weights(self.graph, id).map_err(|fault| found.push(fault)).ok();
        if !found.is_empty() {
            self.found.extend(found);
            // Without a quantizer behind it, the next layer has a fault of its own.
            let known = if self.awaits_quantizer(id) { Known::Failed } else { Known::Unquantized };
            return Ok(known);
        }
        let (Some(value), Some(weights)) = (input, weights) else { return Ok(Known::Failed) };
        let node = self.graph.node(id);
        let shape = chw(node)?;
        let (window, groups) = match &node.op {
            Op::Conv(params) => {
                let dims = self.graph.node(inputs[1]).ty.shape.dims();
                let kernel = match *dims {
                    [_, _, rows, columns] => [rows, columns],
                    [_, _, columns] => [1, columns],
                    _ => [1, 1],
                };
                (params.window(kernel), params.groups)
            }
            _ => (Window::POINT, 1),
        };
        let out_channels = shape.channels;
        let geometry = ConvGeometry { input: value.shape, out_channels, window, groups, batch: 1 };
        let factors = weights.scales.iter().map(|scale| value.scale * scale).collect();
        Ok(Known::Sum(Expression {
            shape,
            parts: vec![Part::Linear {
                value,
                geometry,
                weights: Arc::new(weights.values),
                weight_bits: weights.bits,
                factors,
            }],
            offset: vec![0.0; out_channels],
            named: Some(id),
        }))
    }

    /// Whether a quantizer follows the sum that `id` starts.
    fn awaits_quantizer(&self, mut id: NodeIndex) -> bool {
        while let Some(reader) = self.graph.only_reader(id) {
            match &self.graph.node(reader).op {
                Op::Quantize(_) => return true,
                Op::ChannelAffine(_) | Op::Binary(_) => id = reader,
                _ => return false,
            }
        }
        self.graph.outputs().contains(&id)
    }

    /// The quantized input of a layer; `None` if its fault is reported elsewhere.
    fn linear_input(&mut self, id: NodeIndex) -> Result<Option<Value>, Faults> {
        match self.operand(id, 0) {
            Known::Value(value) if value.kind != ValueKind::Result => Ok(Some(value)),
            Known::Failed => Ok(None),
            Known::Sum(sum) => match self.exact(self.graph.inputs(id)[0], &sum)? {
                Some(value) => Ok(Some(value)),
                None => Err(self.unquantized(id, 0)),
            },
            Known::Value(_) | Known::Input(_) | Known::Function(_) | Known::Unquantized => {
                Err(self.unquantized(id, 0))
            }
        }
    }
}

fn weights(graph: &Graph, linear: NodeIndex) -> Result<Weights, Diagnostic> {
    let node = graph.node(linear);
    let source = graph.inputs(linear)[1];
    let tensor = match &graph.node(source).op {
        Op::QuantizedConstant(tensor) => tensor,
        Op::Constant(_) => {
            return Err(fault(
                Code::MissingQuantizer,
                place(node),
                format!("its weights {:?} have no quantizer", graph.node(source).tensor),
                "train and export the network quantized, with a quantizer on its weights",
            ));
        }
        _ => {
            return Err(fault(
                Code::NotConstant,
                place(node),
                format!("its weights {:?} are computed, not constant", graph.node(source).tensor),
                "only products with constant weights are supported",
            ));
        }
    };
    let unsupported =
        |what: String, remedy: &str| fault(Code::UnsupportedForm, place(node), what, remedy);
    let bits = signed_bits(tensor.range);
    if bits > MAX_WEIGHT_BITS {
        let IntRange { lo, hi } = tensor.range;
        return Err(unsupported(
            format!(
                "its weights lie in {lo}..{hi} without their zero point, which takes {bits} bits"
            ),
            "quantize weights to at most 8 bits",
        ));
    }
    let by_rows = matches!(node.op, Op::Conv(_) | Op::Gemm { trans_b: true });
    // The range fits 9 bits, so no value is lost.
    let values = tensor.values.iter().filter_map(|&value| i32::try_from(value).ok()).collect();
    let (shape, values, axis) = if by_rows {
        (tensor.shape.clone(), values, tensor.axis)
    } else {
        let (shape, values) = transposed(&tensor.shape, values);
        (shape, values, tensor.axis.map(|axis| 1 - axis.min(1)))
    };
    let channels = shape.dims()[0];
    let scales = match axis {
        None => tensor.scale.repeat(channels),
        Some(0) => tensor.scale.clone(),
        Some(_) => {
            return Err(unsupported(
                "its weights have scales along another dimension than its outputs".into(),
                "quantize weights a tensor or an output channel",
            ));
        }
    };
    Ok(Weights { values, bits, scales })
}

/// A matrix with rows and columns exchanged.
fn transposed(shape: &Shape, values: Vec<i32>) -> (Shape, Vec<i32>) {
    transpose(shape, &values, &[1, 0]).unwrap_or_else(|| (shape.clone(), values))
}

/// Width of the narrowest two's complement type that holds a range.
fn signed_bits(range: IntRange) -> u32 {
    let width = |value: i64| i64::BITS + 1 - (value ^ (value >> 63)).leading_zeros();
    width(range.lo).max(width(range.hi))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_of_weights() {
        for (lo, hi, bits) in
            [(-7, 7, 4), (-8, 7, 4), (-127, 127, 8), (-1, 1, 2), (0, 1, 2), (-1, 0, 1), (0, 255, 9)]
        {
            assert_eq!(signed_bits(IntRange { lo, hi }), bits, "{lo}..{hi}");
        }
    }
}
