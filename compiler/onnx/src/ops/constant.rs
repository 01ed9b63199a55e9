//! `Constant`, `Identity`.

use super::{Loaded, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::node::NodeReader;
use heq_ir::tensor::{IntType, Shape, Tensor, TensorData};

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry {
        domain: ONNX,
        operator: "Constant",
        forms: "value, value_float, value_int, value_ints",
        load: constant,
    },
    OperatorEntry { domain: ONNX, operator: "Identity", forms: "any", load: identity },
];

fn constant(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    if let Some(tensor) = node.tensor("value")? {
        return Ok(Loaded::Constant(tensor));
    }
    if let Some(value) = node.optional_float("value_float")? {
        let data = TensorData::Float(vec![value]);
        return Ok(Loaded::Constant(Tensor { shape: Shape::scalar(), data }));
    }
    if let Some(values) = node.ints("value_ints")? {
        let shape = Shape::new(vec![values.len()])
            .ok_or_else(|| Fault::malformed("the list of values is empty"))?;
        return Ok(Loaded::Constant(Tensor::int(shape, IntType::signed(64), values.to_vec())));
    }
    if let Some(value) = node.optional_int("value_int")? {
        let ty = IntType::signed(64);
        return Ok(Loaded::Constant(Tensor::int(Shape::scalar(), ty, vec![value])));
    }
    Err(Fault::form(
        "it has none of the attributes value, value_float, value_int, value_ints",
        "export the constant as a tensor",
    ))
}

fn identity(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    Ok(Loaded::Alias(node.input(0)?))
}
