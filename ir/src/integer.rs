//! The integer network: the quantized model as exact integer arithmetic, with its weights.
//!
//! It stands between the ONNX graph and the secure program. Zero points are removed: a shared value
//! is `q - zero_point`. The arithmetic layer is a *sum*: linear layers, and values times a public
//! factor, added up as `z[k] = sum(terms) + bias[k]`, then requantized to
//! `y = clamp((z + 2^(s-1)) >> s, lo, hi)`; without a requantization `z` itself is the result.
//! Everything else rearranges elements, compares them or looks them up.
//! Source: docs/integer-network.md.

use crate::geometry::{Chw, ConvGeometry, Window};
use crate::tensor::IntType;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

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

/// How a real number becomes an integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Rounding {
    /// To the nearest, ties to the even one.
    #[default]
    HalfEven,
    /// To the next smaller or equal one.
    Floor,
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
    /// Samples that are computed at once: the values hold them one after the other along the channels.
    pub batch: usize,
    /// Layers in an order in which every value is made before it is read.
    pub layers: Vec<IntegerLayer>,
    /// The tensor that the client learns.
    pub output: NetworkOutput,
}

impl IntegerNetwork {
    /// Shape of the first value: the input of all samples.
    #[must_use]
    pub fn input_shape(&self) -> Chw {
        let Chw { channels, height, width } = self.input.shape;
        Chw::new(channels.saturating_mul(self.batch), height, width)
    }
}

/// The order in which the arrays that a user brings hold a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InputLayout {
    /// `[C, H, W]`.
    #[default]
    Nchw,
    /// `[H, W, C]`.
    Nhwc,
}

/// The elements that a model's own input holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InputElement {
    /// Real numbers, which the network quantizes.
    Real,
    /// Integers that are quantized already: real value = `scale*(integer - zero_point)`.
    Integer {
        /// Their type.
        ty: IntType,
        /// The integer that stands for 0.0.
        zero_point: i64,
    },
}

/// An affine map on the real input before it is quantized: `x[c]` to
/// `multiplier[c]*x[c] + offset[c]`, with one value a channel, or one for all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputMap {
    /// Factors, finite.
    pub multiplier: Vec<f64>,
    /// What is added afterwards, finite; as many.
    pub offset: Vec<f64>,
}

impl InputMap {
    /// The map that changes nothing.
    #[must_use]
    pub fn identity() -> Self {
        Self { multiplier: vec![1.0], offset: vec![0.0] }
    }

    /// Factor and offset of a channel.
    #[must_use]
    pub fn of_channel(&self, channel: usize) -> (f64, f64) {
        let pick =
            |list: &[f64], default| list.get(channel).or(list.first()).copied().unwrap_or(default);
        (pick(&self.multiplier, 1.0), pick(&self.offset, 0.0))
    }
}

/// The input of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkInput {
    /// ONNX name.
    pub name: String,
    /// Shape of one sample, without the batch dimension.
    pub shape: Chw,
    /// How arrays that hold samples are arranged.
    pub layout: InputLayout,
    /// What elements the model's own input holds.
    pub element: InputElement,
    /// What the model does to real inputs before it quantizes them. It is public.
    pub map: InputMap,
    /// The first quantizer: the client computes `clamp(round(x / scale), lo, hi)`.
    pub quantization: Quantization,
    /// How it rounds.
    pub rounding: Rounding,
}

impl NetworkInput {
    /// Quantizes one real sample `x: [C, H, W]` as ONNX `QuantizeLinear` does: float32 division, half
    /// to even (or down, if the model says so), saturated; zero point removed.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "ONNX scales are float32; float casts saturate"
    )]
    pub fn quantize(&self, x: &[f32]) -> Vec<i64> {
        let Quantization { scale, range } = self.quantization;
        let plane = (self.shape.height * self.shape.width).max(1);
        let quantize = |(index, &value): (usize, &f32)| {
            let (multiplier, offset) = self.map.of_channel(index / plane);
            let mapped = (f64::from(value) * multiplier + offset) as f32;
            let steps = match self.rounding {
                Rounding::HalfEven => (mapped / scale as f32).round_ties_even(),
                Rounding::Floor => (mapped / scale as f32).floor(),
            } as i64;
            steps.clamp(range.lo, range.hi)
        };
        x.iter().enumerate().map(quantize).collect()
    }

    /// The integers of one sample that is quantized already, zero point removed.
    #[must_use]
    pub fn remove_zero_point(&self, x: &[i64]) -> Vec<i64> {
        let zero = match self.element {
            InputElement::Real => 0,
            InputElement::Integer { zero_point, .. } => zero_point,
        };
        let IntRange { lo, hi } = self.quantization.range;
        x.iter().map(|value| value.saturating_sub(zero).clamp(lo, hi)).collect()
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
    /// Name of the ONNX tensor whose integers the layer's result holds, zero point removed.
    pub tensor: String,
    /// The values that the layer reads.
    pub inputs: Vec<ValueId>,
    /// What the layer computes.
    pub op: IntegerOp,
}

