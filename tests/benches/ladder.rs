//! Bytes of the linear layers of whole models under the presets of `heqc compile`:
//! `cargo xtask bench ladder`.
//!
//! Every model is compiled for the fewest bytes, where a preset leaves a choice. What is counted is what
//! the plan says, and runs equal it: requests, responses, messages of lifts, and random OTs of these at
//! what one costs. Set-up is apart. Nothing is run.
//!
//! Arguments: `--json`, `--write` to put the table into docs/results.md, models as files that end in
//! `.onnx`, and parts of the names of rows. Without files, those of the environment variable
//! `HEQ_LADDER_MODELS`, separated as in `PATH`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench stops where it cannot go on"
)]

#[path = "../support/bench.rs"]
mod bench;

use bench::Report;
use heq_compiler::compile::{CompileOptions, compile};
use heq_compiler::lower::plan::PlanOptions;
use heq_compiler::pipeline::ImportOptions;
use heq_compiler::select::options::{Objective, Preset, SearchOptions};
use heq_ir::plan::Plan;
use heq_ir::secure::Packing;
use heq_ir::traffic::{RotCounts, RotRun};
use heq_tests::root;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the models.
const MODELS: &str = "HEQ_LADDER_MODELS";

/// The steps of the ladder; the last is what others are compared with.
const PRESETS: [(&str, Preset); 4] = [
    ("cheetah", Preset::Cheetah),
    ("naive-quant", Preset::NaiveQuant),
    ("hequant", Preset::Hequant),
    ("best", Preset::Best),
];

/// Inferences of the session that plans are made for: keys hardly count.
const INFERENCES: u32 = 100;

/// The table in docs/results.md lies between these lines.
const MARKERS: [&str; 2] = ["<!-- ladder: begin -->\n", "<!-- ladder: end -->\n"];

fn main() {
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let is_model = |argument: &String| argument.ends_with(".onnx");
    let (models, rest): (Vec<String>, Vec<String>) = arguments.partition(is_model);
    let mut report = Report::new("ladder", &rest, &heading());
    for path in paths(models) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let Ok(bytes) = std::fs::read(&path) else {
            eprintln!("skipped: {} cannot be read", path.display());
            continue;
        };
        let best = row(&name, &planned(&bytes, &name, Preset::Best));
        for (step, preset) in PRESETS {
            let row_name = format!("{name} {step}");
            if report.wants(&row_name, true) {
                let row = row(&row_name, &planned(&bytes, &name, preset));
                report.add(row.json(best.bytes()), line);
            }
        }
    }
    if rest.iter().any(|argument| argument == "--write") {
        write_table(&report.document());
    }
    report.finish();
}

/// The models of the arguments, or of the environment.
fn paths(given: Vec<String>) -> Vec<PathBuf> {
    if !given.is_empty() {
        return given.into_iter().map(PathBuf::from).collect();
    }
    let Some(paths) = std::env::var_os(MODELS) else {
        eprintln!("skipped: no model is given, and {MODELS} names none");
        return Vec::new();
    };
    std::env::split_paths(&paths).collect()
}

fn planned(bytes: &[u8], name: &str, preset: Preset) -> Plan {
    let search = SearchOptions {
        objective: Objective::Bytes,
        inferences: INFERENCES,
        restriction: preset.restriction(),
        ..SearchOptions::default()
    };
    let plan = PlanOptions { ring_bits: preset.ring_bits(), search, ..PlanOptions::default() };
    let options = CompileOptions { import: ImportOptions::default(), plan, calibration: None };
    compile(bytes, name, &options).unwrap_or_else(|error| panic!("{name}: {error}")).plan
}

/// What the linear layers of a plan send in an inference.
struct Row {
    name: String,
    bytes_up: u64,
    bytes_down: u64,
    random_ots: u64,
    random_ot_bytes: f64,
    layers: usize,
    packed: usize,
    acc_bits: f64,
    setup_bytes: u64,
}

fn row(name: &str, plan: &Plan) -> Row {
    let cost = plan.cost(1);
    let steps: Vec<_> = plan.linear_steps().collect();
    let rows = |index: usize| RotCounts::sum(&plan.layer_traffic()[index].rots, RotRun::rows);
    let random_ots: u64 = steps.iter().map(|(index, _)| rows(*index).total()).sum();
    let total = |bytes: &dyn Fn(usize) -> u64| steps.iter().map(|(index, _)| bytes(*index)).sum();
    let widths = steps.iter().map(|(_, step)| f64::from(step.op.acc_bits));
    Row {
        name: name.to_owned(),
        bytes_up: total(&|index| cost.layers[index].bytes_up),
        bytes_down: total(&|index| cost.layers[index].bytes_down),
        random_ots,
        random_ot_bytes: random_ots as f64 * plan.spec().ot.bytes_per_row(),
        layers: steps.len(),
        packed: steps.iter().filter(|(_, step)| step.op.packing != Packing::None).count(),
        acc_bits: widths.sum::<f64>() / steps.len() as f64,
        setup_bytes: cost.setup.bytes(),
    }
}

