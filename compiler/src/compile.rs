//! The whole compilation: ONNX bytes to a plan and its weights.

use crate::advise::advise;
use crate::analysis::range::{NetworkFacts, network_facts};
use crate::choices::Solver;
use crate::evaluate::evaluate;
use crate::fixed::fixed_choices;
use crate::lower::assign_domains::{LinearSteps, Lowered, assign_domains};
use crate::lower::batch::batch;
use crate::lower::plan::{Compiled, Draft, PlanOptions, lower_plan};
use crate::pass::elide_branch_quantizers::BranchQuantizers;
use crate::pipeline::{ImportOptions, Imported, import};
use crate::select::limits::{Bounds, Figures, InferenceCost, Limit, least_objective};
use crate::select::options::{Limits, Objective, SearchOptions};
use crate::select::ot::OtRule;
use crate::select::tables::tabulate_sums;
use crate::select::{Choice, choose, tightest_layer};
use heq_data::{Array, Sample, to_samples};
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::integer::{IntegerNetwork, IntegerOp};
use heq_ir::params::noise::MAX_BUDGET_LOG2;
use heq_ir::plan::{AccStrategy, Calibration, ObservedSum, Plan};
use heq_ir::secure::Packing;

/// What the user decides about a compilation.
#[derive(Clone, Debug)]
pub struct CompileOptions<'a> {
    /// About the import.
    pub import: ImportOptions<'a>,
    /// About the plan.
    pub plan: PlanOptions,
    /// Samples on which accumulator widths are calibrated, if that is the strategy.
    pub calibration: Option<&'a Array>,
}

/// Compiles the ONNX model in `bytes`; `file_name` names it in diagnostics.
///
/// The same bytes, options and samples give the same plan, byte for byte.
///
/// # Errors
/// Diagnostics for everything in the model that is not supported, for every constraint that no plan
/// satisfies, and for calibration samples that are missing or not the model's.
pub fn compile(
    bytes: &[u8],
    file_name: &str,
    options: &CompileOptions<'_>,
) -> Result<Compiled, Diagnostics> {
    compile_observed(bytes, file_name, options, &mut |_, _| {})
}

/// Like [`compile`], and tells `progress` how many calibration samples of how many are done.
///
/// # Errors
/// As [`compile`].
pub fn compile_observed(
    bytes: &[u8],
    file_name: &str,
    options: &CompileOptions<'_>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Compiled, Diagnostics> {
    let Imported { network, mut notes } = import(bytes, file_name, &options.import)?;
    check_preparation(&network, &options.plan)?;
    let samples = match options.calibration {
        Some(array) => to_samples(array, &network.input, &options.plan.preparation)
            .map_err(Diagnostic::from)?,
        None => Vec::new(),
    };
    let draft = draft(&network, &options.plan, &samples, progress)?;
    let compiled = draft.complete(network)?;
    notes.extend(compiled.notes);
    Ok(Compiled { notes, ..compiled })
}

/// What is planned beside a model, to be compared with its plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comparisons {
    /// The model with changes that might make it cheaper.
    pub advice: bool,
    /// The model with one choice for all of its layers.
    pub fixed: bool,
}

/// Advice at most.
const MOST_ADVICE: usize = 3;

/// Plans `comparisons` with what was `compiled` of the ONNX model in `bytes`, and adds them to its choices.
///
/// # Errors
/// As [`compile`].
pub fn compare_plans(
    bytes: &[u8],
    file_name: &str,
    options: &CompileOptions<'_>,
    comparisons: Comparisons,
    compiled: &mut Compiled,
) -> Result<(), Diagnostics> {
    if comparisons == Comparisons::default() {
        return Ok(());
    }
    let network = import(bytes, file_name, &options.import)?.network;
    if comparisons.advice {
        let branch_quantizers = BranchQuantizers::Elide;
        let without =
            import(bytes, file_name, &ImportOptions { branch_quantizers, ..options.import });
        let without = without.ok().map(|imported| imported.network);
        compiled.choices.advice =
            advise(&network, without.as_ref(), &options.plan, &compiled.plan, MOST_ADVICE);
    }
    if comparisons.fixed {
        compiled.choices.fixed = fixed_choices(&network, &options.plan);
    }
    Ok(())
}

/// Compiles an integer network whose widths need no calibration.
///
/// # Errors
/// Diagnostics for every constraint that no plan satisfies; [`Code::BadOption`] if the strategy is
/// [`AccStrategy::Calibrated`].
pub fn compile_network(
    network: &IntegerNetwork,
    options: &PlanOptions,
) -> Result<Compiled, Diagnostics> {
    compile_calibrated(network, options, &[], &mut |_, _| {})
}

