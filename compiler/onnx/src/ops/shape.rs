//! `Flatten`, `Reshape`, `Transpose`.

use super::{Loaded, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::node::NodeReader;
use heq_ir::graph::op::Op;

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry { domain: ONNX, operator: "Flatten", forms: "to a vector [1, F]", load: flatten },
    OperatorEntry {
        domain: ONNX,
        operator: "Reshape",
        forms: "constant shape, to a vector [1, F]",
        load: reshape,
    },
    OperatorEntry { domain: ONNX, operator: "Transpose", forms: "of constants", load: transpose },
];

fn flatten(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let axis = node.int("axis", 1)?;
    Ok(Loaded::Op(Op::Flatten { axis }, vec![node.input(0)?]))
}

fn reshape(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let x = node.input(0)?;
    let allow_zero = node.int("allowzero", 0)? != 0;
    let target = match node.ints("shape")? {
        Some(target) if node.opset() < 5 => target.to_vec(),
        _ => node
            .constant(1, "shape")?
            .as_ints()
            .ok_or_else(|| Fault::malformed("the target shape is not integer"))?
            .to_vec(),
    };
    Ok(Loaded::Op(Op::Reshape { target, allow_zero }, vec![x]))
}

fn transpose(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let x = node.input(0)?;
    let perm = match node.ints("perm")? {
        None => None,
        Some(perm) => {
            let axes: Option<Vec<usize>> =
                perm.iter().map(|&axis| usize::try_from(axis).ok()).collect();
            Some(axes.ok_or_else(|| Fault::malformed(format!("perm={perm:?} is negative")))?)
        }
    };
    Ok(Loaded::Op(Op::Transpose { perm }, vec![x]))
}
