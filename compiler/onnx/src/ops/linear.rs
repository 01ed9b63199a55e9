//! `MatMul`, `Gemm`, `MatMulInteger`.

use super::quantize::raw_integers;
use super::shape::reshape_to;
use super::{Loaded, ONNX, OperatorEntry};
use crate::fault::Fault;
use crate::fold::floats;
use crate::node::NodeReader;
use crate::scope::Value;
use heq_ir::graph::op::{BinaryOp, Op};
use heq_ir::tensor::Shape;

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry {
        domain: ONNX,
        operator: "Gemm",
        forms: "vector [1, F] by a matrix, transposed or not; alpha, beta, bias; transA 0",
        load: gemm,
    },
    OperatorEntry {
        domain: ONNX,
        operator: "MatMul",
        forms: "vector [F], [1, F] or [1, 1, F] by a matrix [F, K]",
        load: mat_mul,
    },
    OperatorEntry {
        domain: ONNX,
        operator: "MatMulInteger",
        forms: "as MatMul; constant zero points, of the matrix per tensor or column",
        load: mat_mul_integer,
    },
];

fn mat_mul(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let (x, w) = (node.input(0)?, node.input(1)?);
    Ok(product(node, 0, 1, x, w)?.into())
}

fn mat_mul_integer(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let (x, w) = (raw_integers(node, 0, 2, 0)?, raw_integers(node, 1, 3, 1)?);
    Ok(product(node, 0, 1, x, w)?.into())
}

/// The product of `x` and `w`, which have the shapes of the tensors in these slots.
pub(super) fn product(
    node: &mut NodeReader<'_>,
    x_slot: usize,
    w_slot: usize,
    x: Value,
    w: Value,
) -> Result<Value, Fault> {
    let (shape, weights) = (node.ty(x_slot)?.shape, node.ty(w_slot)?.shape);
    let (Some((&features, outer)), &[_, columns]) = (shape.dims().split_last(), weights.dims())
    else {
        return Ok(Value::op(Op::MatMul, [x, w]));
    };
    if shape.rank() == 2 || outer.iter().any(|&extent| extent != 1) {
        return Ok(Value::op(Op::MatMul, [x, w]));
    }
    let result = [outer, &[columns]].concat();
    let row = Value::op(reshape_to(&[1, features]), [x]);
    Ok(Value::op(reshape_to(&result), [Value::op(Op::MatMul, [row, w])]))
}

fn gemm(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let (x, w, bias) = (node.input(0)?, node.input(1)?, node.optional_input(2));
    let attributes = GemmAttributes::read(node)?;
    let beta = node.float("beta", 1.0)?;
    Ok(attributes.apply(x, w, bias, beta)?.into())
}

/// Attributes that all forms of `Gemm` share.
pub(super) struct GemmAttributes {
    /// Factor of the product.
    pub(super) alpha: f32,
    /// Whether the matrix is transposed.
    pub(super) trans_b: bool,
}

impl GemmAttributes {
    /// Reads them.
    pub(super) fn read(node: &mut NodeReader<'_>) -> Result<Self, Fault> {
        node.require("transA", 0, 0)?;
        Ok(Self { alpha: node.float("alpha", 1.0)?, trans_b: node.int("transB", 0)? != 0 })
    }

    /// `alpha*x*w + beta*bias`.
    pub(super) fn apply(
        &self,
        x: Value,
        w: Value,
        bias: Option<Value>,
        beta: f32,
    ) -> Result<Value, Fault> {
        if !self.alpha.is_finite() || !beta.is_finite() {
            return Err(Fault::malformed("alpha or beta is not finite"));
        }
        let op = Op::Gemm { trans_b: self.trans_b };
        let bias = bias.map(|bias| scaled(bias, beta));
        if is_one(self.alpha) {
            let mut inputs = vec![x, w];
            inputs.extend(bias);
            return Ok(Value::op(op, inputs));
        }
        let product = scaled(Value::op(op, [x, w]), self.alpha);
        Ok(match bias {
            None => product,
            Some(bias) => Value::op(Op::Binary(BinaryOp::Add), [product, bias]),
        })
    }
}

/// `factor*x`.
pub(super) fn scaled(x: Value, factor: f32) -> Value {
    if is_one(factor) {
        return x;
    }
    let factor = Value::Constant(floats(Shape::scalar(), vec![factor]));
    Value::op(Op::Binary(BinaryOp::Mul), [x, factor])
}

fn is_one(factor: f32) -> bool {
    factor.to_bits() == 1.0_f32.to_bits()
}
