//! A client of a server: what was prepared first, the rest in one phase, again where the network failed.

use crate::error::RunError;
use crate::offline::Store;
use crate::party::{Outcome, run_client, run_prepared_client};
use crate::random;
use crate::session::{MAX_INFERENCES, PreparedPlan, Refusal};
use crate::stats::SessionStats;
use crate::watch::{Watch, session_deadline};
use heq_data::{Array, to_inputs};
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::plan::Plan;
use heq_ir::stop::Stop;
use heq_net::Channel;
use heq_net::tcp::{TcpOptions, connect};
use heq_net::tls::ClientTls;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a question that no plan is run for may take.
pub const QUESTION_LIMIT: Duration = Duration::from_secs(60);

/// How long to try to reach a server that is starting.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait for a place at the server: longer than it lets anybody wait.
const QUEUE_PATIENCE: Duration = Duration::from_secs(120);

/// How long to wait before a session is tried again, unless the server says; each time twice as long, and at
/// most so long.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(120);

/// The way to a server.
#[derive(Clone)]
pub struct Route {
    /// `host:port`.
    pub address: String,
    /// Timeouts of the connection.
    pub connection: TcpOptions,
    /// Who this side is, and whom it trusts; none without encryption, on one machine.
    pub tls: Option<ClientTls>,
}

impl Route {
    /// Connects and runs `session`, for at most `limit`: a server that shows only that it is there is given
    /// up then, and any when `stop` says so.
    ///
    /// # Errors
    /// Those of `session`, and of a server that cannot be reached or authenticated.
    pub fn within<T>(
        &self,
        limit: Duration,
        stop: &Stop,
        session: impl FnOnce(Channel) -> Result<T, RunError>,
    ) -> Result<T, RunError> {
        stop.check()?;
        let watch = Watch::start().map_err(|_| RunError::NoThread)?;
        let watching = Arc::clone(&watch);
        let _on_stop = stop.on_stop(move || watching.end_all());
        let deadline = Instant::now() + CONNECT_PATIENCE;
        let channel = connect(&self.address, deadline, self.connection, self.tls.as_ref());
        let outcome = channel.map_err(RunError::from).and_then(|channel| {
            let _watched = watch.watch(channel.lifeline(), limit);
            session(channel)
        });
        watch.end();
        outcome
    }
}

/// How a client runs.
pub struct Client {
    /// The way to the server.
    pub route: Route,
    /// How long set-up and each inference may take; none: a multiple of what the plan predicts.
    pub deadline: Option<Duration>,
    /// How often a session is tried again if the network fails or the server is busy.
    pub retries: u32,
    /// Prepared inferences.
    pub store: Option<Store>,
}

/// Quantized samples of `array`, at most `limit`, as a session takes them.
///
/// # Errors
/// [`Code::WrongInput`] if they are not of the plan, if there is none, or more than a session takes.
pub fn client_inputs(
    plan: &Plan,
    array: &Array,
    limit: Option<usize>,
) -> Result<Vec<Vec<i64>>, Diagnostic> {
    let spec = plan.spec();
    let mut samples = to_inputs(array, &spec.input, &spec.preparation)?;
    let limit = limit.unwrap_or(usize::MAX);
    if samples.is_empty() || limit == 0 {
        let what = "there is no sample to run";
        let remedy = "give a file with at least one sample, and a --limit of at least 1";
        return Err(Diagnostic::new(Code::WrongInput, array.place(), what, remedy));
    }
    if samples.len().min(limit) > MAX_INFERENCES as usize {
        let what = format!("holds more than {MAX_INFERENCES} samples");
        let remedy = "give --limit, or split the file";
        return Err(Diagnostic::new(Code::WrongInput, array.place(), what, remedy));
    }
    samples.truncate(limit);
    Ok(samples)
}

/// What a client got.
#[derive(Default)]
pub struct Answers {
    /// The integer outputs of the first samples, of all unless something failed.
    pub outputs: Vec<Vec<i64>>,
    /// What was measured: of prepared inferences, then of those in one phase.
    pub parts: Vec<SessionStats>,
    /// Why there are no more outputs.
    pub failure: Option<Diagnostic>,
}

