//! The operators of the cleartext graph.
//!
//! Three groups. ONNX operators as imported, with the parameters that must be constant (scales,
//! bounds, normalization statistics) inside the operator. Sources: the input and constants. And the
//! canonical forms that passes rewrite into: [`Op::Quantize`], [`Op::QuantizedConstant`] and
//! [`Op::ChannelAffine`]. Every operator makes one tensor; what its type is, `infer.rs` says.

use crate::geometry::Window;
use crate::integer::{IntRange, Quantization};
use crate::tensor::{IntType, Shape, Tensor, TensorType};
use std::ops::RangeInclusive;

/// An operator.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A tensor that is given at run time.
    Input(TensorType),
    /// A tensor that is known.
    Constant(Tensor),
    /// A known tensor of reals on a grid of integers.
    QuantizedConstant(QuantizedTensor),
    /// ONNX `QuantizeLinear`: real `x` to `saturate(round_half_even(x/scale) + zero_point)`.
    QuantizeLinear(QuantizeParams),
    /// ONNX `DequantizeLinear`: integer `q` to `scale*(q - zero_point)`.
    DequantizeLinear(QuantizeParams),
    /// Real `x` to `scale*clamp(round_half_even(x/scale), lo, hi)`.
    Quantize(Quantization),
    /// `x` to `min(max(x, lower), upper)`, on reals or integers.
    Clip(Bounds),
    /// `x` to `max(x, 0)`.
    Relu,
    /// Convolution of `x: [1, C, H, W]` with `w: [K, C, R, S]` and an optional bias `[K]`.
    Conv(ConvParams),
    /// Product of `x: [1, F]` and `w: [F, K]`.
    MatMul,
    /// Product of `x: [1, F]` and a matrix, with an optional bias that broadcasts to `[1, K]`.
    Gemm {
        /// Whether the matrix is `[K, F]` rather than `[F, K]`.
        trans_b: bool,
    },
    /// Inference-mode batch normalization over dimension 1.
    BatchNormalization(BatchNormParams),
    /// `x[k]` to `multiplier[k]*x[k] + offset[k]` over dimension 1.
    ChannelAffine(ChannelAffine),
    /// Maximum over windows of `[1, C, H, W]`; padding counts as minus infinity.
    MaxPool(Window),
    /// Reshape to two dimensions, split before `axis`.
    Flatten {
        /// ONNX axis; may be negative.
        axis: i64,
    },
    /// The same elements in another shape.
    Reshape {
        /// ONNX target shape: -1 for the one extent that follows from the others, 0 for the
        /// operand's extent unless `allow_zero`.
        target: Vec<i64>,
        /// Whether 0 in `target` means 0.
        allow_zero: bool,
    },
    /// Permutation of the dimensions; `None` reverses them.
    Transpose {
        /// Dimension `i` of the result is dimension `perm[i]` of the operand.
        perm: Option<Vec<usize>>,
    },
}

/// Parameters of ONNX `QuantizeLinear` and `DequantizeLinear`.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizeParams {
    /// Real value of one step: one a tensor, or one for every index of `axis`.
    pub scale: Vec<f32>,
    /// The integer that stands for 0.0, as many as there are scales.
    pub zero_point: Vec<i64>,
    /// Type of the integers.
    pub ty: IntType,
    /// ONNX axis of several scales, may be negative; `None` if there is one for the whole tensor.
    pub axis: Option<i64>,
}

/// A tensor of reals `scale*value`.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedTensor {
    /// Extents.
    pub shape: Shape,
    /// Integers, zero point removed.
    pub values: Vec<i64>,
    /// What the integers may be, known without looking at them.
    pub range: IntRange,
    /// Real value of one step: one a tensor, or one for every index of `axis`.
    pub scale: Vec<f64>,
    /// The dimension of several scales; `None` if there is one for the whole tensor.
    pub axis: Option<usize>,
}

