//! Secure program and choices to a plan and the server's weights.

use crate::select::Selection;
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::eval::wrap;
use heq_ir::integer::{IntegerNetwork, IntegerOp, ValueId};
use heq_ir::params::RlweSpec;
use heq_ir::plan::weights::{LinearWeights, ServerWeights, WeightsSpec};
use heq_ir::plan::{AccStrategy, Layer, LayerKind, LinearChoice, Plan, PlanSpec, codec};
use heq_ir::preparation::InputPreparation;
use heq_ir::secure::{SecureNode, SecureOp, SecureProgram};
use petgraph::algo::toposort;
use petgraph::graph::NodeIndex;
use std::collections::HashMap;

/// What a plan records of the options that made it.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// How accumulator widths were derived.
    pub acc_strategy: AccStrategy,
    /// The inference fails with probability at most `2^-error_budget_log2`.
    pub error_budget_log2: u32,
    /// How raw pixels become the model's input.
    pub preparation: InputPreparation,
    /// Field width k of the OT extension.
    pub ot_field_bits: u32,
}

/// A plan with its encoding and the weights that belong to it.
#[derive(Debug)]
pub struct Compiled {
    /// The checked plan.
    pub plan: Plan,
    /// The public file.
    pub plan_bytes: Vec<u8>,
    /// The server's weights.
    pub weights: ServerWeights,
}

/// Puts a plan together and checks it as the runtime will.
///
/// # Errors
/// [`Code::Internal`] if the plan breaks a rule, [`Code::TooLarge`] if it exceeds the size limit.
pub fn lower_plan(
    network: &IntegerNetwork,
    program: &SecureProgram,
    selection: &Selection,
    options: &PlanOptions,
) -> Result<Compiled, Diagnostic> {
    let fault = |place: &str, what: String| {
        Diagnostic::new(Code::Internal, place, what, "this is a fault of heqc; please report it")
    };
    let order = toposort(&program.graph, None)
        .map_err(|_| fault(&network.name, "the secure program has a cycle".to_owned()))?;
    let rlwe = parameter_sets(selection);
    let mut values = HashMap::new();
    let mut layers = Vec::with_capacity(order.len());
    let mut weights = Vec::new();
    for index in order {
        let node = &program.graph[index];
        let operand = program.graph.neighbors_directed(index, petgraph::Incoming).next();
        let Some(operand) = operand else {
            values.insert(index, ValueId(0));
            continue;
        };
        let kind = layer_kind(index, node, selection, &rlwe)
            .ok_or_else(|| fault(&node.name, "no candidate was chosen".to_owned()))?;
        let operand = *values
            .get(&operand)
            .ok_or_else(|| fault(&node.name, "reads a value that is not made".to_owned()))?;
        layers.push(Layer {
            name: node.name.clone(),
            operator: node.operator.clone(),
            operand,
            kind,
        });
        values.insert(index, ValueId(layers.len()));
        weights.extend(linear_weights(network, node));
    }
    let spec = PlanSpec {
        model: network.name.clone(),
        acc_strategy: options.acc_strategy,
        error_budget_log2: options.error_budget_log2,
        input: network.input.clone(),
        preparation: options.preparation.clone(),
        output_name: network.output.name.clone(),
        output_scale: network.output.scale,
        rlwe,
        ot_field_bits: options.ot_field_bits,
        layers,
    };
    let (plan, plan_bytes) = codec::encode_plan(spec).map_err(|error| {
        if matches!(error, codec::CodecError::Rejected(_)) {
            fault(&network.name, error.to_string())
        } else {
            error.into_diagnostic(&network.name)
        }
    })?;
    let weights = WeightsSpec { plan: plan.digest(), layers: weights };
    let weights = ServerWeights::check(weights, &plan, &network.name)
        .map_err(|error| fault(&error.place, error.what))?;
    Ok(Compiled { plan, plan_bytes, weights })
}

/// The distinct parameter sets in ascending order: a key for each.
fn parameter_sets(selection: &Selection) -> Vec<RlweSpec> {
    let mut sets: Vec<RlweSpec> = selection.linear.values().map(|chosen| chosen.rlwe).collect();
    sets.sort_unstable();
    sets.dedup();
    sets
}

fn layer_kind(
    index: NodeIndex,
    node: &SecureNode,
    selection: &Selection,
    rlwe: &[RlweSpec],
) -> Option<LayerKind> {
    Some(match node.op {
        SecureOp::Input { .. } => return None,
        SecureOp::Linear(op) => {
            let chosen = selection.linear.get(&index)?;
            let choice = LinearChoice {
                rlwe: rlwe.iter().position(|set| *set == chosen.rlwe)?,
                tile: chosen.tile,
                request_drop_bits: chosen.request_drop_bits,
                response_drop_bits: chosen.response_drop_bits,
                weight_norm_squared_log2: chosen.weight_norm_squared_log2,
            };
            LayerKind::Linear { op, choice }
        }
        SecureOp::Requantize { widths, range } => {
            LayerKind::Requantize { widths, range, form: *selection.requantize.get(&index)? }
        }
        SecureOp::MaxPool { window } => LayerKind::MaxPool { window },
        SecureOp::ToArithmetic { bits, lo } => LayerKind::ToArithmetic { bits, lo },
        SecureOp::Flatten => LayerKind::Flatten,
        SecureOp::Open => LayerKind::Open,
    })
}

fn linear_weights(network: &IntegerNetwork, node: &SecureNode) -> Option<LinearWeights> {
    let layer = network.layers.get(node.integer_layer?)?;
    let (IntegerOp::Linear(op), SecureOp::Linear(secure)) = (&layer.op, &node.op) else {
        return None;
    };
    // Only the sum with the requantization's offset must fit; a bias alone counts mod 2^l.
    let bias = op.bias.iter().map(|&bias| wrap(bias, secure.acc_bits)).collect();
    Some(LinearWeights { weights: op.weights.clone(), multipliers: op.multipliers.clone(), bias })
}
