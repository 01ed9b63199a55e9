//! What machines do to the two programs: parties killed at every step, disks full, descriptors, memory and
//! randomness used up. Each ends in an error with a status, or in a survivor that goes on.
//!
//! `HEQ_FAULTS=all` kills at every message, and takes limits in finer steps.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

mod disk;
mod kill;
mod resources;

use heq_ir::diagnostic::ExitStatus;
use heq_tests::{lenet, program};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// What the client prints of the example's digit.
const ANSWER: &str = "sample 0: class 7 ";

/// Most time of a party whose peer is gone, or that waits for a place.
const SURVIVAL: Duration = Duration::from_secs(10);

/// Whether every case is asked for.
fn all() -> bool {
    std::env::var("HEQ_FAULTS").is_ok_and(|value| value == "all")
}

/// A folder with the compiled example, and where programs write.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let compiled = place.compile("plan.heq").output().unwrap();
        assert!(compiled.status.success(), "{compiled:?}");
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The names of what is there, sorted.
    fn names(&self) -> Vec<String> {
        names_in(self.folder.path())
    }

    fn compile(&self, output: &str) -> Command {
        let mut heqc = program("heqc");
        heqc.args(["compile", "--no-advice"]).arg(lenet("model.onnx"));
        heqc.arg("-o").arg(self.file(output));
        heqc
    }

    /// `heq-run` with the plan, for a session on this machine.
    fn party(&self) -> Command {
        let mut command = program("heq-run");
        command.arg("--plan").arg(self.file("plan.heq")).args(["--threads", "1"]);
        command
    }

    fn client(&self, address: &str) -> Command {
        let mut client = self.party();
        client.args(["--role", "client", "--insecure-loopback", "--connect", address]);
        client.arg("--input").arg(lenet("digit.png"));
        client
    }

    fn local(&self) -> Command {
        let mut local = self.party();
        local.args(["--role", "local"]).arg("--input").arg(lenet("digit.png"));
        local
    }

    /// An honest session with the server at `address`: it must give the right answer.
    fn check_served(&self, address: &str, when: &str) {
        let output = self.client(address).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.starts_with(ANSWER), "{when}: {output:?}");
    }
}

fn names_in(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// `command`, started by a shell that first runs `limits`.
fn within(limits: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{limits}; exec \"$0\" \"$@\""));
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

/// Checks that a program ended with `status`, said `code`, and did not panic.
fn check_failed(output: &Output, status: ExitStatus, code: &str, case: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status as i32), "{case}: {output:?}");
    assert!(said.contains(code) && said.contains("help: "), "{case}: {said}");
    assert!(!said.contains("panicked"), "{case}: {said}");
}

/// Waits for a process until `deadline`.
fn ended(process: &mut std::process::Child, limit: Duration, case: &str) -> Option<i32> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() > deadline {
            let _ = process.kill();
            panic!("{case}: a process hangs");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
