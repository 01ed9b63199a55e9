//! Sums to integer arithmetic: a common shift, multipliers, factors and biases.
//!
//! With the output's scale `s_y`, a part of real factor `f` becomes the integer `round(f/s_y*2^s)`,
//! and the offset `b[k]` the bias `round(b[k]/s_y*2^s)`.

use super::expression::{Expression, Part};
use super::multiplier::{
    Multipliers, RESULT_BITS, are_integers, at_shift, common_scale, common_shift, common_step,
    floor_all, power_of_two, round, round_all,
};
use super::{Faults, Lowering, Value, ValueKind};
use heq_ir::geometry::{ConvGeometry, Window};
use heq_ir::graph::NodeIndex;
use heq_ir::graph::op::{Quantizer, Rounding};
use heq_ir::integer::{
    IntRange, IntegerOp, LinearTerm, Quantization, Requantize, ScaledTerm, SumOp, Term,
};
use std::sync::Arc;

/// Width of the weight 1, in bits, signed.
const UNIT_WEIGHT_BITS: u32 = 2;

impl Lowering<'_> {
    /// The layer that quantizes a sum.
    pub(super) fn sum(
        &mut self,
        id: NodeIndex,
        sum: &Expression,
        quantizer: Quantizer,
    ) -> Result<Value, Faults> {
        let sum = &with_secret_offset(sum);
        let Quantization { scale, range } = quantizer.quantization;
        let unit: Vec<Part> = sum.parts.iter().map(|part| divided(part, scale)).collect();
        let (linear, scaled) = factors(&unit);
        let shift = common_shift(&linear, &scaled, range.bits(), self.multiplier_bits)
            .ok_or_else(|| self.out_of_reach(id))?;
        // Without a shift there is no rounding constant, so half a step goes into the bias.
        let half = if shift == 0 && quantizer.rounding == Rounding::HalfEven { 0.5 } else { 0.0 };
        let steps: Vec<f64> = sum.offset.iter().map(|offset| offset / scale + half).collect();
        let mut bias = floor_all(&steps, shift).ok_or_else(|| self.out_of_reach(id))?;
        if quantizer.rounding == Rounding::Floor && shift >= 1 {
            // Takes back the rounding constant.
            bias.iter_mut().for_each(|bias| *bias = bias.saturating_sub(1 << (shift - 1)));
        }
        let terms = terms(&unit, shift).ok_or_else(|| self.out_of_reach(id))?;
        let shift = u32::try_from(shift).map_err(|_| self.out_of_reach(id))?;
        let requantize = Some(Requantize { shift, range });
        let op = SumOp { output: sum.shape, terms, bias, requantize };
        Ok(self.push_sum(id, sum, op, scale, range, ValueKind::Quantized))
    }

    /// The layer whose sums are the result of the network.
    pub(super) fn result(&mut self, id: NodeIndex, sum: &Expression) -> Result<Value, Faults> {
        if !sum.is_linear() {
            return match self.exact(id, sum)? {
                Some(value) => Ok(value),
                None => Err(self.unquantized(id, 0)),
            };
        }
        let (linear, _) = factors(&sum.parts);
        let coarse = common_scale(&linear.concat(), self.multiplier_bits)
            .ok_or_else(|| self.out_of_reach(id))?;
        let scale = self.fine_scale(sum, coarse).ok_or_else(|| self.out_of_reach(id))?;
        let unit: Vec<Part> = sum.parts.iter().map(|part| divided(part, scale)).collect();
        let steps: Vec<f64> = sum.offset.iter().map(|offset| offset / scale).collect();
        let bias = round_all(&steps, 0).ok_or_else(|| self.out_of_reach(id))?;
        let terms = terms(&unit, 0).ok_or_else(|| self.out_of_reach(id))?;
        let op = SumOp { output: sum.shape, terms, bias, requantize: None };
        let range = IntRange { lo: i64::MIN >> 16, hi: i64::MAX >> 16 };
        Ok(self.push_sum(id, sum, op, scale, range, ValueKind::Result))
    }

    /// A scale of a result at which the factors of its scaled values are precise, too: one that makes
    /// all factors integers if that costs no width, else a fraction of `scale`.
    fn fine_scale(&self, sum: &Expression, scale: f64) -> Option<f64> {
        let (linear, scaled) = factors(&sum.parts);
        let scale = scale_of_offsets(sum, &linear, scale);
        if scaled.is_empty() {
            return Some(scale);
        }
        let width = |scale: f64| {
            let unit = linear.iter().flatten().map(|factor| factor / scale).collect::<Vec<_>>();
            at_shift(&unit, 0).map(|multipliers| multipliers.bits)
        };
        let unit: Vec<Part> = sum.parts.iter().map(|part| divided(part, scale)).collect();
        let (unit_linear, unit_scaled) = factors(&unit);
        let fine = common_shift(&unit_linear, &unit_scaled, RESULT_BITS, self.multiplier_bits)
            .map(|shift| scale / power_of_two(shift));
        let exact = common_step(&[linear.concat(), scaled].concat())
            .filter(|&step| width(step).is_some_and(|bits| fine.and_then(width) >= Some(bits)));
        exact.or(fine)
    }

    /// The layer that adds values up exactly, without a quantizer, if their scales allow it.
    pub(super) fn exact(
        &mut self,
        id: NodeIndex,
        sum: &Expression,
    ) -> Result<Option<Value>, Faults> {
        if sum.is_linear() || sum.parts.iter().any(|p| p.value().kind == ValueKind::Result) {
            return Ok(None);
        }
        let (_, mut scaled) = factors(&sum.parts);
        let offset = sum.offset.first().copied().unwrap_or(0.0);
        if sum.offset.iter().any(|other| other.to_bits() != offset.to_bits()) {
            return Ok(None);
        }
        if offset != 0.0 {
            scaled.push(offset);
        }
        let Some(step) = common_step(&scaled) else { return Ok(None) };
        let unit: Vec<Part> = sum.parts.iter().map(|part| divided(part, step)).collect();
        let (Some(terms), Some(bias)) = (terms(&unit, 0), round(offset / step)) else {
            return Ok(None);
        };
        let bias = vec![bias; sum.offset.len()];
        let Some(range) = reach(&terms, &sum.parts, bias.first().copied().unwrap_or(0)) else {
            return Ok(None);
        };
        let op = SumOp { output: sum.shape, terms, bias, requantize: None };
        Ok(Some(self.push_sum(id, sum, op, step, range, ValueKind::Exact)))
    }

    fn push_sum(
        &mut self,
        id: NodeIndex,
        sum: &Expression,
        op: SumOp,
        scale: f64,
        range: IntRange,
        kind: ValueKind,
    ) -> Value {
        let inputs: Vec<Value> = sum.parts.iter().map(Part::value).collect();
        let named = sum.named.unwrap_or(id);
        let made = self.push(named, id, &inputs, IntegerOp::Sum(op));
        Value { id: made, shape: sum.shape, scale, range, kind }
    }
}

