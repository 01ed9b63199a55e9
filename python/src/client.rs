//! Clients of a server.

use crate::data::{Source, to_npy};
use crate::error::Outcome;
use crate::options::{ClientSettings, Keyword, settings};
use crate::plan::{Plan, PlanParts};
use crate::work::run;
use heq_runtime::client::{Client, QUESTION_LIMIT, client_inputs};
use heq_runtime::error::RunError;
use heq_runtime::service::fetch::{self, PlanKey};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::Arc;

/// Runs samples with a server; returns the outputs as an npy file, and `heq-stats/1`.
#[pyfunction]
#[pyo3(signature = (plan, samples, options, limit, progress))]
pub(crate) fn run_client<'py>(
    py: Python<'py>,
    plan: &Bound<'py, Plan>,
    samples: Source,
    options: Vec<Keyword>,
    limit: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(Bound<'py, PyBytes>, String)> {
    let parts = Arc::clone(&plan.get().0);
    let (outputs, stats) = run(py, progress, move |task| {
        let plan = &parts.plan;
        let samples = client_inputs(plan, &samples.read("input")?, limit)?;
        let settings: ClientSettings = settings(&options)?;
        let client = Client {
            route: settings.peer.route()?,
            deadline: settings.deadline.get(),
            retries: settings.retry,
            store: settings.store.open()?,
        };
        let prepared = parts.prepared(samples.len(), task);
        let say = &mut |text: &str| task.tell(0.0, || text.to_owned());
        let mut answers = client.run(&prepared, &samples, &task.stop, say)?;
        let outcome: Outcome<()> = answers.failure.take().map_or(Ok(()), |error| Err(error.into()));
        outcome?;
        Ok((to_npy(&answers.outputs, plan)?, format!("{:#}\n", answers.to_json(plan))))
    })?;
    Ok((PyBytes::new(py, &outputs), stats))
}

/// Gets a plan from a server, by its name or digest there.
#[pyfunction]
pub(crate) fn fetch_plan(py: Python<'_>, key: String, options: Vec<Keyword>) -> PyResult<Plan> {
    run(py, None, move |task| {
        let settings: ClientSettings = settings(&options)?;
        let key: PlanKey = key.parse().unwrap_or(PlanKey::Name(key));
        let route = settings.peer.route()?;
        let fetched =
            route.within(QUESTION_LIMIT, &task.stop, |channel| fetch::plan(channel, &key));
        let (plan, bytes) = fetched.map_err(RunError::into_diagnostic)?;
        Ok(Plan(Arc::new(PlanParts::of(plan, bytes))))
    })
}

/// The plans of a server, as JSON.
#[pyfunction]
pub(crate) fn list_plans(py: Python<'_>, options: Vec<Keyword>) -> PyResult<String> {
    run(py, None, move |task| {
        let settings: ClientSettings = settings(&options)?;
        let route = settings.peer.route()?;
        let listed = route.within(QUESTION_LIMIT, &task.stop, fetch::list);
        let listed = listed.map_err(RunError::into_diagnostic)?;
        Ok(serde_json::json!(listed).to_string())
    })
}
