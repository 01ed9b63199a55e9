//! The rules that every plan keeps. Whoever reads a plan checks them all again.
//!
//! 1. Sizes, so that neither checking nor running a hostile plan takes absurd time or memory: at most
//!    [`MAX_LAYERS`] steps; [`MAX_ELEMENTS`] elements a tensor, and a pooling's windows together;
//!    [`MAX_WEIGHTS`] weights and [`MAX_COEFFICIENTS`] coefficients of requests, responses and weight
//!    polynomials each a layer; [`MAX_TOTAL_ELEMENTS`] elements and [`MAX_ROTS`] random OTs in all.
//! 2. Every step reads the input or the result of an earlier step, and that value's domain and shape
//!    are ones that the step may read ([`SecureOp::result_type`]). Every value but the last is read.
//! 3. The last step opens an accumulator, and no other does.
//! 4. Every parameter set satisfies the security table; the sets ascend and each is used; every
//!    index and layout is valid; folded weights are below every modulus.
//! 5. The noise of all outputs together stays within the error budget, which is at most `2^-40`.
//! 6. Scales are positive and finite; the input range lies within 8 bits; the preparation has a value
//!    for every channel or none.

use super::{LayerKind, Plan, PlanDigest, PlanSpec};
use crate::layout::ConvLayout;
use crate::params::RlweParams;
use crate::params::noise::{NoiseModel, is_allowed_budget, required_margin};
use crate::protocol::requantize::RequantizeForm;
use crate::secure::{MAX_ELEMENTS, SecureOp, ValueType};

/// Most steps of a plan.
const MAX_LAYERS: usize = 10_000;

/// Most weights of one layer.
const MAX_WEIGHTS: usize = 1 << 28;

/// Most coefficients of all requests, all responses, or all weight polynomials of one layer.
const MAX_COEFFICIENTS: usize = 1 << 28;

/// Most window positions of all poolings together: each is a value of its own in the circuit.
const MAX_POSITIONS: usize = 1 << 20;

/// Most elements of all values together.
const MAX_TOTAL_ELEMENTS: usize = 1 << 32;

/// Most random OTs of one inference.
const MAX_ROTS: u64 = 1 << 34;

/// A rule that a plan breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", .layer.as_deref().unwrap_or("plan"))]
pub struct PlanError {
    /// The step concerned, if it is one.
    pub layer: Option<String>,
    /// What is wrong.
    pub what: String,
}

impl Plan {
    /// Checks a specification; `digest` is that of its encoding.
    ///
    /// # Errors
    /// [`PlanError`] names the first rule of the module's list that does not hold.
    pub(super) fn check(spec: PlanSpec, digest: PlanDigest) -> Result<Self, PlanError> {
        check_header(&spec)?;
        let rlwe = spec
            .rlwe
            .iter()
            .map(|&spec| RlweParams::check(spec).map_err(|error| plan_error(error.to_string())))
            .collect::<Result<Vec<_>, _>>()?;
        let values = infer_types(&spec)?;
        check_reads(&spec)?;
        let mut plan = Self { spec, rlwe, values, traffic: Vec::new(), digest };
        plan.check_choices()?;
        plan.check_parameter_sets()?;
        plan.check_sizes()?;
        plan.traffic = (0..plan.spec.layers.len()).map(|index| plan.count_layer(index)).collect();
        if plan.rots().total() > MAX_ROTS {
            return Err(plan_error("needs too many random OTs"));
        }
        Ok(plan)
    }

    fn check_parameter_sets(&self) -> Result<(), PlanError> {
        let sets = &self.spec.rlwe;
        let used = |index: usize| {
            self.spec.layers.iter().any(|layer| {
                matches!(&layer.kind, LayerKind::Linear { choice, .. } if choice.rlwe == index)
            })
        };
        if !(0..sets.len()).all(used) {
            return Err(plan_error("a parameter set is not used"));
        }
        Ok(())
    }

    /// Bounds the work of counting and running the plan; windows are bounded before they are counted.
    fn check_sizes(&self) -> Result<(), PlanError> {
        let total: usize = self.values.iter().map(|value| value.shape.len()).sum();
        let mut positions = 0;
        for (index, layer) in self.spec.layers.iter().enumerate() {
            let LayerKind::MaxPool { window } = &layer.kind else { continue };
            let area = window.kernel[0] * window.kernel[1];
            positions += area;
            let windows = area.checked_mul(self.values[index + 1].shape.len());
            if windows.is_none_or(|windows| windows > MAX_ELEMENTS) || positions > MAX_POSITIONS {
                let what = "its windows are too large".to_owned();
                return Err(PlanError { layer: Some(layer.name.clone()), what });
            }
        }
        if total > MAX_TOTAL_ELEMENTS {
            return Err(plan_error("has too many elements in all"));
        }
        Ok(())
    }

