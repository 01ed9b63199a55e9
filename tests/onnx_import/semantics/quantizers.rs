//! `QuantizeLinear`, `DequantizeLinear`, `Quant`, `BipolarQuant`.
//!
//! A tie is one of `x/scale`, before the zero point is added. ONNX rounds there too; QONNX adds the
//! zero point first, which differs where it is odd and the tie goes to even.

use super::{Call, Dyadic, Tensor};
use heq_tests::onnx::generate::Ties;
use tract_onnx::pb::tensor_proto::DataType;

impl Call<'_> {
    pub(super) fn quantize_linear(&self) -> Tensor {
        let (x, scale) = (self.input(0), self.input(1));
        let axis = if scale.values.len() > 1 { self.axis("axis", 1, x.dims.len()) } else { 0 };
        quantize(x, scale, self.optional(2), axis, self.ties())
    }

    pub(super) fn dequantize_linear(&self) -> Tensor {
        let (x, scale) = (self.input(0), self.input(1));
        let axis = if scale.values.len() > 1 { self.axis("axis", 1, x.dims.len()) } else { 0 };
        dequantize(x, scale, self.optional(2), axis)
    }

    pub(super) fn quant(&self) -> Tensor {
        let (x, scale) = (self.input(0), self.input(1));
        let (zero, bits) = (self.input(2).scalar().integer(), self.input(3).scalar().integer());
        let (signed, narrow) = (self.int("signed", 1) != 0, i128::from(self.int("narrow", 0)));
        let (lo, hi) = match signed {
            true => (-(1 << (bits - 1)) + narrow, (1 << (bits - 1)) - 1),
            false => (0, (1 << bits) - 1 - narrow),
        };
        super::broadcast(x, scale, |x, scale| {
            let integer = (x.divided(scale, self.ties()) + zero).clamp(lo, hi);
            Dyadic::from(integer - zero) * scale
        })
    }

    pub(super) fn bipolar_quant(&self) -> Tensor {
        super::broadcast(self.input(0), self.input(1), |x, scale| {
            if x < Dyadic::ZERO { -scale } else { scale }
        })
    }
}

/// `saturate(round(x/scale) + zero)`.
pub(super) fn quantize(
    x: &Tensor,
    scale: &Tensor,
    zero: Option<&Tensor>,
    axis: usize,
    ties: Ties,
) -> Tensor {
    let ty = zero.map_or(DataType::Uint8, |zero| zero.ty);
    let (lo, hi) = match ty {
        DataType::Int4 => (-8, 7),
        DataType::Uint4 => (0, 15),
        DataType::Int8 => (-128, 127),
        DataType::Uint8 => (0, 255),
        _ => panic!("zero point of type {ty:?}"),
    };
    let quantized = along(x, scale, zero, axis, |x, scale, zero| {
        Dyadic::from((x.divided(scale, ties) + zero.integer()).clamp(lo, hi))
    });
    Tensor { ty, ..quantized }
}

/// `(q - zero)*scale`.
pub(super) fn dequantize(q: &Tensor, scale: &Tensor, zero: Option<&Tensor>, axis: usize) -> Tensor {
    along(q, scale, zero, axis, |q, scale, zero| (q - zero) * scale)
}

/// A function of every element with the scale and zero point of its index along `axis`.
fn along(
    x: &Tensor,
    scale: &Tensor,
    zero: Option<&Tensor>,
    axis: usize,
    f: impl Fn(Dyadic, Dyadic, Dyadic) -> Dyadic,
) -> Tensor {
    let count = scale.values.len();
    let (_, extent, behind) = if count > 1 { x.split(axis) } else { (1, 1, 1) };
    assert_eq!(extent, count, "one scale an index");
    let pick = |list: &Tensor, index: usize| list.values[index % list.values.len()];
    let values = x.values.iter().enumerate().map(|(index, &x)| {
        let channel = index / behind % extent;
        let zero = zero.map_or(Dyadic::ZERO, |zero| pick(zero, channel));
        f(x, pick(scale, channel), zero)
    });
    Tensor::reals(x.dims.clone(), values.collect())
}
