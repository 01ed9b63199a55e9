//! The role `client`.

use super::args::Arguments;
use super::{Output, deliver, missing, observed, read_samples, summary, write_stats};
use crate::error::RunError;
use crate::party::run_client;
use heq_ir::diagnostic::Diagnostic;
use heq_ir::plan::Plan;
use heq_net::tcp::{TcpOptions, connect};
use std::time::{Duration, Instant};

/// How long to try to reach a server that is starting.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run(
    plan: Plan,
    arguments: &Arguments,
    output: &mut Output<'_>,
) -> Result<(), Diagnostic> {
    let address = arguments.connect.as_ref().ok_or_else(|| missing("--connect HOST:PORT"))?;
    let samples = read_samples(&plan, arguments)?;
    let (plan, bar) = observed(plan, samples.len(), arguments, output);
    let options = TcpOptions { idle_timeout: arguments.timeout.map(Duration::from_secs) };
    let (outputs, stats) = connect(address, Instant::now() + CONNECT_PATIENCE, options)
        .map_err(RunError::from)
        .and_then(|channel| run_client(&plan, channel, &samples))
        .map_err(RunError::into_diagnostic)?;
    drop(bar);
    write_stats(arguments, &stats.to_json(plan.plan(), "tcp", "client"))?;
    summary::print(plan.plan(), &stats, output.err);
    deliver(plan.plan(), arguments, &outputs, output)
}
