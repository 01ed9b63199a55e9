//! The rules that every plan keeps. Whoever reads a plan checks them all again.
//!
//! 1. Sizes, so that neither checking nor running a hostile plan takes absurd time or memory: at most
//!    [`MAX_LAYERS`] steps; [`MAX_ELEMENTS`] elements a tensor, and the windows of a pooling or of a
//!    term together; [`MAX_COEFFICIENTS`] of weight polynomials and [`MAX_CIPHERTEXT_COEFFICIENTS`] of
//!    requests and of leaves a layer; [`MAX_TOTAL_ELEMENTS`] elements of values, and elements that
//!    local steps read, [`MAX_PRODUCT_WORDS`] words of products, [`MAX_PARAMETER_SETS`] parameter
//!    sets, and [`MAX_ROTS`] random OTs in all; [`MAX_PAD_BYTES`] of random OTs a step;
//!    [`MAX_MESSAGE_BYTES`] a message, and the keys.
//! 2. Every step reads the input or results of earlier steps, and their domains and shapes are ones
//!    that the step may read ([`SecureOp::result_type`]). Every value but the last is read.
//! 3. The last step opens a value, and no other does.
//! 4. Every parameter set satisfies the security table; the sets ascend and each is used; every
//!    index and layout is valid; coefficients of weight polynomials are below q; the parameters of
//!    steps that merge responses have key switching.
//! 5. The noise of all outputs together stays within the error budget, which is at most `2^-40`.
//!    Of accumulators that are rounded, requantizations keep as many bits as the plan's bound wants.
//! 6. Scales are positive and finite; the input range lies within 8 bits, and its zero point within
//!    its type; the input's map and the preparation are finite, with a value for every channel, one
//!    for all, or (of the preparation) none.
//! 7. Calibrated widths, and no others, come with what they rest on: at least one sample, ascending
//!    steps that accumulate, and no more bits of each than its width.

use super::{AccStrategy, LayerKind, MAX_MARGIN_BITS, Plan, PlanDigest, PlanSpec};
use crate::geometry::Window;
use crate::integer::{InputElement, NetworkInput};
use crate::layout::ConvLayout;
use crate::params::RlweParams;
use crate::params::noise::{NoiseModel, is_allowed_budget, required_margin};
use crate::protocol::to_arithmetic::ToArithmeticForm;
use crate::rounding::{AccRounding, BOUNDS_LOG2};
use crate::secure::{CombineTerm, Domain, MAX_ELEMENTS, SecureOp, ValueType};
use crate::traffic::RotRun;
use heq_mutation::broken;

/// Most steps of a plan.
const MAX_LAYERS: usize = 10_000;

/// Most coefficients of all weight polynomials of one layer.
pub const MAX_COEFFICIENTS: usize = 1 << 28;

/// Most coefficients of all requests, or of all leaves, of one layer: the server holds the requests.
pub const MAX_CIPHERTEXT_COEFFICIENTS: usize = 1 << 26;

/// Largest `log2` of a squared norm of weights: what noise is computed with stays finite.
pub const MAX_WEIGHT_NORM_LOG2: u32 = 100;

/// Most words of all products of ciphertexts and weight polynomials together.
const MAX_PRODUCT_WORDS: usize = 1 << 44;

/// Most parameter sets: each has its tables and keys.
const MAX_PARAMETER_SETS: usize = 64;

/// Most window positions of all poolings together: each is a value of its own in the circuit.
const MAX_POSITIONS: usize = 1 << 14;

/// Most elements of all values together, and of all windows of local steps.
const MAX_TOTAL_ELEMENTS: usize = 1 << 32;

/// Largest payload of one message, in bytes: a party holds it as a whole.
pub const MAX_MESSAGE_BYTES: u64 = 1 << 30;

/// Most random OTs of one inference.
const MAX_ROTS: u64 = 1 << 34;

/// Most bytes of both pads of the random OTs that one step holds at once.
const MAX_PAD_BYTES: u64 = 1 << 31;

/// A rule that a plan breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", .layer.as_deref().unwrap_or("plan"))]
pub struct PlanError {
    /// The step concerned, if it is one.
    pub layer: Option<String>,
    /// What is wrong.
    pub what: String,
    /// Whether the plan is refused for its size alone: rule 1 of the list.
    pub is_too_large: bool,
}

