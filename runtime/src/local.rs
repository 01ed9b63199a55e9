//! Both parties in one process, over a link in memory.

use crate::error::RunError;
use crate::party::{Outcome, run_client, run_server};
use crate::session::{PreparedPlan, PreparedServer};
use crate::watch::Watch;
use heq_ir::link::LinkProfile;
use heq_ir::plan::weights::ServerWeights;
use heq_ir::stop::Stop;
use heq_net::memory;
use std::sync::Arc;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

/// Longer than any run takes.
const NO_LIMIT: Duration = Duration::from_secs(1 << 30);

/// How both parties run in one process.
#[derive(Clone, Copy, Debug)]
pub struct LocalOptions {
    /// The link between them; none: as fast as memory.
    pub link: Option<LinkProfile>,
    /// Most bytes of transformed weights.
    pub weight_cache_bytes: usize,
}

/// Runs quantized `samples` between two parties of this process; returns the integer outputs and what the
/// client measured, with the operations of both.
///
/// # Errors
/// [`RunError`] of the party that failed; [`RunError::Network`] if `stop` ends it.
pub fn run_local(
    plan: &PreparedPlan,
    weights: &ServerWeights,
    samples: &[Vec<i64>],
    options: LocalOptions,
    stop: &Stop,
) -> Result<Outcome, RunError> {
    stop.check()?;
    // Each party counts its own operations.
    let server_plan = PreparedPlan::new(plan.plan().clone());
    let prepared = PreparedServer::new(&server_plan, weights, options.weight_cache_bytes)?;
    let (client_end, server_end) = options.link.map_or_else(memory::pair, memory::shaped_pair);
    let watch = Watch::start().map_err(|_| RunError::NoThread)?;
    let watching = Arc::clone(&watch);
    let _on_stop = stop.on_stop(move || watching.end_all());
    let watched = watch.watch(client_end.lifeline(), NO_LIMIT);
    let (client, server) = std::thread::scope(|scope| {
        let serve = || run_server(&server_plan, &prepared, None, server_end);
        let server = std::thread::Builder::new().spawn_scoped(scope, serve);
        // Without a thread the link is closed already.
        let client = run_client(plan, client_end, samples);
        let fault = RunError::Internal { what: "the server's thread panicked" };
        let join = |server: ScopedJoinHandle<'_, _>| server.join().unwrap_or(Err(fault));
        (client, server.map_or(Err(RunError::NoThread), join))
    });
    drop(watched);
    watch.end();
    // When one party fails the other only sees the link close: report the cause.
    match (client, server) {
        (Ok((outputs, mut stats)), Ok(server)) => {
            stats.add_operations_of(&server);
            Ok((outputs, stats))
        }
        (Err(RunError::Network(_)), Err(error)) | (Err(error), _) | (Ok(_), Err(error)) => {
            Err(error)
        }
    }
}
