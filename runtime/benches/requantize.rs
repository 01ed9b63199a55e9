//! Requantization with the conversion to arithmetic shares, max pooling, tables and argmax, between two threads:
//! `cargo xtask bench requantize`.
//!
//! CPU time is that of a party's thread in the step alone, the local transposition of words included;
//! its random OTs are made before. Those of a row `ideal` come from the ideal functionality; in the others
//! the parties make them, and the time of that, of both parties and all threads, is a column of its own. Bytes are exact,
//! those of correlations apart. Memory is the peak of the process, in which both parties live.
//! Arguments: `--json`, and parts of the names of rows, or `--every` for all rows.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench stops where it cannot go on"
)]

#[path = "../../tests/support/bench.rs"]
mod bench;

use bench::Report;

#[path = "../tests/common/steps.rs"]
mod steps;

use heq_ir::plan::OtExtension;
use heq_ir::protocol::adder::{AdderForm, CarryForm};
use heq_ir::protocol::count::CountMachine;
use heq_ir::protocol::max_pool::{ComparisonForm, max_over_positions};
use heq_ir::protocol::requantize::{RequantizeForm, RequantizeWidths, requantize};
use heq_ir::protocol::table::TableWidths;
use heq_ir::protocol::to_arithmetic::ToArithmeticForm;
use heq_ir::protocol::top as ranking;
use heq_ir::traffic::{FlightClock, Traffic};
use heq_net::Channel;
use heq_runtime::protocol::gates::Gates;
use heq_runtime::protocol::to_arithmetic::to_arithmetic;
use heq_runtime::protocol::{Role, table, top};
use heq_runtime::share::{mask, planes_of_words};
use heq_runtime::stats::ProcessUsage;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Barrier;
use steps::{Stocks, both, establish, extend, ideal_stocks};

/// `(l, b, s, L)` of the rows; one guard bit.
const WIDTHS: [[u32; 4]; 3] = [[16, 4, 8, 16], [20, 8, 8, 20], [13, 2, 8, 13]];

/// Forms of the circuit and of the conversion to arithmetic shares.
type Forms = (RequantizeForm, ToArithmeticForm);