/// The operations of the integer network.
#[derive(Clone, Debug, PartialEq)]
pub enum IntegerOp {
    /// A sum of linear layers and scaled values, with the requantization that follows it; term `i`
    /// reads input `i`.
    Sum(SumOp),
    /// Maximum over windows; padding counts as the smallest value.
    MaxPool(MaxPoolOp),
    /// A function of every element, as a table.
    Table(TableOp),
    /// Elements picked, moved, or padded with zeros.
    View(View),
    /// The same elements in row-major order as this shape.
    Reshape(Chw),
    /// All inputs one after the other along the channels, sample by sample.
    Concat {
        /// Samples that each input holds.
        batch: usize,
    },
}

/// A sum with the requantization that follows it.
#[derive(Clone, Debug, PartialEq)]
pub struct SumOp {
    /// Shape of the result.
    pub output: Chw,
    /// What is added up; every term makes a tensor of the output's shape. Not empty.
    pub terms: Vec<Term>,
    /// Bias of every output channel `[K]`, without the rounding constant. Without a linear term all
    /// are equal and public.
    pub bias: Vec<i64>,
    /// What follows, or `None` if the sum itself is the result.
    pub requantize: Option<Requantize>,
}

impl SumOp {
    /// The linear terms, with their positions among all terms.
    pub fn linear_terms(&self) -> impl Iterator<Item = (usize, &LinearTerm)> {
        self.terms.iter().enumerate().filter_map(|(index, term)| match term {
            Term::Linear(linear) => Some((index, linear)),
            Term::Scaled(_) => None,
        })
    }
}

/// What a sum adds up.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// A convolution or matrix product with secret weights.
    Linear(LinearTerm),
    /// A public factor times a value, or times the sums of its windows.
    Scaled(ScaledTerm),
}

/// `m[k]*sum(w[k]*x)`: a linear layer with its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearTerm {
    /// Shapes and window.
    pub geometry: ConvGeometry,
    /// Weights `[K, C/G, R, S]`, signed, within `weight_bits`. Copies of a network share them.
    pub weights: Arc<Vec<i32>>,
    /// Width of the weights' type in bits, signed: values lie in `[-2^(b-1), 2^(b-1))`.
    pub weight_bits: u32,
    /// Multiplier of every output channel `[K]`; `|m| <= max(1, 2^multiplier_bits - 1)`.
    pub multipliers: Vec<i64>,
    /// Width `mu` of the multipliers in bits; 0 if all are 1 or -1.
    pub multiplier_bits: u32,
}

/// `factor*sum(x over the window)`, channel by channel: a residual, an average pooling, or a change
/// of scale. Padding counts as 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScaledTerm {
    /// Shape of the value read.
    pub input: Chw,
    /// The window; [`Window::POINT`] for the value itself.
    pub window: Window,
    /// The factor, public; may be negative.
    pub factor: i64,
}

/// `y = clamp((z + 2^(s-1)) >> s, lo, hi)`, the rounding constant only if `s >= 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Requantize {
    /// Right shift s in bits.
    pub shift: u32,
    /// The values that the result takes; `1 <= hi - lo <= 255`.
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

/// A function of one or two integers, given by its values. The values are the server's secret, their
/// range is public.
#[derive(Clone, Debug, PartialEq)]
pub struct TableOp {
    /// The integers that the function is defined on, by operand: of at most 8 bits together.
    pub inputs: Vec<IntRange>,
    /// The values that it takes; at most 256 integers.
    pub output: IntRange,
    /// `f(lo), f(lo + 1), ...`, of two operands the first the fastest: one table for all channels, or
    /// one after the other for each.
    pub values: Vec<i64>,
}

impl TableOp {
    /// Values of one table; `None` if they are more than `usize` counts.
    #[must_use]
    pub fn size(&self) -> Option<usize> {
        self.inputs.iter().try_fold(1_usize, |size, range| {
            let length = usize::try_from(range.hi.checked_sub(range.lo)?).ok()?.checked_add(1)?;
            size.checked_mul(length)
        })
    }

    /// Where in a table the value of `operands` is; beyond the function's inputs that of the nearest
    /// integers.
    #[must_use]
    pub fn position(&self, operands: &[i64]) -> Option<usize> {
        self.inputs.iter().zip(operands).rev().try_fold(0_usize, |position, (range, &x)| {
            let length = usize::try_from(range.hi.checked_sub(range.lo)?).ok()?.checked_add(1)?;
            let at = usize::try_from(x.max(range.lo).min(range.hi).checked_sub(range.lo)?).ok()?;
            position.checked_mul(length)?.checked_add(at)
        })
    }
}

