//! Sums before their quantizer: linear layers, values times a real factor, an offset a channel.

use super::function::Tabulated;
use super::{Faults, Known, Lowering, Value, ValueKind, chw, fault, place};
use crate::pass::fold_affine::uniform;
use heq_ir::diagnostic::Code;
use heq_ir::geometry::{Chw, ConvGeometry, Window};
use heq_ir::graph::NodeIndex;
use heq_ir::graph::op::{AveragePool, BinaryOp, ChannelAffine, Op};
use heq_ir::integer::InputMap;
use std::sync::Arc;

/// Most parts of a sum: there are never that many branches.
const MAX_PARTS: usize = 256;

/// A sum of parts, in reals; every part makes a tensor of the sum's shape.
#[derive(Clone)]
pub(super) struct Expression {
    pub(super) shape: Chw,
    pub(super) parts: Vec<Part>,
    /// What is added to every channel `[K]`.
    pub(super) offset: Vec<f64>,
    /// The node that gives the layer its name: the first linear one, if there is one.
    pub(super) named: Option<NodeIndex>,
}

/// One summand.
#[derive(Clone)]
pub(super) enum Part {
    /// `factors[k]*sum(w[k]*x)`.
    Linear {
        value: Value,
        geometry: ConvGeometry,
        /// Weights `[K, C/G, R, S]`, of `weight_bits` bits.
        weights: Arc<Vec<i32>>,
        weight_bits: u32,
        factors: Vec<f64>,
    },
    /// `factors[k]*x[k]`.
    Channelwise { value: Value, factors: Vec<f64> },
    /// `factor*sum(x over the window)`.
    Scaled { value: Value, window: Window, factor: f64 },
}

impl Part {
    pub(super) fn value(&self) -> Value {
        match self {
            Self::Linear { value, .. }
            | Self::Channelwise { value, .. }
            | Self::Scaled { value, .. } => *value,
        }
    }

    fn scale_by(&mut self, multiplier: &[f64]) {
        match self {
            Self::Linear { factors, .. } | Self::Channelwise { factors, .. } => {
                factors.iter_mut().zip(multiplier).for_each(|(factor, m)| *factor *= m);
            }
            Self::Scaled { factor, .. } => *factor *= multiplier.first().copied().unwrap_or(1.0),
        }
    }
}

impl Expression {
    /// A value, in reals.
    pub(super) fn of(value: Value) -> Self {
        let part = Part::Scaled { value, window: Window::POINT, factor: value.scale };
        Self {
            shape: value.shape,
            parts: vec![part],
            offset: vec![0.0; value.shape.channels],
            named: None,
        }
    }

    /// Whether a layer of the model takes part, which no one would compute twice.
    pub(super) fn has_layer(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Linear { .. }))
    }

    /// Whether secret weights take part.
    pub(super) fn is_linear(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Scaled { .. }))
    }

    /// The reals between which the sum lies, if public factors alone decide it.
    pub(super) fn reach(&self) -> Option<(f64, f64)> {
        let offsets = || self.offset.iter().copied();
        let mut lowest = offsets().fold(f64::INFINITY, f64::min);
        let mut highest = offsets().fold(f64::NEG_INFINITY, f64::max);
        for part in &self.parts {
            let Part::Scaled { value, window, factor } = part else { return None };
            #[expect(clippy::cast_precision_loss, reason = "windows and ranges are small")]
            let (area, lo, hi) = (
                (window.kernel[0] * window.kernel[1]) as f64,
                value.range.lo.min(0) as f64,
                value.range.hi.max(0) as f64,
            );
            let (lo, hi) = (factor * area * lo, factor * area * hi);
            lowest += lo.min(hi);
            highest += lo.max(hi);
        }
        Some((lowest, highest))
    }

    /// Adds a part; windows of one value are counted once.
    fn add(&mut self, part: Part) {
        if let Part::Scaled { value, window, factor } = part {
            let same = self.parts.iter_mut().find_map(|other| match other {
                Part::Scaled { value: v, window: w, factor }
                    if v.id == value.id && *w == window =>
                {
                    Some(factor)
                }
                _ => None,
            });
            if let Some(sum) = same {
                *sum += factor;
                return;
            }
        }
        self.parts.push(part);
    }

    /// The sum as a function of one value, if it is an affine map of it.
    pub(super) fn as_function(&self) -> Option<Tabulated> {
        let [part] = &self.parts[..] else { return None };
        match part {
            Part::Channelwise { value, factors } => {
                Tabulated::affine(*value, factors, &self.offset)
            }
            Part::Scaled { value, window, factor } if *window == Window::POINT => {
                Tabulated::affine(*value, &vec![*factor; self.offset.len()], &self.offset)
            }
            Part::Linear { .. } | Part::Scaled { .. } => None,
        }
    }

    /// The sum after an affine map. Windows are summed with one factor, so a map that differs
    /// between channels does not apply to them.
    fn mapped(mut self, map: &ChannelAffine) -> Option<Self> {
        if uniform(map).is_none() {
            for part in &mut self.parts {
                if let Part::Scaled { value, window, factor } = *part {
                    if window != Window::POINT {
                        return None;
                    }
                    let factors = vec![factor; map.multiplier.len()];
                    *part = Part::Channelwise { value, factors };
                }
            }
        }
        self.parts.iter_mut().for_each(|part| part.scale_by(&map.multiplier));
        let pairs = map.multiplier.iter().zip(&map.offset);
        self.offset.iter_mut().zip(pairs).for_each(|(offset, (m, c))| *offset = *offset * m + c);
        Some(self)
    }
}

