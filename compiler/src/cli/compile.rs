//! `heqc compile`.

use super::args::CompileArguments;
use super::{print, print_notes, progress};
use crate::choices;
use crate::compile::{CompileOptions, compare_plans, compile_observed};
use crate::lower::plan::Compiled;
use crate::model::Model;
use crate::report;
use heq_data::plan_files::write_files;
use heq_ir::diagnostic::Diagnostics;
use heq_ir::plan::codec::encode_weights;
use heq_ir::plan::weights::default_path;
use std::io::Write;

pub(super) fn run(
    arguments: &CompileArguments,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Diagnostics> {
    let settings = &arguments.settings;
    let model = Model::read(&arguments.model)?;
    let calibration = settings.read_calibration()?;
    let options = settings.options(model.external(), calibration.as_ref())?;
    let mut compiled =
        compile_observed(&model.bytes, &model.name, &options, &mut |done, total| {
            progress(done, total, err);
        })?;
    let comparisons = settings.comparisons();
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
