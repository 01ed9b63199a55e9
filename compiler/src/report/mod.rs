//! What a plan will cost, before anything runs, and against what a run measured: as tables, JSON, an
//! HTML page and SVG charts.
//!
//! Bytes and flights are exact; times and memory are predictions for a [`Situation`]. Every column is
//! defined in docs/report.md.

mod assumptions;
mod charts;
mod explain;
pub(crate) mod grid;
mod html;
mod json;
mod limits;
mod measured;
mod prepared;
mod rows;
mod svg;
mod table;
pub(crate) mod units;
mod wide;

pub use explain::unknown_layer;
pub use limits::CostLimits;
pub use measured::Measurement;

use crate::choices::{Choices, LayerChoices};
use heq_ir::link::LinkProfile;
use heq_ir::plan::Plan;
use heq_ir::plan::cost::{PartCost, PlanCost};
use heq_ir::predict::memory::{MemorySituation, PlanMemory};
use heq_ir::predict::{CostProfile, PlanPrediction, Situation, WEIGHT_CACHE_BYTES};
use prepared::TwoPhases;
use rows::{ByMechanism, Row};
use serde_json::Value;

/// Order of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortBy {
    /// As the steps run.
    #[default]
    Order,
    /// Most bytes first.
    Bytes,
    /// Most time first.
    Time,
}

/// What a report is made for.
#[derive(Clone, Debug)]
pub struct ReportOptions<'a> {
    /// The link that times are predicted for; none in memory.
    pub link: Option<LinkProfile>,
    /// Times of the machines.
    pub profile: &'a CostProfile,
    /// Threads of each party, at least 1.
    pub threads: usize,
    /// Whether both parties share one machine.
    pub is_shared: bool,
    /// Why the plan is as it is, or in a few words why that is not known.
    pub choices: Result<&'a Choices, &'a str>,
    /// What a run measured.
    pub measured: Option<&'a Measurement>,
    /// Order of the rows of tables.
    pub sort: SortBy,
}

/// The plan with its cost and predictions.
pub struct Report<'a> {
    plan: &'a Plan,
    options: ReportOptions<'a>,
    cost: PlanCost,
    online: PartCost,
    prediction: PlanPrediction,
    memory: PlanMemory,
    two_phases: Option<TwoPhases>,
    rows: Vec<Row<'a>>,
}

impl<'a> Report<'a> {
    /// The report of `plan` for one inference.
    #[must_use]
    pub fn new(plan: &'a Plan, options: ReportOptions<'a>) -> Self {
        let situation = situation(&options);
        let cost = plan.cost(1);
        let prediction = plan.predict(&situation);
        let memory = plan.memory(&MemorySituation {
            weight_cache_bytes: WEIGHT_CACHE_BYTES as u64,
            threads: situation.threads,
        });
        let rows = rows::rows(plan, &cost, &prediction, &memory);
        let two_phases = TwoPhases::of(plan, &situation);
        Self { plan, online: cost.online(), options, cost, prediction, memory, two_phases, rows }
    }

    /// What times are predicted for.
    fn prediction_situation(&self) -> Situation<'a> {
        situation(&self.options)
    }

    /// Indices of the rows in the order that was asked for.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        match self.options.sort {
            SortBy::Order => {}
            SortBy::Bytes => {
                order.sort_by_key(|&at| std::cmp::Reverse(self.rows[at].bytes.total()));
            }
            SortBy::Time => {
                let wall = |at: usize| self.rows[at].time.wall_s;
                order.sort_by(|&a, &b| wall(b).total_cmp(&wall(a)));
            }
        }
        order
    }

    /// Bytes of all rows by what they are for.
    fn bytes(&self) -> ByMechanism {
        let mut sum = ByMechanism::default();
        self.rows.iter().for_each(|row| sum += row.bytes);
        sum
    }

    /// Bytes of an inference, both ways, the random OTs that are made for it included.
    fn inference_bytes(&self) -> u64 {
        self.online.bytes() + self.cost.correlations.bytes()
    }

    fn choices(&self) -> Option<&'a Choices> {
        self.options.choices.ok()
    }

    fn layer_choices(&self, index: usize) -> Option<&'a LayerChoices> {
        self.choices()?.layers.iter().find(|layer| layer.step == index)
    }
}

fn situation<'a>(options: &ReportOptions<'a>) -> Situation<'a> {
    Situation {
        profile: options.profile,
        link: options.link,
        threads: options.threads.max(1),
        is_shared: options.is_shared,
    }
}

/// The situation of a report for which nothing else is known: wide area network, two threads.
fn plain_report<'a>(plan: &'a Plan, profile: &'a CostProfile) -> Report<'a> {
    let options = ReportOptions {
        link: Some(LinkProfile::WAN),
        profile,
        threads: 2,
        is_shared: false,
        choices: Err("none was given"),
        measured: None,
        sort: SortBy::Order,
    };
    Report::new(plan, options)
}

/// The report of a plan of which nothing else is known, as a `heq-report/1` document.
#[must_use]
pub fn to_json(plan: &Plan) -> Value {
    plain_report(plan, &CostProfile::default()).to_json()
}

/// The report of a plan of which nothing else is known, as a table.
#[must_use]
pub fn to_table(plan: &Plan) -> String {
    plain_report(plan, &CostProfile::default()).to_table()
}
