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

use super::op::{Function, Op, QuantizeParams, Quantizer, Rounding};
use super::{Graph, Node};
use crate::geometry::Window;
use crate::integer::{InputElement, InputLayout, IntRange};
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
        Op::Relu | Op::Binary(_) | Op::MatMul => vec![],
        Op::Input(input) => {
            let mut attributes = Vec::new();
            if input.layout == InputLayout::Nhwc {
                attributes.push(("layout", "nhwc".to_owned()));
            }
            if let InputElement::Integer { ty, zero_point } = input.element {
                attributes.push(("integer", ty.to_string()));
                attributes.push(("zero_point", zero_point.to_string()));
            }
            attributes
        }
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
        Op::Quantize(Quantizer { quantization, rounding }) => {
            let mut attributes = vec![
                ("scale", format!("{:?}", quantization.scale)),
                ("range", interval(quantization.range)),
            ];
            if *rounding == Rounding::Floor {
                attributes.push(("rounding", "floor".to_owned()));
            }
            attributes
        }
        Op::Function(function) => match function {
            Function::Elu { alpha } => vec![("alpha", format!("{alpha:?}"))],
            Function::Gelu { tanh } => vec![("tanh", tanh.to_string())],
            Function::HardSigmoid { alpha, beta } => {
                vec![("alpha", format!("{alpha:?}")), ("beta", format!("{beta:?}"))]
            }
            Function::LeakyRelu { slopes } => vec![("slopes", list(slopes))],
            Function::HardSwish | Function::Sigmoid | Function::Tanh => vec![],
        },
        Op::Clip(bounds) => {
            vec![("lower", format!("{:?}", bounds.lower)), ("upper", format!("{:?}", bounds.upper))]
        }
        Op::Conv(params) => {
            let mut attributes: Vec<_> =
                params.kernel.map(|kernel| ("kernel", tuple(&kernel))).into_iter().collect();
            attributes.push(("strides", tuple(&params.strides)));
            attributes.push(("pads", tuple(&params.pads)));
            attributes.extend(dilations(params.dilations));
            if params.groups != 1 {
                attributes.push(("groups", params.groups.to_string()));
            }
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
        Op::MaxPool(pool) => window(pool),
        Op::AveragePool(pool) => {
            let mut attributes = window(&pool.window);
            attributes.push(("count_pads", pool.count_pads.to_string()));
            attributes
        }
        Op::Flatten { axis } => vec![("axis", axis.to_string())],
        Op::Reshape { target, allow_zero } => {
            vec![("target", list(target)), ("allow_zero", allow_zero.to_string())]
        }
        Op::Transpose { perm } => perm.iter().map(|perm| ("perm", list(perm))).collect(),
        Op::Pad(pads) => vec![
            ("before", tuple(&pads.iter().map(|pad| pad[0]).collect::<Vec<_>>())),
            ("after", tuple(&pads.iter().map(|pad| pad[1]).collect::<Vec<_>>())),
        ],
        Op::Slice(axes) => vec![
            ("start", tuple(&axes.iter().map(|axis| axis.start).collect::<Vec<_>>())),
            ("step", list(&axes.iter().map(|axis| axis.step).collect::<Vec<_>>())),
            ("len", tuple(&axes.iter().map(|axis| axis.len).collect::<Vec<_>>())),
        ],
        Op::Concat { axis } | Op::Softmax { axis, .. } => vec![("axis", axis.to_string())],
        Op::ArgMax { axis, keep_dims } => {
            vec![("axis", axis.to_string()), ("keep_dims", keep_dims.to_string())]
        }
    }
}

fn window(window: &Window) -> Vec<(&'static str, String)> {
    let mut attributes = vec![
        ("kernel", tuple(&window.kernel)),
        ("strides", tuple(&window.strides)),
        ("pads", tuple(&window.pads)),
    ];
    attributes.extend(dilations(window.dilations));
    attributes
}

/// Dilations are left out where there are none.
fn dilations(dilations: [usize; 2]) -> Option<(&'static str, String)> {
    (dilations != [1, 1]).then(|| ("dilations", tuple(&dilations)))
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
