//! The role `client`: prepared inferences first, if there is a store, the others in one phase.

use super::args::Arguments;
use super::{Output, deliver, observed, read_labels, read_samples, summary, write_stats};
use crate::client::Client;
use heq_ir::diagnostic::Diagnostic;
use heq_ir::plan::Plan;
use heq_ir::stop::Stop;

pub(super) fn run(
    plan: Plan,
    arguments: &Arguments,
    output: &mut Output<'_>,
) -> Result<(), Diagnostic> {
    let route = arguments.peer.route()?;
    let labels = read_labels(&plan, arguments)?;
    let samples = read_samples(&plan, arguments)?;
    let client = Client {
        route,
        deadline: arguments.serve.settings.deadline.get(),
        retries: arguments.retry,
        store: arguments.store.open()?,
    };
    let (plan, bar) = observed(plan, samples.len(), arguments.link, output);
    let answers = client.run(&plan, &samples, &Stop::default(), &mut |text| {
        // A log that cannot be written is no fault.
        let _ = writeln!(output.err, "{text}");
    })?;
    drop(bar);
    let plan = plan.plan();
    answers.parts.iter().for_each(|stats| summary::print(plan, stats, output.err));
    // What was computed comes first.
    deliver(plan, arguments, labels.as_ref(), &answers.outputs, output)?;
    write_stats(arguments.stats.as_deref(), &answers.to_json(plan))?;
    answers.failure.map_or(Ok(()), Err)
}
