//! Whole networks.

use super::super::*;
use super::builder::graph;
use std::path::{Path, PathBuf};

const LENET: &[u8] = include_bytes!("../../../../../examples/onnx/lenet_mnist/model.onnx");

#[test]
fn a_trained_network_is_imported_whole() {
    let graph = graph(LENET);
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

/// Models that are kept outside the repository, with their operators in QONNX and QDQ form; none,
/// with a printed reason, where they are absent.
fn shared_models() -> Vec<PathBuf> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models");
    let Ok(entries) = std::fs::read_dir(models) else {
        eprintln!("skipped: needs models that are not part of the repository");
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|kind| kind == "onnx")).collect()
}

#[test]
fn exported_networks_are_imported_whole() {
    for path in shared_models() {
        let bytes = std::fs::read(&path).unwrap();
        let graph = import(&bytes, "m.onnx", ExternalData::Beside(path.parent().unwrap()))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        heq_ir::graph::verify::verify(&graph).unwrap();
    }
}
