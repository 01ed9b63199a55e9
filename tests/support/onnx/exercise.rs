//! What importing a hostile file must survive, shared by the bounded test and the fuzz target.

use crate::plan_options;
use heq_compiler::compile::compile_network;
use heq_compiler::pipeline::{ImportOptions, import};
use heq_ir::diagnostic::{Code, Diagnostics};
use heq_ir::plan::AccStrategy;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was refused with diagnostics.
    Refused,
    /// It is an integer network, for which there is no plan.
    Imported,
    /// It was compiled.
    Compiled,
}

/// Imports a file, and compiles what is imported.
///
/// # Errors
/// The diagnostics, if one of them is a fault of the program rather than of the file.
///
/// # Panics
/// If the importer or the compiler does, which is what is looked for.
pub fn exercise(bytes: &[u8]) -> Result<Outcome, Diagnostics> {
    let network = match import(bytes, "mutated.onnx", &ImportOptions::default()) {
        Ok(imported) => imported.network,
        Err(found) => return blamed(found, Outcome::Refused),
    };
    match compile_network(&network, &plan_options(AccStrategy::WeightAware)) {
        Ok(_) => Ok(Outcome::Compiled),
        Err(found) => blamed(found, Outcome::Imported),
    }
}

fn blamed(found: Diagnostics, outcome: Outcome) -> Result<Outcome, Diagnostics> {
    if found.iter().any(|diagnostic| diagnostic.code == Code::Internal) {
        Err(found)
    } else {
        Ok(outcome)
    }
}
