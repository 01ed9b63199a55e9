//! `QuantizeLinear`, `DequantizeLinear`, and quantization parameters of other operators.

use super::{Loaded, MICROSOFT, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::node::{NodeReader, float_values, int_type};
use crate::scope::Value;
use crate::tensor::{Element, element};
use heq_ir::graph::op::{Op, QuantizeParams};
use heq_ir::tensor::{IntType, Shape, Tensor, TensorData};

const FORMS: &str = "constant scale and zero point, per tensor or axis, also shaped [C,1,1,1]; 2 to 32 bits; no blocks";

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry { domain: ONNX, operator: "DequantizeLinear", forms: FORMS, load: dequantize },
    OperatorEntry { domain: ONNX, operator: "QuantizeLinear", forms: FORMS, load: quantize },
    OperatorEntry {
        domain: MICROSOFT,
        operator: "DequantizeLinear",
        forms: FORMS,
        load: dequantize,
    },
    OperatorEntry { domain: MICROSOFT, operator: "QuantizeLinear", forms: FORMS, load: quantize },
];

const REMEDY: &str = "export with integer quantization, one scale a tensor or a channel";

fn quantize(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let x = node.input(0)?;
    let stated = match node.int("output_dtype", 0)? {
        0 => None,
        ty => match i32::try_from(ty).map(element) {
            Ok(Ok(Element::Int(ty))) => Some(ty),
            _ => return Err(Fault::form("attribute output_dtype is no integer type", REMEDY)),
        },
    };
    node.require("saturate", 1, 1)?;
    node.require("precision", 0, 0)?;
    node.require("block_size", 0, 0)?;
    let axis = node.int("axis", 1)?;
    let default = stated.unwrap_or(IntType::unsigned(8));
    let params = params(node, Slots { tensor: 0, scale: 1, zero_point: 2 }, axis, default)?;
    if stated.is_some_and(|ty| ty != params.ty) {
        return Err(Fault::malformed("output_dtype and the type of the zero point differ"));
    }
    Ok(Value::op(Op::QuantizeLinear(params), [x]).into())
}

fn dequantize(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    match node.int("output_dtype", 0)? {
        0 | 1 => {}
        _ => return Err(Fault::form("attribute output_dtype is not FLOAT", REMEDY)),
    }
    node.require("block_size", 0, 0)?;
    let axis = node.int("axis", 1)?;
    Ok(dequantized(node, Slots { tensor: 0, scale: 1, zero_point: 2 }, axis)?.0.into())
}

/// Where a node has a tensor, and the scale and zero point that belong to it.
#[derive(Clone, Copy)]
pub(super) struct Slots {
    /// The tensor, or another one of the same rank.
    pub(super) tensor: usize,
    /// Its scale.
    pub(super) scale: usize,
    /// Its zero point.
    pub(super) zero_point: usize,
}

/// The reals that the integers in `slots` stand for, and their parameters.
pub(super) fn dequantized(
    node: &mut NodeReader<'_>,
    slots: Slots,
    axis: i64,
) -> Result<(Value, QuantizeParams), Fault> {
    let x = node.input(slots.tensor)?;
    // The parameters are read first, so that their faults are found even if x was not imported.
    let default = node.ty(slots.tensor).and_then(|ty| int_type(&ty));
    let params = match default {
        Ok(ty) => params(node, slots, axis, ty)?,
        Err(fault) => {
            params(node, slots, axis, IntType::unsigned(8))?;
            return Err(fault);
        }
    };
    Ok((Value::op(Op::DequantizeLinear(params.clone()), [x]), params))
}

/// The integers in `slot` as reals, without the zero point in `zero_slot`.
pub(super) fn raw_integers(
    node: &mut NodeReader<'_>,
    slot: usize,
    zero_slot: usize,
    axis: i64,
) -> Result<Value, Fault> {
    let x = node.input(slot)?;
    let ty = int_type(&node.ty(slot)?)?;
    let zero = node.optional_constant(zero_slot, "zero point")?;
    let rank = node.ty(slot)?.shape.rank();
    let params = assemble(vec![1.0], &Shape::scalar(), zero, axis, rank, ty)?;
    Ok(Value::op(Op::DequantizeLinear(params), [x]))
}

/// Scale and zero point; without one, the zero point is 0 of type `default`.
pub(super) fn params(
    node: &mut NodeReader<'_>,
    slots: Slots,
    axis: i64,
    default: IntType,
) -> Result<QuantizeParams, Fault> {
    let scale_tensor = node.constant(slots.scale, "scale")?;
    let scale = float_values(scale_tensor, "scale")?.to_vec();
    if !scale.iter().all(|scale| *scale > 0.0) {
        return Err(Fault::malformed("a scale is not positive"));
    }
    let zero = node.optional_constant(slots.zero_point, "zero point")?;
    // Only several scales in several dimensions need the rank, which may not be known.
    let rank = if scale_tensor.shape.rank() > 1 && scale.len() > 1 {
        node.ty(slots.tensor)?.shape.rank()
    } else {
        0
    };
    assemble(scale, &scale_tensor.shape, zero, axis, rank, default)
}

fn assemble(
    mut scale: Vec<f32>,
    scale_shape: &Shape,
    zero: Option<&Tensor>,
    axis: i64,
    rank: usize,
    default: IntType,
) -> Result<QuantizeParams, Fault> {
    let (ty, mut zero_point) = match zero.map(|tensor| &tensor.data) {
        None => (default, vec![0]),
        Some(TensorData::Int { ty, values, .. }) => (*ty, values.clone()),
        Some(TensorData::Float(_)) => return Err(Fault::form("its zero point is real", REMEDY)),
    };
    let shape = match zero {
        Some(zero) if scale.len() == 1 => &zero.shape,
        _ => scale_shape,
    };
    let count = scale.len().max(zero_point.len());
    if scale.len() == 1 {
        scale = vec![scale[0]; count];
    }
    if zero_point.len() == 1 {
        zero_point = vec![zero_point[0]; count];
    }
    if zero_point.len() != scale.len() {
        return Err(Fault::malformed(format!(
            "{} zero points for {} scales",
            zero_point.len(),
            scale.len()
        )));
    }
    let axis = axis_of(shape, axis, rank)?;
    Ok(QuantizeParams { scale, zero_point, ty, axis })
}

/// The dimension of a tensor of `rank` along which parameters of `shape` differ: `axis` if they are
/// a list, else the one in which they are more than one, shapes aligned at their ends.
fn axis_of(shape: &Shape, axis: i64, rank: usize) -> Result<Option<i64>, Fault> {
    if shape.element_count() == 1 {
        return Ok(None);
    }
    if shape.rank() == 1 {
        return Ok(Some(axis));
    }
    let dimension = only_dimension(shape, rank);
    let dimension = dimension.and_then(|dimension| i64::try_from(dimension).ok());
    dimension.map(Some).ok_or_else(|| {
        Fault::form(format!("its scales or zero points have shape {shape}, as blocks have"), REMEDY)
    })
}

/// The one dimension of a tensor of `rank` along which parameters of `shape` differ.
pub(super) fn only_dimension(shape: &Shape, rank: usize) -> Option<usize> {
    let mut several = shape.dims().iter().enumerate().filter(|(_, extent)| **extent > 1);
    match (several.next(), several.next()) {
        (Some((index, _)), None) => (rank + index).checked_sub(shape.rank()),
        _ => None,
    }
}
