//! Limits of the user: what a plan takes of each, the constraints that they are of the integer program,
//! and what is said where no plan keeps them.

use super::Choice;
use super::options::{Limits, Objective, SearchOptions};
use crate::ilp::{Amounts, Cap, Resource};
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::plan::Plan;
use heq_ir::predict::memory::{MemorySituation, PartyMemory};

/// A limit that there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Memory of the client.
    ClientMemory,
    /// Memory of the server.
    ServerMemory,
    /// Bytes of an inference.
    Bytes,
    /// Time of an inference.
    Latency,
}

impl Limit {
    /// All.
    pub const ALL: [Self; 4] = [Self::ClientMemory, Self::ServerMemory, Self::Bytes, Self::Latency];

    /// The option that sets it.
    #[must_use]
    pub fn option(self) -> &'static str {
        match self {
            Self::ClientMemory => "--client-memory",
            Self::ServerMemory => "--server-memory",
            Self::Bytes => "--max-bytes",
            Self::Latency => "--max-latency",
        }
    }

    /// What was given, in bytes or seconds.
    #[must_use]
    pub fn given(self, limits: &Limits) -> Option<f64> {
        let bytes = |limit: Option<u64>| limit.map(|limit| limit as f64);
        match self {
            Self::ClientMemory => bytes(limits.client_memory),
            Self::ServerMemory => bytes(limits.server_memory),
            Self::Bytes => bytes(limits.max_bytes),
            Self::Latency => limits.max_latency_s,
        }
    }

    /// The option with what was given, if it was.
    #[must_use]
    pub fn describe(self, limits: &Limits) -> Option<String> {
        Some(format!("{} {}", self.option(), self.show(self.given(limits)?)))
    }

    /// The party whose memory it limits: 0 the client, 1 the server.
    fn party(self) -> Option<usize> {
        match self {
            Self::ClientMemory => Some(0),
            Self::ServerMemory => Some(1),
            Self::Bytes | Self::Latency => None,
        }
    }

    /// A value in the option's own words.
    fn show(self, value: f64) -> String {
        match self {
            Self::Latency => format!("{:.3}", (value * 1000.0).ceil() / 1000.0),
            Self::ClientMemory | Self::ServerMemory | Self::Bytes => {
                format!("{}kB", (value / 1000.0).ceil())
            }
        }
    }
}

/// Time and bytes of an inference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct InferenceCost {
    /// Predicted time of the steps in seconds.
    pub(crate) seconds: f64,
    /// Bytes both ways, random OTs included.
    pub(crate) bytes: u64,
}

impl InferenceCost {
    pub(crate) fn of(plan: &Plan, search: &SearchOptions) -> Self {
        Self { seconds: search.predict(plan).online_s(), bytes: search.bytes(plan) }
    }
}

/// What a plan takes of everything that may be limited.
#[derive(Clone, Debug)]
pub struct Figures {
    memory: [PartyMemory; 2],
    bytes: f64,
    /// Whether they are of prepared inferences.
    is_prepared: bool,
    latency_s: f64,
    heaviest: [usize; 2],
}

impl Figures {
    /// Those of `plan`. The server may transform all weights anew in every inference, so that it need
    /// keep none.
    #[must_use]
    pub fn of(plan: &Plan, search: &SearchOptions) -> Self {
        let memory =
            plan.memory(&MemorySituation { weight_cache_bytes: 0, threads: search.threads });
        let cost = plan.cost(1);
        let prediction = search.predict(plan);
        let bytes = cost.layers.iter().map(|layer| layer.bytes() as f64);
        let times = prediction.layers.iter().map(|layer| layer.wall_s);
        Self {
            memory: [memory.client, memory.server],
            bytes: search.bytes(plan) as f64,
            is_prepared: search.is_prepared(),
            latency_s: prediction.online_s(),
            heaviest: [largest(bytes), largest(times)],
        }
    }

    /// What the plan takes of `limit`.
    #[must_use]
    pub fn takes(&self, limit: Limit) -> f64 {
        match limit {
            Limit::ClientMemory => self.memory[0].peak() as f64,
            Limit::ServerMemory => self.memory[1].peak() as f64,
            Limit::Bytes => self.bytes,
            Limit::Latency => self.latency_s,
        }
    }

    /// The limits that it exceeds.
    #[must_use]
    pub fn exceeded(&self, limits: &Limits) -> Vec<Limit> {
        let is_exceeded =
            |limit: &Limit| limit.given(limits).is_some_and(|given| self.takes(*limit) > given);
        Limit::ALL.into_iter().filter(is_exceeded).collect()
    }

    /// The limits `tried`, tighter by what the plan that they led to exceeds those that were `given`.
    #[must_use]
    pub fn tightened(&self, tried: &Limits, given: &Limits) -> Limits {
        let scale = |limit: Limit| {
            let given = limit.given(given).unwrap_or(f64::INFINITY);
            (given / self.takes(limit).max(1e-9)).min(1.0)
        };
        let bytes = |tried: Option<u64>, limit| {
            let most = u64::MAX >> 11;
            tried.map(|tried| whole(tried.min(most) as f64 * scale(limit)))
        };
        Limits {
            client_memory: bytes(tried.client_memory, Limit::ClientMemory),
            server_memory: bytes(tried.server_memory, Limit::ServerMemory),
            max_bytes: bytes(tried.max_bytes, Limit::Bytes),
            max_latency_s: tried.max_latency_s.map(|tried| tried * scale(Limit::Latency)),
        }
    }

