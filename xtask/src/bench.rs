//! `cargo xtask bench NAME`: the benchmarks whose figures are compared with those of other systems.
//!
//! Each is a bench target that prints a table of its rows, or one `heq-bench/1` document.

use crate::error::TaskError;
use crate::run::{Reaped, cargo, describe};
use std::io::Write;

/// A benchmark: its name, the package of the bench target of that name, its options, and what it starts.
struct Benchmark {
    name: &'static str,
    package: &'static str,
    options: &'static [&'static str],
    programs: &'static [&'static str],
}

impl Benchmark {
    const fn new(
        name: &'static str,
        package: &'static str,
        options: &'static [&'static str],
    ) -> Self {
        Self { name, package, options, programs: &[] }
    }
}

const BENCHMARKS: &[Benchmark] = &[
    Benchmark::new("ladder", "heq-tests", &["--json", "--write"]),
    Benchmark::new("layers", "heq-tests", &["--json"]),
    Benchmark {
        programs: &["heq-run"],
        ..Benchmark::new("networks", "heq-tests", &["--inputs", "--json", "--write"])
    },
    Benchmark::new("offline", "heq-tests", &["--json", "--write"]),
    Benchmark::new("ot", "heq-ot", &["--json"]),
    Benchmark::new("requantize", "heq-runtime", &["--json"]),
];

/// Runs the benchmark that `arguments` name first. The others go to it: its options, models, and parts of
/// the names of rows, of which it runs those that have one; every row without.
///
/// The command is shown on `notes` and not with the results, which programs may read.
///
/// # Errors
/// [`TaskError::Benchmark`] if there is no such benchmark or option, else as of running cargo.
pub(crate) fn bench(arguments: &[&str], notes: &mut dyn Write) -> Result<(), TaskError> {
    let unknown = || {
        let known: Vec<&str> = BENCHMARKS.iter().map(|bench| bench.name).collect();
        TaskError::Benchmark { given: arguments.join(" "), known: known.join(", ") }
    };
    let (name, rest) = arguments.split_first().ok_or_else(unknown)?;
    let found = BENCHMARKS.iter().find(|bench| bench.name == *name).ok_or_else(unknown)?;
    if rest.iter().any(|argument| argument.starts_with('-') && !found.options.contains(argument)) {
        return Err(unknown());
    }
    for program in found.programs {
        let mut build = cargo(["build", "--quiet", "--release", "--bin", program]);
        writeln!(notes, "$ {}", describe(&build))?;
        Reaped::spawn(&mut build)?.finish()?;
    }
    let mut command = cargo(["bench", "--quiet", "-p", found.package, "--bench", found.name, "--"]);
    command.arg("--every").args(rest);
    writeln!(notes, "$ {}", describe(&command))?;
    Reaped::spawn(&mut command)?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_benchmarks_and_options_are_usage_errors() {
        for arguments in
            [&[][..], &["layer"], &["--json"], &["layers", "--jsn"], &["ot", "--write"]]
        {
            let error = bench(arguments, &mut Vec::new()).unwrap_err();
            assert_eq!(error.exit_status(), 2, "{arguments:?}");
            assert!(error.to_string().contains("layers"), "{error}");
        }
    }
}
