//! `cargo xtask ci`: all that must hold before a change is merged, in one run.
//!
//! A failing step does not hide what the later ones would find.

use crate::error::TaskError;
use crate::mutate::mutate;
use crate::run::{cargo, run};
use crate::tidy::tidy;
use crate::wheel::Tools;
use std::io::Write;
use std::time::Instant;

/// A step: its arguments to cargo, and the flags for rustdoc.
struct Step {
    name: &'static str,
    arguments: &'static [&'static str],
    rustdoc_flags: Option<&'static str>,
}

// Lints and docs use the release profile: build scripts, macros and metadata are then built once for all.
const STEPS: &[Step] = &[
    Step { name: "format", arguments: &["fmt", "--all", "--check"], rustdoc_flags: None },
    Step {
        name: "lints",
        arguments: &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--release",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
        rustdoc_flags: None,
    },
    Step {
        name: "tests",
        arguments: &["test", "--workspace", "--release", "--locked"],
        rustdoc_flags: None,
    },
    Step {
        name: "docs",
        arguments: &["doc", "--workspace", "--no-deps", "--release", "--locked"],
        rustdoc_flags: Some("-D warnings"),
    },
];

/// Runs every step, then prints how each went and how long it took.
///
/// # Errors
/// [`TaskError::Failed`] names the steps that failed.
pub(crate) fn ci(out: &mut dyn Write) -> Result<(), TaskError> {
    let mut summary = String::new();
    let mut failed = Vec::new();
    let mut record = |name: &'static str, start: Instant, result: Result<(), TaskError>| {
        let seconds = start.elapsed().as_secs_f64();
        let verdict = match result {
            Ok(()) => "ok".to_owned(),
            Err(error) => {
                failed.push(name);
                format!("FAILED: {error}")
            }
        };
        summary += &format!("{name:<8}{seconds:>8.1} s  {verdict}\n");
    };
    for step in STEPS {
        let start = Instant::now();
        let mut command = cargo(step.arguments.iter().copied());
        if let Some(flags) = step.rustdoc_flags {
            command.env("RUSTDOCFLAGS", flags);
        }
        record(step.name, start, run(&mut command, out));
    }
    if is_installed("deny") {
        // The database of advisories comes over the network, which a check of a change does without.
        let mut command =
            cargo(["deny", "--all-features", "--locked", "check", "bans", "licenses", "sources"]);
        let start = Instant::now();
        record("deny", start, run(&mut command, out));
    } else {
        writeln!(out, "cargo-deny is not installed: licences and sources are not checked")?;
    }
    match Tools::find() {
        Ok(tools) => {
            let start = Instant::now();
            writeln!(out, "$ cargo xtask wheel --test")?;
            record("python", start, tools.test(out));
        }
        Err(what) => writeln!(out, "the Python package is not built and not tested: {what}")?,
    }
    let start = Instant::now();
    writeln!(out, "$ cargo xtask tidy")?;
    record("tidy", start, tidy(out));
    let start = Instant::now();
    writeln!(out, "$ cargo xtask mutate")?;
    record("mutate", start, mutate(&[], out));
    write!(out, "\n{summary}")?;
    if failed.is_empty() {
        return Ok(());
    }
    Err(TaskError::Failed { what: format!("{} failed", failed.join(", ")) })
}

/// Whether cargo has the subcommand.
fn is_installed(subcommand: &str) -> bool {
    let mut command = cargo([subcommand, "--version"]);
    let output = command.stdin(std::process::Stdio::null()).output();
    output.is_ok_and(|output| output.status.success())
}
