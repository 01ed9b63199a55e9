//! Random OTs: those that a step has taken and those that wait for later steps.

use super::Both;
use super::stages::{Usage, run_memory, stages};
use crate::plan::{AHEAD_BYTES, Plan, RotChunk};
use crate::traffic::RotRun;

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
    /// Memory of random OTs: those made ahead follow those that were taken, as far as the limit allows.
    pub(super) fn stock_memory(&self) -> StockMemory {
        let chunks = self.rot_chunks();
        let limits = self.chunk_limits(AHEAD_BYTES);
        let mut ahead = Ahead { chunks: chunks.iter().zip(limits).collect(), ..Ahead::default() };
        let (mut kept, mut totals) = (Both::default(), Vec::new());
        for traffic in self.layer_traffic() {
            let mut total = ahead.held();
            for stage in stages(traffic) {
                let mut taken = Both::default();
                for run in traffic.rots.get(stage.runs).unwrap_or_default() {
                    if stage.usage == Usage::OneByOne {
                        taken = Both::default();
                    }
                    taken = taken.add(run_memory(run));
                    ahead.take(run);
                    total = total.max(taken.add(ahead.held()));
                }
            }
            kept = kept.max(ahead.held());
            totals.push(total);
        }
        let steps = totals.into_iter().map(|total| total.without(kept)).collect();
        StockMemory { kept, steps }
    }
}

/// The random OTs that may be in stock: those not taken of the chunks that the limits allow.
#[derive(Default)]
struct Ahead<'a> {
    /// The chunks with their limits.
    chunks: Vec<(&'a RotChunk, u64)>,
    /// How many were made.
    made: usize,
    /// Bytes of both pads in stock.
    pads: u64,
    held: Both,
}

impl Ahead<'_> {
    /// What they take, after as many were made as may be.
    fn held(&mut self) -> Both {
        while let Some(&(chunk, limit)) = self.chunks.get(self.made) {
            let pads = self.pads.saturating_add(chunk.pad_bytes());
            if self.pads > 0 && pads > limit {
                break;
            }
            self.pads = pads;
            self.held = chunk.runs.iter().map(run_memory).fold(self.held, Both::add);
            self.made += 1;
        }
        self.held
    }

    /// A step takes the next.
    fn take(&mut self, run: &RotRun) {
        if self.pads == 0 {
            self.held();
        }
        self.pads = self.pads.saturating_sub(run.pad_bytes());
        self.held = self.held.without(run_memory(run));
    }
}
