//! The role `server`: many clients at once, until it is stopped.

use super::args::{Arguments, LogFormat, ServeArguments};
use super::{Output, log, summary, write_stats};
use crate::service::{OnSession, Options, PlanSource, Purpose, Service};
use crate::settings::PeerSettings;
use heq_ir::diagnostic::Diagnostic;
use std::path::{Path, PathBuf};

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<(), Diagnostic> {
    let purpose = Purpose::Infer(arguments.store.open()?);
    let Arguments { plan, peer, serve, stats, .. } = arguments;
    serve_plans(plan, purpose, peer, serve, stats.as_deref(), output)
}

/// Serves sessions of one purpose until it is stopped.
pub(super) fn serve_plans(
    plans: &[PathBuf],
    purpose: Purpose,
    peer: &PeerSettings,
    serve: &ServeArguments,
    stats: Option<&Path>,
    output: &mut Output<'_>,
) -> Result<(), Diagnostic> {
    let _log = log::start(serve.log);
    let stats = stats.map(Path::to_path_buf);
    let sources = plans.iter().cloned().map(PlanSource::File).collect();
    let options = serve.settings.options(peer, sources, purpose)?;
    let on_session: OnSession = Box::new(move |number, plan, measured| {
        tracing::info!(session = number, "{}", summary::line(measured));
        let document = measured.to_json(plan.plan(), "tcp", "server");
        if let Err(diagnostic) = write_stats(stats.as_deref(), &document) {
            tracing::error!("{diagnostic}");
        }
    });
    let options = Options { on_session: Some(on_session), ..options };
    let service = Service::start(peer.listen(), options)?;
    #[cfg(unix)]
    service.handle_signals()?;
    let metrics = serve
        .settings
        .metrics
        .as_ref()
        .map(|address| service.serve_metrics(address))
        .transpose()?;
    match serve.log {
        // A log that cannot be written must not stop the service.
        LogFormat::Text => {
            let _ = writeln!(output.err, "listening on {}", service.address());
            if let Some(address) = metrics {
                let _ = writeln!(output.err, "metrics on http://{address}/metrics");
            }
        }
        LogFormat::Json => {
            let metrics = metrics.map(|address| address.to_string()).unwrap_or_default();
            tracing::info!(address = %service.address(), metrics, "listening");
        }
    }
    service.run(serve.sessions)
}
