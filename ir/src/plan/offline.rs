//! A plan in two phases: what does not depend on the input beforehand, the rest when the input is there.
//!
//! The traffic and the storage of both, exactly. docs/protocols/offline.md has the protocol.

use super::cost::{PartCost, PlanCost};
use super::{HELLO_BYTES, Layer, LayerKind, Plan};
use crate::secure::{Domain, Packing};
use crate::traffic::{FlightClock, RotRun, RotSender, Step, Traffic, window_bytes};

/// Bytes of the client's messages that offer or take prepared inferences: kind, batch, first and end.
pub const OFFER_BYTES: usize = 4 + 32 + 8 + 8;

/// Bytes of the server's answer to an offer: first and end of what both parties hold.
pub const OFFER_ANSWER_BYTES: usize = 8 + 8;

/// Most batches that a client offers in a session.
pub const MAX_OFFERS: u32 = 4096;

/// Bytes of the header of a stored inference: magic, version, role, owner, batch, index.
pub const PREPARED_HEADER_BYTES: usize = 8 + 4 + 4 + 32 + 32 + 8;

/// Bytes of the nonce that follows.
pub const PREPARED_NONCE_BYTES: usize = 19;

/// Bytes of what is encrypted together, at most.
pub const PREPARED_SEGMENT_BYTES: usize = 1 << 18;

/// Bytes of the tag behind each segment.
pub const PREPARED_TAG_BYTES: usize = 16;

/// Bytes of the seed that a stored mask is expanded from.
pub const MASK_SEED_BYTES: usize = 32;

impl Plan {
    /// The linear steps that no mask can stand in for, by the names of their layers: several elements a
    /// coefficient leave no room for values that fill the ring.
    pub fn packed_layers(&self) -> impl Iterator<Item = &str> {
        let is_packed = |layer: &&Layer| matches!(&layer.kind, LayerKind::Linear { op, .. } if op.packing != Packing::None);
        self.layers().iter().filter(is_packed).map(|layer| layer.name.as_str())
    }

    /// Traffic of every step while an inference is prepared: linear steps alone, on an operand of the
    /// client's own.
    #[must_use]
    pub fn offline_traffic(&self) -> Vec<Traffic> {
        let of_step = |index| {
            let (step, operand) =
                (self.linear_step(index)?, self.operands(index).first().copied()?);
            // No element of the client's own values is lifted, whatever their range.
            let range = match operand.domain {
                Domain::Client { range } | Domain::Arithmetic { range, .. } => range,
                Domain::Accumulator { .. } | Domain::Boolean { .. } | Domain::Revealed => {
                    return None;
                }
            };
            Some(step.traffic(Domain::Client { range }))
        };
        (0..self.layers().len()).map(|index| of_step(index).unwrap_or_default()).collect()
    }

    /// Traffic of every step of a prepared inference: of a linear one the client's masked operand alone.
    /// Random OTs are there already.
    #[must_use]
    pub fn online_traffic(&self) -> Vec<Traffic> {
        let of_step = |(index, traffic): (usize, &Traffic)| match self.masked_bytes(index) {
            Some(bytes) => Traffic::new(vec![Step::Up { count: 1, bytes }], Vec::new()),
            None => Traffic::new(traffic.steps.clone(), Vec::new()),
        };
        self.layer_traffic().iter().enumerate().map(of_step).collect()
    }

    /// Payload bytes of the client's masked operand of step `index`, if it is linear.
    #[must_use]
    pub fn masked_bytes(&self, index: usize) -> Option<u64> {
        let (step, operand) = (self.linear_step(index)?, self.operands(index).first().copied()?);
        Some(packed_bytes(operand.shape.len(), step.op.acc_bits))
    }

    /// Payload bytes of what either party, client and server, stores of the linear step `index`.
    fn stored_layer_bytes(&self, index: usize) -> Option<[u64; 2]> {
        let step = self.linear_step(index)?;
        let outputs = step.op.geometry.output()?.len();
        let shares = packed_bytes(outputs, step.op.acc_bits + step.op.guard_bits);
        Some([MASK_SEED_BYTES as u64 + shares, shares])
    }

    /// Bytes of the file of one prepared inference, of client and server.
    #[must_use]
    pub fn prepared_bytes(&self) -> [u64; 2] {
        self.prepared_contents().map(|bytes| {
            let segments = bytes.div_ceil(PREPARED_SEGMENT_BYTES as u64).max(1);
            let overhead = (PREPARED_HEADER_BYTES + PREPARED_NONCE_BYTES) as u64;
            bytes.saturating_add(overhead + segments * PREPARED_TAG_BYTES as u64)
        })
    }

