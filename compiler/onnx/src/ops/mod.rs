//! The register of ONNX operators: which are supported, in which forms, and how each is read.
//!
//! One file an operator family. A loader turns one node into operators of the graph, from its
//! attributes, its constants and the types of what it reads; types of results are checked when the
//! operators are added. How to add one: docs/howto/add-an-onnx-op.md.

mod activation;
mod arithmetic;
mod constant;
mod conv;
mod linear;
mod normalization;
mod pool;
mod qlinear;
mod qonnx;
mod quantize;
mod select;
mod shape;
mod softmax;
mod window;

use crate::fault::Fault;
use crate::model::canonical_domain;
use crate::node::NodeReader;
use crate::scope::Value;
use heq_ir::diagnostic::Code;

/// Name of the default ONNX domain.
const ONNX: &str = "ai.onnx";

/// Name of ONNX Runtime's domain.
const MICROSOFT: &str = "com.microsoft";

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

/// Operators that belong together.
pub struct Family {
    /// What they are, in a few words.
    pub name: &'static str,
    /// The operators.
    pub operators: &'static [OperatorEntry],
}

/// What a loader made of a node: its outputs, in order.
pub(crate) struct Loaded(pub(crate) Vec<Value>);

impl From<Value> for Loaded {
    fn from(value: Value) -> Self {
        Self(vec![value])
    }
}

/// Every supported operator.
pub const FAMILIES: &[Family] = &[
    Family { name: "Linear layers", operators: linear::OPERATORS },
    Family { name: "Convolutions", operators: conv::OPERATORS },
    Family { name: "Normalization", operators: normalization::OPERATORS },
    Family { name: "Activations", operators: activation::OPERATORS },
    Family { name: "Pooling", operators: pool::OPERATORS },
    Family { name: "Softmax and ArgMax", operators: softmax::OPERATORS },
    Family { name: "Arithmetic", operators: arithmetic::OPERATORS },
    Family { name: "Shapes", operators: shape::OPERATORS },
    Family { name: "Padding, slicing, joining", operators: select::OPERATORS },
    Family { name: "Constants and casts", operators: constant::OPERATORS },
    Family { name: "Quantization in QDQ and QCDQ form", operators: quantize::OPERATORS },
    Family { name: "Quantization in QOperator form", operators: qlinear::OPERATORS },
    Family { name: "Quantization in QONNX form", operators: qonnx::OPERATORS },
];

/// Every supported operator, by family.
pub fn register() -> impl Iterator<Item = &'static OperatorEntry> {
    FAMILIES.iter().flat_map(|family| family.operators)
}

/// The entry of an operator.
pub(crate) fn lookup(domain: &str, operator: &str) -> Option<&'static OperatorEntry> {
    let domain = canonical_domain(domain);
    register().find(|entry| entry.domain == domain && entry.operator == operator)
}

/// Why an operator without an entry is not supported.
pub(crate) fn unsupported(operator: &str) -> Fault {
    let (what, remedy) = match operator {
        "DynamicQuantizeLinear" | "DynamicQuantizeMatMul" | "MatMulIntegerToFloat" => (
            "dynamic quantization is not supported: its scale depends on the input",
            "quantize statically, with calibration data, e.g. onnxruntime's quantize_static",
        ),
        _ => (
            "the operator is not supported",
            "replace it by supported operators; `heqc ops` lists them",
        ),
    };
    Fault::new(Code::UnsupportedOperator, what, remedy)
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
