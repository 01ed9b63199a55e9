//! `QuantizeLinear`, `DequantizeLinear`.

use super::{Loaded, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::node::{NodeReader, float_values};
use crate::tensor::{Element, element};
use heq_ir::graph::op::{Op, QuantizeParams};
use heq_ir::tensor::{ElementType, IntType, TensorData};

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry {
        domain: ONNX,
        operator: "DequantizeLinear",
        forms: "constant scale and zero point, a tensor or an axis",
        load: dequantize,
    },
    OperatorEntry {
        domain: ONNX,
        operator: "QuantizeLinear",
        forms: "constant scale and zero point, a tensor or an axis",
        load: quantize,
    },
];

fn quantize(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let x = node.input(0)?;
    let output = match node.int("output_dtype", 0)? {
        0 => None,
        ty => match i32::try_from(ty).map(element) {
            Ok(Ok(Element::Int(ty))) => Some(ty),
            _ => return Err(Fault::form("attribute output_dtype is no integer type", REMEDY)),
        },
    };
    node.require("saturate", 1, 1)?;
    node.require("precision", 0, 0)?;
    let params = params(node, output.unwrap_or(IntType::unsigned(8)))?;
    if output.is_some_and(|ty| ty != params.ty) {
        return Err(Fault::malformed("output_dtype and the type of the zero point differ"));
    }
    Ok(Loaded::Op(Op::QuantizeLinear(params), vec![x]))
}

fn dequantize(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let x = node.input(0)?;
    node.require("output_dtype", 0, 0)?;
    let ty = match (node.optional_input(2), node.element(0)) {
        (None, Ok(ElementType::Int(ty))) => ty,
        (None, Err(fault)) => return Err(fault),
        // The zero point says the type; the operand is checked against it.
        (Some(_), _) | (None, Ok(ElementType::Float)) => IntType::unsigned(8),
    };
    let params = params(node, ty)?;
    Ok(Loaded::Op(Op::DequantizeLinear(params), vec![x]))
}

const REMEDY: &str = "export with integer quantization, one scale a tensor or a channel";

/// Scale and zero point; without one, the zero point is 0 of type `default`.
fn params(node: &mut NodeReader<'_>, default: IntType) -> Result<QuantizeParams, Fault> {
    node.require("block_size", 0, 0)?;
    let axis = node.int("axis", 1)?;
    let scale_tensor = node.constant(1, "scale")?;
    let scale = float_values(scale_tensor, "scale")?.to_vec();
    if !scale.iter().all(|scale| *scale > 0.0) {
        return Err(Fault::malformed("a scale is not positive"));
    }
    let axis = match scale_tensor.shape.rank() {
        0 => None,
        1 if scale.len() == 1 => None,
        1 => Some(axis),
        _ => return Err(Fault::form("its scales are arranged in blocks", REMEDY)),
    };
    let (ty, zero_point) = match node.optional_constant(2, "zero point")? {
        None => (default, vec![0; scale.len()]),
        Some(tensor) => match &tensor.data {
            TensorData::Int { ty, values, .. } => (*ty, values.clone()),
            TensorData::Float(_) => return Err(Fault::form("its zero point is real", REMEDY)),
        },
    };
    if zero_point.len() != scale.len() {
        return Err(Fault::malformed(format!(
            "{} zero points for {} scales",
            zero_point.len(),
            scale.len()
        )));
    }
    Ok(QuantizeParams { scale, zero_point, ty, axis })
}