    /// Bytes that client and server store of one prepared inference, before encryption.
    #[must_use]
    pub fn prepared_contents(&self) -> [u64; 2] {
        let mut bytes = [0_u64; 2];
        let mut add = |of: [u64; 2]| {
            bytes.iter_mut().zip(of).for_each(|(sum, more)| *sum = sum.saturating_add(more));
        };
        (0..self.layers().len())
            .filter_map(|index| self.stored_layer_bytes(index))
            .for_each(&mut add);
        for run in self.rot_runs() {
            let [sends, receives] = stored_run_bytes(run);
            add(match run.sender {
                RotSender::Client => [sends, receives],
                RotSender::Server => [receives, sends],
            });
        }
        bytes
    }

    /// Set-up of a session that runs prepared inferences: the hello, an offer for every batch, their answers,
    /// and what is taken.
    #[must_use]
    pub fn online_setup_traffic(&self, offers: u32) -> Traffic {
        let hello = HELLO_BYTES as u64;
        let (up, down) = (OFFER_BYTES as u64, OFFER_ANSWER_BYTES as u64);
        let count = u64::from(offers);
        let steps = vec![
            Step::Up { count: 1, bytes: hello },
            Step::Down { count: 1, bytes: hello },
            Step::Up { count, bytes: up },
            Step::Down { count, bytes: down },
            Step::Up { count: 1, bytes: up },
        ];
        Traffic::new(steps, Vec::new())
    }

    /// Counts the traffic of a session that prepares `inferences` inferences.
    #[must_use]
    pub fn offline_cost(&self, inferences: u32) -> PlanCost {
        let mut cost = session_cost(&self.setup_traffic(), &self.offline_traffic(), inferences);
        cost.correlations = self.correlations_cost(inferences);
        cost
    }

    /// Counts the traffic of a session that runs `inferences` prepared inferences, of `offers` batches that the
    /// client holds.
    #[must_use]
    pub fn online_cost(&self, inferences: u32, offers: u32) -> PlanCost {
        session_cost(&self.online_setup_traffic(offers), &self.online_traffic(), inferences)
    }

    /// Most bytes on the wire, up and down, that can wait for their receiver in the set-up and the
    /// steps of any session with this plan.
    #[must_use]
    pub fn window_bytes(&self) -> (u64, u64) {
        let whole = of_session(&self.setup_traffic(), self.layer_traffic());
        let offline = of_session(&self.setup_traffic(), &self.offline_traffic());
        let online = of_session(&self.online_setup_traffic(MAX_OFFERS), &self.online_traffic());
        let most = |a: (u64, u64), b: (u64, u64)| (a.0.max(b.0), a.1.max(b.1));
        most(whole, most(offline, online))
    }
}

/// Counts a session of `inferences` inferences, one after another.
pub(super) fn session_cost(setup: &Traffic, layers: &[Traffic], inferences: u32) -> PlanCost {
    let mut clock = FlightClock::default();
    let mut cost = PlanCost {
        setup: PartCost::of(setup, &mut clock),
        correlations: PartCost::default(),
        layers: vec![PartCost::default(); layers.len()],
    };
    for _ in 0..inferences {
        for (sum, traffic) in cost.layers.iter_mut().zip(layers) {
            sum.add(&PartCost::of(traffic, &mut clock));
        }
    }
    cost
}

/// Windows of a session. Inferences follow one another, so the end of one meets the beginning of the next.
fn of_session(setup: &Traffic, layers: &[Traffic]) -> (u64, u64) {
    let parts = [setup].into_iter().chain(layers).chain(layers);
    window_bytes(parts.flat_map(|traffic| &traffic.steps))
}

/// Bytes of `count` words of `bits` bits, without gaps.
fn packed_bytes(count: usize, bits: u32) -> u64 {
    (count as u64).saturating_mul(u64::from(bits)).div_ceil(8)
}

/// Bytes that the sender and the receiver of a run store of it.
fn stored_run_bytes(run: &RotRun) -> [u64; 2] {
    let choices = run.planes.saturating_mul(run.elements.div_ceil(64) * 8);
    [run.pad_bytes(), (run.pad_bytes() / 2).saturating_add(choices)]
}
