//! The front end of the compiler: ONNX bytes to the integer network.
//!
//! The pass list below is the whole of it. The verifier runs on the imported graph and after every
//! pass, in release builds too; what it finds is a fault of this program and names the pass.

use crate::pass::lower_integer::lower_integer;
use crate::pass::lower_integer::multiplier::{MAX_FIXED_BITS, MultiplierBits};
use crate::pass::{Pass, fold_batch_norm, fold_constants, fuse_quantizers, propagate_quantizers};
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::graph::Graph;
use heq_ir::graph::verify::verify;
use heq_ir::integer::IntegerNetwork;

/// The graph passes, in order; `lower_integer` follows them.
pub const PASSES: &[Pass] = &[
    Pass { name: "fold_constants", run: fold_constants::fold_constants },
    Pass { name: "fuse_quantizers", run: fuse_quantizers::fuse_quantizers },
    Pass { name: "propagate_quantizers", run: propagate_quantizers::propagate_quantizers },
    Pass { name: "fold_batch_norm", run: fold_batch_norm::fold_batch_norm },
];

/// Name under which observers see the graph before the first pass.
pub const IMPORTED: &str = "import";

/// What the user decides about the import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// How wide the multipliers of requantizations are.
    pub multiplier_bits: MultiplierBits,
}

/// The integer network of the ONNX model in `bytes`; `file_name` names it in diagnostics.
///
/// # Errors
/// Everything in the model that is not supported.
pub fn import(
    bytes: &[u8],
    file_name: &str,
    options: &ImportOptions,
) -> Result<IntegerNetwork, Diagnostics> {
    import_observed(bytes, file_name, options, &mut |_, _| {})
}

/// Like [`import`], and shows `observer` the graph after the import and after every pass, under its
/// name. The text form of the graph is `heq_ir::graph::text::text`.
///
/// # Errors
/// Everything in the model that is not supported.
pub fn import_observed(
    bytes: &[u8],
    file_name: &str,
    options: &ImportOptions,
    observer: &mut dyn FnMut(&'static str, &Graph),
) -> Result<IntegerNetwork, Diagnostics> {
    if let MultiplierBits::Fixed(bits) = options.multiplier_bits
        && !(1..=MAX_FIXED_BITS).contains(&bits)
    {
        return Err(Diagnostic::new(
            Code::BadOption,
            "--multiplier-bits",
            format!("{bits} bits are out of range"),
            format!("give auto or a number from 1 to {MAX_FIXED_BITS}"),
        )
        .into());
    }
    let mut graph = heq_onnx::import(bytes, file_name)?;
    check(IMPORTED, &graph)?;
    observer(IMPORTED, &graph);
    for pass in PASSES {
        (pass.run)(&mut graph).map_err(|error| internal(pass.name, error.to_string()))?;
        check(pass.name, &graph)?;
        observer(pass.name, &graph);
    }
    lower_integer(&graph, options.multiplier_bits)
}

/// Verifies what a pass made.
fn check(pass: &str, graph: &Graph) -> Result<(), Diagnostics> {
    let Err(violations) = verify(graph) else { return Ok(()) };
    let found: Vec<Diagnostic> =
        violations.iter().map(|violation| internal(pass, violation.to_string())).collect();
    Diagnostics::from_found(found).map_or(Ok(()), Err)
}

fn internal(pass: &str, what: String) -> Diagnostic {
    Diagnostic::new(
        Code::Internal,
        format!("pass {pass}"),
        what,
        "this is a fault of heqc; report it with the model",
    )
}

#[cfg(test)]
mod tests;
