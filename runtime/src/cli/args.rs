//! The command line of `heq-run`.

use crate::service::fetch::PlanKey;
use crate::session::MAX_INFERENCES;
use crate::settings::{PeerSettings, ServeSettings, StoreSettings};
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use heq_data::OutputFile;
use heq_data::command_line::{CompletionsArguments, ManArguments};
use heq_ir::link::LinkProfile;
use std::path::PathBuf;

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
    Prepare(Box<PrepareArguments>),
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
    pub(super) peer: PeerSettings,
    #[command(flatten)]
    pub(super) serve: ServeArguments,
    /// Inferences to prepare; server: at most so many a session
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_INFERENCES)))]
    pub(super) count: u32,
    #[command(flatten)]
    pub(super) store: StoreSettings,
    /// Where to write what was measured, as heq-stats/1
    #[arg(long, value_name = "STATS.json")]
    pub(super) stats: Option<PathBuf>,
    /// Threads for computation (default: one for each core)
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum PrepareRole {
    /// Will bring the input
    Client,
    /// Brings the weights
    Server,
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
        #[command(flatten)]
        hosts: CertHosts,
        #[command(flatten)]
        term: CertTerm,
    },
    /// Issues the identity of another server, or of the same one anew
    Server {
        /// Name of the file, without .pem
        #[arg(default_value = "server")]
        name: String,
        #[command(flatten)]
        folder: CertFolder,
        #[command(flatten)]
        hosts: CertHosts,
        #[command(flatten)]
        term: CertTerm,
    },
    /// Issues the identity of a client
    Client {
        /// Who it is; the file is NAME.pem
        name: String,
        #[command(flatten)]
        folder: CertFolder,
        #[command(flatten)]
        term: CertTerm,
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

/// What a server is called.
#[derive(Args, Debug)]
pub(super) struct CertHosts {
    /// A host name or address that clients reach the server by (default: localhost, 127.0.0.1)
    #[arg(long, value_name = "NAME")]
    pub(super) host: Vec<String>,
}

/// How long a certificate is valid.
#[derive(Args, Debug)]
pub(super) struct CertTerm {
    /// How many days the certificate is valid; that of an authority is for ten years
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(super) days: u32,
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
    pub(super) peer: PeerSettings,
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
    pub(super) peer: PeerSettings,
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
    pub(super) peer: PeerSettings,
    #[command(flatten)]
    pub(super) serve: ServeArguments,
    #[command(flatten)]
    pub(super) store: StoreSettings,
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
    /// Client: try so many times more, with fresh keys and masks, if the connection fails or the server
    /// is busy
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) retry: u32,
    /// Where to write what was measured, as heq-stats/1
    #[arg(long, value_name = "STATS.json")]
    pub(super) stats: Option<PathBuf>,
    /// Threads for computation (default: one for each core)
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum RoleArgument {
    /// Brings the input, learns the output
    Client,
    /// Both parties on this machine
    Local,
    /// Brings the weights, learns nothing
    Server,
}

/// How a server serves.
#[derive(Args, Debug)]
pub(super) struct ServeArguments {
    #[command(flatten)]
    pub(super) settings: ServeSettings,
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
