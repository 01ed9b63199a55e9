//! The register of ONNX operators: which are supported, in which forms, and how each is read.
//!
//! One file an operator family. A loader turns one node into an operator of the graph, from its
//! attributes and constants alone; types are checked when the operator is added. How to add one:
//! docs/howto/add-an-onnx-op.md.

mod activation;
mod constant;
mod conv;
mod linear;
mod normalization;
mod pool;
mod qonnx;
mod quantize;
mod shape;
mod window;

use crate::fault::Fault;
use crate::model::canonical_domain;
use crate::node::NodeReader;
use heq_ir::graph::op::Op;
use heq_ir::tensor::Tensor;

/// Name of the default ONNX domain.
const ONNX: &str = "ai.onnx";

/// A supported operator.
pub struct OperatorEntry {
    /// Domain; the default one is `ai.onnx`.
    pub domain: &'static str,
    /// ONNX operator type.
    pub operator: &'static str,
    /// The forms of it that are supported.
    pub forms: &'static str,
    load: fn(&mut NodeReader<'_>) -> Result<Loaded, Fault>,
}

/// What a loader made of a node.
pub(crate) enum Loaded {
    /// An operator that reads these tensors.
    Op(Op, Vec<String>),
    /// A tensor whose value is known.
    Constant(Tensor),
    /// Another name of this tensor.
    Alias(String),
}

const FAMILIES: &[&[OperatorEntry]] = &[
    activation::OPERATORS,
    constant::OPERATORS,
    conv::OPERATORS,
    linear::OPERATORS,
    normalization::OPERATORS,
    pool::OPERATORS,
    qonnx::OPERATORS,
    quantize::OPERATORS,
    shape::OPERATORS,
];

/// Every supported operator, by family.
pub fn register() -> impl Iterator<Item = &'static OperatorEntry> {
    FAMILIES.iter().copied().flatten()
}

/// The entry of an operator.
pub(crate) fn lookup(domain: &str, operator: &str) -> Option<&'static OperatorEntry> {
    let domain = canonical_domain(domain);
    register().find(|entry| entry.domain == domain && entry.operator == operator)
}

impl OperatorEntry {
    /// Reads a node.
    pub(crate) fn load(&self, node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
        (self.load)(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_registered_once_and_described() {
        let mut names: Vec<_> = register().map(|entry| (entry.domain, entry.operator)).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        assert!(register().all(|entry| !entry.forms.is_empty()));
    }
}
