//! What else there was: the candidates that a plan does not have, and why.

use super::Choice;
use super::program::{Front, Group};
use crate::choices::{CandidateChoice, LayerChoices, Rejection, Solver};
use crate::ilp::{Resource, Totals};
use crate::kernel::conv_coefficient::Candidate;
use crate::kernel::price::Resources;
use heq_ir::layout::{ConvTile, GroupPlacement};
use heq_ir::params::RlweSpec;
use heq_ir::secure::Packing;
use rayon::prelude::*;

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
        let totals = self.program.program.totals(&self.solution.counts);
        let of_group = |group: &Group| {
            let chosen: Vec<_> = self.program.chosen(group, &self.solution.counts).collect();
            let layer = |(member, index): (super::program::Member, usize)| LayerChoices {
                step: member.step,
                ..self.layer(group, index, &totals)
            };
            chosen.into_iter().map(layer).collect::<Vec<_>>()
        };
        let mut layers: Vec<LayerChoices> =
            self.program.groups.par_iter().flat_map_iter(of_group).collect();
        layers.sort_by_key(|layer| layer.step);
        layers
    }

    fn layer(&self, group: &Group, chosen: usize, totals: &Totals) -> LayerChoices {
        let record = |index: usize| self.candidate(group, chosen, index, totals);
        let mut candidates: Vec<(usize, CandidateChoice)> =
            (0..group.front.len()).map(|index| (index, record(index))).collect();
        candidates
            .sort_by(|(_, a), (_, b)| b.chosen.cmp(&a.chosen).then(a.excess.total_cmp(&b.excess)));
        let mut kinds: Vec<Option<Packing>> = Vec::new();
        let mut rank = 0;
        candidates.retain(|(index, _)| {
            let kind = group.front.packing(*index);
            let is_first = !kinds.contains(&kind);
            kinds.push(kind);
            rank += 1;
            is_first || rank <= RECORDED
        });
        let (considered, rejected) = match &group.front {
            Front::Linear(front) => (front.considered, front.rejected.clone()),
            Front::Circuit(front) => (front.considered, Vec::new()),
        };
        let candidates = candidates.into_iter().map(|(_, candidate)| candidate).collect();
        let rejected = rejected.into_iter().map(|(what, why)| Rejection { what, why }).collect();
        LayerChoices { step: 0, considered, candidates, rejected }
    }

    fn candidate(
        &self,
        group: &Group,
        chosen: usize,
        index: usize,
        totals: &Totals,
    ) -> CandidateChoice {
        let program = &self.program.program;
        let resources = group.front.resources(index);
        let with = program.exchange(totals, group.first + chosen, group.first + index);
        let excess = with.objective - self.solution.evaluation.objective;
        let why_not = if index == chosen {
            String::new()
        } else if let Some((cap, _)) = with.exceeded {
            format!("exceeds {}", program.caps[cap].name)
        } else {
            let keys = with.amounts.get(Resource::Setup)
                - self.solution.evaluation.amounts.get(Resource::Setup);
            why_not(&group.front.resources(chosen), &resources, keys)
        };
        CandidateChoice {
            label: group.front.label(index),
            chosen: index == chosen,
            path_us: resources.path_us,
            bytes_up: whole(resources.bytes_up),
            bytes_down: whole(resources.bytes_down),
            flights: resources.flights,
            rows: whole(resources.rows.iter().sum()),
            client_us: resources.client_us,
            server_us: resources.server_us,
            excess: if index == chosen { 0.0 } else { excess },
            why_not,
        }
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
    let ConvTile { output: [height, width], groups, placement, planes, kernels, merge_levels } =
        candidate.tile;
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
        "{ring_degree}/{modulus_bits} {height}x{width} {planes}>{kernels}{groups}{merged}{packing} \
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
