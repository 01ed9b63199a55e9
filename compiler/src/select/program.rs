//! The integer program of a secure program, and its solution as a selection.

use super::circuits::{CircuitFront, Form, circuit_front};
use super::limits::Bounds;
use super::linear::{LinearFront, LinearFronts};
use super::options::{Objective, SearchOptions};
use super::ot::{OtRule, extension};
use super::variant::{FULL_OVERLAP, Variant, paces};
use super::{Forms, LinearChoices, Selection};
use crate::ilp::{
    Amounts, Candidate, Evaluation, Key, Overflow, Program, Resource, Solution, Step,
};
use crate::kernel::conv_coefficient::Candidate as LinearCandidate;
use crate::kernel::price::{Price, Resources};
use crate::kernel::shared_requests::Terms;
use crate::lower::assign_domains::Lowered;
use heq_ir::params::RlweSpec;
use heq_ir::plan::{OtExtension, fixed_traffic};
use heq_ir::predict::WEIGHT_CACHE_BYTES;
use heq_ir::secure::SecureOp;
use heq_ir::traffic::wire_bytes;
use petgraph::graph::NodeIndex;
use std::collections::{HashMap, HashSet};

/// Microseconds that transforming a byte of weights takes, of a ring of 2048.
const TRANSFORM_US_PER_BYTE: f64 = 1.7e-4;

/// What the objective counts beside the time, so that of plans equally fast the one that leaves more
/// room is taken: a microsecond of the path or of making random OTs, one of a processor, one that the link
/// is busy.
const SLACK: [f64; 3] = [0.05, 0.01, 0.2];

/// What a microsecond counts where bytes are minimised.
const TIME_BYTES: f64 = 0.01;

/// A step that has a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The step in the secure program.
    pub node: NodeIndex,
    /// Its number among the steps that there are whatever the linear steps are.
    pub step: usize,
    /// Its name.
    pub name: String,
    /// The terms of the integer network that it computes, of a linear step.
    pub terms: Terms,
}

/// Steps that are alike, and their candidates; or candidates of several steps at once.
#[derive(Clone, Debug)]
pub struct Group {
    /// The steps; of several at once a step that is all of them, in the place of the first.
    pub members: Vec<Member>,
    /// The steps of the program that a candidate computes: those that are alike are one.
    pub steps: Vec<usize>,
    /// Their candidates.
    pub front: Front,
    /// Index of the first candidate in the program.
    pub first: usize,
}

impl Group {
    /// Whether its candidates compute several steps at once.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.steps.len() > 1
    }
}

/// Candidates of a step.
#[derive(Clone, Debug)]
pub enum Front {
    /// Of a linear step.
    Linear(LinearFront),
    /// Of a circuit on shared bits.
    Circuit(CircuitFront),
}

impl Front {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Linear(front) => front.candidates.len(),
            Self::Circuit(front) => front.candidates.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Linear(a), Self::Linear(b)) => a.candidates == b.candidates,
            (Self::Circuit(a), Self::Circuit(b)) => a.candidates == b.candidates,
            _ => false,
        }
    }

    /// What candidate `index` takes.
    #[must_use]
    pub fn resources(&self, index: usize) -> Resources {
        match self {
            Self::Linear(front) => front.candidates[index].total(),
            Self::Circuit(front) => front.candidates[index].1,
        }
    }
}

/// The integer program of a secure program.
#[derive(Clone, Debug)]
pub struct PlanProgram {
    /// The program.
    pub program: Program,
    /// The steps that have a choice, one of the program each, in order; behind them the candidates of
    /// several at once.
    pub groups: Vec<Group>,
    /// Where in the plan the steps are that there are whatever the linear steps are.
    pub common: Vec<usize>,
    /// The keys of the program: a parameter set, and of a Galois key its spacing's bit.
    pub keys: Vec<(RlweSpec, Option<u32>)>,
    /// The OT extensions of the program.
    pub extensions: Vec<OtExtension>,
    /// What the steps without a choice take.
    fixed: Resources,
}

