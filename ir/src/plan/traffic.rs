//! The exact traffic of a plan: set-up, correlations and every step.

pub use crate::protocol::open::open_bytes;

use super::{LayerKind, LinearStep, Plan};
use crate::params::security::COMPUTATIONAL_SECURITY_BITS;
use crate::protocol::count::CountMachine;
use crate::protocol::max_pool::max_over_positions;
use crate::protocol::open;
use crate::protocol::requantize::requantize;
use crate::protocol::{packed_bytes, plane_bytes};
use crate::secure::Domain;
use crate::traffic::{RotCounts, Step, Traffic};

/// Bytes of the first message of either party: protocol magic and version, role, plan digest, nonce
/// and number of inferences.
pub const HELLO_BYTES: usize = 8 + 4 + 4 + 32 + 32 + 4;

/// Bytes of a point of the base OT's group.
const POINT_BYTES: u64 = 32;

/// Bytes of a 128-bit block.
const BLOCK_BYTES: u64 = 16;

/// Columns of the OT extension matrix.
const COLUMNS: u64 = COMPUTATIONAL_SECURITY_BITS as u64;

impl Plan {
    /// Set-up of a session: hello, base OT and tree both ways; for every parameter set the key that
    /// encrypts zeros, and one for every Galois element of merging.
    #[must_use]
    pub fn setup_traffic(&self) -> Traffic {
        let exchange = |bytes| Step::Exchange { up: bytes, down: bytes };
        let mut steps = vec![
            exchange(HELLO_BYTES as u64),
            exchange(POINT_BYTES),
            exchange(COLUMNS * POINT_BYTES),
            exchange(2 * BLOCK_BYTES * (COLUMNS - COLUMNS / self.field_bits())),
        ];
        for (set, params) in self.rlwe().iter().enumerate() {
            let galois_keys = self.galois_spacings(set).len() as u64;
            steps.push(Step::Up { count: 1, bytes: params.polynomial_bytes(0) });
            steps.push(Step::Up { count: galois_keys, bytes: params.galois_key_bytes() });
        }
        Traffic::new(steps, RotCounts::default())
    }

    /// Random OTs that one inference consumes.
    #[must_use]
    pub fn rots(&self) -> RotCounts {
        let mut rots = RotCounts::default();
        self.layer_traffic().iter().for_each(|traffic| rots += traffic.rots);
        rots
    }

    /// OT extension for one inference, one batch each way.
    #[must_use]
    pub fn correlation_traffic(&self) -> Traffic {
        let rots = self.rots();
        let corrections = COLUMNS / self.field_bits() - 1;
        let bytes = |rots: u64| corrections * rots.div_ceil(8);
        let step = Step::Exchange { up: bytes(rots.server_sends), down: bytes(rots.client_sends) };
        Traffic::new(vec![step], RotCounts::default())
    }

    /// Traffic of every step.
    #[must_use]
    pub fn layer_traffic(&self) -> &[Traffic] {
        &self.traffic
    }

