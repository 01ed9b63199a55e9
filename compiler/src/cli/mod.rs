//! The program `heqc`: parses, calls, prints. No logic of its own.

mod args;
mod compile;
mod ops;
mod simulate;

use args::{Arguments, Command, ReportArguments, ReportFormat};
use clap::Parser;
use heq_data::plan_files::read_plan;
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics, ExitStatus};
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
        Err(help) => {
            let _ = write!(out, "{help}");
            return ExitStatus::Done;
        }
    };
    let result = match arguments.command {
        Command::Compile(arguments) => compile::run(&arguments, out),
        Command::Ops(arguments) => ops::run(&arguments, out),
        Command::Report(arguments) => report(&arguments, out),
        Command::Simulate(arguments) => simulate::run(&arguments, out),
    };
    match result {
        Ok(()) => ExitStatus::Done,
        Err(diagnostics) => {
            let _ = writeln!(err, "{diagnostics}");
            diagnostics.exit_status()
        }
    }
}

fn report(arguments: &ReportArguments, out: &mut dyn Write) -> Result<(), Diagnostics> {
    let plan = read_plan(&arguments.plan)?;
    let text = match (arguments.json, arguments.format) {
        (true, _) | (_, ReportFormat::Json) => format!("{:#}\n", crate::report::to_json(&plan)),
        (false, ReportFormat::Table) => crate::report::to_table(&plan),
    };
    print(out, &text)
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