/// The candidates of all steps of a program: those of its linear steps are `linear`, in order.
#[must_use]
pub fn plan_program(
    lowered: &Lowered,
    linear: &LinearFronts,
    search: &SearchOptions,
    ot: OtRule,
    shares_steps: bool,
) -> PlanProgram {
    let program = &lowered.program;
    let situation = search.situation();
    let mut groups: Vec<Group> = Vec::new();
    let mut fixed = Resources::default();
    // The groups of the linear steps, and of those that may share requests: no other is like them.
    let (mut of_layers, mut apart) = (Vec::new(), HashSet::new());
    // The plan has all nodes in their order but the input.
    let is_step = |node: &NodeIndex| !matches!(program.graph[*node].op, SecureOp::Input { .. });
    for (index, node) in program.graph.node_indices().filter(is_step).enumerate() {
        let step = &program.graph[node];
        let Some(operand) = program.operands(node).first().map(|&of| program.graph[of].result)
        else {
            continue;
        };
        let layer = of_layers.len();
        let is_linear = matches!(step.op, SecureOp::Linear(_));
        let front = if is_linear {
            linear.layers.get(layer).map(|front| Front::Linear(front.clone()))
        } else {
            let rule = search.restriction.forms;
            circuit_front(&step.op, operand, step.result, rule, &situation).map(Front::Circuit)
        };
        let Some(front) = front else {
            let traffic = fixed_traffic(&step.op, operand);
            fixed += Resources::of_traffic(&traffic, &situation);
            continue;
        };
        let terms = if is_linear { step.origin.secret.clone() } else { Terms::new() };
        let (name, step) =
            (step.origin.name.clone(), lowered.common.partition_point(|&at| at < index));
        let member = Member { node, step, name, terms };
        let is_apart = is_linear && linear.shared.iter().any(|(layers, _)| layers.contains(&layer));
        let alike = groups.iter().position(|group| shares_steps && group.front.is_like(&front));
        let group = match alike.filter(|alike| !is_apart && !apart.contains(alike)) {
            Some(alike) => {
                groups[alike].members.push(member);
                alike
            }
            None => {
                let steps = vec![groups.len()];
                groups.push(Group { members: vec![member], steps, front, first: 0 });
                groups.len() - 1
            }
        };
        if is_linear {
            of_layers.push(group);
        }
        if is_apart {
            apart.insert(group);
        }
    }
    for (layers, front) in &linear.shared {
        let steps: Vec<usize> = layers.iter().map(|&layer| of_layers[layer]).collect();
        let mut member = groups[steps[0]].members[0].clone();
        member.terms = steps.iter().flat_map(|&of| groups[of].members[0].terms.clone()).collect();
        let front = Front::Linear(front.clone());
        groups.push(Group { members: vec![member], steps, front, first: 0 });
    }
    let mut built = PlanProgram {
        program: Program::default(),
        groups,
        common: lowered.common.clone(),
        keys: keys(linear),
        extensions: ot.candidates(),
        fixed,
    };
    built.fill(linear, search);
    built
}

/// A parameter set's own key, and one for every spacing.
fn keys(linear: &LinearFronts) -> Vec<(RlweSpec, Option<u32>)> {
    let of_set = |(params, spacings): &(heq_ir::params::RlweParams, u32)| {
        let (spec, spacings) = (params.spec(), *spacings);
        let galois = (0..u32::BITS).filter(move |bit| spacings >> bit & 1 == 1);
        [None].into_iter().chain(galois.map(Some)).map(move |bit| (spec, bit)).collect::<Vec<_>>()
    };
    linear.sets.iter().flat_map(of_set).collect()
}

impl PlanProgram {
    fn fill(&mut self, linear: &LinearFronts, search: &SearchOptions) {
        let share = 1.0 / f64::from(search.inferences.max(1));
        let position: HashMap<(RlweSpec, Option<u32>), usize> =
            self.keys.iter().enumerate().map(|(index, key)| (*key, index)).collect();
        let mut program = Program::default();
        for (params, spacings) in &linear.sets {
            let [client_us, server_us] = search.profile.key_us(params);
            let key = |bytes: u64| {
                let bytes = wire_bytes(bytes) as f64;
                let time = search.situation().transmission_us(bytes) + client_us + server_us;
                Amounts::of([
                    (Resource::Path, share * time),
                    (Resource::Setup, share * bytes),
                    (Resource::ClientCpu, share * client_us),
                    (Resource::ServerCpu, share * server_us),
                ])
            };
            let zero = program.keys.len();
            program.keys.push(Key { amounts: key(params.polynomial_bytes(0)), needs: None });
            let galois = Key { amounts: key(params.galois_key_bytes()), needs: Some(zero) };
            program.keys.extend((0..spacings.count_ones()).map(|_| galois));
        }
        for group in &mut self.groups {
            group.first = program.candidates.len();
            if !group.is_shared() {
                let count = u32::try_from(group.members.len()).unwrap_or(u32::MAX);
                program.steps.push(Step { count });
            }
            for index in 0..group.front.len() {
                let keys = match &group.front {
                    Front::Linear(front) => {
                        let candidate = &front.candidates[index];
                        let bits = (0..u32::BITS).filter(|bit| candidate.spacings >> bit & 1 == 1);
                        let keys = [None].into_iter().chain(bits.map(Some));
                        keys.filter_map(|bit| position.get(&(candidate.rlwe, bit)).copied())
                            .collect()
                    }
                    Front::Circuit(_) => Vec::new(),
                };
                let resources = group.front.resources(index);
                let mut candidate = candidate(group.steps.clone(), &resources);
                candidate.keys = keys;
                if search.is_prepared() && matches!(group.front, Front::Linear(_)) {
                    candidate.amounts = candidate.amounts.beforehand();
                }
                program.candidates.push(candidate);
            }
        }
        let step = program.steps.len();
        program.steps.push(Step { count: 1 });
        program.candidates.push(candidate(vec![step], &self.fixed));
        program.extensions =
            self.extensions.iter().map(|ot| extension(*ot, search, share)).collect();
        program.paces = paces(search, FULL_OVERLAP);
        if search.is_prepared() {
            program.keys.iter_mut().for_each(|key| key.amounts = key.amounts.beforehand());
        }
        program.overflow = Some(Overflow {
            resource: Resource::Weights,
            free: WEIGHT_CACHE_BYTES as f64,
            amounts: Amounts::of([
                (Resource::Path, TRANSFORM_US_PER_BYTE / search.threads.max(1) as f64),
                (Resource::ServerCpu, TRANSFORM_US_PER_BYTE),
            ]),
        });
        (program.goal, program.goal_time) = goal(search);
        self.program = program;
    }

