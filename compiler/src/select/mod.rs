//! Chooses one candidate for every step.
//!
//! [`choose_linear_steps`] and [`choose_forms`] are the interface between the kernels' candidates and
//! the plan. Linear steps are chosen together, since they share keys; circuits on shared bits one by
//! one. Both minimise [`Objective`]. The same model always gives the same plan.

pub mod linear;
pub mod ot;
pub mod tables;

use crate::analysis::range::{NetworkFacts, SumFacts, field_sums};
use crate::kernel::conv_coefficient::{Candidate, LinearTask};
use crate::kernel::forms;
use crate::kernel::packing::{PackingRule, packings};
use crate::kernel::price::{BYTES_PER_MICROSECOND, FLIGHT_MICROSECONDS, Objective};
use crate::lower::plan::PlanOptions;
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::integer::{IntegerNetwork, IntegerOp, Term};
use heq_ir::params::noise::required_margin;
use heq_ir::plan::AccStrategy;
use heq_ir::plan::OtExtension;
use heq_ir::protocol::max_pool::ComparisonForm;
use heq_ir::protocol::requantize::RequantizeForm;
use heq_ir::protocol::to_arithmetic::ToArithmeticForm;
use heq_ir::secure::{Domain, LinearOp, Packing, SecureNode, SecureOp, SecureProgram, ValueType};
use heq_ir::traffic::Traffic;
use petgraph::graph::NodeIndex;
use std::collections::HashMap;

/// What the user says about the choice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchOptions {
    /// How many elements coefficients hold.
    pub packing: PackingRule,
    /// Whether responses may be merged.
    pub merges: bool,
    /// Inferences of a session, among which its keys are divided.
    pub inferences: u32,
    /// Bytes that a microsecond is worth.
    pub bytes_per_microsecond: f64,
    /// Microseconds that a flight takes.
    pub flight_microseconds: f64,
}

impl SearchOptions {
    /// What is minimised if random OTs are made by `ot`.
    fn objective(&self, ot: OtExtension) -> Objective {
        Objective {
            flight_microseconds: self.flight_microseconds,
            ..Objective::new(self.inferences, ot, self.bytes_per_microsecond)
        }
    }
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            packing: PackingRule::Auto,
            merges: true,
            inferences: 1,
            bytes_per_microsecond: BYTES_PER_MICROSECOND,
            flight_microseconds: FLIGHT_MICROSECONDS,
        }
    }
}

/// Linear steps by the layer and term of the integer network that they compute.
pub type LinearChoices = HashMap<(usize, usize), Candidate>;

/// What was chosen for every step that has a choice.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Candidates of the linear steps.
    pub linear: LinearChoices,
    /// Forms of the circuits on shared bits.
    pub forms: Forms,
}

/// Forms of the circuits on shared bits, by their steps.
#[derive(Clone, Debug, Default)]
pub struct Forms {
    /// Requantizations.
    pub requantize: HashMap<NodeIndex, RequantizeForm>,
    /// Max poolings.
    pub max_pool: HashMap<NodeIndex, ComparisonForm>,
    /// Conversions to arithmetic shares.
    pub to_arithmetic: HashMap<NodeIndex, ToArithmeticForm>,
}

/// A linear step with what its candidates depend on.
struct LinearStep<'a> {
    node: &'a SecureNode,
    op: LinearOp,
    operand: ValueType,
    secret: (usize, usize),
    facts: Option<&'a SumFacts>,
}

/// Chooses for every linear step of `program`, which packs nothing yet; `facts` are those of the
/// integer `network` that it computes. Also says where a packing that was asked for does not fit.
///
/// # Errors
/// [`Code::NoParameters`] for every linear step that has no candidate.
pub fn choose_linear_steps(
    network: &IntegerNetwork,
    program: &SecureProgram,
    facts: &NetworkFacts,
    options: &PlanOptions,
) -> Result<(LinearChoices, Vec<String>), Diagnostics> {
    let margin = required_margin(linear_outputs(program), options.error_budget_log2);
    let steps = linear_steps(program, facts);
    let SearchOptions { packing: rule, merges, .. } = options.search;
    let objective = options.search.objective(options.ot.assumed());
    let mut notes = Vec::new();
    let mut tasks = Vec::with_capacity(steps.len());
    for step in &steps {
        let is_forced = matches!(rule, PackingRule::WithinChannel | PackingRule::CrossChannel);
        let packed = step.packings(network, rule, options.acc_strategy).unwrap_or_else(|why| {
            notes.extend(is_forced.then(|| step.not_packed(&why)));
            Vec::new()
        });
        let task = |packing| step.task(packing, margin, merges);
        let packed = packed.into_iter().map(task);
        if is_forced && packed.len() > 0 {
            tasks.push(packed.collect());
        } else {
            tasks.push([task(Packing::None)].into_iter().chain(packed).collect());
        }
    }
    let mut chosen = linear::choose_linear(tasks.clone(), objective);
    let mut is_final = true;
    for ((chosen, tasks), step) in chosen.iter().zip(&mut tasks).zip(&steps) {
        let is_packed = tasks.iter().all(|task| task.op.packing != Packing::None);
        if chosen.is_none() && is_packed {
            notes.push(step.not_packed("no secure modulus has room for its noise"));
            *tasks = vec![step.task(Packing::None, margin, merges)];
            is_final = false;
        }
    }
    if !is_final {
        chosen = linear::choose_linear(tasks, objective);
    }
    let mut found = Vec::new();
    let mut choices = LinearChoices::new();
    for (step, candidate) in steps.iter().zip(chosen) {
        match candidate {
            Some(candidate) => {
                choices.insert(step.secret, candidate);
            }
            None => found.push(step.no_parameters()),
        }
    }
    // Terms of one sum have the same name.
    notes.dedup();
    match Diagnostics::from_found(found) {
        Some(found) => Err(found),
        None => Ok((choices, notes)),
    }
}

