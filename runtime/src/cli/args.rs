//! The command line of `heq-run`.

use crate::offline::Store;
use crate::session::{MAX_INFERENCES, WEIGHT_CACHE_BYTES};
use clap::{Args, Parser, Subcommand, ValueEnum};
use heq_data::parse_size;
use heq_ir::diagnostic::Diagnostic;
use heq_ir::link::LinkProfile;
use heq_net::tcp::TcpOptions;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  heq-run --plan plan.heq --role server --listen 0.0.0.0:7443
  heq-run --plan plan.heq --role client --connect server.example:7443 --input digit.png
  heq-run --plan plan.heq --role local --input digit.png --link wan
  heq-run prepare --plan plan.heq --role client --connect server.example:7443 --count 10 --store stock
  heq-run calibrate -o costs.json

The protocol is secure against parties that follow it. A client that does not can extract the
model, and the connection is neither encrypted nor authenticated: see SECURITY.md.";

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
    Prepare(PrepareArguments),
}

const PREPARE_EXAMPLES: &str = "Examples:
  heq-run prepare --plan plan.heq --role server --listen 0.0.0.0:7444 --count 100 --store stock
  heq-run prepare --plan plan.heq --role client --connect server.example:7444 --count 10 --store stock
  heq-run --plan plan.heq --role server --listen 0.0.0.0:7443 --store stock
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

/// How to reach the peer.
#[derive(Args, Debug)]
pub(super) struct PeerArguments {
    /// Server: the address to listen on; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) listen: Option<String>,
    /// Client: the server's address
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) connect: Option<String>,
    /// Give up when the peer sends nothing for this many seconds (default: wait)
    #[arg(long, value_name = "SECONDS")]
    pub(super) timeout: Option<u64>,
}

impl PeerArguments {
    pub(super) fn options(&self) -> TcpOptions {
        TcpOptions { idle_timeout: self.timeout.map(Duration::from_secs) }
    }
}

/// How a server serves.
#[derive(Args, Debug)]
pub(super) struct ServeArguments {
    /// Server, local: the weights (default: PLAN.server.heq beside the plan)
    #[arg(long, value_name = "PLAN.server.heq")]
    pub(super) weights: Option<PathBuf>,
    /// Server, local: most memory for transformed weights; the rest are transformed in every inference
    /// (default: 256MB)
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    weight_cache: Option<u64>,
    /// Server: end after this many sessions (default: serve until stopped)
    #[arg(long, value_name = "N")]
    pub(super) sessions: Option<u64>,
}

impl ServeArguments {
    /// Most bytes of transformed weights.
    pub(super) fn weight_cache(&self) -> usize {
        let bytes = self.weight_cache.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        bytes.unwrap_or(WEIGHT_CACHE_BYTES)
    }
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
    /// The public plan; both parties hold the same
    #[arg(long, value_name = "PLAN.heq")]
    pub(super) plan: PathBuf,
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
    /// Client, local: where to write the outputs: values as float32, or the indices that the
    /// plan reveals as int64
    #[arg(long, value_name = "FILE.npy")]
    pub(super) output: Option<PathBuf>,
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
