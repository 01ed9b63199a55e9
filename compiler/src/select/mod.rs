//! Chooses one candidate for every step, all together.
//!
//! [`choose`] is the interface between the kernels' candidates and the plan: candidates in several
//! views ([`linear`], [`circuits`]), the integer program of them ([`program`]), its solution. The same
//! model and options always give the same choice.

pub mod circuits;
pub mod limits;
pub mod linear;
pub mod options;
pub mod ot;
pub mod program;
mod record;
mod shared;
pub mod tables;
pub mod variant;

use crate::analysis::range::{NetworkFacts, field_sums};
use crate::ilp::{Solution, SolveError, SolveLimits};
use crate::kernel::conv_coefficient::{Candidate, LinearTask};
use crate::kernel::packing::{FieldSums, PackingRule, packings};
use crate::kernel::price::{Price, Resources, Weights, row_price};
use crate::kernel::shared_requests::{Terms, joined_term};
use crate::lower::assign_domains::{LinearSteps, Lowered};
use crate::lower::plan::PlanOptions;
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::integer::IntegerNetwork;
use heq_ir::params::RlweParams;
use heq_ir::params::noise::required_margin;
use heq_ir::params::security::STATISTICAL_SECURITY_BITS;
use heq_ir::plan::{AccStrategy, OtExtension};
use heq_ir::protocol::max_pool::ComparisonForm;
use heq_ir::protocol::requantize::RequantizeForm;
use heq_ir::protocol::to_arithmetic::ToArithmeticForm;
use heq_ir::secure::{Domain, LinearOp, Packing, SecureNode, SecureOp, SecureProgram, ValueType};
use limits::Bounds;
use linear::{LinearFront, LinearFronts, has_candidate, linear_fronts};
use options::{Effort, Objective, Restriction, SearchOptions};
use petgraph::graph::NodeIndex;
use program::{PlanProgram, plan_program};
use rayon::prelude::*;
use shared::Sharing;
use std::collections::{BTreeMap, HashMap};
use variant::Variant;

/// The search ends within this part of the best, or after so many nodes.
pub const SOLVE_LIMITS: SolveLimits = SolveLimits { gap: 5e-4, nodes: 150 };

impl SearchOptions {
    /// The views of the candidates, that of the objective first; random OTs are made by `ot`.
    pub(crate) fn views(&self, ot: OtExtension) -> Vec<Price<'_>> {
        let situation = self.situation();
        let byte_us = situation.transmission_us(1.0);
        let cpu = 1.0 / self.threads.max(1) as f64;
        let view = |path: f64, cpu: f64, byte: f64, row_us: f64| {
            let row = row_price(&situation, ot, row_us, byte);
            let weights = Weights { path, cpu, byte, row, held: 0.0 };
            Price { situation: situation.clone(), inferences: self.inferences, weights }
        };
        let time = view(1.0, 0.05, 0.02 * byte_us, 0.3);
        let computation = view(0.1, cpu, 0.02 * byte_us, 1.0);
        let mut views = match self.objective {
            Objective::Latency => vec![time, computation, view(0.05, 0.05, byte_us, 0.3)],
            Objective::Bytes => vec![view(0.01, 0.001, 1.0, 0.001), time],
            // Random OTs are made beforehand.
            Objective::OnlineLatency => {
                vec![view(1.0, 0.05, 0.02 * byte_us, 0.01), view(0.05, 0.05, byte_us, 0.01)]
            }
            Objective::Weighted { seconds_per_mb } => {
                let weighted = view(1.0, 0.05, seconds_per_mb.max(0.0), 0.3);
                vec![weighted, computation, view(0.01, 0.001, 1.0, 0.001)]
            }
        };
        if self.limits.client_memory.or(self.limits.server_memory).is_some() {
            let mut small = view(0.001, 0.0, 0.001, 0.0);
            small.weights.held = 1.0;
            views.push(small);
        }
        if self.effort == Effort::Quick {
            views.truncate(1);
        }
        views
    }

    /// The view of the objective.
    pub(crate) fn price(&self, ot: OtExtension) -> Price<'_> {
        let mut views = self.views(ot);
        views.swap_remove(0)
    }
}

/// Linear steps by the terms of the integer network that they compute.
pub type LinearChoices = HashMap<Terms, Candidate>;

/// What was chosen for every step that has a choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Candidates of the linear steps.
    pub linear: LinearChoices,
    /// Forms of the circuits on shared bits.
    pub forms: Forms,
}

