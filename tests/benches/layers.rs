//! The linear layers that other systems were measured on, between two processes on this machine:
//! `cargo xtask bench layers`.
//!
//! Both parties hold shares of the activations. Bytes are exact; CPU seconds are user and system time of
//! a party, averaged over several runs of the layer after keys were exchanged and weights prepared,
//! with one thread. A row `... on the fly` keeps no transformed weights, one `... fewest bytes` has the plan
//! for links so slow that computation hardly counts. Arguments: `--json`, and parts
//! of the names of rows, or `--every` for all rows; plain `cargo bench` runs the first widths and mode.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench stops where it cannot go on"
)]

#[path = "../support/bench.rs"]
mod bench;

use bench::Report;
use heq_compiler::compile::compile_network;
use heq_compiler::lower::plan::Compiled;
use heq_compiler::select::options::Objective;
use heq_he::Ring;
use heq_ir::plan::{AccStrategy, Plan};
use heq_net::{Channel, tcp};
use heq_runtime::protocol::keys::{self, KeySet};
use heq_runtime::protocol::linear::{self, Layer, PreparedWeights, RequestSeeds};
use heq_runtime::protocol::{Link, Role};
use heq_runtime::session::WEIGHT_CACHE_BYTES;
use heq_runtime::stats::ProcessUsage;
use heq_tests::layer::{LayerShape, Widths, common_layers, one_layer};
use heq_tests::plan_options;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Widths of the rows, W4A4 first.
const WIDTHS: [Widths; 3] = [
    Widths { weight_bits: 4, activation_bits: 4 },
    Widths { weight_bits: 2, activation_bits: 4 },
    Widths { weight_bits: 8, activation_bits: 8 },
];

/// Rows of a layer: memory for transformed weights as `heq-run` has it by default, none, and a plan of
/// the fewest bytes.
const MODES: [Mode; 3] = [
    Mode { suffix: "", cache_bytes: WEIGHT_CACHE_BYTES, objective: Objective::Latency },
    Mode { suffix: " on the fly", cache_bytes: 0, objective: Objective::Latency },
    Mode { suffix: " fewest bytes", cache_bytes: WEIGHT_CACHE_BYTES, objective: Objective::Bytes },
];

/// How a row is planned and run.
#[derive(Clone, Copy)]
struct Mode {
    suffix: &'static str,
    cache_bytes: usize,
    objective: Objective,
}

/// Inferences of the session that plans are made for: keys hardly count.
const INFERENCES: u32 = 100;

/// How long a row is repeated.
const ROW_TIME: Duration = Duration::from_millis(1_500);

/// Most runs of a row: seeds are cheap, patience is not.
const MAX_RUNS: u32 = 200;

/// OpenCheetah with its ring of 37 bits on one machine (2 cores, AMD Zen 5, AVX-512; client and server
/// over loopback): MB in both directions and CPU seconds of both parties. Keys are not in it.
const OPEN_CHEETAH: [(&str, f64, f64); 6] = [
    ("56x56x64->64 3x3", 7.25, 0.40),
    ("28x28x128->128 3x3", 6.56, 0.39),
    ("14x14x256->256 3x3", 9.11, 0.45),
    ("7x7x512->512 3x3", 16.40, 0.75),
    ("28x28x192->64 1x1", 4.71, 0.25),
    ("FC 512->1000", 1.03, 0.034),
];

/// One row of the table.
struct Task {
    shape: LayerShape,
    widths: Widths,
    mode: Mode,
}

impl Task {
    fn name(&self) -> String {
        format!("{} {}{}", self.shape.name, self.widths, self.mode.suffix)
    }

    fn compile(&self) -> Compiled {
        let network = one_layer(self.shape.geometry, self.widths);
        let mut options = plan_options(AccStrategy::WeightAware);
        options.search.inferences = INFERENCES;
        options.search.objective = self.mode.objective;
        compile_network(&network, &options)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name()))
    }
}

fn tasks() -> Vec<Task> {
    let mut tasks = Vec::new();
    for widths in WIDTHS {
        for shape in common_layers() {
            tasks.extend(MODES.map(|mode| Task { shape, widths, mode }));
        }
    }
    tasks
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [party, index, rest @ ..] = &arguments[..]
        && let Some(role) = party.strip_prefix("--party=")
    {
        let task = &tasks()[index.parse::<usize>().unwrap()];
        println!("{}", run_party(role, rest.first(), task));
        return;
    }
    let mut report = Report::new("layers", &arguments, &heading());
    for (index, task) in tasks().iter().enumerate() {
        let is_usual = index < common_layers().len() * MODES.len() && task.mode.suffix.is_empty();
        if report.wants(&task.name(), is_usual) {
            report.add(measure(index, task), line);
        }
    }
    report.finish();
}

