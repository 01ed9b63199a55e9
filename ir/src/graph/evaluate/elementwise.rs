//! Operators that look at one element, or at one line of elements, at a time.

use super::moves::{broadcast, common_scale};
use super::value::{Elements, Grid, Value, inner, real};
use crate::graph::op::{
    BatchNormParams, BinaryOp, Bounds, ChannelAffine, QuantizeParams, Quantizer, Rounding,
};
use crate::integer::IntRange;
use crate::tensor::Shape;

/// ONNX `QuantizeLinear`, to the integers with their zero point.
pub(super) fn quantize_linear(x: &Value, params: &QuantizeParams) -> Value {
    let range = params.ty.range();
    let reals = x.reals();
    let (run, count) = runs(&x.shape, params);
    let mut integers = Vec::with_capacity(reals.len());
    for (index, run) in reals.chunks(run).enumerate() {
        let (scale, zero) = parameter(params, index % count);
        let quantize = |x: &f64| {
            let rounded = round(x / scale, Rounding::HalfEven);
            rounded.saturating_add(zero).clamp(range.lo, range.hi)
        };
        integers.extend(run.iter().map(quantize));
    }
    Value::integer(x.shape.clone(), integers)
}

/// ONNX `DequantizeLinear`: a grid, or reals if an integer without zero point exceeds 64 bits.
pub(super) fn dequantize_linear(x: &Value, params: &QuantizeParams) -> Value {
    let integers = x.integers().unwrap_or_default();
    let (run, count) = runs(&x.shape, params);
    let runs = integers.chunks(run).enumerate();
    let runs = runs.map(|(index, run)| (parameter(params, index % count), run));
    let steps: Option<Vec<i64>> = runs
        .clone()
        .flat_map(|((_, zero), run)| run.iter().map(move |value| value.checked_sub(zero)))
        .collect();
    match steps {
        Some(steps) => {
            let scale = params.scale.iter().map(|&scale| f64::from(scale)).collect();
            let axis = params.axis.and_then(|axis| x.shape.axis(axis));
            Value::grid(x.shape.clone(), steps, scale, axis)
        }
        None => {
            let reals = runs.flat_map(|((scale, zero), run)| {
                run.iter().map(move |&value| scale * (real(value) - real(zero)))
            });
            Value::real(x.shape.clone(), reals.collect())
        }
    }
}

/// How many elements in a row have the same parameters, and after how many runs they repeat.
fn runs(shape: &Shape, params: &QuantizeParams) -> (usize, usize) {
    match params.axis.and_then(|axis| shape.axis(axis)) {
        Some(axis) => (inner(shape, axis), params.scale.len().max(1)),
        None => (shape.element_count(), 1),
    }
}

fn parameter(params: &QuantizeParams, index: usize) -> (f64, i64) {
    let scale = params.scale.get(index).copied().unwrap_or_default();
    (f64::from(scale), params.zero_point.get(index).copied().unwrap_or_default())
}

/// The grid of a quantizer.
pub(super) fn quantize(x: &Value, quantizer: &Quantizer) -> Value {
    let scale = quantizer.quantization.scale;
    let IntRange { lo, hi } = quantizer.quantization.range;
    let quantize = |x: &f64| round(x / scale, quantizer.rounding).clamp(lo, hi);
    Value::grid(x.shape.clone(), x.reals().iter().map(quantize).collect(), vec![scale], None)
}

/// The integer next to `x`; saturates, and is 0 for a NaN.
#[expect(clippy::cast_possible_truncation, reason = "float casts saturate")]
fn round(x: f64, rounding: Rounding) -> i64 {
    match rounding {
        Rounding::HalfEven => x.round_ties_even() as i64,
        Rounding::Floor => x.floor() as i64,
    }
}

/// The upper of the lower bounds, the lower of the upper bounds. A grid stays one if its elements
/// do whatever its scale is: with bounds that are 0 or infinite.
#[expect(clippy::cast_possible_truncation, reason = "float casts saturate")]
pub(super) fn clip(x: &Value, bounds: Bounds) -> Value {
    let Bounds { lower, upper } = bounds;
    let shape = x.shape.clone();
    match &x.elements {
        Elements::Integer(values) => {
            let (lower, upper) = (lower.ceil() as i64, upper.floor() as i64);
            let values = values.iter().map(|&value| value.max(lower).min(upper));
            Value::integer(shape, values.collect())
        }
        Elements::Grid(Grid { steps, scale, axis })
            if [lower, upper].iter().all(|bound| bound.is_infinite() || bound.abs() <= 0.0) =>
        {
            let (lower, upper) = (lower as i64, upper as i64);
            let steps = steps.iter().map(|&step| step.max(lower).min(upper));
            Value::grid(shape, steps.collect(), scale.clone(), *axis)
        }
        Elements::Real(_) | Elements::Grid(_) => x.map(|_, x| x.max(lower).min(upper)),
    }
}

