//! Integer network to secure program: every layer becomes protocol steps on typed values.
//!
//! A linear layer becomes a linear step and, if it has one, a requantization to shared bits; pooling
//! and reshaping stay on the bits; bits become arithmetic shares where a linear layer reads them. The
//! output is opened. Types are checked as each step is added.

use crate::analysis::range::LinearFacts;
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::integer::{IntRange, IntegerLayer, IntegerNetwork, IntegerOp, LinearOp, ValueId};
use heq_ir::protocol::requantize::RequantizeWidths;
use heq_ir::secure::{self, SecureOp, SecureProgram, TypeError};
use petgraph::graph::NodeIndex;

/// Guard bits of every accumulator: its two shares' roundings add at most one unit.
const GUARD_BITS: u32 = 1;

/// A value of the integer network in the secure program.
#[derive(Clone, Copy)]
struct Lowered {
    node: NodeIndex,
    /// Range of the value if it is held as bits.
    bits: Option<IntRange>,
}

/// Lowers the network with the accumulator widths of `facts`.
///
/// # Errors
/// [`Code::UnsupportedForm`] if the output is not a linear layer's accumulator, or something else
/// than a requantized tensor is pooled; [`Code::Internal`] if
/// a step does not type, which the integer network's invariants rule out.
pub fn assign_domains(
    network: &IntegerNetwork,
    facts: &[Option<LinearFacts>],
) -> Result<SecureProgram, Diagnostic> {
    let mut program = SecureProgram::default();
    let input = SecureOp::Input { shape: network.input.shape };
    let node = program
        .push(None, &network.input.name, "Input", input, None)
        .map_err(|error| untyped(&network.input.name, &error))?;
    let mut values = vec![Lowered { node, bits: None }];
    let mut arithmetic = vec![None; network.layers.len() + 1];
    for (index, layer) in network.layers.iter().enumerate() {
        let operand = *values.get(layer.input.0).ok_or_else(|| {
            Diagnostic::new(Code::Internal, &layer.name, "reads a later value", "report this fault")
        })?;
        let push = |program: &mut SecureProgram, operand, op, weights| {
            program
                .push(Some(operand), &layer.name, &layer.operator, op, weights)
                .map_err(|error| untyped(&layer.name, &error))
        };
        let lowered = match &layer.op {
            IntegerOp::Linear(op) => {
                let acc_bits = acc_bits(facts, index);
                let operand = match (operand.bits, arithmetic[layer.input.0]) {
                    (None, _) => operand.node,
                    (Some(_), Some(node)) => node,
                    (Some(range), None) => {
                        // Wider than the value's own bits, even if no accumulator is.
                        let readers = share_bits(network, facts, layer.input);
                        let bits = readers.max(range.bits() + 1);
                        let op = SecureOp::ToArithmetic { bits, lo: range.lo };
                        let node = push(&mut program, operand.node, op, None)?;
                        arithmetic[layer.input.0] = Some(node);
                        node
                    }
                };
                let node = push(&mut program, operand, linear(op, acc_bits), Some(index))?;
                match requantize(op, acc_bits) {
                    Some((op, range)) => {
                        let node = push(&mut program, node, op, None)?;
                        Lowered { node, bits: Some(range) }
                    }
                    None => Lowered { node, bits: None },
                }
            }
            IntegerOp::MaxPool(_) if operand.bits.is_none() => {
                return Err(Diagnostic::new(
                    Code::UnsupportedForm,
                    &layer.name,
                    "pools a tensor that is not the requantized result of a linear layer",
                    "pool after a quantizer that follows a Conv, Gemm or MatMul",
                ));
            }
            IntegerOp::MaxPool(pool) => {
                let op = SecureOp::MaxPool { window: pool.window };
                Lowered { node: push(&mut program, operand.node, op, None)?, ..operand }
            }
            IntegerOp::Flatten => Lowered {
                node: push(&mut program, operand.node, SecureOp::Flatten, None)?,
                ..operand
            },
        };
        values.push(lowered);
    }
    open_output(&mut program, network, &values)?;
    Ok(program)
}

fn open_output(
    program: &mut SecureProgram,
    network: &IntegerNetwork,
    values: &[Lowered],
) -> Result<(), Diagnostic> {
    let name = &network.output.name;
    let unsupported = |what: &str| {
        let remedy = "end the model with a Conv, Gemm or MatMul whose output is not quantized";
        Diagnostic::new(Code::UnsupportedForm, name, what, remedy)
    };
    let output = values.get(network.output.value.0);
    let output = output.ok_or_else(|| unsupported("no layer makes the output"))?;
    if output.bits.is_some() {
        return Err(unsupported("the output is quantized or pooled, not a linear layer's result"));
    }
    program
        .push(Some(output.node), name, "Output", SecureOp::Open, None)
        .map_err(|_| unsupported("the output is not a linear layer's result"))?;
    Ok(())
}

fn linear(op: &LinearOp, acc_bits: u32) -> SecureOp {
    SecureOp::Linear(secure::LinearOp {
        geometry: op.geometry,
        weight_bits: op.weight_bits,
        multiplier_bits: op.multiplier_bits,
        acc_bits,
        guard_bits: GUARD_BITS,
    })
}

fn requantize(op: &LinearOp, acc_bits: u32) -> Option<(SecureOp, IntRange)> {
    let requantize = op.requantize?;
    let widths = RequantizeWidths {
        acc_bits,
        guard_bits: GUARD_BITS,
        shift: requantize.shift,
        result_bits: requantize.range.bits(),
    };
    Some((SecureOp::Requantize { widths, range: requantize.range }, requantize.range))
}

fn acc_bits(facts: &[Option<LinearFacts>], layer: usize) -> u32 {
    facts.get(layer).and_then(Option::as_ref).map_or(0, |facts| facts.acc_bits)
}

/// Width of the shares of a value: wide enough for every linear layer that reads it.
fn share_bits(network: &IntegerNetwork, facts: &[Option<LinearFacts>], value: ValueId) -> u32 {
    let reads = |layer: &IntegerLayer| layer.input == value;
    let readers = network.layers.iter().enumerate().filter(|(_, layer)| reads(layer));
    readers.map(|(index, _)| acc_bits(facts, index)).max().unwrap_or(0)
}

fn untyped(name: &str, error: &TypeError) -> Diagnostic {
    Diagnostic::new(
        Code::Internal,
        name,
        error.to_string(),
        "this is a fault of heqc; please report it",
    )
}