/// The forms of the rows: those of the fewest bytes, the usual one of few bytes and random OTs, and those
/// of the fewest flights.
fn forms(widths: &RequantizeWidths, arithmetic_bits: u32) -> [(&'static str, Forms); 3] {
    let conversions: Vec<_> = ToArithmeticForm::all(widths.result_bits, arithmetic_bits).collect();
    let all: Vec<Forms> = RequantizeForm::all(widths)
        .flat_map(|form| conversions.iter().map(move |&conversion| (form, conversion)))
        .collect();
    let cost = |forms: &Forms| {
        let work = Work::Requantize { widths: *widths, forms: *forms, arithmetic_bits };
        let traffic = work.traffic(64);
        let (up, down) = traffic.payload_bytes();
        (up + down, FlightClock::default().advance(&traffic))
    };
    let carry = CarryForm { compared_bits: widths.removed_bits(), digit_bits: 3 };
    let usual = RequantizeForm { carry, sums: AdderForm::Ripple, range: AdderForm::Ripple };
    [
        ("fewest bytes", *all.iter().min_by_key(|forms| cost(forms)).unwrap()),
        ("ripple", (usual, ToArithmeticForm::Direct)),
        (
            "select",
            *all.iter()
                .min_by_key(|forms| {
                    let (bytes, flights) = cost(forms);
                    (flights, bytes)
                })
                .unwrap(),
        ),
    ]
}

/// Form of the comparisons of max pooling.
const POOL: ComparisonForm = ComparisonForm::Tree;

/// CPU time of both parties for which a row is repeated, in seconds.
const ROW_CPU_S: f64 = 1.0;

/// Most runs of a row.
const MAX_RUNS: u32 = 100;

/// What a row runs.
#[derive(Clone, Copy)]
enum Work {
    Requantize { widths: RequantizeWidths, forms: Forms, arithmetic_bits: u32 },
    MaxPool { bits: u32, positions: usize },
    Table(TableWidths),
    Argmax { acc_bits: u32 },
}

/// Who makes the random OTs: the ideal functionality, or an extension.
const PROVIDERS: [(&str, Option<OtExtension>); 3] = [
    ("ideal", None),
    ("SoftSpoken k=4", Some(OtExtension::SoftSpoken { field_bits: 4 })),
    ("silent n=2^20", Some(OtExtension::Silent { log_rows: 20 })),
];

struct Task {
    name: String,
    work: Work,
    elements: usize,
    provider: Option<OtExtension>,
}

fn tasks() -> Vec<Task> {
    let mut works = Vec::new();
    for [acc_bits, result_bits, shift, arithmetic_bits] in WIDTHS {
        let limit = (1 << result_bits) - 1;
        let widths = RequantizeWidths { acc_bits, guard_bits: 1, shift, result_bits, limit };
        for (form_name, forms) in forms(&widths, arithmetic_bits) {
            let name = format!(
                "requantize ({acc_bits},{result_bits},{shift},{arithmetic_bits}) {form_name}"
            );
            let work = Work::Requantize { widths, forms, arithmetic_bits };
            works.extend([100_000, 1_000_000].map(|elements| (name.clone(), work, elements)));
        }
    }
    let pool = Work::MaxPool { bits: 4, positions: 4 };
    works.push(("max pool 2x2, 4 bits".to_owned(), pool, 100_000));
    for (input_bits, result_bits, elements) in [(4, 4, 100_000), (8, 8, 16_384)] {
        let work = Work::Table(TableWidths { input_bits, result_bits });
        works.push((format!("table {input_bits} to {result_bits} bits"), work, elements));
    }
    works.push((
        "argmax of 1000 logits of 20 bits".to_owned(),
        Work::Argmax { acc_bits: 20 },
        1000,
    ));
    let mut tasks = Vec::new();
    for (name, work, elements) in works {
        for (provider_name, provider) in PROVIDERS {
            let name = format!("{name} x{elements} {provider_name}");
            tasks.push(Task { name, work, elements, provider });
        }
    }
    tasks
}

impl Work {
    fn traffic(self, elements: usize) -> Traffic {
        let mut machine = CountMachine::new(elements);
        match self {
            Self::Requantize { widths, forms: (form, conversion), arithmetic_bits } => {
                let Ok(_) = requantize(&mut machine, &widths, &form);
                let mut traffic = machine.finish();
                let part = conversion.traffic(elements, widths.result_bits, arithmetic_bits);
                traffic.steps.extend(part.steps);
                traffic.rots.extend(part.rots);
                traffic
            }
            Self::MaxPool { bits, positions } => {
                let value = vec![(); bits as usize];
                let Ok(_) = max_over_positions(&mut machine, vec![value; positions], POOL);
                machine.finish()
            }
            Self::Table(widths) => widths.traffic(elements),
            Self::Argmax { acc_bits } => {
                let source = ranking::TopSource::Words { acc_bits, guard_bits: 1 };
                ranking::traffic(source, elements, 1)
            }
        }
    }

    /// Width of this party's words.
    fn word_bits(self) -> u32 {
        match self {
            Self::Requantize { widths, .. } => widths.word_bits(),
            Self::MaxPool { bits, positions } => bits * u32::try_from(positions).unwrap(),
            Self::Table(widths) => widths.input_bits,
            Self::Argmax { acc_bits } => acc_bits + 1,
        }
    }

    /// Runs the step on this party's `words`; the CPU time of its thread in seconds.
    fn run(self, stocks: &mut Stocks, role: Role, words: &[u64], channel: &mut Channel) -> f64 {
        let start = thread_cpu_s();
        let planes = planes_of_words(words, self.word_bits());
        let mut link = stocks.link(role, channel);
        match self {
            Self::Requantize { widths, forms: (form, conversion), arithmetic_bits } => {
                let mut gates = Gates::new(&mut link, &planes, words.len());
                let bits = requantize(&mut gates, &widths, &form).unwrap();
                to_arithmetic(&mut link, &bits, words.len(), arithmetic_bits, 0, conversion)
                    .unwrap();
            }
            Self::MaxPool { bits, .. } => {
                let positions = planes.chunks(bits as usize).map(<[_]>::to_vec).collect();
                max_over_positions(&mut Gates::new(&mut link, &[], words.len()), positions, POOL)
                    .unwrap();
            }
            Self::Argmax { acc_bits } => {
                let values = top::values(&mut link, words, acc_bits, 1).unwrap();
                top::top(&mut link, values, words.len(), 1).unwrap();
            }
            Self::Table(widths) => {
                let entries: Vec<u8> = (0..=u8::MAX).cycle().take(widths.entries()).collect();
                match role {
                    Role::Client => table::client(&mut link, &widths, &planes, words.len()),
                    Role::Server => {
                        table::server(&mut link, &widths, &planes, words.len(), &entries)
                    }
                }
                .unwrap();
            }
        }
        let spent = thread_cpu_s() - start;
        stocks.check_used_up();
        spent
    }
}

/// CPU time of this thread in seconds, as the scheduler counts it: in steps of some milliseconds.
fn thread_cpu_s() -> f64 {
    let counts = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = counts.split(' ').next().and_then(|field| field.parse::<f64>().ok());
    nanoseconds.map_or(f64::NAN, |nanoseconds| nanoseconds / 1e9)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let tasks = tasks();
    if let Some(index) = arguments.first().and_then(|first| first.strip_prefix("--row=")) {
        println!("{}", measure(&tasks[index.parse::<usize>().unwrap()]));
        return;
    }
    let mut report = Report::new("requantize", &arguments, &heading());
    for (index, task) in tasks.iter().enumerate() {
        if report.wants(&task.name, task.elements < 1_000_000) {
            // A process has one peak of memory.
            let mut command = Command::new(std::env::current_exe().unwrap());
            let output = command.arg(format!("--row={index}")).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            report.add(serde_json::from_slice(&output.stdout).unwrap(), line);
        }
    }
    report.finish();
}

/// A party's random words of `bits` bits.
fn words(role: Role, elements: usize, bits: u32) -> Vec<u64> {
    let mut rng = ChaCha20Rng::seed_from_u64(role as u64);
    (0..elements).map(|_| rng.next_u64() & mask(bits)).collect()
}

fn measure(task: &Task) -> Value {
    let Task { work, elements, .. } = *task;
    let traffic = work.traffic(elements);
    let [client_words, server_words] =
        [Role::Client, Role::Server].map(|role| words(role, elements, work.word_bits()));
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    // Seconds of making random OTs and of the step, for client and server; the first run warms up.
    let (mut runs, mut making, mut running, mut correlation_bytes) = (0, 0.0, [0.0; 2], 0);
    let phases = Barrier::new(2);
    loop {
        let mut ideal = match task.provider {
            None => ideal_stocks(&traffic.rots, &mut rng).map(Some),
            Some(_) => [None, None],
        };
        let party = |role: Role, words: &[u64], ready: Option<Stocks>, channel: &mut Channel| {
            let rots = &traffic.rots;
            let Some(ot) = task.provider else {
                return (0.0, work.run(&mut ready.unwrap(), role, words, channel), 0);
            };
            let mut extension = establish(role, ot, channel);
            phases.wait();
            let (start, before) = (process_cpu_s(), channel.snapshot());
            let mut stocks = extend(&mut extension, role, rots, channel);
            let bytes = channel.snapshot().since(before).bytes_sent;
            phases.wait();
            let spent = process_cpu_s() - start;
            (spent, work.run(&mut stocks, role, words, channel), bytes)
        };
        let [client_stocks, server_stocks] = [ideal[0].take(), ideal[1].take()];
        let (client, server, _) = both(
            |channel| party(Role::Client, &client_words, client_stocks, channel),
            |channel| party(Role::Server, &server_words, server_stocks, channel),
        );
        if runs > 0 {
            // The time of the process is that of both parties.
            making += client.0;
            running = [running[0] + client.1, running[1] + server.1];
        }
        correlation_bytes = correlation_bytes.max(client.2 + server.2);
        runs += 1;
        if runs > 2 && (making + running[0] + running[1] > ROW_CPU_S || runs > MAX_RUNS) {
            break;
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "a million is exact")]
    let number = elements as f64;
    let each = |seconds: f64| seconds * 1e6 / number / f64::from(runs - 1);
    let (up, down) = traffic.wire_bytes();
    json!({
        "name": task.name,
        "elements": elements,
        "bytes_up": up,
        "bytes_down": down,
        "flights": FlightClock::default().advance(&traffic),
        "rots": traffic.rot_counts().total(),
        "correlation_bytes": correlation_bytes,
        "cpu_client_us": each(running[0]),
        "cpu_server_us": each(running[1]),
        "cpu_rots_us": task.provider.map(|_| each(making)),
        "peak_rss_bytes": ProcessUsage::now().peak_rss_bytes,
    })
}

/// CPU time of this process in seconds, all threads together.
fn process_cpu_s() -> f64 {
    ProcessUsage::now().cpu_s.unwrap_or(f64::NAN)
}

const COLUMNS: [&str; 9] = [
    "up B",
    "down B",
    "flights",
    "ROTs",
    "ROTs B",
    "client us",
    "server us",
    "ROTs us",
    "peak MB of both",
];

fn heading() -> String {
    let columns: String = COLUMNS.iter().map(|column| format!(" {column:>9}")).collect();
    format!("{:<62}{columns}   (bytes, ROTs and CPU an element)", "step")
}

fn line(row: &Value) -> String {
    let number = |name: &str| row[name].as_f64();
    let elements = number("elements").unwrap();
    let each = |name: &str| number(name).map(|total| total / elements);
    let cells = [
        each("bytes_up"),
        each("bytes_down"),
        number("flights"),
        each("rots"),
        each("correlation_bytes"),
        number("cpu_client_us"),
        number("cpu_server_us"),
        number("cpu_rots_us"),
        number("peak_rss_bytes").map(|bytes| bytes / 1e6),
    ];
    let cell = |value: Option<f64>| {
        value.map_or_else(|| format!(" {:>9}", "-"), |value| format!(" {value:>9.3}"))
    };
    let cells: String = cells.into_iter().map(cell).collect();
    format!("{:<62}{cells}", row["name"].as_str().unwrap())
}