/// An operator on two tensors that broadcast to `shape`. Sums and differences on one grid stay on
/// it, unless they exceed 64 bits.
pub(super) fn binary(op: BinaryOp, a: &Value, b: &Value, shape: &Shape) -> Value {
    if let (Some(scale), Some(x), Some(y)) = (common_scale(&[a, b]), a.integers(), b.integers())
        && let Some(add) = match op {
            BinaryOp::Add => Some(i64::checked_add as fn(i64, i64) -> Option<i64>),
            BinaryOp::Sub => Some(i64::checked_sub as fn(i64, i64) -> Option<i64>),
            BinaryOp::Div | BinaryOp::Mul => None,
        }
    {
        let (x, y) = (broadcast(x, &a.shape, shape), broadcast(y, &b.shape, shape));
        let steps: Option<Vec<i64>> = x.iter().zip(y.iter()).map(|(&x, &y)| add(x, y)).collect();
        if let Some(steps) = steps {
            return Value::grid(shape.clone(), steps, vec![scale], None);
        }
    }
    let apply = match op {
        BinaryOp::Add => |x: f64, y: f64| x + y,
        BinaryOp::Div => |x: f64, y: f64| x / y,
        BinaryOp::Mul => |x: f64, y: f64| x * y,
        BinaryOp::Sub => |x: f64, y: f64| x - y,
    };
    let (x, y) = (a.reals(), b.reals());
    let (x, y) = (broadcast(&x, &a.shape, shape), broadcast(&y, &b.shape, shape));
    let reals = x.iter().zip(y.iter()).map(|(&x, &y)| apply(x, y));
    Value::real(shape.clone(), reals.collect())
}

/// Batch normalization with the file's statistics.
pub(super) fn normalize(x: &Value, params: &BatchNormParams) -> Value {
    let number = |list: &[f32], channel| f64::from(list.get(channel).copied().unwrap_or_default());
    let channels = 0..params.gamma.len();
    let factor = |channel| {
        let variance = number(&params.variance, channel) + f64::from(params.epsilon);
        number(&params.gamma, channel) / variance.sqrt()
    };
    let factors: Vec<f64> = channels.map(factor).collect();
    x.map(|channel, x| {
        let factor = factors.get(channel).copied().unwrap_or_default();
        (x - number(&params.mean, channel)) * factor + number(&params.beta, channel)
    })
}

/// An affine map a channel.
pub(super) fn channel_affine(x: &Value, map: &ChannelAffine) -> Value {
    let number = |list: &[f64], channel| list.get(channel).copied().unwrap_or_default();
    x.map(|channel, x| number(&map.multiplier, channel) * x + number(&map.offset, channel))
}

/// Exponentials along a dimension over their sum, or the logarithm of that.
pub(super) fn softmax(x: &Value, axis: usize, log: bool) -> Value {
    let mut reals = x.reals().into_owned();
    for line in lines(&x.shape, axis) {
        let largest = line.clone().map(|at| reals[at]).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = line.clone().map(|at| (reals[at] - largest).exp()).sum();
        for at in line {
            let shifted = reals[at] - largest;
            reals[at] = if log { shifted - sum.ln() } else { shifted.exp() / sum };
        }
    }
    Value::real(x.shape.clone(), reals)
}

/// The index of the largest element along a dimension.
pub(super) fn arg_max(x: &Value, axis: usize, shape: &Shape) -> Value {
    let reals = x.reals();
    let lines = lines(&x.shape, axis);
    let first_largest = |line: Line| {
        let (mut best, mut largest) = (0, f64::NEG_INFINITY);
        for (index, at) in line.enumerate() {
            if reals[at] > largest {
                (best, largest) = (index, reals[at]);
            }
        }
        best.cast_signed() as i64
    };
    Value::integer(shape.clone(), lines.map(first_largest).collect())
}

/// The positions of the elements along one dimension, everything else fixed.
type Line = std::iter::StepBy<std::ops::Range<usize>>;

fn lines(shape: &Shape, axis: usize) -> impl Iterator<Item = Line> {
    let (extent, step) = (shape.dims()[axis], inner(shape, axis));
    let starts = (0..shape.element_count()).step_by((extent * step).max(1));
    let starts = starts.flat_map(move |outer| outer..outer + step);
    starts.map(move |start| (start..start + (extent - 1) * step + 1).step_by(step))
}
