//! Linear layers: a convolution or matrix product with the affine map and quantizer behind it.
//!
//! With input scale `s_x`, weight scales `s_w[k]`, affine map `(a[k], b[k])` and output scale `s_y`,
//! the real factor is `M[k] = s_x*s_w[k]*a[k]/s_y` and the real bias `B[k] = b[k]/s_y`. Widths follow
//! from ranges and scales alone, never from the weights.

use super::multiplier::{round_all, with_scale, with_shift};
use super::{Known, Lowering, Value, chw, fault, place};
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::geometry::{ConvGeometry, Window};
use heq_ir::graph::op::{ChannelAffine, Op, QuantizedTensor};
use heq_ir::graph::{Graph, NodeIndex};
use heq_ir::integer::{IntRange, IntegerOp, LinearOp, Quantization, Requantize};
use heq_ir::tensor::transpose;

/// Widest weights, in bits.
const MAX_WEIGHT_BITS: u32 = 8;

/// What follows the sums of a linear layer.
struct Tail {
    map: Option<ChannelAffine>,
    end: End,
    /// The node that makes the layer's result.
    last: NodeIndex,
}

enum End {
    /// A quantizer.
    Quantized(Quantization),
    /// Nothing but reshaping up to the output of the network.
    Output,
    /// Something else.
    Open,
}

/// Weights `[K, C, R, S]`.
struct Weights {
    values: Vec<i32>,
    bits: u32,
    /// Scale of every output channel.
    scales: Vec<f64>,
}

