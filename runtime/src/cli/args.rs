//! The command line of `heq-run`.

use crate::offline::Store;
use crate::service::Limits;
use crate::service::fetch::PlanKey;
use crate::session::{MAX_INFERENCES, WEIGHT_CACHE_BYTES};
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use heq_data::command_line::{CompletionsArguments, ManArguments};
use heq_data::{OutputFile, parse_size};
use heq_ir::diagnostic::Diagnostic;
use heq_ir::link::LinkProfile;
use heq_net::tcp::TcpOptions;
use heq_net::tls::KeyPin;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  heq-run cert init --host server.example
  heq-run cert client alice
  heq-run --plan plan.heq --role server --identity pki/server.pem
  heq-run --plan plan.heq --role client --connect server.example:7443 --identity pki/alice.pem --input digit.png
  heq-run --plan plan.heq --role local --input digit.png --link wan
  heq-run --plan plan.heq --role local --input digits.npy --labels names.txt --output classes.json
  heq-run fetch-plan --connect server.example:7443 --identity pki/alice.pem -o plan.heq
  heq-run doctor --connect server.example:7443 --identity pki/alice.pem
  heq-run calibrate -o costs.json

The protocol is secure against parties that follow it. A client that does not can extract the
model: serve those alone whom you would trust with it, and give them a --quota. See SECURITY.md.";

const CALIBRATE_EXAMPLES: &str = "Examples:
  heq-run calibrate -o costs.json
  heqc compile model.onnx -o plan.heq --profile costs.json

Nothing else should run meanwhile: what another program takes is measured too.";

/// Executes a secure two-party plan.
#[derive(Debug, Parser)]
#[command(
    name = "heq-run",
    version,
    after_help = EXAMPLES,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub(super) struct CommandLine {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) run: Option<Arguments>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Calibrate(CalibrateArguments),
    /// Makes and shows certificates of a private authority
    #[command(subcommand)]
    Cert(CertCommand),
    /// Prints the script by which a shell completes command lines of heq-run
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArguments),
    Doctor(DoctorArguments),
    FetchPlan(FetchArguments),
    /// Writes the manual: a page for heq-run, and one for each subcommand
    #[command(after_help = MAN_EXAMPLES)]
    Man(ManArguments),
    Prepare(PrepareArguments),
}

const COMPLETIONS_EXAMPLES: &str = "Examples:
  heq-run completions bash > ~/.local/share/bash-completion/completions/heq-run
  heq-run completions zsh > ~/.zfunc/_heq-run
  heq-run completions fish > ~/.config/fish/completions/heq-run.fish";

const MAN_EXAMPLES: &str = "Example:\n  heq-run man -o ~/.local/share/man/man1";

const PREPARE_EXAMPLES: &str = "Examples, with --identity FILE.pem behind each:
  heq-run prepare --plan plan.heq --role server --listen 0.0.0.0:7444 --count 100 --store stock
  heq-run prepare --plan plan.heq --role client --connect server.example:7444 --count 10 --store stock
  heq-run --plan plan.heq --role server --store stock
  heq-run --plan plan.heq --role client --connect server.example:7443 --input digit.png --store stock

Every party has a folder of its own. What is in it serves one inference each, and must never be restored
from a copy: an entry that is used twice tells the server how two inputs differ.";

/// Does beforehand what does not depend on the input, for inferences with the same peer.
#[derive(Args, Debug)]
#[command(after_help = PREPARE_EXAMPLES)]
pub(super) struct PrepareArguments {
    /// The public plan; both parties hold the same
    #[arg(long, value_name = "PLAN.heq")]
    pub(super) plan: PathBuf,
    /// Which party this is
    #[arg(long, value_enum)]
    pub(super) role: PrepareRole,
    #[command(flatten)]
    pub(super) peer: PeerArguments,
    #[command(flatten)]
    pub(super) serve: ServeArguments,
    /// Inferences to prepare; server: at most so many a session
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_INFERENCES)))]
    pub(super) count: u32,
    #[command(flatten)]
    pub(super) store: StoreArguments,
    /// Where to write what was measured, as heq-stats/1
    #[arg(long, value_name = "STATS.json")]
    pub(super) stats: Option<PathBuf>,
    /// Threads for computation (default: one for each core)
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum PrepareRole {
    /// Will bring the input
    Client,
    /// Brings the weights
    Server,
}

