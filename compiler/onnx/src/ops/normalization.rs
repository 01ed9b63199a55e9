//! `BatchNormalization`.

use super::{Loaded, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::node::NodeReader;
use crate::scope::Value;
use heq_ir::graph::op::{BatchNormParams, Op};

pub(super) const OPERATORS: &[OperatorEntry] = &[OperatorEntry {
    domain: ONNX,
    operator: "BatchNormalization",
    forms: "inference mode, constant parameters",
    load: batch_normalization,
}];

fn batch_normalization(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let x = node.input(0)?;
    node.require("training_mode", 0, 0)?;
    node.require("spatial", 1, 1)?;
    // Only training uses it.
    node.ignore("momentum");
    let epsilon = node.float("epsilon", 1e-5)?;
    let params = BatchNormParams {
        gamma: node.floats(1, "scale")?.to_vec(),
        beta: node.floats(2, "bias")?.to_vec(),
        mean: node.floats(3, "mean")?.to_vec(),
        variance: node.floats(4, "variance")?.to_vec(),
        epsilon,
    };
    let smallest = params.variance.iter().copied().fold(f32::INFINITY, f32::min);
    if !epsilon.is_finite() || f64::from(smallest) + f64::from(epsilon) <= 0.0 {
        return Err(Fault::malformed("a variance plus epsilon is not positive"));
    }
    Ok(Value::op(Op::BatchNormalization(params), [x]).into())
}