/// A fraction of `scale` at which offsets are not lost beside sums of few and narrow products.
fn scale_of_offsets(sum: &Expression, linear: &[Vec<f64>], scale: f64) -> f64 {
    /// A step is at most this fraction of the largest sum, as a power of two.
    const SUM_BITS: i32 = 12;
    /// An offset is at most half of this fraction of a step of the products off.
    const LEAST_BITS: i32 = 2;
    let steps: Vec<f64> = sum.offset.iter().map(|offset| offset / scale).collect();
    if are_integers(&steps) {
        return scale;
    }
    let largest = sum.parts.iter().map(|part| {
        let Part::Linear { value, geometry, weight_bits, factors, .. } = part else { return 0.0 };
        let activation = value.range.lo.unsigned_abs().max(value.range.hi.unsigned_abs());
        let factor = factors.iter().map(|factor| factor.abs()).fold(0.0, f64::max) / scale;
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let products = geometry.fan_in() as f64 * activation as f64;
        products * factor * power_of_two(i32::try_from(*weight_bits).unwrap_or(0) - 1)
    });
    let largest = largest.fold(1.0, f64::max);
    let fits = |extra: &i32| {
        let scale = scale / power_of_two(*extra);
        let unit: Vec<f64> = linear.iter().flatten().map(|factor| factor / scale).collect();
        at_shift(&unit, 0).is_some()
    };
    let wanted =
        (0..SUM_BITS).find(|&extra| largest * power_of_two(extra) >= power_of_two(SUM_BITS));
    let wanted = wanted.unwrap_or(SUM_BITS).max(LEAST_BITS);
    let extra = (0..=wanted).rev().find(fits).unwrap_or(0);
    scale / power_of_two(extra)
}

