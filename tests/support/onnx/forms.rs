//! How quantizers and quantized constants are written in each form of quantized ONNX.

use super::builder::{Attribute, QONNX};
use super::generate::{Network, Ties};
use super::scale::Scale;
use tract_onnx::pb::tensor_proto::DataType;

/// A form of quantized ONNX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `QuantizeLinear`, `DequantizeLinear` around float operators.
    Qdq,
    /// The same with a `Clip` between the two.
    Qcdq,
    /// Operators on integers, `QLinearConv` and the like.
    QOperator,
    /// `Quant` nodes around float operators.
    Qonnx,
}

/// A quantizer: real value = `scale*(integer - zero)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantizer {
    /// Real value of one step.
    pub scale: Scale,
    /// The integer that stands for 0.0.
    pub zero: i64,
    /// Type that holds the integers.
    pub ty: DataType,
    /// Smallest integer.
    pub lo: i64,
    /// Largest integer.
    pub hi: i64,
}

impl Quantizer {
    /// The integers without zero point.
    #[must_use]
    pub fn range(&self) -> (i64, i64) {
        (self.lo - self.zero, self.hi - self.zero)
    }
}

/// Constant weights.
pub(super) struct Weights {
    pub(super) dims: Vec<usize>,
    /// Without zero point.
    pub(super) values: Vec<i64>,
    /// Width in bits, signed; 1 if they are 1 and -1.
    pub(super) bits: u32,
    /// One a tensor, or one for every index of `axis`.
    pub(super) scales: Vec<Scale>,
    pub(super) axis: usize,
}

impl Network {
    /// How a quantizer of this form stores an activation; `bits` is a wish.
    pub(super) fn storage(&mut self, bits: u32, signed: bool, scale: Scale) -> Quantizer {
        let narrow = self.form == Form::Qcdq || self.form == Form::Qonnx;
        let (bits, ty) = match (narrow, bits <= 4 && self.int4, signed) {
            (true, _, true) => (bits, DataType::Int8),
            (true, _, false) => (bits, DataType::Uint8),
            (false, true, true) => (4, DataType::Int4),
            (false, true, false) => (4, DataType::Uint4),
            (false, false, true) => (8, DataType::Int8),
            (false, false, false) => (8, DataType::Uint8),
        };
        let (mut lo, hi) = match signed {
            true => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
            false => (0, (1 << bits) - 1),
        };
        if narrow && signed && bits > 1 && self.chance(1, 3) {
            lo += 1;
        }
        let zero = match self.draw(0, 3) {
            0 => self.draw(lo, hi),
            1 if !signed && bits == 8 => 128,
            _ => 0,
        };
        Quantizer { scale, zero, ty, lo, hi }
    }

    /// Quantizes a tensor of reals to a tensor of reals; `ties` says how the integer network rounds.
    pub(super) fn quantized(&mut self, x: &str, to: &Quantizer, ties: Ties) -> String {
        if self.form == Form::Qonnx {
            return self.quant(x, to, ties);
        }
        let integers = self.quantize_linear(x, to, ties);
        self.dequantize_linear(&integers, to)
    }

    /// `QuantizeLinear`, and the `Clip` behind it.
    pub(super) fn quantize_linear(&mut self, x: &str, to: &Quantizer, ties: Ties) -> String {
        let (scale, zero) = self.parameters(to);
        let inputs = match to.zero == 0 && to.ty == DataType::Uint8 && self.chance(1, 2) {
            true => vec![x, &scale],
            false => vec![x, &scale, &zero],
        };
        let integers = self.builder.node("", "QuantizeLinear", &inputs, &[]);
        self.rounds(&integers, ties);
        self.clipped(integers, to)
    }

    pub(super) fn dequantize_linear(&mut self, integers: &str, from: &Quantizer) -> String {
        let (scale, zero) = self.parameters(from);
        self.builder.node("", "DequantizeLinear", &[integers, &scale, &zero], &[])
    }

    /// Constants with scale and zero point of a quantizer.
    pub(super) fn parameters(&mut self, of: &Quantizer) -> (String, String) {
        let dims: &[usize] = if self.chance(1, 3) { &[1] } else { &[] };
        let scale = self.builder.floats(dims, &[of.scale.value()]);
        (scale, self.builder.ints(of.ty, dims, &[of.zero]))
    }

    fn clipped(&mut self, integers: String, to: &Quantizer) -> String {
        let (lo, hi) = type_range(to.ty);
        if (lo, hi) == (to.lo, to.hi) {
            return integers;
        }
        let (lo, hi) =
            (self.builder.ints(to.ty, &[], &[to.lo]), self.builder.ints(to.ty, &[], &[to.hi]));
        self.builder.node("", "Clip", &[&integers, &lo, &hi], &[])
    }

