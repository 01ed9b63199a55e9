//! Predicted memory of both parties, in bytes of resident memory: an upper bound that is close.
//!
//! It counts what the runtime holds: for a whole session the tables, keys, weights and the state of the OT
//! extension (`session.rs`) and random OTs made ahead (`stock.rs`); in every step the values that later
//! steps read, and what the step itself allocates (`steps.rs`, `linear.rs`; `live.rs` counts the planes of
//! a circuit by running it). docs/memory-model.md has the terms and what is left out.

mod linear;
mod live;
mod session;
mod stages;
mod steps;
mod stock;

pub use linear::{LinearMemory, linear_memory, row_bytes};
pub use stages::traffic_memory;

use crate::integer::ValueId;
use crate::plan::Plan;
use crate::secure::{Domain, ValueType};
use crate::traffic::RotSender;

/// The program itself: its code and static data, the stacks of its threads, what the allocator
/// adds to and keeps of what was freed. Measured: resident less allocated memory of both parties of the
/// models in docs/memory-model.md, which has the command.
pub const PROGRAM_BYTES: u64 = 14_000_000;

/// Bytes of a word: an arithmetic share, a coefficient, 64 bits of a plane.
const WORD_BYTES: u64 = 8;

/// What the memory of a run depends on beside the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySituation {
    /// Most bytes of transformed weights that the server keeps.
    pub weight_cache_bytes: u64,
    /// Threads of each party, at least 1.
    pub threads: usize,
}

/// Predicted memory of one party in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartyMemory {
    /// What it holds before the session and not in it: of the server the weights as they are read.
    pub starting: u64,
    /// What it holds through a whole inference: the program, tables, keys, state and stock of the OT
    /// extension, of the server also weights.
    pub kept: u64,
    /// What each step holds beside that, the values that wait for later steps included.
    pub layers: Vec<u64>,
}

impl PartyMemory {
    /// Most bytes at any time.
    #[must_use]
    pub fn peak(&self) -> u64 {
        let largest = self.layers.iter().copied().max().unwrap_or(0);
        self.kept.saturating_add(largest).max(self.starting)
    }
}

/// Predicted memory of both parties in a session of one inference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanMemory {
    /// The client's.
    pub client: PartyMemory,
    /// The server's.
    pub server: PartyMemory,
}

/// A number of each party.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Both {
    client: u64,
    server: u64,
}

impl Both {
    fn same(bytes: u64) -> Self {
        Self { client: bytes, server: bytes }
    }

    fn add(self, other: Self) -> Self {
        Self {
            client: self.client.saturating_add(other.client),
            server: self.server.saturating_add(other.server),
        }
    }

    fn max(self, other: Self) -> Self {
        Self { client: self.client.max(other.client), server: self.server.max(other.server) }
    }

    /// What both hold that hold `sender` bytes as the sender of random OTs, `receiver` as the receiver.
    fn of_sender(role: RotSender, sender: u64, receiver: u64) -> Self {
        match role {
            RotSender::Server => Self { client: receiver, server: sender },
            RotSender::Client => Self { client: sender, server: receiver },
        }
    }
}

/// Bytes of `count` words.
fn words(count: usize) -> u64 {
    (count as u64).saturating_mul(WORD_BYTES)
}

/// Bytes of a plane of `elements` bits.
fn plane(elements: usize) -> u64 {
    words(elements.div_ceil(64))
}

/// Bytes that either party holds of a value.
fn value_bytes(value: &ValueType) -> u64 {
    let elements = value.shape.len();
    match value.domain {
        Domain::Boolean { bits, .. } => plane(elements).saturating_mul(u64::from(bits)),
        Domain::Client { .. } | Domain::Arithmetic { .. } | Domain::Accumulator { .. } => {
            words(elements)
        }
        Domain::Revealed => 0,
    }
}

impl Plan {
    /// Predicts the memory of a session of one inference.
    #[must_use]
    pub fn memory(&self, situation: &MemorySituation) -> PlanMemory {
        let threads = situation.threads.max(1);
        let stock = self.stock_memory();
        let kept = self.session_memory(situation).add(stock.kept);
        let starting = self.starting_memory(situation);
        let mut memory = PlanMemory::default();
        memory.client.kept = kept.client;
        memory.client.starting = starting.client;
        memory.server.kept = kept.server;
        memory.server.starting = starting.server;
        let waiting = self.waiting_values();
        for (index, (waiting, held)) in waiting.into_iter().zip(stock.steps).enumerate() {
            let step = self.step_memory(index, threads).add(held).add(Both::same(waiting));
            memory.client.layers.push(step.client);
            memory.server.layers.push(step.server);
        }
        memory
    }

    /// For every step the bytes of the values that it or a later step reads and that were made before.
    fn waiting_values(&self) -> Vec<u64> {
        let layers = self.layers();
        let mut last_reads = vec![0; self.values().len()];
        for (index, layer) in layers.iter().enumerate() {
            for ValueId(id) in &layer.operands {
                if let Some(last) = last_reads.get_mut(*id) {
                    *last = index;
                }
            }
        }
        let mut ending = vec![0_u64; layers.len()];
        for (value, &last) in self.values().iter().zip(&last_reads) {
            if let Some(ending) = ending.get_mut(last) {
                *ending = ending.saturating_add(value_bytes(value));
            }
        }
        let mut waiting = 0_u64;
        let made = self.values().iter().zip(ending);
        made.map(|(value, ending)| {
            waiting = waiting.saturating_add(value_bytes(value));
            let now = waiting;
            waiting = waiting.saturating_sub(ending);
            now
        })
        .collect()
    }
}

#[cfg(test)]
mod tests;
