//! The search for the best choice, by `microlp`.

use super::state::{Numbered, Pieces, Stated};
use super::{Evaluation, Program};
use microlp::{SolveOptions, TerminationReason};

/// When the search ends. Counts, not times: the same program always has the same solution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SolveLimits {
    /// It ends with a solution that is proven to be at most this part above the best.
    pub gap: f64,
    /// Nodes of the search tree.
    pub nodes: u64,
}

/// How the search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is none better.
    Optimal,
    /// There is none better by more than the gap that was asked for.
    WithinGap,
    /// The number of nodes was reached.
    NodeLimit,
    /// The solver lost its way in rounding errors, so nothing is known of others.
    Unproven,
}

impl Status {
    /// Its name in documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Optimal => "optimal",
            Self::WithinGap => "within gap",
            Self::NodeLimit => "node limit",
            Self::Unproven => "unproven",
        }
    }
}

/// A choice, and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// How often every candidate is chosen.
    pub counts: Vec<u32>,
    /// What that takes.
    pub evaluation: Evaluation,
    /// No choice has an objective below this.
    pub bound: f64,
    /// How the search ended.
    pub status: Status,
    /// Nodes of the search tree.
    pub nodes: u64,
    /// Variables of the program.
    pub variables: usize,
    /// Constraints of the program.
    pub constraints: usize,
}

impl Solution {
    /// By what part of its value it is at most above the best.
    #[must_use]
    pub fn gap(&self) -> f64 {
        let objective = self.evaluation.objective;
        if objective > 0.0 { ((objective - self.bound) / objective).max(0.0) } else { 0.0 }
    }
}

/// Why there is no solution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SolveError {
    /// No choice keeps the limits.
    #[error("no choice keeps the limits")]
    Infeasible,
    /// The solver gave up.
    #[error("the solver gave up: {what}")]
    Solver {
        /// What it says.
        what: String,
    },
}

/// A way to hand a program to the solver: its matrices may be singular to working precision in one and
/// not in another.
#[derive(Clone, Copy)]
struct Attempt {
    /// Whether it gets a choice to start from.
    starts: bool,
    /// The objective is divided by this.
    unit: f64,
}

const ATTEMPTS: [Attempt; 4] = [
    Attempt { starts: true, unit: 1.0 },
    Attempt { starts: false, unit: 1.0 },
    Attempt { starts: true, unit: 0.17 },
    Attempt { starts: false, unit: 6.1 },
];

impl Program {
    /// The choice of the least objective, or one that is proven to be close; `known` is a choice to
    /// start from.
    ///
    /// # Errors
    /// [`SolveError::Infeasible`] if no choice keeps the limits.
    pub fn solve(
        &self,
        known: Option<&[u32]>,
        limits: SolveLimits,
    ) -> Result<Solution, SolveError> {
        let known = known.filter(|counts| self.evaluate(counts).exceeded.is_none());
        let mut failed = SolveError::Infeasible;
        for attempt in ATTEMPTS {
            match self.search(known, limits, attempt) {
                Err(error @ SolveError::Solver { .. }) => failed = error,
                Ok(found) if found.status == Status::NodeLimit => {
                    return Ok(self.refined(found, limits, attempt));
                }
                other => return other,
            }
        }
        let counts = known.ok_or(failed)?.to_vec();
        let evaluation = self.evaluate(&counts);
        let (bound, status) = (self.goal.dot(&self.base), Status::Unproven);
        Ok(Solution { counts, evaluation, bound, status, nodes: 0, variables: 0, constraints: 0 })
    }

    /// A solution at least as good as `found`, of a search that reached its limit: of another that starts
    /// from the rounded relaxation. A search that goes deep settles late what outweighs all it has tried.
    fn refined(&self, found: Solution, limits: SolveLimits, attempt: Attempt) -> Solution {
        let better = || {
            let known = self.rounded_relaxation(&found.counts, attempt)?;
            let known = Some(&known[..]).filter(|known| self.is_better(known, &found))?;
            self.search(Some(known), limits, attempt).ok()
        };
        match better() {
            Some(better) => Solution { bound: better.bound.max(found.bound), ..better },
            None => found,
        }
    }

    fn is_better(&self, known: &[u32], found: &Solution) -> bool {
        let known = self.evaluate(known);
        known.exceeded.is_none() && known.objective < found.evaluation.objective
    }

    fn rounded_relaxation(&self, known: &[u32], attempt: Attempt) -> Option<Vec<u32>> {
        let stated = self.state(Some(known), attempt.unit, Pieces::Parts);
        let outcome = stated.problem.as_inner().solve_with(SolveOptions::default()).ok()?;
        let relaxed = outcome.solution()?;
        let part = |of: &Numbered| relaxed.var_value_raw(stated.handles[of.number]);
        Some(self.rounded(&stated.variables.candidates.iter().map(part).collect::<Vec<f64>>()))
    }

    fn search(
        &self,
        known: Option<&[u32]>,
        limits: SolveLimits,
        attempt: Attempt,
    ) -> Result<Solution, SolveError> {
        let Stated { problem, handles, variables, units, constraints } =
            self.state(known, attempt.unit, Pieces::Whole);
        let mut options = SolveOptions::default();
        options.mip_gap = limits.gap;
        options.node_limit = Some(limits.nodes);
        options.warm_start = known.filter(|_| attempt.starts).map(|counts| {
            let values = self.values(&variables, &units, counts);
            handles.iter().copied().zip(values).collect()
        });
        let outcome = problem.as_inner().solve_with(options).map_err(|error| match error {
            microlp::Error::Infeasible => SolveError::Infeasible,
            error @ (microlp::Error::Unbounded
            | microlp::Error::InvalidOptions(_)
            | microlp::Error::InvalidOperation(_)
            | microlp::Error::InternalError(_)) => SolveError::Solver { what: error.to_string() },
        })?;
        let stats = outcome.stats();
        let found = outcome.solution().map(|solution| {
            let count = |of: &Numbered| rounded(solution.var_value_raw(handles[of.number]));
            variables.candidates.iter().map(count).collect::<Vec<u32>>()
        });
        let of = |counts: &[u32]| (counts.to_vec(), self.evaluate(counts));
        let all = known.into_iter().chain(found.as_deref()).map(of);
        let feasible =
            all.filter(|(counts, found)| found.exceeded.is_none() && self.covers(counts));
        let best = feasible.min_by(|(_, a), (_, b)| a.objective.total_cmp(&b.objective));
        let (counts, evaluation) = best.ok_or(SolveError::Infeasible)?;
        let status = match outcome.termination_reason() {
            TerminationReason::ProvenOptimal => Status::Optimal,
            TerminationReason::MipGap => Status::WithinGap,
            TerminationReason::TimeLimit | TerminationReason::NodeLimit | _ => Status::NodeLimit,
        };
        // The solver leaves out what is constant.
        let bound = stats.best_bound.map_or(0.0, |bound| bound * units.objective)
            + self.goal.dot(&self.base);
        Ok(Solution {
            counts,
            bound: bound.min(evaluation.objective),
            evaluation,
            status,
            nodes: stats.nodes_solved,
            variables: variables.count,
            constraints,
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of steps that is not negative"
)]
fn rounded(value: f64) -> u32 {
    value.clamp(0.0, f64::from(u32::MAX)).round() as u32
}
