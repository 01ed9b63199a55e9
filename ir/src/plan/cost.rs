//! The predicted cost of a plan, step by step: what reports show and runs are compared with.

use super::{LayerKind, LinearStep, Plan};
use crate::layout::PartyOperations;
use crate::traffic::{FlightClock, RotCounts, Traffic};

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

    fn of(traffic: &Traffic, clock: &mut FlightClock) -> Self {
        let (bytes_up, bytes_down) = traffic.wire_bytes();
        Self { bytes_up, bytes_down, flights: clock.advance(traffic), rots: traffic.rots }
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
    /// OT extension, over all inferences.
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
    /// Bytes and random OTs are multiples of those of one inference; flights can be fewer, since an
    /// inference overlaps with the end of the one before.
    #[must_use]
    pub fn cost(&self, inferences: u32) -> PlanCost {
        let mut clock = FlightClock::default();
        let mut cost = PlanCost {
            setup: PartCost::of(&self.setup_traffic(), &mut clock),
            correlations: PartCost::default(),
            layers: vec![PartCost::default(); self.layers().len()],
        };
        let correlations = self.correlation_traffic();
        for _ in 0..inferences {
            cost.correlations.add(&PartCost::of(&correlations, &mut clock));
            for (sum, traffic) in cost.layers.iter_mut().zip(self.layer_traffic()) {
                sum.add(&PartCost::of(traffic, &mut clock));
            }
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
            Self::Requantize { .. } => "RequantizeRipple",
            Self::MaxPool { .. } => "MaxPoolTree",
            Self::ToArithmetic { .. } => "BitsToArithmetic",
            Self::Table { .. } => "TableLookup",
            Self::Combine(_)
            | Self::View(_)
            | Self::Reshape(_)
            | Self::Concat
            | Self::ToBoolean { .. } => "Local",
            Self::Open => "OpenToClient",
        }
    }
}
