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
    for command in ["compile", "ops", "report", "simulate"] {
        let help = heqc(&[command, "--help"]);
        assert!(help.status.success());
        assert!(text(&help.stdout).contains(&format!("Example:\n  heqc {command} ")));
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
    ] {
        assert_eq!(heqc(&arguments).status.code(), Some(status), "{arguments:?}");
    }
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
    let json = heqc(&["report", plan, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["schema"], "heq-report/1");
    let layers = json["layers"].as_array().unwrap();
    let up = |layer: &serde_json::Value| layer["cost"]["bytes_up"].as_u64().unwrap();
    let sum: u64 = layers.iter().map(up).sum();
    assert_eq!(json["online"]["bytes_up"], sum);
}
