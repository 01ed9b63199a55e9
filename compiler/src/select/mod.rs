//! Chooses one candidate for every step.
//!
//! [`choose`] is the interface between the kernels' candidates and the plan. It takes, for each step
//! on its own, the candidate that moves the fewest bytes; ties go to fewer products, then to the
//! smaller ring, so that the same model always gives the same plan.

use crate::analysis::range::NetworkFacts;
use crate::kernel::conv_coefficient::{self, Candidate};
use crate::kernel::requantize;
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::params::noise::required_margin;
use heq_ir::protocol::requantize::RequantizeForm;
use heq_ir::secure::{SecureOp, SecureProgram};
use petgraph::graph::NodeIndex;
use std::collections::HashMap;

/// What was chosen for every step that has a choice.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Candidates of the linear steps.
    pub linear: HashMap<NodeIndex, Candidate>,
    /// Forms of the requantizations.
    pub requantize: HashMap<NodeIndex, RequantizeForm>,
}

/// Chooses for every step of `program`; `facts` are those of the integer network.
///
/// # Errors
/// [`Code::NoParameters`] for every linear step that has no candidate.
pub fn choose(
    program: &SecureProgram,
    facts: &NetworkFacts,
    error_budget_log2: u32,
) -> Result<Selection, Diagnostics> {
    let margin = required_margin(linear_outputs(program), error_budget_log2);
    let mut selection = Selection::default();
    let mut found = Vec::new();
    for index in program.graph.node_indices() {
        let node = &program.graph[index];
        match &node.op {
            SecureOp::Linear(op) => {
                let norms = node.origin.secret.and_then(|(layer, term)| {
                    facts.sums.get(layer)?.as_ref()?.kernel_norms_squared.get(term)
                });
                let norms = norms.map_or(&[][..], Vec::as_slice);
                let candidates = conv_coefficient::candidates(op, norms, margin);
                let rank = |c: &Candidate| (c.bytes, c.counts.products(), c.rlwe, c.tile.output);
                match candidates.into_iter().min_by_key(rank) {
                    Some(candidate) => {
                        selection.linear.insert(index, candidate);
                    }
                    None => found.push(Diagnostic::new(
                        Code::NoParameters,
                        &node.origin.name,
                        format!(
                            "an accumulator of {} bits leaves no room for noise in a modulus that \
                             is secure and at most {} bits wide",
                            op.acc_bits,
                            heq_ir::params::MAX_MODULUS_BITS
                        ),
                        "use fewer bits for weights, activations or --multiplier-bits, or \
                         --acc-bits weight-aware",
                    )),
                }
            }
            SecureOp::Requantize { widths, .. } => {
                let forms = requantize::candidates(widths, node.result.shape.len());
                let rank = |traffic: &heq_ir::traffic::Traffic| {
                    let (up, down) = traffic.payload_bytes();
                    (up + down, traffic.steps.len())
                };
                if let Some((form, _)) = forms.min_by_key(|(_, traffic)| rank(traffic)) {
                    selection.requantize.insert(index, form);
                }
            }
            SecureOp::Input { .. }
            | SecureOp::Combine(_)
            | SecureOp::MaxPool { .. }
            | SecureOp::Table { .. }
            | SecureOp::View(_)
            | SecureOp::Reshape(_)
            | SecureOp::Concat
            | SecureOp::ToArithmetic { .. }
            | SecureOp::ToBoolean { .. }
            | SecureOp::Open => {}
        }
    }
    match Diagnostics::from_found(found) {
        Some(found) => Err(found),
        None => Ok(selection),
    }
}

/// Outputs of all linear steps together, among which the error budget is divided.
fn linear_outputs(program: &SecureProgram) -> usize {
    program
        .graph
        .node_weights()
        .filter(|node| matches!(node.op, SecureOp::Linear(_)))
        .map(|node| node.result.shape.len())
        .sum()
}
