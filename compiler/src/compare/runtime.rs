//! Another runtime: tract in this process, or a file of recorded outputs.

use super::model::Model;
use super::{internal, refuse};
use heq_data::Array;
use heq_ir::diagnostic::Diagnostic;
use heq_ir::tensor::ElementType;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tract_onnx::prelude::{
    DatumType, Framework, InferenceFact, InferenceModelExt, IntoRunnable, Tensor, TractResult,
    TypedRunnableModel, tvec,
};

/// Where the runtime's outputs come from.
pub(super) enum Runtime {
    /// Recorded, one row a sample.
    Recorded { place: String, rows: Vec<Vec<f64>> },
    /// tract, in float32.
    Tract { model: Arc<TypedRunnableModel>, element: DatumType, shape: Vec<usize> },
    /// There is none.
    Absent { reason: String },
}

impl Runtime {
    /// The outputs in an array `[N, ...]`.
    pub(super) fn recorded(outputs: &Array) -> Result<Self, Diagnostic> {
        let values = outputs.data().to_reals();
        let count = outputs.shape().first().copied().unwrap_or(0);
        if count == 0 || values.is_empty() {
            return Err(refuse("the recorded outputs are empty", "record at least one"));
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            let what = format!("element {index} of the recorded outputs is {}", values[index]);
            return Err(refuse(what, "record finite outputs"));
        }
        let rows = values.chunks(values.len() / count).map(<[f64]>::to_vec).collect();
        Ok(Self::Recorded { place: outputs.place().to_owned(), rows })
    }

    /// tract, if it can run the model.
    pub(super) fn tract(bytes: &[u8], model: &Model) -> Self {
        let shape = model.input.shape.dims().to_vec();
        let element = match model.input.element {
            ElementType::Float => DatumType::F32,
            ElementType::Int(ty) => match (ty.bits, ty.signed) {
                (8, true) => DatumType::I8,
                (8, false) => DatumType::U8,
                (32, true) => DatumType::I32,
                _ => DatumType::I64,
            },
        };
        let load = || -> TractResult<Arc<TypedRunnableModel>> {
            let mut model = tract_onnx::onnx().model_for_read(&mut Cursor::new(bytes))?;
            // Not optimized: tract then pads quantized integers with 0, whatever their zero point.
            let fact = InferenceFact::dt_shape(element, &shape);
            model.set_input_fact(0, fact)?;
            model.into_typed()?.into_runnable()
        };
        match guarded(load) {
            Ok(model) => Self::Tract { model, element, shape },
            Err(reason) => {
                Self::Absent { reason: format!("tract cannot run this model: {reason}") }
            }
        }
    }

    /// Number of samples that it has outputs of.
    pub(super) fn samples(&self) -> usize {
        match self {
            Self::Recorded { rows, .. } => rows.len(),
            Self::Tract { .. } | Self::Absent { .. } => usize::MAX,
        }
    }

    /// What it is, in a few words.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Recorded { place, .. } => format!("the outputs in {place}"),
            Self::Tract { .. } => "tract, in float32".into(),
            Self::Absent { .. } => "none".into(),
        }
    }

    /// Its output for sample `index`, whose input in the order of the file is `x`.
    pub(super) fn output(&self, index: usize, x: &[f64]) -> Result<Option<Vec<f64>>, Diagnostic> {
        match self {
            Self::Absent { .. } => Ok(None),
            Self::Recorded { rows, .. } => Ok(rows.get(index).cloned()),
            Self::Tract { model, element, shape } => {
                let run = || -> TractResult<Vec<f64>> {
                    let reals: Vec<f32> = x.iter().map(|&x| narrow(x)).collect();
                    let input =
                        Tensor::from_shape(shape, &reals)?.cast_to_dt(*element)?.into_owned();
                    let outputs = model.run(tvec!(input.into()))?;
                    let Some(output) = outputs.first() else { return Ok(Vec::new()) };
                    let reals = output.cast_to::<f32>()?;
                    Ok(reals
                        .try_as_plain_ram()?
                        .as_slice::<f32>()?
                        .iter()
                        .map(|&x| x.into())
                        .collect())
                };
                let output = guarded(run).map_err(|reason| {
                    internal(&format!("tract cannot run sample {index}: {reason}"))
                })?;
                if output.iter().all(|value| value.is_finite()) {
                    Ok(Some(output))
                } else {
                    Err(internal(&format!("tract computes no finite output for sample {index}")))
                }
            }
        }
    }
}

/// The result of foreign code that may fail or panic; what went wrong in one line.
fn guarded<T>(run: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("{error:#}").lines().next().unwrap_or_default().to_owned()),
        Err(_) => Err("it panicked".into()),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "samples are float32 or small integers")]
fn narrow(x: f64) -> f32 {
    x as f32
}
