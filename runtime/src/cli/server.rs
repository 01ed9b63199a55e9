//! The role `server`: one session after another; a failed session does not end the server.

use super::args::Arguments;
use super::{Output, missing, summary, write_stats};
use crate::error::RunError;
use crate::party::run_server;
use crate::session::{PreparedPlan, PreparedServer};
use heq_data::plan_files::read_weights;
use heq_ir::diagnostic::Diagnostic;
use heq_ir::plan::Plan;
use heq_ir::plan::weights::default_path;
use heq_net::tcp::{Listener, TcpOptions};
use std::time::Duration;

/// Pause after a connection could not be accepted, so that a lasting cause does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) fn run(
    plan: Plan,
    arguments: &Arguments,
    output: &mut Output<'_>,
) -> Result<(), Diagnostic> {
    let address = arguments.listen.as_ref().ok_or_else(|| missing("--listen HOST:PORT"))?;
    let weights_path = arguments.weights.clone().unwrap_or(default_path(&arguments.plan));
    let weights = read_weights(&weights_path, &plan)?;
    let plan = PreparedPlan::new(plan);
    let prepared = PreparedServer::new(&plan, &weights, arguments.weight_cache())
        .map_err(RunError::into_diagnostic)?;
    drop(weights);
    let network = |error| RunError::from(error).into_diagnostic();
    let listener = Listener::bind(address).map_err(network)?;
    let bound = listener.local_address().map_err(network)?;
    // A log that cannot be written must not stop the service.
    let _ = writeln!(output.err, "listening on {bound}");
    let options = TcpOptions { idle_timeout: arguments.timeout.map(Duration::from_secs) };
    let mut last_failure = Ok(());
    let mut session = 0;
    while arguments.sessions.is_none_or(|limit| session < limit) {
        session += 1;
        let served = match listener.accept(options) {
            Ok((channel, _)) => run_server(&plan, &prepared, channel),
            Err(error) => {
                std::thread::sleep(ACCEPT_PAUSE);
                Err(error.into())
            }
        };
        last_failure = match served {
            Ok(stats) => {
                let _ = writeln!(output.err, "session {session}: {}", summary::line(&stats));
                write_stats(arguments, &stats.to_json(plan.plan(), "tcp", "server"))
            }
            Err(error) => {
                let diagnostic = error.into_diagnostic();
                let _ = writeln!(output.err, "session {session}: {diagnostic}");
                Err(diagnostic)
            }
        };
    }
    last_failure
}