impl Selection {
    /// The linear steps that are packed or compute several terms.
    #[must_use]
    pub fn linear_steps(&self) -> LinearSteps {
        let chosen = self.linear.iter().map(|(terms, chosen)| (terms.clone(), chosen.packing));
        let found = chosen.filter(|(terms, packing)| terms.len() > 1 || *packing != Packing::None);
        LinearSteps(found.collect())
    }
}

/// Forms of the circuits on shared bits, by their steps.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// The value that it reads.
    read: NodeIndex,
    operand: ValueType,
    terms: Terms,
    /// An upper bound of every kernel's squared norm.
    norms: Vec<f64>,
}

/// A choice, with the program that it solves.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What was chosen for every step.
    pub selection: Selection,
    /// How random OTs are made.
    pub extension: OtExtension,
    /// The program.
    pub program: PlanProgram,
    /// Its solution.
    pub solution: Solution,
    /// What the user should know: where a packing that was asked for does not fit.
    pub notes: Vec<String>,
}

impl Choice {
    /// Makes a choice for a lowering that shares requests out of one for the lowering that does not; all
    /// steps that both have are alike.
    pub(crate) fn move_to(&mut self, lowered: &Lowered) {
        fn moved<F>(forms: &mut HashMap<NodeIndex, F>, common: &[usize]) {
            let node = |node: NodeIndex| NodeIndex::new(common[node.index() - 1] + 1);
            *forms = forms.drain().map(|(of, form)| (node(of), form)).collect();
        }
        let Forms { requantize, max_pool, to_arithmetic } = &mut self.selection.forms;
        moved(requantize, &lowered.common);
        moved(max_pool, &lowered.common);
        moved(to_arithmetic, &lowered.common);
        self.program.common.clone_from(&lowered.common);
    }
}

