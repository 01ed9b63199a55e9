//! The program `heqc`: parses, calls, prints. No logic of its own.

mod args;
mod check;
mod compare;
mod compile;
mod diff;
mod evaluate;
mod ops;
mod report;
mod simulate;

use args::{Arguments, Command};
use clap::{CommandFactory, Parser};
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics, ExitStatus, printable};
use std::ffi::OsString;
use std::io::Write;

/// Runs `heqc` on `arguments`, the first of which is the program's name.
///
/// Results go to `out`, diagnostics to `err`.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitStatus {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            let _ = write!(err, "{error}");
            return ExitStatus::Usage;
        }
        Err(help) => return ended(print(out, &help.to_string()).map(done), err),
    };
    let result = match arguments.command {
        Command::Check(arguments) => check::run(&arguments, out, err).map(done),
        Command::Compare(arguments) => compare::run(&arguments, out, err),
        Command::Compile(arguments) => compile::run(&arguments, out, err).map(done),
        Command::Completions(arguments) => {
            print(out, &arguments.script(Arguments::command())).map(done)
        }
        Command::Diff(arguments) => diff::run(&arguments, out).map(done),
        Command::Evaluate(arguments) => evaluate::run(&arguments, out, err).map(done),
        Command::Man(arguments) => {
            arguments.write(Arguments::command()).map(done).map_err(Diagnostics::from)
        }
        Command::Ops(arguments) => ops::run(&arguments, out).map(done),
        Command::Report(arguments) => report::run(&arguments, out, err),
        Command::Simulate(arguments) => simulate::run(&arguments, out).map(done),
    };
    ended(result, err)
}

/// The status of a result, of which errors are printed.
fn ended(result: Result<ExitStatus, Diagnostics>, err: &mut dyn Write) -> ExitStatus {
    match result {
        Ok(status) => status,
        Err(diagnostics) => {
            let _ = writeln!(err, "{diagnostics}");
            diagnostics.exit_status()
        }
    }
}

fn done((): ()) -> ExitStatus {
    ExitStatus::Done
}

/// Prints what the user should know; a log that cannot be written is no fault.
fn print_notes(notes: &[String], err: &mut dyn Write) {
    for note in notes {
        let _ = writeln!(err, "note: {}", printable(note));
    }
}

/// Shows how many of `total` samples are done, if somebody watches.
fn progress(done: usize, total: usize, err: &mut dyn Write) {
    use std::io::IsTerminal;
    if std::io::stderr().is_terminal() {
        let end = if done == total { "\r\x1b[K" } else { "" };
        let _ = write!(err, "\r{done} of {total} samples{end}");
        let _ = err.flush();
    }
}

/// Writes results; a closed pipe is the reader's choice and no fault.
fn print(out: &mut dyn Write, text: &str) -> Result<(), Diagnostics> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Diagnostic::new(
            Code::FileAccess,
            "standard output",
            format!("cannot be written: {error}"),
            "check where the output is redirected to",
        )
        .into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(arguments: &[&str]) -> String {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let arguments = std::iter::once(&"heqc").chain(arguments).map(OsString::from);
        let status = run(arguments, &mut out, &mut err);
        assert_eq!(status, ExitStatus::Done, "{}", String::from_utf8_lossy(&err));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn shells_and_man_are_told_of_every_command() {
        let script = printed(&["completions", "bash"]);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(printed(&["man", "-o", folder.path().to_str().unwrap()]), "");
        for command in Arguments::command().get_subcommands() {
            let name = command.get_name();
            assert!(script.contains(&format!(" {name} ")), "{name}");
            assert!(folder.path().join(format!("heqc-{name}.1")).exists(), "{name}");
        }
    }
}
