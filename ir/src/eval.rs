//! The reference evaluator: the one executable meaning of a plan with its weights.
//!
//! A secure run equals it bit for bit; one whose plan rounds early equals [`evaluate_rounded`] given
//! its shares, and [`evaluate`] but for a few elements that differ by one. Values are plain integers, whatever they live as; an
//! accumulator wraps mod `2^l` after bias and again after the rounding constant, exactly as the
//! shares do.

pub mod linear;

pub use linear::convolve;

use crate::geometry::{Chw, ConvGeometry, Window};
use crate::integer::{IntRange, View};
use crate::plan::weights::{LinearWeights, ServerWeights, TableEntries};
use crate::plan::{LayerKind, Plan};
use crate::protocol::requantize::RequantizeWidths;
use crate::rounding::EarlyRounding;
use crate::secure::{CombineOp, CombineTerm, Domain, LinearOp, ValueType};

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

/// Evaluates a plan on the quantized input `x: [n*C, H, W]`, zero point removed, of n samples: one, or up to
/// as many as the plan computes at once. All values are those of these samples.
///
/// # Errors
/// [`EvalError`] if the input or the weights do not fit the plan.
pub fn evaluate(plan: &Plan, weights: &ServerWeights, x: &[i64]) -> Result<Evaluation, EvalError> {
    evaluate_observed(plan, weights, x, &mut |_, _| {})
}

/// Like [`evaluate`], and shows `observe` what every linear step and sum, by its index, adds up
/// before it wraps. The sums are exact as long as they hold in 64 bits.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_observed(
    plan: &Plan,
    weights: &ServerWeights,
    x: &[i64],
    observe: &mut dyn FnMut(usize, &[i64]),
) -> Result<Evaluation, EvalError> {
    run(plan, weights, x, observe, &mut |_, _| false)
}

/// Like [`evaluate`], with early rounding: the meaning of a secure run given its shares. `round` gets
/// the index of a requantization and the accumulators that it reads, puts in their place what both
/// parties' rounded words stand for, mod `2^(l-e)`, signed, and returns true; or it returns false, and
/// the exact ones are taken.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_rounded(
    plan: &Plan,
    weights: &ServerWeights,
    x: &[i64],
    round: &mut dyn FnMut(usize, &mut [i64]) -> bool,
) -> Result<Evaluation, EvalError> {
    run(plan, weights, x, &mut |_, _| {}, round)
}

