//! `heqc compare`: a plan, the model's exact meaning and another runtime on the same samples.

use super::args::CompareArguments;
use super::{print, progress};
use crate::compare::{Sources, compare};
use crate::model::Model;
use heq_data::DataSet;
use heq_data::data_set::read_outputs;
use heq_data::plan_files::{read_plan, read_weights};
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics, ExitStatus};
use heq_ir::plan::weights::default_path;
use std::io::Write;

pub(super) fn run(
    arguments: &CompareArguments,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<ExitStatus, Diagnostics> {
    let least = arguments.min_agreement.unwrap_or(0.0);
    if !(0.0..=100.0).contains(&least) {
        let what = format!("{least} is no percentage");
        let remedy = "give a number from 0 to 100";
        return Err(Diagnostic::new(Code::BadOption, "--min-agreement", what, remedy).into());
    }
    let model = Model::read(&arguments.model)?;
    let plan = read_plan(&arguments.plan)?;
    let weights_path = arguments.weights.clone().unwrap_or(default_path(&arguments.plan));
    let weights = read_weights(&weights_path, &plan)?;
    let mut data = DataSet::read(&arguments.data).map_err(Diagnostic::from)?;
    if let Some(path) = &arguments.expected {
        data.outputs = Some(read_outputs(path).map_err(Diagnostic::from)?);
    }
    let sources = Sources {
        model: &model.bytes,
        model_name: &model.name,
        external: model.external(),
        plan: &plan,
        weights: &weights,
        data: &data,
        exact: arguments.exact,
        limit: arguments.limit.unwrap_or(usize::MAX),
    };
    let found = compare(&sources, &mut |done, total| progress(done, total, err))?;
    let passed = found.least_agreement() >= least;
    let text = if arguments.json {
        let mut document = found.to_json();
        document["passed"] = passed.into();
        format!("{document:#}\n")
    } else {
        let verdict = if passed {
            String::new()
        } else {
            format!("check failed: the agreement is below {least} %\n")
        };
        found.to_text() + &verdict
    };
    print(out, &text)?;
    Ok(if passed { ExitStatus::Done } else { ExitStatus::CheckFailed })
}