/// How to reach the peer, and who it must be.
#[derive(Args, Debug)]
pub(super) struct PeerArguments {
    /// Server: the address to listen on; port 0 picks a free one [default: 0.0.0.0:7443, with
    /// --insecure-loopback 127.0.0.1:7443]
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) listen: Option<String>,
    /// Client: the server's address
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) connect: Option<String>,
    /// Give up when nothing comes from the peer for this many seconds; one that computes shows every 5
    /// seconds that it is there
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) timeout: u64,
    /// Client: try so many times more, with fresh randomness, if the connection fails or the server is busy
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) retry: u32,
    #[command(flatten)]
    pub(super) identity: IdentityArguments,
}

/// Who this party is, and whom it trusts.
#[derive(Args, Debug)]
pub(super) struct IdentityArguments {
    /// Who this side is: a PEM file of its private key, its certificate and the authorities that it
    /// trusts, as heq-run cert writes it
    #[arg(long, value_name = "FILE.pem", env = "HEQ_IDENTITY")]
    pub(super) identity: Option<PathBuf>,
    /// A PEM file of further authorities that the peer's certificate may come from
    #[arg(long, value_name = "FILE.pem", requires = "identity")]
    pub(super) ca: Vec<PathBuf>,
    /// Client: accept servers with this key alone, as heq-run cert show prints it
    #[arg(long, value_name = "sha256:HEX", requires = "identity")]
    pub(super) pin: Vec<KeyPin>,
    /// Client: the name that the server's certificate must have (default: the host in --connect)
    #[arg(long, value_name = "NAME", requires = "identity")]
    pub(super) server_name: Option<String>,
    /// Both parties are on this machine: neither encrypt nor authenticate
    #[arg(long, conflicts_with = "identity")]
    pub(super) insecure_loopback: bool,
}

impl PeerArguments {
    pub(super) fn options(&self) -> TcpOptions {
        let idle_timeout = Some(Duration::from_secs(self.timeout));
        TcpOptions { idle_timeout, ..TcpOptions::default() }
    }

    /// The address to listen on.
    pub(super) fn listen(&self) -> &str {
        let default =
            if self.identity.insecure_loopback { "127.0.0.1:7443" } else { "0.0.0.0:7443" };
        self.listen.as_deref().unwrap_or(default)
    }
}

/// How a server serves.
#[derive(Args, Debug)]
pub(super) struct ServeArguments {
    /// Server, local: the weights of a single plan (default: PLAN.server.heq beside the plan)
    #[arg(long, value_name = "PLAN.server.heq")]
    pub(super) weights: Option<PathBuf>,
    /// Server, local: most memory for transformed weights; the rest are transformed in every inference
    /// (default: 256MB)
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    weight_cache: Option<u64>,
    /// Server: the clients to admit, one a line: sha256:HEX NAME quota=N (default: all that the
    /// authority vouches for)
    #[arg(long, value_name = "FILE", requires = "identity")]
    pub(super) clients: Option<PathBuf>,
    /// Server: most sessions at a time (default: 4 for each thread)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_sessions: Option<u32>,
    /// Server: most memory for plans and sessions, as the plans predict it (default: three quarters of
    /// the machine's)
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_memory: Option<u64>,
    /// Server: sessions that may wait for others to end, others are told to try again later
    /// (default: 4 for each of --max-sessions)
    #[arg(long, value_name = "N")]
    queue: Option<u32>,
    /// Server: inferences that each client may have a day (UTC); many outputs can give the model away
    #[arg(long, value_name = "N")]
    pub(super) quota: Option<u64>,
    /// Server: where to keep what clients had today (default: forgotten at the end)
    #[arg(long, value_name = "FILE.json")]
    pub(super) quota_file: Option<PathBuf>,
    /// Server: how long set-up and each inference may take (default: 10 times what the plan predicts
    /// over a mobile link, at least 30)
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    deadline: Option<u64>,
    /// Server: how long sessions may go on after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    drain: u64,
    /// Server: the address for /metrics (Prometheus) and /health; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) metrics: Option<String>,
    /// Server: the form of its log, on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(super) log: LogFormat,
    /// Server: end after this many connections (default: serve until stopped)
    #[arg(long, value_name = "N")]
    pub(super) sessions: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people
    Text,
    /// A JSON object a line
    Json,
}

