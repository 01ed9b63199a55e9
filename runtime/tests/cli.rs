//! The program `heq-run` as a process: help and exit statuses.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

use heq_ir::plan::OtExtension;
use std::process::{Command, Output};

fn heq_run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heq-run")).args(arguments).output().unwrap()
}

#[test]
fn help_shows_every_role_and_says_what_is_not_secure() {
    let help = heq_run(&["--help"]);
    let text = String::from_utf8_lossy(&help.stdout);
    assert!(help.status.success());
    for expected in ["--role server", "--role client", "--role local", "extract the\nmodel"] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn calibration_writes_a_profile_that_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("costs.json");
    let run = heq_run(&["calibrate", "-o", path.to_str().unwrap(), "--threads", "1"]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let table = String::from_utf8_lossy(&run.stdout);
    let costs = heq_data::costs::read_costs(&path).unwrap();
    assert_eq!(costs.command, "heq-run calibrate --threads 1");
    for ring in &costs.rings {
        // Lines are fitted to these two: either part of one may be lost in noise.
        let encrypt = ring.encrypt_us + ring.encrypt_coefficient_ns;
        let decode = ring.decode_us + ring.decode_coefficient_ns;
        let parts = [encrypt, decode, ring.respond_us, ring.share_us];
        assert!(parts.iter().all(|&part| part > 0.0), "{ring:?}");
    }
    for extension in OtExtension::all() {
        assert!(costs.row_us(extension) > 0.0 && table.contains(&extension.to_string()));
    }
}

#[test]
fn exit_statuses_tell_whose_fault_it_is() {
    for (arguments, status) in [
        (vec!["--version"], 0),
        (vec![], 2),
        (vec!["calibrate"], 2),
        (vec!["calibrate", "-o", "/no/such/folder/costs.json"], 2),
        (vec!["calibrate", "--plan", "x.heq"], 2),
        (vec!["--plan", "no-such-file.heq", "--role", "local"], 2),
        (vec!["--plan", "x.heq", "--role", "local", "--link", "fast"], 2),
        (vec!["--plan", "x.heq", "--role", "local", "--output", "out.csv"], 2),
        (vec!["completions", "fish"], 0),
        (vec!["completions", "tcsh"], 2),
        (vec!["man"], 2),
        (vec!["man", "-o", env!("CARGO_BIN_EXE_heq-run")], 2),
    ] {
        assert_eq!(heq_run(&arguments).status.code(), Some(status), "{arguments:?}");
    }
}
