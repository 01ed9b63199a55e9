//! What differs between two plans, step by step.

use crate::report::grid::{Align, Grid, paragraph};
use crate::report::units::{
    bytes, bytes_change, count, percent_change, seconds, seconds_change, share,
};
use heq_ir::diagnostic::printable;
use heq_ir::plan::cost::PartCost;
use heq_ir::plan::{Layer, LayerKind, Plan};
use heq_ir::predict::{PlanPrediction, Situation};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Two plans with what each of them costs.
pub struct PlanDiff<'a> {
    plans: [&'a Plan; 2],
    predictions: [PlanPrediction; 2],
    costs: [Vec<PartCost>; 2],
    /// Header figures that differ: name, and the text of both.
    header: Vec<(&'static str, [String; 2])>,
    steps: Vec<StepDiff>,
}

/// A step of either plan or of both, by index.
struct StepDiff {
    at: [Option<usize>; 2],
    /// Whether what the step computes, or how, differs.
    is_changed: bool,
}

/// A step by which two plans are matched: its node, what it does, and how many such came before.
type Key<'a> = (&'a str, &'static str, usize);

fn keys(plan: &Plan) -> Vec<Key<'_>> {
    let mut seen: HashMap<(&str, &str), usize> = HashMap::new();
    let layers = plan.layers().iter();
    layers
        .map(|layer| {
            let (name, kind) = (layer.name.as_str(), layer.kind.op().name());
            let nth = seen.entry((name, kind)).or_default();
            *nth += 1;
            (name, kind, *nth)
        })
        .collect()
}

/// How a step is done, without numbers of values, which shift when a step is added.
fn choice(plan: &Plan, index: usize) -> Option<String> {
    let Layer { kind, operator, .. } = plan.layers().get(index)?;
    let LayerKind::Linear { op, choice } = kind else {
        return Some(format!("{operator} {kind:?}"));
    };
    let mut choice = *choice;
    // The number of a parameter set means nothing outside its plan.
    let params = plan.linear_step(index).map(|step| step.params.spec());
    choice.rlwe = 0;
    Some(format!("{operator} {op:?} {choice:?} {params:?}"))
}

/// A step in a few words.
fn describe(plan: &Plan, index: usize) -> String {
    let Some(layer) = plan.layers().get(index) else { return String::new() };
    let kernel = layer.kind.kernel();
    if let (LayerKind::Linear { op, choice }, Some(step)) = (&layer.kind, plan.linear_step(index)) {
        let counts = step.layout.counts();
        let [rows, columns] = choice.tile.output;
        return format!(
            "{kernel} W{} acc{} {}/{} tile {rows}x{columns} {}>{} {} cts {}/{} drop {}/{}",
            op.weight_bits,
            op.acc_bits,
            step.params.ring_degree(),
            step.params.modulus_bits(),
            choice.tile.planes,
            choice.tile.kernels,
            op.packing,
            counts.requests(),
            counts.responses(),
            choice.request_drop_bits,
            choice.response_drop_bits,
        );
    }
    match &layer.kind {
        LayerKind::Requantize { widths, form, .. } => {
            format!(
                "{kernel} {}>>{} to {}, {form}",
                widths.acc_bits, widths.shift, widths.result_bits
            )
        }
        LayerKind::ToArithmetic { bits, form } => format!("{kernel} mod 2^{bits}, {form}"),
        LayerKind::Linear { .. }
        | LayerKind::Combine(_)
        | LayerKind::MaxPool { .. }
        | LayerKind::Table { .. }
        | LayerKind::View(_)
        | LayerKind::Reshape(_)
        | LayerKind::Concat { .. }
        | LayerKind::ToBoolean { .. }
        | LayerKind::Open
        | LayerKind::Top { .. } => kernel.to_owned(),
    }
}