fn run(
    plan: &Plan,
    weights: &ServerWeights,
    x: &[i64],
    observe: &mut dyn FnMut(usize, &[i64]),
    round: &mut dyn FnMut(usize, &mut [i64]) -> bool,
) -> Result<Evaluation, EvalError> {
    let samples = Samples::of(plan, x)?;
    if weights.plan() != plan.digest() {
        return Err(EvalError::Weights);
    }
    let mut values: Vec<Vec<i64>> = vec![x.to_vec()];
    let mut tensors = Tensors { linear: weights.layers().iter(), tables: weights.tables().iter() };
    for (index, layer) in plan.layers().iter().enumerate() {
        let operands: Vec<&[i64]> =
            layer.operands.iter().filter_map(|id| values.get(id.0)).map(Vec::as_slice).collect();
        let types = plan.operands(index);
        let (Some(&first), Some(&from), Some(&to)) =
            (operands.first(), types.first(), plan.values().get(index + 1))
        else {
            return Err(EvalError::Weights);
        };
        let [from, to] = [from, to].map(|ty| ValueType { shape: samples.held(ty.shape), ..ty });
        let result = match &layer.kind {
            LayerKind::Linear { op, .. } => {
                let op = &samples.linear(op);
                let sums = linear(op, tensors.linear.next().ok_or(EvalError::Weights)?, first);
                observe(index, &sums);
                wrapped(sums, op.acc_bits)
            }
            LayerKind::Combine(op) => {
                let sums = combine(op, samples, to.shape, &operands);
                observe(index, &sums);
                wrapped(sums, op.acc_bits)
            }
            LayerKind::Requantize { widths, range, .. } => {
                let mut rounded = first.to_vec();
                match EarlyRounding::of(from.domain) {
                    Some(rounding) if !round(index, &mut rounded) => {
                        requantized(&rounding.exact_widths(widths), *range, first)
                    }
                    _ => requantized(widths, *range, &rounded),
                }
            }
            LayerKind::MaxPool { window, .. } => {
                let smallest = match from.domain {
                    Domain::Client { range } => range.lo,
                    Domain::Boolean { lo, .. } => lo,
                    Domain::Arithmetic { .. } | Domain::Accumulator { .. } | Domain::Revealed => {
                        return Err(EvalError::Weights);
                    }
                };
                fold_windows(window, from.shape, to.shape, first, smallest, i64::max)
            }
            LayerKind::Table { widths, lo } => {
                let table = tensors.tables.next().ok_or(EvalError::Weights)?;
                let plane = to.shape.len() / to.shape.channels.max(1);
                let indices = table_indices(&types, &operands).ok_or(EvalError::Weights)?;
                let look_up = |(i, &index): (usize, &usize)| {
                    let entries = table.of_channel(i / plane.max(1), widths.input_bits);
                    entries.get(index).map_or(0, |&entry| i64::from(entry)) + lo
                };
                indices.iter().enumerate().map(look_up).collect()
            }
            LayerKind::View(view) => {
                let output = samples.held(view.output);
                let view = View { output, batch: samples.held, ..*view };
                let sources = view.sources(from.shape).ok_or(EvalError::Weights)?;
                let pick = |source: Option<usize>| source.and_then(|at| first.get(at)).copied();
                sources.into_iter().map(|source| pick(source).unwrap_or(0)).collect()
            }
            LayerKind::Concat { .. } => concatenated(&operands, samples.held),
            LayerKind::Top { k } => {
                let mut indices: Vec<usize> = (0..first.len()).collect();
                indices.sort_by_key(|&index| (std::cmp::Reverse(first[index]), index));
                indices.iter().take(*k as usize).map(|&index| index as i64).collect()
            }
            LayerKind::Reshape(_)
            | LayerKind::ToArithmetic { .. }
            | LayerKind::ToBoolean { .. }
            | LayerKind::Open => first.to_vec(),
        };
        // Shares hold a value mod their own width, whatever they were made of.
        values.push(match to.domain {
            Domain::Arithmetic { bits, .. } => wrapped(result, bits),
            Domain::Client { .. }
            | Domain::Accumulator { .. }
            | Domain::Boolean { .. }
            | Domain::Revealed => result,
        });
    }
    Ok(Evaluation { values })
}

/// How many of a plan's samples are evaluated.
#[derive(Clone, Copy)]
struct Samples {
    held: usize,
    batch: usize,
}

impl Samples {
    /// Those that the input `x` holds: one or more, at most as many as the plan computes at once.
    fn of(plan: &Plan, x: &[i64]) -> Result<Self, EvalError> {
        let batch = plan.batch();
        let of_one = (plan.input_len() / batch).max(1);
        let held = x.len() / of_one;
        if !(1..=batch).contains(&held) || x.len() != held * of_one {
            return Err(EvalError::InputLength { expected: plan.input_len(), found: x.len() });
        }
        Ok(Self { held, batch })
    }

    /// The part of the plan's shape `all` that belongs to them.
    fn held(self, all: Chw) -> Chw {
        Chw { channels: all.channels / self.batch * self.held, ..all }
    }

    fn linear(self, op: &LinearOp) -> LinearOp {
        let geometry = op.geometry;
        let input = self.held(geometry.input);
        LinearOp { geometry: ConvGeometry { input, batch: self.held, ..geometry }, ..*op }
    }
}

/// The secret tensors that are not used up yet.
struct Tensors<'a> {
    linear: std::slice::Iter<'a, LinearWeights>,
    tables: std::slice::Iter<'a, TableEntries>,
}

