//! The operators of the cleartext graph.
//!
//! Three groups. ONNX operators as imported, with the parameters that must be constant (scales,
//! bounds, normalization statistics) inside the operator. Sources: the input and constants. And the
//! canonical forms that passes rewrite into: [`Op::Quantize`], [`Op::QuantizedConstant`] and
//! [`Op::ChannelAffine`]. Every operator makes one tensor; what its type is, `infer.rs` says.
//! Images are `[1, C, H, W]`; `[1, C, W]` is an image of height 1.

use crate::geometry::Window;
pub use crate::integer::Rounding;
use crate::integer::{InputElement, InputLayout, IntRange, Quantization};
use crate::tensor::{IntType, Shape, Tensor, TensorType};
use std::ops::RangeInclusive;

/// An operator.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A tensor that is given at run time.
    Input(GraphInput),
    /// A tensor that is known.
    Constant(Tensor),
    /// A known tensor of reals on a grid of integers.
    QuantizedConstant(QuantizedTensor),
    /// ONNX `QuantizeLinear`: real `x` to `saturate(round_half_even(x/scale) + zero_point)`.
    QuantizeLinear(QuantizeParams),
    /// ONNX `DequantizeLinear`: integer `q` to `scale*(q - zero_point)`.
    DequantizeLinear(QuantizeParams),
    /// Real `x` to `scale*clamp(round(x/scale), lo, hi)`.
    Quantize(Quantizer),
    /// `x` to `min(max(x, lower), upper)`, on reals or integers.
    Clip(Bounds),
    /// `x` to `max(x, 0)`.
    Relu,
    /// A function of every element.
    Function(Function),
    /// Sum, difference, product or quotient of two tensors that broadcast.
    Binary(BinaryOp),
    /// Convolution of `x: [1, C, H, W]` with `w: [K, C/G, R, S]` and an optional bias `[K]`.
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
    /// Mean over windows of `[1, C, H, W]`.
    AveragePool(AveragePool),
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
    /// Zeros around the elements: as many before and after as are given for every dimension.
    Pad(Vec<[usize; 2]>),
    /// Every step-th element of every dimension.
    Slice(Vec<SliceAxis>),
    /// Two or more tensors one after the other along a dimension.
    Concat {
        /// The dimension.
        axis: usize,
    },
    /// Exponentials along a dimension, divided by their sum; its logarithm if `log`.
    Softmax {
        /// The dimension.
        axis: usize,
        /// Whether the logarithm is taken.
        log: bool,
    },
    /// Index of the largest element along a dimension, the first of equals.
    ArgMax {
        /// The dimension.
        axis: usize,
        /// Whether the dimension stays, with extent 1.
        keep_dims: bool,
    },
}

/// What is known of the tensor that is given at run time.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphInput {
    /// Type in the graph.
    pub ty: TensorType,
    /// How arrays that a user brings are arranged; the graph's own tensor is `[1, C, H, W]` if this
    /// is not its own order.
    pub layout: InputLayout,
    /// What elements a user brings.
    pub element: InputElement,
}

impl GraphInput {
    /// An input that is given as it stands in the graph.
    #[must_use]
    pub fn new(ty: TensorType) -> Self {
        Self { ty, layout: InputLayout::Nchw, element: InputElement::Real }
    }
}

/// A quantizer with one scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantizer {
    /// Scale, and range without zero point.
    pub quantization: Quantization,
    /// How `x/scale` becomes an integer.
    pub rounding: Rounding,
}

impl Quantizer {
    /// A quantizer that rounds as ONNX does.
    #[must_use]
    pub const fn nearest(scale: f64, range: IntRange) -> Self {
        Self { quantization: Quantization { scale, range }, rounding: Rounding::HalfEven }
    }
}

/// A function of one number.
#[derive(Clone, Debug, PartialEq)]
pub enum Function {
    /// `x` if positive, else `alpha*(exp(x) - 1)`.
    Elu {
        /// Factor alpha.
        alpha: f32,
    },
    /// `x*P(X <= x)` of the standard normal distribution, or its tanh approximation.
    Gelu {
        /// Whether the approximation by tanh is meant.
        tanh: bool,
    },
    /// `clamp(alpha*x + beta, 0, 1)`.
    HardSigmoid {
        /// Factor alpha.
        alpha: f32,
        /// Offset beta.
        beta: f32,
    },
    /// `x*clamp(x/6 + 1/2, 0, 1)`.
    HardSwish,
    /// `x` if positive, else `slope*x`; one slope, or one a channel.
    LeakyRelu {
        /// Slopes.
        slopes: Vec<f32>,
    },
    /// `1/(1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
}

/// An operator on two tensors, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    /// `a + b`.
    Add,
    /// `a / b`.
    Div,
    /// `a * b`.
    Mul,
    /// `a - b`.
    Sub,
}

