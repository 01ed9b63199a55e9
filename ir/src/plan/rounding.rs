//! What early rounding does to each requantization of a plan.

use super::{LayerKind, Plan};
use crate::integer::ValueId;
use crate::rounding::EarlyRounding;
use crate::secure::Domain;

/// A requantization whose operand is rounded first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoundedStep {
    /// How.
    pub rounding: EarlyRounding,
    /// The probability that an element differs from the exact one, by one, if its accumulator is uniform
    /// below the shift and it is not clamped; with noise.
    pub probability: f64,
    /// Elements of the result.
    pub elements: usize,
}

impl RoundedStep {
    /// Elements of the result that are expected to differ, at most: those that are clamped do not.
    #[must_use]
    pub fn differing(&self) -> f64 {
        self.probability * self.elements as f64
    }
}

impl Plan {
    /// How step `index` rounds its operand, if it is a requantization that does.
    #[must_use]
    pub fn early_rounding(&self, index: usize) -> Option<EarlyRounding> {
        let layer = self.spec.layers.get(index)?;
        let LayerKind::Requantize { .. } = &layer.kind else { return None };
        EarlyRounding::of(self.values.get(layer.operands.first()?.0)?.domain)
    }

    /// What step `index` rounds and how often it shows, if it is a requantization that rounds.
    #[must_use]
    pub fn rounded_step(&self, index: usize) -> Option<RoundedStep> {
        let rounding = self.early_rounding(index)?;
        let layer = self.spec.layers.get(index)?;
        let LayerKind::Requantize { widths, .. } = &layer.kind else { return None };
        let noise = self.noise_variance(*layer.operands.first()?);
        let units = noise * (-2.0 * f64::from(rounding.dropped_bits())).exp2();
        Some(RoundedStep {
            rounding,
            probability: EarlyRounding::differing_probability(widths.shift, units),
            elements: self.values.get(index + 1)?.shape.len(),
        })
    }

    /// Elements of all results that are expected to differ from those of an exact inference if each
    /// step read exact values, at most.
    #[must_use]
    pub fn differing_elements(&self) -> f64 {
        let steps = (0..self.spec.layers.len()).filter_map(|index| self.rounded_step(index));
        steps.map(|step| step.differing()).sum()
    }

    /// Variance of the noise in the words of an accumulator, in units of their lowest bit.
    fn noise_variance(&self, value: ValueId) -> f64 {
        // Each linear step behind it counts one delta, of which typing allows only a few.
        let (mut sum, mut open) = (0.0, vec![value]);
        while let Some(value) = open.pop() {
            let domain = self.values.get(value.0).map(|value| value.domain);
            let (Some(Domain::Accumulator { .. }), Some(index)) = (domain, value.0.checked_sub(1))
            else {
                continue;
            };
            if let Some(step) = self.linear_step(index) {
                let margin = step.choice.noise_model().margin(step.params, step.op.word_bits());
                sum += (0.5 / margin).powi(2);
            } else if let Some(layer) = self.spec.layers.get(index) {
                open.extend(&layer.operands);
            }
        }
        sum
    }
}
