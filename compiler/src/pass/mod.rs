//! The passes: from the graph of an ONNX file to the integer network.
//!
//! One file, one public function a pass. A graph pass never fails on account of the model: what it
//! does not recognize it leaves alone, and `lower_integer` reports whatever is left, all at once. An
//! error of a graph pass is therefore a fault of the pass. How to add one: docs/howto/add-a-pass.md.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a pass rewrites the operators that it recognizes and leaves all others alone"
)]

pub mod absorb_pads;
pub mod drop_probabilities;
pub mod elide_branch_quantizers;
pub mod fold_affine;
pub mod fold_constants;
pub mod fuse_quantizers;
pub mod input_layout;
pub mod lift_dequantizers;
pub mod lower_integer;
pub mod propagate_quantizers;

use heq_ir::graph::infer::TypeError;
use heq_ir::graph::op::Op;
use heq_ir::graph::{Graph, NodeIndex};
use std::collections::{HashMap, HashSet};

/// A transformation of the graph that keeps what its outputs compute, or says in a note what it
/// changed.
pub struct Pass {
    /// Name, as in the file name.
    pub name: &'static str,
    /// The transformation.
    pub run: fn(&mut Graph, &mut PassContext) -> Result<(), TypeError>,
}

/// What passes know beside the graph, and what they tell the user.
#[derive(Clone, Debug, Default)]
pub struct PassContext {
    /// Which quantizers on the branches of an addition are left out.
    pub branch_quantizers: elide_branch_quantizers::BranchQuantizers,
    /// What the result no longer computes, in sentences.
    pub notes: Vec<String>,
}

/// Whether an operator only picks and moves elements, whatever they are.
fn rearranges(op: &Op) -> bool {
    matches!(
        op,
        Op::Concat { .. }
            | Op::Flatten { .. }
            | Op::Reshape { .. }
            | Op::Slice(_)
            | Op::Transpose { .. }
    )
}

/// Names for the tensors of new nodes.
struct FreshNames(HashSet<String>, HashMap<String, usize>);

impl FreshNames {
    /// Names that no tensor of `graph` has.
    fn of(graph: &Graph) -> Self {
        let taken = graph.topological().iter().map(|&id| graph.node(id).tensor.clone()).collect();
        Self(taken, HashMap::new())
    }

    /// An unused name that starts with the one of `of`.
    fn next(&mut self, graph: &Graph, of: NodeIndex, suffix: &str) -> String {
        let stem = format!("{}:{suffix}", graph.node(of).tensor);
        let count = self.1.entry(stem.clone()).or_default();
        loop {
            let name = if *count == 0 { stem.clone() } else { format!("{stem}.{count}") };
            *count += 1;
            if self.0.insert(name.clone()) {
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests;
