//! What a party holds through a whole session: program, tables, keys, weights, state of the OT extension.

use super::linear::{polynomial, row_bytes};
use super::{Both, MemorySituation, PROGRAM_BYTES, words};
use crate::params::RlweParams;
use crate::plan::{LayerKind, OtExtension, Plan};
use crate::traffic::{RotRun, RotSender};

/// Buffers of a connection, one each way: `runtime/net/src/tcp.rs`.
const CONNECTION_BYTES: u64 = 2 * 65_536;

/// Tables of a prime: four words a coefficient, the factors of both transforms with their quotients.
const TABLE_WORDS: u64 = 4;

/// Bytes of an automorphism's tables a coefficient: two indices and a sign.
const AUTOMORPHISM_BYTES: u64 = 4 + 4 + 8;

/// Bytes of a folded weight.
const FOLDED_BYTES: u64 = 4;

/// Bytes of a weight as it is read.
const WEIGHT_BYTES: u64 = 4;

impl Plan {
    /// What each party holds through a session, without random OTs.
    pub(super) fn session_memory(&self, situation: &MemorySituation) -> Both {
        let both = PROGRAM_BYTES
            .saturating_add(CONNECTION_BYTES)
            .saturating_add(self.spec().ot.state_bytes())
            .saturating_add(self.chunk_memory())
            .saturating_add(self.plan_memory());
        let mut memory = Both { client: both, server: both };
        for (set, params) in self.rlwe().iter().enumerate() {
            let tables = extended(params).saturating_mul(TABLE_WORDS);
            memory = memory.add(Both::same(tables));
            let galois = galois_key(params).saturating_mul(self.galois_spacings(set).len() as u64);
            memory = memory.add(Both {
                client: extended(params),
                server: polynomial(params).saturating_mul(2).saturating_add(galois),
            });
        }
        let input = words(self.input_len());
        memory.add(Both { client: input, server: self.weight_memory(situation) })
    }

    /// What each party holds before a session.
    pub(super) fn starting_memory(&self, situation: &MemorySituation) -> Both {
        let both = self.tables_memory();
        let read = self.linear_steps().fold(0_u64, |sum, (_, step)| {
            let geometry = &step.op.geometry;
            let weights = geometry.weight_count().unwrap_or(usize::MAX) as u64;
            let of_kernels = words(geometry.out_channels).saturating_mul(2);
            sum.saturating_add(weights.saturating_mul(WEIGHT_BYTES)).saturating_add(of_kernels)
        });
        // The sample as the file has it, as reals and as integers.
        let input = words(self.input_len()).saturating_mul(3);
        let server = self.weight_memory(situation).saturating_add(read);
        Both::same(both).add(Both { client: input, server })
    }

    /// What sessions of one server share: program, tables, weights and the plan.
    #[must_use]
    pub fn shared_memory(&self, situation: &MemorySituation) -> u64 {
        self.tables_memory().saturating_add(self.weight_memory(situation))
    }

    /// The program, the plan and the tables of its rings.
    fn tables_memory(&self) -> u64 {
        let tables = self.rlwe().iter().fold(0, |sum: u64, params| {
            sum.saturating_add(extended(params).saturating_mul(TABLE_WORDS))
        });
        PROGRAM_BYTES.saturating_add(tables).saturating_add(self.plan_memory())
    }

    /// The server's weights: folded ones, rows of transformed ones as far as there is memory, biases,
    /// tables.
    fn weight_memory(&self, situation: &MemorySituation) -> u64 {
        let (mut memory, mut cache) = (0_u64, situation.weight_cache_bytes);
        for (_, step) in self.linear_steps() {
            let geometry = &step.op.geometry;
            let weights = geometry.weight_count().unwrap_or(usize::MAX) as u64;
            let counts = step.layout.counts();
            let row = row_bytes(step.params, counts.input_tiles).max(1);
            let rows = (counts.rows as u64).min(cache / row).saturating_mul(row);
            cache = cache.saturating_sub(rows);
            memory = memory
                .saturating_add(weights.saturating_mul(FOLDED_BYTES))
                .saturating_add(words(geometry.out_channels))
                .saturating_add(rows);
        }
        for (layer, value) in self.layers().iter().zip(self.values().iter().skip(1)) {
            if let LayerKind::Table { widths, .. } = &layer.kind {
                // Each channel may have a table of its own.
                let entries = widths.entries().saturating_mul(value.shape.channels);
                memory = memory.saturating_add(entries as u64);
            }
        }
        memory
    }

    /// The plan and what follows from it: steps, and runs of random OTs in traffic, chunks and shapes.
    fn plan_memory(&self) -> u64 {
        let runs = (3 * size_of::<RotRun>() as u64).saturating_mul(self.rot_runs().count() as u64);
        let steps = self.layers().len() as u64;
        // Names beside the steps themselves.
        runs.saturating_add(steps.saturating_mul(1024))
    }

    /// Messages of making the largest chunk of either sender, without the random OTs themselves. Of silent OT
    /// a message is held as blocks, as bytes and, by its sender, as a frame.
    fn chunk_memory(&self) -> u64 {
        let [sent, received] = match self.spec().ot {
            OtExtension::SoftSpoken { .. } => [2, 1],
            OtExtension::Silent { .. } => [3, 2],
        };
        let largest =
            RotSender::ALL.map(|sender| self.chunk_messages(sender).into_iter().max().unwrap_or(0));
        // Either party may lead the lane of the larger.
        let [larger, smaller] = [largest[0].max(largest[1]), largest[0].min(largest[1])];
        larger.saturating_mul(sent).saturating_add(smaller.saturating_mul(received))
    }
}

/// Bytes of a polynomial mod `q*P`.
fn extended(params: &RlweParams) -> u64 {
    let special = if params.key_switch().is_some() { words(params.ring_degree()) } else { 0 };
    polynomial(params).saturating_add(special)
}

/// What the server keeps of a Galois key: the parts of all digits, and the tables of its automorphism.
fn galois_key(params: &RlweParams) -> u64 {
    let digits = params.key_switch().map_or(0, |key_switch| u64::from(key_switch.digits));
    let keys = extended(params).saturating_mul(2).saturating_mul(digits);
    let tables = (params.ring_degree() as u64).saturating_mul(AUTOMORPHISM_BYTES);
    // Of the division `-1/P` for every limb.
    keys.saturating_add(tables).saturating_add(extended(params)).saturating_add(polynomial(params))
}
