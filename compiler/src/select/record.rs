//! What else there was: the candidates that a plan does not have, and why.

use super::Choice;
use super::program::{Front, Group, Member, PlanProgram};
use crate::choices::{CandidateChoice, LayerChoices, Rejection, Solver};
use crate::ilp::{Resource, Totals};
use crate::kernel::conv_coefficient::Candidate;
use crate::kernel::price::Resources;
use heq_ir::layout::{ConvTile, GroupPlacement};
use heq_ir::params::RlweSpec;
use heq_ir::secure::Packing;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Candidates of a step that are recorded beside the best of every packing.
const RECORDED: usize = 12;

impl Choice {
    /// How the program was solved.
    #[must_use]
    pub fn solver(&self, unit: &str) -> Solver {
        let solution = &self.solution;
        Solver {
            status: solution.status.name().to_owned(),
            objective: solution.evaluation.objective,
            bound: solution.bound,
            unit: unit.to_owned(),
            gap: solution.gap(),
            nodes: solution.nodes,
            variables: solution.variables,
            constraints: solution.constraints,
        }
    }

    /// The candidates of every step that had a choice, in the order of the plan.
    #[must_use]
    pub fn layers(&self) -> Vec<LayerChoices> {
        let program = &self.program.program;
        let context = Context {
            choice: self,
            totals: program.totals(&self.solution.counts),
            apart: self.apart(),
        };
        let groups = self.program.groups.par_iter().enumerate();
        let of_group = |(number, group): (usize, &Group)| {
            let shared = self.program.of_steps(&[number], &self.solution.counts);
            let shared = shared.into_iter().find(|&j| program.candidates[j].steps.len() > 1);
            let own = self.program.chosen(group, &self.solution.counts);
            let own = own.map(|(member, index)| (member, group.first + index));
            let all = group.members.iter().zip(shared).chain(own);
            let layer = |(member, chosen): (&Member, usize)| LayerChoices {
                step: self.program.common[member.step],
                ..context.layer(number, chosen)
            };
            all.map(layer).collect::<Vec<_>>()
        };
        let alone = groups.filter(|(_, group)| !group.is_shared());
        let mut layers: Vec<LayerChoices> = alone.flat_map_iter(of_group).collect();
        layers.sort_by_key(|layer| layer.step);
        layers
    }

    /// For every step that is computed with others its best candidate if each were by itself.
    fn apart(&self) -> BTreeMap<usize, usize> {
        let PlanProgram { program, groups, .. } = &self.program;
        let totals = program.totals(&self.solution.counts);
        let mut apart = BTreeMap::new();
        for (chosen, candidate) in program.candidates.iter().enumerate() {
            if self.solution.counts[chosen] == 0 || candidate.steps.len() < 2 {
                continue;
            }
            let first = |step: &usize| groups[*step].first;
            let mut own: Vec<usize> = candidate.steps.iter().map(first).collect();
            for (place, step) in candidate.steps.iter().enumerate() {
                let with = |j: usize| {
                    let mut own = own.clone();
                    own[place] = j;
                    (program.exchange(&totals, &[chosen], &own).objective, j)
                };
                let all = (0..groups[*step].front.len()).map(|index| with(first(step) + index));
                let best = all.min_by(|(a, _), (b, _)| a.total_cmp(b));
                own[place] = best.map_or(own[place], |(_, best)| best);
            }
            apart.extend(candidate.steps.iter().copied().zip(own));
        }
        apart
    }
}

/// What the candidates of a step are compared with.
struct Context<'a> {
    choice: &'a Choice,
    totals: Totals,
    /// For every step that is computed with others its best candidate by itself.
    apart: BTreeMap<usize, usize>,
}