    fn check_choices(&self) -> Result<(), PlanError> {
        let outputs = self.linear_outputs();
        let margin = required_margin(outputs, self.spec.error_budget_log2);
        for layer in &self.spec.layers {
            let fail = |what: String| PlanError { layer: Some(layer.name.clone()), what };
            match &layer.kind {
                LayerKind::Linear { op, choice } => {
                    let params = self
                        .rlwe
                        .get(choice.rlwe)
                        .ok_or_else(|| fail("names no parameter set".to_owned()))?;
                    let layout = ConvLayout::new(op.geometry, choice.tile, params.ring_degree())
                        .map_err(|error| fail(error.to_string()))?;
                    let weights = op.geometry.fan_in().checked_mul(op.geometry.out_channels);
                    let counts = layout.counts();
                    let polynomials = [counts.requests(), counts.responses(), counts.weights()];
                    if weights.is_none_or(|weights| weights > MAX_WEIGHTS)
                        || polynomials
                            .iter()
                            .any(|&count| count > MAX_COEFFICIENTS / params.ring_degree())
                    {
                        return Err(fail("is too large".to_owned()));
                    }
                    if op.max_folded_weight() >= params.modulus() {
                        return Err(fail("its folded weights may exceed the modulus".to_owned()));
                    }
                    let dropped = choice.request_drop_bits.max(choice.response_drop_bits);
                    let output_bits = op.acc_bits + op.guard_bits;
                    if dropped >= params.modulus_bits()
                        || output_bits >= params.modulus_bits()
                        || choice.weight_norm_squared_log2 > 100
                    {
                        return Err(fail("drops or needs more bits than q has".to_owned()));
                    }
                    if choice.noise_model().margin(params, output_bits) < margin {
                        return Err(fail("its noise exceeds the error budget".to_owned()));
                    }
                }
                LayerKind::Requantize { form, .. } => {
                    if !(1..=RequantizeForm::MAX_DIGIT_BITS).contains(&form.digit_bits) {
                        return Err(fail("digits have 1 to 4 bits".to_owned()));
                    }
                }
                LayerKind::MaxPool { .. }
                | LayerKind::ToArithmetic { .. }
                | LayerKind::Flatten
                | LayerKind::Open => {}
            }
        }
        Ok(())
    }

    /// Outputs of all linear layers together: the coefficients whose noise must stay in its window.
    #[must_use]
    pub fn linear_outputs(&self) -> usize {
        let outputs = self.spec.layers.iter().zip(self.values.iter().skip(1));
        outputs
            .filter(|(layer, _)| matches!(layer.kind, LayerKind::Linear { .. }))
            .map(|(_, value)| value.shape.len())
            .sum()
    }
}

impl super::LinearChoice {
    /// The noise that this choice leads to.
    #[must_use]
    pub fn noise_model(&self) -> NoiseModel {
        NoiseModel {
            weight_norm_squared: f64::from(self.weight_norm_squared_log2).exp2(),
            request_drop_bits: self.request_drop_bits,
            response_drop_bits: self.response_drop_bits,
        }
    }
}

fn plan_error(what: impl Into<String>) -> PlanError {
    PlanError { layer: None, what: what.into() }
}

fn check_header(spec: &PlanSpec) -> Result<(), PlanError> {
    if !spec.rlwe.is_sorted_by(|a, b| a < b) {
        return Err(plan_error("the parameter sets do not ascend"));
    }
    let positive = |scale: f64| scale.is_finite() && scale > 0.0;
    let input = &spec.input.quantization;
    let ordered = input.range.lo <= input.range.hi;
    if spec.layers.is_empty() || spec.layers.len() > MAX_LAYERS {
        return Err(plan_error(format!("has {} steps", spec.layers.len())));
    }
    if !ordered || input.range.bits() > 8 || input.range.lo.unsigned_abs() > 1 << 16 {
        return Err(plan_error("the input range does not lie within 8 bits"));
    }
    if !positive(input.scale) || !positive(spec.output_scale) {
        return Err(plan_error("a scale is not positive and finite"));
    }
    if let Err(error) = spec.preparation.check_channels(spec.input.shape.channels) {
        return Err(plan_error(error.to_string()));
    }
    if !is_allowed_budget(spec.error_budget_log2) {
        let budget = spec.error_budget_log2;
        return Err(plan_error(format!("an error budget of 2^-{budget} is not allowed")));
    }
    if ![1, 2, 4, 8].contains(&spec.ot_field_bits) {
        return Err(plan_error(format!("OT field of {} bits", spec.ot_field_bits)));
    }
    Ok(())
}

/// Every value but the last is read: a value that is never read would be held to the end.
fn check_reads(spec: &PlanSpec) -> Result<(), PlanError> {
    let mut read = vec![false; spec.layers.len() + 1];
    spec.layers.iter().for_each(|layer| read[layer.operand.0] = true);
    match read[..spec.layers.len()].iter().position(|read| !read) {
        Some(value) => Err(plan_error(format!("value {value} is never read"))),
        None => Ok(()),
    }
}

fn infer_types(spec: &PlanSpec) -> Result<Vec<ValueType>, PlanError> {
    let input = SecureOp::Input { shape: spec.input.shape }
        .result_type(None)
        .map_err(|error| plan_error(error.to_string()))?;
    let mut values = vec![input];
    let last = spec.layers.len() - 1;
    for (index, layer) in spec.layers.iter().enumerate() {
        let fail = |what: String| PlanError { layer: Some(layer.name.clone()), what };
        let operand = values
            .get(layer.operand.0)
            .ok_or_else(|| fail("reads a value that is not made yet".to_owned()))?;
        let op = layer.kind.op();
        if (index == last) != (op == SecureOp::Open) {
            return Err(fail("the last step, and no other, opens the result".to_owned()));
        }
        values.push(op.result_type(Some(*operand)).map_err(|error| fail(error.to_string()))?);
    }
    Ok(values)
}
