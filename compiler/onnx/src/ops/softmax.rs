//! `Softmax`, `LogSoftmax`, `ArgMax`: what networks end with.

use super::{Loaded, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::node::NodeReader;
use crate::scope::Value;
use heq_ir::graph::op::Op;

const SOFTMAX: &str = "any axis; below operator set 13 only if it means a single dimension";

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry {
        domain: ONNX,
        operator: "ArgMax",
        forms: "any axis, keepdims; select_last_index 0",
        load: arg_max,
    },
    OperatorEntry { domain: ONNX, operator: "LogSoftmax", forms: SOFTMAX, load: log_softmax },
    OperatorEntry { domain: ONNX, operator: "Softmax", forms: SOFTMAX, load: plain_softmax },
];

fn plain_softmax(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    softmax_node(node, false)
}

fn log_softmax(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    softmax_node(node, true)
}

fn softmax_node(node: &mut NodeReader<'_>, log: bool) -> Result<Loaded, Fault> {
    let opset = node.opset();
    let op = softmax(node, opset, if opset < 13 { 1 } else { -1 }, log)?;
    Ok(Value::op(op, [node.input(0)?]).into())
}

/// The softmax on the first input, as operator set `opset` means its attribute `axis`.
pub(super) fn softmax(
    node: &mut NodeReader<'_>,
    opset: i64,
    default: i64,
    log: bool,
) -> Result<Op, Fault> {
    let stated = node.int("axis", default)?;
    let shape = node.ty(0)?.shape;
    let misfit =
        || Fault::malformed(format!("axis={stated} does not fit a tensor of shape {shape}"));
    let mut axis = shape.axis(stated).ok_or_else(misfit)?;
    if opset < 13 {
        // It runs over this and all later dimensions.
        let mut several = (axis..shape.rank()).filter(|&axis| shape.dims()[axis] > 1);
        axis = several.next().unwrap_or(axis);
        if several.next().is_some() {
            return Err(Fault::form(
                format!("it runs over several dimensions of a shape {shape}"),
                "export with operator set 13 or later",
            ));
        }
    }
    Ok(Op::Softmax { axis, log })
}

fn arg_max(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let stated = node.int("axis", 0)?;
    let keep_dims = node.int("keepdims", 1)? != 0;
    node.require("select_last_index", 0, 0)?;
    let shape = node.ty(0)?.shape;
    let axis = shape
        .axis(stated)
        .ok_or_else(|| Fault::malformed(format!("axis={stated} does not fit a shape {shape}")))?;
    Ok(Value::op(Op::ArgMax { axis, keep_dims }, [node.input(0)?]).into())
}