impl Client {
    /// Runs quantized `samples`, and tells `say` what a user may want to know meanwhile.
    ///
    /// **Security**: the client learns the outputs, the server learns how many inferences there are and which
    /// of them were prepared.
    ///
    /// # Errors
    /// What failed, if there is no output.
    pub fn run(
        &self,
        plan: &PreparedPlan,
        samples: &[Vec<i64>],
        stop: &Stop,
        say: &mut dyn FnMut(&str),
    ) -> Result<Answers, Diagnostic> {
        let limit = session_limit(plan.plan(), samples.len(), self.deadline);
        let mut answers = Answers::default();
        if let Some(store) = &self.store
            && store.client_count(plan.plan())? > 0
        {
            let (done, stats) = self.with_retries(limit, stop, say, |channel| {
                run_prepared_client(plan, channel, store, samples)
            })?;
            answers.outputs = done;
            answers.parts.extend((stats.inferences > 0).then_some(stats));
        }
        let rest = samples.get(answers.outputs.len()..).unwrap_or(&[]);
        if rest.is_empty() {
            return Ok(answers);
        }
        if self.store.is_some() {
            say(&format!(
                "no prepared inference is left that the server holds too: {} of {} samples run in one phase",
                rest.len(),
                samples.len()
            ));
        }
        match self.with_retries(limit, stop, say, |channel| run_client(plan, channel, rest)) {
            Ok((done, stats)) => {
                answers.outputs.extend(done);
                answers.parts.push(stats);
            }
            Err(error) if answers.outputs.is_empty() => return Err(error),
            // What the prepared inferences gave is not lost.
            Err(error) => answers.failure = Some(error),
        }
        Ok(answers)
    }

    /// Runs a session, and again with fresh keys and masks if the network failed it or the server was busy.
    fn with_retries(
        &self,
        limit: Duration,
        stop: &Stop,
        say: &mut dyn FnMut(&str),
        run: impl Fn(Channel) -> Result<Outcome, RunError>,
    ) -> Result<Outcome, Diagnostic> {
        let mut pause = RETRY_PAUSE;
        let mut left = self.retries;
        loop {
            let error = match self.route.within(limit, stop, &run) {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            stop.check()?;
            let is_refused = matches!(
                error,
                RunError::Refused { refusal: Refusal::Busy { .. } | Refusal::Stopping { .. }, .. }
            );
            if left == 0 || !(is_refused || matches!(error, RunError::Network(_))) {
                return Err(error.into_diagnostic());
            }
            let wait = error.retry_after().unwrap_or_default().max(pause);
            let wait = wait.min(MAX_RETRY_PAUSE) + jitter(pause);
            say(&format!("{error}; trying again in {:.1} s", wait.as_secs_f64()));
            std::thread::sleep(wait);
            left -= 1;
            pause = (pause * 2).min(MAX_RETRY_PAUSE);
        }
    }
}

impl Answers {
    /// The `heq-stats/1` document of the last session, within it that of the prepared inferences before it.
    #[must_use]
    pub fn to_json(&self, plan: &Plan) -> serde_json::Value {
        let mut documents =
            self.parts.iter().map(|stats| stats.to_json(plan, "tcp", "client")).rev();
        let mut document = documents.next().unwrap_or_default();
        if let Some(prepared) = documents.next() {
            document["prepared"] = prepared;
        }
        document
    }
}

/// How long a session may take in all, with `deadline` for set-up and each inference if that is given: a
/// server that shows only that it is there is given up then.
pub(crate) fn session_limit(plan: &Plan, samples: usize, deadline: Option<Duration>) -> Duration {
    let each = deadline.unwrap_or_else(|| session_deadline(plan));
    let parts = samples.div_ceil(plan.batch()).saturating_add(1);
    QUEUE_PATIENCE.saturating_add(each.saturating_mul(u32::try_from(parts).unwrap_or(u32::MAX)))
}

/// Up to half of `pause`, so that clients that failed together do not come back together.
fn jitter(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness the session fails for that.
    let _ = random::fill(&mut byte);
    pause / 512 * u32::from(byte[0])
}
