//! The role `local`: both parties in this process, over a link in memory.

use super::args::Arguments;
use super::{Output, deliver, missing, observed, read_labels, read_samples, summary, write_stats};
use crate::error::RunError;
use crate::party::{run_client, run_server};
use crate::session::{PreparedPlan, PreparedServer};
use heq_data::plan_files::read_weights;
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::plan::Plan;
use heq_ir::plan::weights::default_path;
use heq_net::memory;
use std::thread::ScopedJoinHandle;

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
    let weights_path = arguments.serve.weights.clone().unwrap_or_else(|| default_path(plan_path));
    let weights = read_weights(&weights_path, &plan)?;
    // Each party counts its own operations.
    let server_plan = PreparedPlan::new(plan.clone());
    let (plan, bar) = observed(plan, samples.len(), arguments.link, output);
    let prepared = PreparedServer::new(&server_plan, &weights, arguments.serve.weight_cache())
        .map_err(RunError::into_diagnostic)?;
    let (client_end, server_end) = arguments.link.map_or_else(memory::pair, memory::shaped_pair);
    let (client, server) = std::thread::scope(|scope| {
        let serve = || run_server(&server_plan, &prepared, None, server_end);
        let server = std::thread::Builder::new().spawn_scoped(scope, serve);
        // Without a thread the link is closed already.
        let client = run_client(&plan, client_end, &samples);
        let fault = RunError::Internal { what: "the server's thread panicked" };
        let join = |server: ScopedJoinHandle<'_, _>| server.join().unwrap_or(Err(fault));
        (client, server.map_or(Err(RunError::NoThread), join))
    });
    drop(bar);
    // When one party fails the other only sees the link close: report the cause.
    let (outputs, stats) = match (client, server) {
        (Ok((outputs, mut stats)), Ok(server)) => {
            stats.add_operations_of(&server);
            (outputs, stats)
        }
        (Err(RunError::Network(_)), Err(error)) | (Err(error), _) | (Ok(_), Err(error)) => {
            return Err(error.into_diagnostic());
        }
    };
    let link = arguments.link.map_or("memory".to_owned(), |link| link.to_string());
    summary::print(plan.plan(), &stats, output.err);
    deliver(plan.plan(), arguments, labels.as_ref(), &outputs, output)?;
    write_stats(arguments.stats.as_deref(), &stats.to_json(plan.plan(), &link, "local"))
}
