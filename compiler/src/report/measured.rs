//! What a run measured, read from a `heq-stats/1` document, beside what was predicted.

use super::Report;
use super::grid::{Align, Grid, paragraph};
use super::rows::short_step;
use super::units::{bytes, bytes_change, percent_change, seconds, share};
use heq_data::plan_files::read_file;
use heq_ir::diagnostic::{Code, Diagnostic, printable};
use heq_ir::link::LinkProfile;
use heq_ir::plan::Plan;
use heq_ir::plan::cost::PartCost;
use serde::Deserialize;
use std::path::Path;

/// Largest document in bytes.
const MAX_BYTES: usize = 64 << 20;

/// The schema of the document.
const SCHEMA: &str = "heq-stats/1";

/// What a run of a plan measured.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Measurement {
    schema: String,
    plan: String,
    link: String,
    #[serde(default)]
    mode: Mode,
    inferences: u32,
    #[serde(default)]
    offers: u32,
    setup: Part,
    #[serde(default)]
    offline: Part,
    online: Part,
    correlations: Part,
    layers: Vec<Part>,
    /// Both parties in one process.
    local: Option<Process>,
    client: Option<Process>,
    server: Option<Process>,
}

/// What the session was for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// Inferences from beginning to end.
    #[default]
    Whole,
    /// To prepare inferences.
    Prepare,
    /// To run prepared ones.
    Prepared,
}

/// Traffic and time of a part of a run, over all inferences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub(super) struct Part {
    bytes_up: u64,
    bytes_down: u64,
    flights: u64,
    wall_s: f64,
}

/// What the operating system says of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
struct Process {
    cpu_s: Option<f64>,
    peak_rss_bytes: Option<u64>,
}

/// A part of a run, predicted and measured, over all inferences; times are of one.
pub(super) struct Comparison {
    pub(super) predicted: PartCost,
    pub(super) measured: Part,
    pub(super) predicted_s: f64,
    pub(super) measured_s: f64,
}

impl Part {
    pub(super) fn bytes_up(&self) -> u64 {
        self.bytes_up
    }

    pub(super) fn bytes_down(&self) -> u64 {
        self.bytes_down
    }

    pub(super) fn flights(&self) -> u64 {
        self.flights
    }

    fn bytes(&self) -> u64 {
        self.bytes_up.saturating_add(self.bytes_down)
    }
}

impl Comparison {
    /// Whether bytes each way and flights are those predicted.
    pub(super) fn is_exact(&self) -> bool {
        let (predicted, measured) = (&self.predicted, &self.measured);
        [predicted.bytes_up, predicted.bytes_down, predicted.flights]
            == [measured.bytes_up, measured.bytes_down, measured.flights]
    }

    /// `(predicted - measured) / measured` of the time.
    pub(super) fn time_error(&self) -> f64 {
        share(self.predicted_s - self.measured_s, self.measured_s)
    }
}

impl Measurement {
    /// Reads the document of a run of `plan`.
    ///
    /// # Errors
    /// [`Code::FileAccess`] and [`Code::TooLarge`] as of any file, [`Code::WrongDocument`] if it is not
    /// such a document or that of another plan.
    pub fn read(path: &Path, plan: &Plan) -> Result<Self, Diagnostic> {
        Self::from_bytes(&read_file(path, MAX_BYTES)?, &path.display().to_string(), plan)
    }

    /// The document of a run of `plan` in `bytes`; `place` names it in an error.
    ///
    /// # Errors
    /// [`Code::WrongDocument`] if it is not such a document or that of another plan.
    pub fn from_bytes(bytes: &[u8], place: &str, plan: &Plan) -> Result<Self, Diagnostic> {
        Self::decode(bytes, plan).map_err(|what| {
            let remedy = "give what `heq-run --stats FILE` wrote for this plan";
            Diagnostic::new(Code::WrongDocument, place, what, remedy)
        })
    }

    /// The link that the run was on, if it was a simulated one: its name or its numbers.
    #[must_use]
    pub fn link(&self) -> Option<LinkProfile> {
        self.link.parse().ok()
    }

    /// Whether both parties ran on one machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// What the run was on, as it is in the document.
    pub(super) fn link_name(&self) -> &str {
        &self.link
    }

    pub(super) fn inferences(&self) -> u32 {
        self.inferences
    }

    fn decode(bytes: &[u8], plan: &Plan) -> Result<Self, String> {
        let document: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| format!("is not JSON: {error}"))?;
        let schema = document.get("schema").and_then(|schema| schema.as_str()).unwrap_or_default();
        if schema != SCHEMA {
            return Err(format!("is a document `{schema}`, not `{SCHEMA}`"));
        }
        let found: Self = serde_json::from_value(document)
            .map_err(|error| format!("is not a `{SCHEMA}` document: {error}"))?;
        let (digest, steps) = (plan.digest().to_string(), plan.layers().len());
        if found.plan != digest {
            return Err(format!("is of plan {}, not {digest}", found.plan));
        }
        if found.layers.len() != steps {
            return Err(format!("has {} layers, and the plan {steps} steps", found.layers.len()));
        }
        if found.inferences == 0 {
            return Err("is of a session without an inference".to_owned());
        }
        let parts = [found.setup, found.offline, found.online, found.correlations];
        if parts.iter().chain(&found.layers).any(|part| part.wall_s < 0.0) {
            return Err("has a negative time".to_owned());
        }
        Ok(found)
    }
}

