//! Secure program and choices to a plan and the server's weights.

use crate::choices::{self, Assumptions, Choices};
use crate::kernel::shared_requests::{Terms, joined_term};
use crate::select::limits::Limit;
use crate::select::options::{Objective, SearchOptions};
use crate::select::ot::OtRule;
use crate::select::{Choice, Selection};
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::integer::{IntegerNetwork, IntegerOp, LinearTerm, Term, ValueId};
use heq_ir::params::RlweSpec;
use heq_ir::plan::reveal::Reveal;
use heq_ir::plan::weights::{LinearWeights, ServerWeights, TableEntries, WeightsSpec};
use heq_ir::plan::{
    AccStrategy, Calibration, Layer, LayerKind, LinearChoice, Plan, PlanSpec, codec,
};
use heq_ir::preparation::InputPreparation;
use heq_ir::protocol::max_pool::ComparisonForm;
use heq_ir::rounding::AccRounding;
use heq_ir::secure::{Domain, SecureNode, SecureOp, SecureProgram};
use petgraph::graph::NodeIndex;
use std::collections::HashMap;
use std::sync::Arc;

/// What the user decides about a plan.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// How accumulator widths were derived.
    pub acc_strategy: AccStrategy,
    /// The inference fails with probability at most `2^-error_budget_log2`.
    pub error_budget_log2: u32,
    /// Least width of accumulators in bits, if there is one; at most what the protocols allow.
    pub ring_bits: Option<u32>,
    /// Whether accumulators are rounded before they are requantized.
    pub rounding: AccRounding,
    /// Samples that an inference computes at once.
    pub batch: usize,
    /// What of the output the client learns.
    pub reveal: Reveal,
    /// How raw pixels become the model's input.
    pub preparation: InputPreparation,
    /// How random OTs are made.
    pub ot: OtRule,
    /// How its steps are chosen.
    pub search: SearchOptions,
}

/// What users get who decide nothing.
impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            acc_strategy: AccStrategy::WeightAware,
            error_budget_log2: 40,
            ring_bits: None,
            rounding: AccRounding::Exact,
            batch: 1,
            reveal: Reveal::Logits,
            preparation: InputPreparation::default(),
            ot: OtRule::Auto,
            search: SearchOptions::default(),
        }
    }
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
    /// What of the model is left to the client, in sentences.
    pub notes: Vec<String>,
    /// Why the plan is as it is, without fixed choices and advice.
    pub choices: Choices,
}

/// A plan whose weights are still those of the network: of many plans few are kept.
#[derive(Debug)]
pub struct Draft {
    /// The checked plan.
    pub plan: Plan,
    /// The public file.
    pub plan_bytes: Vec<u8>,
    /// What of the model is left to the client, in sentences.
    pub notes: Vec<String>,
    /// Why the plan is as it is, without fixed choices and advice.
    pub choices: Choices,
    /// The terms of every linear step.
    linear: Vec<Terms>,
    /// One table for every table step.
    tables: Vec<TableEntries>,
}

impl Draft {
    /// The plan with its weights, which leave `network`, the one that was planned. Nothing is copied
    /// unless a copy of the network still has them.
    ///
    /// # Errors
    /// [`Code::Internal`] if the weights break a rule.
    pub fn complete(self, mut network: IntegerNetwork) -> Result<Compiled, Diagnostic> {
        let Self { plan, plan_bytes, notes, choices, linear, tables } = self;
        let layers = linear.iter().filter_map(|terms| take_weights(&mut network, terms));
        let weights = WeightsSpec { plan: plan.digest(), layers: layers.collect(), tables };
        let weights = ServerWeights::check(weights, &plan, &network.name)
            .map_err(|error| fault(&error.place, error.what))?;
        Ok(Compiled { plan, plan_bytes, weights, notes, choices })
    }
}

fn fault(place: &str, what: String) -> Diagnostic {
    Diagnostic::new(Code::Internal, place, what, "this is a fault of heqc; please report it")
}