/// Parameters of an average pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AveragePool {
    /// The window, without dilation.
    pub window: Window,
    /// Whether padding counts as elements of value 0; otherwise it is left out of the mean.
    pub count_pads: bool,
}

/// The elements of one dimension that a slice keeps: `start + i*step` for `i < len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceAxis {
    /// First element kept.
    pub start: usize,
    /// Distance to the next one; negative to go backwards.
    pub step: i64,
    /// Number of elements kept.
    pub len: usize,
}

impl SliceAxis {
    /// All elements of a dimension.
    #[must_use]
    pub const fn whole(extent: usize) -> Self {
        Self { start: 0, step: 1, len: extent }
    }

    /// Whether all elements kept lie in a dimension of `extent`.
    #[must_use]
    pub fn fits(&self, extent: usize) -> bool {
        let last = || {
            let steps = i64::try_from(self.len.checked_sub(1)?).ok()?.checked_mul(self.step)?;
            usize::try_from(i64::try_from(self.start).ok()?.checked_add(steps)?).ok()
        };
        self.start < extent && last().is_some_and(|last| last < extent)
    }
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

/// Parameters of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvParams {
    /// Kernel extents `[R, S]`, if the model states them; they must be the weights'.
    pub kernel: Option<[usize; 2]>,
    /// Strides `[vertical, horizontal]`.
    pub strides: [usize; 2],
    /// Padding `[top, left, bottom, right]`.
    pub pads: [usize; 4],
    /// Distance between kernel elements `[vertical, horizontal]`.
    pub dilations: [usize; 2],
    /// Groups G.
    pub groups: usize,
}

impl ConvParams {
    /// The window of a kernel of these extents.
    #[must_use]
    pub fn window(&self, kernel: [usize; 2]) -> Window {
        let Self { strides, pads, dilations, .. } = *self;
        Window { kernel, strides, pads, dilations }
    }
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
            Self::Function(function) => function.mnemonic(),
            Self::Binary(BinaryOp::Add) => "add",
            Self::Binary(BinaryOp::Div) => "div",
            Self::Binary(BinaryOp::Mul) => "mul",
            Self::Binary(BinaryOp::Sub) => "sub",
            Self::Conv(_) => "conv",
            Self::MatMul => "mat_mul",
            Self::Gemm { .. } => "gemm",
            Self::BatchNormalization(_) => "batch_normalization",
            Self::ChannelAffine(_) => "channel_affine",
            Self::MaxPool(_) => "max_pool",
            Self::AveragePool(_) => "average_pool",
            Self::Flatten { .. } => "flatten",
            Self::Reshape { .. } => "reshape",
            Self::Transpose { .. } => "transpose",
            Self::Pad(_) => "pad",
            Self::Slice(_) => "slice",
            Self::Concat { .. } => "concat",
            Self::Softmax { log: false, .. } => "softmax",
            Self::Softmax { log: true, .. } => "log_softmax",
            Self::ArgMax { .. } => "arg_max",
        }
    }

    /// How many tensors it reads.
    #[must_use]
    pub fn arity(&self) -> RangeInclusive<usize> {
        match self {
            Self::Input(_) | Self::Constant(_) | Self::QuantizedConstant(_) => 0..=0,
            Self::Conv(_) | Self::Gemm { .. } => 2..=3,
            Self::MatMul | Self::Binary(_) => 2..=2,
            Self::Concat { .. } => 1..=usize::MAX,
            Self::QuantizeLinear(_)
            | Self::DequantizeLinear(_)
            | Self::Quantize(_)
            | Self::Clip(_)
            | Self::Relu
            | Self::Function(_)
            | Self::BatchNormalization(_)
            | Self::ChannelAffine(_)
            | Self::MaxPool(_)
            | Self::AveragePool(_)
            | Self::Flatten { .. }
            | Self::Reshape { .. }
            | Self::Transpose { .. }
            | Self::Pad(_)
            | Self::Slice(_)
            | Self::Softmax { .. }
            | Self::ArgMax { .. } => 1..=1,
        }
    }

    /// Whether it is a sum of products with weights.
    #[must_use]
    pub fn is_linear(&self) -> bool {
        matches!(self, Self::Conv(_) | Self::MatMul | Self::Gemm { .. })
    }
}

impl Function {
    /// The name in the text form.
    #[must_use]
    pub fn mnemonic(&self) -> &'static str {
        match self {
            Self::Elu { .. } => "elu",
            Self::Gelu { .. } => "gelu",
            Self::HardSigmoid { .. } => "hard_sigmoid",
            Self::HardSwish => "hard_swish",
            Self::LeakyRelu { .. } => "leaky_relu",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
        }
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
