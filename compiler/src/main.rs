//! `heqc`: compiles quantized ONNX models into secure two-party plans.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    if heq_mutation::ENABLED {
        eprintln!("error: built with rules of the protocol that tests can break: build it again");
        return ExitCode::FAILURE;
    }
    heq_data::outlive_file_size_limit();
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let status = heq_compiler::cli::run(std::env::args_os(), &mut out, &mut err);
    ExitCode::from(status as u8)
}