/// Puts a plan together and checks it as the runtime will; `calibration` is what calibrated widths
/// rest on.
///
/// # Errors
/// [`Code::Internal`] if the plan breaks a rule, [`Code::TooLarge`] if it exceeds the size limit.
pub fn lower_plan(
    network: &IntegerNetwork,
    program: &SecureProgram,
    choice: &Choice,
    calibration: Option<Calibration>,
    options: &PlanOptions,
) -> Result<Draft, Diagnostic> {
    let selection = &choice.selection;
    let rlwe = parameter_sets(selection);
    let mut values = HashMap::new();
    let mut layers = Vec::with_capacity(program.graph.node_count());
    let (mut linear, mut tables) = (Vec::new(), Vec::new());
    // Every node comes after its operands.
    for index in program.graph.node_indices() {
        let node = &program.graph[index];
        if matches!(node.op, SecureOp::Input { .. }) {
            values.insert(index, ValueId(0));
            continue;
        }
        let origin = &node.origin;
        let kind = layer_kind(index, node, selection, &rlwe)
            .ok_or_else(|| fault(&origin.name, "no candidate was chosen".to_owned()))?;
        let nodes = program.operands(index);
        let operands: Option<Vec<ValueId>> =
            nodes.iter().map(|operand| values.get(operand).copied()).collect();
        let operands = operands
            .ok_or_else(|| fault(&origin.name, "reads a value that is not made".to_owned()))?;
        layers.push(Layer {
            name: origin.name.clone(),
            operator: origin.operator.clone(),
            tensor: origin.tensor.clone(),
            operands,
            kind,
        });
        values.insert(index, ValueId(layers.len()));
        linear.extend(secret_of_linear(node));
        let operands: Vec<Domain> =
            nodes.iter().map(|&operand| program.graph[operand].result.domain).collect();
        tables.extend(table_entries(network, node, &operands));
    }
    let spec = PlanSpec {
        model: network.name.clone(),
        acc_strategy: options.acc_strategy,
        calibration,
        error_budget_log2: options.error_budget_log2,
        rounding: options.rounding,
        batch: network.batch,
        input: network.input.clone(),
        preparation: options.preparation.clone(),
        output_name: network.output.name.clone(),
        output_scale: match options.reveal {
            Reveal::Logits => network.output.scale,
            Reveal::Top { .. } => 1.0,
        },
        rlwe,
        ot: choice.extension,
        layers,
    };
    let (plan, plan_bytes) = codec::encode_plan(spec).map_err(|error| {
        let codec::CodecError::Rejected(found) = &error else {
            return error.into_diagnostic(&network.name);
        };
        if found.is_too_large {
            let remedy = "no plan of this size could be run; use smaller tensors or fewer layers";
            Diagnostic::new(Code::TooLarge, &network.name, found.to_string(), remedy)
        } else {
            fault(&network.name, error.to_string())
        }
    })?;
    let choices = choices(&plan, choice, options);
    Ok(Draft { plan, plan_bytes, notes: Vec::new(), choices, linear, tables })
}

