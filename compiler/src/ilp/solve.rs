//! The program as `good_lp` and `microlp` solve it.

use super::{Amounts, Candidate, Evaluation, Program, Resource, Step};
use good_lp::variable::VariableDefinition;
use good_lp::{
    Constraint, Expression, ProblemVariables, SolverModel, Variable, constraint, microlp as model,
    variable,
};
use microlp::{SolveOptions, TerminationReason};
use std::collections::BTreeMap;

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

/// A variable of the program: its number, and what `good_lp` calls it.
#[derive(Clone, Copy)]
struct Numbered {
    number: usize,
    variable: Variable,
}

/// The variables of the program.
struct Variables {
    /// x_j.
    candidates: Vec<Numbered>,
    /// y_k.
    keys: Vec<Numbered>,
    /// w_e, and for both directions R_e and I_e.
    extensions: Vec<ExtensionVariables>,
    /// T.
    time: Numbered,
    /// O.
    overflow: Numbered,
    /// How many there are.
    count: usize,
}

/// What a unit of the variables that are no numbers of things stands for, so that all figures of the
/// program are near one.
#[derive(Clone, Copy)]
struct Units {
    /// Of the objective: such that a known choice has 100.
    objective: f64,
    /// Microseconds.
    time: f64,
    /// Rows of either direction: more than any choice takes.
    rows: [f64; 2],
    /// Of what overflows.
    overflow: f64,
}

