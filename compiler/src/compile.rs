//! The whole compilation: ONNX bytes to a plan and its weights.

use crate::analysis::range::{NetworkFacts, network_facts};
use crate::evaluate::evaluate;
use crate::lower::assign_domains::{Lowered, Packings, assign_domains};
use crate::lower::plan::{Compiled, PlanOptions, lower_plan};
use crate::pipeline::{ImportOptions, import};
use crate::select::ot::{OtRule, cheapest_extension};
use crate::select::tables::tabulate_sums;
use crate::select::{Selection, choose_forms, choose_linear_steps};
use heq_data::{Array, Sample, to_samples};
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::integer::{IntegerNetwork, IntegerOp};
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
    let imported = import(bytes, file_name, &options.import)?;
    let network = &imported.network;
    let compiled = match options.calibration {
        Some(array) => {
            check_preparation(network, &options.plan)?;
            let samples = to_samples(array, &network.input, &options.plan.preparation)
                .map_err(Diagnostic::from)?;
            compile_calibrated(network, &options.plan, &samples, progress)?
        }
        None => compile_network(network, &options.plan)?,
    };
    let notes = imported.notes.into_iter().chain(compiled.notes).collect();
    Ok(Compiled { notes, ..compiled })
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
    check_preparation(network, options)?;
    let network = &tabulate_sums(network, options)?;
    let mut facts = network_facts(network, options.acc_strategy, options.rounding)?;
    let AccStrategy::Calibrated { margin_bits } = options.acc_strategy else {
        return Ok(plan_network(network, &facts, options, None)?.0);
    };
    if samples.is_empty() {
        let what = "calibrated accumulator widths need samples";
        let remedy = "pass --calibration DATA.npz with typical samples";
        return Err(Diagnostic::new(Code::BadOption, "--acc-bits calibrated", what, remedy).into());
    }
    // Nothing overflows in the widest plan, so what it computes are the exact sums.
    let widest = PlanOptions {
        acc_strategy: AccStrategy::WeightAware,
        ot: OtRule::Fixed(options.ot.assumed()),
        ..options.clone()
    };
    let (widest, sums) = plan_network(network, &facts, &widest, None)?;
    let found = evaluate(&widest.plan, &widest.weights, samples, None, &mut |done| {
        progress(done, samples.len());
    })?;
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
    facts.narrow(&used_bits, margin_bits);
    let observed = Observed { samples: found.samples, used_bits };
    let (mut compiled, _) = plan_network(network, &facts, options, Some(&observed))?;
    compiled.notes.extend(calibration_notes(&compiled.plan, margin_bits));
    Ok(compiled)
}

/// What calibration found: for every layer the bits that its sums took, where widths follow them.
struct Observed {
    samples: usize,
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

/// Plans with the widths of `facts`; returns the step that makes the accumulator of every layer, too.
///
/// Which OT extension is cheapest depends on the plan, and what is cheapest in a plan a little on the
/// extension: one that is not the assumed one is planned with anew. Tables in the place of sums are in
/// `network` already, and stay.
fn plan_network(
    network: &IntegerNetwork,
    facts: &NetworkFacts,
    options: &PlanOptions,
    observed: Option<&Observed>,
) -> Result<(Compiled, Vec<Option<usize>>), Diagnostics> {
    let assumed = plan_assuming(network, facts, options, observed)?;
    let OtRule::Auto = options.ot else { return Ok(assumed) };
    let extension = cheapest_extension(&assumed.0.plan, &options.search);
    if extension == options.ot.assumed() {
        return Ok(assumed);
    }
    let options = PlanOptions { ot: OtRule::Fixed(extension), ..options.clone() };
    plan_assuming(network, facts, &options, observed)
}

/// Plans for the OT extension that `options` assume.
fn plan_assuming(
    network: &IntegerNetwork,
    facts: &NetworkFacts,
    options: &PlanOptions,
    observed: Option<&Observed>,
) -> Result<(Compiled, Vec<Option<usize>>), Diagnostics> {
    let mut lowered = assign_domains(network, facts, &Packings::new(), options.reveal)?;
    let (linear, notes) = choose_linear_steps(network, &lowered.program, facts, options)?;
    let packed = linear.iter().filter(|(_, chosen)| chosen.packing != Packing::None);
    let packings: Packings = packed.map(|(&term, chosen)| (term, chosen.packing)).collect();
    if !packings.is_empty() {
        // Operands of packed layers have wider shares.
        lowered = assign_domains(network, facts, &packings, options.reveal)?;
    }
    let Lowered { program, sums } = lowered;
    let selection = Selection { linear, forms: choose_forms(&program, options) };
    let calibration = observed.map(|observed| observed.calibration(&sums));
    let compiled = lower_plan(network, &program, &selection, calibration, options)?;
    Ok((Compiled { notes, ..compiled }, sums))
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
