//! Operators that keep, add or join parts of tensors: `Pad`, `Slice`, `Split`, `Concat`.

use super::{Loaded, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::node::NodeReader;
use crate::scope::Value;
use heq_ir::graph::op::{Op, QuantizeParams, SliceAxis};
use heq_ir::tensor::{ElementType, Shape, TensorData};

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry { domain: ONNX, operator: "Concat", forms: "any axis", load: concat },
    OperatorEntry {
        domain: ONNX,
        operator: "Pad",
        forms: "mode constant with value 0 (on integers any), constant pads, also negative; axes",
        load: pad,
    },
    OperatorEntry {
        domain: ONNX,
        operator: "Slice",
        forms: "constant starts, ends, axes and steps, also negative; nothing empty",
        load: slice,
    },
    OperatorEntry {
        domain: ONNX,
        operator: "Split",
        forms: "constant sizes, equal parts or num_outputs",
        load: split,
    },
];

fn concat(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let axis = node.int("axis", 1)?;
    let axis = dimension(&node.ty(0)?.shape, axis)?;
    let mut parts = Vec::with_capacity(node.input_count());
    for slot in 0..node.input_count() {
        parts.push(node.input(slot)?);
    }
    if parts.len() == 1 {
        return Ok(Loaded(parts));
    }
    Ok(Value::op(Op::Concat { axis }, parts).into())
}

fn pad(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let mode = node.text("mode")?.unwrap_or_else(|| "constant".into());
    if mode != "constant" {
        return Err(Fault::form(
            format!("attribute mode={mode:?} is not supported, only constant"),
            "pad with zeros before training",
        ));
    }
    let name = if node.opset() < 2 { "paddings" } else { "pads" };
    let pads =
        node.integers(name, 11, 1)?.ok_or_else(|| Fault::malformed("its pads are missing"))?;
    let value = pad_value(node)?;
    let axes = if node.opset() < 11 { None } else { node.optional_integers(3, "axes")? };
    let ty = node.ty(0)?;
    let axes = axes_or_all(axes, &ty.shape)?;
    if pads.len() != 2 * axes.len() {
        return Err(Fault::malformed(format!("{} pads for {} axes", pads.len(), axes.len())));
    }
    let mut added = vec![[0, 0]; ty.shape.rank()];
    let mut kept: Vec<SliceAxis> =
        ty.shape.dims().iter().map(|&extent| SliceAxis::whole(extent)).collect();
    for (index, &axis) in axes.iter().enumerate() {
        let (before, after) = (pads[index], pads[axes.len() + index]);
        let size = |pad: i64| usize::try_from(pad.unsigned_abs()).unwrap_or(usize::MAX);
        let cut = |pad: i64| if pad < 0 { size(pad) } else { 0 };
        let grow = |pad: i64| if pad > 0 { size(pad) } else { 0 };
        added[axis] = [grow(before), grow(after)];
        kept[axis].start = cut(before);
        kept[axis].len = kept[axis]
            .len
            .checked_sub(cut(before))
            .and_then(|rest| rest.checked_sub(cut(after)))
            .filter(|&rest| rest > 0)
            .ok_or_else(|| {
                Fault::form("its negative pads leave nothing", "remove the empty tensor")
            })?;
    }
    let x = sliced(node.input(0)?, kept, &ty.shape);
    if added.iter().all(|pads| *pads == [0, 0]) {
        return Ok(x.into());
    }
    match (ty.element, value) {
        (ElementType::Float, PadValue::Real(0.0)) => Ok(Value::op(Op::Pad(added), [x]).into()),
        (ElementType::Int(ty), PadValue::Integer(zero)) => {
            // As reals, with the value that is added as zero point. Their scale does not matter.
            let params = node.quantizer(0)?.filter(|params| params.zero_point == [zero]);
            let params = params.unwrap_or(QuantizeParams {
                scale: vec![1.0],
                zero_point: vec![zero],
                ty,
                axis: None,
            });
            let x = Value::op(Op::DequantizeLinear(params.clone()), [x]);
            let padded = Value::op(Op::Pad(added), [x]);
            Ok(Value::op(Op::QuantizeLinear(params), [padded]).into())
        }
        (ElementType::Float | ElementType::Int(_), _) => {
            Err(Fault::form("it pads with another value than 0", "pad with zeros before training"))
        }
    }
}

enum PadValue {
    Real(f32),
    Integer(i64),
}

/// What a `Pad` adds; 0 of the operand's type if it does not say.
fn pad_value(node: &mut NodeReader<'_>) -> Result<PadValue, Fault> {
    if node.opset() < 11 {
        return Ok(PadValue::Real(node.float("value", 0.0)?));
    }
    match node.optional_constant(2, "padding value")?.map(|tensor| &tensor.data) {
        Some(TensorData::Float(values)) if values.len() == 1 => Ok(PadValue::Real(values[0])),
        Some(TensorData::Int { values, .. }) if values.len() == 1 => {
            Ok(PadValue::Integer(values[0]))
        }
        Some(_) => Err(Fault::malformed("its padding value is not one number")),
        None => match node.ty(0)?.element {
            ElementType::Float => Ok(PadValue::Real(0.0)),
            ElementType::Int(_) => Ok(PadValue::Integer(0)),
        },
    }
}

