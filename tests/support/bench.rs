//! What the benchmarks of several crates share, arguments and output: a file of its own, since `heq-ot`
//! knows no other crate.
//!
//! Arguments: `--json`, and parts of the names of rows, or `--every` for all rows.
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use serde_json::{Value, json};
use std::process::Command;

/// The rows of `cargo xtask bench NAME`, printed as they come or together as a document.
pub(crate) struct Report {
    name: &'static str,
    is_json: bool,
    is_every: bool,
    wanted: Vec<String>,
    rows: Vec<Value>,
}

impl Report {
    /// Reads `arguments`; prints `heading` unless a document is wanted.
    pub(crate) fn new(name: &'static str, arguments: &[String], heading: &str) -> Self {
        let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
        let (is_json, is_every) = (has("--json"), has("--every"));
        let wanted = arguments.iter().filter(|argument| !argument.starts_with("--"));
        let wanted = wanted.cloned().collect();
        if !is_json {
            println!("{heading}");
        }
        Self { name, is_json, is_every, wanted, rows: Vec::new() }
    }

    /// Whether the row `name` is asked for; if none is named, whether it is one of the usual ones.
    pub(crate) fn wants(&self, name: &str, is_usual: bool) -> bool {
        if self.wanted.is_empty() {
            return self.is_every || is_usual;
        }
        self.wanted.iter().any(|part| name.contains(part))
    }

    /// Adds a row, which `line` shows as a line of a table.
    pub(crate) fn add(&mut self, row: Value, line: impl Fn(&Value) -> String) {
        if !self.is_json {
            println!("{}", line(&row));
        }
        self.rows.push(row);
    }

    /// Prints the document if it is wanted.
    pub(crate) fn finish(self) {
        if self.is_json {
            println!("{}", self.document());
        }
    }

    /// The `heq-bench/1` document, with machine, load and commit.
    pub(crate) fn document(&self) -> Value {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpus = read("/proc/cpuinfo");
        let model =
            cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        let git = Command::new("git").args(["rev-parse", "HEAD"]).output();
        let commit = git.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        json!({
            "schema": "heq-bench/1",
            "machine": model,
            "load": read("/proc/loadavg").split(' ').next(),
            "commit": commit.unwrap_or_default(),
            "command": format!("cargo xtask bench {} --json", self.name),
            "rows": self.rows,
        })
    }
}
