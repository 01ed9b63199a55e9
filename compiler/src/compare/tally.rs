//! Counting how two views differ.

use super::model::{Model, steps};
use super::{Comparison, Output, Sources};
use heq_ir::eval::Evaluation;
use heq_ir::graph::NodeIndex;
use heq_ir::graph::evaluate::Value;
use heq_ir::plan::reveal::Reveal;

/// How far two numbers may be apart, in steps, and still count as the same integer: what binary64
/// leaves of a true tie.
const SAME: f64 = 1e-6;

/// How two views compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The two views.
    pub views: [&'static str; 2],
    /// Samples whose largest output is the same.
    pub same_class: usize,
    /// Largest difference of two outputs in steps of the output, if both hold the same numbers.
    pub largest: Option<f64>,
}

/// How a layer of the plan compares with the model.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerTally {
    /// Index of the step in the plan.
    pub step: usize,
    /// Name of the ONNX node.
    pub name: String,
    /// Its operator.
    pub operator: String,
    /// The ONNX tensor.
    pub tensor: String,
    /// Elements that were compared.
    pub elements: usize,
    /// Elements that differ.
    pub differing: usize,
    /// Largest difference in steps.
    pub largest: f64,
}

/// The counts of some samples, and while one is looked at, its outputs.
pub(super) struct Tally {
    pub(super) samples: usize,
    pub(super) plan: Option<Evaluation>,
    scale: f64,
    reveal: Reveal,
    layers: Vec<LayerTally>,
    pairs: Vec<Pair>,
    accuracy: Vec<(&'static str, usize)>,
    /// What the views say about the sample at hand: its class, and its outputs in steps.
    views: Vec<(&'static str, Output, Option<Vec<f64>>)>,
    /// The tensor of the model that the plan's output is to equal.
    result: Option<Vec<f64>>,
}

impl Tally {
    pub(super) fn new(sources: &Sources<'_>, model: &Model) -> Self {
        let layers = sources.plan.layers().iter().enumerate();
        let compared =
            layers.filter(|(step, _)| !sources.exact && model.steps.values().any(|s| s == step));
        let layers = compared.map(|(step, layer)| LayerTally {
            step,
            name: layer.name.clone(),
            operator: layer.operator.clone(),
            tensor: layer.tensor.clone(),
            elements: 0,
            differing: 0,
            largest: 0.0,
        });
        Self {
            samples: 0,
            plan: None,
            scale: sources.plan.spec().output_scale,
            reveal: sources.plan.reveal(),
            layers: layers.collect(),
            pairs: Vec::new(),
            accuracy: Vec::new(),
            views: Vec::new(),
            result: None,
        }
    }

    /// A tensor of the model.
    pub(super) fn see(&mut self, model: &Model, id: NodeIndex, value: &Value) {
        if model.result == Some(id) {
            self.result = steps(value, Some(self.scale));
        }
        let (Some(plan), Some(&step)) = (&self.plan, model.steps.get(&id)) else { return };
        let scale = (model.result == Some(id)).then_some(self.scale);
        let (Some(found), Some(expected)) = (plan.values.get(step + 1), steps(value, scale)) else {
            return;
        };
        let Some(layer) = self.layers.iter_mut().find(|layer| layer.step == step) else { return };
        for (&found, expected) in found.iter().zip(&expected) {
            let difference = (real(found) - expected).abs();
            layer.elements += 1;
            layer.differing += usize::from(difference > SAME);
            layer.largest = layer.largest.max(difference);
        }
    }

    /// The outputs of the model.
    pub(super) fn see_outputs(&mut self, model: &Model, outputs: Vec<Value>) {
        let Some(output) = outputs.first() else { return };
        if let Some(plan) = &self.plan {
            let values: Vec<f64> = plan.output().iter().map(|&value| real(value)).collect();
            self.views.push(match self.reveal {
                Reveal::Logits => ("plan", Output::new(values.clone()), Some(values)),
                Reveal::Top { .. } => ("plan", Output::of_class(values), None),
            });
        }
        let own = output.reals().into_owned();
        let result = self.result.take().or_else(|| model.in_steps(&own, self.scale));
        // The class is that of the logits, if they are there: probabilities may round to ties.
        let class = result.clone().map_or_else(|| model.output(own.clone()), Output::new);
        self.views.push(("model", class, result));
    }

    /// The output of the runtime.
    pub(super) fn see_runtime(&mut self, model: &Model, output: &[f64]) {
        let in_steps = model.in_steps(output, self.scale);
        self.views.push(("runtime", model.output(output.to_vec()), in_steps));
    }

    /// Ends a sample, which has this label.
    pub(super) fn finish(&mut self, label: Option<i64>) {
        self.samples = 1;
        let views = std::mem::take(&mut self.views);
        if let Some(label) = label {
            let hit = |class: usize| usize::from(i64::try_from(class) == Ok(label));
            self.accuracy =
                views.iter().map(|(name, output, _)| (*name, hit(output.class))).collect();
        }
        for (index, (first, a, a_steps)) in views.iter().enumerate() {
            for (second, b, b_steps) in &views[index + 1..] {
                self.pairs.push(Pair {
                    views: [first, second],
                    same_class: usize::from(a.class == b.class),
                    largest: a_steps.as_ref().zip(b_steps.as_ref()).and_then(|(a, b)| {
                        let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
                        (a.len() == b.len()).then(|| differences.fold(0.0, f64::max))
                    }),
                });
            }
        }
        self.plan = None;
    }

    /// Adds the counts of another sample.
    pub(super) fn add(&mut self, one: Self) {
        self.samples += one.samples;
        for (total, one) in self.layers.iter_mut().zip(one.layers) {
            total.elements += one.elements;
            total.differing += one.differing;
            total.largest = total.largest.max(one.largest);
        }
        if self.pairs.is_empty() {
            (self.pairs, self.accuracy) = (one.pairs, one.accuracy);
            return;
        }
        for (total, one) in self.pairs.iter_mut().zip(one.pairs) {
            total.same_class += one.same_class;
            total.largest = total.largest.zip(one.largest).map(|(a, b)| a.max(b));
        }
        for (total, one) in self.accuracy.iter_mut().zip(one.accuracy) {
            total.1 += one.1;
        }
    }

    pub(super) fn into_comparison(
        self,
        runtime: String,
        notes: Vec<String>,
        scale: f64,
    ) -> Comparison {
        let Self { samples, pairs, accuracy, mut layers, .. } = self;
        layers.retain(|layer| layer.elements > 0);
        Comparison { samples, runtime, notes, pairs, accuracy, scale, layers }
    }
}

#[expect(clippy::cast_precision_loss, reason = "values of a plan have far less than 53 bits")]
fn real(value: i64) -> f64 {
    value as f64
}