impl Lowering<'_> {
    /// Lowers the linear operator `id` with what follows it.
    pub(super) fn linear(&mut self, id: NodeIndex) -> Result<Known, Vec<Diagnostic>> {
        let tail = tail(self.graph, id);
        let mut found = Vec::new();
        let inputs = self.graph.inputs(id);
        let input = self.linear_input(id, inputs[0]).unwrap_or_else(|fault| {
            found.push(fault);
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
        if let End::Quantized(quantization) = tail.end {
            found.extend(check_output_range(self.graph, tail.last, quantization.range).err());
        }
        let result = match (&tail.end, input, weights) {
            // The reader of the tensor, or the output, reports that it has no quantizer.
            (End::Open, _, _) => Known::Unquantized,
            (End::Quantized(_) | End::Output, Some(input), Some(weights)) if found.is_empty() => {
                match self.assemble(id, input, weights, &tail) {
                    Ok(value) => Known::Value(value),
                    Err(faults) => {
                        found.extend(faults);
                        Known::Failed
                    }
                }
            }
            _ => Known::Failed,
        };
        self.mark(id, &tail, result);
        if found.is_empty() { Ok(result) } else { Err(found) }
    }

    /// The quantized input of a layer; `None` if its fault is reported elsewhere.
    fn linear_input(&self, id: NodeIndex, x: NodeIndex) -> Result<Option<Value>, Diagnostic> {
        match self.known(x) {
            Known::Value(value) if value.range.is_some() => Ok(Some(value)),
            Known::Failed => Ok(None),
            Known::Value(_) | Known::Unquantized => Err(fault(
                Code::MissingQuantizer,
                place(self.graph.node(id)),
                format!("its input {:?} has no quantizer", self.graph.node(x).tensor),
                "train and export the network quantized, with a quantizer on this tensor",
            )),
        }
    }

    fn assemble(
        &mut self,
        id: NodeIndex,
        input: Value,
        weights: Weights,
        tail: &Tail,
    ) -> Result<Value, Vec<Diagnostic>> {
        let node = self.graph.node(id);
        let output = chw(node)?;
        let window = match &node.op {
            Op::Conv(params) => {
                let shape = &self.graph.node(self.graph.inputs(id)[1]).ty.shape;
                let kernel = [shape.dims()[2], shape.dims()[3]];
                Window { kernel, strides: params.strides, pads: params.pads }
            }
            _ => Window::POINT,
        };
        let geometry = ConvGeometry { input: input.shape, out_channels: output.channels, window };
        let channels = output.channels;
        let ChannelAffine { multiplier, offset } = tail.map.clone().unwrap_or_else(|| {
            ChannelAffine { multiplier: vec![1.0; channels], offset: vec![0.0; channels] }
        });
        let factors = |scale: f64| -> Vec<f64> {
            let pairs = weights.scales.iter().zip(&multiplier);
            pairs.map(|(weight, map)| input.scale * weight * map / scale).collect()
        };
        let out_of_reach = || {
            vec![fault(
                Code::UnsupportedForm,
                place(node),
                "its scales cannot be expressed by integer multipliers and a shift to the right",
                "check the scales of its input, weights, normalization and output",
            )]
        };
        let (multipliers, scale, requantize) = match tail.end {
            End::Quantized(Quantization { scale, range }) => {
                let multipliers = with_shift(&factors(scale), range.bits(), self.multiplier_bits)
                    .ok_or_else(out_of_reach)?;
                let shift = u32::try_from(multipliers.shift).map_err(|_| out_of_reach())?;
                (multipliers, scale, Some(Requantize { shift, range }))
            }
            End::Output | End::Open => {
                let (multipliers, scale) =
                    with_scale(&factors(1.0), self.multiplier_bits).ok_or_else(out_of_reach)?;
                (multipliers, scale, None)
            }
        };
        let steps: Vec<f64> = offset.iter().map(|offset| offset / scale).collect();
        let shift = requantize.map_or(0, |_| multipliers.shift);
        let bias = round_all(&steps, shift).ok_or_else(out_of_reach)?;
        let op = LinearOp {
            geometry,
            weights: weights.values,
            weight_bits: weights.bits,
            multipliers: multipliers.values,
            multiplier_bits: multipliers.bits,
            bias,
            requantize,
        };
        let made = self.push(node, input.id, IntegerOp::Linear(op));
        let range = requantize.map(|requantize| requantize.range);
        Ok(Value { id: made, shape: output, scale, range })
    }

    /// Records the result of a layer for the nodes that it took with it.
    fn mark(&mut self, id: NodeIndex, tail: &Tail, result: Known) {
        let mut at = tail.last;
        self.tensors.insert(at, result);
        while at != id {
            self.absorbed.insert(at);
            at = self.graph.inputs(at)[0];
        }
    }
}

fn tail(graph: &Graph, linear: NodeIndex) -> Tail {
    let mut last = linear;
    let mut map = None;
    if let Some(reader) = graph.only_reader(last)
        && let Op::ChannelAffine(found) = &graph.node(reader).op
    {
        map = Some(found.clone());
        last = reader;
    }
    if let Some(reader) = graph.only_reader(last)
        && let Op::Quantize(quantization) = graph.node(reader).op
    {
        return Tail { map, end: End::Quantized(quantization), last: reader };
    }
    let end = if leads_to_output(graph, last) { End::Output } else { End::Open };
    Tail { map, end, last }
}

/// Whether nothing but reshaping stands between a tensor and the output of the network.
fn leads_to_output(graph: &Graph, mut id: NodeIndex) -> bool {
    while let Some(reader) = graph.only_reader(id) {
        if !matches!(graph.node(reader).op, Op::Flatten { .. } | Op::Reshape { .. }) {
            return false;
        }
        id = reader;
    }
    graph.outputs().contains(&id) && graph.readers(id).is_empty()
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
            "quantize weights symmetrically, with zero point 0, to at most 8 bits",
        ));
    }
    let by_rows = matches!(node.op, Op::Conv(_) | Op::Gemm { trans_b: true });
    let (tensor, axis) = if by_rows {
        (tensor.clone(), tensor.axis)
    } else {
        (transposed(tensor), tensor.axis.map(|axis| 1 - axis.min(1)))
    };
    let channels = tensor.shape.dims()[0];
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
    // The range fits 8 bits, so no value is lost.
    let values = tensor.values.iter().filter_map(|&value| i32::try_from(value).ok()).collect();
    Ok(Weights { values, bits, scales })
}

/// A matrix with rows and columns exchanged.
fn transposed(tensor: &QuantizedTensor) -> QuantizedTensor {
    match transpose(&tensor.shape, &tensor.values, &[1, 0]) {
        Some((shape, values)) => QuantizedTensor { shape, values, ..tensor.clone() },
        None => tensor.clone(),
    }
}

/// Width of the narrowest two's complement type that holds a range.
fn signed_bits(range: IntRange) -> u32 {
    let width = |value: i64| i64::BITS + 1 - (value ^ (value >> 63)).leading_zeros();
    width(range.lo).max(width(range.hi))
}

/// Requantization makes all values of a width, no fewer.
fn check_output_range(
    graph: &Graph,
    quantizer: NodeIndex,
    range: IntRange,
) -> Result<(), Diagnostic> {
    let bits = range.bits();
    let values = range.hi.abs_diff(range.lo);
    if (1..=8).contains(&bits) && values == (1 << bits) - 1 {
        return Ok(());
    }
    Err(fault(
        Code::UnsupportedForm,
        place(graph.node(quantizer)),
        format!(
            "its values without zero point lie in {}..{}; supported are 2^b values, b from 1 to 8",
            range.lo, range.hi
        ),
        "quantize without narrow range, and with zero point 0 or at the end of the range under ReLU",
    ))
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
