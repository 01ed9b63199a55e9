//! The reference evaluator: the one executable meaning of a plan with its weights.
//!
//! A secure run equals it bit for bit. Values are plain integers; an accumulator wraps mod `2^l`
//! after bias and again after the rounding constant, exactly as the shares do.

use crate::geometry::Chw;
use crate::plan::weights::{LinearWeights, ServerWeights};
use crate::plan::{LayerKind, Plan};
use crate::secure::LinearOp;

/// Everything that one inference computes, for reports and comparisons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// All values: 0 is the input, `i + 1` the result of step `i`.
    pub values: Vec<Vec<i64>>,
}

impl Evaluation {
    /// The integer output.
    #[must_use]
    pub fn output(&self) -> &[i64] {
        self.values.last().map_or(&[], Vec::as_slice)
    }
}

/// Why a plan cannot be evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The input has another number of elements.
    #[error("the input has {found} elements where the plan wants {expected}")]
    InputLength {
        /// Elements that the plan wants.
        expected: usize,
        /// Elements that are there.
        found: usize,
    },
    /// The weights are not those of the plan.
    #[error("the weights do not belong to the plan")]
    Weights,
}

/// Evaluates a plan on the quantized input `x: [C, H, W]`, zero point removed.
///
/// # Errors
/// [`EvalError`] if the input or the weights do not fit the plan.
pub fn evaluate(plan: &Plan, weights: &ServerWeights, x: &[i64]) -> Result<Evaluation, EvalError> {
    let expected = plan.spec().input.shape.len();
    if x.len() != expected {
        return Err(EvalError::InputLength { expected, found: x.len() });
    }
    if weights.plan() != plan.digest() {
        return Err(EvalError::Weights);
    }
    let mut values = vec![x.to_vec()];
    let mut weights = weights.layers().iter();
    for (index, layer) in plan.layers().iter().enumerate() {
        let operand = &values[layer.operand.0];
        let shape = plan.values()[layer.operand.0].shape;
        let result = match &layer.kind {
            LayerKind::Linear { op, .. } => {
                linear(op, weights.next().ok_or(EvalError::Weights)?, operand)
            }
            LayerKind::Requantize { widths, range, .. } => {
                let offset = widths.offset(range.lo).cast_signed() >> widths.guard_bits;
                let requantize = |acc: &i64| {
                    let moved = wrap(acc.wrapping_add(offset), widths.acc_bits);
                    (moved >> widths.shift).clamp(0, range.hi - range.lo)
                };
                operand.iter().map(requantize).collect()
            }
            LayerKind::MaxPool { window } => {
                max_pool(shape, plan.values()[index + 1].shape, window, operand)
            }
            LayerKind::ToArithmetic { lo, .. } => operand.iter().map(|bits| bits + lo).collect(),
            LayerKind::Flatten | LayerKind::Open => operand.clone(),
        };
        values.push(result);
    }
    Ok(Evaluation { values })
}

/// `value` mod `2^bits`, as a signed integer.
#[must_use]
pub fn wrap(value: i64, bits: u32) -> i64 {
    let unused = i64::BITS - bits;
    (value << unused) >> unused
}

fn linear(op: &LinearOp, weights: &LinearWeights, x: &[i64]) -> Vec<i64> {
    let geometry = &op.geometry;
    let Some(output) = geometry.output() else { return Vec::new() };
    let [r, s] = geometry.window.kernel;
    let extents = [geometry.input.height, geometry.input.width];
    let folded: Vec<i64> = weights.folded().collect();
    let mut y = Vec::with_capacity(output.len());
    for (k, kernel) in folded.chunks(geometry.fan_in()).enumerate() {
        for oy in 0..output.height {
            for ox in 0..output.width {
                let mut acc = weights.bias[k];
                for (tap, w) in kernel.iter().enumerate() {
                    let (c, i, j) = (tap / (r * s), tap / s % r, tap % s);
                    if let Some([iy, ix]) = geometry.window.source([oy, ox], [i, j], extents) {
                        let product = w.wrapping_mul(x[geometry.input.index(c, iy, ix)]);
                        acc = acc.wrapping_add(product);
                    }
                }
                y.push(wrap(acc, op.acc_bits));
            }
        }
    }
    y
}

fn max_pool(input: Chw, output: Chw, window: &crate::geometry::Window, x: &[i64]) -> Vec<i64> {
    let mut y = Vec::with_capacity(output.len());
    for c in 0..output.channels {
        for oy in 0..output.height {
            for ox in 0..output.width {
                let taps = window.kernel[0] * window.kernel[1];
                let value = (0..taps)
                    .filter_map(|tap| {
                        let position = [tap / window.kernel[1], tap % window.kernel[1]];
                        let extents = [input.height, input.width];
                        let [iy, ix] = window.source([oy, ox], position, extents)?;
                        Some(x[input.index(c, iy, ix)])
                    })
                    .max();
                y.push(value.unwrap_or(0));
            }
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrap_is_signed() {
        for (value, bits, expected) in [(127, 8, 127), (128, 8, -128), (-129, 8, 127), (5, 3, -3)] {
            assert_eq!(wrap(value, bits), expected);
        }
    }
}