/// Runs both parties of a row as processes of their own.
fn measure(index: usize, task: &Task) -> Value {
    let this = std::env::current_exe().unwrap();
    let spawn = |role: &str, address: Option<&str>| {
        let mut command = Command::new(&this);
        command.arg(format!("--party={role}")).arg(index.to_string()).args(address);
        command.env("RAYON_NUM_THREADS", "1").stdout(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut server = spawn("server", None);
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let address = lines.next().unwrap().unwrap();
    let client = spawn("client", Some(&address)).wait_with_output().unwrap();
    let server_line = lines.next().unwrap().unwrap();
    assert!(server.wait().unwrap().success() && client.status.success(), "{}", task.name());
    let client: Value = serde_json::from_slice(&client.stdout).unwrap();
    let server: Value = serde_json::from_str(&server_line).unwrap();
    let peer = OPEN_CHEETAH.iter().find(|(name, ..)| *name == task.shape.name);
    let up = client["bytes_sent"].as_f64().unwrap();
    let down = client["bytes_received"].as_f64().unwrap();
    let cpu = client["cpu_s"].as_f64().unwrap() + server["cpu_s"].as_f64().unwrap();
    json!({
        "name": task.name(),
        "bytes_up": client["bytes_sent"],
        "bytes_down": client["bytes_received"],
        "key_bytes": client["key_bytes"],
        "cpu_client_s": client["cpu_s"],
        "cpu_server_s": server["cpu_s"],
        "wall_s": client["wall_s"],
        "peak_rss_bytes": [client["peak_rss_bytes"], server["peak_rss_bytes"]],
        "choice": client["choice"],
        "bytes_ratio": peer.map(|(_, megabytes, _)| megabytes * 1e6 / (up + down)),
        "cpu_ratio": peer.map(|(_, _, seconds)| seconds / cpu),
    })
}

/// One party's process: what it measured, for the first process.
fn run_party(role: &str, address: Option<&String>, task: &Task) -> Value {
    let compiled = task.compile();
    let deadline = Instant::now() + Duration::from_secs(60);
    let options = tcp::TcpOptions::default();
    let mut channel = if role == "server" {
        let listener = tcp::Listener::bind("127.0.0.1:0").unwrap();
        println!("{}", listener.local_address().unwrap());
        listener.accept().unwrap().open(options, None, deadline).unwrap()
    } else {
        tcp::connect(address.unwrap(), deadline, options, None).unwrap()
    };
    let role = if role == "server" { Role::Server } else { Role::Client };
    Party::new(&compiled, role).run(&mut channel, &compiled, task.mode.cache_bytes)
}

/// A party and the layer.
struct Party<'a> {
    plan: &'a Plan,
    index: usize,
    role: Role,
    ring: Ring,
}

impl<'a> Party<'a> {
    fn new(compiled: &'a Compiled, role: Role) -> Self {
        let plan = &compiled.plan;
        let (index, step) = plan.linear_steps().next().unwrap();
        Self { plan, index, role, ring: Ring::new(*step.params) }
    }

    fn run(&self, channel: &mut Channel, compiled: &Compiled, mut cache_bytes: usize) -> Value {
        let step = self.plan.linear_step(self.index).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(self.role as u64);
        let spacings = self.plan.galois_spacings(step.choice.rlwe);
        let set = KeySet { index: 0, spacings: &spacings, nonce: &[1; 32] };
        let weights = &compiled.weights.layers()[0];
        let keys = match self.role {
            Role::Client => Keys::Client(keys::client(channel, &self.ring, set, &mut rng).unwrap()),
            Role::Server => Keys::Server(
                keys::server(channel, &self.ring, set, &mut rng).unwrap(),
                PreparedWeights::new(&self.ring, &step, weights, &mut cache_bytes).unwrap(),
            ),
        };
        let key_bytes = channel.snapshot().bytes_sent;
        let operand = self.plan.operands(self.index)[0];
        let shares: Vec<u64> = (0..operand.shape.len()).map(|_| rng.next_u64()).collect();
        let mut seeds = RequestSeeds::new([2; 32]);
        let layer = Layer { ring: &self.ring, step: &step, operand: operand.domain };
        let mut runs = 0;
        let mut first = None;
        // The first run warms up; the client says when to stop.
        let (start, usage, meter) = loop {
            let meter = channel.snapshot();
            let mark = (Instant::now(), ProcessUsage::now(), meter);
            let (start, ..) = *first.get_or_insert(mark);
            let goes_on = runs < 2 || (start.elapsed() < ROW_TIME && runs < MAX_RUNS);
            let stop = match self.role {
                Role::Client => {
                    channel.send(&[u8::from(goes_on)]).unwrap();
                    !goes_on
                }
                Role::Server => channel.recv(1).unwrap() == [0],
            };
            if stop {
                break first.unwrap();
            }
            let mut link = Link {
                role: self.role,
                channel,
                sender: &mut [].into_iter().collect(),
                receiver: &mut [].into_iter().collect(),
            };
            let words = match &keys {
                Keys::Client(key) => {
                    linear::client(&mut link, &layer, key, &mut seeds, &shares, &mut rng)
                }
                Keys::Server(keys, weights) => {
                    linear::server(&mut link, &layer, keys, weights, &mut seeds, &shares, &mut rng)
                }
            };
            assert_eq!(words.unwrap().len(), step.op.geometry.output().unwrap().len());
            if runs == 0 {
                first = None;
            }
            runs += 1;
        };
        let repeated: u32 = runs - 1;
        let runs = f64::from(repeated);
        let now = ProcessUsage::now();
        let traffic = self.plan.layer_traffic()[self.index].wire_bytes();
        let meter_now = channel.snapshot();
        if self.role == Role::Client {
            let sent = meter_now.bytes_sent - meter.bytes_sent;
            let repeated = u64::from(repeated);
            let marks = repeated + 1;
            assert_eq!(sent, repeated * traffic.0 + marks * 9, "bytes differ from the plan");
        }
        let counts = step.layout.counts();
        json!({
            "bytes_sent": traffic.0,
            "bytes_received": traffic.1,
            "key_bytes": key_bytes,
            "cpu_s": (now.cpu_s.unwrap_or(f64::NAN) - usage.cpu_s.unwrap_or(f64::NAN)) / runs,
            "wall_s": start.elapsed().as_secs_f64() / runs,
            "peak_rss_bytes": now.peak_rss_bytes,
            "choice": format!(
                "{} l={} {:?} S={} m={} requests={} leaves={} responses={} switches={}",
                step.params,
                step.op.acc_bits,
                step.choice.tile.output,
                step.choice.tile.planes,
                step.choice.tile.merge_levels,
                counts.requests(),
                counts.leaves(),
                counts.responses(),
                counts.key_switches(),
            ),
        })
    }
}

/// What a party holds beside its shares.
enum Keys {
    Client(heq_he::client::SecretKey),
    Server(heq_he::server::ServerKeys, PreparedWeights),
}

fn heading() -> String {
    format!(
        "{:<42} {:>9} {:>9} {:>9} {:>8} {:>8} {:>8} {:>9} {:>7} {:>7}  {}",
        "layer",
        "up B",
        "down B",
        "keys B",
        "client s",
        "server s",
        "wall s",
        "peak MB",
        "bytes x",
        "CPU x",
        "choice"
    )
}

fn line(row: &Value) -> String {
    let ratio = |name: &str| row[name].as_f64().map_or("-".to_owned(), |x| format!("{x:.1}"));
    let seconds = |name: &str| format!("{:.4}", row[name].as_f64().unwrap_or(f64::NAN));
    let peaks = row["peak_rss_bytes"].as_array().unwrap();
    let peaks: Vec<String> =
        peaks.iter().map(|p| (p.as_u64().unwrap_or(0) / 1_000_000).to_string()).collect();
    format!(
        "{:<42} {:>9} {:>9} {:>9} {:>8} {:>8} {:>8} {:>9} {:>7} {:>7}  {}",
        row["name"].as_str().unwrap(),
        row["bytes_up"],
        row["bytes_down"],
        row["key_bytes"],
        seconds("cpu_client_s"),
        seconds("cpu_server_s"),
        seconds("wall_s"),
        peaks.join("+"),
        ratio("bytes_ratio"),
        ratio("cpu_ratio"),
        row["choice"].as_str().unwrap(),
    )
}