fn slice(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let required = |list: Option<_>, role| {
        list.ok_or_else(|| Fault::malformed(format!("its {role} are missing")))
    };
    let starts = required(node.integers("starts", 10, 1)?, "starts")?;
    let ends = required(node.integers("ends", 10, 2)?, "ends")?;
    let axes = node.integers("axes", 10, 3)?;
    let steps = if node.opset() < 10 { None } else { node.optional_integers(4, "steps")? };
    let shape = node.ty(0)?.shape;
    let axes = match axes {
        Some(_) => axes_or_all(axes, &shape)?,
        None => (0..starts.len().min(shape.rank())).collect(),
    };
    let lengths = [starts.len(), ends.len(), steps.map_or(axes.len(), <[i64]>::len)];
    if lengths.iter().any(|&len| len != axes.len()) {
        return Err(Fault::malformed("starts, ends, axes and steps differ in their number"));
    }
    let mut kept: Vec<SliceAxis> =
        shape.dims().iter().map(|&extent| SliceAxis::whole(extent)).collect();
    for (index, &axis) in axes.iter().enumerate() {
        let step = steps.map_or(1, |steps| steps[index]);
        kept[axis] =
            slice_axis(starts[index], ends[index], step, kept[axis].len).ok_or_else(|| {
                Fault::form(
                    format!("it keeps nothing of dimension {axis}, or its step is 0"),
                    "remove the empty tensor",
                )
            })?;
    }
    Ok(sliced(node.input(0)?, kept, &shape).into())
}

/// What a slice keeps of a dimension of `extent`; indices beyond it are moved to its ends.
fn slice_axis(start: i64, end: i64, step: i64, extent: usize) -> Option<SliceAxis> {
    let extent = i64::try_from(extent).ok()?;
    let from_end = |at: i64| if at < 0 { at.saturating_add(extent) } else { at };
    let (start, end) = (from_end(start), from_end(end));
    let (start, distance) = if step > 0 {
        let start = start.clamp(0, extent);
        (start, end.clamp(0, extent) - start)
    } else {
        let start = start.clamp(0, extent - 1);
        (start, start - end.clamp(-1, extent - 1))
    };
    let stride = i64::try_from(step.unsigned_abs()).unwrap_or(i64::MAX);
    if distance <= 0 || stride == 0 {
        return None;
    }
    let len = (distance - 1) / stride + 1;
    Some(SliceAxis { start: usize::try_from(start).ok()?, step, len: usize::try_from(len).ok()? })
}

fn split(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let axis = node.int("axis", 0)?;
    let stated = node.integers("split", 13, 1)?;
    let outputs = node.optional_int("num_outputs")?;
    let shape = node.ty(0)?.shape;
    let axis = dimension(&shape, axis)?;
    let extent = shape.dims()[axis];
    let count = node.output_count();
    let misfit =
        || Fault::malformed(format!("its parts do not make up dimension {axis} of {shape}"));
    let sizes: Vec<usize> = match stated {
        Some(sizes) => {
            let sizes = sizes.iter().map(|&size| usize::try_from(size).ok()).collect();
            Option::ok_or_else(sizes, misfit)?
        }
        None => {
            if outputs.is_some_and(|outputs| usize::try_from(outputs) != Ok(count)) {
                return Err(Fault::malformed("num_outputs is not its number of outputs"));
            }
            if outputs.is_none() && !extent.is_multiple_of(count.max(1)) {
                return Err(misfit());
            }
            let size = extent.div_ceil(count.max(1));
            (0..count).map(|part| size.min(extent.saturating_sub(part * size))).collect()
        }
    };
    let total = sizes.iter().try_fold(0_usize, |total, &size| total.checked_add(size));
    if sizes.len() != count || total != Some(extent) || sizes.contains(&0) {
        return Err(misfit());
    }
    let mut start = 0;
    let mut parts = Vec::with_capacity(count);
    for len in sizes {
        let mut kept: Vec<SliceAxis> =
            shape.dims().iter().map(|&extent| SliceAxis::whole(extent)).collect();
        kept[axis] = SliceAxis { start, step: 1, len };
        start += len;
        parts.push(sliced(node.input(0)?, kept, &shape));
    }
    Ok(Loaded(parts))
}

/// What is kept of `x`; all of it is `x` itself.
fn sliced(x: Value, kept: Vec<SliceAxis>, shape: &Shape) -> Value {
    let whole = kept.iter().zip(shape.dims()).all(|(axis, &dim)| *axis == SliceAxis::whole(dim));
    if whole { x } else { Value::op(Op::Slice(kept), [x]) }
}

/// The dimensions that `axes` name, each once; all if there are none.
fn axes_or_all(axes: Option<&[i64]>, shape: &Shape) -> Result<Vec<usize>, Fault> {
    let Some(axes) = axes else { return Ok((0..shape.rank()).collect()) };
    let mut seen = vec![false; shape.rank()];
    let mut found = Vec::with_capacity(shape.rank());
    for &axis in axes {
        let index = dimension(shape, axis)?;
        if std::mem::replace(&mut seen[index], true) {
            return Err(Fault::malformed(format!("dimension {axis} is named twice")));
        }
        found.push(index);
    }
    Ok(found)
}

fn dimension(shape: &Shape, axis: i64) -> Result<usize, Fault> {
    shape.axis(axis).ok_or_else(|| {
        Fault::malformed(format!("a tensor of shape {shape} has no dimension {axis}"))
    })
}