/// The plan of an integer network as if the sums of its layers took as many bits less as `fewer_bits`
/// says, by layer.
///
/// # Errors
/// As [`compile_network`].
pub fn plan_narrower(
    network: &IntegerNetwork,
    options: &PlanOptions,
    fewer_bits: &[u32],
) -> Result<Plan, Diagnostics> {
    if fewer_bits.iter().all(|&bits| bits == 0) {
        return Ok(draft(network, options, &[], &mut |_, _| {})?.plan);
    }
    Ok(plan_network(network, options, Widths::Narrower(fewer_bits))?.draft.plan)
}

/// Compiles an integer network; with [`AccStrategy::Calibrated`] its accumulators have the widths
/// that `samples` lead to. `progress` hears how many of how many are done.
///
/// # Errors
/// Diagnostics for every constraint that no plan satisfies; [`Code::BadOption`] if there is no sample
/// to calibrate on.
pub fn compile_calibrated(
    network: &IntegerNetwork,
    options: &PlanOptions,
    samples: &[Sample],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Compiled, Diagnostics> {
    Ok(draft(network, options, samples, progress)?.complete(network.clone())?)
}

/// As [`compile_calibrated`], but for the weights.
fn draft(
    network: &IntegerNetwork,
    options: &PlanOptions,
    samples: &[Sample],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Draft, Diagnostics> {
    check_preparation(network, options)?;
    let AccStrategy::Calibrated { margin_bits } = options.acc_strategy else {
        return Ok(plan_network(network, options, Widths::Given)?.draft);
    };
    if samples.is_empty() {
        let what = "calibrated accumulator widths need samples";
        let remedy = "pass --calibration DATA.npz with typical samples";
        return Err(Diagnostic::new(Code::BadOption, "--acc-bits calibrated", what, remedy).into());
    }
    // Nothing overflows in the widest plan, so what it computes are the exact sums.
    let mut widest = options.clone();
    widest.acc_strategy = AccStrategy::WeightAware;
    widest.batch = 1;
    widest.search.limits = Limits::default();
    let Planned { draft, sums, .. } = plan_network(network, &widest, Widths::Given)?;
    let Compiled { plan, weights, .. } = draft.complete(network.clone())?;
    let found = evaluate(&plan, &weights, samples, None, &mut |done| {
        progress(done, samples.len());
        options.search.stop.check()
    })?;
    drop(weights);
    let used_bits: Vec<Option<u32>> = network
        .layers
        .iter()
        .zip(sums)
        .map(|(layer, step)| {
            let headroom =
                found.accumulators.iter().find(|headroom| Some(headroom.step) == step)?;
            is_calibrated(&layer.op).then_some(headroom.used_bits)
        })
        .collect();
    let observed = Observed { samples: found.samples, margin_bits, used_bits };
    let mut draft = plan_network(network, options, Widths::Observed(&observed))?.draft;
    draft.notes.extend(calibration_notes(&draft.plan, margin_bits));
    Ok(draft)
}

/// By what the widths of accumulators differ from those that weights and strategy give.
#[derive(Clone, Copy)]
enum Widths<'a> {
    /// By nothing.
    Given,
    /// They follow what calibration found.
    Observed(&'a Observed),
    /// Each has so many bits less.
    Narrower(&'a [u32]),
}

/// What calibration found: for every layer the bits that its sums took, where widths follow them.
struct Observed {
    samples: usize,
    margin_bits: u32,
    used_bits: Vec<Option<u32>>,
}

impl Observed {
    /// In terms of a plan whose accumulators are made by the steps `sums`.
    fn calibration(&self, sums: &[Option<usize>]) -> Calibration {
        let observed = sums.iter().zip(&self.used_bits).filter_map(|(&step, &used_bits)| {
            Some(ObservedSum { step: step?, used_bits: used_bits? })
        });
        Calibration { samples: self.samples as u64, observed: observed.collect() }
    }
}

/// A plan with the choice behind it, and the step that makes the accumulator of every layer.
struct Planned {
    draft: Draft,
    choice: Choice,
    sums: Vec<Option<usize>>,
}

/// Plans within the limits: without them, and where that exceeds one, with them as constraints. Accumulators
/// are of `widths`.
fn plan_network(
    network: &IntegerNetwork,
    options: &PlanOptions,
    widths: Widths<'_>,
) -> Result<Planned, Diagnostics> {
    check_budget(network, options)?;
    let network = &batch(network, options.batch, options.reveal)?;
    let limits = &options.search.limits;
    let figures = |planned: &Planned| Figures::of(&planned.draft.plan, &options.search);
    let is_kept = |planned: &Planned| figures(planned).exceeded(limits).is_empty();
    let free = plan_bounded(network, options, widths, None)?;
    let of_free = figures(&free);
    let exceeded = of_free.exceeded(limits);
    if exceeded.is_empty() {
        return Ok(free);
    }
    let mut tighter = *limits;
    for _ in 0..MOST_TIGHTENINGS {
        let bounds = Bounds::new(&tighter, &of_free, &free.choice);
        let Ok(planned) = plan_bounded(network, options, widths, Some(&bounds)) else { break };
        let takes = figures(&planned);
        if takes.exceeded(limits).is_empty() {
            return Ok(planned);
        }
        tighter = takes.tightened(&tighter, limits);
    }
    let mut found = Vec::new();
    for limit in exceeded {
        let least = least_of(limit, network, options, widths, &free)?;
        if is_kept(&least) {
            return Ok(least);
        }
        found.push(figures(&least).too_tight(limit, limits, &least.draft.plan));
    }
    Err(Diagnostics::from_found(found).unwrap_or_else(|| fault(network).into()))
}

/// How often a plan is made with limits as constraints, each time tighter by what the plan before
/// exceeded them.
const MOST_TIGHTENINGS: usize = 3;

/// The plan that takes the least of `limit`, and of such the one that breaks the fewest limits.
fn least_of(
    limit: Limit,
    network: &IntegerNetwork,
    options: &PlanOptions,
    widths: Widths<'_>,
    free: &Planned,
) -> Result<Planned, Diagnostics> {
    let mut options = options.clone();
    let objective = options.search.objective;
    options.search.objective = least_objective(limit, objective);
    let of_free = Figures::of(&free.draft.plan, &options.search);
    // What an extension holds is no part of the program.
    let extensions = match limit {
        Limit::ClientMemory | Limit::ServerMemory => options.ot.candidates(),
        Limit::Bytes | Limit::Latency => Vec::new(),
    };
    let rules = extensions.into_iter().map(OtRule::Fixed).chain([options.ot]);
    let mut least: Option<(f64, Planned)> = None;
    for ot in rules {
        options.ot = ot;
        let bounds = Bounds::least(limit, &of_free, &free.choice);
        options.search.stop.check()?;
        let Ok(planned) = plan_bounded(network, &options, widths, bounds.as_ref()) else {
            continue;
        };
        let takes = Figures::of(&planned.draft.plan, &options.search).takes(limit);
        if least.as_ref().is_none_or(|(least, _)| takes < *least) {
            least = Some((takes, planned));
        }
    }
    least.map(|(_, planned)| planned).ok_or_else(|| fault(network).into())
}

/// An error budget below what the primitives are worth is kept by no plan.
fn check_budget(network: &IntegerNetwork, options: &PlanOptions) -> Result<(), Diagnostics> {
    let budget = options.error_budget_log2;
    if budget <= MAX_BUDGET_LOG2 {
        return Ok(());
    }
    let facts = network_facts(network, options.acc_strategy, options.rounding)?;
    let program = assign_domains(network, &facts, &LinearSteps::default(), options.reveal)?.program;
    let tightest = tightest_layer(&program, &facts, options);
    let (name, least) = tightest.unwrap_or((network.name.clone(), budget));
    let least = least.min(MAX_BUDGET_LOG2);
    let what = format!(
        "an error budget of 2^-{budget} is below what computation is secure against: the least is \
         2^-{least}, and this layer has the least room"
    );
    let remedy = format!("give --error-budget 2^-{least}");
    Err(Diagnostic::new(Code::BudgetTooTight, name, what, remedy).into())
}

/// Plans within `bounds`.
///
/// Sums that are cheaper as tables are so first. Operands of packed layers have wider shares, so where
/// some are packed the other steps are chosen once more.
fn plan_bounded(
    network: &IntegerNetwork,
    options: &PlanOptions,
    widths: Widths<'_>,
    bounds: Option<&Bounds>,
) -> Result<Planned, Diagnostics> {
    options.search.stop.check()?;
    let (network, mut facts) = tabulate_sums(network, options)?;
    let network = &network;
    match widths {
        Widths::Given => {}
        Widths::Observed(observed) => facts.narrow(&observed.used_bits, observed.margin_bits),
        Widths::Narrower(fewer_bits) => facts.narrow_by(fewer_bits),
    }
    if let Some(bits) = options.ring_bits {
        facts.widen(bits);
    }
    let lowered = assign_domains(network, &facts, &LinearSteps::default(), options.reveal)?;
    let mut all = Vec::new();
    for choice in choose(network, &lowered, &facts, None, bounds, options)? {
        all.extend(finish(network, &facts, &lowered, choice, options, widths, bounds)?);
    }
    // The first of equals.
    let rank = |planned: &Planned| {
        let plan = &planned.draft.plan;
        let exceeded = Figures::of(plan, &options.search).exceeded(&options.search.limits).len();
        (exceeded, worth(plan, &options.search))
    };
    let ranked = all.into_iter().map(|planned| (rank(&planned), planned));
    let best = ranked.reduce(|best, next| if next.0 < best.0 { next } else { best });
    best.map(|(_, planned)| planned).ok_or_else(|| fault(network).into())
}

/// What a plan is worth in the end: that which is minimised, as it is predicted of the plan as a whole.
fn worth(plan: &Plan, search: &SearchOptions) -> f64 {
    let InferenceCost { seconds, bytes } = InferenceCost::of(plan, search);
    let bytes = bytes as f64;
    match search.objective {
        Objective::Latency | Objective::OnlineLatency => seconds,
        Objective::Bytes => bytes,
        Objective::Weighted { seconds_per_mb } => seconds + seconds_per_mb * bytes / 1e6,
    }
}

/// The plans of a choice for the steps `lowered`, which pack and share nothing yet: several if others are
/// chosen anew for what is packed.
fn finish(
    network: &IntegerNetwork,
    facts: &NetworkFacts,
    lowered: &Lowered,
    mut choice: Choice,
    options: &PlanOptions,
    widths: Widths<'_>,
    bounds: Option<&Bounds>,
) -> Result<Vec<Planned>, Diagnostics> {
    let linear = choice.selection.linear_steps();
    let notes = std::mem::take(&mut choice.notes);
    let lower = |lowered: &Lowered, choice: Choice| -> Result<Planned, Diagnostic> {
        let Lowered { program, sums, .. } = lowered;
        let calibration = match widths {
            Widths::Observed(observed) => Some(observed.calibration(sums)),
            Widths::Given | Widths::Narrower(_) => None,
        };
        let mut draft = lower_plan(network, program, &choice, calibration, options)?;
        draft.notes.splice(0..0, notes.iter().cloned());
        Ok(Planned { draft, choice, sums: sums.clone() })
    };
    if linear == LinearSteps::default() {
        return Ok(vec![lower(lowered, choice)?]);
    }
    let again = assign_domains(network, facts, &linear, options.reveal)?;
    if linear.0.values().all(|&packing| packing == Packing::None) {
        // All shares are as wide as before.
        choice.move_to(&again);
        return Ok(vec![lower(&again, choice)?]);
    }
    let known = Some(&choice.selection.linear);
    let solver = choice.solver("");
    let mut layers = choice.layers();
    layers.retain(|layer| lowered.is_linear(layer.step));
    layers.iter_mut().for_each(|layer| layer.step = again.common[layer.step]);
    let mut all = Vec::new();
    for second in choose(network, &again, facts, known, bounds, options)? {
        let mut planned = lower(&again, second)?;
        // The second choice has one candidate of every linear step; the first had all of them.
        let choices = &mut planned.draft.choices;
        let unit = std::mem::take(&mut choices.solver.unit);
        choices.solver = Solver { unit, ..solver.clone() };
        choices.layers.retain(|layer| !again.is_linear(layer.step));
        choices.layers.extend(layers.iter().cloned());
        choices.layers.sort_by_key(|layer| layer.step);
        all.push(planned);
    }
    Ok(all)
}

fn fault(network: &IntegerNetwork) -> Diagnostic {
    let remedy = "this is a fault of heqc; please report it";
    Diagnostic::new(Code::Internal, &network.name, "no plan was found", remedy)
}

/// Whether the width of a layer follows calibration data: not where readers take a sum for exact.
fn is_calibrated(op: &IntegerOp) -> bool {
    let IntegerOp::Sum(op) = op else { return false };
    op.requantize.is_some() || op.linear_terms().next().is_some()
}

fn check_preparation(network: &IntegerNetwork, options: &PlanOptions) -> Result<(), Diagnostic> {
    let channels = network.input.shape.channels;
    options.preparation.check_channels(channels).map_err(|error| {
        let remedy = "give one value for every channel of the model's input";
        Diagnostic::new(Code::BadOption, "--input-mean, --input-std", error.to_string(), remedy)
    })
}

/// What the user should know about calibrated widths.
fn calibration_notes(plan: &Plan, margin_bits: u32) -> Vec<String> {
    let Some(calibration) = &plan.spec().calibration else { return Vec::new() };
    let free: Vec<String> = calibration
        .observed
        .iter()
        .filter_map(|sum| {
            let layer = plan.layers().get(sum.step)?;
            let free_bits = layer.kind.acc_bits()?.saturating_sub(sum.used_bits);
            Some(format!("{} {free_bits}", layer.name))
        })
        .collect();
    vec![
        format!(
            "accumulator widths are empirical: what {} calibration samples took and --margin \
             {margin_bits}; on other data a sum may overflow, which gives a wrong result and no \
             error. heqc evaluate counts overflows",
            calibration.samples
        ),
        format!("bits of accumulators that the calibration data left free: {}", free.join(", ")),
    ]
}

#[cfg(test)]
mod tests;
