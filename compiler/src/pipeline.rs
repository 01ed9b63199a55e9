//! The front end of the compiler: ONNX bytes to the integer network.
//!
//! The pass list below is the whole of it. The verifier runs on the imported graph and after every
//! pass, in release builds too; what it finds is a fault of this program and names the pass.

use crate::pass::elide_branch_quantizers::BranchQuantizers;
use crate::pass::lower_integer::lower_integer;
use crate::pass::lower_integer::multiplier::{MAX_FIXED_BITS, MultiplierBits};
use crate::pass::{
    Pass, PassContext, absorb_pads, drop_probabilities, elide_branch_quantizers, fold_affine,
    fold_constants, fuse_quantizers, input_layout, lift_dequantizers, propagate_quantizers,
};
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::graph::Graph;
use heq_ir::graph::verify::verify;
use heq_ir::integer::{InputLayout, InputMap, IntegerNetwork};
pub use heq_onnx::ExternalData;

/// The graph passes, in order; `lower_integer` follows them.
pub const PASSES: &[Pass] = &[
    Pass { name: "fold_constants", run: fold_constants::fold_constants },
    Pass { name: "drop_probabilities", run: drop_probabilities::drop_probabilities },
    Pass { name: "lift_dequantizers", run: lift_dequantizers::lift_dequantizers },
    Pass { name: "fuse_quantizers", run: fuse_quantizers::fuse_quantizers },
    Pass { name: "input_layout", run: input_layout::input_layout },
    Pass { name: "fold_affine", run: fold_affine::fold_affine },
    Pass { name: "elide_branch_quantizers", run: elide_branch_quantizers::elide_branch_quantizers },
    Pass { name: "propagate_quantizers", run: propagate_quantizers::propagate_quantizers },
    Pass { name: "absorb_pads", run: absorb_pads::absorb_pads },
];

/// Name under which observers see the graph before the first pass.
pub const IMPORTED: &str = "import";

/// What the user decides about the import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions<'a> {
    /// Where tensors that the model keeps outside its file may lie.
    pub external: ExternalData<'a>,
    /// How wide the multipliers of requantizations are.
    pub multiplier_bits: MultiplierBits,
    /// Which quantizers on the branches of an addition are left out.
    pub branch_quantizers: BranchQuantizers,
    /// How arrays that users bring are arranged where their shape does not tell, if not as the model
    /// says.
    pub input_layout: Option<InputLayout>,
}

/// An integer network, and what the user should know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The network.
    pub network: IntegerNetwork,
    /// What of the model is left to the client, in sentences.
    pub notes: Vec<String>,
}

/// The integer network of the ONNX model in `bytes`; `file_name` names it in diagnostics.
///
/// # Errors
/// Everything in the model that is not supported.
pub fn import(
    bytes: &[u8],
    file_name: &str,
    options: &ImportOptions<'_>,
) -> Result<Imported, Diagnostics> {
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
    options: &ImportOptions<'_>,
    observer: &mut dyn FnMut(&'static str, &Graph),
) -> Result<Imported, Diagnostics> {
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
    let mut graph = heq_onnx::import(bytes, file_name, options.external)?;
    check(IMPORTED, &graph)?;
    observer(IMPORTED, &graph);
    let mut context =
        PassContext { branch_quantizers: options.branch_quantizers, notes: Vec::new() };
    for pass in PASSES {
        (pass.run)(&mut graph, &mut context)
            .map_err(|error| internal(pass.name, error.to_string()))?;
        check(pass.name, &graph)?;
        observer(pass.name, &graph);
    }
    let mut network = lower_integer(&graph, options.multiplier_bits)?;
    if let Some(layout) = options.input_layout {
        network.input.layout = layout;
    }
    if network.input.map != InputMap::identity() {
        context.notes.push(format!(
            "the client computes what the model does to its input {:?} before the first quantizer: \
             those constants are public",
            network.input.name
        ));
    }
    Ok(Imported { network, notes: context.notes })
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
