//! `Relu`, `Clip`.

use super::{Loaded, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::node::NodeReader;
use heq_ir::graph::op::{Bounds, Op};
use heq_ir::tensor::TensorData;

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry {
        domain: ONNX,
        operator: "Clip",
        forms: "constant bounds, as inputs or attributes",
        load: clip,
    },
    OperatorEntry { domain: ONNX, operator: "Relu", forms: "before a quantizer", load: relu },
];

fn relu(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    Ok(Loaded::Op(Op::Relu, vec![node.input(0)?]))
}

fn clip(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let x = node.input(0)?;
    let (lower, upper) = if node.opset() < 11 {
        (node.optional_float("min")?.map(f64::from), node.optional_float("max")?.map(f64::from))
    } else {
        (bound(node, 1, "lower bound")?, bound(node, 2, "upper bound")?)
    };
    let bounds =
        Bounds { lower: lower.unwrap_or(f64::NEG_INFINITY), upper: upper.unwrap_or(f64::INFINITY) };
    if bounds.lower.is_nan() || bounds.upper.is_nan() || bounds.lower > bounds.upper {
        return Err(Fault::form(
            format!("bounds {} and {} leave nothing between them", bounds.lower, bounds.upper),
            "give a lower bound that is at most the upper one",
        ));
    }
    Ok(Loaded::Op(Op::Clip(bounds), vec![x]))
}

fn bound(node: &mut NodeReader<'_>, slot: usize, role: &str) -> Result<Option<f64>, Fault> {
    let Some(tensor) = node.optional_constant(slot, role)? else { return Ok(None) };
    match &tensor.data {
        TensorData::Float(values) if values.len() == 1 => Ok(Some(f64::from(values[0]))),
        #[expect(clippy::cast_precision_loss, reason = "bounds beyond 2^53 are never reached")]
        TensorData::Int { values, .. } if values.len() == 1 => Ok(Some(values[0] as f64)),
        TensorData::Float(_) | TensorData::Int { .. } => {
            Err(Fault::malformed(format!("the {role} is not a scalar")))
        }
    }
}
