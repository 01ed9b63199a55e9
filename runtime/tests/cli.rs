//! The program `heq-run` as a process: help and exit statuses.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

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
fn exit_statuses_tell_whose_fault_it_is() {
    for (arguments, status) in [
        (vec!["--version"], 0),
        (vec![], 2),
        (vec!["--plan", "no-such-file.heq", "--role", "local"], 2),
        (vec!["--plan", "x.heq", "--role", "local", "--link", "fast"], 2),
    ] {
        assert_eq!(heq_run(&arguments).status.code(), Some(status), "{arguments:?}");
    }
}
