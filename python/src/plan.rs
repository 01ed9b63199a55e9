//! Plans: compiled or read, reported, evaluated in the clear, and run between two parties of this process.

use crate::data::{Source, to_npy};
use crate::error::{Outcome, bad_option, findings};
use crate::options::{Keyword, settings};
use crate::work::{Task, run};
use heq_compiler::choices::{self, Choices};
use heq_compiler::compile::{compare_plans, compile_observed};
use heq_compiler::evaluate::evaluate;
use heq_compiler::lower::plan::Compiled;
use heq_compiler::model::Model;
use heq_compiler::report::Measurement;
use heq_compiler::settings::{CompileSettings, ImportSettings, ReportSettings};
use heq_compiler::simulate::simulate;
use heq_data::data_set::labels_of;
use heq_data::plan_files::{read_plan_bytes, read_weights, write_file, write_files};
use heq_data::to_samples;
use heq_ir::diagnostic::{Diagnostic, Diagnostics};
use heq_ir::link::LinkProfile;
use heq_ir::plan::Plan as CheckedPlan;
use heq_ir::plan::codec::encode_weights;
use heq_ir::plan::weights::{ServerWeights, default_path};
use heq_runtime::client::client_inputs;
use heq_runtime::error::RunError;
use heq_runtime::local::{LocalOptions, run_local};
use heq_runtime::session::{PreparedPlan, WEIGHT_CACHE_BYTES};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use std::path::PathBuf;
use std::sync::Arc;

/// A plan, with what belongs to it.
#[pyclass(frozen, module = "heq._heq")]
pub(crate) struct Plan(pub(crate) Arc<PlanParts>);

/// A plan, and what came with it.
pub(crate) struct PlanParts {
    pub(crate) plan: CheckedPlan,
    /// Its file.
    pub(crate) bytes: Arc<[u8]>,
    /// Why it is as it is, or why that is not known.
    choices: Result<Choices, String>,
    /// The weights that it was compiled with.
    weights: Option<Arc<ServerWeights>>,
    /// The file that it was read from.
    path: Option<PathBuf>,
    notes: Vec<String>,
}

impl PlanParts {
    /// A plan that was read from `path`.
    fn read(path: PathBuf) -> Outcome<Self> {
        let (plan, bytes) = read_plan_bytes(&path)?;
        let choices = choices::read_beside(&path, &plan);
        Ok(Self {
            plan,
            bytes: bytes.into(),
            choices,
            weights: None,
            path: Some(path),
            notes: Vec::new(),
        })
    }

    /// A plan that came from elsewhere.
    pub(crate) fn of(plan: CheckedPlan, bytes: Vec<u8>) -> Self {
        let choices = Err("none came with the plan".to_owned());
        Self { plan, bytes: bytes.into(), choices, weights: None, path: None, notes: Vec::new() }
    }

    /// The weights in `path`, those of the compilation, or those beside the plan's file.
    pub(crate) fn weights(&self, path: Option<PathBuf>) -> Outcome<Arc<ServerWeights>> {
        let beside = || self.path.as_deref().map(default_path);
        match (path, &self.weights) {
            (None, Some(weights)) => Ok(Arc::clone(weights)),
            (path, _) => {
                let path = path.or_else(beside).ok_or_else(|| {
                    let what = "nothing says where the plan's weights are";
                    bad_option("weights", what, "give the path of PLAN.server.heq")
                })?;
                Ok(Arc::new(read_weights(&path, &self.plan)?))
            }
        }
    }

    /// The plan with its tables, whose runs tell `task` how far they are.
    pub(crate) fn prepared(&self, samples: usize, task: &Task) -> PreparedPlan {
        let plan = PreparedPlan::new(self.plan.clone());
        let Some(tell) = task.teller() else { return plan };
        let names: Vec<String> = self.plan.layers().iter().map(|step| step.name.clone()).collect();
        let inferences = samples.div_ceil(self.plan.batch().max(1)).max(1);
        plan.with_observer(Box::new(move |at| {
            let steps = names.len().max(1) as f64;
            let part = (f64::from(at.inference) + at.step as f64 / steps) / inferences as f64;
            tell(part.min(1.0), names.get(at.step).cloned().unwrap_or_default());
        }))
    }
}