/// Sessions at a time for each thread, and sessions that wait for each of these.
const SESSIONS_PER_THREAD: usize = 4;
const WAITING_PER_SESSION: usize = 4;

impl ServeArguments {
    /// Most bytes of transformed weights.
    pub(super) fn weight_cache(&self) -> usize {
        let bytes = self.weight_cache.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        bytes.unwrap_or(WEIGHT_CACHE_BYTES)
    }

    pub(super) fn limits(&self, patience: Duration) -> Limits {
        let default = rayon::current_num_threads() * SESSIONS_PER_THREAD;
        let sessions = self.max_sessions.map_or(default, |sessions| sessions as usize);
        let queue = self.queue.map_or(sessions * WAITING_PER_SESSION, |queue| queue as usize);
        let memory_bytes = self.max_memory.or_else(default_memory).unwrap_or(u64::MAX);
        Limits { sessions, memory_bytes, queue, patience }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.deadline.map(Duration::from_secs)
    }

    pub(super) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain)
    }
}

/// Three quarters of the machine's memory, where the operating system tells.
fn default_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024 / 4 * 3)
}

/// Where prepared inferences are.
#[derive(Args, Debug)]
pub(super) struct StoreArguments {
    /// Folder of this party's prepared inferences
    #[arg(long, value_name = "DIR")]
    pub(super) store: Option<PathBuf>,
    /// The key that the folder is encrypted with, 32 bytes that its owner alone may read (default:
    /// store.key in the folder; made if there is none)
    #[arg(long, value_name = "FILE", requires = "store")]
    pub(super) store_key: Option<PathBuf>,
}

impl StoreArguments {
    /// The store, if one is named, to use what is in it.
    pub(super) fn open(&self) -> Result<Option<Store>, Diagnostic> {
        let open = |folder: &PathBuf| Store::open(folder, self.store_key.as_deref());
        self.store.as_ref().map(open).transpose()
    }
}

const CERT_EXAMPLES: &str = "Examples:
  heq-run cert init --host server.example --host 203.0.113.7
  heq-run cert client alice
  heq-run cert show pki/alice.pem

The folder has ca.pem (public), ca.key (who has it can vouch for anybody: keep it off the server),
server.pem for --identity of the server, NAME.pem for --identity of a client.";

