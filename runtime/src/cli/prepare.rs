//! `heq-run prepare`: what does not depend on the input, beforehand.

use super::args::{PrepareArguments, PrepareRole};
use super::client::CONNECT_PATIENCE;
use super::server::Service;
use super::{Output, missing, observed, summary, write_stats};
use crate::error::RunError;
use crate::offline::{Store, check_plan};
use crate::party::{prepare_client, prepare_server};
use heq_data::plan_files::read_plan;
use heq_ir::diagnostic::Diagnostic;
use heq_ir::plan::Plan;
use heq_net::tcp::connect;
use std::time::Instant;

pub(super) fn run(arguments: &PrepareArguments, output: &mut Output<'_>) -> Result<(), Diagnostic> {
    let plan = read_plan(&arguments.plan)?;
    check_plan(&plan)?;
    let folder = arguments.store.store.as_ref().ok_or_else(|| missing("--store DIR"))?;
    let store = Store::create(folder, arguments.store.store_key.as_deref())?;
    match arguments.role {
        PrepareRole::Client => client(plan, arguments, &store, output),
        PrepareRole::Server => {
            let PrepareArguments { plan: path, peer, serve, stats, count, .. } = arguments;
            let service = Service { path, peer, serve, stats: stats.as_deref() };
            service.run(plan, output, |plan, weights, channel| {
                prepare_server(plan, weights, channel, &store, *count)
            })
        }
    }
}

fn client(
    plan: Plan,
    arguments: &PrepareArguments,
    store: &Store,
    output: &mut Output<'_>,
) -> Result<(), Diagnostic> {
    let connect_to = arguments.peer.connect.as_ref();
    let address = connect_to.ok_or_else(|| missing("--connect HOST:PORT"))?;
    let count = usize::try_from(arguments.count).unwrap_or(usize::MAX);
    let samples = count.saturating_mul(plan.batch());
    let (plan, bar) = observed(plan, samples, None, output);
    let stats = connect(address, Instant::now() + CONNECT_PATIENCE, arguments.peer.options())
        .map_err(RunError::from)
        .and_then(|channel| prepare_client(&plan, channel, store, arguments.count))
        .map_err(RunError::into_diagnostic)?;
    drop(bar);
    let plan = plan.plan();
    write_stats(arguments.stats.as_deref(), &stats.to_json(plan, "tcp", "client"))?;
    summary::print(plan, &stats, output.err);
    let [bytes, _] = plan.prepared_bytes();
    let held = store.client_count(plan)?;
    // A log that cannot be written is no fault.
    let _ = writeln!(
        output.err,
        "{} prepared, {held} in the store, {bytes} bytes each",
        stats.inferences
    );
    Ok(())
}