    /// The program with the candidates of a variant alone.
    #[must_use]
    pub fn of_variant(
        &self,
        variant: &Variant,
        linear: &LinearFronts,
        search: &SearchOptions,
    ) -> Self {
        let mut built = self.clone();
        for group in &mut built.groups {
            match &mut group.front {
                Front::Circuit(front) => front.keep(variant.forms),
                Front::Linear(front) if !variant.merges => {
                    let plain = |candidate: &LinearCandidate| candidate.tile.merge_levels == 0;
                    if group.steps.len() > 1 || front.candidates.iter().any(plain) {
                        front.candidates.retain(plain);
                    }
                }
                Front::Linear(_) => {}
            }
        }
        built.fill(linear, search);
        built.program.paces = paces(search, variant.overlap);
        built
    }

    /// For every step the candidate of the lowest `price`: a choice to start from. For linear steps that
    /// of the local search, or one of several steps where that is better.
    #[must_use]
    pub fn start(&self, price: &Price<'_>) -> Vec<u32> {
        let mut counts = vec![0; self.program.candidates.len()];
        for group in self.groups.iter().filter(|group| !group.is_shared()) {
            let best = match &group.front {
                Front::Linear(_) => Some(0),
                Front::Circuit(front) => {
                    let prices = front.candidates.iter().map(|(_, of)| price.of(of)).enumerate();
                    prices.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index)
                }
            };
            if let Some(index) = best {
                counts[group.first + index] = u32::try_from(group.members.len()).unwrap_or(0);
            }
        }
        counts.last_mut().into_iter().for_each(|fixed| *fixed = 1);
        let worth = |found: &Evaluation| (found.exceeded.is_some(), found.objective);
        for group in self.groups.iter().filter(|group| group.is_shared()) {
            let own = self.of_steps(&group.steps, &counts);
            let is_covered = |&j: &usize| {
                self.program.candidates[j].steps.iter().all(|step| group.steps.contains(step))
            };
            if !own.iter().all(is_covered) {
                continue;
            }
            let totals = self.program.totals(&counts);
            let all = group.first..group.first + group.front.len();
            let found = all.map(|j| (worth(&self.program.exchange(&totals, &own, &[j])), j));
            let best = found.reduce(|best, next| if next.0 < best.0 { next } else { best });
            let known = worth(&self.program.exchange(&totals, &[], &[]));
            if let Some((_, best)) = best.filter(|(worth, _)| *worth < known) {
                own.iter().for_each(|&own| counts[own] = 0);
                counts[best] = 1;
            }
        }
        counts
    }

    /// The candidates that compute any of `steps`, none of which is like another.
    #[must_use]
    pub fn of_steps(&self, steps: &[usize], counts: &[u32]) -> Vec<usize> {
        let chosen = (0..counts.len()).filter(|&j| counts[j] > 0);
        let computes =
            |j: &usize| self.program.candidates[*j].steps.iter().any(|step| steps.contains(step));
        chosen.filter(computes).collect()
    }

    /// The candidate that every member of a group has under a solution, in their order.
    pub fn chosen<'a>(
        &'a self,
        group: &'a Group,
        counts: &'a [u32],
    ) -> impl Iterator<Item = (&'a Member, usize)> + 'a {
        let candidates = (0..group.front.len())
            .flat_map(|index| (0..counts[group.first + index]).map(move |_| index));
        group.members.iter().zip(candidates)
    }

    /// What client and server hold at the steps of a solution, by their numbers.
    #[must_use]
    pub fn held(&self, counts: &[u32]) -> HashMap<usize, [f64; 2]> {
        let of_group = |group| {
            let chosen = self.chosen(group, counts);
            chosen.map(|(member, index)| (member.step, group.front.resources(index).held))
        };
        self.groups.iter().flat_map(of_group).collect()
    }

    /// The least that a party must hold at some step, if it holds `beside` beside the candidates.
    #[must_use]
    pub fn least_held(&self, party: usize, beside: &[[f64; 2]]) -> f64 {
        let of_group = |group: &Group| {
            let all = (0..group.front.len()).map(|index| group.front.resources(index).held[party]);
            let least = all.fold(f64::INFINITY, f64::min);
            let steps = group.members.iter().map(|member| beside[member.step][party]);
            least + steps.fold(0.0, f64::max)
        };
        let others = beside.iter().map(|beside| beside[party]).fold(0.0, f64::max);
        let alone = self.groups.iter().filter(|group| !group.is_shared());
        alone.map(of_group).fold(others, f64::max)
    }

    /// Adds constraints; steps that are alike must not share if what they hold matters.
    pub fn bound(&mut self, bounds: &Bounds) {
        self.program.caps.clone_from(&bounds.caps);
        for group in &self.groups {
            let beside = group.members.first().and_then(|member| bounds.beside.get(member.step));
            let Some(beside) = beside else { continue };
            for candidate in &mut self.program.candidates[group.first..][..group.front.len()] {
                candidate.held.iter_mut().zip(beside).for_each(|(held, beside)| *held += beside);
            }
        }
    }

    /// What a solution selects.
    #[must_use]
    pub fn selection(&self, solution: &Solution) -> (Selection, Option<OtExtension>) {
        let mut linear = LinearChoices::new();
        let mut forms = Forms::default();
        for group in &self.groups {
            for (member, index) in self.chosen(group, &solution.counts) {
                match &group.front {
                    Front::Linear(front) => {
                        linear.insert(member.terms.clone(), front.candidates[index]);
                    }
                    Front::Circuit(front) => forms.insert(member.node, front.candidates[index].0),
                }
            }
        }
        let extension = solution.evaluation.extension.map(|index| self.extensions[index]);
        (Selection { linear, forms }, extension)
    }
}

