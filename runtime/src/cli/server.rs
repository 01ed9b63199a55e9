//! The role `server`: one session after another; a failed session does not end the server.

use super::args::{Arguments, PeerArguments, ServeArguments};
use super::{Output, missing, summary, write_stats};
use crate::error::RunError;
use crate::party::run_server;
use crate::session::{PreparedPlan, PreparedServer};
use crate::stats::SessionStats;
use heq_data::plan_files::read_weights;
use heq_ir::diagnostic::Diagnostic;
use heq_ir::plan::Plan;
use heq_ir::plan::weights::default_path;
use heq_net::Channel;
use heq_net::tcp::Listener;
use std::path::Path;
use std::time::Duration;

/// Pause after a connection could not be accepted, so that a lasting cause does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) fn run(
    plan: Plan,
    arguments: &Arguments,
    output: &mut Output<'_>,
) -> Result<(), Diagnostic> {
    let store = arguments.store.open()?;
    let Arguments { plan: path, peer, serve, stats, .. } = arguments;
    let service = Service { path, peer, serve, stats: stats.as_deref() };
    service.run(plan, output, |plan, weights, channel| {
        run_server(plan, weights, store.as_ref(), channel)
    })
}

/// What a server is started with.
pub(super) struct Service<'a> {
    /// The file of the plan.
    pub(super) path: &'a Path,
    pub(super) peer: &'a PeerArguments,
    pub(super) serve: &'a ServeArguments,
    pub(super) stats: Option<&'a Path>,
}

impl Service<'_> {
    /// Serves sessions, each by `session`; the status is that of the last one.
    pub(super) fn run(
        &self,
        plan: Plan,
        output: &mut Output<'_>,
        session: impl Fn(&PreparedPlan, &PreparedServer, Channel) -> Result<SessionStats, RunError>,
    ) -> Result<(), Diagnostic> {
        let address = self.peer.listen.as_ref().ok_or_else(|| missing("--listen HOST:PORT"))?;
        let weights_path = self.serve.weights.clone().unwrap_or(default_path(self.path));
        let weights = read_weights(&weights_path, &plan)?;
        let plan = PreparedPlan::new(plan);
        let prepared = PreparedServer::new(&plan, &weights, self.serve.weight_cache())
            .map_err(RunError::into_diagnostic)?;
        drop(weights);
        let network = |error| RunError::from(error).into_diagnostic();
        let listener = Listener::bind(address).map_err(network)?;
        let bound = listener.local_address().map_err(network)?;
        // A log that cannot be written must not stop the service.
        let _ = writeln!(output.err, "listening on {bound}");
        let mut last_failure = Ok(());
        let mut number = 0;
        while self.serve.sessions.is_none_or(|limit| number < limit) {
            number += 1;
            let served = match listener.accept(self.peer.options()) {
                Ok((channel, _)) => session(&plan, &prepared, channel),
                Err(error) => {
                    std::thread::sleep(ACCEPT_PAUSE);
                    Err(error.into())
                }
            };
            last_failure = match served {
                Ok(stats) => {
                    let _ = writeln!(output.err, "session {number}: {}", summary::line(&stats));
                    write_stats(self.stats, &stats.to_json(plan.plan(), "tcp", "server"))
                }
                Err(error) => {
                    let diagnostic = error.into_diagnostic();
                    let _ = writeln!(output.err, "session {number}: {diagnostic}");
                    Err(diagnostic)
                }
            };
        }
        last_failure
    }
}
