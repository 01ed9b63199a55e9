//! `Add`, `Sub`, `Mul`, `Div`, and arithmetic on constants.

use super::{Loaded, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::fold::{self, Arithmetic, cast, floats};
use crate::node::{NodeReader, float_values};
use crate::scope::Value;
use heq_ir::graph::op::{BinaryOp, Op};
use heq_ir::tensor::{ElementType, Tensor, TensorData};

const BINARY: &str = "two tensors that broadcast; integers if both are constant";
const CONSTANTS: &str = "of constants";

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry { domain: ONNX, operator: "Add", forms: BINARY, load: add },
    OperatorEntry { domain: ONNX, operator: "Div", forms: BINARY, load: div },
    OperatorEntry { domain: ONNX, operator: "Mul", forms: BINARY, load: mul },
    OperatorEntry { domain: ONNX, operator: "Neg", forms: CONSTANTS, load: neg },
    OperatorEntry { domain: ONNX, operator: "Pow", forms: CONSTANTS, load: pow },
    OperatorEntry { domain: ONNX, operator: "Reciprocal", forms: CONSTANTS, load: reciprocal },
    OperatorEntry { domain: ONNX, operator: "Sqrt", forms: CONSTANTS, load: sqrt },
    OperatorEntry { domain: ONNX, operator: "Sub", forms: BINARY, load: sub },
];

fn add(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    binary(node, BinaryOp::Add)
}

fn sub(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    binary(node, BinaryOp::Sub)
}

fn mul(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    binary(node, BinaryOp::Mul)
}

fn div(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    binary(node, BinaryOp::Div)
}

fn binary(node: &mut NodeReader<'_>, op: BinaryOp) -> Result<Loaded, Fault> {
    let (a, b) = (beside(node, 0, 1)?, beside(node, 1, 0)?);
    Ok(Value::op(Op::Binary(op), [a, b]).into())
}

/// The operand in `slot`; an integer constant beside reals becomes real, since the results of
/// integer layers are real numbers in the graph.
fn beside(node: &mut NodeReader<'_>, slot: usize, other: usize) -> Result<Value, Fault> {
    if node.known(other)?.is_none()
        && let Some(constant) = node.known(slot)?
        && constant.as_ints().is_some()
        && node.ty(other)?.element == ElementType::Float
    {
        return Ok(Value::Constant(cast(constant, ElementType::Float)?));
    }
    node.input(slot)
}

fn pow(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let (base, exponent) = (node.operand(0)?, node.operand(1)?);
    node.afford(fold::broadcast(&base.shape, &exponent.shape)?.element_count())?;
    Ok(Value::Constant(fold::binary(Arithmetic::Pow, base, exponent)?).into())
}

fn neg(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let x = node.operand(0)?;
    if let TensorData::Int { ty, values, .. } = &x.data {
        let range = ty.range();
        let negated: Option<Vec<i64>> = values
            .iter()
            .map(|value| value.checked_neg().filter(|value| (range.lo..=range.hi).contains(value)))
            .collect();
        let negated =
            negated.ok_or_else(|| Fault::malformed(format!("a result does not fit {ty}")))?;
        return Ok(Value::Constant(Tensor::int(x.shape.clone(), *ty, negated)).into());
    }
    each(node, |x| -x)
}

fn reciprocal(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    each(node, f32::recip)
}

fn sqrt(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    each(node, f32::sqrt)
}

fn each(node: &mut NodeReader<'_>, function: impl Fn(f32) -> f32) -> Result<Loaded, Fault> {
    let x = node.operand(0)?;
    node.afford(x.stored_len())?;
    let values = float_values(x, "operand")?.iter().map(|&x| function(x)).collect();
    Ok(Value::Constant(floats(x.shape.clone(), values)).into())
}
