//! Constants, other names of tensors, and what is read off constants or shapes.

use super::{Loaded, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::fold::{cast, floats, select, strides};
use crate::node::NodeReader;
use crate::scope::Value;
use crate::tensor::{Element, MAX_RANK, element};
use heq_ir::graph::op::{Op, QuantizeParams};
use heq_ir::tensor::{ElementType, IntType, Shape, Tensor, TensorData};

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry {
        domain: ONNX,
        operator: "Cast",
        forms: "to FLOAT; between number types on constants; ArgMax to any integer type",
        load: cast_node,
    },
    OperatorEntry {
        domain: ONNX,
        operator: "Constant",
        forms: "value, value_float, value_floats, value_int, value_ints",
        load: constant,
    },
    OperatorEntry {
        domain: ONNX,
        operator: "ConstantOfShape",
        forms: "constant shape",
        load: constant_of_shape,
    },
    OperatorEntry {
        domain: ONNX,
        operator: "Dropout",
        forms: "inference mode: its operand",
        load: dropout,
    },
    OperatorEntry { domain: ONNX, operator: "Gather", forms: "of constants", load: gather },
    OperatorEntry { domain: ONNX, operator: "Identity", forms: "any", load: identity },
    OperatorEntry { domain: ONNX, operator: "Shape", forms: "of any tensor", load: shape },
];

const INDEX: IntType = IntType::signed(64);

fn constant(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let list = |len: usize| {
        Shape::new(vec![len]).ok_or_else(|| Fault::malformed("the list of values is empty"))
    };
    let tensor = if let Some(tensor) = node.tensor("value")? {
        tensor
    } else if let Some(value) = node.optional_float("value_float")? {
        floats(Shape::scalar(), vec![value])
    } else if let Some(values) = node.reals("value_floats")? {
        floats(list(values.len())?, values.to_vec())
    } else if let Some(value) = node.optional_int("value_int")? {
        Tensor::int(Shape::scalar(), INDEX, vec![value])
    } else if let Some(values) = node.ints("value_ints")? {
        Tensor::int(list(values.len())?, INDEX, values.to_vec())
    } else {
        return Err(Fault::form("it holds neither a tensor nor numbers", "export it as a tensor"));
    };
    Ok(Value::Constant(tensor).into())
}

fn constant_of_shape(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let target = node.constant(0, "shape")?.as_ints();
    let dims: Option<Vec<usize>> = target
        .filter(|target| target.len() <= MAX_RANK)
        .and_then(|target| target.iter().map(|&extent| usize::try_from(extent).ok()).collect());
    let shape = dims.and_then(Shape::new).ok_or_else(|| {
        Fault::malformed("its shape is not a list of positive extents, or too large")
    })?;
    let count = shape.element_count();
    node.afford(count)?;
    let data = match node.tensor("value")?.map(|value| value.data) {
        None => TensorData::Float(vec![0.0; count]),
        Some(data) => select(&data, &vec![0; count]),
    };
    Ok(Value::Constant(Tensor { shape, data }).into())
}

fn identity(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    Ok(node.input(0)?.into())
}

fn dropout(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    for name in ["ratio", "seed", "is_test"] {
        node.ignore(name);
    }
    // The ratio matters in training alone.
    node.optional_input(1);
    if node.optional_integers(2, "training_mode")?.is_some_and(|mode| mode != [0]) {
        return Err(Fault::form("it is in training mode", "export the model for inference"));
    }
    identity(node)
}

fn cast_node(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    // Both concern 8-bit reals alone.
    node.ignore("saturate");
    node.ignore("round_mode");
    let to = node.optional_int("to")?.and_then(|to| i32::try_from(to).ok());
    let to = to.ok_or_else(|| Fault::malformed("attribute to is missing or no data type"))?;
    let to = match element(to)? {
        Element::Float => ElementType::Float,
        Element::Int(ty) => ElementType::Int(ty),
    };
    if to == ElementType::Int(IntType::unsigned(1)) {
        return Err(Fault::form("casts to truth values are not supported", "remove the condition"));
    }
    if let Some(constant) = node.known(0)? {
        node.afford(constant.stored_len())?;
        return Ok(Value::Constant(cast(constant, to)?).into());
    }
    match (node.ty(0)?.element, to) {
        (ElementType::Int(ty), ElementType::Float) => {
            let params = QuantizeParams { scale: vec![1.0], zero_point: vec![0], ty, axis: None };
            Ok(Value::op(Op::DequantizeLinear(params), [node.input(0)?]).into())
        }
        (from, to) if from == to => identity(node),
        (ElementType::Int(_), ElementType::Int(_))
            if matches!(node.producer(0)?, Some(Op::ArgMax { .. })) =>
        {
            identity(node)
        }
        (from, to) => Err(Fault::form(
            format!("a cast of {from} to {to} is not supported"),
            "quantize with QuantizeLinear and DequantizeLinear instead of casts",
        )),
    }
}

fn shape(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let shape = node.ty(0)?.shape;
    let rank = i64::try_from(shape.rank()).unwrap_or(i64::MAX);
    let mut place = |name, default| -> Result<usize, Fault> {
        let at = node.int(name, default)?;
        let at = if at < 0 { at.saturating_add(rank) } else { at };
        Ok(usize::try_from(at.clamp(0, rank)).unwrap_or(0))
    };
    let (start, end) = (place("start", 0)?, place("end", rank)?);
    let extents = shape.dims().get(start..end).unwrap_or_default();
    let extents: Option<Vec<i64>> = extents.iter().map(|&dim| i64::try_from(dim).ok()).collect();
    let shape = extents.as_ref().and_then(|extents| Shape::new(vec![extents.len()]));
    let (Some(shape), Some(extents)) = (shape, extents) else {
        return Err(Fault::form("its result is empty", "export without the empty shape"));
    };
    Ok(Value::Constant(Tensor::int(shape, INDEX, extents)).into())
}

fn gather(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let data = node.operand(0)?;
    let index = node.constant(1, "indices")?;
    let axis = node.int("axis", 0)?;
    let axis = data
        .shape
        .axis(axis)
        .ok_or_else(|| Fault::malformed(format!("it has no dimension {axis}")))?;
    let extent = data.shape.dims()[axis];
    let indices: Option<Vec<usize>> = index
        .as_ints()
        .into_iter()
        .flatten()
        .map(|&at| {
            let end = i64::try_from(extent).ok()?;
            let at = if at < 0 { at.checked_add(end)? } else { at };
            usize::try_from(at).ok().filter(|&at| at < extent)
        })
        .collect();
    let indices = indices
        .filter(|indices| indices.len() == index.stored_len())
        .ok_or_else(|| Fault::malformed("an index is not an integer within the dimension"))?;
    let dims = data.shape.dims();
    let [before, after] = [&dims[..axis], &dims[axis + 1..]];
    let shape = [before, index.shape.dims(), after].concat();
    let shape = Shape::new(shape).filter(|shape| shape.rank() <= MAX_RANK);
    let shape = shape.ok_or_else(|| Fault::malformed("its result is too large"))?;
    node.afford(shape.element_count())?;
    let inner = strides(&data.shape)[axis];
    let mut positions = Vec::with_capacity(shape.element_count());
    for outer in 0..before.iter().product() {
        for index in &indices {
            let start = (outer * extent + index) * inner;
            positions.extend(start..start + inner);
        }
    }
    Ok(Value::Constant(Tensor { shape, data: select(&data.data, &positions) }).into())
}