    /// The step that takes the most of `limit`.
    fn heaviest(&self, limit: Limit) -> usize {
        match limit {
            Limit::ClientMemory | Limit::ServerMemory => {
                let memory = &self.memory[limit.party().unwrap_or(0)];
                largest(memory.layers.iter().map(|&bytes| bytes as f64))
            }
            Limit::Bytes => self.heaviest[0],
            Limit::Latency => self.heaviest[1],
        }
    }

    /// That no plan keeps `limit`, of which this one takes the least.
    #[must_use]
    pub fn too_tight(&self, limit: Limit, limits: &Limits, plan: &Plan) -> Diagnostic {
        let name = plan.layers().get(self.heaviest(limit)).map_or("", |layer| &layer.name);
        let given = limit.given(limits).unwrap_or(0.0);
        if self.takes(limit) <= given {
            let others: Vec<String> = self
                .exceeded(limits)
                .into_iter()
                .map(|other| format!("{} {}", other.option(), other.show(self.takes(other))))
                .collect();
            let what = format!(
                "no plan was found that keeps {} {} and the other limits: one that keeps it takes {}",
                limit.option(),
                limit.show(given),
                others.join(", "),
            );
            let remedy = format!("give {}, or more to {}", others.join(", "), limit.option());
            return Diagnostic::new(Code::LimitTooTight, name, what, remedy);
        }
        let what = format!(
            "no plan keeps {} {}: the least is {}, and this layer takes the most of it",
            limit.option(),
            limit.show(given),
            limit.show(self.takes(limit)),
        );
        let remedy = format!(
            "give {} {} or more, or make this layer smaller",
            limit.option(),
            limit.show(self.takes(limit))
        );
        Diagnostic::new(Code::LimitTooTight, name, what, remedy)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of bytes that is at most one of before"
)]
fn whole(bytes: f64) -> u64 {
    bytes.max(0.0).floor() as u64
}

/// Index of the largest value, the first of equals.
fn largest(values: impl Iterator<Item = f64>) -> usize {
    let first = (0, f64::NEG_INFINITY);
    values.enumerate().fold(first, |most, found| if found.1 > most.1 { found } else { most }).0
}

/// Constraints of the integer program beside those that every program has.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// The constraints.
    pub caps: Vec<Cap>,
    /// For every step that there is whatever the linear steps are, what client and server hold beside what
    /// the candidate itself does.
    pub beside: Vec<[f64; 2]>,
}

impl Bounds {
    /// The limits as constraints, seen from a plan without them: its figures, and the choice behind it.
    #[must_use]
    pub fn new(limits: &Limits, figures: &Figures, choice: &Choice) -> Self {
        let given = |limit: Limit| Some((limit, limit.given(limits)?));
        let caps = Limit::ALL.into_iter().filter_map(given);
        let caps = caps.map(|(limit, value)| figures.cap(limit, value, choice)).collect();
        Self { caps, beside: figures.beside(choice) }
    }

    /// The constraint by which a plan takes the least of `limit`; none if an objective does the same.
    #[must_use]
    pub fn least(limit: Limit, figures: &Figures, choice: &Choice) -> Option<Self> {
        let party = limit.party()?;
        let beside = figures.beside(choice);
        let least = choice.program.least_held(party, &beside);
        let kept = figures.memory[party].kept as f64;
        Some(Self { caps: vec![figures.cap(limit, kept + least, choice)], beside })
    }

    /// Whether what steps hold matters, so that each must be told from others like it.
    #[must_use]
    pub fn is_by_step(&self) -> bool {
        self.caps.iter().any(|cap| cap.held.is_some())
    }
}

impl Figures {
    fn cap(&self, limit: Limit, value: f64, choice: &Choice) -> Cap {
        let name = limit.option();
        match limit {
            Limit::ClientMemory | Limit::ServerMemory => {
                let held = limit.party();
                let kept = self.memory[held.unwrap_or(0)].kept as f64;
                let limit = (value - kept).max(0.0);
                Cap { name, per: Amounts::default(), time: 0.0, held, limit }
            }
            Limit::Bytes => {
                // What is sent beforehand counts as set-up.
                let beforehand = f64::from(u8::from(self.is_prepared));
                let per = Amounts::of([
                    (Resource::Up, 1.0),
                    (Resource::Down, 1.0),
                    (Resource::Setup, beforehand),
                ]);
                Cap { name, per, time: 0.0, held: None, limit: value }
            }
            Limit::Latency => {
                // The program's time is not quite that which is predicted of a plan.
                let ratio = choice.solution.evaluation.time / self.latency_s.max(1e-9);
                Cap { name, per: Amounts::default(), time: 1.0, held: None, limit: value * ratio }
            }
        }
    }

    fn beside(&self, choice: &Choice) -> Vec<[f64; 2]> {
        let own = choice.program.held(&choice.solution.counts);
        let of_step = |(number, &step): (usize, &usize)| {
            let own = own.get(&number).copied().unwrap_or_default();
            [0, 1].map(|party| (self.memory[party].layers[step] as f64 - own[party]).max(0.0))
        };
        choice.program.common.iter().enumerate().map(of_step).collect()
    }
}

/// The objective that takes the least of a limit, or the one that there is: none takes the fewest bytes of
/// both phases of prepared inferences.
#[must_use]
pub fn least_objective(limit: Limit, objective: Objective) -> Objective {
    match (limit, objective) {
        (_, Objective::OnlineLatency) | (Limit::ClientMemory | Limit::ServerMemory, _) => objective,
        (Limit::Bytes, _) => Objective::Bytes,
        (Limit::Latency, _) => Objective::Latency,
    }
}