/// The sum with a linear part, if its offset differs between channels: only those keep it secret.
fn with_secret_offset(sum: &Expression) -> Expression {
    let mut sum = sum.clone();
    let uniform = sum.offset.windows(2).all(|pair| pair[0].to_bits() == pair[1].to_bits());
    if uniform || sum.is_linear() {
        return sum;
    }
    let channels = sum.offset.len();
    let plain = sum.parts.iter_mut().find_map(|part| match *part {
        Part::Scaled { value, window, factor } if window == Window::POINT => {
            Some((part, value, factor))
        }
        _ => None,
    });
    if let Some((part, value, factor)) = plain {
        *part = Part::Channelwise { value, factors: vec![factor; channels] };
    }
    sum
}

/// A part in steps of `scale`.
fn divided(part: &Part, scale: f64) -> Part {
    let mut part = part.clone();
    match &mut part {
        Part::Linear { factors, .. } | Part::Channelwise { factors, .. } => {
            factors.iter_mut().for_each(|factor| *factor /= scale);
        }
        Part::Scaled { factor, .. } => *factor /= scale,
    }
    part
}

/// The factors of linear parts, one list each, and those of scaled values.
fn factors(parts: &[Part]) -> (Vec<Vec<f64>>, Vec<f64>) {
    let (mut linear, mut scaled) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            Part::Linear { factors, .. } | Part::Channelwise { factors, .. } => {
                linear.push(factors.clone());
            }
            Part::Scaled { factor, .. } => scaled.push(*factor),
        }
    }
    (linear, scaled)
}

/// The terms of parts at a common shift.
fn terms(parts: &[Part], shift: i32) -> Option<Vec<Term>> {
    parts
        .iter()
        .map(|part| {
            Some(match part {
                Part::Linear { geometry, weights, weight_bits, factors, .. } => {
                    let weights = Arc::clone(weights);
                    linear_term(*geometry, weights, *weight_bits, at_shift(factors, shift)?)
                }
                Part::Channelwise { value, factors } => {
                    let channels = value.shape.channels;
                    let geometry = ConvGeometry {
                        input: value.shape,
                        out_channels: channels,
                        window: Window::POINT,
                        groups: channels,
                        batch: 1,
                    };
                    let ones = Arc::new(vec![1; channels]);
                    linear_term(geometry, ones, UNIT_WEIGHT_BITS, at_shift(factors, shift)?)
                }
                Part::Scaled { value, window, factor } => Term::Scaled(ScaledTerm {
                    input: value.shape,
                    window: *window,
                    factor: *round_all(&[*factor], shift)?.first()?,
                }),
            })
        })
        .collect()
}

fn linear_term(
    geometry: ConvGeometry,
    weights: Arc<Vec<i32>>,
    weight_bits: u32,
    multipliers: Multipliers,
) -> Term {
    Term::Linear(LinearTerm {
        geometry,
        weights,
        weight_bits,
        multipliers: multipliers.values,
        multiplier_bits: multipliers.bits,
    })
}

/// The least and largest sum of values, or `None` beyond 32 bits.
fn reach(terms: &[Term], parts: &[Part], bias: i64) -> Option<IntRange> {
    let mut range = IntRange { lo: bias, hi: bias };
    for (term, part) in terms.iter().zip(parts) {
        let Term::Scaled(scaled) = term else { return None };
        let area = i64::try_from(scaled.window.kernel[0] * scaled.window.kernel[1]).ok()?;
        let factor = scaled.factor.checked_mul(area)?;
        let IntRange { lo, hi } = part.value().range;
        let (lo, hi) = (lo.min(0).checked_mul(factor)?, hi.max(0).checked_mul(factor)?);
        range.lo = range.lo.checked_add(lo.min(hi))?;
        range.hi = range.hi.checked_add(lo.max(hi))?;
    }
    (range.bits() <= 32).then_some(range)
}
