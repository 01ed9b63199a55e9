//! Random OTs: those that a step has taken and those that wait for later steps.

use super::Both;
use super::stages::{Usage, run_memory, stages};
use crate::plan::{AHEAD_BYTES, Plan, RotChunk};
use crate::traffic::{RotRun, RotSender};

/// Memory of random OTs.
pub(super) struct StockMemory {
    /// Most that waits in stock.
    pub(super) kept: Both,
    /// What each step takes beside that.
    pub(super) steps: Vec<Both>,
}

impl Both {
    fn without(self, other: Self) -> Self {
        Self {
            client: self.client.saturating_sub(other.client),
            server: self.server.saturating_sub(other.server),
        }
    }
}

impl Plan {
    /// Memory of random OTs: those made ahead follow those that were taken, as far as the limits allow.
    pub(super) fn stock_memory(&self) -> StockMemory {
        let mut lanes = RotSender::ALL.map(|sender| Ahead::new(self, sender));
        let (mut kept, mut totals) = (Both::default(), Vec::new());
        for traffic in self.layer_traffic() {
            let mut total = held(&mut lanes);
            for stage in stages(traffic) {
                let mut taken = Both::default();
                for run in traffic.rots.get(stage.runs).unwrap_or_default() {
                    if stage.usage == Usage::OneByOne {
                        taken = Both::default();
                    }
                    taken = taken.add(run_memory(run));
                    lanes.iter_mut().for_each(|lane| lane.take(run));
                    total = total.max(taken.add(held(&mut lanes)));
                }
            }
            kept = kept.max(held(&mut lanes));
            totals.push(total);
        }
        let steps = totals.into_iter().map(|total| total.without(kept)).collect();
        StockMemory { kept, steps }
    }
}

/// What the random OTs of both senders take.
fn held(lanes: &mut [Ahead; 2]) -> Both {
    lanes.iter_mut().map(Ahead::held).fold(Both::default(), Both::add)
}

/// The random OTs of one sender that may be in stock: those not taken of the chunks that the limits allow.
struct Ahead {
    sender: RotSender,
    /// The chunks with their limits.
    chunks: Vec<(RotChunk, u64)>,
    /// How many were made.
    made: usize,
    /// Bytes of both pads in stock.
    pads: u64,
    held: Both,
}

impl Ahead {
    fn new(plan: &Plan, sender: RotSender) -> Self {
        let limits = plan.chunk_limits(sender, AHEAD_BYTES);
        let chunks = plan.rot_chunks(sender).into_iter().zip(limits).collect();
        Self { sender, chunks, made: 0, pads: 0, held: Both::default() }
    }

    /// What they take, after as many were made as may be.
    fn held(&mut self) -> Both {
        while let Some((chunk, limit)) = self.chunks.get(self.made) {
            let pads = self.pads.saturating_add(chunk.pad_bytes());
            if self.pads > 0 && pads > *limit {
                break;
            }
            self.pads = pads;
            self.held = chunk.runs.iter().map(run_memory).fold(self.held, Both::add);
            self.made += 1;
        }
        self.held
    }

    /// A step takes the next, if it is of this sender.
    fn take(&mut self, run: &RotRun) {
        if run.sender != self.sender {
            return;
        }
        if self.pads == 0 {
            self.held();
        }
        self.pads = self.pads.saturating_sub(run.pad_bytes());
        self.held = self.held.without(run_memory(run));
    }
}
