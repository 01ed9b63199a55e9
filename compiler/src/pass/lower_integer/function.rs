//! Functions of one value, tabulated: activations, and requantizations of narrow values.
//!
//! A function of a value of at most 8 bits is the list of its real results; its quantizer turns them
//! into integers once, at compile time, rounding half to even as ONNX does.

use super::{Faults, Known, Lowering, Value, ValueKind};
use heq_ir::graph::NodeIndex;
use heq_ir::graph::op::{BinaryOp, Bounds, ChannelAffine, Function, Op, Quantizer, Rounding};
use heq_ir::integer::{IntRange, IntegerOp, TableOp};

/// Widest value that is requantized by a table rather than by arithmetic, in bits.
const NARROW_BITS: u32 = 6;

/// A function of one value, as the list of its real results.
#[derive(Clone)]
pub(super) struct Tabulated {
    value: Value,
    /// One list for all channels, or one for each.
    results: Vec<Vec<f64>>,
    affine: bool,
}

impl Tabulated {
    /// The identity on a value of at most 8 bits.
    pub(super) fn of(value: Value) -> Option<Self> {
        value.is_narrow().then(|| Self {
            value,
            results: vec![steps(value.range).map(|step| step * value.scale).collect()],
            affine: true,
        })
    }

    /// The identity on a value that a table requantizes.
    pub(super) fn of_narrow(value: Value) -> Option<Self> {
        Self::of(value).filter(Self::requantizes)
    }

    /// `factors[k]*x + offset[k]` on the integers x of a value.
    pub(super) fn affine(value: Value, factors: &[f64], offset: &[f64]) -> Option<Self> {
        let identity = Self::of(value)?;
        let channel = |(factor, offset): (&f64, &f64)| {
            steps(value.range).map(|step| step * factor + offset).collect()
        };
        let results = factors.iter().zip(offset).map(channel).collect();
        Some(Self { results, ..identity }.merged())
    }

    /// Whether a table is the cheaper way to requantize: of narrow values that are bits already.
    pub(super) fn requantizes(&self) -> bool {
        self.value.kind == ValueKind::Quantized && self.value.range.bits() <= NARROW_BITS
    }

    /// Whether it is an affine map.
    pub(super) fn is_affine(&self) -> bool {
        self.affine
    }

    /// The function after an affine map of its results.
    pub(super) fn affine_after(mut self, map: &ChannelAffine) -> Self {
        self.each(map.multiplier.len(), |channel, x| {
            x * map.multiplier[channel] + map.offset[channel]
        });
        self
    }

    /// An operator on two functions of the same value.
    pub(super) fn combined(&self, other: &Self, op: BinaryOp) -> Option<Self> {
        if self.value.id != other.value.id {
            return None;
        }
        let channels = self.results.len().max(other.results.len());
        let list =
            |of: &Self, channel: usize| of.results[channel.min(of.results.len() - 1)].clone();
        let combine = |channel| {
            let pairs = list(self, channel).into_iter().zip(list(other, channel));
            pairs
                .map(|(a, b)| match op {
                    BinaryOp::Add => a + b,
                    BinaryOp::Div => a / b,
                    BinaryOp::Mul => a * b,
                    BinaryOp::Sub => a - b,
                })
                .collect()
        };
        let results: Vec<Vec<f64>> = (0..channels).map(combine).collect();
        Some(Self { value: self.value, results, affine: false })
    }

    /// Applies `function` to every result, with the channel's index if there are several channels.
    fn each(&mut self, channels: usize, function: impl Fn(usize, f64) -> f64) {
        if self.results.len() < channels && channels > 1 {
            self.results = vec![self.results[0].clone(); channels];
        }
        for (channel, results) in self.results.iter_mut().enumerate() {
            results.iter_mut().for_each(|x| *x = function(channel, *x));
        }
        *self = Self { value: self.value, results: std::mem::take(&mut self.results), ..*self }
            .merged();
    }

    /// One list instead of equal ones.
    fn merged(mut self) -> Self {
        let bits = |list: &[f64]| list.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        if self.results.windows(2).all(|pair| bits(&pair[0]) == bits(&pair[1])) {
            self.results.truncate(1);
        }
        self
    }
}

/// The integers of a range, as reals.
fn steps(range: IntRange) -> impl Iterator<Item = f64> {
    #[expect(clippy::cast_precision_loss, reason = "ranges of values have at most 8 bits")]
    (range.lo..=range.hi).map(|step| step as f64)
}

impl Lowering<'_> {
    /// An activation: of a value, a function, or an affine map of a value.
    pub(super) fn function(&mut self, id: NodeIndex) -> Result<Known, Faults> {
        let op = &self.graph.node(id).op;
        let operand = match self.operand(id, 0) {
            Known::Failed => return Ok(Known::Failed),
            Known::Function(function) => Some(function),
            Known::Value(value) => Tabulated::of(value),
            Known::Sum(sum) => sum.as_function(),
            Known::Input(_) | Known::Unquantized => None,
        };
        let Some(mut operand) = operand else {
            return match op {
                // The reader reports that it has no quantizer.
                Op::Relu | Op::Clip(_) => Ok(Known::Unquantized),
                _ => Err(self.unquantized(id, 0)),
            };
        };
        operand.affine = false;
        match op {
            Op::Relu => operand.each(1, |_, x| clip(x, Bounds::RELU)),
            Op::Clip(bounds) => operand.each(1, |_, x| clip(x, *bounds)),
            Op::Function(function) => {
                let channels = slopes(function);
                operand.each(channels, |channel, x| function.apply(x, channel));
            }
            _ => return Ok(Known::Unquantized),
        }
        if operand.results.iter().flatten().any(|x| !x.is_finite()) {
            return self.unsupported(
                id,
                "it has results that are not finite",
                "check the parameters of the function",
            );
        }
        Ok(Known::Function(operand))
    }

    /// The layer that looks a quantized function up.
    pub(super) fn table(
        &mut self,
        id: NodeIndex,
        function: &Tabulated,
        quantizer: Quantizer,
    ) -> Result<Value, Faults> {
        let scale = quantizer.quantization.scale;
        let range = quantizer.quantization.range;
        let quantize = |&x: &f64| {
            let steps = match quantizer.rounding {
                Rounding::HalfEven => (x / scale).round_ties_even(),
                Rounding::Floor => (x / scale).floor(),
            };
            #[expect(clippy::cast_possible_truncation, reason = "saturates, and is then cut")]
            (steps as i64).clamp(range.lo, range.hi)
        };
        let values = function.results.iter().flatten().map(quantize).collect();
        let value = function.value;
        let op = TableOp { inputs: vec![value.range], output: range, values };
        let made = self.push(id, id, &[value], IntegerOp::Table(op));
        let kind = ValueKind::Quantized;
        Ok(Value { id: made, shape: value.shape, scale, range, kind })
    }
}

/// Channels that a function tells apart; 1 if none.
fn slopes(function: &Function) -> usize {
    match function {
        Function::LeakyRelu { slopes } => slopes.len(),
        _ => 1,
    }
}

fn clip(x: f64, bounds: Bounds) -> f64 {
    x.max(bounds.lower).min(bounds.upper)
}
