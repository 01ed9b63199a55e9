//! Prepared inferences against runs of one phase: `cargo xtask bench offline`.
//!
//! Of every network two plans are made for a link: the fastest in one phase, and the fastest if inferences
//! are prepared. Both parties are threads of this process over the simulated link; their stores are folders
//! on disk. Bytes are what the plans say, and it is an error if a run differs; CPU time is that of both
//! parties; every output is compared with the reference.
//!
//! Arguments: `--json`, `--write` to put the table into docs/results.md, and parts of the names of rows.
//! Models that are missing are skipped with a reason.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "a bench stops where it cannot go on"
)]

#[path = "../support/bench.rs"]
mod bench;

use bench::Report;
use heq_compiler::kernel::packing::PackingRule;
use heq_compiler::lower::plan::{Compiled, PlanOptions};
use heq_compiler::select::options::{Objective, SearchOptions};
use heq_ir::eval::evaluate;
use heq_ir::link::LinkProfile;
use heq_runtime::party::Outcome;
use heq_runtime::stats::{ProcessUsage, SessionStats};
use heq_tests::models::{Model, images};
use heq_tests::table::{Column, Table};
use heq_tests::{Preparation, compile_with, lenet, run_both_over, samples};
use serde_json::{Value, json};

const TABLE: Table = Table { bench: "offline", columns: COLUMNS };

const COLUMNS: &[Column] = &[
    ("network and link", 32, |row| row["name"].as_str().unwrap_or("").to_owned()),
    ("MB", 8, |row| number(&row["whole"]["bytes"], 1e6, 3)),
    ("CPU s", 7, |row| number(&row["whole"]["cpu_s"], 1.0, 3)),
    ("wall s", 7, |row| number(&row["whole"]["wall_s"], 1.0, 3)),
    ("prepared MB", 11, |row| number(&row["prepared"]["bytes"], 1e6, 3)),
    ("CPU s", 7, |row| number(&row["prepared"]["cpu_s"], 1.0, 3)),
    ("wall s", 7, |row| number(&row["prepared"]["wall_s"], 1.0, 3)),
    ("MB %", 6, |row| percent(row, "bytes")),
    ("CPU %", 6, |row| percent(row, "cpu_s")),
    ("wall %", 6, |row| percent(row, "wall_s")),
    ("stored MB", 13, |row| {
        let stored = &row["stored_bytes"];
        format!("{}+{}", number(&stored[0], 1e6, 3), number(&stored[1], 1e6, 3))
    }),
    ("beforehand s", 12, |row| number(&row["offline_s"], 1.0, 3)),
];

/// Inferences of a session.
const COUNT: usize = 8;

/// Inferences of the sessions that plans are made for.
const INFERENCES: u32 = 100;

fn number(value: &Value, unit: f64, decimals: usize) -> String {
    value.as_f64().map_or("-".to_owned(), |value| format!("{:.decimals$}", value / unit))
}

/// Prepared, of one phase.
fn percent(row: &Value, what: &str) -> String {
    let of = |phase: &str| row[phase][what].as_f64();
    let share = of("prepared").zip(of("whole")).map(|(part, whole)| 100.0 * part / whole);
    share.map_or("-".to_owned(), |share| format!("{share:.0}"))
}

fn compiled(bytes: &[u8], objective: Objective, link: LinkProfile) -> Compiled {
    let mut search = SearchOptions {
        objective,
        network: link,
        inferences: INFERENCES,
        ..SearchOptions::default()
    };
    if search.is_prepared() {
        search.restriction.packing = PackingRule::None;
    }
    compile_with(bytes, &PlanOptions { search, ..PlanOptions::default() })
}

/// CPU and wall time of one of [`COUNT`] inferences that `run` runs; set-up cancels out of CPU time, and the
/// first inference, which finds no memory used, out of both.
fn measured(run: impl Fn(usize) -> Outcome, expected: &[Vec<i64>]) -> (f64, f64) {
    let time = |count: usize| {
        let cpu = || ProcessUsage::now().cpu_s.unwrap_or(f64::NAN);
        let start = cpu();
        let (outputs, stats) = run(count);
        assert_eq!(outputs, expected[..count], "a wrong result");
        let SessionStats { store_s, .. } = stats;
        (cpu() - start, stats.online().wall_s + store_s)
    };
    let (one, all) = (time(1), time(COUNT));
    let each = |one: f64, all: f64| (all - one) / (COUNT - 1) as f64;
    (each(one.0, all.0), each(one.1, all.1))
}