impl Forms {
    fn insert(&mut self, node: NodeIndex, form: Form) {
        match form {
            Form::Requantize(form) => drop(self.requantize.insert(node, form)),
            Form::MaxPool(form) => drop(self.max_pool.insert(node, form)),
            Form::ToArithmetic(form) => drop(self.to_arithmetic.insert(node, form)),
        }
    }
}

fn candidate(steps: Vec<usize>, resources: &Resources) -> Candidate {
    let amounts = Amounts::of([
        (Resource::Path, resources.path_us),
        (Resource::ClientCpu, resources.client_us),
        (Resource::ServerCpu, resources.server_us),
        (Resource::Up, resources.bytes_up),
        (Resource::Down, resources.bytes_down),
        (Resource::Weights, resources.weight_bytes),
    ]);
    let Resources { rows, held, .. } = *resources;
    Candidate { steps, amounts, rows, keys: Vec::new(), held }
}

/// What a unit of every resource, and a microsecond of the time, counts.
fn goal(search: &SearchOptions) -> (Amounts, f64) {
    let bytes = |each: f64| {
        Amounts::of([Resource::Up, Resource::Down, Resource::Setup].map(|of| (of, each)))
    };
    let [path, cpu, link] = SLACK;
    let mut slack = Amounts::of([
        (Resource::Path, path),
        (Resource::Production, path),
        (Resource::ClientCpu, cpu),
        (Resource::ServerCpu, cpu),
    ]);
    slack.add(link * search.situation().transmission_us(1.0), &bytes(1.0));
    match search.objective {
        Objective::Latency | Objective::OnlineLatency => (slack, 1.0),
        Objective::Bytes => (bytes(1.0), TIME_BYTES),
        Objective::Weighted { seconds_per_mb } => {
            // A second a MB is a microsecond a byte.
            slack.add(1.0, &bytes(seconds_per_mb.max(0.0)));
            (slack, 1.0)
        }
    }
}