/// Picks elements of every sample: output `[i0, i1, i2]` is the input element whose position along dimension
/// `axes[d].source` is `axes[d].start + i_d*axes[d].step`, or 0 where that is outside the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct View {
    /// One for every dimension of the output; their sources are the three dimensions of the input.
    pub axes: [ViewAxis; 3],
    /// Shape of the output, all samples one after the other along the channels.
    pub output: Chw,
    /// Samples that input and output hold; divides the channels of both.
    pub batch: usize,
}

/// How one dimension of a view walks along a dimension of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ViewAxis {
    /// Dimension of the input: 0 channels, 1 rows, 2 columns.
    pub source: usize,
    /// Position of the first element; negative where padding precedes it.
    pub start: i64,
    /// Distance between elements; not 0.
    pub step: i64,
}

impl View {
    /// Whether an element of the output lies outside the input and is 0; `None` if the axes are not a
    /// permutation, a step is 0, the samples do not divide the channels, or a position overflows.
    #[must_use]
    pub fn pads(&self, input: Chw) -> Option<bool> {
        let (input, output) = (self.sample(input)?, self.sample(self.output)?);
        let extents = [input.channels, input.height, input.width];
        let lengths = [output.channels, output.height, output.width];
        let mut seen = [false; 3];
        let mut pads = false;
        for (axis, length) in self.axes.iter().zip(lengths) {
            let taken = std::mem::replace(seen.get_mut(axis.source)?, true);
            if taken || axis.step == 0 {
                return None;
            }
            let steps = i64::try_from(length.checked_sub(1)?).ok()?.checked_mul(axis.step)?;
            let last = axis.start.checked_add(steps)?;
            let extent = i64::try_from(extents[axis.source]).ok()?;
            pads |= !(0..extent).contains(&axis.start) || !(0..extent).contains(&last);
        }
        Some(pads)
    }

    /// The index of the input element behind every output element in row-major order, `None` where
    /// the output is 0; or `None` if the axes are not a permutation, a step is 0, or the samples do not
    /// divide the channels.
    #[must_use]
    pub fn sources(&self, input: Chw) -> Option<Vec<Option<usize>>> {
        let (input, output) = (self.sample(input)?, self.sample(self.output)?);
        let extents = [input.channels, input.height, input.width];
        let strides = [input.height.checked_mul(input.width)?, input.width, 1];
        let mut seen = [false; 3];
        for axis in &self.axes {
            let taken = std::mem::replace(seen.get_mut(axis.source)?, true);
            if taken || axis.step == 0 {
                return None;
            }
        }
        let offset = |axis: &ViewAxis, index: usize| {
            let steps = i64::try_from(index).ok()?.checked_mul(axis.step)?;
            let position = usize::try_from(axis.start.checked_add(steps)?).ok()?;
            (position < extents[axis.source]).then(|| position * strides[axis.source])
        };
        let [channels, rows, columns] = &self.axes;
        let mut sources = Vec::with_capacity(self.output.checked_len()?);
        for sample in 0..self.batch {
            let start = sample * input.checked_len()?;
            for c in 0..output.channels {
                let c = offset(channels, c);
                for y in 0..output.height {
                    let y = offset(rows, y);
                    for x in 0..output.width {
                        let x = offset(columns, x);
                        sources.push(c.zip(y).zip(x).map(|((c, y), x)| start + c + y + x));
                    }
                }
            }
        }
        Some(sources)
    }

    /// Shape of one of the samples that `all` holds.
    fn sample(&self, all: Chw) -> Option<Chw> {
        (all.channels.checked_rem(self.batch)? == 0)
            .then(|| Chw::new(all.channels / self.batch, all.height, all.width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_pick_and_pad() {
        let axis = |source, start, step| ViewAxis { source, start, step };
        let input = Chw::new(1, 2, 3);
        for (axes, output, expected) in [
            ([axis(0, 0, 1), axis(1, 0, 1), axis(2, 0, 2)], (1, 2, 2), vec![0, 2, 3, 5]),
            ([axis(0, 0, 1), axis(2, 0, 1), axis(1, 1, -1)], (1, 3, 2), vec![3, 0, 4, 1, 5, 2]),
            ([axis(0, 0, 1), axis(1, -1, 1), axis(2, 1, 1)], (1, 2, 3), vec![9, 9, 9, 1, 2, 9]),
        ] {
            let view = View { axes, output: Chw::new(output.0, output.1, output.2), batch: 1 };
            let found: Vec<usize> =
                view.sources(input).unwrap().iter().map(|at| at.unwrap_or(9)).collect();
            assert_eq!(found, expected, "{axes:?}");
            assert_eq!(view.pads(input), Some(expected.contains(&9)), "{axes:?}");
        }
        let twice = View { axes: [axis(0, 0, 1); 3], output: input, batch: 1 };
        assert_eq!((twice.sources(input), twice.pads(input)), (None, None));
    }
}
