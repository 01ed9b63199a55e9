//! Maxima and means over windows, or over whole planes.

use super::shape::reshape_to;
use super::window::{WindowAttributes, plane};
use super::{Loaded, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::node::NodeReader;
use crate::scope::Value;
use heq_ir::geometry::Window;
use heq_ir::graph::op::{AveragePool, Op, QuantizeParams};
use heq_ir::tensor::ElementType;

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry {
        domain: ONNX,
        operator: "AveragePool",
        forms: "one or two spatial dimensions; strides, pads, auto_pad, count_include_pad; ceil_mode \
                where it changes nothing; no dilation",
        load: average,
    },
    OperatorEntry {
        domain: ONNX,
        operator: "GlobalAveragePool",
        forms: "one or two spatial dimensions",
        load: global_average,
    },
    OperatorEntry {
        domain: ONNX,
        operator: "GlobalMaxPool",
        forms: "one or two spatial dimensions",
        load: global_max,
    },
    OperatorEntry {
        domain: ONNX,
        operator: "MaxPool",
        forms: "one or two spatial dimensions; strides, pads, auto_pad, dilations; ceil_mode where \
                it changes nothing; on reals or quantized integers",
        load: max_pool,
    },
    OperatorEntry {
        domain: ONNX,
        operator: "ReduceMean",
        forms: "over all spatial dimensions and no other",
        load: reduce_mean,
    },
];

fn max_pool(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    // The order of indices, which are not supported as an output.
    node.ignore("storage_order");
    let window = pool_window(node)?;
    maximum(node, window)
}

fn global_max(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let window = whole_plane(node)?;
    maximum(node, window)
}

fn maximum(node: &mut NodeReader<'_>, window: Window) -> Result<Loaded, Fault> {
    on_reals(node, |x| Value::op(Op::MaxPool(window), [x]))
}

/// What `op` makes of the first input. Integers become reals around it, by the quantizer that made
/// them or else with scale 1; `op` must not depend on which.
fn on_reals(node: &mut NodeReader<'_>, op: impl FnOnce(Value) -> Value) -> Result<Loaded, Fault> {
    let x = node.input(0)?;
    let ElementType::Int(ty) = node.ty(0)?.element else { return Ok(op(x).into()) };
    let params = node.quantizer(0)?.unwrap_or(QuantizeParams {
        scale: vec![1.0],
        zero_point: vec![0],
        ty,
        axis: None,
    });
    let reals = op(Value::op(Op::DequantizeLinear(params.clone()), [x]));
    Ok(Value::op(Op::QuantizeLinear(params), [reals]).into())
}

fn average(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let op = average_pool(node)?;
    Ok(Value::op(op, [node.input(0)?]).into())
}

/// The average pooling that the attributes describe, on the first input.
pub(super) fn average_pool(node: &mut NodeReader<'_>) -> Result<Op, Fault> {
    let count_pads = node.int("count_include_pad", 0)? != 0;
    let window = pool_window(node)?;
    if window.dilations != [1, 1] {
        return Err(Fault::form(
            "averages over dilated windows are not supported",
            "replace the layer by one without dilation",
        ));
    }
    Ok(Op::AveragePool(AveragePool { window, count_pads }))
}

fn global_average(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    Ok(plane_mean(node)?.into())
}

fn plane_mean(node: &mut NodeReader<'_>) -> Result<Value, Fault> {
    let pool = AveragePool { window: whole_plane(node)?, count_pads: false };
    Ok(Value::op(Op::AveragePool(pool), [node.input(0)?]))
}

/// The window that is the whole plane of the first input.
pub(super) fn whole_plane(node: &mut NodeReader<'_>) -> Result<Window, Fault> {
    let (_, extents) = plane(node, 0)?;
    Ok(Window::dense(extents, [1, 1], [0; 4]))
}

fn reduce_mean(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let keep_dims = node.int("keepdims", 1)? != 0;
    node.require("noop_with_empty_axes", 0, 0)?;
    let axes = node.integers("axes", 18, 1)?.unwrap_or_default();
    let shape = node.ty(0)?.shape;
    let mut reduced: Vec<Option<usize>> = axes.iter().map(|&axis| shape.axis(axis)).collect();
    reduced.sort_unstable();
    let spatial: Vec<Option<usize>> = (2..shape.rank()).map(Some).collect();
    if reduced != spatial {
        return Err(Fault::form(
            format!("it reduces dimensions {axes:?} of a shape {shape}"),
            "only means over all spatial dimensions of [1, C, H, W] or [1, C, W] are supported",
        ));
    }
    let mean = plane_mean(node)?;
    if keep_dims {
        return Ok(mean.into());
    }
    Ok(Value::op(reshape_to(&shape.dims()[..2]), [mean]).into())
}

/// The window that the attributes of a pooling operator describe, on the first input.
fn pool_window(node: &mut NodeReader<'_>) -> Result<Window, Fault> {
    let ceil = node.int("ceil_mode", 0)? != 0;
    let attributes = WindowAttributes::read(node)?;
    let kernel =
        attributes.kernel.ok_or_else(|| Fault::malformed("attribute kernel_shape is missing"))?;
    let window = attributes.window(node, 0, kernel)?;
    if ceil {
        let (_, extents) = plane(node, 0)?;
        let exact = (0..2).all(|axis| is_exact(&window, extents, axis));
        if !exact {
            return Err(Fault::form(
                "attribute ceil_mode=1 adds windows that reach beyond the padding",
                "use ceil_mode=0 with padding at the end, or sizes that the stride divides",
            ));
        }
    }
    Ok(window)
}

/// Whether the windows end where the padded input does.
fn is_exact(window: &Window, extents: [usize; 2], axis: usize) -> bool {
    let rest = || {
        let padded =
            extents[axis].checked_add(window.pads[axis])?.checked_add(window.pads[axis + 2]);
        padded?.checked_sub(window.span()?[axis])?.checked_rem(window.strides[axis])
    };
    rest() == Some(0)
}
