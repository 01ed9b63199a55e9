//! `heqc simulate`: the reference evaluator on files.

use super::args::SimulateArguments;
use super::print;
use crate::simulate::simulate;
use heq_data::output::{describe_outputs, outputs_array};
use heq_data::plan_files::{read_plan, read_weights};
use heq_data::{read_array, to_inputs, write_npy};
use heq_ir::diagnostic::{Diagnostic, Diagnostics};
use heq_ir::plan::weights::default_path;
use heq_ir::stop::Stop;
use std::io::Write;

pub(super) fn run(arguments: &SimulateArguments, out: &mut dyn Write) -> Result<(), Diagnostics> {
    let plan = read_plan(&arguments.plan)?;
    let weights_path = arguments.weights.clone().unwrap_or(default_path(&arguments.plan));
    let weights = read_weights(&weights_path, &plan)?;
    let spec = plan.spec();
    let array = read_array(&arguments.input, None).map_err(Diagnostic::from)?;
    let mut samples =
        to_inputs(&array, &spec.input, &spec.preparation).map_err(Diagnostic::from)?;
    samples.truncate(arguments.limit.unwrap_or(usize::MAX));
    let outputs = simulate(&plan, &weights, &samples, &Stop::default())?;
    if let Some(path) = &arguments.output {
        let array = outputs_array(path, &outputs, &plan).map_err(Diagnostic::from)?;
        write_npy(path, &array).map_err(Diagnostic::from)?;
    }
    print(out, &describe_outputs(&outputs, &plan, None))
}
