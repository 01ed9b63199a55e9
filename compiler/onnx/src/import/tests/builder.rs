//! Models of a few nodes, built from protobuf types, and what is expected of importing them.

use super::super::*;
use heq_ir::diagnostic::Code;
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

/// A model under construction.
pub(super) struct Builder {
    pub(super) graph: GraphProto,
    opset: i64,
}

fn info(name: &str, ty: DataType, dims: &[Dim]) -> ValueInfoProto {
    let dim = |value: &Dim| Dimension { value: Some(value.clone()), ..Default::default() };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = TensorTypeProto { elem_type: ty as i32, shape: Some(shape) };
    let ty = TypeProto { value: Some(TypeValue::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.into(), r#type: Some(ty), ..Default::default() }
}

impl Builder {
    /// A model with input `x` and output `y`.
    pub(super) fn new(dims: &[Dim]) -> Self {
        let graph = GraphProto {
            input: vec![info("x", DataType::Float, dims)],
            output: vec![ValueInfoProto { name: "y".into(), ..Default::default() }],
            ..Default::default()
        };
        Self { graph, opset: 13 }
    }

    /// A model with a real input of these extents.
    pub(super) fn fixed(dims: &[i64]) -> Self {
        Self::new(&dims.iter().map(|&dim| Dim::DimValue(dim)).collect::<Vec<_>>())
    }

    /// A model with an integer input of these extents.
    pub(super) fn integer(ty: DataType, dims: &[i64]) -> Self {
        let dims: Vec<Dim> = dims.iter().map(|&dim| Dim::DimValue(dim)).collect();
        let mut model = Self::new(&dims);
        model.graph.input = vec![info("x", ty, &dims)];
        model
    }

    /// Sets the version of the default operator set.
    pub(super) fn opset(mut self, version: i64) -> Self {
        self.opset = version;
        self
    }

    pub(super) fn node(self, operator: &str, inputs: &[&str], output: &str) -> Self {
        self.node_of("", operator, inputs, &[output])
    }

    pub(super) fn node_of(
        mut self,
        domain: &str,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
    ) -> Self {
        let names = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
        self.graph.node.push(NodeProto {
            name: format!("/{}", outputs[0]),
            domain: domain.into(),
            op_type: operator.into(),
            input: names(inputs),
            output: names(outputs),
            ..Default::default()
        });
        self
    }

    fn attribute(mut self, name: &str, attribute: AttributeProto, ty: AttributeType) -> Self {
        let attribute = AttributeProto { name: name.into(), r#type: ty as i32, ..attribute };
        self.graph.node.last_mut().unwrap().attribute.push(attribute);
        self
    }

    /// Gives the last node an attribute.
    pub(super) fn ints(self, name: &str, ints: &[i64]) -> Self {
        let attribute = AttributeProto { ints: ints.to_vec(), ..Default::default() };
        self.attribute(name, attribute, AttributeType::Ints)
    }

    pub(super) fn int(self, name: &str, i: i64) -> Self {
        self.attribute(name, AttributeProto { i, ..Default::default() }, AttributeType::Int)
    }

    pub(super) fn float(self, name: &str, f: f32) -> Self {
        self.attribute(name, AttributeProto { f, ..Default::default() }, AttributeType::Float)
    }

    pub(super) fn text(self, name: &str, text: &str) -> Self {
        let s = text.as_bytes().to_vec();
        self.attribute(name, AttributeProto { s, ..Default::default() }, AttributeType::String)
    }

    /// Adds an initializer.
    pub(super) fn floats(mut self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        self.graph.initializer.push(TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: DataType::Float as i32,
            float_data: values.to_vec(),
            ..Default::default()
        });
        self
    }

    pub(super) fn small(mut self, ty: DataType, name: &str, dims: &[i64], values: &[i32]) -> Self {
        self.graph.initializer.push(TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: ty as i32,
            int32_data: values.to_vec(),
            ..Default::default()
        });
        self
    }

    pub(super) fn int8(self, name: &str, dims: &[i64], values: &[i32]) -> Self {
        self.small(DataType::Int8, name, dims, values)
    }

    pub(super) fn uint8(self, name: &str, dims: &[i64], values: &[i32]) -> Self {
        self.small(DataType::Uint8, name, dims, values)
    }

    /// Adds a list of 64-bit integers.
    pub(super) fn list(mut self, name: &str, values: &[i64]) -> Self {
        self.graph.initializer.push(TensorProto {
            name: name.into(),
            dims: vec![i64::try_from(values.len()).unwrap()],
            data_type: DataType::Int64 as i32,
            int64_data: values.to_vec(),
            ..Default::default()
        });
        self
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: self.opset }];
        let model = ModelProto { graph: Some(self.graph), opset_import, ..Default::default() };
        model.encode_to_vec()
    }

    /// Expects the text form of the graph, without its first and last line.
    pub(super) fn check(self, expected: &[&str]) {
        let graph = graph(&self.bytes());
        let text = text(&graph);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1..lines.len() - 1], *expected, "{text}");
    }

    /// Expects the operators of the graph in their text form, without names, origins and types:
    /// `mnemonic attributes`. Inputs are left out.
    pub(super) fn check_operators(self, expected: &[&str]) {
        let graph = graph(&self.bytes());
        let text = text(&graph);
        let operators: Vec<String> = text
            .lines()
            .filter_map(|line| line.split_once(" = ")?.1.rsplit_once(" : "))
            .map(|(operator, _)| operator.split(" from=").next().unwrap_or_default())
            .filter(|operator| *operator != "input")
            .map(|operator| match (operator.find('('), operator.find(')')) {
                (Some(open), Some(close)) => {
                    format!("{}{}", &operator[..open], &operator[close + 1..])
                }
                _ => operator.to_owned(),
            })
            .collect();
        assert_eq!(operators, expected, "{text}");
    }

    /// Expects the type of the output.
    pub(super) fn check_type(self, expected: &str) {
        let graph = graph(&self.bytes());
        assert_eq!(graph.node(graph.outputs()[0]).ty.to_string(), expected);
    }

    /// Expects a diagnostic that contains `phrase`.
    pub(super) fn refuse(self, phrase: &str) {
        let found = import(&self.bytes(), "m.onnx", ExternalData::None).unwrap_err().to_string();
        assert!(found.contains(phrase), "{phrase}: {found}");
    }

    /// Expects diagnostics with these codes and phrases, in order.
    pub(super) fn check_faults(self, expected: &[(Code, &str)]) {
        check_faults(&self.bytes(), expected);
    }
}

/// The graph of a model that must be importable.
pub(super) fn graph(bytes: &[u8]) -> Graph {
    let graph =
        import(bytes, "m.onnx", ExternalData::None).unwrap_or_else(|error| panic!("{error}"));
    verify(&graph).unwrap();
    graph
}

pub(super) fn check_faults(bytes: &[u8], expected: &[(Code, &str)]) {
    let found = import(bytes, "m.onnx", ExternalData::None).unwrap_err();
    let codes: Vec<Code> = found.iter().map(|diagnostic| diagnostic.code).collect();
    let expected_codes: Vec<Code> = expected.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, expected_codes, "{found}");
    for (diagnostic, (_, phrase)) in found.iter().zip(expected) {
        assert!(diagnostic.to_string().contains(phrase), "{phrase}: {diagnostic}");
    }
}
