//! The program `heq-run`: parses, calls, prints. No logic of its own.

mod args;
mod calibrate;
mod cert;
mod client;
mod doctor;
mod fetch;
mod local;
mod log;
mod prepare;
mod progress;
mod server;
mod summary;

use crate::client::client_inputs;
use crate::error::RunError;
use crate::session::PreparedPlan;
use crate::settings::{check_role, missing};
use args::{Arguments, Command, CommandLine, RoleArgument};
use clap::{CommandFactory, Parser};
use heq_data::output::describe_outputs;
use heq_data::plan_files::{read_plan, write_file};
use heq_data::{Labels, read_array};
use heq_ir::diagnostic::{Code, Diagnostic, ExitStatus};
use heq_ir::link::LinkProfile;
use heq_ir::plan::Plan;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where a command writes: results and everything else.
pub(crate) struct Output<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// Whether somebody watches `err`.
    is_terminal: bool,
}

/// Runs `heq-run` on `arguments`, the first of which is the program's name.
///
/// Results go to `out`, summaries and diagnostics to `err`; progress too, to the process's own, if that is a
/// terminal.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
    is_terminal: bool,
) -> ExitStatus {
    let command_line = match CommandLine::try_parse_from(arguments) {
        Ok(command_line) => command_line,
        Err(error) if error.use_stderr() => {
            let _ = write!(err, "{error}");
            return ExitStatus::Usage;
        }
        Err(help) => {
            let mut output = Output { out, err, is_terminal };
            return ended(print(&mut output, &help.to_string()).map(|()| ExitStatus::Done), err);
        }
    };
    let mut output = Output { out, err, is_terminal };
    let result = dispatch(&command_line, &mut output);
    ended(result, output.err)
}

/// The status of a result, of which an error is printed.
fn ended(result: Result<ExitStatus, Diagnostic>, err: &mut dyn Write) -> ExitStatus {
    match result {
        Ok(status) => status,
        Err(diagnostic) => {
            let _ = writeln!(err, "{diagnostic}");
            diagnostic.code.exit_status()
        }
    }
}

fn dispatch(command_line: &CommandLine, output: &mut Output<'_>) -> Result<ExitStatus, Diagnostic> {
    match command_line {
        CommandLine { command: Some(Command::Calibrate(arguments)), .. } => {
            use_threads(arguments.threads)?;
            calibrate::run(arguments, output)
        }
        CommandLine { command: Some(Command::Cert(command)), .. } => cert::run(command, output),
        CommandLine { command: Some(Command::Doctor(arguments)), .. } => {
            return doctor::run(arguments, output);
        }
        CommandLine { command: Some(Command::FetchPlan(arguments)), .. } => {
            fetch::run(arguments, output)
        }
        CommandLine { command: Some(Command::Completions(arguments)), .. } => {
            print(output, &arguments.script(CommandLine::command()))
        }
        CommandLine { command: Some(Command::Man(arguments)), .. } => {
            arguments.write(CommandLine::command())
        }
        CommandLine { command: Some(Command::Prepare(arguments)), .. } => {
            use_threads(arguments.threads)?;
            prepare::run(arguments, output)
        }
        CommandLine { run: Some(arguments), .. } => {
            use_threads(arguments.threads)?;
            run_role(arguments, output)
        }
        CommandLine { command: None, run: None } => Err(missing("--plan PLAN.heq")),
    }
    .map(|()| ExitStatus::Done)
}

/// Starts the threads of computations: as many as are asked for, or one for each core.
fn use_threads(threads: Option<usize>) -> Result<(), Diagnostic> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0));
    match (pool.build_global(), threads) {
        (Err(error), Some(_)) => {
            let remedy = "give a small number";
            Err(Diagnostic::new(Code::BadOption, "--threads", error.to_string(), remedy))
        }
        // Without a number, threads that are there already will do.
        (Err(error), None) if std::error::Error::source(&error).is_some() => {
            Err(RunError::NoThread.into_diagnostic())
        }
        _ => Ok(()),
    }
}

