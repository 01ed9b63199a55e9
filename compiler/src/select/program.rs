//! The integer program of a secure program, and its solution as a selection.

use super::circuits::{CircuitFront, Form, circuit_front};
use super::limits::Bounds;
use super::linear::{LinearFront, LinearFronts};
use super::options::{FormRule, Objective, SearchOptions};
use super::ot::OtRule;
use super::{Forms, LinearChoices, Selection};
use crate::ilp::{
    Amounts, Candidate, Extension, Key, Overflow, Pace, Program, Resource, Solution, Step,
};
use crate::kernel::conv_coefficient::Candidate as LinearCandidate;
use crate::kernel::price::{Price, Resources};
use heq_ir::params::RlweSpec;
use heq_ir::plan::{OtExtension, fixed_traffic};
use heq_ir::predict::WEIGHT_CACHE_BYTES;
use heq_ir::secure::{SecureOp, SecureProgram};
use heq_ir::traffic::wire_bytes;
use petgraph::graph::NodeIndex;
use std::collections::HashMap;

/// Microseconds that transforming a byte of weights takes, of a ring of 2048.
const TRANSFORM_US_PER_BYTE: f64 = 1.7e-4;

/// What the objective counts beside the time, so that of plans equally fast the one that leaves more
/// room is taken: a microsecond of the path or of making random OTs, one of a processor, one that the link
/// is busy.
const SLACK: [f64; 3] = [0.05, 0.01, 0.2];

/// What a microsecond counts where bytes are minimised.
const TIME_BYTES: f64 = 0.01;

/// A step that has a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The step in the secure program.
    pub node: NodeIndex,
    /// Its index in the plan.
    pub step: usize,
    /// The layer and term of the integer network that it computes, of a linear step.
    pub term: Option<(usize, usize)>,
}

/// Steps that are alike, and their candidates.
#[derive(Clone, Debug)]
pub struct Group {
    /// The steps.
    pub members: Vec<Member>,
    /// Their candidates.
    pub front: Front,
    /// Index of the first candidate in the program.
    pub first: usize,
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
    /// The steps that have a choice: one of the program each, in order.
    pub groups: Vec<Group>,
    /// The keys of the program: a parameter set, and of a Galois key its spacing's bit.
    pub keys: Vec<(RlweSpec, Option<u32>)>,
    /// The OT extensions of the program.
    pub extensions: Vec<OtExtension>,
    /// What the steps without a choice take.
    fixed: Resources,
}

/// The candidates of all steps of `program`: those of its linear steps are `linear`, in order.
#[must_use]
pub fn plan_program(
    program: &SecureProgram,
    linear: &LinearFronts,
    search: &SearchOptions,
    ot: OtRule,
    shares_steps: bool,
) -> PlanProgram {
    let situation = search.situation();
    let mut groups: Vec<Group> = Vec::new();
    let mut fixed = Resources::default();
    let mut layers = linear.layers.iter();
    // The plan has all nodes in their order but the input.
    let is_step = |node: &NodeIndex| !matches!(program.graph[*node].op, SecureOp::Input { .. });
    for (index, node) in program.graph.node_indices().filter(is_step).enumerate() {
        let step = &program.graph[node];
        let Some(operand) = program.operands(node).first().map(|&of| program.graph[of].result)
        else {
            continue;
        };
        let front = if let SecureOp::Linear(_) = &step.op {
            layers.next().map(|front| Front::Linear(front.clone()))
        } else {
            let rule = search.restriction.forms;
            circuit_front(&step.op, operand, step.result, rule, &situation).map(Front::Circuit)
        };
        let Some(front) = front else {
            let traffic = fixed_traffic(&step.op, operand);
            fixed += Resources::of_traffic(&traffic, &situation);
            continue;
        };
        let term = step.origin.secret.filter(|_| matches!(front, Front::Linear(_)));
        let member = Member { node, step: index, term };
        let alike = groups.iter_mut().find(|group| shares_steps && group.front.is_like(&front));
        match alike {
            Some(group) => group.members.push(member),
            None => groups.push(Group { members: vec![member], front, first: 0 }),
        }
    }
    let mut built = PlanProgram {
        program: Program::default(),
        groups,
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
            let step = program.steps.len();
            program
                .steps
                .push(Step { count: u32::try_from(group.members.len()).unwrap_or(u32::MAX) });
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
                let mut candidate = candidate(step, &resources);
                candidate.keys = keys;
                program.candidates.push(candidate);
            }
        }
        let step = program.steps.len();
        program.steps.push(Step { count: 1 });
        program.candidates.push(candidate(step, &self.fixed));
        program.extensions =
            self.extensions.iter().map(|ot| extension(*ot, search, share)).collect();
        program.paces = paces(search, FULL_OVERLAP);
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
                    if front.candidates.iter().any(plain) {
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

    /// For every group the candidate of the lowest `price`: a choice to start from. For linear steps that
    /// of the local search.
    #[must_use]
    pub fn start(&self, price: &Price<'_>) -> Vec<u32> {
        let mut counts = vec![0; self.program.candidates.len()];
        for group in &self.groups {
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
        counts
    }

    /// The candidate that every member of a group has under a solution, in their order.
    pub fn chosen<'a>(
        &'a self,
        group: &'a Group,
        counts: &'a [u32],
    ) -> impl Iterator<Item = (Member, usize)> + 'a {
        let candidates = (0..group.front.len())
            .flat_map(|index| (0..counts[group.first + index]).map(move |_| index));
        group.members.iter().copied().zip(candidates)
    }

    /// What client and server hold at the steps of a solution, by their index in the plan.
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
        self.groups.iter().map(of_group).fold(others, f64::max)
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
                        linear.extend(member.term.map(|term| (term, front.candidates[index])));
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

