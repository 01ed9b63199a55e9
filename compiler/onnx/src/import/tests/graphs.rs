//! Files that are no model, graphs that contradict themselves, and what every node is held to.

use super::super::*;
use super::builder::{Builder, check_faults, graph};
use heq_ir::diagnostic::Code;
use prost::Message;
use tract_onnx::pb::ModelProto;

const LENET: &[u8] = include_bytes!("../../../../../examples/onnx/lenet_mnist/model.onnx");

#[test]
fn files_that_are_no_model() {
    for bytes in [&b""[..], b"not a model at all", &[0x3a, 0x00], &LENET[..LENET.len() / 2]] {
        check_faults(bytes, &[(Code::NotOnnx, "m.onnx")]);
    }
    let without_opset = ModelProto {
        graph: Some(Builder::fixed(&[1]).node("Relu", &["x"], "y").graph),
        ..Default::default()
    };
    check_faults(&without_opset.encode_to_vec(), &[(Code::NotOnnx, "operator set")]);
    let large = vec![0; crate::MAX_MODEL_BYTES + 1];
    check_faults(&large, &[(Code::TooLarge, "limit")]);
}

#[test]
fn every_unsupported_operator_is_reported() {
    Builder::fixed(&[1, 2])
        .node("Erf", &["x"], "a")
        .node("Relu", &["a"], "b")
        .node_of("qonnx.custom_op.general", "FloatQuant", &["b"], &["y"])
        .check_faults(&[
            (Code::UnsupportedOperator, "node \"/a\" (Erf of ai.onnx)"),
            (Code::UnsupportedOperator, "node \"/y\" (FloatQuant of qonnx.custom_op.general)"),
        ]);
}

#[test]
fn a_node_behind_a_fault_is_still_read() {
    Builder::fixed(&[1, 1, 4, 4])
        .floats("w", &[1, 1, 1, 1], &[1.0])
        .node("Conv", &["x", "w"], "a")
        .int("group", 0)
        .node("Conv", &["a", "w"], "b")
        .ints("strides", &[2, 2, 2])
        .node("LeakyRelu", &["b"], "c")
        .float("alpha", f32::NAN)
        .node("Relu", &["c"], "y")
        .check_faults(&[
            (Code::MalformedGraph, "group=0"),
            (Code::UnsupportedForm, "attribute strides"),
            (Code::MalformedGraph, "alpha=NaN"),
        ]);
}

#[test]
fn unknown_attributes_and_inputs_are_refused() {
    let relu = |builder: Builder| builder.node("Relu", &["x"], "y");
    relu(Builder::fixed(&[1, 2]))
        .int("alpha", 1)
        .check_faults(&[(Code::UnsupportedForm, "attribute alpha")]);
    Builder::fixed(&[1, 2])
        .node("Relu", &["x", "x"], "y")
        .check_faults(&[(Code::MalformedGraph, "2 inputs")]);
    relu(Builder::fixed(&[1, 2]))
        .ints("axis", &[1])
        .node("Flatten", &["y"], "z")
        .ints("axis", &[1])
        .check_faults(&[(Code::UnsupportedForm, "axis"), (Code::MalformedGraph, "INT")]);
}

#[test]
fn symbolic_dimensions() {
    let symbol = || Dim::DimParam("N".into());
    Builder::new(&[symbol(), Dim::DimValue(2)])
        .node("Relu", &["x"], "y")
        .check(&["%x = input : f32[1,2]", "%y = relu(%x) from=/y,Relu : f32[1,2]"]);
    Builder::new(&[Dim::DimValue(1), symbol()])
        .node("Relu", &["x"], "y")
        .check_faults(&[(Code::DynamicShape, "dimension 1")]);
    Builder::fixed(&[4, 2])
        .node("Relu", &["x"], "y")
        .check_faults(&[(Code::UnsupportedForm, "batch of 4")]);
    Builder::fixed(&[1, 1 << 40, 1 << 40])
        .node("Relu", &["x"], "y")
        .check_faults(&[(Code::MalformedGraph, "too large")]);
}

#[test]
fn parameters_must_be_constant() {
    Builder::fixed(&[1, 2])
        .node("Relu", &["x"], "s")
        .int8("z", &[], &[0])
        .node("QuantizeLinear", &["x", "s", "z"], "y")
        .check_faults(&[(Code::NotConstant, "the scale (tensor \"s\")")]);
}

