//! `Conv`, `ConvInteger`.

use super::quantize::raw_integers;
use super::window::WindowAttributes;
use super::{Loaded, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::node::NodeReader;
use crate::scope::Value;
use heq_ir::graph::op::{ConvParams, Op};

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry {
        domain: ONNX,
        operator: "Conv",
        forms: "one or two spatial dimensions; strides, pads, auto_pad, dilations, groups, bias",
        load: conv,
    },
    OperatorEntry {
        domain: ONNX,
        operator: "ConvInteger",
        forms: "as Conv, without bias; constant zero points, per tensor or output channel",
        load: conv_integer,
    },
];

fn conv(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let mut inputs = vec![node.input(0)?, node.input(1)?];
    inputs.extend(node.optional_input(2));
    Ok(Value::op(convolution(node, 0, 1)?, inputs).into())
}

fn conv_integer(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let op = convolution(node, 0, 1)?;
    let inputs = [raw_integers(node, 0, 2, 0)?, raw_integers(node, 1, 3, 0)?];
    Ok(Value::op(op, inputs).into())
}

/// The convolution of the tensor in slot `x` with the weights in slot `w`.
pub(super) fn convolution(node: &mut NodeReader<'_>, x: usize, w: usize) -> Result<Op, Fault> {
    let attributes = WindowAttributes::read(node)?;
    let groups = node.int("group", 1)?;
    let groups = usize::try_from(groups)
        .ok()
        .filter(|&groups| groups > 0)
        .ok_or_else(|| Fault::malformed(format!("attribute group={groups} is not positive")))?;
    let weights = node.ty(w)?.shape;
    let kernel = match *weights.dims() {
        [_, _, rows, columns] => [rows, columns],
        [_, _, columns] => [1, columns],
        _ => {
            return Err(Fault::form(
                format!("its weights have shape {weights}"),
                "only one or two spatial dimensions are supported",
            ));
        }
    };
    if node.ty(x)?.shape.rank() != weights.rank() {
        return Err(Fault::malformed("its operand and weights differ in their dimensions"));
    }
    let window = attributes.window(node, x, kernel)?;
    Ok(Op::Conv(ConvParams {
        kernel: attributes.kernel,
        strides: window.strides,
        pads: window.pads,
        dilations: window.dilations,
        groups,
    }))
}
