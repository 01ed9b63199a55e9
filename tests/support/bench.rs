//! What the benchmarks of several crates print: a file of its own, since `heq-ot` knows no other crate.

use serde_json::{Value, json};
use std::process::Command;

/// The rows of `cargo xtask bench NAME` as a `heq-bench/1` document, with machine, load and commit.
pub(crate) fn document(name: &str, rows: &[Value]) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let git = Command::new("git").args(["rev-parse", "HEAD"]).output();
    let commit = git.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    json!({
        "schema": "heq-bench/1",
        "machine": model,
        "load": read("/proc/loadavg").split(' ').next(),
        "commit": commit.unwrap_or_default(),
        "command": format!("cargo xtask bench {name} --json"),
        "rows": rows,
    })
}
