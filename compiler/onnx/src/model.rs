//! The outermost layer of a file: bytes to a protobuf model that deserves a closer look.
//!
//! Protobuf decodes many byte strings that are no ONNX model, so a graph with nodes and an operator
//! set are required.

use crate::fault::Fault;
use heq_ir::diagnostic::{Code, Diagnostic};
use prost::Message;
use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, ModelProto};

/// Largest accepted file, in bytes. Decoding needs a multiple of it in memory.
pub const MAX_MODEL_BYTES: usize = 256 << 20;

/// Most nodes of a graph.
pub(crate) const MAX_NODES: usize = 100_000;

/// Most names that the nodes of a graph read and make.
const MAX_NAMES: usize = 1 << 20;

/// What the importer needs of a model.
#[derive(Debug)]
pub(crate) struct Model {
    /// The main graph.
    pub(crate) graph: GraphProto,
    /// Operator set version of every imported domain, by its canonical name.
    opsets: HashMap<String, i64>,
}

impl Model {
    /// Decodes a file.
    pub(crate) fn decode(bytes: &[u8], file_name: &str) -> Result<Self, Diagnostic> {
        if bytes.len() > MAX_MODEL_BYTES {
            return Err(Diagnostic::new(
                Code::TooLarge,
                file_name,
                format!("the file has {} bytes, the limit is {MAX_MODEL_BYTES}", bytes.len()),
                "export only the network that is to run; strip training state and duplicates",
            ));
        }
        let not_onnx = |what: String| {
            Diagnostic::new(
                Code::NotOnnx,
                file_name,
                what,
                "give a complete .onnx file; check it with onnx.checker",
            )
        };
        let model = ModelProto::decode(bytes).map_err(|error| {
            not_onnx(format!("this is no ONNX model, or it is truncated ({error})"))
        })?;
        let graph = model.graph.ok_or_else(|| not_onnx("it holds no graph".into()))?;
        if graph.node.is_empty() {
            return Err(not_onnx("its graph has no nodes".into()));
        }
        let names: usize = graph.node.iter().map(|node| node.input.len() + node.output.len()).sum();
        if graph.node.len() > MAX_NODES || names > MAX_NAMES {
            return Err(Diagnostic::new(
                Code::TooLarge,
                file_name,
                format!(
                    "its graph has {} nodes that name {names} tensors, the limits are {MAX_NODES} and {MAX_NAMES}",
                    graph.node.len()
                ),
                "export only the network that is to run",
            ));
        }
        if model.opset_import.is_empty() {
            return Err(not_onnx("it states no operator set".into()));
        }
        let opsets = model
            .opset_import
            .iter()
            .map(|opset| (canonical_domain(&opset.domain).to_owned(), opset.version))
            .collect();
        Ok(Self { graph, opsets })
    }

    /// Version of the operator set of a domain. Exporters often leave out other domains than the
    /// default one; version 1 is meant.
    pub(crate) fn opset(&self, domain: &str) -> Result<i64, Fault> {
        match (canonical_domain(domain), self.opsets.get(canonical_domain(domain))) {
            (_, Some(&version)) => Ok(version),
            ("ai.onnx", None) => {
                Err(Fault::malformed("the file does not import the operators of ai.onnx"))
            }
            _ => Ok(1),
        }
    }
}

/// The one name of a domain: the default domain may also be written as an empty string.
pub(crate) fn canonical_domain(domain: &str) -> &str {
    if domain.is_empty() { "ai.onnx" } else { domain }
}
