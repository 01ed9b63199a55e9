//! What both parties decide: the way to the peer, who is who, and what a server takes on.

use super::{identity, missing};
use crate::client::Route;
use crate::service::{Limits, Options, PlanSource, Plans, Purpose};
use crate::session::WEIGHT_CACHE_BYTES;
use clap::Args;
use heq_data::parse_size;
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_net::tcp::TcpOptions;
use heq_net::tls::KeyPin;
use std::path::PathBuf;
use std::time::Duration;

/// How to reach the peer, and who it must be.
#[derive(Args, Debug)]
pub struct PeerSettings {
    /// Server: the address to listen on; port 0 picks a free one [default: 0.0.0.0:7443, with
    /// --insecure-loopback 127.0.0.1:7443]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Client: the server's address
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) connect: Option<String>,
    /// Give up when nothing comes from the peer for this many seconds; one that computes shows every 5
    /// seconds that it is there
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(10..=MAX_SECONDS))]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) identity: IdentitySettings,
}

/// Who this party is, and whom it trusts.
#[derive(Args, Debug)]
pub struct IdentitySettings {
    /// Who this side is: a PEM file of its private key, its certificate and the authorities that it
    /// trusts, as heq-run cert writes it
    #[arg(long, value_name = "FILE.pem", env = "HEQ_IDENTITY")]
    pub(crate) identity: Option<PathBuf>,
    /// A PEM file of authorities that the peer's certificate may come from (default: those in --identity)
    #[arg(long, value_name = "FILE.pem", requires = "identity")]
    pub(crate) ca: Vec<PathBuf>,
    /// Client: accept servers with this key alone, as heq-run cert show prints it
    #[arg(long, value_name = "sha256:HEX", requires = "identity")]
    pub(crate) pin: Vec<KeyPin>,
    /// Client: the name that the server's certificate must have (default: the host in --connect)
    #[arg(long, value_name = "NAME", requires = "identity")]
    pub(crate) server_name: Option<String>,
    /// Both parties are on this machine: neither encrypt nor authenticate
    #[arg(long, conflicts_with = "identity")]
    pub(crate) insecure_loopback: bool,
}

impl IdentitySettings {
    /// Options that a server would ignore, if any is given.
    fn of_client(&self) -> Option<&'static str> {
        let given =
            [("--pin", !self.pin.is_empty()), ("--server-name", self.server_name.is_some())];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(name, _)| name)
    }
}

impl ServeSettings {
    /// Options that a client would ignore and that somebody may rely on, if any is given.
    fn of_server(&self) -> Option<&'static str> {
        let given = [
            ("--clients", self.clients.is_some()),
            ("--quota", self.quota.is_some()),
            ("--quota-file", self.quota_file.is_some()),
            ("--max-sessions", self.max_sessions.is_some()),
            ("--client-sessions", self.client_sessions.is_some()),
            ("--max-memory", self.max_memory.is_some()),
            ("--queue", self.queue.is_some()),
            ("--metrics", self.metrics.is_some()),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(name, _)| name)
    }
}

/// Refuses options of the other role: whoever gives one relies on what it says.
pub(crate) fn check_role(
    is_server: bool,
    identity: &IdentitySettings,
    serve: &ServeSettings,
) -> Result<(), Diagnostic> {
    let (ignored, role, other) = if is_server {
        (identity.of_client(), "server", "client")
    } else {
        (serve.of_server(), "client", "server")
    };
    let Some(option) = ignored else { return Ok(()) };
    let what = format!("is for a {other}, this is a {role}");
    let remedy = match option {
        "--pin" => "name the clients to admit in --clients FILE",
        _ => "leave it out",
    };
    Err(Diagnostic::new(Code::BadOption, option, what, remedy))
}

impl PeerSettings {
    /// The way to the server that is named.
    ///
    /// # Errors
    /// A diagnostic if none is, and of files of keys and certificates.
    pub fn route(&self) -> Result<Route, Diagnostic> {
        let tls = identity::client(&self.identity)?;
        let address = self.connect.clone().ok_or_else(|| missing("--connect HOST:PORT"))?;
        Ok(Route { address, connection: self.options(), tls })
    }

    pub(crate) fn options(&self) -> TcpOptions {
        let idle_timeout = Some(Duration::from_secs(self.timeout));
        TcpOptions { idle_timeout, ..TcpOptions::default() }
    }

    /// The address to listen on.
    #[must_use]
    pub fn listen(&self) -> &str {
        let default =
            if self.identity.insecure_loopback { "127.0.0.1:7443" } else { "0.0.0.0:7443" };
        self.listen.as_deref().unwrap_or(default)
    }
}

