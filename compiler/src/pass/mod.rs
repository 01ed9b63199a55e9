//! The passes: from the graph of an ONNX file to the integer network.
//!
//! One file, one public function a pass. A graph pass never fails on account of the model: what it
//! does not recognize it leaves alone, and `lower_integer` reports whatever is left, all at once. An
//! error of a graph pass is therefore a fault of the pass. How to add one: docs/howto/add-a-pass.md.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a pass rewrites the operators that it recognizes and leaves all others alone"
)]

pub mod fold_batch_norm;
pub mod fold_constants;
pub mod fuse_quantizers;
pub mod lower_integer;
pub mod propagate_quantizers;

use heq_ir::graph::infer::TypeError;
use heq_ir::graph::{Graph, NodeIndex};
use std::collections::HashSet;

/// A transformation of the graph that keeps what its outputs compute.
pub struct Pass {
    /// Name, as in the file name.
    pub name: &'static str,
    /// The transformation.
    pub run: fn(&mut Graph) -> Result<(), TypeError>,
}

/// Names for the tensors of new nodes.
struct FreshNames(HashSet<String>);

impl FreshNames {
    /// Names that no tensor of `graph` has.
    fn of(graph: &Graph) -> Self {
        Self(graph.topological().iter().map(|&id| graph.node(id).tensor.clone()).collect())
    }

    /// An unused name that starts with the one of `of`.
    fn next(&mut self, graph: &Graph, of: NodeIndex, suffix: &str) -> String {
        let mut name = format!("{}:{suffix}", graph.node(of).tensor);
        while !self.0.insert(name.clone()) {
            name.push('\'');
        }
        name
    }
}

#[cfg(test)]
mod tests;