impl Row {
    fn bytes(&self) -> f64 {
        (self.bytes_up + self.bytes_down) as f64 + self.random_ot_bytes
    }

    fn json(&self, best: f64) -> Value {
        json!({
            "name": self.name,
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "random_ots": self.random_ots,
            "random_ot_bytes": self.random_ot_bytes.round(),
            "bytes": self.bytes().round(),
            "ratio_to_best": self.bytes() / best,
            "linear_layers": self.layers,
            "packed_layers": self.packed,
            "mean_acc_bits": self.acc_bits,
            "setup_bytes": self.setup_bytes,
        })
    }
}

/// Names of the columns, how wide they are and how they show a row.
type Column = (&'static str, usize, fn(&Value) -> String);

const COLUMNS: [Column; 9] = [
    ("model and preset", 56, |row| row["name"].as_str().unwrap_or("").to_owned()),
    ("up MB", 9, |row| megabytes(&row["bytes_up"])),
    ("down MB", 9, |row| megabytes(&row["bytes_down"])),
    ("OT MB", 7, |row| megabytes(&row["random_ot_bytes"])),
    ("all MB", 9, |row| megabytes(&row["bytes"])),
    ("to best", 8, |row| format!("{:.2}", row["ratio_to_best"].as_f64().unwrap_or(f64::NAN))),
    ("l", 5, |row| format!("{:.1}", row["mean_acc_bits"].as_f64().unwrap_or(f64::NAN))),
    ("packed", 7, |row| format!("{}/{}", row["packed_layers"], row["linear_layers"])),
    ("set-up MB", 9, |row| megabytes(&row["setup_bytes"])),
];

fn megabytes(bytes: &Value) -> String {
    format!("{:.3}", bytes.as_f64().unwrap_or(f64::NAN) / 1e6)
}

fn heading() -> String {
    aligned(|(name, ..)| (*name).to_owned())
}

fn line(row: &Value) -> String {
    aligned(|(_, _, show)| show(row))
}

fn aligned(cell: impl Fn(&Column) -> String) -> String {
    let cells = COLUMNS.iter().enumerate().map(|(index, column)| {
        let (text, width) = (cell(column), column.1);
        if index == 0 { format!("{text:<width$}") } else { format!("{text:>width$}") }
    });
    cells.collect::<Vec<_>>().join(" ")
}

/// Puts the rows of `document`, if there are any, between the markers of docs/results.md.
fn write_table(document: &Value) {
    if document["rows"].as_array().is_none_or(Vec::is_empty) {
        return;
    }
    let path: &Path = &root().join("docs/results.md");
    let old = std::fs::read_to_string(path).expect("docs/results.md is there");
    let (before, rest) = old.split_once(MARKERS[0]).expect("the table's first marker is there");
    let (_, after) = rest.split_once(MARKERS[1]).expect("the table's last marker is there");
    let table = markdown(document);
    let new = format!("{before}{}{table}{}{after}", MARKERS[0], MARKERS[1]);
    std::fs::write(path, new).expect("docs/results.md can be written");
}

fn markdown(document: &Value) -> String {
    let date = Command::new("date").args(["-u", "+%F"]).output();
    let date = date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let text = |name: &str| document[name].as_str().unwrap_or("unknown");
    let mut table = format!(
        "\nMachine: {}. Date: {}. Commit: `{}`. Command: `cargo xtask bench ladder --write`.\n\n",
        text("machine"),
        date.unwrap_or_default(),
        text("commit").get(..12).unwrap_or("unknown"),
    );
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    table += &row(COLUMNS.iter().map(|(name, ..)| (*name).to_owned()).collect());
    let rules = ["---:"; COLUMNS.len() - 1];
    writeln!(table, "|---|{}|", rules.join("|")).unwrap();
    for one in document["rows"].as_array().into_iter().flatten() {
        table += &row(COLUMNS.iter().map(|(_, _, show)| show(one)).collect());
    }
    table + "\n"
}
