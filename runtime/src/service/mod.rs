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
mod connections;
mod conversation;
pub mod fetch;
mod http;
mod memory;
mod metrics;
mod quota;
#[cfg(unix)]
mod signals;

pub use admission::Limits;
pub use catalogue::{Listed, PlanInMemory, PlanSource, Plans};
pub use clients::Clients;

use crate::error::RunError;
use crate::offline::{Store, check_plan};
use crate::random::{NoRandomness, fresh_rng};
use crate::stats::SessionStats;
use crate::watch::Watch;
use admission::Admission;
use catalogue::Catalogue;
use connections::Connections;
use conversation::HANDSHAKE_DEADLINE;
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_net::NetError;
use heq_net::tcp::{Listener, TcpOptions};
use heq_net::tls::ServerTls;
use metrics::Metrics;
use quota::Quota;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// How often a server that waits for its last sessions looks whether it is to stop.
const STOP_TICK: Duration = Duration::from_millis(200);

/// Pause after a connection could not be accepted, so that a lasting cause does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a server is for.
pub enum Purpose {
    /// To run inferences; prepared ones are taken from the store.
    Infer(Option<Store>),
    /// To prepare inferences, at most so many a session.
    Prepare(Store, u32),
}

impl Purpose {
    /// Memory of a session, in bytes: an inference that is prepared is held as a whole.
    fn session_bytes(&self, offer: &catalogue::Offer) -> u64 {
        let [_, prepared] = offer.plan.plan().prepared_contents();
        match self {
            Self::Infer(None) => offer.session_bytes,
            Self::Infer(Some(_)) | Self::Prepare(..) => {
                offer.session_bytes.saturating_add(prepared)
            }
        }
    }
}

/// Who a server is, and the list of those whom it admits if there is one; none without encryption.
pub type Identity = Option<(ServerTls, Option<Clients>)>;

/// Reads certificates and clients, at the start and whenever they are to be read again.
pub type ReadIdentity = Box<dyn Fn() -> Result<Identity, Diagnostic> + Send + Sync>;

/// Is told of every session that ended, by its number and its plan.
pub type OnSession = Box<dyn Fn(u64, &crate::session::PreparedPlan, &SessionStats) + Send + Sync>;

/// How a server serves.
pub struct Options {
    /// Its plans.
    pub plans: Plans,
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

/// A server.
pub struct Service {
    options: Options,
    /// Until the server stops.
    listener: Mutex<Option<Arc<Listener>>>,
    address: SocketAddr,
    catalogue: RwLock<Arc<Catalogue>>,
    identity: RwLock<Arc<Identity>>,
    admission: Arc<Admission>,
    quota: Quota,
    watch: Arc<Watch>,
    metrics: Metrics,
    is_stopping: AtomicBool,
    connections: Arc<Connections>,
    sessions: AtomicU64,
    last_failure: Mutex<Option<Diagnostic>>,
}

impl Service {
    /// Reads plans, weights and certificates, and listens on `address` (`host:port`; port 0 picks one).
    ///
    /// # Errors
    /// A diagnostic of the file, or of the address: without encryption it must be of this machine.
    pub fn start(address: &str, options: Options) -> Result<Arc<Self>, Diagnostic> {
        // Hash tables of what a server stands on would panic without randomness.
        fresh_rng().map_err(NoRandomness::describe)?;
        let identity = (options.identity)()?;
        let catalogue = read_plans(&options)?;
        let network = |error: NetError| RunError::from(error).into_diagnostic();
        let listener = Listener::bind(address).map_err(network)?;
        let address = listener.local_address().map_err(network)?;
        if identity.is_none() && !address.ip().is_loopback() {
            return Err(network(NetError::Plaintext { address: address.to_string() }));
        }
        let admission = Admission::new(options.limits);
        admission.set_shared(catalogue.shared_bytes());
        let quota = Quota::open(options.quota, options.quota_file.clone())?;
        let own_fault = |what: String| {
            let remedy = "this is a fault of heq-run; please report it";
            Diagnostic::new(Code::Internal, "heq-run", what, remedy)
        };
        let watch = Watch::start().map_err(|error| own_fault(error.to_string()))?;
        let metrics = Metrics::new().map_err(|error| own_fault(error.to_string()))?;
        Ok(Arc::new(Self {
            options,
            listener: Mutex::new(Some(Arc::new(listener))),
            address,
            catalogue: RwLock::new(Arc::new(catalogue)),
            identity: RwLock::new(Arc::new(identity)),
            admission,
            quota,
            watch,
            metrics,
            is_stopping: AtomicBool::new(false),
            connections: Arc::default(),
            sessions: AtomicU64::new(0),
            last_failure: Mutex::new(None),
        }))
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
        // Without a signal to stop, those that run go on as long as they may.
        while !self.is_stopping() && !self.connections.wait(STOP_TICK) {}
        if !self.connections.wait(self.options.drain) {
            tracing::warn!("sessions that did not end in time are given up");
            self.watch.end_all();
            self.connections.wait(HANDSHAKE_DEADLINE);
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
                    // It may be that there are too many open files.
                    self.connections.close_oldest();
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

    /// Reads certificates and clients again, then plans and weights, for the sessions to come: those that run
    /// go on as they began. What cannot be read leaves its part as it was.
    ///
    /// # Errors
    /// A diagnostic of the file.
    pub fn reload(&self) -> Result<(), Diagnostic> {
        let identity = (self.options.identity)()?;
        *self.identity.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(identity);
        tracing::info!("certificates and clients read again");
        let catalogue = read_plans(&self.options)?;
        self.admission.set_shared(catalogue.shared_bytes());
        *self.catalogue.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalogue);
        Ok(())
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// What `/metrics` answers: counters and gauges in the text format of Prometheus.
    #[must_use]
    pub fn metrics_text(&self) -> Vec<u8> {
        self.metrics.text(self.admission.load(), self.connections.unauthenticated())
    }

    /// Ends all sessions at once.
    pub fn give_up(&self) {
        self.watch.end_all();
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads all plans, and refuses those of which no session would ever be admitted.
fn read_plans(options: &Options) -> Result<Catalogue, Diagnostic> {
    let catalogue = Catalogue::load(&options.plans, options.deadline)?;
    let shared = catalogue.shared_bytes();
    let limit = options.limits.memory_bytes;
    for offer in catalogue.offers() {
        if matches!(options.purpose, Purpose::Prepare(..)) {
            check_plan(offer.plan.plan())?;
        }
        let session_bytes = options.purpose.session_bytes(offer);
        let needed = shared.saturating_add(session_bytes);
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
            session_mb = session_bytes / 1_000_000,
            deadline_s = offer.deadline.as_secs(),
            "plan"
        );
    }
    Ok(catalogue)
}