fn candidate(step: usize, resources: &Resources) -> Candidate {
    let amounts = Amounts::of([
        (Resource::Path, resources.path_us),
        (Resource::ClientCpu, resources.client_us),
        (Resource::ServerCpu, resources.server_us),
        (Resource::Up, resources.bytes_up),
        (Resource::Down, resources.bytes_down),
        (Resource::Weights, resources.weight_bytes),
    ]);
    let Resources { rows, held, .. } = *resources;
    Candidate { steps: vec![step], amounts, rows, keys: Vec::new(), held }
}

/// What an OT extension takes; its set-up once a session, of which `share` counts.
fn extension(ot: OtExtension, search: &SearchOptions, share: f64) -> Extension {
    let setup_bytes = ot.setup_bytes().iter().map(|&bytes| wire_bytes(bytes)).sum::<u64>() as f64;
    let setup_us = search.profile.extension_setup_us(ot);
    let row_us = search.profile.row_us(ot);
    let situation = search.situation();
    let made = |us: f64, bytes: f64| {
        // Of rows that the server sends, then of those that the client sends.
        let senders = [Resource::Down, Resource::Up];
        let receivers = [Resource::Up, Resource::Down];
        let sent = if ot.sender_sends() { senders } else { receivers };
        let production = us + situation.transmission_us(bytes) / 2.0;
        sent.map(|direction| {
            Amounts::of([
                (Resource::Production, production),
                (Resource::ClientCpu, us),
                (Resource::ServerCpu, us),
                (direction, bytes),
            ])
        })
    };
    Extension {
        once: Amounts::of([
            (Resource::Path, share * (setup_us + search.situation().transmission_us(setup_bytes))),
            (Resource::Setup, 2.0 * share * setup_bytes),
            (Resource::ClientCpu, share * setup_us),
            (Resource::ServerCpu, share * setup_us),
        ]),
        row: match ot.iteration() {
            None => made(row_us, ot.bytes_per_row()),
            Some(_) => made(0.0, 0.0),
        },
        // Rows left over serve the next inference, so that one pays for its share of an iteration.
        iteration: ot.iteration().map(|(rows, bytes)| {
            let rows = share * rows as f64;
            (rows, made(rows * row_us, share * bytes as f64))
        }),
    }
}

/// How far what runs beside the steps really does: the program's time is a sum of each, a run is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overlap {
    /// By what processors and link are slower than by themselves.
    pub slower: f64,
    /// By what making random OTs is slower than on one thread; less if steps leave it several.
    pub making: f64,
    /// The part of making random OTs that no step runs beside.
    pub waits: f64,
}

/// One of the programs that are solved, of which the plan that is predicted best is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variant {
    /// How far steps and what runs beside them overlap.
    pub overlap: Overlap,
    /// Circuits of which kind.
    pub forms: FormRule,
    /// Whether responses are merged.
    pub merges: bool,
}

/// As the model says.
const FULL_OVERLAP: Overlap = Overlap { slower: 1.0, making: 1.0, waits: 0.0 };

impl Variant {
    /// That of the model.
    pub const MODEL: Self = Self { overlap: FULL_OVERLAP, forms: FormRule::Any, merges: true };

    /// All: what runs beside the steps overlaps less or more, circuits are of one kind, no response is
    /// merged.
    pub const ALL: [Self; 7] = [
        Self::MODEL,
        Self { overlap: Overlap { slower: 1.5, ..FULL_OVERLAP }, ..Self::MODEL },
        Self { overlap: Overlap { making: 0.6, ..FULL_OVERLAP }, ..Self::MODEL },
        Self { overlap: Overlap { slower: 1.2, making: 1.0, waits: 0.4 }, ..Self::MODEL },
        Self { forms: FormRule::FewestBytes, ..Self::MODEL },
        Self { forms: FormRule::FewestFlights, ..Self::MODEL },
        Self { forms: FormRule::FewestBytes, merges: false, ..Self::MODEL },
    ];
}

/// What the time of an inference is at least.
fn paces(search: &SearchOptions, overlap: Overlap) -> Vec<Pace> {
    let Overlap { slower, making, waits } = overlap;
    let threads = search.threads.max(1) as f64;
    let transmission = search.situation().transmission_us(1.0);
    let pace = |name, resource, unit| Pace { name, per: Amounts::of([(resource, unit)]) };
    let path = Amounts::of([(Resource::Path, 1.0), (Resource::Production, waits)]);
    vec![
        Pace { name: "steps one after another", per: path },
        pace("making random OTs", Resource::Production, making),
        pace("the client's processor", Resource::ClientCpu, slower / threads),
        pace("the server's processor", Resource::ServerCpu, slower / threads),
        pace("bandwidth to the server", Resource::Up, slower * transmission),
        pace("bandwidth to the client", Resource::Down, slower * transmission),
    ]
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
        Objective::Latency => (slack, 1.0),
        Objective::Bytes => (bytes(1.0), TIME_BYTES),
        Objective::Weighted { seconds_per_mb } => {
            // A second a MB is a microsecond a byte.
            slack.add(1.0, &bytes(seconds_per_mb.max(0.0)));
            (slack, 1.0)
        }
    }
}