/// Bounds of `Clip`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Lower bound; minus infinity if there is none.
    pub lower: f64,
    /// Upper bound; infinity if there is none.
    pub upper: f64,
}

/// Parameters of a convolution without groups or dilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvParams {
    /// Kernel extents `[R, S]`, if the model states them; they must be the weights'.
    pub kernel: Option<[usize; 2]>,
    /// Strides `[vertical, horizontal]`.
    pub strides: [usize; 2],
    /// Padding `[top, left, bottom, right]`.
    pub pads: [usize; 4],
}

/// Parameters of a batch normalization, one of each list a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNormParams {
    /// Scale gamma.
    pub gamma: Vec<f32>,
    /// Bias beta.
    pub beta: Vec<f32>,
    /// Mean of the training data.
    pub mean: Vec<f32>,
    /// Variance of the training data.
    pub variance: Vec<f32>,
    /// What is added to the variance.
    pub epsilon: f32,
}

/// An affine map a channel, in double precision so that composing maps loses nothing that matters.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelAffine {
    /// Factor of every channel.
    pub multiplier: Vec<f64>,
    /// What is added to every channel afterwards.
    pub offset: Vec<f64>,
}

impl Op {
    /// The name in the text form; for an imported operator the ONNX name in snake case.
    #[must_use]
    pub fn mnemonic(&self) -> &'static str {
        match self {
            Self::Input(_) => "input",
            Self::Constant(_) => "constant",
            Self::QuantizedConstant(_) => "quantized_constant",
            Self::QuantizeLinear(_) => "quantize_linear",
            Self::DequantizeLinear(_) => "dequantize_linear",
            Self::Quantize(_) => "quantize",
            Self::Clip(_) => "clip",
            Self::Relu => "relu",
            Self::Conv(_) => "conv",
            Self::MatMul => "mat_mul",
            Self::Gemm { .. } => "gemm",
            Self::BatchNormalization(_) => "batch_normalization",
            Self::ChannelAffine(_) => "channel_affine",
            Self::MaxPool(_) => "max_pool",
            Self::Flatten { .. } => "flatten",
            Self::Reshape { .. } => "reshape",
            Self::Transpose { .. } => "transpose",
        }
    }

    /// How many tensors it reads.
    #[must_use]
    pub fn arity(&self) -> RangeInclusive<usize> {
        match self {
            Self::Input(_) | Self::Constant(_) | Self::QuantizedConstant(_) => 0..=0,
            Self::Conv(_) | Self::Gemm { .. } => 2..=3,
            Self::MatMul => 2..=2,
            Self::QuantizeLinear(_)
            | Self::DequantizeLinear(_)
            | Self::Quantize(_)
            | Self::Clip(_)
            | Self::Relu
            | Self::BatchNormalization(_)
            | Self::ChannelAffine(_)
            | Self::MaxPool(_)
            | Self::Flatten { .. }
            | Self::Reshape { .. }
            | Self::Transpose { .. } => 1..=1,
        }
    }

    /// Whether it is a sum of products with weights.
    #[must_use]
    pub fn is_linear(&self) -> bool {
        matches!(self, Self::Conv(_) | Self::MatMul | Self::Gemm { .. })
    }
}

impl Bounds {
    /// The bounds of a rectifier.
    pub const RELU: Self = Self { lower: 0.0, upper: f64::INFINITY };
}

impl QuantizedTensor {
    /// The real numbers of a tensor with at most one extent above 1.
    #[must_use]
    pub fn reals(&self) -> Vec<f64> {
        let scales = if self.scale.len() == 1 {
            self.scale.repeat(self.values.len())
        } else {
            self.scale.clone()
        };
        #[expect(clippy::cast_precision_loss, reason = "biases are at most 32 bits wide")]
        let reals = self.values.iter().zip(scales).map(|(&value, scale)| value as f64 * scale);
        reals.collect()
    }
}
