//! The program stated in `good_lp`: its variables and constraints, with the names of docs/ilp-model.md.

use super::{Amounts, Candidate, Evaluation, Program, Resource, Step};
use good_lp::solvers::microlp::MicroLpProblem;
use good_lp::variable::VariableDefinition;
use good_lp::{
    Constraint, Expression, ProblemVariables, SolverModel, Variable, constraint, microlp as model,
    variable,
};
use std::collections::BTreeMap;

/// A variable of the program: its number, and what `good_lp` calls it.
#[derive(Clone, Copy)]
pub(super) struct Numbered {
    pub(super) number: usize,
    pub(super) variable: Variable,
}

/// The variables of the program.
pub(super) struct Variables {
    /// x_j.
    pub(super) candidates: Vec<Numbered>,
    /// y_k.
    pub(super) keys: Vec<Numbered>,
    /// w_e, and for both directions R_e and I_e.
    pub(super) extensions: Vec<ExtensionVariables>,
    /// T.
    pub(super) time: Numbered,
    /// O.
    pub(super) overflow: Numbered,
    /// How many there are.
    pub(super) count: usize,
}

/// What a unit of the variables that are no numbers of things stands for, so that all figures of the
/// program are near one.
#[derive(Clone, Copy)]
pub(super) struct Units {
    /// Of the objective: such that a known choice has 100.
    pub(super) objective: f64,
    /// Microseconds.
    pub(super) time: f64,
    /// Rows of either direction: more than any choice takes.
    pub(super) rows: [f64; 2],
    /// Of what overflows.
    pub(super) overflow: f64,
}

/// A program as the solver has it.
pub(super) struct Stated {
    pub(super) problem: MicroLpProblem,
    /// The solver's names of all variables, by their numbers.
    pub(super) handles: Vec<microlp::Variable>,
    pub(super) variables: Variables,
    pub(super) units: Units,
    pub(super) constraints: usize,
}

pub(super) struct ExtensionVariables {
    pub(super) is_used: Numbered,
    pub(super) rows: [Numbered; 2],
    pub(super) iterations: [Numbered; 2],
}

/// What numbers may be.
#[derive(Clone, Copy)]
pub(super) enum Pieces {
    /// Whole, as the program has them.
    Whole,
    /// Any: the relaxation.
    Parts,
}

impl Program {
    /// The program, with figures near one for `known`, a choice; the objective is divided by `unit`.
    pub(super) fn state(&self, known: Option<&[u32]>, unit: f64, pieces: Pieces) -> Stated {
        let mut units = self.units(known);
        units.objective *= unit;
        let (definitions, variables) = self.define(&units, pieces);
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
        let mut numbers = microlp::Problem::new(microlp::OptimizationDirection::Minimize);
        let handles = (0..variables.count).map(|_| numbers.add_var(0.0, (0.0, 0.0))).collect();
        Stated { problem, handles, variables, units, constraints }
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

    fn define(&self, units: &Units, pieces: Pieces) -> (ProblemVariables, Variables) {
        let mut definitions = ProblemVariables::new();
        let mut count = 0;
        let mut define = |definition: VariableDefinition| {
            count += 1;
            Numbered { number: count - 1, variable: definitions.add(definition) }
        };
        let most = |candidate: &Candidate| {
            candidate.steps.iter().map(|&step| self.steps[step].count).min().unwrap_or(0)
        };
        let number = |most: f64| match pieces {
            Pieces::Whole => variable().integer().min(0.0).max(most),
            Pieces::Parts => variable().min(0.0).max(most),
        };
        let candidates =
            self.candidates.iter().map(|of| define(number(f64::from(most(of))))).collect();
        let keys = self.keys.iter().map(|_| define(number(1.0))).collect();
        let extensions = self
            .extensions
            .iter()
            .map(|extension| ExtensionVariables {
                is_used: define(number(1.0)),
                rows: units.rows.map(|_| define(variable().min(0.0).max(1.0))),
                iterations: units.rows.map(|most| {
                    let iterations = extension.iteration.map_or(0.0, |(rows, _)| most / rows);
                    define(number(iterations.ceil()))
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
    pub(super) fn values(&self, variables: &Variables, units: &Units, counts: &[u32]) -> Vec<f64> {
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
