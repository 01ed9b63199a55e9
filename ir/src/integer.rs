//! The integer network: the quantized model as exact integer arithmetic, with its weights.
//!
//! It stands between the ONNX graph and the secure program. Zero points are removed: a shared value
//! is `q - zero_point`. Every linear layer computes `acc[k] = sum(w[k]*x)`, and what follows it is
//! `y = clamp((acc*m[k] + bias[k] + 2^(s-1)) >> s, lo, hi)`; without a requantization the layer's
//! result is `acc*m[k] + bias[k]` itself. Source: docs/integer-network.md.

use crate::geometry::{Chw, ConvGeometry, Window};
use serde::{Deserialize, Serialize};

/// A closed range of integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IntRange {
    /// Smallest value.
    pub lo: i64,
    /// Largest value.
    pub hi: i64,
}

impl IntRange {
    /// Number of bits that hold `hi - lo`.
    #[must_use]
    pub fn bits(self) -> u32 {
        u64::BITS - self.hi.abs_diff(self.lo).leading_zeros()
    }
}

/// An affine quantizer: real value = `scale * integer`, zero point already removed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantization {
    /// Real value of one step; positive and finite.
    pub scale: f64,
    /// The values that the integer takes.
    pub range: IntRange,
}

/// Index of a value: 0 is the network's input, `i + 1` the output of layer `i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ValueId(pub usize);

/// A quantized model as exact integer arithmetic.
#[derive(Clone, Debug, PartialEq)]
pub struct IntegerNetwork {
    /// Name of the model.
    pub name: String,
    /// The tensor that the client brings.
    pub input: NetworkInput,
    /// Layers in an order in which every value is made before it is read.
    pub layers: Vec<IntegerLayer>,
    /// The tensor that the client learns.
    pub output: NetworkOutput,
}

/// The input of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkInput {
    /// ONNX name.
    pub name: String,
    /// Shape without the batch dimension.
    pub shape: Chw,
    /// The first quantizer: the client computes `clamp(round_half_even(x / scale), lo, hi)`.
    pub quantization: Quantization,
}

impl NetworkInput {
    /// Quantizes one sample as ONNX `QuantizeLinear` does: float32 division, half to even, saturated;
    /// zero point removed.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "ONNX scales are float32; float casts saturate"
    )]
    pub fn quantize(&self, x: &[f32]) -> Vec<i64> {
        let Quantization { scale, range } = self.quantization;
        let quantize = |&value: &f32| (value / scale as f32).round_ties_even() as i64;
        x.iter().map(|value| quantize(value).clamp(range.lo, range.hi)).collect()
    }
}

/// The output of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkOutput {
    /// ONNX name.
    pub name: String,
    /// The value that is revealed.
    pub value: ValueId,
    /// Real value of one step of the integer output.
    pub scale: f64,
}

/// One layer of the integer network.
#[derive(Clone, Debug, PartialEq)]
pub struct IntegerLayer {
    /// Name of the ONNX node that the layer computes.
    pub name: String,
    /// ONNX operator type of that node.
    pub operator: String,
    /// The value that the layer reads.
    pub input: ValueId,
    /// What the layer computes.
    pub op: IntegerOp,
}

/// The operations of the integer network.
#[derive(Clone, Debug, PartialEq)]
pub enum IntegerOp {
    /// Convolution or matrix product, with the requantization that follows it.
    Linear(LinearOp),
    /// Maximum over windows; padding counts as the smallest value.
    MaxPool(MaxPoolOp),
    /// The same elements in row-major order as `[C*H*W, 1, 1]`.
    Flatten,
}

/// A linear layer with its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearOp {
    /// Shapes and window.
    pub geometry: ConvGeometry,
    /// Weights `[K, C, R, S]`, signed, within `weight_bits`.
    pub weights: Vec<i32>,
    /// Width of the weights' type in bits, signed: values lie in `[-2^(b-1), 2^(b-1))`.
    pub weight_bits: u32,
    /// Multiplier of every output channel `[K]`; `|m| <= max(1, 2^multiplier_bits - 1)`.
    pub multipliers: Vec<i64>,
    /// Width `mu` of the multipliers in bits; 0 if all are 1 or -1.
    pub multiplier_bits: u32,
    /// Bias of every output channel `[K]`, at the scale of `acc*m`, without the rounding constant.
    pub bias: Vec<i64>,
    /// What follows, or `None` if the accumulator itself is the result.
    pub requantize: Option<Requantize>,
}

/// `y = clamp((z + 2^(s-1)) >> s, lo, hi)`, the rounding constant only if `s >= 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Requantize {
    /// Right shift s in bits.
    pub shift: u32,
    /// The values that the result takes; `hi - lo = 2^b - 1` for a width b of 1 to 8 bits.
    pub range: IntRange,
}

/// A max pooling layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxPoolOp {
    /// Shape of the input.
    pub input: Chw,
    /// The window.
    pub window: Window,
}
