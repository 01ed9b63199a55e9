//! Diagnostics as exceptions of `heq`, one class for each exit status.

use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics, ExitStatus};
use pyo3::prelude::*;
use pyo3::types::PyList;

/// A result whose errors are diagnostics.
pub(crate) type Outcome<T> = Result<T, Diagnostics>;

/// The class of exceptions for an exit status.
fn class(status: ExitStatus) -> &'static str {
    match status {
        ExitStatus::UnsupportedModel => "UnsupportedModelError",
        ExitStatus::Infeasible => "InfeasibleError",
        ExitStatus::Network => "NetworkError",
        ExitStatus::Authentication => "AuthenticationError",
        ExitStatus::PeerViolation => "PeerError",
        ExitStatus::ResourceLimit => "ResourceError",
        ExitStatus::Usage => "InputError",
        ExitStatus::Done | ExitStatus::CheckFailed | ExitStatus::Internal => "InternalError",
    }
}

/// The exception that tells of `found`.
pub(crate) fn raised(py: Python<'_>, found: &Diagnostics) -> PyErr {
    let exception = || -> PyResult<Bound<'_, PyAny>> {
        let errors = py.import("heq._errors")?;
        let all = findings(py, found.iter())?;
        errors.getattr(class(found.exit_status()))?.call1((found.to_string(), all))
    };
    exception().map_or_else(|error| error, PyErr::from_value)
}

/// Diagnostics as a list of `heq.Finding`.
pub(crate) fn findings<'py, 'a>(
    py: Python<'py>,
    found: impl Iterator<Item = &'a Diagnostic>,
) -> PyResult<Bound<'py, PyList>> {
    let finding = py.import("heq._errors")?.getattr("Finding")?;
    let all = PyList::empty(py);
    for Diagnostic { code, place, what, remedy } in found {
        all.append(finding.call1((code.to_string(), place, what, remedy))?)?;
    }
    Ok(all)
}

/// A value that cannot be used.
pub(crate) fn bad_option(place: &str, what: impl Into<String>, remedy: &str) -> Diagnostic {
    Diagnostic::new(Code::BadOption, place, what, remedy)
}