/// How long a session may take.
#[derive(Args, Clone, Copy, Debug)]
pub struct DeadlineSettings {
    /// Server, client: how long set-up and each inference may take (default: 10 times what the plan
    /// predicts over a mobile link, at least 30)
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    deadline: Option<u64>,
}

impl DeadlineSettings {
    /// How long set-up and each inference may take, if the user says.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        self.deadline.map(Duration::from_secs)
    }
}

/// How a server serves.
#[derive(Args, Debug)]
pub struct ServeSettings {
    /// Server, local: the weights of a single plan (default: PLAN.server.heq beside the plan)
    #[arg(long, value_name = "PLAN.server.heq")]
    pub(crate) weights: Option<PathBuf>,
    /// Server, local: most memory for transformed weights; the rest are transformed in every inference
    /// (default: 256MB)
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    weight_cache: Option<u64>,
    /// Server: the clients to admit, one a line: sha256:HEX NAME quota=N (default: all that the
    /// authority vouches for)
    #[arg(long, value_name = "FILE", requires = "identity")]
    pub(crate) clients: Option<PathBuf>,
    /// Server: most sessions at a time (default: 4 for each thread)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_sessions: Option<u32>,
    /// Server: most sessions of one client that run or wait (default: half of --max-sessions)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    client_sessions: Option<u32>,
    /// Server: most memory for plans and sessions, as the plans predict it (default: three quarters of
    /// the machine's, or of what its control group allows)
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_memory: Option<u64>,
    /// Server: sessions that may wait for others to end, others are told to try again later
    /// (default: 4 for each of --max-sessions)
    #[arg(long, value_name = "N")]
    queue: Option<u32>,
    /// Server: outputs that each client may have a day (UTC); many of them can give the model away
    #[arg(long, value_name = "N")]
    pub(crate) quota: Option<u64>,
    /// Server: where to keep what clients had today (default: forgotten at the end)
    #[arg(long, value_name = "FILE.json")]
    pub(crate) quota_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) deadline: DeadlineSettings,
    /// Server: how long sessions may go on after SIGTERM; a second SIGTERM ends them at once
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=MAX_SECONDS))]
    drain: u64,
    /// Server: the address for /metrics (Prometheus) and /health; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) metrics: Option<String>,
}

/// Most seconds that an option takes: a week.
const MAX_SECONDS: u64 = 604_800;

/// How long a session waits for a place: less than clients wait for a sign, which they get meanwhile.
const QUEUE_PATIENCE: Duration = Duration::from_secs(60);

/// Sessions at a time for each thread, and sessions that wait for each of these.
const SESSIONS_PER_THREAD: usize = 4;
const WAITING_PER_SESSION: usize = 4;

impl ServeSettings {
    /// Most bytes of transformed weights.
    pub(crate) fn weight_cache(&self) -> usize {
        let bytes = self.weight_cache.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        bytes.unwrap_or(WEIGHT_CACHE_BYTES)
    }

    /// The options of a server of plans from `sources`, of which nobody is told of sessions.
    ///
    /// # Errors
    /// A diagnostic if `peer` says neither who the server is nor that it is for this machine alone.
    pub fn options(
        &self,
        peer: &PeerSettings,
        sources: Vec<PlanSource>,
        purpose: Purpose,
    ) -> Result<Options, Diagnostic> {
        Ok(Options {
            plans: Plans {
                sources,
                weights: self.weights.clone(),
                weight_cache_bytes: self.weight_cache(),
            },
            purpose,
            identity: identity::server(&peer.identity, self.clients.as_deref())?,
            limits: self.limits(),
            quota: self.quota,
            quota_file: self.quota_file.clone(),
            deadline: self.deadline.get(),
            drain: Duration::from_secs(self.drain),
            connection: peer.options(),
            on_session: None,
        })
    }

    /// The address for metrics, if they are to be served.
    #[must_use]
    pub fn metrics_address(&self) -> Option<&str> {
        self.metrics.as_deref()
    }

    fn limits(&self) -> Limits {
        let default = rayon::current_num_threads() * SESSIONS_PER_THREAD;
        let sessions = self.max_sessions.map_or(default, |sessions| sessions as usize);
        let queue = self.queue.map_or(sessions * WAITING_PER_SESSION, |queue| queue as usize);
        let memory_bytes = self.max_memory.or_else(default_memory).unwrap_or(u64::MAX);
        let of_client = self.client_sessions.map_or(sessions.div_ceil(2), |count| count as usize);
        Limits { sessions, memory_bytes, of_client, queue, patience: QUEUE_PATIENCE }
    }
}

/// Three quarters of the memory that the machine has, or a container may take, where the operating system
/// tells.
fn default_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    let allowed = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .into_iter()
        .filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    allowed.chain([kib * 1024]).min().map(|bytes| bytes / 4 * 3)
}