    /// Counts the traffic of step `index`; empty if there is no such step.
    pub(super) fn count_layer(&self, index: usize) -> Traffic {
        let (Some(layer), Some(operand)) =
            (self.layers().get(index), self.operands(index).first().copied())
        else {
            return Traffic::default();
        };
        let elements = operand.shape.len();
        match &layer.kind {
            LayerKind::Linear { .. } => self.linear_traffic(index),
            LayerKind::Requantize { widths, form, .. } => {
                let mut machine = CountMachine::new(elements);
                let Ok(_) = requantize(&mut machine, widths, form);
                machine.finish()
            }
            LayerKind::MaxPool { window } => {
                // The client pools its own values by itself.
                let Domain::Boolean { bits, .. } = operand.domain else {
                    return Traffic::default();
                };
                let Some(output) = self.values().get(index + 1) else { return Traffic::default() };
                let mut machine = CountMachine::new(output.shape.len());
                let positions = window.kernel[0] * window.kernel[1];
                let value = vec![(); bits as usize];
                let Ok(_) = max_over_positions(&mut machine, vec![value; positions]);
                machine.finish()
            }
            LayerKind::ToArithmetic { bits } => {
                let Domain::Boolean { bits: planes, .. } = operand.domain else {
                    return Traffic::default();
                };
                let (up, down) = to_arithmetic_bytes(elements, planes, *bits);
                let rots = RotCounts {
                    server_sends: u64::from(planes) * elements as u64,
                    client_sends: 0,
                };
                Traffic::new(vec![Step::Exchange { up, down }], rots)
            }
            LayerKind::Table { widths, .. } => widths.traffic(elements),
            LayerKind::Combine(_)
            | LayerKind::View(_)
            | LayerKind::Reshape(_)
            | LayerKind::Concat
            | LayerKind::ToBoolean { .. } => Traffic::default(),
            LayerKind::Open => match operand.domain {
                Domain::Accumulator { acc_bits, guard_bits, .. } => {
                    open::traffic(elements, acc_bits, guard_bits)
                }
                Domain::Arithmetic { bits, .. } => open::traffic(elements, bits, 0),
                Domain::Boolean { bits, .. } => open::bits_traffic(elements, bits),
                Domain::Client { .. } | Domain::Revealed => Traffic::default(),
            },
        }
    }

    fn field_bits(&self) -> u64 {
        u64::from(self.spec().ot_field_bits)
    }

    fn linear_traffic(&self, index: usize) -> Traffic {
        let step = self.linear_step(index).zip(self.operands(index).first().copied());
        step.map_or(Traffic::default(), |(step, operand)| step.traffic(operand.domain))
    }

    /// The elements of the operand of linear step `index` whose shares the parties lift before they
    /// pack them, see [`LinearStep::lifted_elements`].
    #[must_use]
    pub fn lifted_elements(&self, index: usize) -> Option<Vec<usize>> {
        let operand = self.operands(index).first().copied()?;
        Some(self.linear_step(index)?.lifted_elements(operand.domain))
    }
}

impl LinearStep<'_> {
    /// The elements of an operand that lives as `operand` whose shares the parties lift before they
    /// pack them: none of the client's own, and none if coefficients hold one element.
    #[must_use]
    pub fn lifted_elements(&self, operand: Domain) -> Vec<usize> {
        let is_shared = matches!(operand, Domain::Arithmetic { .. });
        if is_shared { self.layout.lifted_elements() } else { Vec::new() }
    }

    /// Traffic of the step on an operand that lives as `operand`.
    #[must_use]
    pub fn traffic(&self, operand: Domain) -> Traffic {
        let counts = self.layout.counts();
        let (_, window) = self.layout.request_window();
        let request = self.params.coefficient_bytes(window, self.choice.request_drop_bits);
        let response = self.params.polynomial_bytes(self.choice.response_drop_bits);
        let lifted = self.lifted_elements(operand).len();
        let mut steps = Vec::new();
        if lifted > 0 {
            let op = self.op;
            let bits = op.plain_bits() - op.packing.field_bits();
            let (up, down) = (plane_bytes(lifted), packed_bytes(lifted, bits));
            steps.push(Step::Exchange { up, down });
        }
        steps.extend([
            Step::Up { count: counts.requests() as u64, bytes: request },
            Step::Down { count: counts.responses() as u64, bytes: response },
        ]);
        Traffic::new(steps, RotCounts { server_sends: lifted as u64, client_sends: 0 })
    }
}

/// Payload bytes up and down of turning `planes` planes into shares mod `2^bits`: a choice bit and a
/// correction of `bits - j - 1` bits an element for plane j.
#[must_use]
pub fn to_arithmetic_bytes(elements: usize, planes: u32, bits: u32) -> (u64, u64) {
    let corrections = (0..planes).map(|j| packed_bytes(elements, bits - j - 1)).sum();
    (u64::from(planes) * plane_bytes(elements), corrections)
}
