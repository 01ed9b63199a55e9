//! `heq-run`: executes secure two-party plans.

use std::process::ExitCode;

fn main() -> ExitCode {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let status = heq_runtime::cli::run(std::env::args_os(), &mut out, &mut err);
    ExitCode::from(status as u8)
}
