//! The predicted cost of a plan, step by step: what reports show and runs are compared with.

use super::offline::session_cost;
use super::{LayerKind, LinearStep, Plan};
use crate::layout::PartyOperations;
use crate::protocol::adder::AdderForm;
use crate::protocol::max_pool::ComparisonForm;
use crate::protocol::to_arithmetic::ToArithmeticForm;
use crate::traffic::{FlightClock, RotCounts, RotSender, Traffic};

/// Exact traffic of one part of a run. Up is client to server; bytes are on the wire, headers
/// included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartCost {
    /// Bytes that the client sends.
    pub bytes_up: u64,
    /// Bytes that the server sends.
    pub bytes_down: u64,
    /// Sequential message steps.
    pub flights: u64,
    /// Random OTs consumed.
    pub rots: RotCounts,
}

impl PartCost {
    /// Bytes in both directions.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes_up + self.bytes_down
    }

    /// Adds another part.
    pub fn add(&mut self, other: &Self) {
        self.bytes_up += other.bytes_up;
        self.bytes_down += other.bytes_down;
        self.flights += other.flights;
        self.rots += other.rots;
    }

    pub(super) fn of(traffic: &Traffic, clock: &mut FlightClock) -> Self {
        let (bytes_up, bytes_down) = traffic.wire_bytes();
        Self { bytes_up, bytes_down, flights: clock.advance(traffic), rots: traffic.rot_counts() }
    }
}

/// Operations of one linear step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinearOperations {
    /// The client's.
    pub client: PartyOperations,
    /// The server's.
    pub server: PartyOperations,
}

/// The predicted cost of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanCost {
    /// Handshake, base OT, keys: once a session.
    pub setup: PartCost,
    /// OT extension, over all inferences; its flights are those of the longer of its lanes.
    pub correlations: PartCost,
    /// One entry a step, over all inferences.
    pub layers: Vec<PartCost>,
}

impl PlanCost {
    /// Sum over all steps.
    #[must_use]
    pub fn online(&self) -> PartCost {
        let mut total = PartCost::default();
        self.layers.iter().for_each(|layer| total.add(layer));
        total
    }
}

impl Plan {
    /// Counts the traffic of a session with `inferences` inferences, one after another.
    ///
    /// Bytes and random OTs of steps are multiples of those of one inference; flights can be fewer,
    /// since an inference overlaps with the end of the one before.
    #[must_use]
    pub fn cost(&self, inferences: u32) -> PlanCost {
        let mut cost = session_cost(&self.setup_traffic(), self.layer_traffic(), inferences);
        cost.correlations = self.correlations_cost(inferences);
        cost
    }

    /// What making the random OTs of `inferences` inferences takes.
    pub(super) fn correlations_cost(&self, inferences: u32) -> PartCost {
        let mut cost = PartCost::default();
        for sender in RotSender::ALL {
            let lane = self.lane_cost(sender, inferences);
            let flights = cost.flights.max(lane.flights);
            cost.add(&lane);
            cost.flights = flights;
        }
        cost
    }

    /// Operations of step `index`, if it is linear.
    #[must_use]
    pub fn linear_operations(&self, index: usize) -> Option<LinearOperations> {
        Some(self.linear_step(index)?.operations())
    }
}

impl LinearStep<'_> {
    /// Operations of the step.
    #[must_use]
    pub fn operations(&self) -> LinearOperations {
        let counts = self.layout.counts();
        LinearOperations {
            client: counts.client_operations(self.params),
            server: counts.server_operations(self.params),
        }
    }
}

impl LayerKind {
    /// Name of the kernel that executes the step.
    #[must_use]
    pub fn kernel(&self) -> &'static str {
        match self {
            Self::Linear { op, .. } if op.geometry.input.height * op.geometry.input.width == 1 => {
                "MatmulCoefficient"
            }
            Self::Linear { .. } => "ConvCoefficient",
            Self::Requantize { form, .. } => match (form.sums, form.range) {
                (AdderForm::Ripple, AdderForm::Ripple) => "RequantizeRipple",
                _ => "RequantizeSelect",
            },
            Self::MaxPool { form: ComparisonForm::Ripple, .. } => "MaxPoolRipple",
            Self::MaxPool { form: ComparisonForm::Tree, .. } => "MaxPoolTree",
            Self::ToArithmetic { form: ToArithmeticForm::Direct, .. } => "BitsToArithmetic",
            Self::ToArithmetic { form: ToArithmeticForm::Lifted(_), .. } => "BitsLifted",
            Self::Table { .. } => "TableLookup",
            Self::Combine(_)
            | Self::View(_)
            | Self::Reshape(_)
            | Self::Concat { .. }
            | Self::ToBoolean { .. } => "Local",
            Self::Open => "OpenToClient",
            Self::Top { .. } => "TopMerge",
        }
    }
}
