//! The integer linear program behind a plan: one candidate a step, the keys that they share, one OT
//! extension, at the least time or bytes within the limits.
//!
//! docs/ilp-model.md has it in symbols, with the same names. This module knows numbers alone; what they
//! stand for is put together in [`crate::select`].

mod evaluate;
mod round;
mod solve;
mod state;

pub use evaluate::{Evaluation, Totals};
pub use solve::{Solution, SolveError, SolveLimits, Status};

/// What candidates, keys and extensions take of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Microseconds on the path of steps one after another.
    Path,
    /// Microseconds of making random OTs, beside the path.
    Production,
    /// Microseconds of the client's processor.
    ClientCpu,
    /// Microseconds of the server's processor.
    ServerCpu,
    /// Bytes that the client sends.
    Up,
    /// Bytes that the server sends.
    Down,
    /// Bytes that are sent once a session, an inference's share.
    Setup,
    /// Bytes of transformed weights.
    Weights,
}

impl Resource {
    /// All, in their order.
    pub const ALL: [Self; Amounts::LEN] = [
        Self::Path,
        Self::Production,
        Self::ClientCpu,
        Self::ServerCpu,
        Self::Up,
        Self::Down,
        Self::Setup,
        Self::Weights,
    ];
}

/// An amount of every resource.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Amounts([f64; Self::LEN]);

impl Amounts {
    const LEN: usize = 8;

    /// These amounts, and nothing of the others.
    #[must_use]
    pub fn of<const N: usize>(amounts: [(Resource, f64); N]) -> Self {
        let mut all = Self::default();
        amounts.into_iter().for_each(|(resource, amount)| all.0[resource as usize] += amount);
        all
    }

    /// Of one resource.
    #[must_use]
    pub fn get(&self, resource: Resource) -> f64 {
        self.0[resource as usize]
    }

    /// Adds `times` times `other`.
    pub fn add(&mut self, times: f64, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, amount)| *sum += times * amount);
    }

    /// The same for what is done before the inference: its time is no part of the path, its bytes are sent
    /// before.
    #[must_use]
    pub fn beforehand(&self) -> Self {
        let mut moved = *self;
        for (from, to) in [
            (Resource::Path, Resource::Production),
            (Resource::Up, Resource::Setup),
            (Resource::Down, Resource::Setup),
        ] {
            moved.0[to as usize] += std::mem::take(&mut moved.0[from as usize]);
        }
        moved
    }

    /// Sum of the products.
    #[must_use]
    pub fn dot(&self, other: &Self) -> f64 {
        self.0.iter().zip(other.0).map(|(a, b)| a * b).sum()
    }

    /// Whether no amount is above that of `other`.
    #[must_use]
    pub fn within(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).all(|(a, b)| *a <= b)
    }
}

/// Steps that are alike: the same candidates, the same amounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// How many there are.
    pub count: u32,
}

/// A way to compute a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The steps that it computes: one, or several at once.
    pub steps: Vec<usize>,
    /// What it takes each time.
    pub amounts: Amounts,
    /// Rows of the OT extension: that the server sends, that the client sends.
    pub rows: [f64; 2],
    /// The keys that it needs, ascending.
    pub keys: Vec<usize>,
    /// Bytes that client and server hold while it runs.
    pub held: [f64; 2],
}

/// Something that candidates share and that is paid once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key {
    /// What it takes.
    pub amounts: Amounts,
    /// The key that it is of no use without.
    pub needs: Option<usize>,
}

/// A way to make random OTs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extension {
    /// What it takes once.
    pub once: Amounts,
    /// What a row takes that the server sends, that the client sends.
    pub row: [Amounts; 2],
    /// Rows that are made together, and what those together take in either direction.
    pub iteration: Option<(f64, [Amounts; 2])>,
}

impl Extension {
    /// The same for random OTs that are made before the inference.
    #[must_use]
    pub fn beforehand(self) -> Self {
        let all = |of: [Amounts; 2]| of.map(|amounts| amounts.beforehand());
        Self {
            once: self.once.beforehand(),
            row: all(self.row),
            iteration: self.iteration.map(|(rows, amounts)| (rows, all(amounts))),
        }
    }
}

/// The time is at least the sum of these products.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// What the time is for.
    pub name: &'static str,
    /// Microseconds for a unit of every resource.
    pub per: Amounts,
}

/// A limit of the user.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cap {
    /// What is limited.
    pub name: &'static str,
    /// How a unit of every resource counts.
    pub per: Amounts,
    /// How a microsecond of the time counts.
    pub time: f64,
    /// Whose held bytes count too, step by step: 0 the client's, 1 the server's.
    pub held: Option<usize>,
    /// At most this.
    pub limit: f64,
}

/// What is free up to an amount.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overflow {
    /// The resource.
    pub resource: Resource,
    /// What is free.
    pub free: f64,
    /// What a unit beyond takes.
    pub amounts: Amounts,
}

/// The program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// I.
    pub steps: Vec<Step>,
    /// J.
    pub candidates: Vec<Candidate>,
    /// K.
    pub keys: Vec<Key>,
    /// E. None if nothing takes random OTs.
    pub extensions: Vec<Extension>,
    /// P.
    pub paces: Vec<Pace>,
    /// L.
    pub caps: Vec<Cap>,
    /// Weights beyond what is kept.
    pub overflow: Option<Overflow>,
    /// What does not depend on the choice.
    pub base: Amounts,
    /// What a unit of every resource counts in the objective.
    pub goal: Amounts,
    /// What a microsecond of the time counts in it.
    pub goal_time: f64,
}

#[cfg(test)]
mod tests;