fn header(plan: &Plan) -> [(&'static str, String); 9] {
    let spec = plan.spec();
    [
        ("model", spec.model.clone()),
        ("accumulators", spec.acc_strategy.to_string()),
        ("error budget", format!("2^-{}", spec.error_budget_log2)),
        ("rounding", spec.rounding.to_string()),
        ("random OTs by", spec.ot.to_string()),
        ("opened", plan.reveal().to_string()),
        ("samples", plan.batch().to_string()),
        ("input", format!("{} {}", spec.input.name, spec.input.shape)),
        (
            "parameter sets",
            plan.rlwe()
                .iter()
                .map(|params| format!("{}/{}", params.ring_degree(), params.modulus_bits()))
                .collect::<Vec<_>>()
                .join(" "),
        ),
    ]
}

impl<'a> PlanDiff<'a> {
    /// Compares `a` with `b`, times predicted for `situation`.
    #[must_use]
    pub fn new(a: &'a Plan, b: &'a Plan, situation: &Situation<'_>) -> Self {
        let header = header(a)
            .into_iter()
            .zip(header(b))
            .filter(|((_, a), (_, b))| a != b)
            .map(|((name, a), (_, b))| (name, [a, b]))
            .collect();
        Self {
            plans: [a, b],
            predictions: [a.predict(situation), b.predict(situation)],
            costs: [a.cost(1).layers, b.cost(1).layers],
            header,
            steps: match_steps(a, b),
        }
    }

    /// Whether the plans are the same file.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.plans[0].digest() == self.plans[1].digest()
    }

    fn step_cost(&self, side: usize, at: Option<usize>) -> (PartCost, f64) {
        let Some(at) = at else { return Default::default() };
        let cost = self.costs[side].get(at).copied().unwrap_or_default();
        let time = self.predictions[side].layers.get(at);
        (cost, time.map_or(0.0, |time| time.wall_s))
    }

    /// Steps that differ.
    fn changed(&self) -> impl Iterator<Item = &StepDiff> {
        self.steps.iter().filter(|step| step.is_changed)
    }

    /// Totals of both plans: name, bytes, flights, seconds.
    fn totals(&self) -> [(&'static str, [PartCost; 2], [f64; 2]); 3] {
        let costs = self.plans.map(|plan| plan.cost(1));
        let [a, b] = &self.predictions;
        [
            ("one inference", [costs[0].online(), costs[1].online()], [a.online_s(), b.online_s()]),
            (
                "its random OTs",
                [costs[0].correlations, costs[1].correlations],
                [a.correlations.wall_s, b.correlations.wall_s],
            ),
            ("set-up", [costs[0].setup, costs[1].setup], [a.setup.wall_s, b.setup.wall_s]),
        ]
    }

    /// The differences as text.
    #[must_use]
    pub fn to_table(&self) -> String {
        let mut text = String::new();
        for (name, plan) in ["A", "B"].iter().zip(self.plans) {
            let line = format!("{} {}", plan.spec().model, plan.digest());
            text.push_str(&paragraph(name, &printable(&line), 3));
        }
        if self.is_same() {
            return text + "the plans are the same\n";
        }
        for (name, [a, b]) in &self.header {
            text.push_str(&paragraph("  ", &printable(&format!("{name}: {a} -> {b}")), 4));
        }
        let changed = self.changed().count();
        text.push_str(&format!("\n{} of {} differ\n", changed, count(self.steps.len(), "step")));
        if changed > 0 {
            text.push_str(&self.steps_table());
        }
        text.push('\n');
        text.push_str(&self.totals_table());
        text
    }

    fn steps_table(&self) -> String {
        let mut grid = Grid::new(&[
            ("A", Align::Right),
            ("B", Align::Right),
            ("layer", Align::Left),
            ("step", Align::Left),
            ("up", Align::Right),
            ("down", Align::Right),
            ("flights", Align::Right),
            ("time", Align::Right),
        ]);
        for step in self.changed() {
            let [(a, a_s), (b, b_s)] = [0, 1].map(|side| self.step_cost(side, step.at[side]));
            let number = |at: Option<usize>| at.map_or(String::new(), |at| (at + 1).to_string());
            let Some(layer) = self.layer(step) else { continue };
            grid.row([
                number(step.at[0]),
                number(step.at[1]),
                printable(&layer.name),
                layer.kind.op().name().to_owned(),
                bytes_change(a.bytes_up, b.bytes_up),
                bytes_change(a.bytes_down, b.bytes_down),
                (i128::from(b.flights) - i128::from(a.flights)).to_string(),
                seconds_change(b_s - a_s),
            ]);
            let sides = [0, 1].map(|side| step.at[side].map(|at| describe(self.plans[side], at)));
            let note = match sides {
                [Some(a), Some(b)] if a == b => format!("{a}, in details"),
                [Some(a), Some(b)] => format!("{a} -> {b}"),
                [Some(a), None] => format!("only in A: {a}"),
                [None, Some(b)] => format!("only in B: {b}"),
                [None, None] => String::new(),
            };
            grid.note(&note);
        }
        grid.render(Some(2))
    }

    fn layer(&self, step: &StepDiff) -> Option<&'a Layer> {
        let of_side = |side: usize| self.plans[side].layers().get(step.at[side]?);
        of_side(0).or_else(|| of_side(1))
    }

    fn totals_table(&self) -> String {
        let mut grid = Grid::new(&[
            ("", Align::Left),
            ("bytes A", Align::Right),
            ("bytes B", Align::Right),
            ("change", Align::Right),
            ("flights A", Align::Right),
            ("B", Align::Right),
            ("time A", Align::Right),
            ("time B", Align::Right),
            ("change", Align::Right),
        ]);
        for (name, [a, b], [a_s, b_s]) in self.totals() {
            let change = share(b.bytes() as f64 - a.bytes() as f64, a.bytes() as f64);
            grid.row([
                name.to_owned(),
                bytes(a.bytes()),
                bytes(b.bytes()),
                percent_change(change),
                a.flights.to_string(),
                b.flights.to_string(),
                seconds(a_s),
                seconds(b_s),
                percent_change(share(b_s - a_s, a_s)),
            ]);
        }
        grid.render(None)
    }

    /// The differences as a `heq-diff/1` document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let plan =
            |plan: &Plan| json!({"model": plan.spec().model, "plan": plan.digest().to_string()});
        let cost = |(cost, wall_s): (PartCost, f64)| {
            json!({
                "bytes_up": cost.bytes_up,
                "bytes_down": cost.bytes_down,
                "flights": cost.flights,
                "wall_s": wall_s,
            })
        };
        let header = self.header.iter().map(|(name, [a, b])| json!({"what": name, "a": a, "b": b}));
        let side = |side: usize, step: &StepDiff| {
            let at = step.at[side]?;
            let mut entry = cost(self.step_cost(side, Some(at)));
            entry["step"] = json!(at + 1);
            entry["how"] = json!(describe(self.plans[side], at));
            Some(entry)
        };
        let steps = self.changed().map(|step| {
            let layer = self.layer(step);
            json!({
                "name": layer.map(|layer| &layer.name),
                "kind": layer.map(|layer| layer.kind.op().name()),
                "a": side(0, step),
                "b": side(1, step),
            })
        });
        let totals = self.totals().into_iter().map(|(what, [a, b], [a_s, b_s])| {
            json!({"what": what, "a": cost((a, a_s)), "b": cost((b, b_s))})
        });
        json!({
            "schema": "heq-diff/1",
            "a": plan(self.plans[0]),
            "b": plan(self.plans[1]),
            "is_same": self.is_same(),
            "header": header.collect::<Vec<_>>(),
            "steps": steps.collect::<Vec<_>>(),
            "steps_compared": self.steps.len(),
            "totals": totals.collect::<Vec<_>>(),
        })
    }
}

/// Steps of both plans in the order of `a`; those that only `b` has follow the step that they follow
/// there.
fn match_steps(a: &Plan, b: &Plan) -> Vec<StepDiff> {
    let (a_keys, b_keys) = (keys(a), keys(b));
    let places: HashMap<Key<'_>, usize> =
        a_keys.iter().enumerate().map(|(at, &key)| (key, at)).collect();
    let mut follow: Vec<Vec<StepDiff>> = a_keys.iter().map(|_| Vec::new()).collect();
    let (mut first, mut found) = (Vec::new(), vec![None; a_keys.len()]);
    let mut last = None;
    for (at, key) in b_keys.iter().enumerate() {
        if let Some(&place) = places.get(key) {
            found[place] = Some(at);
            last = Some(place);
            continue;
        }
        let only = StepDiff { at: [None, Some(at)], is_changed: true };
        match last {
            Some(place) => follow[place].push(only),
            None => first.push(only),
        }
    }
    let mut steps = first;
    for (at, (partner, only)) in found.into_iter().zip(follow).enumerate() {
        let is_changed = partner.is_none_or(|partner| choice(a, at) != choice(b, partner));
        steps.push(StepDiff { at: [Some(at), partner], is_changed });
        steps.extend(only);
    }
    steps
}