/// The forms of all circuits on shared bits of `program`.
#[must_use]
pub fn choose_forms(program: &SecureProgram, options: &PlanOptions) -> Forms {
    let objective = options.search.objective(options.ot.assumed());
    let mut chosen = Forms::default();
    for index in program.graph.node_indices() {
        let node = &program.graph[index];
        let operand = program.operands(index).first().map(|&node| program.graph[node].result);
        let Some(operand) = operand else { continue };
        let elements = node.result.shape.len();
        match (&node.op, operand.domain) {
            (SecureOp::Requantize { widths, .. }, _) => {
                let form = cheapest(forms::of_requantize(widths, elements), &objective);
                chosen.requantize.extend(form.map(|form| (index, form)));
            }
            (SecureOp::MaxPool { window }, Domain::Boolean { bits, .. }) => {
                let positions = window.kernel[0] * window.kernel[1];
                let form = cheapest(forms::of_max_pool(elements, positions, bits), &objective);
                chosen.max_pool.extend(form.map(|form| (index, form)));
            }
            (&SecureOp::ToArithmetic { bits }, Domain::Boolean { bits: planes, .. }) => {
                let form = cheapest(forms::of_to_arithmetic(elements, planes, bits), &objective);
                chosen.to_arithmetic.extend(form.map(|form| (index, form)));
            }
            _ => {}
        }
    }
    chosen
}

/// The first of the forms with the lowest price.
fn cheapest<F>(forms: impl Iterator<Item = (F, Traffic)>, objective: &Objective) -> Option<F> {
    let priced = forms.map(|(form, traffic)| (form, objective.traffic(&traffic)));
    priced.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(form, _)| form)
}

impl<'a> LinearStep<'a> {
    fn task(&self, packing: Packing, margin: f64, merges: bool) -> LinearTask<'a> {
        let (_, term) = self.secret;
        let norms = self.facts.and_then(|facts| facts.kernel_norms_squared.get(term));
        LinearTask {
            op: LinearOp { packing, ..self.op },
            operand: self.operand.domain,
            kernel_norms_squared: norms.map_or(&[][..], Vec::as_slice),
            margin,
            merges,
        }
    }

    /// The packings that may be tried.
    fn packings(
        &self,
        network: &IntegerNetwork,
        rule: PackingRule,
        strategy: AccStrategy,
    ) -> Result<Vec<Packing>, String> {
        if rule == PackingRule::None {
            return Ok(Vec::new());
        }
        let (layer, term) = self.secret;
        let op = network.layers.get(layer).map(|layer| &layer.op);
        let Some(IntegerOp::Sum(op)) = op else { return Ok(Vec::new()) };
        let (Some(Term::Linear(term)), Domain::Client { range } | Domain::Arithmetic { range, .. }) =
            (op.terms.get(term), self.operand.domain)
        else {
            return Ok(Vec::new());
        };
        packings(&self.op, self.operand, field_sums(term, range, strategy), rule)
    }

    fn not_packed(&self, why: &str) -> String {
        format!("{:?} is not packed: {why}", self.node.origin.name)
    }

    fn no_parameters(&self) -> Diagnostic {
        Diagnostic::new(
            Code::NoParameters,
            &self.node.origin.name,
            format!(
                "an accumulator of {} bits leaves no room for noise in a modulus that is secure \
                 and at most {} bits wide",
                self.op.acc_bits,
                heq_ir::params::MAX_MODULUS_BITS
            ),
            "use fewer bits for weights, activations or --multiplier-bits, or \
             --acc-bits weight-aware",
        )
    }
}

/// The linear steps of `program` in order.
fn linear_steps<'a>(program: &'a SecureProgram, facts: &'a NetworkFacts) -> Vec<LinearStep<'a>> {
    let step = |index: NodeIndex| {
        let node = &program.graph[index];
        let SecureOp::Linear(op) = node.op else { return None };
        let secret = node.origin.secret?;
        let operand = program.operands(index).first().map(|&node| program.graph[node].result)?;
        let facts = facts.sums.get(secret.0).and_then(Option::as_ref);
        Some(LinearStep { node, op, operand, secret, facts })
    };
    program.graph.node_indices().filter_map(step).collect()
}

/// Outputs of all linear steps together, among which the error budget is divided.
fn linear_outputs(program: &SecureProgram) -> usize {
    program
        .graph
        .node_weights()
        .filter(|node| matches!(node.op, SecureOp::Linear(_)))
        .map(|node| node.result.shape.len())
        .sum()
}
