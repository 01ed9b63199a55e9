//! Builds ONNX models from protobuf types.

use prost::Message;
use std::collections::BTreeSet;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::Dimension;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::type_proto::Tensor as TensorTypeProto;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
};

/// The domain of QONNX.
pub const QONNX: &str = "qonnx.custom_op.general";

/// The domain of ONNX Runtime.
pub const MICROSOFT: &str = "com.microsoft";

/// An attribute of a node.
#[derive(Clone, Debug)]
pub enum Attribute {
    /// `FLOAT`.
    Float(f32),
    /// `INT`.
    Int(i64),
    /// `INTS`.
    Ints(Vec<i64>),
    /// `STRING`.
    Text(&'static str),
}

/// A model under construction.
#[derive(Clone, Debug)]
pub struct ModelBuilder {
    graph: GraphProto,
    /// Version of the default operator set.
    pub opset: i64,
    domains: BTreeSet<&'static str>,
    made: usize,
    /// Whether initializers hold raw bytes rather than typed fields.
    pub raw: bool,
}

impl ModelBuilder {
    /// An empty model of a version of the default operator set.
    #[must_use]
    pub fn new(opset: i64) -> Self {
        let graph = GraphProto { name: "generated".into(), ..Default::default() };
        Self { graph, opset, domains: BTreeSet::new(), made: 0, raw: false }
    }

    /// Adds an input.
    pub fn input(&mut self, name: &str, ty: DataType, dims: &[usize]) {
        let info = value_info(name, ty, Some(dims));
        self.graph.input.push(info);
    }

    /// Adds an output.
    pub fn output(&mut self, name: &str, ty: DataType) {
        let info = value_info(name, ty, None);
        self.graph.output.push(info);
    }

    /// A name that no other tensor has.
    pub fn fresh(&mut self, prefix: &str) -> String {
        self.made += 1;
        format!("{prefix}_{}", self.made)
    }

    /// Adds a constant of reals and returns its name.
    pub fn floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        let mut tensor = self.tensor(DataType::Float, dims);
        if self.raw {
            tensor.raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        } else {
            tensor.float_data = values.to_vec();
        }
        self.add(tensor)
    }

    /// Adds a constant of integers of at most 64 bits and returns its name.
    pub fn ints(&mut self, ty: DataType, dims: &[usize], values: &[i64]) -> String {
        let mut tensor = self.tensor(ty, dims);
        let packed = match ty {
            DataType::Int4 | DataType::Uint4 => pack(values),
            _ => values.to_vec(),
        };
        let width = match ty {
            DataType::Int64 => 8,
            DataType::Int32 => 4,
            _ => 1,
        };
        if self.raw {
            let bytes = packed.iter().flat_map(|value| value.to_le_bytes()[..width].to_vec());
            tensor.raw_data = bytes.collect();
        } else if ty == DataType::Int64 {
            tensor.int64_data = packed;
        } else {
            tensor.int32_data = packed.iter().map(|&value| value as i32).collect();
        }
        self.add(tensor)
    }

    /// Adds a node with one output and returns the name of that.
    pub fn node(
        &mut self,
        domain: &'static str,
        operator: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) -> String {
        let output = self.fresh(&operator.to_lowercase());
        self.domains.insert(domain);
        self.graph.node.push(NodeProto {
            name: format!("/{output}"),
            op_type: operator.into(),
            domain: domain.into(),
            input: inputs.iter().map(|&name| name.into()).collect(),
            output: vec![output.clone()],
            attribute: attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
            ..Default::default()
        });
        output
    }

    /// The model.
    #[must_use]
    pub fn finish(self) -> ModelProto {
        let mut opset_import =
            vec![OperatorSetIdProto { domain: String::new(), version: self.opset }];
        for domain in self.domains.into_iter().filter(|domain| !domain.is_empty()) {
            opset_import.push(OperatorSetIdProto { domain: domain.into(), version: 1 });
        }
        ModelProto { ir_version: 8, opset_import, graph: Some(self.graph), ..Default::default() }
    }

    fn tensor(&mut self, ty: DataType, dims: &[usize]) -> TensorProto {
        TensorProto {
            name: self.fresh("constant"),
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            data_type: ty as i32,
            ..Default::default()
        }
    }

    fn add(&mut self, tensor: TensorProto) -> String {
        let name = tensor.name.clone();
        self.graph.initializer.push(tensor);
        name
    }
}

/// The bytes of a model file.
#[must_use]
pub fn encode(model: &ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}

/// Two 4-bit integers a byte, the first in the low half.
fn pack(values: &[i64]) -> Vec<i64> {
    let nibble = |value: &i64| value & 0xf;
    values.chunks(2).map(|pair| nibble(&pair[0]) | pair.get(1).map_or(0, nibble) << 4).collect()
}

fn attribute(name: &str, value: &Attribute) -> AttributeProto {
    let mut proto = AttributeProto { name: name.into(), ..Default::default() };
    let ty = match value {
        Attribute::Float(f) => {
            proto.f = *f;
            AttributeType::Float
        }
        Attribute::Int(i) => {
            proto.i = *i;
            AttributeType::Int
        }
        Attribute::Ints(ints) => {
            proto.ints.clone_from(ints);
            AttributeType::Ints
        }
        Attribute::Text(text) => {
            proto.s = text.as_bytes().to_vec();
            AttributeType::String
        }
    };
    proto.r#type = ty as i32;
    proto
}

fn value_info(name: &str, ty: DataType, dims: Option<&[usize]>) -> ValueInfoProto {
    let dim =
        |&dim: &usize| Dimension { value: Some(Dim::DimValue(dim as i64)), ..Default::default() };
    let shape = dims.map(|dims| TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = TensorTypeProto { elem_type: ty as i32, shape };
    let ty = TypeProto { value: Some(TypeValue::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.into(), r#type: Some(ty), ..Default::default() }
}
