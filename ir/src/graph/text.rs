//! The text form of a graph: one line a node, stable, for golden tests and for reading.
//!
//! ```text
//! graph NAME
//! %TENSOR = MNEMONIC(%INPUT,...) ATTRIBUTE=VALUE ... from=NODE,OPERATOR : TYPE
//! return %TENSOR
//! ```
//! Names are percent-encoded, so that a line splits at spaces. `from` is left out where the ONNX
//! node is called like its tensor and its operator like the mnemonic. Constants of more than
//! [`SHOWN_ELEMENTS`] elements show a digest instead; `parse.rs` reads everything else back.

use super::op::{Op, QuantizeParams};
use super::{Graph, Node};
use crate::integer::IntRange;
use crate::tensor::TensorData;
use sha2::{Digest, Sha256};
use std::fmt::{Debug, Write};

/// The largest constant that is shown in full, in elements.
pub const SHOWN_ELEMENTS: usize = 64;

/// The text form of `graph`.
#[must_use]
pub fn text(graph: &Graph) -> String {
    let mut out = format!("graph {}\n", encode(&graph.name));
    for id in graph.topological() {
        let node = graph.node(id);
        let inputs: Vec<String> =
            graph.inputs(id).iter().map(|&input| tensor(graph.node(input))).collect();
        let mnemonic = node.op.mnemonic();
        let _ = write!(out, "{} = {mnemonic}", tensor(node));
        if !inputs.is_empty() {
            let _ = write!(out, "({})", inputs.join(","));
        }
        for (name, value) in attributes(&node.op) {
            let _ = write!(out, " {name}={value}");
        }
        if node.origin.node != node.tensor || node.origin.operator != mnemonic {
            let (name, operator) = (encode(&node.origin.node), encode(&node.origin.operator));
            let _ = write!(out, " from={name},{operator}");
        }
        let _ = writeln!(out, " : {}", node.ty);
    }
    for &id in graph.outputs() {
        let _ = writeln!(out, "return {}", tensor(graph.node(id)));
    }
    out
}

fn tensor(node: &Node) -> String {
    format!("%{}", encode(&node.tensor))
}

fn attributes(op: &Op) -> Vec<(&'static str, String)> {
    match op {
        Op::Input(_) | Op::Relu | Op::MatMul => vec![],
        Op::Constant(tensor) => match &tensor.data {
            TensorData::Float(values) => vec![("values", list(values))],
            TensorData::Int { ty, range, values } if *range == ty.range() => {
                vec![("values", list(values))]
            }
            TensorData::Int { range, values, .. } => {
                vec![("values", list(values)), ("range", interval(*range))]
            }
        },
        Op::QuantizedConstant(tensor) => {
            let mut attributes = vec![
                ("values", list(&tensor.values)),
                ("scale", list(&tensor.scale)),
                ("range", interval(tensor.range)),
            ];
            attributes.extend(tensor.axis.map(|axis| ("axis", axis.to_string())));
            attributes
        }
        Op::QuantizeLinear(params) | Op::DequantizeLinear(params) => quantize_params(params),
        Op::Quantize(quantization) => vec![
            ("scale", format!("{:?}", quantization.scale)),
            ("range", interval(quantization.range)),
        ],
        Op::Clip(bounds) => {
            vec![("lower", format!("{:?}", bounds.lower)), ("upper", format!("{:?}", bounds.upper))]
        }
        Op::Conv(params) => {
            let mut attributes: Vec<_> =
                params.kernel.map(|kernel| ("kernel", tuple(&kernel))).into_iter().collect();
            attributes.push(("strides", tuple(&params.strides)));
            attributes.push(("pads", tuple(&params.pads)));
            attributes
        }
        Op::Gemm { trans_b } => vec![("trans_b", trans_b.to_string())],
        Op::BatchNormalization(params) => vec![
            ("gamma", list(&params.gamma)),
            ("beta", list(&params.beta)),
            ("mean", list(&params.mean)),
            ("variance", list(&params.variance)),
            ("epsilon", format!("{:?}", params.epsilon)),
        ],
        Op::ChannelAffine(map) => {
            vec![("multiplier", list(&map.multiplier)), ("offset", list(&map.offset))]
        }
        Op::MaxPool(window) => vec![
            ("kernel", tuple(&window.kernel)),
            ("strides", tuple(&window.strides)),
            ("pads", tuple(&window.pads)),
        ],
        Op::Flatten { axis } => vec![("axis", axis.to_string())],
        Op::Reshape { target, allow_zero } => {
            vec![("target", list(target)), ("allow_zero", allow_zero.to_string())]
        }
        Op::Transpose { perm } => perm.iter().map(|perm| ("perm", list(perm))).collect(),
    }
}

fn quantize_params(params: &QuantizeParams) -> Vec<(&'static str, String)> {
    let mut attributes = vec![
        ("scale", list(&params.scale)),
        ("zero_point", list(&params.zero_point)),
        ("type", params.ty.to_string()),
    ];
    attributes.extend(params.axis.map(|axis| ("axis", axis.to_string())));
    attributes
}

fn interval(range: IntRange) -> String {
    format!("{}..{}", range.lo, range.hi)
}

fn tuple(values: &[usize]) -> String {
    let values: Vec<String> = values.iter().map(usize::to_string).collect();
    values.join(",")
}

fn list<T: Debug>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    let text = values.join(",");
    if values.len() <= SHOWN_ELEMENTS {
        return format!("[{text}]");
    }
    let digest = Sha256::digest(text.as_bytes());
    let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digest}")
}

/// A name without spaces and separators.
fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"_-./:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02x}");
        }
    }
    out
}