/// `value` mod `2^bits`, as a signed integer.
#[must_use]
pub fn wrap(value: i64, bits: u32) -> i64 {
    let unused = i64::BITS - bits;
    (value << unused) >> unused
}

/// `clamp((acc + offset) >> shift)` of accumulators without guard bits.
fn requantized(widths: &RequantizeWidths, range: IntRange, accumulators: &[i64]) -> Vec<i64> {
    let offset = widths.offset(range.lo).cast_signed() >> widths.guard_bits;
    let requantize = |acc: &i64| {
        let moved = wrap(acc.wrapping_add(offset), widths.acc_bits);
        range.lo + (moved >> widths.shift).clamp(0, range.hi - range.lo)
    };
    accumulators.iter().map(requantize).collect()
}

/// The index of every element in its table: the operands' bits, those of the first the lowest.
fn table_indices(types: &[ValueType], operands: &[&[i64]]) -> Option<Vec<usize>> {
    let mut indices = vec![0; operands.first()?.len()];
    let mut shift = 0;
    for (operand, values) in types.iter().zip(operands) {
        let Domain::Boolean { bits, lo } = operand.domain else { return None };
        for (index, value) in indices.iter_mut().zip(*values) {
            *index |= usize::try_from(value.wrapping_sub(lo)).ok()? << shift;
        }
        shift += bits;
    }
    Some(indices)
}

/// All operands one after the other, sample by sample.
fn concatenated(operands: &[&[i64]], batch: usize) -> Vec<i64> {
    let of_sample = |sample: usize| {
        let part = move |operand: &&[i64]| {
            let size = operand.len() / batch.max(1);
            operand[sample * size..(sample + 1) * size].to_vec()
        };
        operands.iter().flat_map(part)
    };
    (0..batch).flat_map(of_sample).collect()
}

fn linear(op: &LinearOp, weights: &LinearWeights, x: &[i64]) -> Vec<i64> {
    let folded: Vec<i64> = weights.folded().collect();
    convolve(&op.geometry, &folded, &weights.bias, x)
}

fn wrapped(mut sums: Vec<i64>, bits: u32) -> Vec<i64> {
    sums.iter_mut().for_each(|acc| *acc = wrap(*acc, bits));
    sums
}

fn combine(op: &CombineOp, samples: Samples, output: Chw, operands: &[&[i64]]) -> Vec<i64> {
    let mut sum = vec![op.constant; output.len()];
    for (term, x) in op.terms.iter().zip(operands) {
        match term {
            CombineTerm::Accumulator => add(&mut sum, x, 1),
            CombineTerm::Scaled(term) if term.window == Window::POINT => {
                add(&mut sum, x, term.factor);
            }
            CombineTerm::Scaled(term) => {
                let input = samples.held(term.input);
                let sums = fold_windows(&term.window, input, output, x, 0, i64::wrapping_add);
                add(&mut sum, &sums, term.factor);
            }
        }
    }
    sum
}

/// Adds `factor*x` mod `2^64`.
fn add(sum: &mut [i64], x: &[i64], factor: i64) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum = sum.wrapping_add(factor.wrapping_mul(*x));
    }
}

/// Folds every window of every channel of `x` with `merge`, from `start` on; padding is left out.
pub fn fold_windows<T: Copy>(
    window: &Window,
    input: Chw,
    output: Chw,
    x: &[T],
    start: T,
    merge: impl Fn(T, T) -> T,
) -> Vec<T> {
    let mut y = Vec::with_capacity(output.len());
    for c in 0..output.channels {
        for oy in 0..output.height {
            for ox in 0..output.width {
                let mut value = start;
                for tap in 0..window.kernel[0] * window.kernel[1] {
                    let position = [tap / window.kernel[1], tap % window.kernel[1]];
                    let source = window.source([oy, ox], position, [input.height, input.width]);
                    if let Some([iy, ix]) = source {
                        value = merge(value, x[input.index(c, iy, ix)]);
                    }
                }
                y.push(value);
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
