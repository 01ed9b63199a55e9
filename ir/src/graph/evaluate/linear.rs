//! Convolutions and matrix products of values.
//!
//! Two grids are multiplied as integers, exactly, and the sums take their scale at the end. For that
//! the input must have one scale, the weights one or one an output channel, and sums must fit in 64
//! bits. Everything else is summed in double precision.

use super::kernel::{Number, convolve, multiply_columns, multiply_rows};
use super::value::{Elements, Grid, Value, real, same};
use crate::geometry::{Chw, ConvGeometry};

/// How a sum of products reads its operands.
pub(super) enum Linear<'a> {
    /// `x: [C, H, W]`, `w: [K, C/G, R, S]`.
    Conv(&'a ConvGeometry, Chw),
    /// `x: [F]`, `w: [K, F]`.
    Rows(usize),
    /// `x: [F]`, `w: [F, K]`.
    Columns(usize),
}

impl Linear<'_> {
    /// The real result, output channels outermost.
    pub(super) fn apply(&self, x: &Value, weights: &Value, bias: Option<&Value>) -> Vec<f64> {
        let (mut y, scale) = self.sums(x, weights);
        let plane = (y.len() / self.outputs()).max(1);
        let bias = bias.map(|bias| Bias::new(bias, &scale, self.outputs()));
        let bias = bias.unwrap_or(Bias { steps: vec![0.0], offset: vec![0.0] });
        for (channel, y) in y.chunks_mut(plane).enumerate() {
            let steps = pick(&bias.steps, channel);
            let (scale, offset) = (pick(&scale, channel), pick(&bias.offset, channel));
            for y in y {
                *y = (*y + steps) * scale + offset;
            }
        }
        y
    }

    /// The sums of products, and the scale of each output channel or of all.
    fn sums(&self, x: &Value, weights: &Value) -> (Vec<f64>, Vec<f64>) {
        if let (Elements::Grid(x), Elements::Grid(weights)) = (&x.elements, &weights.elements)
            && let Some(scale) = self.scale(x, weights)
        {
            let bound = self.bound(&x.steps, &weights.steps);
            if matches!(self, Linear::Conv(..)) && bound <= EXACT_SINGLE {
                #[expect(clippy::cast_precision_loss, reason = "no larger than the bound")]
                let reals = |steps: &[i64]| steps.iter().map(|&step| step as f32).collect();
                let (x, weights): (Vec<f32>, Vec<f32>) = (reals(&x.steps), reals(&weights.steps));
                return (self.multiply(&x, &weights), scale);
            }
            if matches!(self, Linear::Conv(..)) && bound <= EXACT_DOUBLE {
                let reals = |steps: &[i64]| steps.iter().map(|&step| real(step)).collect();
                let (x, weights): (Vec<f64>, Vec<f64>) = (reals(&x.steps), reals(&weights.steps));
                return (self.multiply(&x, &weights), scale);
            }
            if bound <= u128::from(i64::MAX.cast_unsigned()) {
                return (self.multiply(&x.steps, &weights.steps), scale);
            }
        }
        (self.multiply(&x.reals(), &weights.reals()), vec![1.0])
    }

    fn multiply<T: Number>(&self, x: &[T], weights: &[T]) -> Vec<f64> {
        let sums = match *self {
            Linear::Conv(geometry, output) => convolve(geometry, output, x, weights),
            Linear::Rows(_) => multiply_rows(weights, x),
            Linear::Columns(outputs) => multiply_columns(weights, x, outputs),
        };
        sums.into_iter().map(Number::to_real).collect()
    }

    /// The scale of the sums of two grids; `None` if a sum would mix scales.
    fn scale(&self, x: &Grid, weights: &Grid) -> Option<Vec<f64>> {
        let x = x.one_scale()?;
        let outputs = usize::from(matches!(self, Linear::Columns(_)));
        if weights.axis.is_some_and(|axis| axis != outputs) {
            return None;
        }
        Some(weights.scale.iter().map(|weight| weight * x).collect())
    }

    /// A bound on the absolute value of every sum and partial sum.
    fn bound(&self, x: &[i64], weights: &[i64]) -> u128 {
        let total = |steps: &[i64]| {
            steps.iter().fold(0_u64, |sum, step| sum.saturating_add(step.unsigned_abs()))
        };
        let run = match self {
            Linear::Conv(..) | Linear::Rows(_) => weights.len() / self.outputs(),
            Linear::Columns(_) => weights.len(),
        };
        let weights = weights.chunks(run.max(1)).map(total).max().unwrap_or(0);
        let x = x.iter().map(|step| step.unsigned_abs()).max().unwrap_or(0);
        u128::from(weights) * u128::from(x)
    }

    fn outputs(&self) -> usize {
        let outputs = match *self {
            Linear::Conv(geometry, _) => geometry.out_channels,
            Linear::Rows(outputs) | Linear::Columns(outputs) => outputs,
        };
        outputs.max(1)
    }
}

/// Up to here binary32 holds all integers, and adds them exactly.
const EXACT_SINGLE: u128 = 1 << 24;
/// Up to here binary64 does.
const EXACT_DOUBLE: u128 = 1 << 53;

/// What is added to the sums before and after they are scaled, one a channel or one for all.
struct Bias {
    steps: Vec<f64>,
    offset: Vec<f64>,
}

impl Bias {
    /// A bias on the grid of the sums is added before scaling, exactly.
    fn new(bias: &Value, scale: &[f64], outputs: usize) -> Self {
        if let Elements::Grid(grid) = &bias.elements {
            let on_grid =
                (0..outputs).all(|channel| same(pick(&grid.scale, channel), pick(scale, channel)));
            if on_grid {
                let steps = grid.steps.iter().map(|&step| real(step)).collect();
                return Self { steps, offset: vec![0.0] };
            }
        }
        Self { steps: vec![0.0], offset: bias.reals().into_owned() }
    }
}

/// The entry of a channel in a list that has one for each, or one for all.
fn pick(list: &[f64], channel: usize) -> f64 {
    let index = if list.len() == 1 { 0 } else { channel };
    list.get(index).copied().unwrap_or_default()
}