struct ExtensionVariables {
    is_used: Numbered,
    rows: [Numbered; 2],
    iterations: [Numbered; 2],
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
            match self.attempt(known, limits, attempt) {
                Err(error @ SolveError::Solver { .. }) => failed = error,
                other => return other,
            }
        }
        let counts = known.ok_or(failed)?.to_vec();
        let evaluation = self.evaluate(&counts);
        let (bound, status) = (self.goal.dot(&self.base), Status::Unproven);
        Ok(Solution { counts, evaluation, bound, status, nodes: 0, variables: 0, constraints: 0 })
    }

    fn attempt(
        &self,
        known: Option<&[u32]>,
        limits: SolveLimits,
        attempt: Attempt,
    ) -> Result<Solution, SolveError> {
        let mut units = self.units(known);
        units.objective *= attempt.unit;
        let (definitions, variables) = self.define(&units);
        let totals = self.expressions(&variables, &units);
        let time = self.goal_time * units.time * variables.time.variable;
        let objective = (1.0 / units.objective) * (weighted(&self.goal, &totals) + time);
        let mut problem = definitions.minimise(objective).using(model);
        let rows = self.rows(&variables, &totals, &units);
        let constraints = rows.len();
        for row in rows {
            problem.add_constraint(row);
        }
        // microlp numbers variables in their order, as good_lp hands them on.
        let mut handles = microlp::Problem::new(microlp::OptimizationDirection::Minimize);
        let handles: Vec<microlp::Variable> =
            (0..variables.count).map(|_| handles.add_var(0.0, (0.0, 0.0))).collect();
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

    /// More rows of either direction than any choice takes.
    fn most_rows(&self) -> [f64; 2] {
        [0, 1].map(|direction| {
            let of_step = |(index, step): (usize, &Step)| {
                let own =
                    self.candidates.iter().filter(|candidate| candidate.steps.contains(&index));
                let most = own.map(|candidate| candidate.rows[direction]).fold(0.0, f64::max);
                f64::from(step.count) * most
            };
            self.steps.iter().enumerate().map(of_step).sum()
        })
    }

    fn units(&self, known: Option<&[u32]>) -> Units {
        let known = known.map(|counts| self.evaluate(counts));
        let unit = |value: fn(&Evaluation) -> f64| known.as_ref().map_or(1000.0, value).max(1e-3);
        Units {
            objective: unit(|known| known.objective) / 100.0,
            time: unit(|known| known.time),
            rows: self.most_rows().map(|rows| rows.max(1.0)),
            overflow: self.overflow.map_or(1.0, |overflow| overflow.free.max(1.0)),
        }
    }

    fn define(&self, units: &Units) -> (ProblemVariables, Variables) {
        let mut definitions = ProblemVariables::new();
        let mut count = 0;
        let mut define = |definition: VariableDefinition| {
            count += 1;
            Numbered { number: count - 1, variable: definitions.add(definition) }
        };
        let most = |candidate: &Candidate| {
            candidate.steps.iter().map(|&step| self.steps[step].count).min().unwrap_or(0)
        };
        let integer = |most: f64| variable().integer().min(0.0).max(most);
        let candidates =
            self.candidates.iter().map(|of| define(integer(f64::from(most(of))))).collect();
        let keys = self.keys.iter().map(|_| define(integer(1.0))).collect();
        let extensions = self
            .extensions
            .iter()
            .map(|extension| ExtensionVariables {
                is_used: define(integer(1.0)),
                rows: units.rows.map(|_| define(variable().min(0.0).max(1.0))),
                iterations: units.rows.map(|most| {
                    let iterations = extension.iteration.map_or(0.0, |(rows, _)| most / rows);
                    define(integer(iterations.ceil()))
                }),
            })
            .collect();
        let time = define(variable().min(0.0));
        let overflow = define(variable().min(0.0));
        (definitions, Variables { candidates, keys, extensions, time, overflow, count })
    }

    /// Everything that is taken of every resource.
    fn expressions(&self, variables: &Variables, units: &Units) -> Vec<Expression> {
        Resource::ALL
            .map(|resource| {
                let mut total = Expression::from(self.base.get(resource));
                let mut add = |unit: f64, amounts: &Amounts, times: Numbered| {
                    let amount = unit * amounts.get(resource);
                    if amount != 0.0 {
                        total.add_mul(amount, times.variable);
                    }
                };
                for (candidate, &chosen) in self.candidates.iter().zip(&variables.candidates) {
                    add(1.0, &candidate.amounts, chosen);
                }
                for (key, &is_open) in self.keys.iter().zip(&variables.keys) {
                    add(1.0, &key.amounts, is_open);
                }
                for (extension, of) in self.extensions.iter().zip(&variables.extensions) {
                    add(1.0, &extension.once, of.is_used);
                    for ((row, rows), unit) in extension.row.iter().zip(of.rows).zip(units.rows) {
                        add(unit, row, rows);
                    }
                    if let Some((_, amounts)) = &extension.iteration {
                        amounts
                            .iter()
                            .zip(of.iterations)
                            .for_each(|(of, times)| add(1.0, of, times));
                    }
                }
                if let Some(overflow) = &self.overflow {
                    add(units.overflow, &overflow.amounts, variables.overflow);
                }
                total
            })
            .to_vec()
    }

    fn rows(&self, variables: &Variables, totals: &[Expression], units: &Units) -> Vec<Constraint> {
        let mut rows = self.choice_rows(variables);
        rows.extend(self.extension_rows(variables, units));
        let time = variables.time.variable;
        for pace in &self.paces {
            rows.push(constraint!((1.0 / units.time) * weighted(&pace.per, totals) <= time));
        }
        if let Some(overflow) = &self.overflow {
            let used = (1.0 / units.overflow) * totals[overflow.resource as usize].clone();
            let free = overflow.free / units.overflow;
            rows.push(constraint!(used - variables.overflow.variable <= free));
        }
        for cap in &self.caps {
            let unit = 1.0 / cap.limit.max(1.0);
            let used = unit * (weighted(&cap.per, totals) + cap.time * units.time * time);
            let limit = unit * cap.limit;
            match cap.held {
                None => rows.push(constraint!(used <= limit)),
                Some(party) => rows.extend(
                    self.held(variables, party)
                        .into_iter()
                        .map(|held| constraint!(used.clone() + unit * held <= limit)),
                ),
            }
        }
        rows
    }

    /// What a party holds while each of the steps runs.
    fn held(&self, variables: &Variables, party: usize) -> Vec<Expression> {
        let mut held = vec![Expression::default(); self.steps.len()];
        for (candidate, chosen) in self.candidates.iter().zip(&variables.candidates) {
            for &step in &candidate.steps {
                held[step].add_mul(candidate.held[party], chosen.variable);
            }
        }
        held
    }

    /// Every step is computed, and with keys that there are.
    fn choice_rows(&self, variables: &Variables) -> Vec<Constraint> {
        let mut rows = Vec::new();
        let mut all = vec![Expression::default(); self.steps.len()];
        let mut users: BTreeMap<(usize, usize), Expression> = BTreeMap::new();
        for (candidate, chosen) in self.candidates.iter().zip(&variables.candidates) {
            for &step in &candidate.steps {
                all[step].add_mul(1.0, chosen.variable);
                for &key in &candidate.keys {
                    users.entry((step, key)).or_default().add_mul(1.0, chosen.variable);
                }
            }
        }
        for (all, step) in all.into_iter().zip(&self.steps) {
            rows.push(constraint!(all == f64::from(step.count)));
        }
        for ((step, key), users) in users {
            let count = f64::from(self.steps[step].count);
            rows.push(constraint!(users <= count * variables.keys[key].variable));
        }
        for (key, is_open) in self.keys.iter().zip(&variables.keys) {
            if let Some(needed) = key.needs.and_then(|needs| variables.keys.get(needs)) {
                rows.push(constraint!(is_open.variable <= needed.variable));
            }
        }
        rows
    }

    /// One extension makes all random OTs, in whole iterations.
    fn extension_rows(&self, variables: &Variables, units: &Units) -> Vec<Constraint> {
        let mut rows = Vec::new();
        if self.extensions.is_empty() {
            return rows;
        }
        let used: Expression = variables.extensions.iter().map(|of| of.is_used.variable).sum();
        rows.push(constraint!(used == 1.0));
        for direction in [0, 1] {
            let unit = units.rows[direction];
            let mut balance = Expression::default();
            for (candidate, chosen) in self.candidates.iter().zip(&variables.candidates) {
                if candidate.rows[direction] != 0.0 {
                    balance.add_mul(candidate.rows[direction] / unit, chosen.variable);
                }
            }
            for (extension, of) in self.extensions.iter().zip(&variables.extensions) {
                let made = of.rows[direction].variable;
                balance.add_mul(-1.0, made);
                rows.push(constraint!(made <= of.is_used.variable));
                if let Some((rows_of_one, _)) = extension.iteration {
                    let iterations = of.iterations[direction].variable;
                    rows.push(constraint!(made <= (rows_of_one / unit) * iterations));
                }
            }
            rows.push(constraint!(balance == 0.0));
        }
        rows
    }

    /// The values of all variables for a choice.
    fn values(&self, variables: &Variables, units: &Units, counts: &[u32]) -> Vec<f64> {
        let mut values = vec![0.0; variables.count];
        let evaluation = self.evaluate(counts);
        let (rows, keys) = self.taken(counts);
        let mut set = |of: Numbered, value: f64| values[of.number] = value;
        variables.candidates.iter().zip(counts).for_each(|(&of, &count)| set(of, f64::from(count)));
        variables.keys.iter().zip(keys).for_each(|(&of, key)| set(of, f64::from(u8::from(key))));
        if let Some(index) = evaluation.extension {
            let (extension, of) = (&self.extensions[index], &variables.extensions[index]);
            set(of.is_used, 1.0);
            for direction in [0, 1] {
                set(of.rows[direction], rows[direction] / units.rows[direction]);
                let iterations = extension
                    .iteration
                    .map_or(0.0, |(of_one, _)| (rows[direction] / of_one).ceil());
                set(of.iterations[direction], iterations);
            }
        }
        set(variables.time, evaluation.time / units.time);
        set(variables.overflow, evaluation.overflow / units.overflow);
        values
    }

    /// Whether every step is computed as often as it is there.
    pub(super) fn covers(&self, counts: &[u32]) -> bool {
        let mut done = vec![0_u32; self.steps.len()];
        for (candidate, &count) in self.candidates.iter().zip(counts) {
            candidate.steps.iter().for_each(|&step| done[step] += count);
        }
        done.iter().zip(&self.steps).all(|(&done, step)| done == step.count)
    }
}

/// The resources times what a unit of each counts.
fn weighted(per: &Amounts, totals: &[Expression]) -> Expression {
    let mut sum = Expression::default();
    for (resource, total) in Resource::ALL.into_iter().zip(totals) {
        if per.get(resource) != 0.0 {
            sum += per.get(resource) * total.clone();
        }
    }
    sum
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of steps that is not negative"
)]
fn rounded(value: f64) -> u32 {
    value.clamp(0.0, f64::from(u32::MAX)).round() as u32
}
