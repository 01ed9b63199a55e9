//! Small models, well and badly formed, built from protobuf types.

use super::*;
use heq_ir::graph::text::text;
use heq_ir::graph::verify::verify;
use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::Dimension;
use tract_onnx::pb::type_proto::Tensor as TensorTypeProto;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto,
};

const LENET: &[u8] = include_bytes!("../../../../examples/onnx/lenet_mnist/model.onnx");

const QONNX: &str = "qonnx.custom_op.general";

/// A model under construction.
struct Builder(GraphProto);

impl Builder {
    /// A model with input `x` and output `y`.
    fn new(input: &[Dim]) -> Self {
        let dim = |value: &Dim| Dimension { value: Some(value.clone()), ..Default::default() };
        let shape = TensorShapeProto { dim: input.iter().map(dim).collect() };
        let tensor = TensorTypeProto { elem_type: DataType::Float as i32, shape: Some(shape) };
        let ty = TypeProto { value: Some(TypeValue::TensorType(tensor)), ..Default::default() };
        let info = |name: &str| ValueInfoProto { name: name.into(), ..Default::default() };
        Self(GraphProto {
            input: vec![ValueInfoProto { r#type: Some(ty), ..info("x") }],
            output: vec![info("y")],
            ..Default::default()
        })
    }

    fn fixed(input: &[i64]) -> Self {
        Self::new(&input.iter().map(|&dim| Dim::DimValue(dim)).collect::<Vec<_>>())
    }

    fn node(mut self, operator: &str, inputs: &[&str], output: &str) -> Self {
        self.0.node.push(NodeProto {
            name: format!("/{output}"),
            op_type: operator.into(),
            input: inputs.iter().map(|&name| name.into()).collect(),
            output: vec![output.into()],
            ..Default::default()
        });
        self
    }

    /// Gives the last node an attribute.
    fn ints(mut self, name: &str, ints: &[i64]) -> Self {
        let attribute = AttributeProto {
            name: name.into(),
            r#type: AttributeType::Ints as i32,
            ints: ints.to_vec(),
            ..Default::default()
        };
        self.0.node.last_mut().unwrap().attribute.push(attribute);
        self
    }

    fn int(mut self, name: &str, i: i64) -> Self {
        let ty = AttributeType::Int as i32;
        let attribute = AttributeProto { name: name.into(), r#type: ty, i, ..Default::default() };
        self.0.node.last_mut().unwrap().attribute.push(attribute);
        self
    }

    fn text(mut self, name: &str, text: &str) -> Self {
        let ty = AttributeType::String as i32;
        let s = text.as_bytes().to_vec();
        let attribute = AttributeProto { name: name.into(), r#type: ty, s, ..Default::default() };
        self.0.node.last_mut().unwrap().attribute.push(attribute);
        self
    }

    /// A model of one QONNX quantizer with these parameters.
    fn quant(scale: &[f32], zero_point: f32, bits: f32, signed: i64, narrow: i64) -> Self {
        let mut builder = Self::fixed(&[1, 2])
            .floats("s", &[i64::try_from(scale.len()).unwrap()], scale)
            .floats("z", &[], &[zero_point])
            .floats("b", &[], &[bits])
            .node("Quant", &["x", "s", "z", "b"], "y")
            .int("signed", signed)
            .int("narrow", narrow);
        builder.0.node[0].domain = QONNX.into();
        builder
    }

    fn floats(mut self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        self.0.initializer.push(TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: DataType::Float as i32,
            float_data: values.to_vec(),
            ..Default::default()
        });
        self
    }

    fn int8(mut self, name: &str, dims: &[i64], values: &[i32]) -> Self {
        self.0.initializer.push(TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: DataType::Int8 as i32,
            int32_data: values.to_vec(),
            ..Default::default()
        });
        self
    }

    fn bytes(self) -> Vec<u8> {
        let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.into(), version };
        let opset_import = vec![opset("", 13), opset(QONNX, 1)];
        let model = ModelProto { graph: Some(self.0), opset_import, ..Default::default() };
        model.encode_to_vec()
    }

    /// Expects the text form of the graph, without its first and last line.
    fn check(self, expected: &[&str]) {
        let graph = import(&self.bytes(), "m.onnx").unwrap_or_else(|error| panic!("{error}"));
        verify(&graph).unwrap();
        let text = text(&graph);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1..lines.len() - 1], *expected);
    }

    /// Expects diagnostics with these codes, places and phrases, in order.
    fn check_faults(self, expected: &[(Code, &str)]) {
        check_faults(&self.bytes(), expected);
    }
}

fn check_faults(bytes: &[u8], expected: &[(Code, &str)]) {
    let found = import(bytes, "m.onnx").unwrap_err();
    let codes: Vec<Code> = found.iter().map(|diagnostic| diagnostic.code).collect();
    let expected_codes: Vec<Code> = expected.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, expected_codes, "{found}");
    for (diagnostic, (_, phrase)) in found.iter().zip(expected) {
        assert!(diagnostic.to_string().contains(phrase), "{phrase}: {diagnostic}");
    }
}

#[test]
fn files_that_are_no_model() {
    for bytes in [&b""[..], b"not a model at all", &[0x3a, 0x00], &LENET[..LENET.len() / 2]] {
        check_faults(bytes, &[(Code::NotOnnx, "m.onnx")]);
    }
    let without_opset = ModelProto {
        graph: Some(Builder::fixed(&[1]).node("Relu", &["x"], "y").0),
        ..Default::default()
    };
    check_faults(&without_opset.encode_to_vec(), &[(Code::NotOnnx, "operator set")]);
    let large = vec![0; crate::MAX_MODEL_BYTES + 1];
    check_faults(&large, &[(Code::TooLarge, "limit")]);
}

