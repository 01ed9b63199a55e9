//! The exact traffic of a plan: set-up, correlations and every step.

pub use crate::protocol::open::open_bytes;

use super::{LayerKind, LinearStep, Plan};
use crate::params::security::COMPUTATIONAL_SECURITY_BITS;
use crate::protocol::count::CountMachine;
use crate::protocol::max_pool::max_over_positions;
use crate::protocol::open;
use crate::protocol::plane_bytes;
use crate::protocol::requantize::requantize;
use crate::protocol::to_arithmetic::bit_product_rots;
use crate::protocol::top::{self, TopSource};
use crate::secure::{Domain, SecureOp, ValueType};
use crate::traffic::{RotCounts, RotRun, Step, Traffic};

/// Bytes of the first message of either party: protocol magic and version, role and modes, plan digest, nonce,
/// number of inferences, binding to the connection, the server's verdict.
pub const HELLO_BYTES: usize = 8 + 4 + 4 + 32 + 32 + 4 + 32 + 4 + 4;

/// Bytes of a point of the base OT's group.
const POINT_BYTES: u64 = 32;

impl Plan {
    /// Set-up of a session: hello, base OT and OT extension both ways; for every parameter set the key
    /// that encrypts zeros, and one for every Galois element of merging.
    #[must_use]
    pub fn setup_traffic(&self) -> Traffic {
        let exchange = |bytes| Step::Exchange { up: bytes, down: bytes };
        let mut steps = vec![
            Step::Up { count: 1, bytes: HELLO_BYTES as u64 },
            Step::Down { count: 1, bytes: HELLO_BYTES as u64 },
            exchange(POINT_BYTES),
            exchange(u64::from(COMPUTATIONAL_SECURITY_BITS) * POINT_BYTES),
        ];
        steps.extend(self.spec().ot.setup_bytes().into_iter().map(exchange));
        for (set, params) in self.rlwe().iter().enumerate() {
            let galois_keys = self.galois_spacings(set).len() as u64;
            steps.push(Step::Up { count: 1, bytes: params.polynomial_bytes(0) });
            steps.push(Step::Up { count: galois_keys, bytes: params.galois_key_bytes() });
        }
        Traffic::new(steps, Vec::new())
    }

    /// Random OTs that one inference consumes, in the order in which it takes them.
    pub fn rot_runs(&self) -> impl Iterator<Item = &RotRun> {
        self.layer_traffic().iter().flat_map(|traffic| &traffic.rots)
    }

    /// Number of random OTs that one inference consumes.
    #[must_use]
    pub fn rots(&self) -> RotCounts {
        RotCounts::sum(self.rot_runs(), RotRun::count)
    }

    /// Most bytes of pads that step `index` holds and has not used: a table uses up every run before it
    /// takes the next, other steps may take all of theirs before the first message.
    #[must_use]
    pub fn held_pad_bytes(&self, index: usize) -> u64 {
        let Some(traffic) = self.layer_traffic().get(index) else { return 0 };
        match self.layers().get(index).map(|layer| &layer.kind) {
            Some(LayerKind::Table { .. }) => {
                traffic.rots.iter().map(RotRun::pad_bytes).max().unwrap_or(0)
            }
            _ => traffic.pad_bytes(),
        }
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
            &LayerKind::MaxPool { window, form } => {
                // The client pools its own values by itself.
                let Domain::Boolean { bits, .. } = operand.domain else {
                    return Traffic::default();
                };
                let Some(output) = self.values().get(index + 1) else { return Traffic::default() };
                let mut machine = CountMachine::new(output.shape.len());
                let positions = window.kernel[0] * window.kernel[1];
                let value = vec![(); bits as usize];
                let Ok(_) = max_over_positions(&mut machine, vec![value; positions], form);
                machine.finish()
            }
            LayerKind::ToArithmetic { bits, form } => match operand.domain {
                Domain::Boolean { bits: planes, .. } => form.traffic(elements, planes, *bits),
                Domain::Client { .. }
                | Domain::Arithmetic { .. }
                | Domain::Accumulator { .. }
                | Domain::Revealed => Traffic::default(),
            },
            LayerKind::Table { .. }
            | LayerKind::Combine(_)
            | LayerKind::View(_)
            | LayerKind::Reshape(_)
            | LayerKind::Concat { .. }
            | LayerKind::ToBoolean { .. }
            | LayerKind::Open
            | LayerKind::Top { .. } => fixed_traffic(&layer.kind.op(), operand),
        }
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

/// Traffic of a step that is the same however it is computed, on a first operand of type `operand`; none
/// of steps that there are several ways to compute.
#[must_use]
pub fn fixed_traffic(op: &SecureOp, operand: ValueType) -> Traffic {
    let elements = operand.shape.len();
    match (op, operand.domain) {
        (SecureOp::Table { widths, .. }, _) => widths.traffic(elements),
        (SecureOp::Open, Domain::Accumulator { acc_bits, guard_bits, .. }) => {
            open::traffic(elements, acc_bits, guard_bits)
        }
        (SecureOp::Open, Domain::Arithmetic { bits, .. }) => open::traffic(elements, bits, 0),
        (SecureOp::Open, Domain::Boolean { bits, .. }) => open::bits_traffic(elements, bits),
        (&SecureOp::Top { k }, domain) => {
            let source = match domain {
                Domain::Accumulator { acc_bits, guard_bits, .. } => {
                    TopSource::Words { acc_bits, guard_bits }
                }
                Domain::Arithmetic { bits, .. } => {
                    TopSource::Words { acc_bits: bits, guard_bits: 0 }
                }
                Domain::Boolean { bits, .. } => TopSource::Bits { bits },
                Domain::Client { .. } | Domain::Revealed => return Traffic::default(),
            };
            top::traffic(source, elements, k as usize)
        }
        _ => Traffic::default(),
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
        let (mut steps, mut rots) = (Vec::new(), Vec::new());
        if lifted > 0 {
            let op = self.op;
            let bits = op.plain_bits() - op.packing.field_bits();
            let (up, down) = (plane_bytes(lifted), u64::from(bits) * plane_bytes(lifted));
            steps.push(Step::Exchange { up, down });
            rots.push(bit_product_rots(lifted, bits));
        }
        steps.extend([
            Step::Up { count: counts.requests() as u64, bytes: request },
            Step::Down { count: counts.responses() as u64, bytes: response },
        ]);
        Traffic::new(steps, rots)
    }
}