    fn quant(&mut self, x: &str, to: &Quantizer, ties: Ties) -> String {
        let signed = to.ty == DataType::Int8;
        let bits = 64 - (to.hi - to.lo).leading_zeros();
        let narrow = signed && to.lo == -to.hi;
        let scale = self.builder.floats(&[], &[to.scale.value()]);
        let zero = self.builder.floats(&[], &[to.zero as f32]);
        let bits = self.builder.floats(&[], &[bits as f32]);
        let attributes = [
            ("signed", Attribute::Int(i64::from(signed))),
            ("narrow", Attribute::Int(i64::from(narrow))),
            ("rounding_mode", Attribute::Text("ROUND")),
        ];
        let y = self.builder.node(QONNX, "Quant", &[x, &scale, &zero, &bits], &attributes);
        self.rounds(&y, ties);
        y
    }

    /// Weights as a tensor of reals.
    pub(super) fn weights(&mut self, weights: &Weights) -> String {
        if weights.bits == 1 || self.form == Form::Qonnx {
            return self.qonnx_weights(weights);
        }
        let (lo, hi) = signed_range(weights.bits);
        let (ty, zero) = match weights.bits {
            _ if self.form == Form::Qcdq => (DataType::Int8, 0),
            4 if self.int4 && self.chance(1, 2) => (DataType::Uint4, 8),
            _ if self.int4 && weights.bits <= 4 => (DataType::Int4, 0),
            _ if self.chance(1, 4) => (DataType::Uint8, 128),
            _ => (DataType::Int8, 0),
        };
        let stored: Vec<i64> = weights.values.iter().map(|value| value + zero).collect();
        let count = weights.scales.len();
        let dims: Vec<usize> = if count > 1 { vec![count] } else { vec![] };
        let values: Vec<f32> = weights.scales.iter().map(|scale| scale.value()).collect();
        let scale = self.builder.floats(&dims, &values);
        let zeros = self.builder.ints(ty, &dims, &vec![zero; count]);
        let axis = [("axis", Attribute::Int(weights.axis as i64))];
        let axis = if count > 1 { &axis[..] } else { &[] };
        let integers = if self.chance(1, 3) {
            let reals = self.builder.floats(&weights.dims, &weights.reals());
            self.builder.node("", "QuantizeLinear", &[&reals, &scale, &zeros], axis)
        } else {
            self.builder.ints(ty, &weights.dims, &stored)
        };
        let stored = Quantizer { scale: Scale::power(0), zero, ty, lo: lo + zero, hi: hi + zero };
        let integers = match self.form {
            Form::Qcdq => self.clipped(integers, &stored),
            _ => integers,
        };
        self.builder.node("", "DequantizeLinear", &[&integers, &scale, &zeros], axis)
    }

    fn qonnx_weights(&mut self, weights: &Weights) -> String {
        let reals = self.builder.floats(&weights.dims, &weights.reals());
        let count = weights.scales.len();
        let mut dims = vec![1; weights.dims.len()];
        dims[weights.axis] = count;
        let values: Vec<f32> = weights.scales.iter().map(|scale| scale.value()).collect();
        let scale = self.builder.floats(if count > 1 { &dims } else { &[] }, &values);
        if weights.bits == 1 {
            return self.builder.node(QONNX, "BipolarQuant", &[&reals, &scale], &[]);
        }
        let zero = self.builder.floats(&[], &[0.0]);
        let bits = self.builder.floats(&[], &[weights.bits as f32]);
        let least = weights.values.iter().min().copied().unwrap_or(0);
        let narrow = least > signed_range(weights.bits).0 && self.chance(1, 2);
        let attributes = [
            ("signed", Attribute::Int(1)),
            ("narrow", Attribute::Int(i64::from(narrow))),
            ("rounding_mode", Attribute::Text("ROUND")),
        ];
        self.builder.node(QONNX, "Quant", &[&reals, &scale, &zero, &bits], &attributes)
    }
}

impl Weights {
    /// The scale of an element.
    fn scale(&self, index: usize) -> Scale {
        let inner: usize = self.dims[self.axis + 1..].iter().product();
        self.scales[index / inner % self.dims[self.axis] % self.scales.len()]
    }

    fn reals(&self) -> Vec<f32> {
        let real = |(index, value): (usize, &i64)| *value as f32 * self.scale(index).value();
        self.values.iter().enumerate().map(real).collect()
    }
}

/// The integers of a type.
fn type_range(ty: DataType) -> (i64, i64) {
    match ty {
        DataType::Int4 => (-8, 7),
        DataType::Uint4 => (0, 15),
        DataType::Int8 => (-128, 127),
        _ => (0, 255),
    }
}

/// The integers of a signed width.
pub(super) fn signed_range(bits: u32) -> (i64, i64) {
    (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
}
