//! `heqc compile`.

use super::args::{AccBits, CompileArguments};
use super::{Model, print, print_notes, progress};
use crate::choices;
use crate::compile::{Comparisons, CompileOptions, compare_plans, compile_observed};
use crate::lower::plan::{Compiled, PlanOptions};
use crate::report;
use heq_data::plan_files::write_files;
use heq_data::read_array;
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::plan::AccStrategy;
use heq_ir::plan::codec::encode_weights;
use heq_ir::plan::weights::default_path;
use heq_ir::preparation::InputPreparation;
use std::io::Write;

/// Margin of calibrated widths in bits, if the user names none.
const DEFAULT_MARGIN_BITS: u32 = 1;

pub(super) fn run(
    arguments: &CompileArguments,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Diagnostics> {
    let default = InputPreparation::default();
    let scale = arguments.input_scale.unwrap_or(default.scale());
    let (mean, std) = (arguments.input_mean.clone(), arguments.input_std.clone());
    let preparation = InputPreparation::new(scale, mean, std).map_err(|error| {
        let remedy = "give finite numbers, and a deviation above zero";
        Diagnostic::new(Code::BadOption, "input preparation", error.to_string(), remedy)
    })?;
    let acc_strategy = acc_strategy(arguments)?;
    let model = Model::read(&arguments.model)?;
    let calibration = arguments.calibration.as_deref().map(|path| read_array(path, None));
    let calibration = calibration.transpose().map_err(Diagnostic::from)?;
    let options = CompileOptions {
        import: arguments.import.options(model.external()),
        plan: PlanOptions {
            acc_strategy,
            error_budget_log2: arguments.error_budget,
            ring_bits: arguments.planner.preset().ring_bits(),
            rounding: arguments.rounding,
            batch: arguments.batch,
            reveal: arguments.reveal,
            preparation,
            ot: arguments.ot,
            search: arguments.planner.options(arguments.packing)?,
        },
        calibration: calibration.as_ref(),
    };
    let mut compiled =
        compile_observed(&model.bytes, &model.name, &options, &mut |done, total| {
            progress(done, total, err);
        })?;
    // Advice is planned for the network of one sample.
    let advice = !arguments.no_advice && arguments.batch == 1;
    let comparisons = Comparisons { advice, fixed: arguments.compare_fixed };
    compare_plans(&model.bytes, &model.name, &options, comparisons, &mut compiled)?;
    print_notes(&compiled.notes, err);
    let weights_path = default_path(&arguments.output);
    let weights = encode_weights(compiled.weights.spec())
        .map_err(|error| error.into_diagnostic(&weights_path.display().to_string()))?;
    let choices_path = choices::default_path(&arguments.output);
    let choices = choices::encode(&choices_path, &compiled.choices)?;
    write_files(&[
        (&arguments.output, &compiled.plan_bytes),
        (&weights_path, &weights),
        (&choices_path, &choices),
    ])?;
    if arguments.json {
        let mut document = report::to_json(&compiled.plan);
        document["notes"] = compiled.notes.into();
        return print(out, &format!("{document:#}\n"));
    }
    print(out, &summary(arguments, &compiled, &options, weights.len()))
}

/// What was written, and what an inference will cost.
fn summary(
    arguments: &CompileArguments,
    compiled: &Compiled,
    options: &CompileOptions<'_>,
    weights_size: usize,
) -> String {
    let cost = compiled.plan.cost(1);
    let online = cost.online();
    let search = &options.plan.search;
    let prediction = search.predict(&compiled.plan);
    let solver = &compiled.choices.solver;
    let batch = compiled.plan.batch();
    format!(
        "{plan}: public plan {digest}, {size} bytes\n\
         {weights}: the server's weights, {weights_size} bytes; keep them with the server\n\
         {choices}: why the plan is as it is; no run needs it\n\
         one inference{of_samples}: {up} bytes up, {down} down, {flights} flights; its random OTs by \
         {extension}: {ots} bytes; set-up: {setup} bytes\n\
         predicted: {seconds:.3} s{a_sample}{prepared} over {network} between two machines with {threads} threads \
         ({machine}); {objective}, {status}, at most {gap:.2} % above the best\n\
         heqc report {plan} shows every step\n",
        plan = arguments.output.display(),
        of_samples = if batch > 1 { format!(" of {batch} samples") } else { String::new() },
        a_sample = if batch > 1 {
            format!(", {:.3} s a sample,", prediction.online_s() / batch as f64)
        } else {
            String::new()
        },
        prepared = if search.is_prepared() { " if it was prepared" } else { "" },
        digest = compiled.plan.digest(),
        size = compiled.plan_bytes.len(),
        weights = default_path(&arguments.output).display(),
        choices = choices::default_path(&arguments.output).display(),
        up = online.bytes_up,
        down = online.bytes_down,
        flights = online.flights,
        extension = compiled.plan.spec().ot,
        ots = cost.correlations.bytes(),
        setup = cost.setup.bytes(),
        seconds = prediction.online_s(),
        network = search.network,
        threads = search.threads,
        machine = search.profile.machine,
        objective = search.objective,
        status = solver.status,
        gap = 100.0 * solver.gap,
    )
}

/// The strategy, with options that belong to it and no others.
fn acc_strategy(arguments: &CompileArguments) -> Result<AccStrategy, Diagnostic> {
    let refuse = |option: &str, what: &str, remedy: &str| {
        Err(Diagnostic::new(Code::BadOption, option, what, remedy))
    };
    match (arguments.acc_bits, &arguments.calibration, arguments.margin) {
        (AccBits::Calibrated, Some(_), margin) => {
            let margin_bits = margin.unwrap_or(DEFAULT_MARGIN_BITS);
            Ok(AccStrategy::Calibrated { margin_bits })
        }
        (AccBits::Calibrated, None, _) => refuse(
            "--acc-bits calibrated",
            "widths are calibrated on data, and there is none",
            "add --calibration DATA.npz with typical samples",
        ),
        (_, Some(_), _) => refuse(
            "--calibration",
            "only calibrated widths follow data",
            "add --acc-bits calibrated, or leave the data out",
        ),
        (_, None, Some(_)) => refuse(
            "--margin",
            "only calibrated widths have a margin",
            "add --acc-bits calibrated, or leave the margin out",
        ),
        (AccBits::WeightAware, None, None) => Ok(AccStrategy::WeightAware),
        (AccBits::WorstCase, None, None) => Ok(AccStrategy::WorstCase),
    }
}