/// Chooses for every step of the program that `network`, whose facts are `facts`, was `lowered` to.
/// Linear steps keep what `known` says of them; without it, the program packs and shares nothing yet. The choices are
/// the best if what runs beside the steps overlaps with them as the model says, then if it does less, or
/// if all circuits are of one kind.
///
/// # Errors
/// [`Code::NoParameters`] or [`Code::BudgetTooTight`] for every linear step that has no candidate;
/// [`Code::LimitTooTight`] if no choice keeps `bounds`.
pub fn choose(
    network: &IntegerNetwork,
    lowered: &Lowered,
    facts: &NetworkFacts,
    known: Option<&LinearChoices>,
    bounds: Option<&Bounds>,
    options: &PlanOptions,
) -> Result<Vec<Choice>, Diagnostics> {
    let program = &lowered.program;
    let steps = linear_steps(program, facts);
    let views = options.search.views(options.ot.assumed());
    let (fronts, notes) = match known {
        Some(known) => (known_fronts(&steps, known), Vec::new()),
        None => {
            let sharing = match options.search.restriction.shares {
                true => Sharing::new(network, facts, &steps),
                false => Sharing::default(),
            };
            candidates(network, program, &steps, &sharing, &views, options)
        }
    };
    let without = steps.iter().zip(&fronts.layers).filter(|(_, front)| front.candidates.is_empty());
    let outputs = linear_outputs(program);
    let found = without.map(|(step, _)| step.no_parameters(outputs, options)).collect();
    if let Some(found) = Diagnostics::from_found(found) {
        return Err(found);
    }
    let shares_steps = !bounds.is_some_and(Bounds::is_by_step);
    let all = plan_program(lowered, &fronts, &options.search, options.ot, shares_steps);
    let solve = |variant: &Variant| -> Result<Choice, Diagnostic> {
        options.search.stop.check()?;
        let mut built = all.of_variant(variant, &fronts, &options.search);
        bounds.into_iter().for_each(|bounds| built.bound(bounds));
        let start = built.start(&views[0]);
        let solution = built.program.solve(Some(&start), SOLVE_LIMITS).map_err(|error| {
            let code = match error {
                SolveError::Infeasible => Code::LimitTooTight,
                SolveError::Solver { .. } => Code::Internal,
            };
            Diagnostic::new(code, &network.name, error.to_string(), "please report it")
        })?;
        let (selection, extension) = built.selection(&solution);
        let extension = extension.unwrap_or(options.ot.assumed());
        Ok(Choice { selection, extension, program: built, solution, notes: notes.clone() })
    };
    let is_timed = options.search.objective != Objective::Bytes;
    let variants = match options.search.effort {
        Effort::Full if is_timed => &Variant::ALL[..],
        Effort::Full | Effort::Quick => &[Variant::MODEL],
    };
    let found: Vec<Result<Choice, Diagnostic>> = variants.par_iter().map(solve).collect();
    let mut choices: Vec<Choice> = Vec::new();
    let mut failed = None;
    for choice in found {
        match choice {
            Ok(choice) => {
                let is_known = |other: &Choice| {
                    other.extension == choice.extension && other.selection == choice.selection
                };
                if !choices.iter().any(is_known) {
                    choices.push(choice);
                }
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    if let (true, Some(error)) = (choices.is_empty(), failed) {
        return Err(error.into());
    }
    Ok(choices)
}

/// The candidates of all linear steps, and where a packing that was asked for does not fit.
fn candidates(
    network: &IntegerNetwork,
    program: &SecureProgram,
    steps: &[LinearStep<'_>],
    sharing: &Sharing<'_>,
    views: &[Price<'_>],
    options: &PlanOptions,
) -> (LinearFronts, Vec<String>) {
    let margin = required_margin(linear_outputs(program), options.error_budget_log2);
    let restriction = options.search.restriction;
    let rule = restriction.packing;
    let is_forced = matches!(rule, PackingRule::WithinChannel | PackingRule::CrossChannel);
    let rules = match rule {
        PackingRule::Auto => &[PackingRule::WithinChannel, PackingRule::CrossChannel][..],
        PackingRule::None => &[],
        PackingRule::WithinChannel => &[PackingRule::WithinChannel],
        PackingRule::CrossChannel => &[PackingRule::CrossChannel],
    };
    let mut notes = Vec::new();
    let mut rejected = Vec::with_capacity(steps.len());
    let mut tasks = Vec::with_capacity(steps.len());
    for step in steps.iter().chain(&sharing.steps) {
        let mut all = Vec::new();
        let mut without = Vec::new();
        let sums = if rules.is_empty() { None } else { step.sums(network, options.acc_strategy) };
        for &rule in rules {
            let packed = |sums| packings(&step.op, step.operand, sums, rule);
            match sums.map_or(Ok(Vec::new()), packed) {
                Ok(found) => all.extend(found),
                Err(why) => {
                    let is_noted = is_forced && step.terms.len() == 1;
                    notes.extend(is_noted.then(|| step.not_packed(&why)));
                    without.push((rule.name().to_owned(), why));
                }
            }
        }
        rejected.push(without);
        let task = |packing| step.task(packing, margin, restriction);
        let packed = all.into_iter().map(task);
        if is_forced && packed.len() > 0 {
            tasks.push(packed.collect());
        } else {
            tasks.push([task(Packing::None)].into_iter().chain(packed).collect::<Vec<_>>());
        }
    }
    let mut fronts = linear_fronts(&tasks, &sharing.layers, views);
    let mut is_final = true;
    for ((front, tasks), step) in fronts.layers.iter().zip(&mut tasks).zip(steps) {
        let is_packed = tasks.iter().all(|task| task.op.packing != Packing::None);
        if front.candidates.is_empty() && is_packed {
            notes.push(step.not_packed("no secure modulus has room for its noise"));
            *tasks = vec![step.task(Packing::None, margin, restriction)];
            is_final = false;
        }
    }
    if !is_final {
        fronts = linear_fronts(&tasks, &sharing.layers, views);
    }
    let shared = fronts.shared.iter_mut().map(|(_, front)| front);
    for (front, rejected) in fronts.layers.iter_mut().chain(shared).zip(rejected) {
        front.rejected.splice(0..0, rejected);
    }
    for (layer, what, why) in &sharing.rejected {
        fronts.layers[*layer].rejected.push((what.clone(), why.clone()));
    }
    fronts.shared.retain(|(_, front)| !front.candidates.is_empty());
    (fronts, notes)
}

/// The candidates that are known, one for every step.
fn known_fronts(steps: &[LinearStep<'_>], known: &LinearChoices) -> LinearFronts {
    let front = |step: &LinearStep<'_>| {
        // What it makes other steps take is in the program that is known.
        let known = known.get(&step.terms).copied();
        let known = known.map(|known| Candidate { elsewhere: Resources::default(), ..known });
        let candidates: Vec<Candidate> = known.into_iter().collect();
        LinearFront { considered: candidates.len(), candidates, rejected: Vec::new() }
    };
    let layers: Vec<LinearFront> = steps.iter().map(front).collect();
    let mut sets = BTreeMap::new();
    for candidate in layers.iter().flat_map(|front| &front.candidates) {
        *sets.entry(candidate.rlwe).or_insert(0) |= candidate.spacings;
    }
    let set = |(spec, spacings)| Some((RlweParams::check(spec).ok()?, spacings));
    LinearFronts { sets: sets.into_iter().filter_map(set).collect(), layers, shared: Vec::new() }
}

impl LinearStep<'_> {
    fn task(&self, packing: Packing, margin: f64, restriction: Restriction) -> LinearTask<'_> {
        LinearTask {
            op: LinearOp { packing, ..self.op },
            operand: self.operand.domain,
            kernel_norms_squared: &self.norms,
            margin,
            restriction,
        }
    }

    /// Widths of the sums that packed layers have in their fields.
    fn sums(&self, network: &IntegerNetwork, strategy: AccStrategy) -> Option<FieldSums> {
        let (Some(term), Domain::Client { range } | Domain::Arithmetic { range, .. }) =
            (joined_term(network, &self.terms), self.operand.domain)
        else {
            return None;
        };
        Some(field_sums(&term, range, strategy))
    }

    fn not_packed(&self, why: &str) -> String {
        format!("{:?} is not packed: {why}", self.node.origin.name)
    }

    /// Why there is no candidate: the error budget, or the width of the accumulator, and what of it
    /// would do.
    fn no_parameters(&self, outputs: usize, options: &PlanOptions) -> Diagnostic {
        let name = &self.node.origin.name;
        let budget = options.error_budget_log2;
        let fits = |budget_log2: u32, acc_bits: u32| {
            let margin = required_margin(outputs, budget_log2);
            let mut task = self.task(Packing::None, margin, options.search.restriction);
            task.op.acc_bits = acc_bits;
            has_candidate(&task, &options.search.price(options.ot.assumed()))
        };
        let acc_bits = self.op.acc_bits;
        if let Some(least) =
            largest_with(STATISTICAL_SECURITY_BITS..budget, |log2| fits(log2, acc_bits))
        {
            return Diagnostic::new(
                Code::BudgetTooTight,
                name,
                format!(
                    "no parameters keep an error budget of 2^-{budget}: the least is 2^-{least}"
                ),
                format!("give --error-budget 2^-{least}, or fewer bits to weights or activations"),
            );
        }
        let most = largest_with(1..acc_bits, |bits| fits(budget, bits));
        let would_do = most.map_or(String::new(), |bits| format!("; one of {bits} bits would do"));
        Diagnostic::new(
            Code::NoParameters,
            name,
            format!(
                "an accumulator of {acc_bits} bits leaves no room for noise in a modulus that is \
                 secure and at most {} bits wide{would_do}",
                heq_ir::params::MAX_MODULUS_BITS
            ),
            "use fewer bits for weights, activations or --multiplier-bits, or \
             --acc-bits weight-aware",
        )
    }
}

/// The linear layer with the least room for noise, and the `-log2` of the least error budget that it
/// has parameters for; of those that have them for every budget up to the one asked for, the first.
#[must_use]
pub fn tightest_layer(
    program: &SecureProgram,
    facts: &NetworkFacts,
    options: &PlanOptions,
) -> Option<(String, u32)> {
    let outputs = linear_outputs(program);
    let price = options.search.price(options.ot.assumed());
    let least = |step: &LinearStep<'_>| {
        let fits = |log2: u32| {
            let margin = required_margin(outputs, log2);
            has_candidate(&step.task(Packing::None, margin, options.search.restriction), &price)
        };
        let least = largest_with(STATISTICAL_SECURITY_BITS..options.error_budget_log2, fits);
        (step.node.origin.name.clone(), least.unwrap_or(0))
    };
    linear_steps(program, facts).iter().map(least).min_by_key(|(_, least)| *least)
}

/// The largest number of `range` for which `holds`, which is so up to a point and not beyond.
fn largest_with(range: std::ops::Range<u32>, holds: impl Fn(u32) -> bool) -> Option<u32> {
    let (mut first, mut end) = (range.start, range.end.max(range.start));
    while first < end {
        let middle = first.midpoint(end);
        if holds(middle) { first = middle + 1 } else { end = middle }
    }
    first.checked_sub(1).filter(|found| range.contains(found))
}

/// The linear steps of `program` in order.
fn linear_steps<'a>(program: &'a SecureProgram, facts: &'a NetworkFacts) -> Vec<LinearStep<'a>> {
    let norms = |&(layer, term): &(usize, usize)| {
        let facts = facts.sums.get(layer)?.as_ref()?;
        facts.kernel_norms_squared.get(term).cloned()
    };
    let step = |index: NodeIndex| {
        let node = &program.graph[index];
        let SecureOp::Linear(op) = node.op else { return None };
        let terms = node.origin.secret.clone();
        let read = *program.operands(index).first()?;
        let operand = program.graph[read].result;
        let norms = terms.iter().filter_map(norms).flatten().collect();
        Some(LinearStep { node, op, read, operand, terms, norms })
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