fn run_role(arguments: &Arguments, output: &mut Output<'_>) -> Result<(), Diagnostic> {
    let is_server = arguments.role == RoleArgument::Server;
    check_role(is_server, &arguments.peer.identity, &arguments.serve.settings)?;
    let party = match arguments.role {
        RoleArgument::Server => return server::run(arguments, output),
        RoleArgument::Client => client::run,
        RoleArgument::Local => local::run,
    };
    let [path] = arguments.plan.as_slice() else {
        let what = "a client runs one plan";
        return Err(Diagnostic::new(Code::BadOption, "--plan", what, "give --plan once"));
    };
    party(read_plan(path)?, arguments, output)
}

/// The client's quantized samples from its input file.
fn read_samples(plan: &Plan, arguments: &Arguments) -> Result<Vec<Vec<i64>>, Diagnostic> {
    let path = arguments.input.as_ref().ok_or_else(|| missing("--input FILE"))?;
    client_inputs(plan, &read_array(path, None)?, arguments.limit)
}
/// The names of the classes of `plan`, if a file with them is named.
fn read_labels(plan: &Plan, arguments: &Arguments) -> Result<Option<Labels>, Diagnostic> {
    let read = |path: &PathBuf| Labels::read(path, plan.classes());
    arguments.labels.as_ref().map(read).transpose()
}

/// The plan with its tables, and a bar that shows how far its runs are if somebody watches.
fn observed(
    plan: Plan,
    samples: usize,
    link: Option<LinkProfile>,
    output: &Output<'_>,
) -> (PreparedPlan, Option<progress::Bar>) {
    if !output.is_terminal {
        return (PreparedPlan::new(plan), None);
    }
    let inferences = samples.div_ceil(plan.batch().max(1));
    let (bar, observer) = progress::bar(&plan, inferences, link);
    (PreparedPlan::new(plan).with_observer(observer), Some(bar))
}

/// Writes and prints the client's outputs; printed they are also where they could not be written.
fn deliver(
    plan: &Plan,
    arguments: &Arguments,
    labels: Option<&Labels>,
    outputs: &[Vec<i64>],
    output: &mut Output<'_>,
) -> Result<(), Diagnostic> {
    let file = arguments.output.as_ref();
    let written = file.map_or(Ok(()), |file| file.write(outputs, plan, labels));
    written.and(print(output, &describe_outputs(outputs, plan, labels)))
}

/// Writes results; a closed pipe is the reader's choice and no fault.
fn print(output: &mut Output<'_>, text: &str) -> Result<(), Diagnostic> {
    match output.out.write_all(text.as_bytes()).and_then(|()| output.out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            let what = format!("cannot be written: {error}");
            let remedy = "check where the output is redirected to";
            Err(Diagnostic::new(Code::FileAccess, "standard output", what, remedy))
        }
        _ => Ok(()),
    }
}

/// Writes the statistics document if it was asked for.
fn write_stats(path: Option<&Path>, document: &serde_json::Value) -> Result<(), Diagnostic> {
    match path {
        Some(path) => write_file(path, format!("{document:#}\n").as_bytes()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(arguments: &[&str]) -> String {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let arguments = std::iter::once(&"heq-run").chain(arguments).map(OsString::from);
        let status = run(arguments, &mut out, &mut err, false);
        assert_eq!(status, ExitStatus::Done, "{}", String::from_utf8_lossy(&err));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn shells_and_man_are_told_of_every_command() {
        let script = printed(&["completions", "bash"]);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(printed(&["man", "-o", folder.path().to_str().unwrap()]), "");
        for command in CommandLine::command().get_subcommands() {
            let name = command.get_name();
            assert!(script.contains(&format!(" {name} ")), "{name}");
            assert!(folder.path().join(format!("heq-run-{name}.1")).exists(), "{name}");
        }
    }
}
