//! `MaxPool`.

use super::window::WindowAttributes;
use super::{Loaded, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::node::NodeReader;
use heq_ir::geometry::Window;
use heq_ir::graph::op::Op;

pub(super) const OPERATORS: &[OperatorEntry] = &[OperatorEntry {
    domain: ONNX,
    operator: "MaxPool",
    forms: "two spatial dimensions, strides, pads; no dilation, ceil_mode 0",
    load: max_pool,
}];

fn max_pool(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let x = node.input(0)?;
    node.require("ceil_mode", 0, 0)?;
    // The order of indices, which are not supported as an output.
    node.ignore("storage_order");
    let WindowAttributes { kernel, strides, pads } = WindowAttributes::read(node)?;
    let kernel = kernel.ok_or_else(|| Fault::malformed("attribute kernel_shape is missing"))?;
    Ok(Loaded::Op(Op::MaxPool(Window { kernel, strides, pads }), vec![x]))
}
