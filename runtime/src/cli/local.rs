//! The role `local`: both parties in this process, over a link in memory.

use super::args::Arguments;
use super::{Output, deliver, observed, read_labels, read_samples, summary, write_stats};
use crate::error::RunError;
use crate::local::{LocalOptions, run_local};
use crate::settings::missing;
use heq_data::plan_files::read_weights;
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::plan::Plan;
use heq_ir::plan::weights::default_path;
use heq_ir::stop::Stop;

pub(super) fn run(
    plan: Plan,
    arguments: &Arguments,
    output: &mut Output<'_>,
) -> Result<(), Diagnostic> {
    if arguments.store.store.is_some() {
        let (what, remedy) = ("the role local keeps no store", "run server and client apart");
        return Err(Diagnostic::new(Code::BadOption, "--store", what, remedy));
    }
    let labels = read_labels(&plan, arguments)?;
    let samples = read_samples(&plan, arguments)?;
    let plan_path = arguments.plan.first().ok_or_else(|| missing("--plan PLAN.heq"))?;
    let weights_path =
        arguments.serve.settings.weights.clone().unwrap_or_else(|| default_path(plan_path));
    let weights = read_weights(&weights_path, &plan)?;
    let (plan, bar) = observed(plan, samples.len(), arguments.link, output);
    let weight_cache_bytes = arguments.serve.settings.weight_cache();
    let options = LocalOptions { link: arguments.link, weight_cache_bytes };
    let outcome = run_local(&plan, &weights, &samples, options, &Stop::default());
    drop(bar);
    let (outputs, stats) = outcome.map_err(RunError::into_diagnostic)?;
    let link = arguments.link.map_or("memory".to_owned(), |link| link.to_string());
    summary::print(plan.plan(), &stats, output.err);
    deliver(plan.plan(), arguments, labels.as_ref(), &outputs, output)?;
    write_stats(arguments.stats.as_deref(), &stats.to_json(plan.plan(), &link, "local"))
}
