//! Operators that rearrange elements: `Flatten`, `Reshape`, `Squeeze`, `Unsqueeze`, `Transpose`.

use super::{Loaded, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::node::NodeReader;
use crate::scope::Value;
use crate::tensor::MAX_RANK;
use heq_ir::graph::op::Op;

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry { domain: ONNX, operator: "Flatten", forms: "any axis", load: flatten },
    OperatorEntry {
        domain: ONNX,
        operator: "Reshape",
        forms: "shape constant, or computed from shapes and constants",
        load: reshape,
    },
    OperatorEntry {
        domain: ONNX,
        operator: "Squeeze",
        forms: "constant axes, as input or attribute, or none",
        load: squeeze,
    },
    OperatorEntry {
        domain: ONNX,
        operator: "Transpose",
        forms: "any permutation",
        load: transpose,
    },
    OperatorEntry {
        domain: ONNX,
        operator: "Unsqueeze",
        forms: "constant axes, as input or attribute",
        load: unsqueeze,
    },
];

/// The operator that arranges elements in `dims`.
pub(super) fn reshape_to(dims: &[usize]) -> Op {
    let target = dims.iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect();
    Op::Reshape { target, allow_zero: false }
}

fn flatten(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let axis = node.int("axis", 1)?;
    Ok(Value::op(Op::Flatten { axis }, [node.input(0)?]).into())
}

fn reshape(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let x = node.input(0)?;
    let allow_zero = node.int("allowzero", 0)? != 0;
    let target = node
        .integers("shape", 5, 1)?
        .ok_or_else(|| Fault::malformed("its target shape is missing"))?;
    check_rank(target.len())?;
    Ok(Value::op(Op::Reshape { target: target.to_vec(), allow_zero }, [x]).into())
}

fn squeeze(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let axes = node.integers("axes", 13, 1)?;
    let shape = node.ty(0)?.shape;
    let mut dropped = vec![false; shape.rank()];
    match axes {
        None => dropped = shape.dims().iter().map(|&extent| extent == 1).collect(),
        Some(axes) => {
            for &axis in axes {
                let found = shape.axis(axis).filter(|&axis| shape.dims()[axis] == 1);
                match found.and_then(|axis| dropped.get_mut(axis)) {
                    Some(dropped) => *dropped = true,
                    None => {
                        let what = format!("dimension {axis} of a shape {shape} is not 1");
                        return Err(Fault::malformed(what));
                    }
                }
            }
        }
    }
    let kept = shape.dims().iter().zip(dropped).filter(|(_, dropped)| !dropped);
    let dims: Vec<usize> = kept.map(|(&dim, _)| dim).collect();
    Ok(Value::op(reshape_to(&dims), [node.input(0)?]).into())
}

fn unsqueeze(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let axes =
        node.integers("axes", 13, 1)?.ok_or_else(|| Fault::malformed("its axes are missing"))?;
    let shape = node.ty(0)?.shape;
    let rank = shape.rank().saturating_add(axes.len());
    check_rank(rank)?;
    let mut added = vec![false; rank];
    let signed_rank = i64::try_from(rank).unwrap_or(i64::MAX);
    for &axis in axes {
        let index = if axis < 0 { axis.saturating_add(signed_rank) } else { axis };
        let index = usize::try_from(index).ok();
        match index.and_then(|index| added.get_mut(index)) {
            Some(added) if !*added => *added = true,
            _ => return Err(Fault::malformed(format!("axes={axes:?} do not fit a shape {shape}"))),
        }
    }
    let mut old = shape.dims().iter();
    let dims = added.iter().map(|&added| if added { 1 } else { old.next().copied().unwrap_or(1) });
    Ok(Value::op(reshape_to(&dims.collect::<Vec<_>>()), [node.input(0)?]).into())
}

fn transpose(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let x = node.input(0)?;
    let perm = match node.ints("perm")? {
        None => None,
        Some(perm) => {
            check_rank(perm.len())?;
            let axes: Option<Vec<usize>> =
                perm.iter().map(|&axis| usize::try_from(axis).ok()).collect();
            Some(axes.ok_or_else(|| Fault::malformed(format!("perm={perm:?} is negative")))?)
        }
    };
    Ok(Value::op(Op::Transpose { perm }, [x]).into())
}

fn check_rank(rank: usize) -> Result<(), Fault> {
    if rank <= MAX_RANK {
        return Ok(());
    }
    Err(Fault::form(
        format!("its result has {rank} dimensions, at most {MAX_RANK} are supported"),
        "use tensors of fewer dimensions",
    ))
}