#[derive(Debug, Subcommand)]
#[command(after_help = CERT_EXAMPLES)]
pub(super) enum CertCommand {
    /// Makes an authority, and the identity of a server
    Init {
        #[command(flatten)]
        folder: CertFolder,
        /// A host name or address that clients reach the server by (default: localhost, 127.0.0.1)
        #[arg(long, value_name = "NAME")]
        host: Vec<String>,
        /// How many days the server's certificate is valid; the authority's is for ten years
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
    /// Issues the identity of another server, or of the same one anew
    Server {
        /// Name of the file, without .pem
        #[arg(default_value = "server")]
        name: String,
        #[command(flatten)]
        folder: CertFolder,
        /// A host name or address that clients reach the server by (default: localhost, 127.0.0.1)
        #[arg(long, value_name = "NAME")]
        host: Vec<String>,
        /// How many days the certificate is valid
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
    /// Issues the identity of a client
    Client {
        /// Who it is; the file is NAME.pem
        name: String,
        #[command(flatten)]
        folder: CertFolder,
        /// How many days the certificate is valid
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
    /// Shows what certificates say: names, dates, and the pin of the key
    Show {
        /// A PEM file
        #[arg(value_name = "FILE.pem")]
        file: PathBuf,
        /// Print heq-certificates/1 JSON
        #[arg(long)]
        json: bool,
    },
}

/// Where an authority is.
#[derive(Args, Debug)]
pub(super) struct CertFolder {
    /// The folder of the authority
    #[arg(long, value_name = "DIR", default_value = "pki")]
    pub(super) dir: PathBuf,
}

const FETCH_EXAMPLES: &str = "Examples:
  heq-run fetch-plan --connect server.example:7443 --identity pki/alice.pem --list
  heq-run fetch-plan lenet --connect server.example:7443 --identity pki/alice.pem -o lenet.heq

Look at the plan with heqc report before you give it your input: it says what the server will compute,
and what it discloses. Compare its digest with one that you have from elsewhere.";

/// Gets a public plan from a server.
#[derive(Args, Debug)]
#[command(after_help = FETCH_EXAMPLES)]
pub(super) struct FetchArguments {
    /// The plan's name at the server, or its digest (default: the only one that it has)
    #[arg(value_name = "NAME|DIGEST")]
    pub(super) plan: Option<PlanKey>,
    #[command(flatten)]
    pub(super) peer: PeerArguments,
    /// Where to write the plan
    #[arg(short, long, value_name = "PLAN.heq", required_unless_present = "list")]
    pub(super) output: Option<PathBuf>,
    /// Print which plans the server has
    #[arg(long)]
    pub(super) list: bool,
    /// Print the list as heq-plans/1 JSON
    #[arg(long, requires = "list")]
    pub(super) json: bool,
}

const DOCTOR_EXAMPLES: &str = "Examples:
  heq-run doctor
  heq-run doctor --identity pki/alice.pem --plan plan.heq --connect server.example:7443";

/// Checks what a run depends on: this program, this machine, certificates, plans, the way to a server.
#[derive(Args, Debug)]
#[command(after_help = DOCTOR_EXAMPLES)]
pub(super) struct DoctorArguments {
    /// A plan to look at, and to look for at the server
    #[arg(long, value_name = "PLAN.heq")]
    pub(super) plan: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) peer: PeerArguments,
    /// Print heq-doctor/1 JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Measures this machine for predictions of time: some 20 seconds.
#[derive(Debug, Args)]
#[command(after_help = CALIBRATE_EXAMPLES)]
pub(super) struct CalibrateArguments {
    /// Where to write what was measured, as heq-costs/2
    #[arg(short, long, value_name = "COSTS.json")]
    pub(super) output: PathBuf,
    /// Threads for computation, whose waking is measured (default: one for each core)
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,
}

/// What a party runs. It is there if one of the named arguments is: with flattened ones clap cannot tell.
#[derive(Args, Debug)]
#[group(args = ["plan", "role"], multiple = true)]
pub(super) struct Arguments {
    /// The public plan; both parties hold the same. Server: several times, or a folder of them, for
    /// several plans
    #[arg(long, value_name = "PLAN.heq", required = true)]
    pub(super) plan: Vec<PathBuf>,
    /// Which party this is
    #[arg(long, value_enum)]
    pub(super) role: RoleArgument,
    #[command(flatten)]
    pub(super) peer: PeerArguments,
    #[command(flatten)]
    pub(super) serve: ServeArguments,
    #[command(flatten)]
    pub(super) store: StoreArguments,
    /// Client, local: samples as .npy, .npz, PNG or JPEG
    #[arg(long, value_name = "FILE")]
    pub(super) input: Option<PathBuf>,
    /// Client, local: a text file with the name of every class, one a line, to print behind its number
    #[arg(long, value_name = "FILE")]
    pub(super) labels: Option<PathBuf>,
    /// Client, local: where to write the outputs: .npy holds values as float32, or the indices that the
    /// plan reveals as int64; .json these, class and label, as heq-output/1; .txt the printed line of
    /// every sample
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = PathBufValueParser::new().try_map(OutputFile::new))]
    pub(super) output: Option<OutputFile>,
    /// Client, local: run this many samples only
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
    /// Local: the link between the parties (default: as fast as memory)
    #[arg(long, value_name = "lan|wan|mobile|BANDWIDTH,RTT")]
    pub(super) link: Option<LinkProfile>,
    /// Where to write what was measured, as heq-stats/1
    #[arg(long, value_name = "STATS.json")]
    pub(super) stats: Option<PathBuf>,
    /// Threads for computation (default: one for each core)
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RoleArgument {
    /// Brings the input, learns the output
    Client,
    /// Both parties on this machine
    Local,
    /// Brings the weights, learns nothing
    Server,
}