fn row(name: &str, bytes: &[u8], image: &std::path::Path, link: LinkProfile) -> Value {
    let whole = compiled(bytes, Objective::Latency, link);
    let split = compiled(bytes, Objective::OnlineLatency, link);
    let inputs = |compiled: &Compiled| {
        let all = samples(&compiled.plan, image, COUNT);
        all.iter().cycle().take(COUNT).cloned().collect::<Vec<Vec<i64>>>()
    };
    let outputs = |compiled: &Compiled, inputs: &[Vec<i64>]| -> Vec<Vec<i64>> {
        let of = |x: &Vec<i64>| evaluate(&compiled.plan, &compiled.weights, x).unwrap();
        inputs.iter().map(|x| of(x).output().to_vec()).collect()
    };
    let x = inputs(&whole);
    let run_whole = |count: usize| {
        let run = run_both_over(&whole, &x[..count], Some(link));
        run.server.unwrap();
        run.client.unwrap()
    };
    let (cpu_s, wall_s) = measured(run_whole, &outputs(&whole, &x));
    let cost = whole.plan.cost(INFERENCES);
    let all = (cost.online().bytes() + cost.correlations.bytes()) as f64 / f64::from(INFERENCES);
    let of_whole = json!({"bytes": all, "cpu_s": cpu_s, "wall_s": wall_s});

    let folder = tempfile::tempdir().unwrap();
    let mut preparation = Preparation::new(&split, folder.path());
    preparation.link = Some(link);
    let [client, server] = preparation.prepare(COUNT as u32 + 1);
    let offline = client.unwrap();
    server.unwrap();
    let x = inputs(&split);
    let run_prepared = |count: usize| {
        let run = preparation.infer(&x[..count]);
        run.server.unwrap();
        let (outputs, stats) = run.client.unwrap();
        let counted = split.plan.online_cost(count as u32, 1).online().bytes();
        let found = stats.online();
        assert_eq!(found.bytes_up + found.bytes_down, counted, "bytes differ from the plan");
        (outputs, stats)
    };
    let (cpu_s, wall_s) = measured(run_prepared, &outputs(&split, &x));
    let online = split.plan.online_cost(1, 1).online().bytes() as f64;
    json!({
        "name": name,
        "link": link.to_string(),
        "whole": of_whole,
        "prepared": {"bytes": online, "cpu_s": cpu_s, "wall_s": wall_s},
        "stored_bytes": split.plan.prepared_bytes(),
        "offline_s": offline.online().wall_s / f64::from(offline.inferences),
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let mut report = Report::new("offline", &arguments, &TABLE.heading());
    for (model, file) in [
        (Model::Example, None),
        (Model::File("resnet8_cifar10_int8_qdq"), Some("cifar10_test_1000.npz")),
        (Model::File("resnet20_cifar10_w4a4_qcdq"), Some("cifar10_test_1000.npz")),
    ] {
        let image = file.map_or(Some(lenet("input.npy")), images);
        let name = model.name();
        for (suffix, link) in [("lan", LinkProfile::LAN), ("wan", LinkProfile::WAN)] {
            let row_name = format!("{name} {suffix}");
            if !report.wants(&row_name, true) {
                continue;
            }
            match (model.bytes(), &image) {
                (Ok(bytes), Some(image)) => {
                    report.add(row(&row_name, &bytes, image, link), |row| TABLE.line(row));
                }
                (Err(reason), _) => eprintln!("skipped: {row_name}: {reason}"),
                (_, None) => eprintln!("skipped: {row_name}: its images are not there"),
            }
        }
    }
    if arguments.iter().any(|argument| argument == "--write") {
        TABLE.write(&report.document());
    }
    report.finish();
}
