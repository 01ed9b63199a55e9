//! The role `client`: prepared inferences first, if there is a store, the others in one phase.

use super::args::Arguments;
use super::{Output, deliver, missing, observed, read_samples, summary, write_stats};
use crate::error::RunError;
use crate::party::{Outcome, run_client, run_prepared_client};
use crate::stats::SessionStats;
use heq_ir::diagnostic::Diagnostic;
use heq_ir::plan::Plan;
use heq_net::Channel;
use heq_net::tcp::connect;
use std::time::{Duration, Instant};

/// How long to try to reach a server that is starting.
pub(super) const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run(
    plan: Plan,
    arguments: &Arguments,
    output: &mut Output<'_>,
) -> Result<(), Diagnostic> {
    let connect_to = arguments.peer.connect.as_ref();
    let address = connect_to.ok_or_else(|| missing("--connect HOST:PORT"))?;
    let samples = read_samples(&plan, arguments)?;
    let store = arguments.store.open()?;
    let (plan, bar) = observed(plan, samples.len(), arguments.link, output);
    let session = |run: &dyn Fn(Channel) -> Result<Outcome, RunError>| {
        connect(address, Instant::now() + CONNECT_PATIENCE, arguments.peer.options())
            .map_err(RunError::from)
            .and_then(run)
            .map_err(RunError::into_diagnostic)
    };
    let mut failure = Ok(());
    let mut outputs = Vec::new();
    let mut parts = Vec::new();
    if let Some(store) = &store
        && store.client_count(plan.plan())? > 0
    {
        let (done, stats) =
            session(&|channel| run_prepared_client(&plan, channel, store, &samples))?;
        outputs = done;
        parts.extend((stats.inferences > 0).then_some(stats));
    }
    let rest = samples.get(outputs.len()..).unwrap_or(&[]);
    if !rest.is_empty() {
        if store.is_some() {
            // A log that cannot be written is no fault.
            let _ = writeln!(
                output.err,
                "no prepared inference is left that the server holds too: {} of {} samples run in \
                 one phase",
                rest.len(),
                samples.len()
            );
        }
        match session(&|channel| run_client(&plan, channel, rest)) {
            Ok((done, stats)) => {
                outputs.extend(done);
                parts.push(stats);
            }
            // What the prepared inferences gave is not lost.
            Err(error) => failure = Err(error),
        }
    }
    drop(bar);
    if outputs.is_empty() {
        return failure;
    }
    let plan = plan.plan();
    write_stats(arguments.stats.as_deref(), &document(plan, &parts))?;
    parts.iter().for_each(|stats| summary::print(plan, stats, output.err));
    deliver(plan, arguments, &outputs, output)?;
    failure
}

/// The statistics of the last session, within them those of the prepared inferences before it.
fn document(plan: &Plan, parts: &[SessionStats]) -> serde_json::Value {
    let mut documents = parts.iter().map(|stats| stats.to_json(plan, "tcp", "client")).rev();
    let mut document = documents.next().unwrap_or_default();
    if let Some(prepared) = documents.next() {
        document["prepared"] = prepared;
    }
    document
}
