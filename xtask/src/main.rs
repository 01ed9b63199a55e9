//! Developer tasks of heq, run as `cargo xtask TASK`.

mod ci;
mod demo;
mod error;
mod picture;
mod run;
mod tidy;

use error::TaskError;
use std::io::Write;
use std::process::ExitCode;

const TASKS: &str = "cargo xtask TASK

  ci     everything that must hold before a change is merged: format, lints, tests, docs, tidy
  demo   compiles the example network and classifies a digit, server and client apart
  tidy   the structure checks: module docs, dependency edges, citations, links, golden tests
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let out = &mut std::io::stdout();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["help" | "--help" | "-h"] => out.write_all(TASKS.as_bytes()).map_err(TaskError::from),
        ["ci"] => ci::ci(out),
        ["demo"] => demo::demo(out),
        ["tidy"] => tidy::tidy(out),
        _ => Err(TaskError::Usage { given: arguments.join(" ") }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}
