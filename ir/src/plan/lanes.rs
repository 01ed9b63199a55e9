//! How a session makes its random OTs: the two lanes, and what is made together.
//!
//! Those of either sender are made on a lane of their own, in chunks that both parties derive from the plan.
//! One party, the *leader*, sends a message for each chunk. All that it waits for is the other's
//! acknowledgement, an empty message, of the chunk [`LANE_WINDOW`] before: so round trips cost no time, and
//! what waits for its receiver is bounded.

use super::Plan;
use super::cost::PartCost;
use crate::traffic::{RotCounts, RotRun, RotSender, wire_bytes};

/// Chunks that the leader of a lane sends before the first of them is acknowledged.
pub const LANE_WINDOW: usize = 8;

/// Bytes of pads with which a chunk ends.
const CHUNK_PAD_BYTES: u64 = 2_000_000;

/// Memory for random OTs of one sender that a party makes ahead unless told otherwise, in bytes of their
/// pads.
pub const AHEAD_BYTES: u64 = 12_000_000;

/// Random OTs of one sender that are made by one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RotChunk {
    /// What steps take of them, in the order in which they do.
    pub runs: Vec<RotRun>,
}

impl RotChunk {
    /// Rows of the extension that they take.
    #[must_use]
    pub fn rows(&self) -> u64 {
        RotCounts::sum(&self.runs, RotRun::rows).total()
    }

    /// Bytes of both pads.
    #[must_use]
    pub fn pad_bytes(&self) -> u64 {
        RotCounts::sum(&self.runs, RotRun::pad_bytes).total()
    }
}

impl Plan {
    /// The random OTs of `sender` that one inference takes, in the chunks in which they are made; every
    /// inference has these. A chunk ends with the run by which it has
    /// [`OtExtension::chunk_rows`](super::OtExtension::chunk_rows), or 2 MB of pads, and with the inference.
    #[must_use]
    pub fn rot_chunks(&self, sender: RotSender) -> Vec<RotChunk> {
        let mut chunks = Vec::new();
        let mut chunk = RotChunk::default();
        let most_rows = self.spec().ot.chunk_rows();
        let (mut rows, mut pad_bytes) = (0_u64, 0_u64);
        for run in self.rot_runs().filter(|run| run.sender == sender) {
            chunk.runs.push(*run);
            rows = rows.saturating_add(run.rows());
            pad_bytes = pad_bytes.saturating_add(run.pad_bytes());
            if rows >= most_rows || pad_bytes >= CHUNK_PAD_BYTES {
                chunks.push(std::mem::take(&mut chunk));
                (rows, pad_bytes) = (0, 0);
            }
        }
        if !chunk.runs.is_empty() {
            chunks.push(chunk);
        }
        chunks
    }

    /// For every chunk of `sender`, with how many bytes of pads that wait to be taken, its own included, a
    /// party that has memory for `ahead_bytes` may make it. A step may need all that it takes before the
    /// chunk, as far as it holds that at once, and the chunk; so that much is always allowed.
    #[must_use]
    pub fn chunk_limits(&self, sender: RotSender, ahead_bytes: u64) -> Vec<u64> {
        let mut before = Vec::new();
        for (index, traffic) in self.layer_traffic().iter().enumerate() {
            let (held, mut sum) = (self.held_pad_bytes(index), 0_u64);
            for run in traffic.rots.iter().filter(|run| run.sender == sender) {
                before.push(sum.min(held));
                sum = sum.saturating_add(run.pad_bytes());
            }
        }
        let mut first = 0;
        let limit = |chunk: &RotChunk| {
            let before = before.get(first).copied().unwrap_or(0);
            first += chunk.runs.len();
            ahead_bytes.max(chunk.pad_bytes().saturating_add(before))
        };
        self.rot_chunks(sender).iter().map(limit).collect()
    }

    /// Payload bytes of the message of every chunk of `sender`, as long as no rows are left over.
    #[must_use]
    pub fn chunk_messages(&self, sender: RotSender) -> Vec<u64> {
        let chunks = self.rot_chunks(sender);
        chunks.iter().map(|chunk| self.spec().ot.message(chunk.rows(), &mut 0)).collect()
    }

    /// Most bytes on the wire, up and down, that can wait for their receiver on the lane of `sender`.
    #[must_use]
    pub fn lane_window_bytes(&self, sender: RotSender) -> (u64, u64) {
        let messages: Vec<u64> = self.chunk_messages(sender).into_iter().map(wire_bytes).collect();
        // Inferences follow one another.
        let several = messages.iter().copied().cycle().take(messages.len() + LANE_WINDOW - 1);
        let several: Vec<u64> = several.collect();
        let sums = several.windows(LANE_WINDOW);
        let sums = sums.map(|window| window.iter().fold(0, |sum: u64, &b| sum.saturating_add(b)));
        let acknowledgements = LANE_WINDOW as u64 * wire_bytes(0);
        self.ways(sender, sums.max().unwrap_or(0), acknowledgements)
    }

    /// Traffic of the lane of `sender` in a session of `inferences` inferences.
    pub(super) fn lane_cost(&self, sender: RotSender, inferences: u32) -> PartCost {
        let chunks: Vec<u64> = self.rot_chunks(sender).iter().map(RotChunk::rows).collect();
        let (mut led, mut stock) = (0, 0);
        for _ in 0..inferences {
            for &rows in &chunks {
                led += wire_bytes(self.spec().ot.message(rows, &mut stock));
            }
        }
        let messages = chunks.len() as u64 * u64::from(inferences);
        let acknowledged = messages.saturating_sub(LANE_WINDOW as u64);
        let (bytes_up, bytes_down) = self.ways(sender, led, acknowledged * wire_bytes(0));
        // A message waits for the acknowledgement of another.
        let flights = messages.checked_sub(1).map_or(0, |last| 1 + 2 * (last / LANE_WINDOW as u64));
        PartCost { bytes_up, bytes_down, flights, rots: RotCounts::default() }
    }

    /// Up and down, of what the leader of a lane sends and what the other does.
    fn ways(&self, sender: RotSender, leader: u64, other: u64) -> (u64, u64) {
        match self.spec().ot.leader(sender) {
            RotSender::Client => (leader, other),
            RotSender::Server => (other, leader),
        }
    }
}
