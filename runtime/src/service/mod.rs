//! A server that many clients use at once.
//!
//! Every connection has a thread: it authenticates the client, hears what it wants, waits for a place and
//! serves it. Plans and weights are shared by all sessions; everything else is a session's own. A session that
//! fails, is slow or silent ends by its deadline and concerns no other.
//!
//! Limits: connections that have not said who they are are few and have little time; sessions run as far as
//! their predicted memory fits; clients have their quota. Nothing is kept between sessions but counts, and the
//! prepared inferences that an operator asked for.

mod admission;
mod catalogue;
mod clients;
pub mod fetch;
mod http;
mod memory;
mod metrics;
mod quota;
#[cfg(unix)]
mod signals;
mod watch;

pub use admission::Limits;
pub use catalogue::{Listed, PlanFiles};
pub use clients::Clients;

use crate::error::RunError;
use crate::offline::{Store, check_plan};
use crate::party::{prepare_server, serve};
use crate::session::{Caller, Modes, Refusal, Wish};
use crate::stats::SessionStats;
use admission::Admission;
use catalogue::{Catalogue, Offer};
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_net::tcp::{Accepted, Listener, TcpOptions};
use heq_net::tls::{Peer, ServerTls};
use heq_net::{Channel, NetError};
use metrics::Metrics;
use quota::Quota;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};
use watch::Watch;

/// How long a client has to authenticate and say what it wants.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How long fetching a plan may take.
const FETCH_DEADLINE: Duration = Duration::from_secs(60);

/// Most connections that have not said yet who they are and what they want.
const MAX_UNAUTHENTICATED: usize = 512;

/// Pause after a connection could not be accepted, so that a lasting cause does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a server is for.
pub enum Purpose {
    /// To run inferences; prepared ones are taken from the store.
    Infer(Option<Store>),
    /// To prepare inferences, at most so many a session.
    Prepare(Store, u32),
}

/// Reads certificates and clients, at the start and whenever they are to be read again. Without encryption
/// there are none.
pub type ReadIdentity =
    Box<dyn Fn() -> Result<Option<(ServerTls, Clients)>, Diagnostic> + Send + Sync>;

/// Is told of every session that ended, by its number and its plan.
pub type OnSession = Box<dyn Fn(u64, &crate::session::PreparedPlan, &SessionStats) + Send + Sync>;

/// How a server serves.
pub struct Options {
    /// Its plans.
    pub files: PlanFiles,
    /// What it is for.
    pub purpose: Purpose,
    /// Who it is, and whom it admits.
    pub identity: ReadIdentity,
    /// What it takes on.
    pub limits: Limits,
    /// Inferences a client may have a day, if the list of clients does not say.
    pub quota: Option<u64>,
    /// Where to keep how many a client had.
    pub quota_file: Option<PathBuf>,
    /// How long set-up and each inference may take; none: a multiple of what the plan predicts.
    pub deadline: Option<Duration>,
    /// How long sessions may go on when the server stops.
    pub drain: Duration,
    /// Timeouts of connections.
    pub connection: TcpOptions,
    /// Whom to tell of sessions.
    pub on_session: Option<OnSession>,
}

/// What connections need that can be read again.
struct Current {
    catalogue: Catalogue,
    identity: Option<(ServerTls, Clients)>,
}

/// A server.
pub struct Service {
    options: Options,
    /// Until the server stops.
    listener: Mutex<Option<Arc<Listener>>>,
    address: SocketAddr,
    current: RwLock<Arc<Current>>,
    admission: Arc<Admission>,
    quota: Quota,
    watch: Arc<Watch>,
    metrics: Metrics,
    is_stopping: AtomicBool,
    unauthenticated: AtomicUsize,
    connections: Connections,
    sessions: AtomicU64,
    last_failure: Mutex<Option<Diagnostic>>,
}

