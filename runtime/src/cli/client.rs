//! The role `client`: prepared inferences first, if there is a store, the others in one phase.

use super::args::{Arguments, ServeArguments};
use super::{Output, deliver, identity, observed, read_labels, read_samples, summary, write_stats};
use crate::error::RunError;
use crate::party::{Outcome, run_client, run_prepared_client};
use crate::random;
use crate::session::Refusal;
use crate::stats::SessionStats;
use crate::watch::session_deadline;
use heq_ir::diagnostic::Diagnostic;
use heq_ir::plan::Plan;
use heq_net::Channel;
use heq_net::tls::ClientTls;
use std::time::Duration;

/// How long to wait for a place at the server: longer than it lets anybody wait.
const QUEUE_PATIENCE: Duration = Duration::from_secs(120);

/// How long to wait before a session is tried again, unless the server says; each time twice as long, and at
/// most so long.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(120);

pub(super) fn run(
    plan: Plan,
    arguments: &Arguments,
    output: &mut Output<'_>,
) -> Result<(), Diagnostic> {
    let tls = identity::client(&arguments.peer.identity)?;
    let labels = read_labels(&plan, arguments)?;
    let samples = read_samples(&plan, arguments)?;
    let store = arguments.store.open()?;
    let (plan, bar) = observed(plan, samples.len(), arguments.link, output);
    let tls = tls.as_ref();
    let limit = session_limit(&arguments.serve, plan.plan(), samples.len());
    let mut failure = Ok(());
    let mut outputs = Vec::new();
    let mut parts = Vec::new();
    if let Some(store) = &store
        && store.client_count(plan.plan())? > 0
    {
        let (done, stats) = with_retries(arguments, tls, limit, output, |channel| {
            run_prepared_client(&plan, channel, store, &samples)
        })?;
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
        match with_retries(arguments, tls, limit, output, |channel| {
            run_client(&plan, channel, rest)
        }) {
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
    parts.iter().for_each(|stats| summary::print(plan, stats, output.err));
    // What was computed comes first.
    deliver(plan, arguments, labels.as_ref(), &outputs, output)?;
    write_stats(arguments.stats.as_deref(), &document(plan, &parts))?;
    failure
}

/// How long a session may take in all: a server that shows only that it is there is given up then.
pub(super) fn session_limit(serve: &ServeArguments, plan: &Plan, samples: usize) -> Duration {
    let each = serve.deadline().unwrap_or_else(|| session_deadline(plan));
    let parts = samples.div_ceil(plan.batch()).saturating_add(1);
    QUEUE_PATIENCE.saturating_add(each.saturating_mul(u32::try_from(parts).unwrap_or(u32::MAX)))
}

/// Runs a session, and again with fresh keys and masks if the network failed it or the server was busy.
fn with_retries(
    arguments: &Arguments,
    tls: Option<&ClientTls>,
    limit: Duration,
    output: &mut Output<'_>,
    run: impl Fn(Channel) -> Result<Outcome, RunError>,
) -> Result<Outcome, Diagnostic> {
    let mut pause = RETRY_PAUSE;
    let mut left = arguments.retry;
    loop {
        let error = match identity::within(limit, &arguments.peer, tls, &run) {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        let is_refused = matches!(
            error,
            RunError::Refused { refusal: Refusal::Busy { .. } | Refusal::Stopping { .. }, .. }
        );
        if left == 0 || !(is_refused || matches!(error, RunError::Network(_))) {
            return Err(error.into_diagnostic());
        }
        let wait = error.retry_after().unwrap_or_default().max(pause);
        let wait = wait.min(MAX_RETRY_PAUSE) + jitter(pause);
        let _ = writeln!(output.err, "{error}; trying again in {:.1} s", wait.as_secs_f64());
        std::thread::sleep(wait);
        left -= 1;
        pause = (pause * 2).min(MAX_RETRY_PAUSE);
    }
}

/// Up to half of `pause`, so that clients that failed together do not come back together.
fn jitter(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness the session fails for that.
    let _ = random::fill(&mut byte);
    pause / 512 * u32::from(byte[0])
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
