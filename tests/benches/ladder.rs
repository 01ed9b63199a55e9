//! Bytes of the linear layers of whole models under the presets of `heqc compile`:
//! `cargo xtask bench ladder`.
//!
//! Every model is compiled for the fewest bytes, where a preset leaves a choice. What is counted is what
//! the plan says, and runs equal it: requests, responses, messages of lifts, and random OTs of these at
//! what one costs. Set-up is apart. Nothing is run.
//!
//! Arguments: `--json`, `--write` to put the table into docs/results.md, models as files that end in
//! `.onnx`, and parts of the names of rows. Without files, those of the table in docs/results.md: some are
//! in the folder that the environment variable `HEQ_MODELS` names, the others are generated.
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
use heq_tests::models::{Generated, Model, Scales};
use heq_tests::table::{Column, Table, megabytes};
use serde_json::{Value, json};
use std::path::PathBuf;

/// The models of the table in docs/results.md.
const MODELS: [Model; 6] = [
    Model::File("resnet32_cifar10_qdq_u8s8_pc"),
    generated("resnet32", 4),
    generated("resnet32", 2),
    Model::File("mobilenetv2_imagenet224_int8_qdq"),
    generated("mobilenetv2", 4),
    generated("mobilenetv2", 2),
];

const fn generated(architecture: &'static str, bits: u32) -> Model {
    Model::Generated(Generated { architecture, bits, scales: Scales::Float })
}

/// The steps of the ladder; the last is what others are compared with.
const PRESETS: [(&str, Preset); 4] = [
    ("cheetah", Preset::Cheetah),
    ("naive-quant", Preset::NaiveQuant),
    ("hequant", Preset::Hequant),
    ("best", Preset::Best),
];

/// Inferences of the session that plans are made for: keys hardly count.
const INFERENCES: u32 = 100;

fn main() {
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let is_model = |argument: &String| argument.ends_with(".onnx");
    let (given, rest): (Vec<String>, Vec<String>) = arguments.partition(is_model);
    let mut report = Report::new("ladder", &rest, &TABLE.heading());
    for (name, bytes) in models(given) {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(reason) => {
                eprintln!("skipped: {name}: {reason}");
                continue;
            }
        };
        let best = row(&name, &planned(&bytes, &name, Preset::Best));
        for (step, preset) in PRESETS {
            let row_name = format!("{name} {step}");
            if report.wants(&row_name, true) {
                let row = row(&row_name, &planned(&bytes, &name, preset));
                report.add(row.json(best.bytes()), |row| TABLE.line(row));
            }
        }
    }
    if rest.iter().any(|argument| argument == "--write") {
        TABLE.write(&report.document());
    }
    report.finish();
}

/// Names and bytes of the models of the arguments, or of those that the table in docs/results.md is of.
fn models(given: Vec<String>) -> impl Iterator<Item = (String, Result<Vec<u8>, String>)> {
    let is_given = !given.is_empty();
    let given = given.into_iter().map(PathBuf::from).map(|path| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read(&path).map_err(|error| error.to_string()))
    });
    let usual = MODELS.into_iter().filter(move |_| !is_given);
    given.chain(usual.map(|model| (model.name(), model.bytes())))
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

const TABLE: Table = Table { bench: "ladder", columns: COLUMNS };

const COLUMNS: &[Column] = &[
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