/// Counts connections that have a thread.
#[derive(Default)]
struct Connections {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Connections {
    fn change(&self, change: impl FnOnce(&mut usize)) {
        change(&mut self.count.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Waits until there is none; whether that came in time.
    fn wait(&self, limit: Option<Duration>) -> bool {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        while *count > 0 {
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            count = match left {
                Some(Duration::ZERO) => return false,
                Some(left) => {
                    let waited = self.changed.wait_timeout(count, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(count).unwrap_or_else(PoisonError::into_inner),
            };
        }
        true
    }
}

impl Service {
    /// Reads plans, weights and certificates, and listens on `address` (`host:port`; port 0 picks one).
    ///
    /// # Errors
    /// A diagnostic of the file, or of the address: without encryption it must be of this machine.
    pub fn start(address: &str, options: Options) -> Result<Arc<Self>, Diagnostic> {
        let current = read(&options)?;
        let network = |error: NetError| RunError::from(error).into_diagnostic();
        let listener = Listener::bind(address).map_err(network)?;
        let address = listener.local_address().map_err(network)?;
        if current.identity.is_none() && !address.ip().is_loopback() {
            return Err(network(NetError::Plaintext { address: address.to_string() }));
        }
        let admission = Admission::new(options.limits);
        let quota = Quota::open(options.quota, options.quota_file.clone())?;
        let own_fault = |what: String| {
            let remedy = "this is a fault of heq-run; please report it";
            Diagnostic::new(Code::Internal, "heq-run", what, remedy)
        };
        let watch = Watch::start().map_err(|error| own_fault(error.to_string()))?;
        let metrics = Metrics::new().map_err(|error| own_fault(error.to_string()))?;
        let service = Arc::new(Self {
            options,
            listener: Mutex::new(Some(Arc::new(listener))),
            address,
            current: RwLock::new(Arc::new(current)),
            admission,
            quota,
            watch,
            metrics,
            is_stopping: AtomicBool::new(false),
            unauthenticated: AtomicUsize::new(0),
            connections: Connections::default(),
            sessions: AtomicU64::new(0),
            last_failure: Mutex::new(None),
        });
        service.check_memory()?;
        Ok(service)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves metrics on `address`; returns the actual one.
    ///
    /// # Errors
    /// [`Code::Connection`] if it cannot be listened on.
    pub fn serve_metrics(self: &Arc<Self>, address: &str) -> Result<SocketAddr, Diagnostic> {
        http::start(address, Arc::downgrade(self)).map_err(|source| {
            let error = NetError::Listen { address: address.to_owned(), source };
            RunError::from(error).into_diagnostic()
        })
    }

    /// Lets SIGTERM and SIGINT stop the server, and SIGHUP read its files again.
    ///
    /// # Errors
    /// [`Code::Internal`] if the operating system does not allow it.
    #[cfg(unix)]
    pub fn handle_signals(self: &Arc<Self>) -> Result<(), Diagnostic> {
        signals::handle(self).map_err(|error| {
            let remedy = "this is a fault of heq-run; please report it";
            Diagnostic::new(Code::Internal, "signals", error.to_string(), remedy)
        })
    }

    /// Serves until [`Service::stop`], or until `sessions` connections have come and gone; then the sessions
    /// that run go on, for as long as the options say.
    ///
    /// # Errors
    /// The failure of the last of so many sessions, if it failed. A server that is stopped has not failed.
    pub fn run(self: &Arc<Self>, sessions: Option<u64>) -> Result<(), Diagnostic> {
        self.accept(sessions);
        let limit = self.is_stopping().then_some(self.options.drain);
        if !self.connections.wait(limit) {
            tracing::warn!("sessions that did not end in time are given up");
            self.watch.end_all();
            self.connections.wait(Some(HANDSHAKE_DEADLINE));
        }
        self.watch.end();
        let mut failure = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        match failure.take() {
            Some(failure) if !self.is_stopping() => Err(failure),
            _ => Ok(()),
        }
    }

    /// Gives connections their threads until there were so many or the server stops; then nobody can connect
    /// any more.
    fn accept(self: &Arc<Self>, sessions: Option<u64>) {
        let Some(listener) = self.listener().as_ref().map(Arc::clone) else { return };
        let mut number = 0;
        while sessions.is_none_or(|limit| number < limit) {
            let accepted = listener.accept();
            if self.is_stopping() {
                break;
            }
            match accepted {
                Ok(accepted) => {
                    number += 1;
                    self.receive(accepted);
                }
                Err(error) => {
                    tracing::warn!("{error}");
                    std::thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
        *self.listener() = None;
    }

    fn listener(&self) -> MutexGuard<'_, Option<Arc<Listener>>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes on nothing more; [`Service::run`] returns when the sessions that run have ended.
    pub fn stop(&self) {
        if !self.is_stopping.swap(true, Ordering::SeqCst) {
            tracing::info!("stopping");
            self.admission.stop();
            let listener = self.listener().as_ref().map(Arc::clone);
            if let Some(listener) = listener {
                listener.wake();
            }
        }
    }

    /// Reads plans, weights, certificates and clients again, for the sessions to come. What cannot be read
    /// leaves everything as it was.
    ///
    /// # Errors
    /// A diagnostic of the file.
    pub fn reload(&self) -> Result<(), Diagnostic> {
        let current = read(&self.options)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
        self.check_memory()?;
        tracing::info!(plans = self.current().catalogue.offers().len(), "files read again");
        Ok(())
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// What `/metrics` answers: counters and gauges in the text format of Prometheus.
    #[must_use]
    pub fn metrics_text(&self) -> Vec<u8> {
        self.metrics.text(self.admission.load(), self.unauthenticated.load(Ordering::Relaxed))
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says what the plans take, and refuses those of which no session would ever fit.
    fn check_memory(&self) -> Result<(), Diagnostic> {
        let current = self.current();
        let offers = current.catalogue.offers();
        // The program is counted with each plan, but there once.
        let shared = offers.iter().map(|offer| offer.shared_bytes).sum::<u64>();
        let program = heq_ir::predict::memory::PROGRAM_BYTES;
        let shared = shared.saturating_sub(program * (offers.len() as u64).saturating_sub(1));
        self.admission.set_shared(shared);
        let limit = self.options.limits.memory_bytes;
        for offer in offers {
            let needed = shared.saturating_add(offer.session_bytes);
            if needed > limit {
                let what = format!(
                    "a session of this plan beside all plans takes {} MB, --max-memory is {} MB",
                    needed.div_ceil(1_000_000),
                    limit / 1_000_000
                );
                let remedy = "allow more, serve fewer plans, or compile it with --server-memory";
                return Err(Diagnostic::new(Code::TooLarge, &offer.name, what, remedy));
            }
            let digest = offer.plan.plan().digest();
            tracing::info!(
                plan = offer.name,
                %digest,
                shared_mb = offer.shared_bytes / 1_000_000,
                session_mb = offer.session_bytes / 1_000_000,
                deadline_s = offer.deadline.as_secs(),
                "plan"
            );
        }
        Ok(())
    }

    /// Gives a connection a thread.
    fn receive(self: &Arc<Self>, accepted: Accepted) {
        let before = self.unauthenticated.fetch_add(1, Ordering::Relaxed);
        if before >= MAX_UNAUTHENTICATED {
            self.unauthenticated.fetch_sub(1, Ordering::Relaxed);
            self.metrics.turned_away();
            return;
        }
        self.connections.change(|count| *count += 1);
        let service = Arc::clone(self);
        let thread = std::thread::Builder::new().name("heq-session".to_owned());
        let spawned = thread.spawn(move || {
            service.converse(accepted);
            memory::give_back();
            service.connections.change(|count| *count -= 1);
        });
        if let Err(error) = spawned {
            tracing::error!("a session has no thread: {error}");
            self.unauthenticated.fetch_sub(1, Ordering::Relaxed);
            self.connections.change(|count| *count -= 1);
        }
    }

    /// A connection from beginning to end.
    fn converse(&self, accepted: Accepted) {
        let from = accepted.peer_address();
        let start = Instant::now();
        let current = self.current();
        let caller = self.introduce(accepted, &current);
        self.unauthenticated.fetch_sub(1, Ordering::Relaxed);
        let mut peer = None;
        let outcome = caller.and_then(|caller| {
            peer = caller.peer().cloned();
            self.attend(caller, &current, start)
        });
        let client = peer.as_ref().map_or("-", |peer| peer.name.as_str());
        let seconds = start.elapsed().as_secs_f64();
        let number = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        match outcome {
            Ok(None) => tracing::info!(session = number, %from, client, "plan fetched"),
            Ok(Some((offer, stats))) => {
                self.metrics.served(&offer.name, offer.plan.plan(), &stats);
                if let Some(on_session) = &self.options.on_session {
                    on_session(number, &offer.plan, &stats);
                }
                tracing::info!(
                    session = number,
                    %from,
                    client,
                    plan = offer.name,
                    mode = stats.mode.name(),
                    inferences = stats.inferences,
                    seconds,
                    "session ended"
                );
                self.remember(None);
            }
            Err(error) => {
                // Somebody who only looks whether the port is open.
                let is_probe =
                    peer.is_none() && matches!(error, RunError::Network(NetError::Closed { .. }));
                let refusal = match &error {
                    RunError::RefusedClient { refusal, .. } => Some(refusal.name()),
                    _ => None,
                };
                let text = error.to_string();
                let diagnostic = RunError::describe(&error);
                let code = diagnostic.code;
                self.metrics.failed(&error, &code.to_string());
                if is_probe {
                    tracing::debug!(session = number, %from, "{text}");
                } else if let Some(reason) = refusal {
                    tracing::info!(session = number, %from, client, reason, "{diagnostic}");
                } else {
                    tracing::warn!(session = number, %from, client, %code, seconds, "{diagnostic}");
                }
                self.remember(Some(diagnostic));
            }
        }
    }

    fn remember(&self, failure: Option<Diagnostic>) {
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// Finds out who a client is and what it wants.
    fn introduce(&self, accepted: Accepted, current: &Current) -> Result<Caller, RunError> {
        let tls = current.identity.as_ref().map(|(tls, _)| tls);
        let deadline = Instant::now() + HANDSHAKE_DEADLINE;
        let channel: Channel = accepted.open(self.options.connection, tls, deadline)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let _watched = self.watch.watch(channel.lifeline(), left);
        Caller::receive(channel)
    }

    /// Does what a client wants, when it is its turn.
    fn attend(
        &self,
        caller: Caller,
        current: &Current,
        start: Instant,
    ) -> Result<Option<(Arc<Offer>, SessionStats)>, RunError> {
        let (digest, inferences) = match caller.wish() {
            Wish::Plan(_) => {
                let _watched = self.watch.watch(caller.lifeline(), FETCH_DEADLINE);
                return fetch::serve(caller, &current.catalogue).map(|()| None);
            }
            Wish::Session { plan, inferences, .. } => (plan, inferences),
        };
        let Some(offer) = current.catalogue.find(digest).map(Arc::clone) else {
            return Err(caller.refuse(Refusal::UnknownPlan));
        };
        let (modes, most) = match &self.options.purpose {
            Purpose::Infer(_) => (Modes::INFER, inferences),
            Purpose::Prepare(_, most) => (Modes::PREPARE, inferences.min(*most)),
        };
        let (caller, _) = caller.expect(digest, modes)?;
        let none = Clients::default();
        let clients = current.identity.as_ref().map_or(&none, |(_, clients)| clients);
        let peer: Option<Peer> = caller.peer().cloned();
        if let Err(refusal) = self.quota.check(peer.as_ref(), clients, most) {
            return Err(caller.refuse(refusal));
        }
        let _permit = match self.admission.enter(offer.session_bytes) {
            Ok(permit) => permit,
            Err(refusal) => return Err(caller.refuse(refusal)),
        };
        if let Err(refusal) = self.quota.take(peer.as_ref(), clients, most) {
            return Err(caller.refuse(refusal));
        }
        tracing::debug!(waited_s = start.elapsed().as_secs_f64(), "session begins");
        let watched = self.watch.watch(caller.lifeline(), offer.deadline);
        let pulse = || watched.allow(offer.deadline);
        let (plan, weights) = (&offer.plan, &offer.weights);
        let stats = match &self.options.purpose {
            Purpose::Infer(store) => serve(plan, weights, store.as_ref(), caller, &pulse),
            Purpose::Prepare(store, most) => {
                prepare_server(plan, weights, store, *most, caller, &pulse)
            }
        }?;
        Ok(Some((offer, stats)))
    }
}

fn read(options: &Options) -> Result<Current, Diagnostic> {
    let identity = (options.identity)()?;
    let catalogue = Catalogue::load(&options.files, options.deadline)?;
    if matches!(options.purpose, Purpose::Prepare(..)) {
        for offer in catalogue.offers() {
            check_plan(offer.plan.plan())?;
        }
    }
    Ok(Current { catalogue, identity })
}
