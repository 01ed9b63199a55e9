//! `heqc evaluate`: accuracy and headroom on files.

use super::args::EvaluateArguments;
use super::{print, progress};
use crate::evaluate::evaluate;
use heq_data::plan_files::{read_plan, read_weights};
use heq_data::{DataSet, to_samples};
use heq_ir::diagnostic::{Diagnostic, Diagnostics};
use heq_ir::plan::weights::default_path;
use std::io::Write;

pub(super) fn run(
    arguments: &EvaluateArguments,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Diagnostics> {
    let plan = read_plan(&arguments.plan)?;
    let weights_path = arguments.weights.clone().unwrap_or(default_path(&arguments.plan));
    let weights = read_weights(&weights_path, &plan)?;
    let data = DataSet::read(&arguments.data).map_err(Diagnostic::from)?;
    let spec = plan.spec();
    let mut samples =
        to_samples(&data.samples, &spec.input, &spec.preparation).map_err(Diagnostic::from)?;
    samples.truncate(arguments.limit.unwrap_or(usize::MAX));
    let total = samples.len();
    let found = evaluate(&plan, &weights, &samples, data.labels.as_deref(), &mut |done| {
        progress(done, total, err);
        Ok(())
    })?;
    let text = if arguments.json {
        format!("{:#}\n", found.to_json(&plan))
    } else {
        found.to_table(&plan)
    };
    print(out, &text)
}
