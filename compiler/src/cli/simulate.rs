//! `heqc simulate`: the reference evaluator on files.

use super::args::SimulateArguments;
use super::print;
use heq_data::output::{describe_outputs, outputs_array};
use heq_data::plan_files::{read_plan, read_weights};
use heq_data::{read_array, to_inputs, write_npy};
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::eval::evaluate;
use heq_ir::plan::weights::default_path;
use std::io::Write;

pub(super) fn run(arguments: &SimulateArguments, out: &mut dyn Write) -> Result<(), Diagnostics> {
    let plan = read_plan(&arguments.plan)?;
    let weights_path = arguments.weights.clone().unwrap_or(default_path(&arguments.plan));
    let weights = read_weights(&weights_path, &plan)?;
    let spec = plan.spec();
    let array = read_array(&arguments.input, None).map_err(Diagnostic::from)?;
    let samples = to_inputs(&array, &spec.input, &spec.preparation).map_err(Diagnostic::from)?;
    let limit = arguments.limit.unwrap_or(usize::MAX);
    let mut outputs = Vec::new();
    for input in samples.iter().take(limit) {
        let evaluation = evaluate(&plan, &weights, input).map_err(|error| {
            let remedy = "this is a fault of heqc; please report it";
            Diagnostic::new(Code::Internal, &spec.model, error.to_string(), remedy)
        })?;
        outputs.push(evaluation.output().to_vec());
    }
    if let Some(path) = &arguments.output {
        let array = outputs_array(path, &outputs, &plan).map_err(Diagnostic::from)?;
        write_npy(path, &array).map_err(Diagnostic::from)?;
    }
    print(out, &describe_outputs(&outputs, &plan, None))
}
