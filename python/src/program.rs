//! The two programs, as the package's scripts.

use heq_data::outlive_file_size_limit;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::ffi::OsString;
use std::io::IsTerminal;

/// Runs a program, `heqc` or `heq-run`, on command-line arguments, the first of which is its name; returns its
/// exit status.
#[pyfunction]
pub(crate) fn program(py: Python<'_>, name: &str, arguments: Vec<OsString>) -> PyResult<u8> {
    let run = match name {
        "heqc" => |arguments: Vec<OsString>| {
            heq_compiler::cli::run(arguments, &mut std::io::stdout(), &mut std::io::stderr())
        },
        "heq-run" => |arguments: Vec<OsString>| {
            let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
            let is_terminal = err.is_terminal();
            heq_runtime::cli::run(arguments, &mut out, &mut err, is_terminal)
        },
        _ => return Err(PyValueError::new_err(format!("no program is called {name}"))),
    };
    outlive_file_size_limit();
    Ok(py.detach(|| run(arguments) as u8))
}
