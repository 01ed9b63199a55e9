//! Why a plan is as it is: what was assumed, what else there was, what would make it cheaper.
//!
//! `heqc compile` writes it beside the plan as a `heq-choices/1` document, and `heqc report` shows it. No
//! run needs it.

use heq_data::plan_files::read_file;
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::plan::Plan;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The schema of the document.
pub const SCHEMA: &str = "heq-choices/1";

/// Largest document in bytes.
pub const MAX_BYTES: usize = 64 << 20;

/// Why a plan is as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Choices {
    /// [`SCHEMA`].
    pub schema: String,
    /// Digest of the plan.
    pub plan: String,
    /// What was assumed and asked for.
    pub assumptions: Assumptions,
    /// How the integer program was solved.
    pub solver: Solver,
    /// One entry for every step that had a choice, in the order of the plan.
    pub layers: Vec<LayerChoices>,
    /// The same model with one choice for all of its layers, the fastest first.
    pub fixed: Vec<FixedChoice>,
    /// Changes to the model that would save most, the best first.
    pub advice: Vec<Advice>,
}

/// What was assumed and asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Assumptions {
    /// The link, as `--network` takes it.
    pub network: String,
    /// What was minimised, as `--objective` takes it.
    pub objective: String,
    /// The candidates that were allowed, as `--preset` takes it.
    pub preset: String,
    /// Threads of each party.
    pub threads: usize,
    /// Inferences of a session.
    pub inferences: u32,
    /// Processor of the cost profile.
    pub machine: String,
    /// Day of the cost profile.
    pub measured_on: String,
    /// The limits that were given, as options.
    pub limits: Vec<String>,
}

/// How the integer program was solved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Solver {
    /// `optimal`, or why the search ended before.
    pub status: String,
    /// Value of the objective.
    pub objective: f64,
    /// What no solution is below.
    pub bound: f64,
    /// Unit of both: `us` or `bytes`.
    pub unit: String,
    /// `(objective - bound) / objective`.
    pub gap: f64,
    /// Nodes of the search tree.
    pub nodes: u64,
    /// Variables.
    pub variables: usize,
    /// Constraints.
    pub constraints: usize,
}

/// The candidates of one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerChoices {
    /// Index of the step in the plan.
    pub step: usize,
    /// How many candidates were counted before dominated ones were dropped.
    pub considered: usize,
    /// The candidates of the program, the chosen one first, then by `excess`.
    pub candidates: Vec<CandidateChoice>,
    /// Kinds of candidates that there are none of, and why: packings that do not fit, rings without room.
    pub rejected: Vec<Rejection>,
}

/// One candidate of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CandidateChoice {
    /// What it is, in the words of the report: parameters, packing and tile, or a form.
    pub label: String,
    /// Whether the plan has it.
    pub chosen: bool,
    /// Time of the step by itself, in microseconds.
    pub path_us: f64,
    /// Bytes that the client sends.
    pub bytes_up: u64,
    /// Bytes that the server sends.
    pub bytes_down: u64,
    /// Sequential message steps.
    pub flights: u64,
    /// Rows of the OT extension that it takes.
    pub rows: u64,
    /// Processor time of the client in microseconds.
    pub client_us: f64,
    /// Processor time of the server in microseconds.
    pub server_us: f64,
    /// By how much the objective would be worse with it, everything else as it is; in the unit of the
    /// solver. 0 of the chosen one.
    pub excess: f64,
    /// Why the plan does not have it.
    pub why_not: String,
}

/// Candidates that there are none of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rejection {
    /// What: `within-channel packing`, `N = 1024`.
    pub what: String,
    /// Why.
    pub why: String,
}

/// The model with one choice for all layers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FixedChoice {
    /// The choice in words.
    pub label: String,
    /// Predicted time of an inference in seconds.
    pub latency_s: f64,
    /// Bytes of an inference, both ways, random OTs included.
    pub bytes: u64,
}

/// A change to the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// The change in words.
    pub change: String,
    /// The ONNX node concerned; empty if it is the whole model.
    pub layer: String,
    /// Bytes of an inference that it saves.
    pub bytes: i64,
    /// Seconds of an inference that it saves.
    pub seconds: f64,
}

/// Where the document of a plan lies by default: `PLAN.choices.json` beside `PLAN.heq`.
#[must_use]
pub fn default_path(plan: &Path) -> PathBuf {
    plan.with_extension("choices.json")
}

/// Reads the document of `plan`.
///
/// # Errors
/// [`Code::FileAccess`] and [`Code::TooLarge`] as of any file, [`Code::WrongDocument`] if it is not such a
/// document or that of another plan.
pub fn read(path: &Path, plan: &Plan) -> Result<Choices, Diagnostic> {
    let bytes = read_file(path, MAX_BYTES)?;
    decode(&bytes, plan).map_err(|what| {
        let remedy = "compile the model again, which writes plan and document together";
        Diagnostic::new(Code::WrongDocument, path.display().to_string(), what, remedy)
    })
}

/// The document of `plan` that lies beside its file, or in a few words why there is none.
///
/// # Errors
/// Those words.
pub fn read_beside(file: &Path, plan: &Plan) -> Result<Choices, String> {
    let path = default_path(file);
    let name = path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
    if !path.exists() {
        return Err(format!("there is no {name} beside the plan"));
    }
    read(&path, plan).map_err(|error| format!("{name} beside the plan {}", error.what))
}

/// The document as the bytes of a file, of which `path` is the name in an error.
///
/// # Errors
/// [`Code::Internal`] if a number in it is not finite, which no reader would accept.
pub fn encode(path: &Path, choices: &Choices) -> Result<Vec<u8>, Diagnostic> {
    let internal = |error: serde_json::Error| {
        let what = format!("the document of choices cannot be written: {error}");
        Diagnostic::new(Code::Internal, path.display().to_string(), what, "report this fault")
    };
    let bytes = serde_json::to_vec_pretty(choices).map_err(internal)?;
    // JSON turns a number that is not finite into null.
    serde_json::from_slice::<Choices>(&bytes).map_err(internal)?;
    Ok(bytes)
}

/// The document in `bytes` if it is that of `plan`, or what is wrong with it.
fn decode(bytes: &[u8], plan: &Plan) -> Result<Choices, String> {
    let document: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| format!("is not JSON: {error}"))?;
    let text = |key: &str| document.get(key).and_then(|value| value.as_str()).unwrap_or_default();
    if text("schema") != SCHEMA {
        return Err(format!("is a document `{}`, not `{SCHEMA}`", text("schema")));
    }
    let digest = plan.digest().to_string();
    if text("plan") != digest {
        return Err(format!("belongs to plan {}, not {digest}", text("plan")));
    }
    let choices: Choices = serde_json::from_value(document)
        .map_err(|error| format!("is not a `{SCHEMA}` document: {error}"))?;
    let steps = || choices.layers.iter().map(|layer| layer.step);
    if !steps().zip(steps().skip(1)).all(|(step, next)| step < next) {
        return Err("names steps twice or out of order".to_owned());
    }
    match steps().next_back() {
        Some(step) if step >= plan.layers().len() => {
            Err(format!("names step {}, and the plan has {}", step + 1, plan.layers().len()))
        }
        _ => Ok(choices),
    }
}
