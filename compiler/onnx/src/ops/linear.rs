//! `MatMul`, `Gemm`.

use super::{Loaded, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::node::NodeReader;
use heq_ir::graph::op::Op;

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry {
        domain: ONNX,
        operator: "Gemm",
        forms: "alpha 1, beta 1, transA 0, constant matrix, bias",
        load: gemm,
    },
    OperatorEntry {
        domain: ONNX,
        operator: "MatMul",
        forms: "vector [1, F] by constant matrix [F, K]",
        load: mat_mul,
    },
];

fn mat_mul(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    Ok(Loaded::Op(Op::MatMul, vec![node.input(0)?, node.input(1)?]))
}

fn gemm(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let mut inputs = vec![node.input(0)?, node.input(1)?];
    inputs.extend(node.optional_input(2));
    for name in ["alpha", "beta"] {
        let factor = node.float(name, 1.0)?;
        if factor.to_bits() != 1.0_f32.to_bits() {
            return Err(Fault::form(
                format!("attribute {name}={factor} is not supported, only 1"),
                "fold the factor into the weights or the bias before export",
            ));
        }
    }
    node.require("transA", 0, 0)?;
    let trans_b = node.int("transB", 0)? != 0;
    Ok(Loaded::Op(Op::Gemm { trans_b }, inputs))
}
