//! What `heqc` says about models that it cannot compile: six of them, against messages on record.
//!
//! `HEQ_BLESS=1` writes the messages in `messages/` anew.
#![allow(clippy::unwrap_used, reason = "clippy exempts test functions, not their helpers")]

use prost::Message;
use std::path::Path;
use std::process::Command;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::tensor_shape_proto::Dimension;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::type_proto::{Tensor, Value as TypeValue};
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
};

/// A model from real `x` to `y` under construction.
struct Model(GraphProto);

impl Model {
    fn new(dims: &[Dim]) -> Self {
        let dim = |value: &Dim| Dimension { value: Some(value.clone()), ..Default::default() };
        let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
        let tensor = Tensor { elem_type: DataType::Float as i32, shape: Some(shape) };
        let ty = TypeProto { value: Some(TypeValue::TensorType(tensor)), ..Default::default() };
        let info =
            |name: &str, ty| ValueInfoProto { name: name.into(), r#type: ty, ..Default::default() };
        Self(GraphProto {
            input: vec![info("x", Some(ty))],
            output: vec![info("y", None)],
            ..Default::default()
        })
    }

    /// A model of a vector.
    fn vector() -> Self {
        Self::new(&[Dim::DimValue(1), Dim::DimValue(4)])
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

    fn tensor(mut self, name: &str, ty: DataType, dims: &[i64], bytes: &[u8]) -> Self {
        self.0.initializer.push(TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: ty as i32,
            raw_data: bytes.to_vec(),
            ..Default::default()
        });
        self
    }

    fn float(self, name: &str, value: f32) -> Self {
        self.tensor(name, DataType::Float, &[], &value.to_le_bytes())
    }

    /// A quantizer of `from` with zero point tensor `zero`, in both halves.
    fn quantizer(self, from: &str, zero: &str, to: &str) -> Self {
        let integers = format!("{to}_integers");
        self.node("QuantizeLinear", &[from, "scale", zero], &integers).node(
            "DequantizeLinear",
            &[&integers, "scale", zero],
            to,
        )
    }

    /// A quantized matrix product of `from` with weights `w`, and the parameters of all quantizers.
    fn product(self, from: &str, to: &str) -> Self {
        self.float("scale", 0.5)
            .tensor("zero", DataType::Int8, &[], &[0])
            .tensor("w", DataType::Int8, &[4, 2], &[1, 255, 2, 3, 0, 1, 1, 2])
            .node("DequantizeLinear", &["w", "scale", "zero"], "weights")
            .node("MatMul", &[from, "weights"], to)
    }

    /// Says that the elements of initializer `name` are in another file.
    fn elsewhere(mut self, name: &str, location: &str) -> Self {
        let tensor = self.0.initializer.iter_mut().find(|tensor| tensor.name == name).unwrap();
        tensor.raw_data.clear();
        tensor.data_location = Some(DataLocation::External as i32);
        tensor.external_data =
            vec![StringStringEntryProto { key: "location".into(), value: location.into() }];
        self
    }

    fn bytes(self) -> Vec<u8> {
        let opset = OperatorSetIdProto { domain: String::new(), version: 21 };
        let graph = Some(self.0);
        ModelProto { ir_version: 10, opset_import: vec![opset], graph, ..Default::default() }
            .encode_to_vec()
    }
}

/// `check` and `compile` say the same of the model, which is on record, and exit with status 3.
fn check(name: &str, model: Model) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.onnx"), model.bytes()).unwrap();
    let record = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/messages/{name}.txt"));
    for arguments in
        [&["check", "model.onnx"][..], &["compile", "model.onnx", "-o", "plan.heq"][..]]
    {
        let heqc = Command::new(env!("CARGO_BIN_EXE_heqc"))
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let message = String::from_utf8(heqc.stderr).unwrap();
        assert_eq!(heqc.status.code(), Some(3), "{name}: {message}");
        assert!(heqc.stdout.is_empty());
        if std::env::var_os("HEQ_BLESS").is_some() {
            std::fs::write(&record, &message).unwrap();
        }
        let recorded = std::fs::read_to_string(&record).unwrap_or_default();
        assert_eq!(message, recorded, "{name}");
        assert!(!folder.path().join("plan.heq").exists());
    }
}

#[test]
fn a_float_model() {
    let weights: Vec<u8> = (0..8_u8).flat_map(|w| f32::from(w).to_le_bytes()).collect();
    let model = Model::vector().tensor("w", DataType::Float, &[4, 2], &weights);
    check("float", model.node("MatMul", &["x", "w"], "y"));
}

#[test]
fn activations_of_16_bits() {
    let model = Model::vector().tensor("zero16", DataType::Int16, &[], &[0, 0]);
    check("16-bit-activations", model.quantizer("x", "zero16", "q").product("q", "y"));
}

#[test]
fn two_operators_that_are_not_supported() {
    let model = Model::vector().quantizer("x", "zero", "q").node("Erf", &["q"], "erf");
    let model = model.product("q", "p").node("Det", &["p"], "det");
    check("unsupported-operators", model.node("Add", &["erf", "det"], "y"));
}

#[test]
fn a_dynamic_shape() {
    let model = Model::new(&[Dim::DimParam("batch".into()), Dim::DimParam("features".into())]);
    check("dynamic-shape", model.quantizer("x", "zero", "q").product("q", "y"));
}

#[test]
fn a_scale_that_is_not_constant() {
    let model = Model::vector().node("Relu", &["x"], "computed");
    let model = model.node("QuantizeLinear", &["x", "computed", "zero"], "integers").node(
        "DequantizeLinear",
        &["integers", "computed", "zero"],
        "q",
    );
    check("computed-scale", model.product("q", "y"));
}

#[test]
fn external_data_in_another_directory() {
    let model = Model::vector().quantizer("x", "zero", "q").product("q", "y");
    check("external-data", model.elsewhere("w", "../w.bin"));
}
