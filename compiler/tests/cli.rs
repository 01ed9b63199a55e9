//! The program `heqc` as a process: help, exit statuses, and the report of the LeNet example.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn heqc(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heqc")).args(arguments).output().unwrap()
}

fn lenet(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/onnx/lenet_mnist").join(file)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_command_shows_an_example() {
    for command in [
        "check",
        "compare",
        "compile",
        "completions",
        "diff",
        "evaluate",
        "man",
        "ops",
        "report",
        "simulate",
    ] {
        let help = heqc(&[command, "--help"]);
        assert!(help.status.success());
        let help = text(&help.stdout);
        let (_, examples) = help.split_once("\n\nExample").unwrap();
        assert!(examples.contains(&format!("\n  heqc {command} ")), "{command}");
    }
}

#[test]
fn operators_are_listed_as_they_are_registered() {
    let listed: serde_json::Value =
        serde_json::from_slice(&heqc(&["ops", "--json"]).stdout).unwrap();
    assert_eq!(listed["schema"], "heq-ops/1");
    let operators = listed["operators"].as_array().unwrap();
    assert!(operators.iter().any(|entry| entry["operator"] == "QuantizeLinear"));
    let table = text(&heqc(&["ops"]).stdout);
    for entry in operators {
        assert!(table.contains(entry["operator"].as_str().unwrap()), "{entry}");
    }
}

