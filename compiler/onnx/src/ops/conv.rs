//! `Conv`.

use super::window::WindowAttributes;
use super::{Loaded, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::node::NodeReader;
use heq_ir::graph::op::{ConvParams, Op};

pub(super) const OPERATORS: &[OperatorEntry] = &[OperatorEntry {
    domain: ONNX,
    operator: "Conv",
    forms: "two spatial dimensions, strides, pads, bias; group 1, no dilation, constant weights",
    load: conv,
}];

fn conv(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let mut inputs = vec![node.input(0)?, node.input(1)?];
    inputs.extend(node.optional_input(2));
    node.require("group", 1, 1)?;
    let WindowAttributes { kernel, strides, pads } = WindowAttributes::read(node)?;
    Ok(Loaded::Op(Op::Conv(ConvParams { kernel, strides, pads }), inputs))
}
