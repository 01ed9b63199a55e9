//! Functions of every element: `Relu`, `Clip`, `LeakyRelu`, `Sigmoid` and the like.

use super::{Loaded, MICROSOFT, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::node::{NodeReader, float_values};
use crate::scope::Value;
use heq_ir::graph::op::{Bounds, Function, Op};
use heq_ir::tensor::TensorData;

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry {
        domain: ONNX,
        operator: "Clip",
        forms: "constant bounds, as inputs or attributes; on reals or quantized integers",
        load: clip,
    },
    OperatorEntry { domain: ONNX, operator: "Elu", forms: "alpha", load: elu },
    OperatorEntry { domain: ONNX, operator: "Gelu", forms: "approximate none or tanh", load: gelu },
    OperatorEntry {
        domain: ONNX,
        operator: "HardSigmoid",
        forms: "alpha, beta",
        load: hard_sigmoid,
    },
    OperatorEntry { domain: ONNX, operator: "HardSwish", forms: "any", load: hard_swish },
    OperatorEntry { domain: ONNX, operator: "LeakyRelu", forms: "alpha", load: leaky_relu },
    OperatorEntry {
        domain: ONNX,
        operator: "PRelu",
        forms: "constant slopes, one a tensor or a channel",
        load: p_relu,
    },
    OperatorEntry { domain: ONNX, operator: "Relu", forms: "any", load: relu },
    OperatorEntry { domain: ONNX, operator: "Sigmoid", forms: "any", load: sigmoid },
    OperatorEntry { domain: ONNX, operator: "Tanh", forms: "any", load: tanh },
    OperatorEntry { domain: MICROSOFT, operator: "Gelu", forms: "any", load: gelu },
];

fn relu(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    Ok(Value::op(Op::Relu, [node.input(0)?]).into())
}

fn apply(node: &mut NodeReader<'_>, function: Function) -> Result<Loaded, Fault> {
    Ok(Value::op(Op::Function(function), [node.input(0)?]).into())
}

fn elu(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let alpha = finite(node, "alpha", 1.0)?;
    apply(node, Function::Elu { alpha })
}

fn gelu(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let tanh = match node.text("approximate")?.as_deref() {
        None | Some("none") => false,
        Some("tanh") => true,
        Some(other) => {
            return Err(Fault::malformed(format!(
                "attribute approximate={other:?} is not defined"
            )));
        }
    };
    apply(node, Function::Gelu { tanh })
}

fn hard_sigmoid(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let alpha = finite(node, "alpha", 0.2)?;
    let beta = finite(node, "beta", 0.5)?;
    apply(node, Function::HardSigmoid { alpha, beta })
}

fn hard_swish(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    apply(node, Function::HardSwish)
}

fn leaky_relu(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let slope = leaky_slope(node)?;
    apply(node, Function::LeakyRelu { slopes: vec![slope] })
}

/// Slope of a leaky rectifier.
pub(super) fn leaky_slope(node: &mut NodeReader<'_>) -> Result<f32, Fault> {
    finite(node, "alpha", 0.01)
}

fn p_relu(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let tensor = node.constant(1, "slope")?;
    let slopes = float_values(tensor, "slope")?.to_vec();
    if slopes.len() != 1 {
        let x = node.ty(0)?.shape;
        // Channels are dimension 1; shapes align at their ends.
        let along = (tensor.shape.rank() + 1).checked_sub(x.rank());
        let channels = along.and_then(|axis| tensor.shape.dims().get(axis));
        if channels != Some(&slopes.len()) {
            return Err(Fault::form(
                format!("its slopes have shape {}, its operand {x}", tensor.shape),
                "use one slope a tensor or a channel",
            ));
        }
    }
    apply(node, Function::LeakyRelu { slopes })
}

fn sigmoid(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    apply(node, Function::Sigmoid)
}

fn tanh(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    apply(node, Function::Tanh)
}

fn finite(node: &mut NodeReader<'_>, name: &'static str, default: f32) -> Result<f32, Fault> {
    let value = node.float(name, default)?;
    if value.is_finite() {
        return Ok(value);
    }
    Err(Fault::malformed(format!("attribute {name}={value} is not finite")))
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
    Ok(Value::op(Op::Clip(bounds), [x]).into())
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