/// The page of supported operators is what the importer's register says. `HEQ_BLESS=1` writes it anew.
#[test]
fn the_page_of_operators_is_the_register() {
    let page = text(&heqc(&["ops", "--markdown"]).stdout);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/onnx-support.md");
    if std::env::var_os("HEQ_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(page, std::fs::read_to_string(&path).unwrap_or_default());
}

#[test]
fn the_example_is_checked_layer_by_layer() {
    let model = lenet("model.onnx");
    let table = heqc(&["check", model.to_str().unwrap()]);
    assert!(table.status.success());
    assert!(text(&table.stdout).ends_with("supported: 8 layers, 5 of them with weights\n"));
    let json = heqc(&["check", model.to_str().unwrap(), "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["schema"], &json["supported"]), (&"heq-check/1".into(), &true.into()));
    let second = &json["layers"][2];
    let found = ["operator", "kernel", "weight_bits", "activation_bits"].map(|key| &second[key]);
    let expected: [serde_json::Value; 4] =
        ["Conv".into(), "convolution 5x5 8 -> 16".into(), 4.into(), 4.into()];
    assert_eq!(found, expected.each_ref());
    let operators: Vec<&str> = second["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n["operator"].as_str().unwrap())
        .collect();
    let pattern =
        ["Conv", "BatchNormalization", "Relu", "QuantizeLinear", "Clip", "DequantizeLinear"];
    assert_eq!(operators, pattern);
    assert_eq!(second["quantizers"].as_array().unwrap().len(), 2);
}

/// The example's plan against its model: nothing overflows, and both agree but for single steps.
#[test]
fn the_example_is_evaluated_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.heq");
    let (plan, model) = (plan.to_str().unwrap(), lenet("model.onnx"));
    let model = model.to_str().unwrap();
    assert!(heqc(&["compile", model, "-o", plan]).status.success());
    let input = lenet("input.npy");
    let data = input.to_str().unwrap();
    let json = |arguments: &[&str]| -> serde_json::Value {
        let output = heqc(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let evaluated = json(&["evaluate", plan, "--data", data, "--json"]);
    assert_eq!(evaluated["schema"], "heq-evaluate/1");
    assert_eq!(evaluated["overflows"], 0);
    assert_eq!(evaluated["top1"], serde_json::Value::Null);
    for accumulator in evaluated["accumulators"].as_array().unwrap() {
        let (used, width) = (&accumulator["used_bits"], &accumulator["acc_bits"]);
        assert!(used.as_u64() > Some(1) && used.as_u64() <= width.as_u64(), "{accumulator}");
    }

    let compared = json(&["compare", model, plan, "--data", data, "--json"]);
    assert_eq!(compared["schema"], "heq-compare/1");
    let samples = &compared["samples"];
    let pairs = compared["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 3, "{compared}");
    assert!(pairs.iter().all(|pair| &pair["same_class"] == samples), "{compared}");
    let exact = pairs.iter().find(|pair| pair["views"] == serde_json::json!(["model", "runtime"]));
    assert!(exact.unwrap()["largest_difference_lsb"].as_f64() < Some(0.1), "{compared}");
    let layers = compared["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 8);
    assert!(layers[..7].iter().all(|layer| layer["largest_difference_lsb"].as_f64() <= Some(1.0)));

    let text_of = |output: &Output| text(&output.stdout);
    let expected = lenet("expected.npy");
    let recorded = expected.to_str().unwrap();
    let exact = ["compare", model, plan, "--data", data, "--expected", recorded, "--exact"];
    let exact = heqc(&exact);
    assert!(text_of(&exact).contains("model / runtime"), "{}", text(&exact.stderr));
    assert!(!text_of(&exact).contains("plan / "));
}

/// Calibrated on a black image: what a user reads of it, and what is counted.
#[test]
fn calibrated_widths_are_said_to_be_empirical() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (plan, black, white) = (path("plan.heq"), path("black.npy"), path("white.npy"));
    for (file, pixel) in [(&black, 0), (&white, 255)] {
        let pixels = heq_data::ArrayData::U8(vec![pixel; 28 * 28]);
        let image = heq_data::Array::new(file, vec![1, 1, 28, 28], pixels).unwrap();
        heq_data::write_npy(Path::new(file), &image).unwrap();
    }
    let model = lenet("model.onnx");
    let model = model.to_str().unwrap();

    let calibrated = ["--acc-bits", "calibrated", "--calibration", &black, "--margin", "0"];
    let compiled = heqc(&[&["compile", model, "-o", &plan][..], &calibrated].concat());
    let notes = text(&compiled.stderr);
    assert!(compiled.status.success(), "{notes}");
    assert!(notes.contains("empirical") && notes.contains("may overflow"), "{notes}");
    assert!(notes.contains("left free: /c1/Conv 2, /c2/Conv 2, /f1/MatMul 0, "), "{notes}");
    let report = text(&heqc(&["report", &plan]).stdout);
    assert!(report.contains("accumulators calibrated"), "{report}");
    assert!(report.contains("empirical") && report.contains(", 0 free"), "{report}");

    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_slice(&heqc(arguments).stdout).unwrap()
    };
    let report = json(&["report", &plan, "--json"]);
    let expected = serde_json::json!({"margin_bits": 0, "samples": 1, "may_overflow": true});
    assert_eq!(report["calibration"], expected);
    assert_eq!(report["layers"][0]["calibration"]["free_bits"], 2);
    for (data, overflows) in [(&black, false), (&white, true)] {
        let found = json(&["evaluate", &plan, "--data", data, "--json"]);
        assert_eq!(found["acc_strategy"], "calibrated");
        assert_eq!(found["overflows"].as_u64() > Some(0), overflows, "{found}");
        let free = found["accumulators"].as_array().unwrap().iter().map(|one| &one["free_bits"]);
        let least = free.filter_map(serde_json::Value::as_i64).min();
        assert_eq!(least < Some(0), overflows, "{found}");
    }
    let table = text(&heqc(&["evaluate", &plan, "--data", &white]).stdout);
    assert!(table.contains("(calibrated widths; calibrate with more data"), "{table}");
}

/// A plan that reveals indices says so, and is simulated, evaluated and compared by its classes.
#[test]
fn revealed_indices_are_followed_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (plan, classes) = (path("plan.heq"), path("classes.npy"));
    let [model, input, data] = ["model.onnx", "input.npy", "input.npy"]
        .map(|file| lenet(file).to_str().unwrap().to_owned());
    let refused = heqc(&["compile", &model, "-o", &plan, "--reveal", "top-10"]);
    assert_eq!(refused.status.code(), Some(2));
    let refused = text(&refused.stderr);
    assert!(refused.contains("HEQ-2003") && refused.contains("not more than 10"), "{refused}");
    for (reveal, said, words) in [
        ("argmax", "10 values: the index of the largest is opened", "class 7"),
        ("top-2", "10 values: the indices of the 2 largest are opened", "classes 7, "),
    ] {
        let compiled = heqc(&["compile", &model, "-o", &plan, "--reveal", reveal]);
        assert!(compiled.status.success(), "{}", text(&compiled.stderr));
        let report = text(&heqc(&["report", &plan]).stdout);
        assert!(report.contains(said), "{report}");
        let report: serde_json::Value =
            serde_json::from_slice(&heqc(&["report", &plan, "--json"]).stdout).unwrap();
        assert_eq!(
            (&report["output"]["reveal"], &report["output"]["classes"]),
            (&reveal.into(), &10.into())
        );
        let printed =
            text(&heqc(&["simulate", &plan, "--input", &input, "--output", &classes]).stdout);
        assert!(printed.contains(&format!("sample 0: {words}")), "{printed}");
        let written = heq_data::read_array(Path::new(&classes), None).unwrap();
        assert!(matches!(written.data(), heq_data::ArrayData::I64(_)));
        let compared: serde_json::Value = serde_json::from_slice(
            &heqc(&["compare", &model, &plan, "--data", &data, "--json"]).stdout,
        )
        .unwrap();
        let pairs = compared["pairs"].as_array().unwrap();
        let plans = pairs.iter().filter(|pair| pair["views"][0] == "plan");
        assert!(plans.clone().count() >= 1, "{compared:#}");
        assert!(
            plans.clone().all(|pair| pair["same_class"] == compared["samples"]),
            "{compared:#}"
        );
    }
}

/// Options of a calibration are refused where they have no effect, and asked for where they have.
#[test]
fn options_of_a_calibration_belong_together() {
    let (model, input) = (lenet("model.onnx"), lenet("input.npy"));
    let (model, input) = (model.to_str().unwrap(), input.to_str().unwrap());
    for (arguments, expected) in [
        (vec!["--acc-bits", "calibrated"], "HEQ-2003"),
        (vec!["--acc-bits", "calibrated", "--margin", "2"], "HEQ-2003"),
        (vec!["--calibration", input], "HEQ-2003"),
        (vec!["--acc-bits", "worst-case", "--calibration", input], "HEQ-2003"),
        (vec!["--margin", "2"], "HEQ-2003"),
        (vec!["--acc-bits", "calibrated", "--calibration", input, "--margin", "17"], "0 to 16"),
        (vec!["--acc-bits", "calibrated", "--calibration", "no-such.npz"], "HEQ-2001"),
        (vec!["--acc-bits", "calibrated", "--calibration", model], "HEQ-2002"),
    ] {
        let output =
            heqc(&[&["compile", model, "-o", "never-written.heq"], &arguments[..]].concat());
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}

/// Outputs that name other classes than the model fail the check that the user asks for.
#[test]
fn agreement_is_checked_on_demand() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (plan, model) = (path("plan.heq"), lenet("model.onnx"));
    let (model, input) = (model.to_str().unwrap().to_owned(), lenet("input.npy"));
    assert!(heqc(&["compile", &model, "-o", &plan]).status.success());
    let samples = heq_data::read_array(&input, None).unwrap().shape()[0];
    for (logits, least, status) in
        [([0.0_f32; 10], "1", 1), ([0.0; 10], "0", 0), ([0.0; 10], "101", 2)]
    {
        let mut logits = logits.repeat(samples);
        // Every row names the class after the right one.
        let outputs = path("outputs.npy");
        let right = heq_data::read_array(&lenet("expected.npy"), None).unwrap();
        for (row, right) in logits.chunks_mut(10).zip(right.data().to_reals().chunks(10)) {
            let class = (0..10).max_by(|&a, &b| right[a].total_cmp(&right[b])).unwrap();
            row[(class + 1) % 10] = 1.0;
        }
        let data = heq_data::ArrayData::F32(logits);
        let array = heq_data::Array::new(&outputs, vec![samples, 10], data).unwrap();
        heq_data::write_npy(Path::new(&outputs), &array).unwrap();
        let input = input.to_str().unwrap();
        let arguments = ["compare", &model, &plan, "--data", input, "--expected", &outputs];
        let output = heqc(&[&arguments[..], &["--min-agreement", least]].concat());
        assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
    }
}

#[test]
fn exit_statuses_tell_whose_fault_it_is() {
    let readme = lenet("README.md");
    let not_a_model = readme.to_str().unwrap();
    for (arguments, status) in [
        (vec!["--version"], 0),
        (vec![], 2),
        (vec!["compile"], 2),
        (vec!["compile", "x.onnx", "-o", "x.heq", "--error-budget", "2^-10"], 2),
        (vec!["report", "no-such-file.heq"], 2),
        (vec!["compile", not_a_model, "-o", "never-written.heq"], 3),
        (vec!["check", not_a_model], 3),
        (vec!["evaluate", "no-such-file.heq", "--data", "no-such-file.npz"], 2),
        (vec!["ops", "--json", "--markdown"], 2),
    ] {
        assert_eq!(heqc(&arguments).status.code(), Some(status), "{arguments:?}");
    }
}

/// Where a packing is asked for it is used, or a note says why not; the digits come out the same.
#[test]
fn packing_is_used_where_it_fits() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (plan, outputs) = (path("plan.heq"), path("outputs.npy"));
    let (model, input) = (lenet("model.onnx"), lenet("input.npy"));
    let (model, input) = (model.to_str().unwrap(), input.to_str().unwrap());
    let mut seen = Vec::new();
    for packing in ["none", "within-channel", "cross-channel"] {
        let arguments = ["compile", model, "-o", &plan, "--packing", packing, "--json"];
        let output = heqc(&arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let steps =
            json["layers"].as_array().unwrap().iter().filter(|layer| !layer["he"].is_null());
        let packed = steps.filter(|step| step["he"]["packing"] != "none").count();
        let notes = json["notes"].as_array().unwrap().iter();
        let notes = notes.filter(|note| note.as_str().unwrap().contains("is not packed")).count();
        assert_eq!(packed + notes, if packing == "none" { 0 } else { 5 }, "{json:#}");
        assert_eq!(packed > 0, packing != "none");
        let simulated = heqc(&["simulate", &plan, "--input", input, "--output", &outputs]);
        assert!(simulated.status.success(), "{}", text(&simulated.stderr));
        seen.push(std::fs::read(&outputs).unwrap());
    }
    assert!(seen.iter().all(|outputs| *outputs == seen[0]));
}

/// The report of the example is kept beside it, so that a change of plans shows in review.
/// `HEQ_BLESS=1` writes it anew.
#[test]
fn the_report_of_the_example_is_the_one_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.heq");
    let plan = plan.to_str().unwrap();
    let compiled = heqc(&["compile", lenet("model.onnx").to_str().unwrap(), "-o", plan]);
    assert!(compiled.status.success(), "{}", text(&compiled.stderr));
    let report = heqc(&["report", plan]);
    assert!(report.status.success(), "{}", text(&report.stderr));
    let (found, path) = (text(&report.stdout), lenet("report.txt"));
    if std::env::var_os("HEQ_BLESS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&path).unwrap_or_default());
    assert!(found.lines().all(|line| line.chars().count() <= 100), "{found}");
    let json = heqc(&["report", plan, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["schema"], "heq-report/1");
    let layers = json["layers"].as_array().unwrap();
    let up = |layer: &serde_json::Value| layer["cost"]["bytes_up"].as_u64().unwrap();
    let sum: u64 = layers.iter().map(up).sum();
    assert_eq!(json["online"]["bytes_up"], sum);
}
