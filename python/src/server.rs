//! A server in this process.

use crate::error::{Outcome, raised};
use crate::options::{Keyword, ServerSettings, settings};
use crate::plan::{Plan, PlanParts};
use crate::work::run;
use heq_ir::diagnostic::Diagnostic;
use heq_runtime::error::RunError;
use heq_runtime::service::{PlanInMemory, PlanSource, Purpose, Service};
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often signals are looked for.
const TICK: Duration = Duration::from_millis(50);

/// A server that serves until it is stopped.
#[pyclass(frozen, module = "heq._heq")]
pub(crate) struct Server {
    service: Arc<Service>,
    metrics: Option<String>,
    /// Hears once of the end.
    ended: Mutex<Receiver<Result<(), Diagnostic>>>,
}

/// Where a served plan is.
#[derive(FromPyObject)]
pub(crate) enum Served<'py> {
    Plan(Bound<'py, Plan>),
    Path(PathBuf),
}

#[pymethods]
impl Server {
    /// Listens, and serves plans from then on.
    #[new]
    fn new(
        py: Python<'_>,
        plans: Vec<Served<'_>>,
        weights: Option<PathBuf>,
        options: Vec<Keyword>,
    ) -> PyResult<Self> {
        let plans: Vec<_> = plans
            .into_iter()
            .map(|served| match served {
                Served::Plan(plan) => Ok(Arc::clone(&plan.get().0)),
                Served::Path(path) => Err(path),
            })
            .collect();
        let (service, metrics) = run(py, None, move |_| {
            let settings: ServerSettings = settings(&options)?;
            let source = |served: Result<Arc<PlanParts>, PathBuf>| -> Outcome<PlanSource> {
                Ok(match served {
                    Err(path) => PlanSource::File(path),
                    Ok(parts) => PlanSource::Memory(Arc::new(PlanInMemory {
                        name: name(&parts.plan.spec().model),
                        plan: parts.plan.clone(),
                        bytes: Arc::clone(&parts.bytes),
                        weights: parts.weights(weights.clone())?,
                    })),
                })
            };
            let sources = plans.into_iter().map(source).collect::<Outcome<_>>()?;
            let purpose = Purpose::Infer(settings.store.open()?);
            let options = settings.serve.options(&settings.peer, sources, purpose)?;
            let service = Service::start(settings.peer.listen(), options)?;
            let metrics = settings.serve.metrics_address();
            let metrics = metrics.map(|address| service.serve_metrics(address)).transpose()?;
            Ok((service, metrics))
        })?;
        let (end, ended) = mpsc::channel();
        let serving = Arc::clone(&service);
        let serve = move || {
            // Whoever waited may have gone.
            let _ = end.send(serving.run(None));
        };
        let thread = std::thread::Builder::new().name("heq-serve".to_owned()).spawn(serve);
        if thread.is_err() {
            return Err(raised(py, &RunError::NoThread.into_diagnostic().into()));
        }
        let metrics = metrics.map(|address| address.to_string());
        Ok(Self { service, metrics, ended: Mutex::new(ended) })
    }

    /// `host:port` that it listens on.
    #[getter]
    fn address(&self) -> String {
        self.service.address().to_string()
    }

    /// `host:port` of its metrics, if it serves them.
    #[getter]
    fn metrics_address(&self) -> Option<&str> {
        self.metrics.as_deref()
    }

    /// What it counted, in the text format of Prometheus.
    fn metrics(&self) -> String {
        String::from_utf8_lossy(&self.service.metrics_text()).into_owned()
    }

    /// Reads certificates, clients and files of plans again, for the sessions to come.
    fn reload(&self, py: Python<'_>) -> PyResult<()> {
        let service = Arc::clone(&self.service);
        run(py, None, move |_| Ok(service.reload()?))
    }

    /// Takes on nothing more.
    fn stop(&self) {
        self.service.stop();
    }

    /// Ends all sessions.
    fn give_up(&self) {
        self.service.stop();
        self.service.give_up();
    }

    /// Waits until it has stopped and its sessions have ended, for at most so many seconds; whether they have.
    #[pyo3(signature = (seconds = None))]
    fn wait(&self, py: Python<'_>, seconds: Option<f64>) -> PyResult<bool> {
        let end = seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok())
            .map(|limit| std::time::Instant::now() + limit);
        loop {
            let tick = end.map_or(TICK, |end| {
                end.saturating_duration_since(std::time::Instant::now()).min(TICK)
            });
            let ended = py.detach(|| {
                let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
                ended.recv_timeout(tick)
            });
            match ended {
                Ok(Err(diagnostic)) => return Err(raised(py, &diagnostic.into())),
                Ok(Ok(())) | Err(RecvTimeoutError::Disconnected) => return Ok(true),
                Err(RecvTimeoutError::Timeout) => {}
            }
            py.check_signals()?;
            if end.is_some_and(|end| std::time::Instant::now() >= end) {
                return Ok(false);
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.service.stop();
        self.service.give_up();
    }
}

/// The name of a plan in memory: that of its model's file, without folder and ending.
fn name(model: &str) -> String {
    let path = std::path::Path::new(model);
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