impl Lowering<'_> {
    /// An affine map of the input, a value, a sum or a function.
    pub(super) fn affine(&mut self, id: NodeIndex, map: &ChannelAffine) -> Result<Known, Faults> {
        Ok(match self.operand(id, 0) {
            Known::Failed => Known::Failed,
            Known::Unquantized => Known::Unquantized,
            Known::Input(first) => Known::Input(compose(&first, map)),
            Known::Function(function) => Known::Function(function.affine_after(map)),
            Known::Value(value) => match uniform(map) {
                // Only the meaning of a step changes.
                Some((factor, 0.0)) if factor > 0.0 && value.kind != ValueKind::Client => {
                    Known::Value(Value { scale: value.scale * factor, ..value })
                }
                _ => self.mapped(id, Expression::of(value), map)?,
            },
            Known::Sum(sum) => self.mapped(id, sum, map)?,
        })
    }

    fn mapped(&self, id: NodeIndex, sum: Expression, map: &ChannelAffine) -> Result<Known, Faults> {
        if chw(self.graph.node(id))? != sum.shape {
            return self.unsupported(
                id,
                "it does not act on the channels of its operand",
                "normalize along dimension 1",
            );
        }
        match sum.mapped(map) {
            Some(sum) => Ok(Known::Sum(sum)),
            None => self.unsupported(
                id,
                "it multiplies averages by a factor for every channel",
                "place a quantizer between the pooling and the normalization",
            ),
        }
    }

    /// A sum or difference, or any operator on two functions of one value.
    pub(super) fn binary(&mut self, id: NodeIndex, op: BinaryOp) -> Result<Known, Faults> {
        let (first, second) = (self.operand(id, 0), self.operand(id, 1));
        for (slot, known) in [&first, &second].into_iter().enumerate() {
            let operand = self.graph.inputs(id).get(slot).map(|&x| &self.graph.node(x).op);
            if matches!(operand, Some(Op::Constant(_) | Op::QuantizedConstant(_))) {
                return self.unsupported(
                    id,
                    "its constant is not one number, or one for every channel",
                    "use constants that vary along dimension 1 only",
                );
            }
            if matches!(known, Known::Unquantized | Known::Input(_)) {
                return Err(self.unquantized(id, slot));
            }
        }
        if let (Some(first), Some(second)) = (function_of(&first), function_of(&second))
            && (op != BinaryOp::Add && op != BinaryOp::Sub
                || !first.is_affine()
                || !second.is_affine())
            && let Some(function) = first.combined(&second, op)
        {
            return Ok(Known::Function(function));
        }
        let sign = match op {
            BinaryOp::Add => 1.0,
            BinaryOp::Sub => -1.0,
            BinaryOp::Mul | BinaryOp::Div => {
                return self.unsupported(
                    id,
                    "it combines two activations, and only sums of them are supported",
                    "multiply and divide by constants only",
                );
            }
        };
        let (Some(first), Some(second)) = (sum_of(first), sum_of(second)) else {
            return self.unsupported(
                id,
                "an activation function without a quantizer behind it is one of its operands",
                "place a quantizer behind the function",
            );
        };
        let shape = chw(self.graph.node(id))?;
        if first.shape != shape || second.shape != shape {
            return self.unsupported(
                id,
                &format!("it broadcasts {} and {}", first.shape, second.shape),
                "add activations of equal shape",
            );
        }
        let negated = ChannelAffine {
            multiplier: vec![sign; shape.channels],
            offset: vec![0.0; shape.channels],
        };
        let Some(second) = second.mapped(&negated) else { return Ok(Known::Failed) };
        let mut sum = first;
        second.parts.into_iter().for_each(|part| sum.add(part));
        if sum.parts.len() > MAX_PARTS {
            return self.unsupported(
                id,
                &format!("more than {MAX_PARTS} tensors are added up without a quantizer"),
                "place a quantizer behind some of the sums",
            );
        }
        sum.offset.iter_mut().zip(&second.offset).for_each(|(sum, offset)| *sum += offset);
        sum.named = sum.named.or(second.named).or(Some(id));
        Ok(Known::Sum(sum))
    }

    pub(super) fn average_pool(
        &mut self,
        id: NodeIndex,
        pool: AveragePool,
    ) -> Result<Known, Faults> {
        let value = match self.operand(id, 0) {
            Known::Value(value) if value.kind != ValueKind::Result => value,
            _ => return Err(self.unquantized(id, 0)),
        };
        if !pool.count_pads && pool.window.pads != [0; 4] {
            return self.unsupported(
                id,
                "its windows at the border average fewer elements",
                "set count_include_pad=1, or pool without padding",
            );
        }
        let shape = chw(self.graph.node(id))?;
        #[expect(clippy::cast_precision_loss, reason = "windows are far smaller than 2^53")]
        let area = (pool.window.kernel[0] * pool.window.kernel[1]) as f64;
        let part = Part::Scaled { value, window: pool.window, factor: value.scale / area };
        Ok(Known::Sum(Expression {
            shape,
            parts: vec![part],
            offset: vec![0.0; shape.channels],
            named: Some(id),
        }))
    }

    /// The fault of a sum whose scales no integers express.
    pub(super) fn out_of_reach(&self, id: NodeIndex) -> Faults {
        vec![fault(
            Code::UnsupportedForm,
            place(self.graph.node(id)),
            "its scales cannot be expressed by integer multipliers and a shift to the right",
            "check the scales of its input, weights, normalization and output; place a quantizer on \
             the branches of a sum whose scales are far apart, and keep it (--branch-quantizers keep)",
        )]
    }
}

