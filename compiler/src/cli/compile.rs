//! `heqc compile`.

use super::args::CompileArguments;
use super::{Model, print, print_notes};
use crate::compile::{CompileOptions, compile};
use crate::lower::plan::PlanOptions;
use crate::report;
use heq_data::plan_files::write_file;
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::plan::codec::encode_weights;
use heq_ir::plan::weights::default_path;
use heq_ir::preparation::InputPreparation;
use std::io::Write;

/// Field width of the OT extension: 4 bytes a random OT at twice the computation of the narrowest.
const OT_FIELD_BITS: u32 = 4;

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
    let model = Model::read(&arguments.model)?;
    let options = CompileOptions {
        import: arguments.import.options(model.external()),
        plan: PlanOptions {
            acc_strategy: arguments.acc_bits.into(),
            error_budget_log2: arguments.error_budget,
            preparation,
            ot_field_bits: OT_FIELD_BITS,
        },
    };
    let compiled = compile(&model.bytes, &model.name, &options)?;
    print_notes(&compiled.notes, err);
    let weights_path = default_path(&arguments.output);
    let weights = encode_weights(compiled.weights.spec())
        .map_err(|error| error.into_diagnostic(&weights_path.display().to_string()))?;
    write_file(&arguments.output, &compiled.plan_bytes)?;
    write_file(&weights_path, &weights)?;
    if arguments.json {
        let mut document = report::to_json(&compiled.plan);
        document["notes"] = compiled.notes.into();
        return print(out, &format!("{document:#}\n"));
    }
    let cost = compiled.plan.cost(1);
    let online = cost.online();
    print(
        out,
        &format!(
            "{plan}: public plan {digest}, {size} bytes\n\
             {weights}: the server's weights, {weights_size} bytes; keep them with the server\n\
             one inference: {up} bytes up, {down} down, {flights} flights; its random OTs: {ots} \
             bytes; set-up: {setup} bytes\n\
             heqc report {plan} shows every step\n",
            plan = arguments.output.display(),
            digest = compiled.plan.digest(),
            size = compiled.plan_bytes.len(),
            weights = weights_path.display(),
            weights_size = weights.len(),
            up = online.bytes_up,
            down = online.bytes_down,
            flights = online.flights,
            ots = cost.correlations.bytes(),
            setup = cost.setup.bytes(),
        ),
    )
}