/// Compiles a model: the path of an ONNX file, or its bytes.
#[pyfunction]
#[pyo3(signature = (model, options, calibration, progress))]
pub(crate) fn compile(
    py: Python<'_>,
    model: ModelSource,
    options: Vec<Keyword>,
    calibration: Option<Source>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Plan> {
    run(py, progress, move |task| {
        let settings: CompileSettings = settings(&options)?;
        let model = model.read()?;
        let samples = match calibration {
            Some(samples) => Some(samples.read("calibration")?),
            None => settings.read_calibration()?,
        };
        let mut options = settings.options(model.external(), samples.as_ref())?;
        options.plan.search.stop = task.stop.clone();
        let mut tell = |done: usize, total: usize| {
            task.tell(done as f64 / total.max(1) as f64, || "calibration".to_owned());
        };
        let mut compiled = compile_observed(&model.bytes, &model.name, &options, &mut tell)?;
        let comparisons = settings.comparisons();
        compare_plans(&model.bytes, &model.name, &options, comparisons, &mut compiled)?;
        let Compiled { plan, plan_bytes, weights, notes, choices } = compiled;
        Ok(Plan(Arc::new(PlanParts {
            plan,
            bytes: plan_bytes.into(),
            choices: Ok(choices),
            weights: Some(Arc::new(weights)),
            path: None,
            notes,
        })))
    })
}

/// Reads a plan from a file.
#[pyfunction]
pub(crate) fn load(py: Python<'_>, path: PathBuf) -> PyResult<Plan> {
    run(py, None, move |_| Ok(Plan(Arc::new(PlanParts::read(path)?))))
}

/// What of a model is supported: its `heq-check/1` document, or what is not, and sentences.
#[pyfunction]
pub(crate) fn check(
    py: Python<'_>,
    model: ModelSource,
    options: Vec<Keyword>,
) -> PyResult<(Option<String>, Py<PyList>, Vec<String>)> {
    let checked = run(py, None, move |_| {
        let settings: ImportSettings = settings(&options)?;
        let model = model.read()?;
        Ok(heq_compiler::check::check(
            &model.bytes,
            &model.name,
            &settings.options(model.external()),
        ))
    })?;
    let (document, found, notes) = match &checked {
        Ok(checked) => {
            let document = format!("{:#}\n", checked.to_json());
            (Some(document), PyList::empty(py), checked.notes.clone())
        }
        Err(found) => (None, findings(py, found.iter())?, Vec::new()),
    };
    Ok((document, found.unbind(), notes))
}

/// A model: the path of an ONNX file, or its bytes.
#[derive(FromPyObject)]
pub(crate) enum ModelSource {
    Bytes(Vec<u8>),
    Path(PathBuf),
}

impl ModelSource {
    fn read(self) -> Result<Model, Diagnostic> {
        match self {
            Self::Bytes(bytes) => Ok(Model { name: "model".to_owned(), bytes, folder: None }),
            Self::Path(path) => Model::read(&path),
        }
    }
}

#[pymethods]
impl Plan {
    /// The digest that both parties must agree on, 64 hexadecimal digits.
    #[getter]
    fn digest(&self) -> String {
        self.0.plan.digest().to_string()
    }

    /// The name of the model.
    #[getter]
    fn model(&self) -> &str {
        &self.0.plan.spec().model
    }

    /// Shape `(C, H, W)` of a sample.
    #[getter]
    fn input_shape(&self) -> (usize, usize, usize) {
        let shape = self.0.plan.spec().input.shape;
        (shape.channels, shape.height, shape.width)
    }

    /// Values, or indices, of an output.
    #[getter]
    fn output_len(&self) -> usize {
        self.0.plan.output_len()
    }

    /// What the user should know of the model.
    #[getter]
    fn notes(&self) -> Vec<String> {
        self.0.notes.clone()
    }

    /// Whether weights came with the plan.
    #[getter]
    fn has_weights(&self) -> bool {
        self.0.weights.is_some()
    }

    /// The public file.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.bytes)
    }

    /// Writes the plan, and why it is as it is beside it if that is known.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let parts = Arc::clone(&self.0);
        run(py, None, move |_| {
            let Ok(choices) = &parts.choices else { return Ok(write_file(&path, &parts.bytes)?) };
            let beside = choices::default_path(&path);
            let choices = choices::encode(&beside, choices)?;
            Ok(write_files(&[(&path, &parts.bytes), (&beside, &choices)])?)
        })
    }

    /// Writes the weights.
    fn save_weights(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let parts = Arc::clone(&self.0);
        run(py, None, move |_| {
            let weights = parts.weights(None)?;
            let place = path.display().to_string();
            let bytes = encode_weights(weights.spec())
                .map_err(|error| Diagnostics::from(error.into_diagnostic(&place)))?;
            Ok(write_file(&path, &zeroize::Zeroizing::new(bytes))?)
        })
    }

    /// The text of `heqc report`; `measured` is a `heq-stats/1` document of a run.
    fn report(
        &self,
        py: Python<'_>,
        options: Vec<Keyword>,
        measured: Option<String>,
    ) -> PyResult<String> {
        let parts = Arc::clone(&self.0);
        run(py, None, move |_| {
            let settings: ReportSettings = settings(&options)?;
            let plan = &parts.plan;
            let measured = match measured {
                Some(text) => Some(Measurement::from_bytes(text.as_bytes(), "measured", plan)?),
                None => settings.read_measured(plan)?,
            };
            let profile = settings.profile()?;
            let choices = parts.choices.as_ref().map_err(String::as_str);
            let report = settings.report(plan, choices, measured.as_ref(), &profile);
            settings.render(&report)
        })
    }

    /// Outputs of samples in the clear, as an npy file.
    #[pyo3(signature = (samples, weights, limit))]
    fn simulate<'py>(
        &self,
        py: Python<'py>,
        samples: Source,
        weights: Option<PathBuf>,
        limit: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let parts = Arc::clone(&self.0);
        let outputs = run(py, None, move |task| {
            let plan = &parts.plan;
            let samples = client_inputs(plan, &samples.read("input")?, limit)?;
            to_npy(&simulate(plan, &*parts.weights(weights)?, &samples, &task.stop)?, plan)
        })?;
        Ok(PyBytes::new(py, &outputs))
    }

    /// Accuracy and headroom, as a `heq-evaluate/1` document.
    #[pyo3(signature = (samples, labels, weights, limit, progress))]
    fn evaluate(
        &self,
        py: Python<'_>,
        samples: Source,
        labels: Option<Source>,
        weights: Option<PathBuf>,
        limit: Option<usize>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<String> {
        let parts = Arc::clone(&self.0);
        run(py, progress, move |task| {
            let plan = &parts.plan;
            let spec = plan.spec();
            let samples = samples.read("input")?;
            let mut samples =
                to_samples(&samples, &spec.input, &spec.preparation).map_err(Diagnostic::from)?;
            samples.truncate(limit.unwrap_or(usize::MAX));
            let labels = labels.map(|labels| labels.read("labels")).transpose()?;
            let labels = labels.map(|labels| labels_of(&labels)).transpose();
            let labels = labels.map_err(Diagnostic::from)?;
            let total = samples.len().max(1) as f64;
            let weights = parts.weights(weights)?;
            let found = evaluate(plan, &weights, &samples, labels.as_deref(), &mut |done| {
                task.tell(done as f64 / total, || "samples".to_owned());
                task.stop.check()
            })?;
            Ok(format!("{:#}\n", found.to_json(plan)))
        })
    }

    /// Runs both parties in this process; returns the outputs as an npy file, and `heq-stats/1`.
    #[pyo3(signature = (samples, weights, link, limit, progress))]
    fn run_local<'py>(
        &self,
        py: Python<'py>,
        samples: Source,
        weights: Option<PathBuf>,
        link: Option<String>,
        limit: Option<usize>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<(Bound<'py, PyBytes>, String)> {
        let parts = Arc::clone(&self.0);
        let (outputs, stats) = run(py, progress, move |task| {
            let plan = &parts.plan;
            let link: Option<LinkProfile> = match link {
                Some(text) => Some(text.parse().map_err(|error| bad_link(&text, &error))?),
                None => None,
            };
            let samples = client_inputs(plan, &samples.read("input")?, limit)?;
            let weights = parts.weights(weights)?;
            let prepared = parts.prepared(samples.len(), task);
            let options = LocalOptions { link, weight_cache_bytes: WEIGHT_CACHE_BYTES };
            let (outputs, stats) = run_local(&prepared, &weights, &samples, options, &task.stop)
                .map_err(RunError::into_diagnostic)?;
            let link = link.map_or("memory".to_owned(), |link| link.to_string());
            let stats = format!("{:#}\n", stats.to_json(plan, &link, "local"));
            Ok((to_npy(&outputs, plan)?, stats))
        })?;
        Ok((PyBytes::new(py, &outputs), stats))
    }
}

fn bad_link(text: &str, error: &impl std::fmt::Display) -> Diagnostic {
    let remedy = "give lan, wan, mobile, or such as 100Mbit,20ms";
    bad_option("link", format!("`{text}`: {error}"), remedy)
}
