//! The extension module of the Python package `heq`: its functions are those of the two programs.
//!
//! Arrays come and go as npy files in memory, documents as JSON, options as the words of the command lines:
//! each is read by what reads it there. `work` does what takes long, without the interpreter's lock and until
//! Ctrl-C. What users see is in `python/package/heq`.
#![forbid(unsafe_code)]

mod client;
mod data;
mod error;
mod options;
mod plan;
mod program;
mod server;
mod work;

use pyo3::prelude::*;

/// Compiles and runs quantized neural networks between two parties.
#[pymodule]
mod _heq {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::client::{fetch_plan, list_plans, run_client};
    #[pymodule_export]
    use super::options::option_names;
    #[pymodule_export]
    use super::plan::{Plan, check, compile, load};
    #[pymodule_export]
    use super::program::program;
    #[pymodule_export]
    use super::server::Server;

    /// Refuses to be loaded with rules that tests can break.
    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        if heq_mutation::ENABLED {
            let what = "built with rules of the protocol that tests can break: build it again";
            return Err(pyo3::exceptions::PyImportError::new_err(what));
        }
        Ok(())
    }

    /// The version of the package, and of both programs.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