fn function_of(known: &Known) -> Option<Tabulated> {
    match known {
        Known::Function(function) => Some(function.clone()),
        Known::Value(value) => Tabulated::of(*value),
        Known::Sum(sum) => sum.as_function(),
        Known::Input(_) | Known::Unquantized | Known::Failed => None,
    }
}

fn sum_of(known: Known) -> Option<Expression> {
    match known {
        Known::Value(value) if value.kind != ValueKind::Result => Some(Expression::of(value)),
        Known::Sum(sum) => Some(sum),
        _ => None,
    }
}

/// `second` after `first`.
fn compose(first: &InputMap, second: &ChannelAffine) -> InputMap {
    let channels = second.multiplier.len();
    let (mut multiplier, mut offset) = (Vec::new(), Vec::new());
    for channel in 0..channels {
        let (a, b) = first.of_channel(channel);
        let (m, c) = (second.multiplier[channel], second.offset[channel]);
        multiplier.push(a * m);
        offset.push(b * m + c);
    }
    let equal = |list: &[f64]| list.windows(2).all(|pair| pair[0].to_bits() == pair[1].to_bits());
    if equal(&multiplier) && equal(&offset) {
        multiplier.truncate(1);
        offset.truncate(1);
    }
    InputMap { multiplier, offset }
}