#[test]
fn every_unsupported_operator_is_reported() {
    let mut builder = Builder::fixed(&[1, 2])
        .node("Erf", &["x"], "a")
        .node("Relu", &["a"], "b")
        .node("BipolarQuant", &["b"], "y");
    builder.0.node[2].domain = QONNX.into();
    builder.check_faults(&[
        (Code::UnsupportedOperator, "node \"/a\" (Erf of ai.onnx)"),
        (Code::UnsupportedOperator, "node \"/y\" (BipolarQuant of qonnx.custom_op.general)"),
    ]);
}

#[test]
fn a_node_behind_a_fault_is_still_read() {
    Builder::fixed(&[1, 1, 4, 4])
        .floats("w", &[1, 1, 1, 1], &[1.0])
        .node("Conv", &["x", "w"], "a")
        .int("group", 2)
        .node("Conv", &["a", "w"], "b")
        .ints("dilations", &[2, 2])
        .node("MaxPool", &["b"], "y")
        .ints("kernel_shape", &[2, 2])
        .int("ceil_mode", 1)
        .check_faults(&[
            (Code::UnsupportedForm, "group=2"),
            (Code::UnsupportedForm, "dilations=[2, 2]"),
            (Code::UnsupportedForm, "ceil_mode=1"),
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
    builder.0.input.push(ValueInfoProto { name: "w".into(), ..Default::default() });
    builder.check(&[
        "%x = input : f32[1,2]",
        "%w = constant values=[1.0,2.0] : f32[2,1]",
        "%y = mat_mul(%x,%w) from=/y,MatMul : f32[1,1]",
    ]);
}

#[test]
fn quantizers_with_and_without_zero_point() {
    Builder::fixed(&[1, 2])
        .floats("s", &[], &[0.5])
        .floats("t", &[2], &[0.5, 0.25])
        .int8("z", &[2], &[0, 0])
        .node("QuantizeLinear", &["x", "s"], "a")
        .node("DequantizeLinear", &["a", "s"], "b")
        .node("QuantizeLinear", &["b", "t", "z"], "c")
        .int("axis", -1)
        .node("DequantizeLinear", &["c", "t"], "y")
        .check(&[
            "%x = input : f32[1,2]",
            "%a = quantize_linear(%x) scale=[0.5] zero_point=[0] type=u8 from=/a,QuantizeLinear : u8[1,2]",
            "%b = dequantize_linear(%a) scale=[0.5] zero_point=[0] type=u8 from=/b,DequantizeLinear : f32[1,2]",
            "%c = quantize_linear(%b) scale=[0.5,0.25] zero_point=[0,0] type=i8 axis=-1 from=/c,QuantizeLinear : i8[1,2]",
            "%y = dequantize_linear(%c) scale=[0.5,0.25] zero_point=[0,0] type=i8 axis=1 from=/y,DequantizeLinear : f32[1,2]",
        ]);
}

#[test]
fn a_trained_network_is_imported_whole() {
    let graph = import(LENET, "lenet.onnx").unwrap_or_else(|error| panic!("{error}"));
    verify(&graph).unwrap();
    let mut operators: Vec<String> = Vec::new();
    for id in graph.topological() {
        let operator = &graph.node(id).origin.operator;
        if !operators.contains(operator) {
            operators.push(operator.clone());
        }
    }
    operators.sort_unstable();
    let expected = [
        "BatchNormalization",
        "Clip",
        "Conv",
        "DequantizeLinear",
        "Flatten",
        "Gemm",
        "MatMul",
        "MaxPool",
        "QuantizeLinear",
        "Relu",
        "Transpose",
        "constant",
        "input",
    ];
    assert_eq!(operators, expected);
}

#[test]
fn qonnx_quantizers() {
    for (zero_point, bits, signed, narrow, range) in [
        (0.0, 4.0, 1, 0, "-8..7"),
        (0.0, 4.0, 1, 1, "-7..7"),
        (0.0, 2.0, 0, 0, "0..3"),
        (3.0, 8.0, 0, 0, "-3..252"),
    ] {
        Builder::quant(&[0.5], zero_point, bits, signed, narrow).check(&[
            "%x = input : f32[1,2]",
            &format!("%y = quantize(%x) scale=0.5 range={range} from=/y,Quant : f32[1,2]"),
        ]);
    }
    for (builder, phrase) in [
        (Builder::quant(&[0.5, 0.5], 0.0, 4.0, 1, 0), "scale has 2 values"),
        (Builder::quant(&[-0.5], 0.0, 4.0, 1, 0), "not positive"),
        (Builder::quant(&[f32::NAN], 0.0, 4.0, 1, 0), "not finite"),
        (Builder::quant(&[0.5], 0.5, 4.0, 1, 0), "zero point 0.5"),
        (Builder::quant(&[0.5], 0.0, 9.0, 1, 0), "bit width 9"),
        (Builder::quant(&[0.5], 0.0, 1.0, 1, 1), "single value"),
        (Builder::quant(&[0.5], 0.0, 4.0, 2, 0), "0 or 1"),
        (Builder::quant(&[0.5], 0.0, 4.0, 1, 0).text("rounding_mode", "FLOOR"), "FLOOR"),
    ] {
        let found = import(&builder.bytes(), "m.onnx").unwrap_err().to_string();
        assert!(found.contains(phrase), "{phrase}: {found}");
    }
}
