//! `heq-run`: executes secure two-party plans.
#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::process::ExitCode;

fn main() -> ExitCode {
    if heq_mutation::ENABLED {
        eprintln!("error: built with rules of the protocol that tests can break: build it again");
        return ExitCode::FAILURE;
    }
    heq_data::outlive_file_size_limit();
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let is_terminal = err.is_terminal();
    let status = heq_runtime::cli::run(std::env::args_os(), &mut out, &mut err, is_terminal);
    ExitCode::from(status as u8)
}
