//! Three views of one network on the same samples: the plan, the model's exact meaning, and another
//! runtime.
//!
//! *plan* is the integer network that a secure run equals bit for bit. *model* is the ONNX graph as it
//! was imported, with its real scales and with rounding half to even ([`heq_ir::graph::evaluate`]).
//! *runtime* is tract in this process, or another program's outputs in a file. That *model* agrees with
//! *runtime* shows that the import is right; how *plan* differs from *model* shows what integer
//! multipliers and rounding half up cost, and in which layer it starts. See docs/rounding.md.

mod model;
mod report;
mod runtime;
mod tally;

pub use tally::{LayerTally, Pair};

use crate::pipeline::ExternalData;
use heq_data::{DataSet, to_samples};
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::eval::evaluate;
use heq_ir::plan::Plan;
use heq_ir::plan::weights::ServerWeights;
use model::Model;
use rayon::prelude::*;
use runtime::Runtime;
use tally::Tally;

/// Samples between two reports of progress.
const CHUNK: usize = 8;

/// What is compared.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The bytes of the ONNX model.
    pub model: &'a [u8],
    /// Its name in diagnostics.
    pub model_name: &'a str,
    /// Where its external tensors may lie.
    pub external: ExternalData<'a>,
    /// The plan that was compiled from it.
    pub plan: &'a Plan,
    /// The plan's weights.
    pub weights: &'a ServerWeights,
    /// Samples, perhaps with labels and another program's outputs.
    pub data: &'a DataSet,
    /// Whether the model itself is compared with the runtime, without the plan.
    pub exact: bool,
    /// Most samples that are compared.
    pub limit: usize,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Number of samples.
    pub samples: usize,
    /// Where the runtime's outputs come from.
    pub runtime: String,
    /// What the reader should know.
    pub notes: Vec<String>,
    /// Every two views that were compared.
    pub pairs: Vec<Pair>,
    /// Samples that each view classifies as their label says, if there are labels.
    pub accuracy: Vec<(&'static str, usize)>,
    /// Real value of one step of the output.
    pub scale: f64,
    /// The layers of the plan against the tensors of the model, in the order of the plan.
    pub layers: Vec<LayerTally>,
}

impl Comparison {
    /// The smallest agreement of any two views, in percent; 100 if there are none.
    #[must_use]
    pub fn least_agreement(&self) -> f64 {
        let percent = |pair: &Pair| crate::evaluate::percent(pair.same_class, self.samples);
        self.pairs.iter().map(percent).fold(100.0, f64::min)
    }

    /// The first layer that differs from the model.
    #[must_use]
    pub fn first_difference(&self) -> Option<&LayerTally> {
        self.layers.iter().find(|layer| layer.differing > 0)
    }
}

/// Compares; `progress` hears how many samples of how many are done.
///
/// # Errors
/// If the model is not supported, is not the plan's, or if the samples, labels or outputs do not fit.
pub fn compare(
    sources: &Sources<'_>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Comparison, Diagnostics> {
    let Sources { plan, data, .. } = *sources;
    let model = Model::import(sources)?;
    let evaluator = model.evaluator()?;
    let spec = plan.spec();
    let samples =
        to_samples(&data.samples, &spec.input, &spec.preparation).map_err(Diagnostic::from)?;
    let mut notes = model.notes.clone();
    let runtime = match &data.outputs {
        Some(outputs) => Runtime::recorded(outputs)?,
        None => Runtime::tract(sources.model, &model),
    };
    if let Runtime::Absent { reason } = &runtime {
        notes.push(reason.clone());
    }
    let count = samples.len().min(sources.limit).min(runtime.samples());
    if count < samples.len().min(sources.limit) {
        notes.push(format!("there are outputs for the first {count} samples only"));
    }
    if count == 0 {
        return Err(refuse("there is no sample with an output", "give at least one sample").into());
    }
    if data.labels.as_ref().is_some_and(|labels| labels.len() < count) {
        return Err(refuse("there are fewer labels than samples", "give one for each").into());
    }
    let mut tally = Tally::new(sources, &model);
    let samples = &samples[..count];
    for (chunk, first) in samples.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
        let part = chunk.par_iter().enumerate().map(|(index, sample)| {
            let at = first + index;
            let mut one = Tally::new(sources, &model);
            if !sources.exact {
                let evaluation = evaluate(plan, sources.weights, &sample.quantized(&spec.input));
                one.plan = Some(evaluation.map_err(|error| internal(&error.to_string()))?);
            }
            let input = model.arrange(sample);
            let outputs = evaluator.run(&input, |id, value| one.see(&model, id, value));
            one.see_outputs(&model, outputs.map_err(|error| internal(&error.to_string()))?);
            if let Some(output) = runtime.output(at, &input)? {
                one.see_runtime(&model, &output);
            }
            one.finish(data.labels.as_ref().and_then(|labels| labels.get(at)).copied());
            Ok(one)
        });
        let part: Result<Vec<Tally>, Diagnostic> = part.collect();
        part?.into_iter().for_each(|one| tally.add(one));
        progress(tally.samples, count);
    }
    Ok(tally.into_comparison(runtime.describe(), notes, spec.output_scale))
}

/// The runtime's or the evaluator's output for one sample: numbers, and the class that they name.
#[derive(Clone, Debug, Default, PartialEq)]
struct Output {
    values: Vec<f64>,
    class: usize,
}

impl Output {
    /// Logits or probabilities, of which the first of the largest is the class.
    fn new(values: Vec<f64>) -> Self {
        let mut class = 0;
        for (index, value) in values.iter().enumerate() {
            if values.get(class).is_some_and(|largest| value > largest) {
                class = index;
            }
        }
        Self { values, class }
    }

    /// An output that is the class itself.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    fn of_class(values: Vec<f64>) -> Self {
        let class = values.first().map_or(0, |&class| class as usize);
        Self { values, class }
    }
}

fn refuse(what: impl Into<String>, remedy: &str) -> Diagnostic {
    Diagnostic::new(Code::WrongInput, "the data", what, remedy)
}

fn internal(what: &str) -> Diagnostic {
    let remedy = "this is a fault of heqc; please report it with the model";
    Diagnostic::new(Code::Internal, "comparison", what, remedy)
}