/// Why `plan` is as it is.
fn choices(plan: &Plan, choice: &Choice, options: &PlanOptions) -> Choices {
    let search = &options.search;
    let unit = match search.objective {
        Objective::Latency | Objective::OnlineLatency | Objective::Weighted { .. } => "us",
        Objective::Bytes => "bytes",
    };
    let limits = Limit::ALL.into_iter().filter_map(|limit| limit.describe(&search.limits));
    Choices {
        schema: choices::SCHEMA.to_owned(),
        plan: plan.digest().to_string(),
        assumptions: Assumptions {
            network: search.network.to_string(),
            objective: search.objective.to_string(),
            preset: search.restriction.to_string(),
            threads: search.threads,
            inferences: search.inferences,
            machine: search.profile.machine.clone(),
            measured_on: search.profile.date.clone(),
            limits: limits.collect(),
        },
        solver: choice.solver(unit),
        layers: choice.layers(),
        fixed: Vec::new(),
        advice: Vec::new(),
    }
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
    Some(match &node.op {
        SecureOp::Input { .. } => return None,
        &SecureOp::Linear(op) => {
            let chosen = selection.linear.get(&node.origin.secret)?;
            let choice = LinearChoice {
                rlwe: rlwe.iter().position(|set| *set == chosen.rlwe)?,
                tile: chosen.tile,
                request_drop_bits: chosen.request_drop_bits,
                response_drop_bits: chosen.response_drop_bits,
                weight_norm_squared_log2: chosen.weight_norm_squared_log2,
            };
            LayerKind::Linear { op, choice }
        }
        SecureOp::Combine(op) => LayerKind::Combine(op.clone()),
        &SecureOp::Requantize { widths, range } => {
            LayerKind::Requantize { widths, range, form: *selection.forms.requantize.get(&index)? }
        }
        &SecureOp::MaxPool { window } => {
            // The client pools its own values by itself.
            let form = selection.forms.max_pool.get(&index).copied();
            LayerKind::MaxPool { window, form: form.unwrap_or(ComparisonForm::Ripple) }
        }
        &SecureOp::Table { widths, lo } => LayerKind::Table { widths, lo },
        &SecureOp::View(view) => LayerKind::View(view),
        &SecureOp::Reshape(shape) => LayerKind::Reshape(shape),
        &SecureOp::Concat { batch } => LayerKind::Concat { batch },
        &SecureOp::ToArithmetic { bits } => {
            LayerKind::ToArithmetic { bits, form: *selection.forms.to_arithmetic.get(&index)? }
        }
        &SecureOp::ToBoolean { bits, lo } => LayerKind::ToBoolean { bits, lo },
        SecureOp::Open => LayerKind::Open,
        &SecureOp::Top { k } => LayerKind::Top { k },
    })
}

/// The linear terms that a step computes.
fn secret_of_linear(node: &SecureNode) -> Option<Terms> {
    matches!(node.op, SecureOp::Linear(_)).then(|| node.origin.secret.clone())
}

/// The weights of the terms of a step, which leave the network.
fn take_weights(network: &mut IntegerNetwork, terms: &Terms) -> Option<LinearWeights> {
    let bias = |&(layer, term): &(usize, usize)| {
        let IntegerOp::Sum(op) = &network.layers.get(layer)?.op else { return None };
        let is_first = op.linear_terms().next().is_some_and(|(first, _)| first == term);
        Some(if is_first { op.bias.clone() } else { vec![0; op.bias.len()] })
    };
    let bias: Vec<Vec<i64>> = terms.iter().map(bias).collect::<Option<_>>()?;
    let LinearTerm { weights, multipliers, .. } = joined_term(network, terms)?;
    for &(layer, term) in terms {
        let IntegerOp::Sum(op) = &mut network.layers.get_mut(layer)?.op else { return None };
        let Term::Linear(linear) = op.terms.get_mut(term)? else { return None };
        drop(std::mem::take(&mut linear.weights));
    }
    Some(LinearWeights { weights: Arc::unwrap_or_clone(weights), multipliers, bias: bias.concat() })
}

/// The table of a step whose operands live as `operands`: an entry for every index, in which the bits
/// of the first operand are the lowest; beyond the function's inputs that of the nearest integers.
fn table_entries(
    network: &IntegerNetwork,
    node: &SecureNode,
    operands: &[Domain],
) -> Option<TableEntries> {
    let &(layer, _) = node.origin.secret.first()?;
    let (IntegerOp::Table(table), &SecureOp::Table { widths, lo }) =
        (&network.layers.get(layer)?.op, &node.op)
    else {
        return None;
    };
    let position = |mut index: i64| {
        let mut values = Vec::with_capacity(operands.len());
        for operand in operands {
            let Domain::Boolean { bits, lo } = *operand else { return None };
            values.push(lo.checked_add(index & ((1 << bits.min(8)) - 1))?);
            index >>= bits.min(8);
        }
        table.position(&values)
    };
    let positions: Option<Vec<usize>> =
        (0..1_i64 << widths.input_bits.min(8)).map(position).collect();
    let positions = positions?;
    let entry = |values: &[i64], at: usize| u8::try_from(values.get(at)?.checked_sub(lo)?).ok();
    let tables = table.values.chunks(table.size()?.max(1));
    let entries = tables.flat_map(|one| positions.iter().map(move |&at| entry(one, at)));
    Some(TableEntries { entries: entries.collect::<Option<_>>()? })
}
