//! `heq-run prepare`: what does not depend on the input, beforehand.

use super::args::{PrepareArguments, PrepareRole};
use super::server::serve_plans;
use super::{Output, observed, summary, write_stats};
use crate::client::session_limit;
use crate::error::RunError;
use crate::offline::{Store, check_plan};
use crate::party::prepare_client;
use crate::service::Purpose;
use crate::settings::{check_role, missing};
use heq_data::plan_files::read_plan;
use heq_ir::diagnostic::Diagnostic;
use heq_ir::stop::Stop;

pub(super) fn run(arguments: &PrepareArguments, output: &mut Output<'_>) -> Result<(), Diagnostic> {
    let is_server = arguments.role == PrepareRole::Server;
    check_role(is_server, &arguments.peer.identity, &arguments.serve.settings)?;
    let folder = arguments.store.store.as_ref().ok_or_else(|| missing("--store DIR"))?;
    let create = || Store::create(folder, arguments.store.store_key.as_deref());
    match arguments.role {
        PrepareRole::Client => client(arguments, create, output),
        PrepareRole::Server => {
            let PrepareArguments { plan, peer, serve, stats, count, .. } = arguments;
            check_plan(&read_plan(plan)?)?;
            let purpose = Purpose::Prepare(create()?, *count);
            let plans = std::slice::from_ref(plan);
            serve_plans(plans, purpose, peer, serve, stats.as_deref(), output)
        }
    }
}

fn client(
    arguments: &PrepareArguments,
    create: impl FnOnce() -> Result<Store, Diagnostic>,
    output: &mut Output<'_>,
) -> Result<(), Diagnostic> {
    let plan = read_plan(&arguments.plan)?;
    check_plan(&plan)?;
    let route = arguments.peer.route()?;
    let store = create()?;
    let count = usize::try_from(arguments.count).unwrap_or(usize::MAX);
    let samples = count.saturating_mul(plan.batch());
    let (plan, bar) = observed(plan, samples, None, output);
    let limit = session_limit(plan.plan(), samples, arguments.serve.settings.deadline.get());
    let prepared = route.within(limit, &Stop::default(), |channel| {
        prepare_client(&plan, channel, &store, arguments.count)
    });
    let stats = prepared.map_err(RunError::into_diagnostic)?;
    drop(bar);
    let plan = plan.plan();
    summary::print(plan, &stats, output.err);
    let [bytes, _] = plan.prepared_bytes();
    let held = store.client_count(plan)?;
    // A log that cannot be written is no fault.
    let _ = writeln!(
        output.err,
        "{} prepared, {held} in the store, {bytes} bytes each",
        stats.inferences
    );
    write_stats(arguments.stats.as_deref(), &stats.to_json(plan, "tcp", "client"))
}