impl Plan {
    /// Checks a specification; `digest` is that of its encoding.
    ///
    /// # Errors
    /// [`PlanError`] names the first rule of the module's list that does not hold.
    pub(super) fn check(spec: PlanSpec, digest: PlanDigest) -> Result<Self, PlanError> {
        check_header(&spec)?;
        check_calibration(&spec)?;
        let rlwe = spec
            .rlwe
            .iter()
            .map(|&spec| RlweParams::check(spec).map_err(|error| plan_error(error.to_string())))
            .collect::<Result<Vec<_>, _>>()?;
        let values = infer_types(&spec)?;
        check_reads(&spec)?;
        let mut plan = Self { spec, rlwe, values, traffic: Vec::new(), digest };
        plan.check_sizes()?;
        plan.check_choices()?;
        plan.check_parameter_sets()?;
        let mut rots = 0_u64;
        for index in 0..plan.spec.layers.len() {
            let traffic = plan.count_layer(index);
            rots = rots.saturating_add(traffic.rot_counts().total());
            if rots > MAX_ROTS {
                let error = plan_error("needs too many random OTs");
                return Err(PlanError { is_too_large: true, ..error });
            }
            plan.traffic.push(traffic);
        }
        let (keys, _) = plan.setup_traffic().payload_bytes();
        if keys > MAX_MESSAGE_BYTES {
            return Err(PlanError { is_too_large: true, ..plan_error("its keys are too large") });
        }
        for (index, (layer, traffic)) in plan.spec.layers.iter().zip(&plan.traffic).enumerate() {
            let fail = |what: &str| {
                let layer = Some(layer.name.clone());
                Err(PlanError { layer, what: what.to_owned(), is_too_large: true })
            };
            if traffic.largest_message() > MAX_MESSAGE_BYTES {
                return fail("one of its messages is too large");
            }
            let largest_run = traffic.rots.iter().map(RotRun::rows).max().unwrap_or(0);
            if plan.spec.ot.largest_message(largest_run) > MAX_MESSAGE_BYTES
                || plan.held_pad_bytes(index) > MAX_PAD_BYTES
            {
                return fail("takes too many random OTs at once");
            }
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
        let mut positions = 0_usize;
        let mut work: usize = self.values.iter().map(|value| value.shape.len()).sum();
        for (index, layer) in self.spec.layers.iter().enumerate() {
            let fail = |what: &str| PlanError {
                layer: Some(layer.name.clone()),
                what: what.to_owned(),
                is_too_large: true,
            };
            let output = self.values[index + 1].shape.len();
            let windows = |window: &Window| {
                let elements =
                    window.kernel[0].checked_mul(window.kernel[1])?.checked_mul(output)?;
                (elements <= MAX_ELEMENTS).then_some(elements)
            };
            let too_large = || fail("its windows are too large");
            match &layer.kind {
                LayerKind::MaxPool { window, .. } => {
                    work = work.saturating_add(windows(window).ok_or_else(too_large)?);
                    positions = positions.saturating_add(window.kernel[0] * window.kernel[1]);
                }
                LayerKind::Combine(op) => {
                    for term in &op.terms {
                        let CombineTerm::Scaled(term) = term else { continue };
                        work = work.saturating_add(windows(&term.window).ok_or_else(too_large)?);
                    }
                }
                LayerKind::Linear { .. }
                | LayerKind::Requantize { .. }
                | LayerKind::Table { .. }
                | LayerKind::View(_)
                | LayerKind::Reshape(_)
                | LayerKind::Concat { .. }
                | LayerKind::ToArithmetic { .. }
                | LayerKind::ToBoolean { .. }
                | LayerKind::Open
                | LayerKind::Top { .. } => {}
            }
            if positions > MAX_POSITIONS {
                return Err(too_large());
            }
        }
        if work > MAX_TOTAL_ELEMENTS {
            return Err(PlanError {
                is_too_large: true,
                ..plan_error("has too many elements in all")
            });
        }
        Ok(())
    }

    fn check_choices(&self) -> Result<(), PlanError> {
        let outputs = self.linear_outputs();
        let margin = required_margin(outputs, self.spec.error_budget_log2);
        let mut work = 0_usize;
        let fits = |index: usize, form: &ToArithmeticForm, bits: u32| {
            let operand = self.operands(index).first().map(|value| value.domain);
            matches!(operand, Some(Domain::Boolean { bits: planes, .. }) if form.is_valid(planes, bits))
        };
        for (index, layer) in self.spec.layers.iter().enumerate() {
            let fail = |what: String| {
                let layer = Some(layer.name.clone());
                PlanError { layer, what, is_too_large: false }
            };
            match &layer.kind {
                LayerKind::Linear { op, choice } => {
                    let params = self
                        .rlwe
                        .get(choice.rlwe)
                        .ok_or_else(|| fail("names no parameter set".to_owned()))?;
                    let n = params.ring_degree();
                    let layout = ConvLayout::new(op.geometry, op.packing, choice.tile, n)
                        .map_err(|error| fail(error.to_string()))?;
                    let counts = layout.counts();
                    let coefficients = |polynomials: usize| polynomials.saturating_mul(n);
                    let of_ciphertexts = coefficients(counts.requests().max(counts.leaves()));
                    let words = coefficients(counts.products()).saturating_mul(params.limbs());
                    work = work.saturating_add(words);
                    if of_ciphertexts > MAX_CIPHERTEXT_COEFFICIENTS
                        || coefficients(counts.weights()) > MAX_COEFFICIENTS
                        || work > MAX_PRODUCT_WORDS
                    {
                        return Err(PlanError {
                            is_too_large: true,
                            ..fail("is too large".to_owned())
                        });
                    }
                    let largest = op.max_weight_coefficient();
                    if u128::from(largest) >= params.modulus() || largest >> 62 > 0 {
                        return Err(fail("its folded weights may exceed the modulus".to_owned()));
                    }
                    if choice.tile.merge_levels > 0 && params.key_switch().is_none() {
                        return Err(fail("merges responses without keys for it".to_owned()));
                    }
                    let dropped = choice.request_drop_bits.max(choice.response_drop_bits);
                    if dropped >= params.modulus_bits()
                        || op.word_bits() >= params.modulus_bits()
                        || choice.weight_norm_squared_log2 > MAX_WEIGHT_NORM_LOG2
                    {
                        return Err(fail("drops or needs more bits than q has".to_owned()));
                    }
                    let is_noisy = choice.noise_model().margin(params, op.precise_bits()) < margin;
                    if is_noisy
                        && !broken!(
                            "plans may have any noise",
                            "heq-tests adversarial every_rule_is_checked"
                        )
                    {
                        return Err(fail("its noise exceeds the error budget".to_owned()));
                    }
                }
                LayerKind::Requantize { widths, form, .. } if !form.is_valid(widths) => {
                    return Err(fail("its form does not fit its widths".to_owned()));
                }
                LayerKind::ToArithmetic { bits, form } if !fits(index, form, *bits) => {
                    return Err(fail("its form does not fit its widths".to_owned()));
                }
                LayerKind::Requantize { widths, .. }
                    if self.early_rounding(index).is_some()
                        && !self.spec.rounding.allows(widths.shift) =>
                {
                    let bound = self.spec.rounding;
                    return Err(fail(format!("rounds more than the plan's bound, {bound}")));
                }
                LayerKind::Requantize { .. }
                | LayerKind::Combine(_)
                | LayerKind::MaxPool { .. }
                | LayerKind::Table { .. }
                | LayerKind::View(_)
                | LayerKind::Reshape(_)
                | LayerKind::Concat { .. }
                | LayerKind::ToArithmetic { .. }
                | LayerKind::ToBoolean { .. }
                | LayerKind::Open
                | LayerKind::Top { .. } => {}
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
            merge_levels: self.tile.merge_levels,
        }
    }
}

fn plan_error(what: impl Into<String>) -> PlanError {
    PlanError { layer: None, what: what.into(), is_too_large: false }
}

fn check_header(spec: &PlanSpec) -> Result<(), PlanError> {
    if spec.rlwe.len() > MAX_PARAMETER_SETS {
        return Err(PlanError {
            is_too_large: true,
            ..plan_error(format!("has {} parameter sets", spec.rlwe.len()))
        });
    }
    if !spec.rlwe.is_sorted_by(|a, b| a < b) {
        return Err(plan_error("the parameter sets do not ascend"));
    }
    if spec.layers.is_empty() || spec.layers.len() > MAX_LAYERS {
        return Err(plan_error(format!("has {} steps", spec.layers.len())));
    }
    check_input(&spec.input)?;
    if !is_positive(spec.output_scale) {
        return Err(plan_error("a scale is not positive and finite"));
    }
    if let Err(error) = spec.preparation.check_channels(spec.input.shape.channels) {
        return Err(plan_error(error.to_string()));
    }
    if !is_allowed_budget(spec.error_budget_log2) {
        let budget = spec.error_budget_log2;
        return Err(plan_error(format!("an error budget of 2^-{budget} is not allowed")));
    }
    if let AccRounding::Within { bound_log2 } = spec.rounding
        && !BOUNDS_LOG2.contains(&bound_log2)
    {
        return Err(plan_error(format!("rounding within 2^-{bound_log2} is not allowed")));
    }
    if !spec.ot.is_supported() {
        return Err(plan_error(format!("makes random OTs by {}", spec.ot)));
    }
    Ok(())
}

fn check_calibration(spec: &PlanSpec) -> Result<(), PlanError> {
    let calibration = match (spec.acc_strategy, &spec.calibration) {
        (AccStrategy::WeightAware | AccStrategy::WorstCase, None) => return Ok(()),
        (AccStrategy::Calibrated { margin_bits }, Some(calibration))
            if margin_bits <= MAX_MARGIN_BITS && calibration.samples > 0 =>
        {
            calibration
        }
        _ => return Err(plan_error("its accumulators rest on no valid calibration")),
    };
    let is_observed = |step: usize, used_bits: u32| {
        let width = spec.layers.get(step).and_then(|layer| layer.kind.acc_bits());
        width.is_some_and(|width| (1..=width).contains(&used_bits))
    };
    let observed = &calibration.observed;
    if !observed.is_sorted_by(|a, b| a.step < b.step)
        || !observed.iter().all(|sum| is_observed(sum.step, sum.used_bits))
    {
        return Err(plan_error("its calibration names no accumulator, or more bits than one has"));
    }
    Ok(())
}

fn is_positive(scale: f64) -> bool {
    scale.is_finite() && scale > 0.0
}

fn check_input(input: &NetworkInput) -> Result<(), PlanError> {
    let range = input.quantization.range;
    if range.lo > range.hi || range.bits() > 8 || range.lo.unsigned_abs() > 1 << 16 {
        return Err(plan_error("the input range does not lie within 8 bits"));
    }
    if !is_positive(input.quantization.scale) {
        return Err(plan_error("a scale is not positive and finite"));
    }
    let numbers = [&input.map.multiplier, &input.map.offset];
    if !numbers.iter().all(|list| [1, input.shape.channels].contains(&list.len())) {
        return Err(plan_error("the input's map has another number of channels"));
    }
    if !numbers.into_iter().flatten().all(|number| number.is_finite()) {
        return Err(plan_error("the input's map is not finite"));
    }
    if let InputElement::Integer { ty, zero_point } = input.element {
        let values = ty.range();
        if !(1..=63).contains(&ty.bits) || !(values.lo..=values.hi).contains(&zero_point) {
            return Err(plan_error("the input's zero point does not lie within its type"));
        }
    }
    Ok(())
}

/// Every value but the last is read: a value that is never read would be held to the end.
fn check_reads(spec: &PlanSpec) -> Result<(), PlanError> {
    let mut read = vec![false; spec.layers.len() + 1];
    spec.layers.iter().flat_map(|layer| &layer.operands).for_each(|id| read[id.0] = true);
    match read[..spec.layers.len()].iter().position(|read| !read) {
        Some(value) => Err(plan_error(format!("value {value} is never read"))),
        None => Ok(()),
    }
}

fn infer_types(spec: &PlanSpec) -> Result<Vec<ValueType>, PlanError> {
    let mut shape = spec.input.shape;
    let channels = shape.channels.checked_mul(spec.batch).filter(|_| spec.batch > 0);
    shape.channels = channels.ok_or_else(|| plan_error("has no samples, or too many"))?;
    let input = SecureOp::Input { shape, range: spec.input.quantization.range };
    let input = input.result_type(&[]).map_err(|error| plan_error(error.to_string()))?;
    let mut values = vec![input];
    let last = spec.layers.len() - 1;
    for (index, layer) in spec.layers.iter().enumerate() {
        let fail = |what: String| {
            let layer = Some(layer.name.clone());
            PlanError { layer, what, is_too_large: false }
        };
        let operands = layer.operands.iter().map(|id| values.get(id.0).copied());
        let operands: Vec<ValueType> = operands
            .collect::<Option<_>>()
            .ok_or_else(|| fail("reads a value that is not made yet".to_owned()))?;
        let op = layer.kind.op();
        if (index == last) != (op == SecureOp::Open) {
            return Err(fail("the last step, and no other, opens the result".to_owned()));
        }
        let result = op.result_type(&operands).map_err(|error| fail(error.to_string()))?;
        if !is_by_sample(&op, spec.batch) || !result.shape.channels.is_multiple_of(spec.batch) {
            return Err(fail("mixes the samples of the plan, or holds others".to_owned()));
        }
        values.push(result);
    }
    Ok(values)
}

/// Whether a step computes each of `batch` samples from that sample alone, as far as its operation tells;
/// the shapes of its values tell the rest.
fn is_by_sample(op: &SecureOp, batch: usize) -> bool {
    match op {
        SecureOp::Linear(op) => op.geometry.batch == batch,
        SecureOp::View(view) => view.batch == batch,
        SecureOp::Concat { batch: own } => *own == batch,
        SecureOp::Top { .. } => batch == 1,
        SecureOp::Input { .. }
        | SecureOp::Combine(_)
        | SecureOp::Requantize { .. }
        | SecureOp::MaxPool { .. }
        | SecureOp::Table { .. }
        | SecureOp::Reshape(_)
        | SecureOp::ToArithmetic { .. }
        | SecureOp::ToBoolean { .. }
        | SecureOp::Open => true,
    }
}
