//! The whole compilation: ONNX bytes to a plan and its weights.

use crate::analysis::range::network_facts;
use crate::lower::assign_domains::assign_domains;
use crate::lower::plan::{Compiled, PlanOptions, lower_plan};
use crate::pipeline::{ImportOptions, import};
use crate::select::choose;
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::integer::IntegerNetwork;

/// What the user decides about a compilation.
#[derive(Clone, Debug)]
pub struct CompileOptions<'a> {
    /// About the import.
    pub import: ImportOptions<'a>,
    /// About the plan.
    pub plan: PlanOptions,
}

/// Compiles the ONNX model in `bytes`; `file_name` names it in diagnostics.
///
/// The same bytes and options give the same plan, byte for byte.
///
/// # Errors
/// Diagnostics for everything in the model that is not supported, or for every constraint that no
/// plan satisfies.
pub fn compile(
    bytes: &[u8],
    file_name: &str,
    options: &CompileOptions<'_>,
) -> Result<Compiled, Diagnostics> {
    let imported = import(bytes, file_name, &options.import)?;
    let compiled = compile_network(&imported.network, &options.plan)?;
    Ok(Compiled { notes: imported.notes, ..compiled })
}

/// Compiles an integer network.
///
/// # Errors
/// Diagnostics for every constraint that no plan satisfies.
pub fn compile_network(
    network: &IntegerNetwork,
    options: &PlanOptions,
) -> Result<Compiled, Diagnostics> {
    let channels = network.input.shape.channels;
    options.preparation.check_channels(channels).map_err(|error| {
        let remedy = "give one value for every channel of the model's input";
        Diagnostic::new(Code::BadOption, "--input-mean, --input-std", error.to_string(), remedy)
    })?;
    let facts = network_facts(network, options.acc_strategy)?;
    let program = assign_domains(network, &facts)?;
    let selection = choose(&program, &facts, options.error_budget_log2)?;
    Ok(lower_plan(network, &program, &selection, options)?)
}
