//! Operators on quantized integers, of ONNX and of ONNX Runtime, as the operators on reals that they
//! stand for between `DequantizeLinear` and `QuantizeLinear`.

use super::activation::leaky_slope;
use super::conv::convolution;
use super::linear::{GemmAttributes, product};
use super::pool::{average_pool, whole_plane};
use super::quantize::{Slots, dequantized, params};
use super::softmax::softmax;
use super::{Loaded, MICROSOFT, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::node::{NodeReader, int_type};
use crate::scope::Value;
use heq_ir::graph::op::{AveragePool, BinaryOp, Function, Op, QuantizeParams};
use heq_ir::tensor::IntType;

const SCALES: &str = "constant scales and zero points";

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry {
        domain: ONNX,
        operator: "QLinearConv",
        forms: "as Conv; constant scales and zero points, of weights per tensor or output channel",
        load: conv,
    },
    OperatorEntry {
        domain: ONNX,
        operator: "QLinearMatMul",
        forms: "as MatMul; constant scales and zero points, of the matrix per tensor or column",
        load: mat_mul,
    },
    OperatorEntry {
        domain: MICROSOFT,
        operator: "QGemm",
        forms: "as Gemm; constant scales and zero points, of the matrix per tensor or column",
        load: gemm,
    },
    OperatorEntry { domain: MICROSOFT, operator: "QLinearAdd", forms: SCALES, load: add },
    OperatorEntry {
        domain: MICROSOFT,
        operator: "QLinearAveragePool",
        forms: "as AveragePool; constant scales and zero points, channels_last 0",
        load: average,
    },
    OperatorEntry { domain: MICROSOFT, operator: "QLinearConcat", forms: SCALES, load: concat },
    OperatorEntry {
        domain: MICROSOFT,
        operator: "QLinearGlobalAveragePool",
        forms: "constant scales and zero points, channels_last 0",
        load: global_average,
    },
    OperatorEntry {
        domain: MICROSOFT,
        operator: "QLinearLeakyRelu",
        forms: SCALES,
        load: leaky_relu,
    },
    OperatorEntry { domain: MICROSOFT, operator: "QLinearMul", forms: SCALES, load: mul },
    OperatorEntry { domain: MICROSOFT, operator: "QLinearSigmoid", forms: SCALES, load: sigmoid },
    OperatorEntry {
        domain: MICROSOFT,
        operator: "QLinearSoftmax",
        forms: "as Softmax; constant scales and zero points",
        load: softmax_node,
    },
];

/// Consecutive slots of a tensor, its scale and its zero point.
const fn from(tensor: usize) -> Slots {
    Slots { tensor, scale: tensor + 1, zero_point: tensor + 2 }
}

/// `value` on the grid whose scale is in slot `scale` and whose zero point in the next; without a
/// zero point the integers have the type of those in slot `like`.
fn quantized(
    node: &mut NodeReader<'_>,
    scale: usize,
    like: usize,
    value: Value,
) -> Result<Loaded, Fault> {
    let ty = int_type(&node.ty(like)?)?;
    let params = params(node, Slots { tensor: like, scale, zero_point: scale + 1 }, 1, ty)?;
    Ok(Value::op(Op::QuantizeLinear(params), [value]).into())
}

/// The integer bias in `slot`, whose scale is the product of those of operand and weights.
fn bias(
    node: &mut NodeReader<'_>,
    slot: usize,
    x: &QuantizeParams,
    w: &QuantizeParams,
    alpha: f32,
) -> Result<Option<Value>, Fault> {
    let Some(value) = node.optional_input(slot) else { return Ok(None) };
    let &[scale] = x.scale.as_slice() else {
        return Err(Fault::form("its operand has several scales", "use one scale a tensor"));
    };
    let params = QuantizeParams {
        scale: w.scale.iter().map(|w| alpha * scale * w).collect(),
        zero_point: vec![0; w.scale.len()],
        ty: IntType::signed(32),
        axis: w.axis.map(|_| 0),
    };
    if !params.scale.iter().all(|&scale| scale.is_finite() && scale > 0.0) {
        return Err(Fault::malformed("the scale of its bias is not positive and finite"));
    }
    Ok(Some(Value::op(Op::DequantizeLinear(params), [value])))
}

fn conv(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let op = convolution(node, 0, 3)?;
    let (x, x_params) = dequantized(node, from(0), 1)?;
    let (w, w_params) = dequantized(node, from(3), 0)?;
    let mut inputs = vec![x, w];
    inputs.extend(bias(node, 8, &x_params, &w_params, 1.0)?);
    quantized(node, 6, 0, Value::op(op, inputs))
}

fn mat_mul(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let (x, _) = dequantized(node, from(0), 0)?;
    let (w, _) = dequantized(node, from(3), 1)?;
    let value = product(node, 0, 3, x, w)?;
    quantized(node, 6, 0, value)
}

fn gemm(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let attributes = GemmAttributes::read(node)?;
    let (x, x_params) = dequantized(node, from(0), 1)?;
    let (w, w_params) = dequantized(node, from(3), i64::from(!attributes.trans_b))?;
    let bias = bias(node, 6, &x_params, &w_params, attributes.alpha)?;
    let value = attributes.apply(x, w, bias, 1.0)?;
    if node.optional_input(7).is_none() {
        return Ok(value.into());
    }
    quantized(node, 7, 0, value)
}

fn add(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    binary(node, BinaryOp::Add)
}

fn mul(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    binary(node, BinaryOp::Mul)
}

fn binary(node: &mut NodeReader<'_>, op: BinaryOp) -> Result<Loaded, Fault> {
    let (a, _) = dequantized(node, from(0), 1)?;
    let (b, _) = dequantized(node, from(3), 1)?;
    quantized(node, 6, 0, Value::op(Op::Binary(op), [a, b]))
}

fn average(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    node.require("channels_last", 0, 0)?;
    let op = average_pool(node)?;
    unary(node, op)
}

fn global_average(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    node.require("channels_last", 0, 0)?;
    let window = whole_plane(node)?;
    unary(node, Op::AveragePool(AveragePool { window, count_pads: false }))
}

fn leaky_relu(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let slopes = vec![leaky_slope(node)?];
    unary(node, Op::Function(Function::LeakyRelu { slopes }))
}

fn sigmoid(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    unary(node, Op::Function(Function::Sigmoid))
}

fn softmax_node(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let opset = node.int("opset", 13)?;
    let op = softmax(node, opset, -1, false)?;
    unary(node, op)
}

fn unary(node: &mut NodeReader<'_>, op: Op) -> Result<Loaded, Fault> {
    let (x, _) = dequantized(node, from(0), 1)?;
    quantized(node, 3, 0, Value::op(op, [x]))
}

fn concat(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let axis = node.optional_int("axis")?;
    let axis = axis.ok_or_else(|| Fault::malformed("attribute axis is missing"))?;
    let shape = node.ty(2)?.shape;
    let axis = shape
        .axis(axis)
        .ok_or_else(|| Fault::malformed(format!("axis={axis} does not fit a shape {shape}")))?;
    if node.input_count() % 3 != 2 {
        return Err(Fault::malformed("its operands do not come with a scale and a zero point"));
    }
    let mut parts = Vec::with_capacity(node.input_count() / 3);
    for slot in (2..node.input_count()).step_by(3) {
        parts.push(dequantized(node, from(slot), 1)?.0);
    }
    quantized(node, 0, 2, Value::op(Op::Concat { axis }, parts))
}