impl Context<'_> {
    /// The candidates of step `step`, of which `chosen` is in the plan: its own, and those of it and others.
    fn layer(&self, step: usize, chosen: usize) -> LayerChoices {
        let groups = &self.choice.program.groups;
        let all = groups.iter().filter(|group| group.steps.contains(&step));
        let mut candidates = Vec::new();
        for group in all.clone() {
            for index in 0..group.front.len() {
                let kind = (&group.steps, group.front.packing(index));
                candidates.push((kind, self.candidate(step, chosen, group, index)));
            }
        }
        candidates
            .sort_by(|(_, a), (_, b)| b.chosen.cmp(&a.chosen).then(a.excess.total_cmp(&b.excess)));
        let mut kinds = Vec::new();
        let mut rank = 0;
        candidates.retain(|(kind, _)| {
            let is_first = !kinds.contains(kind);
            kinds.push(*kind);
            rank += 1;
            is_first || rank <= RECORDED
        });
        let considered = all.map(|group| match &group.front {
            Front::Linear(front) => front.considered,
            Front::Circuit(front) => front.considered,
        });
        let considered = considered.sum();
        let rejected = match &groups[step].front {
            Front::Linear(front) => front.rejected.clone(),
            Front::Circuit(_) => Vec::new(),
        };
        let candidates = candidates.into_iter().map(|(_, candidate)| candidate).collect();
        let rejected = rejected.into_iter().map(|(what, why)| Rejection { what, why }).collect();
        LayerChoices { step: 0, considered, candidates, rejected }
    }

    fn candidate(
        &self,
        step: usize,
        chosen: usize,
        group: &Group,
        index: usize,
    ) -> CandidateChoice {
        let Choice { program: PlanProgram { program, groups, .. }, solution, .. } = self.choice;
        let resources = group.front.resources(index);
        let other = group.first + index;
        let (from, to) = self.exchange(chosen, other);
        let with = program.exchange(&self.totals, &from, &to);
        let excess = with.objective - solution.evaluation.objective;
        let why_not = if other == chosen {
            String::new()
        } else if let Some((cap, _)) = with.exceeded {
            format!("exceeds {}", program.caps[cap].name)
        } else {
            let keys = with.amounts.get(Resource::Setup)
                - solution.evaluation.amounts.get(Resource::Setup);
            why_not(&self.resources(&from), &self.resources(&to), keys)
        };
        let others = group.steps.iter().filter(|&&other| other != step);
        let names: Vec<&str> =
            others.map(|&other| groups[other].members[0].name.as_str()).collect();
        let label = group.front.label(index);
        let label =
            if names.is_empty() { label } else { format!("{label} with {}", names.join(", ")) };
        CandidateChoice {
            label,
            chosen: other == chosen,
            path_us: resources.path_us,
            bytes_up: whole(resources.bytes_up),
            bytes_down: whole(resources.bytes_down),
            flights: resources.flights,
            rows: whole(resources.rows.iter().sum()),
            client_us: resources.client_us,
            server_us: resources.server_us,
            excess: if other == chosen { 0.0 } else { excess },
            why_not,
        }
    }

    /// What leaves the plan and what comes where candidate `other` takes the place of `chosen`: whatever
    /// computes one of the steps, and what other steps then have by themselves.
    fn exchange(&self, chosen: usize, other: usize) -> (Vec<usize>, Vec<usize>) {
        let Choice { program: all, solution, .. } = self.choice;
        let candidates = &all.program.candidates;
        if candidates[chosen].steps.len() == 1 && candidates[other].steps.len() == 1 {
            return (vec![chosen], vec![other]);
        }
        let from = all.of_steps(&candidates[other].steps, &solution.counts);
        let left = from.iter().flat_map(|&from| &candidates[from].steps);
        let left = left.filter(|&step| !candidates[other].steps.contains(step));
        let to = left.filter_map(|step| self.apart.get(step).copied()).chain([other]).collect();
        (from, to)
    }

    /// What candidates take together.
    fn resources(&self, candidates: &[usize]) -> Resources {
        let groups = &self.choice.program.groups;
        let mut sum = Resources::default();
        for &j in candidates {
            let group = groups
                .iter()
                .find(|group| (group.first..group.first + group.front.len()).contains(&j));
            sum += group
                .map_or_else(Resources::default, |group| group.front.resources(j - group.first));
        }
        sum
    }
}

impl Front {
    /// How many elements a coefficient of a linear candidate holds.
    fn packing(&self, index: usize) -> Option<Packing> {
        match self {
            Self::Linear(front) => Some(front.candidates[index].packing),
            Self::Circuit(_) => None,
        }
    }

    fn label(&self, index: usize) -> String {
        match self {
            Self::Linear(front) => linear_label(&front.candidates[index]),
            Self::Circuit(front) => front.candidates[index].0.to_string(),
        }
    }
}

/// Ring and modulus, output of a tile, planes and kernels of it, merging, packing, dropped bits: as in
/// docs/report.md.
fn linear_label(candidate: &Candidate) -> String {
    let RlweSpec { ring_degree, modulus_bits, .. } = candidate.rlwe;
    let ConvTile { samples, output, groups, placement, planes, kernels, merge_levels } =
        candidate.tile;
    let [height, width] = output;
    let samples = if samples > 1 { format!("{samples}x") } else { String::new() };
    let groups = match placement {
        GroupPlacement::Dense if groups == 1 => String::new(),
        GroupPlacement::Dense => format!(" g{groups}"),
        GroupPlacement::Spread => format!(" s{groups}"),
    };
    let merged = match merge_levels {
        0 => String::new(),
        levels => format!(" +{}", 1_u64 << levels),
    };
    let packing = match candidate.packing {
        Packing::None => String::new(),
        Packing::WithinChannel { fields, .. } => format!(" within {fields}"),
        Packing::CrossChannel { .. } => " across".to_owned(),
    };
    let Candidate { request_drop_bits, response_drop_bits, .. } = candidate;
    format!(
        "{ring_degree}/{modulus_bits} {samples}{height}x{width} {planes}>{kernels}{groups}{merged}{packing} \
         d{request_drop_bits}/{response_drop_bits}"
    )
}

/// In what a candidate takes more than the chosen one, what matters most first; `keys` is how many bytes
/// of keys it takes beside those that there are.
fn why_not(chosen: &Resources, other: &Resources, keys: f64) -> String {
    let mut reasons = Vec::new();
    if keys >= 1.0 {
        reasons.push(format!("{:.1} kB of keys that no other layer uses", keys / 1000.0));
    }
    if other.flights > chosen.flights {
        let more = other.flights - chosen.flights;
        reasons.push(format!("{more} more flight{}", if more == 1 { "" } else { "s" }));
    }
    let bytes = other.bytes() - chosen.bytes();
    if bytes >= 1.0 {
        reasons.push(format!("{:.1} kB more", bytes / 1000.0));
    }
    let cpu = other.client_us + other.server_us - chosen.client_us - chosen.server_us;
    if cpu >= 1.0 {
        reasons.push(format!("{:.2} ms more computation", cpu / 1000.0));
    }
    let rows = other.rows.iter().sum::<f64>() - chosen.rows.iter().sum::<f64>();
    if rows >= 1.0 {
        reasons.push(format!("{rows:.0} more random OTs"));
    }
    let weights = other.weight_bytes - chosen.weight_bytes;
    if weights >= 1.0 {
        reasons.push(format!("{:.1} MB more of weights to keep", weights / 1e6));
    }
    let path = other.path_us - chosen.path_us;
    if reasons.is_empty() && path > 0.0 {
        reasons.push(format!("{:.2} ms longer", path / 1000.0));
    }
    if reasons.is_empty() { "as good".to_owned() } else { reasons.join(", ") }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of bytes and rows, which are not negative"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0).round() as u64
}