#[test]
fn graphs_that_contradict_themselves() {
    Builder::fixed(&[1, 2])
        .node("Relu", &["nowhere"], "y")
        .check_faults(&[(Code::MalformedGraph, "\"nowhere\"")]);
    Builder::fixed(&[1, 2])
        .node("Relu", &["b"], "a")
        .node("Relu", &["a"], "b")
        .node("Relu", &["x"], "y")
        .check_faults(&[(Code::MalformedGraph, "cycle"), (Code::MalformedGraph, "cycle")]);
    Builder::fixed(&[1, 2])
        .node("Relu", &["x"], "y")
        .node("Relu", &["x"], "y")
        .check_faults(&[(Code::MalformedGraph, "also makes \"y\"")]);
    Builder::fixed(&[1, 2])
        .floats("w", &[3, 2], &[0.0; 6])
        .node("MatMul", &["x", "w"], "y")
        .check_faults(&[(Code::MalformedGraph, "input features of the weights: 3, expected 2")]);
    Builder::fixed(&[1, 2])
        .floats("w", &[2, 2], &[0.0; 3])
        .node("MatMul", &["x", "w"], "y")
        .check_faults(&[(Code::MalformedGraph, "initializer \"w\": 4 elements")]);
}

#[test]
fn nodes_may_be_in_any_order_and_identities_vanish() {
    Builder::fixed(&[1, 2])
        .node("Identity", &["b"], "y")
        .node("Relu", &["a"], "b")
        .node("Identity", &["x"], "a")
        .check(&["%x = input : f32[1,2]", "%b = relu(%x) from=/b,Relu : f32[1,2]"]);
}

#[test]
fn initializers_among_the_inputs_are_constants() {
    let mut builder =
        Builder::fixed(&[1, 2]).floats("w", &[2, 1], &[1.0, 2.0]).node("MatMul", &["x", "w"], "y");
    builder.graph.input.push(ValueInfoProto { name: "w".into(), ..Default::default() });
    builder.check(&[
        "%x = input : f32[1,2]",
        "%w = constant values=[1.0,2.0] : f32[2,1]",
        "%y = mat_mul(%x,%w) from=/y,MatMul : f32[1,1]",
    ]);
}

#[test]
fn unread_initializers_do_not_matter() {
    let mut model = Builder::fixed(&[1, 2]).int8("unread", &[0], &[]).node("Relu", &["x"], "y");
    model.graph.input.push(ValueInfoProto { name: "unread".into(), ..Default::default() });
    model.check(&["%x = input : f32[1,2]", "%y = relu(%x) from=/y,Relu : f32[1,2]"]);
}

#[test]
fn names_made_up_here_are_free() {
    Builder::fixed(&[1, 2])
        .floats("w", &[2, 1], &[1.0, 2.0])
        .node("Relu", &["x"], "y:gemm")
        .node("Gemm", &["y:gemm", "w"], "y")
        .float("alpha", 2.0)
        .check(&[
            "%x = input : f32[1,2]",
            "%y:gemm = relu(%x) from=/y:gemm,Relu : f32[1,2]",
            "%w = constant values=[1.0,2.0] : f32[2,1]",
            "%y:gemm2 = gemm(%y:gemm,%w) trans_b=false from=/y,Gemm : f32[1,1]",
            "%y:constant = constant values=[2.0] : f32[]",
            "%y = mul(%y:gemm2,%y:constant) from=/y,Gemm : f32[1,1]",
        ]);
}

#[test]
fn graphs_are_bounded() {
    let mut model = Builder::fixed(&[1, 2]).node("Relu", &["x"], "y");
    let node = model.graph.node[0].clone();
    model.graph.node = vec![node; crate::model::MAX_NODES + 1];
    model.check_faults(&[(Code::TooLarge, "100001 nodes")]);
    for dims in [&[][..], &[1; 5]] {
        Builder::fixed(dims).node("Relu", &["x"], "y").refuse("dimensions");
    }
}

#[test]
fn damaged_models_do_no_harm() {
    // Every byte of a small model with many kinds of nodes, changed in a few ways.
    let mut model = Builder::fixed(&[1, 2, 4, 4])
        .floats("w", &[2, 2, 1, 1], &[1.0; 4])
        .floats("s", &[], &[0.5])
        .list("pads", &[0, 0, 0, 0, 0, 0, 1, 1])
        .list("shape", &[1, -1])
        .node("Conv", &["x", "w"], "a")
        .ints("strides", &[2, 2])
        .node("Pad", &["a", "pads"], "b")
        .node("MaxPool", &["b"], "c")
        .ints("kernel_shape", &[2, 2])
        .node("Transpose", &["c"], "d")
        .ints("perm", &[0, 2, 3, 1])
        .node_of("", "Split", &["d"], &["e", "f"])
        .int("axis", 3)
        .node("Concat", &["f", "e"], "g")
        .int("axis", 3)
        .node("Reshape", &["g", "shape"], "h")
        .node("QuantizeLinear", &["h", "s"], "i")
        .node("DequantizeLinear", &["i", "s"], "y");
    for node in &mut model.graph.node {
        node.name.clear();
    }
    let bytes = model.bytes();
    graph(&bytes);
    for at in 0..bytes.len() {
        for change in [0x01, 0x02, 0x10, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= change;
            if let Ok(graph) = import(&damaged, "m.onnx", ExternalData::None) {
                heq_ir::graph::verify::verify(&graph).unwrap();
            }
        }
    }
}
