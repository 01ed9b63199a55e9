//! `cargo xtask sanitize`: the tests of the crates with vector code under AddressSanitizer.
//!
//! The sanitizer's runtime comes with the toolchain, but its switch is unstable, hence the variable that
//! stands for a nightly compiler. The library of the compiler itself is not instrumented.

use crate::error::TaskError;
use crate::run::{cargo, run, target_folder};
use std::io::Write;
use std::process::Command;

/// The crates whose vector code reads and writes memory.
const CRATES: [&str; 4] = ["-p", "heq-he", "-p", "heq-ot"];

/// Runs the tests, or those whose names have one of `tests` in them.
///
/// # Errors
/// [`TaskError`] if a test fails or the sanitizer finds something.
pub(crate) fn sanitize(tests: &[&str], out: &mut dyn Write) -> Result<(), TaskError> {
    let host = host()?;
    let mut command =
        cargo(["test", "--release", "--locked", "--lib", "--tests", "--target", &host]);
    command
        .args(CRATES)
        .arg("--")
        .args(tests)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .env("CARGO_TARGET_DIR", target_folder()?.join("sanitize"));
    run(&mut command, out)
}

/// The target of this machine: flags given with it are not those of build scripts and macros.
fn host() -> Result<String, TaskError> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let name = "rustc -vV".to_owned();
    let output = Command::new(rustc)
        .arg("-vV")
        .output()
        .map_err(|source| TaskError::Command { command: name.clone(), source })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| TaskError::Malformed { place: name, what: "names no host".to_owned() })
}