impl Report<'_> {
    /// Every step against what was measured, in the order of the plan; then all steps, random OTs and
    /// set-up.
    pub(super) fn comparisons(&self, measured: &Measurement) -> (Vec<Comparison>, [Comparison; 3]) {
        let (plan, situation) = (self.plan, self.prediction_situation());
        let count = measured.inferences;
        let (cost, prediction, all) = match measured.mode {
            Mode::Whole => (plan.cost(count), plan.predict(&situation), measured.online),
            Mode::Prepare => {
                (plan.offline_cost(count), plan.predict_offline(&situation), measured.offline)
            }
            Mode::Prepared => (
                plan.online_cost(count, measured.offers),
                plan.predict_prepared(&situation),
                measured.online,
            ),
        };
        let inferences = f64::from(measured.inferences.max(1));
        let compare = |predicted: PartCost, part: Part, predicted_s: f64, runs: f64| Comparison {
            predicted,
            measured: part,
            predicted_s,
            measured_s: part.wall_s / runs,
        };
        let steps = cost.layers.iter().zip(&measured.layers).zip(&prediction.layers);
        let steps =
            steps.map(|((&cost, &part), time)| compare(cost, part, time.wall_s, inferences));
        let parts = [
            compare(cost.online(), all, prediction.online_s(), inferences),
            compare(
                cost.correlations,
                measured.correlations,
                prediction.correlations.wall_s,
                inferences,
            ),
            compare(cost.setup, measured.setup, prediction.setup.wall_s, 1.0),
        ];
        (steps.collect(), parts)
    }

    /// Processes that were measured with processor time an inference and peak memory.
    pub(super) fn usage(measured: &Measurement) -> Vec<(&'static str, Option<f64>, Option<u64>)> {
        let processes =
            [("both", measured.local), ("client", measured.client), ("server", measured.server)];
        let known = processes.into_iter().filter_map(|(name, process)| Some((name, process?)));
        known.map(|(name, process)| (name, process.cpu_s, process.peak_rss_bytes)).collect()
    }

    pub(super) fn measured_table(&self, measured: &Measurement) -> String {
        let (steps, parts) = self.comparisons(measured);
        let mut grid = Grid::new(&[
            ("#", Align::Right),
            ("layer", Align::Left),
            ("step", Align::Left),
            ("bytes", Align::Right),
            ("off by", Align::Right),
            ("flights", Align::Right),
            ("off by", Align::Right),
            ("predicted", Align::Right),
            ("measured", Align::Right),
            ("error", Align::Right),
        ]);
        let mut add = |number: String, name: String, step: String, found: &Comparison| {
            let (predicted, part) = (&found.predicted, &found.measured);
            let flights = i128::from(part.flights) - i128::from(predicted.flights);
            grid.row([
                number,
                name,
                step,
                bytes(part.bytes()),
                bytes_change(predicted.bytes(), part.bytes()),
                part.flights.to_string(),
                if flights == 0 { "0".to_owned() } else { format!("{flights:+}") },
                seconds(found.predicted_s),
                seconds(found.measured_s),
                percent_change(found.time_error()),
            ]);
        };
        for at in self.order() {
            let (row, Some(found)) = (&self.rows[at], steps.get(at)) else { continue };
            if row.is_local() && found.is_exact() {
                continue;
            }
            add((row.index + 1).to_string(), printable(&row.layer.name), short_step(row), found);
        }
        for ((what, ..), found) in self.parts().iter().zip(&parts) {
            add(String::new(), (*what).to_owned(), String::new(), found);
        }
        let verdict = if steps.iter().chain(&parts[..]).all(Comparison::is_exact) {
            "bytes each way and flights of every step equal the predicted ones"
        } else {
            "bytes or flights differ from the predicted ones, which must not be: report this fault"
        };
        let head = format!(
            "Predicted against measured: {} inferences, link {}; bytes and flights are of all, times of one; \
             {verdict}",
            measured.inferences,
            printable(&measured.link),
        );
        let mut text = paragraph("", &head, 0) + &grid.render(Some(1));
        for (name, cpu_s, memory) in Self::usage(measured) {
            let cpu = cpu_s.map_or("unknown".to_owned(), seconds);
            let memory = memory.map_or("unknown".to_owned(), bytes);
            let line =
                format!("process of {name}: {cpu} of processor time, at most {memory} of memory");
            text.push_str(&paragraph("", &line, 0));
        }
        text
    }
}
