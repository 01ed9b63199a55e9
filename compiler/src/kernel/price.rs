//! What the search minimises: bytes of a session, with time at a nominal price.
//!
//! The price of a way to compute a layer is its bytes on the wire in both directions, the bytes of
//! the correlations that it consumes, and the time of both parties' operations and of its flights, at
//! the speed of a link of 16 Mbit/s unless another one is given. Keys and the transforms of weights
//! count once a session and are divided among its inferences.

use heq_ir::layout::{LayoutCounts, PartyOperations};
use heq_ir::params::RlweParams;
use heq_ir::plan::OtExtension;
use heq_ir::traffic::{FlightClock, RotCounts, RotRun, Traffic};

/// Bytes that a link of 16 Mbit/s moves in a microsecond.
pub const BYTES_PER_MICROSECOND: f64 = 2.0;

/// Nanoseconds of a transform over `N log2 N`: 2.8 us at N = 2048, as `cargo bench -p heq-he` found it
/// on a core of 2.3 GHz with AVX-512.
const TRANSFORM_NS: f64 = 0.124;

/// Nanoseconds a coefficient of a product of a ciphertext and a weight polynomial: two passes.
const PRODUCT_NS: f64 = 0.5;

/// Nanoseconds a coefficient and digit of a key switch beside its transforms and products.
const DIGIT_NS: f64 = 5.0;

/// Microseconds of a flight: half a round trip between neighbouring cities.
pub const FLIGHT_MICROSECONDS: f64 = 2000.0;

/// Nanoseconds of both parties for a row of an OT extension, hashed.
fn row_ns(ot: OtExtension) -> f64 {
    match ot {
        OtExtension::SoftSpoken { field_bits: 1 } => 13.0,
        OtExtension::SoftSpoken { field_bits: 2 } => 12.0,
        OtExtension::SoftSpoken { field_bits: 4 } => 15.0,
        OtExtension::SoftSpoken { .. } => 62.0,
        OtExtension::Silent { .. } => 40.0,
    }
}

/// What a plan is chosen for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// Inferences of a session, among which what is sent once is divided.
    pub inferences: u32,
    /// Bytes that one random OT is worth: of its messages, and for the computation of both parties.
    pub ot_bytes: f64,
    /// Bytes that a microsecond is worth.
    pub bytes_per_microsecond: f64,
    /// Microseconds that a flight takes.
    pub flight_microseconds: f64,
}

impl Objective {
    /// One of `inferences` inferences a session whose random OTs are made by `ot`.
    #[must_use]
    pub fn new(inferences: u32, ot: OtExtension, bytes_per_microsecond: f64) -> Self {
        let ot_bytes = ot.bytes_per_row() + row_ns(ot) / 1000.0 * bytes_per_microsecond;
        let flight_microseconds = FLIGHT_MICROSECONDS;
        Self { inferences: inferences.max(1), ot_bytes, bytes_per_microsecond, flight_microseconds }
    }

    /// Price of interactive steps and of the random OTs that they take, in bytes.
    pub(crate) fn traffic(&self, traffic: &Traffic) -> f64 {
        let (up, down) = traffic.wire_bytes();
        let rows = RotCounts::sum(&traffic.rots, RotRun::rows).total() as f64;
        let microseconds =
            FlightClock::default().advance(traffic) as f64 * self.flight_microseconds;
        (up + down) as f64 + rows * self.ot_bytes + microseconds * self.bytes_per_microsecond
    }

    /// Price of making random OTs that take `rows` rows an inference by `ot`, in bytes an inference:
    /// messages of set-up and exchanges, and computation.
    pub(crate) fn extension(&self, ot: OtExtension, rows: RotCounts) -> f64 {
        let of_session = |rows: u64| rows.saturating_mul(self.inferences.into());
        let rows = RotCounts {
            server_sends: of_session(rows.server_sends),
            client_sends: of_session(rows.client_sends),
        };
        let step = ot.exchange(rows, &mut RotCounts::default());
        let (up, down) = Traffic::new(vec![step], Vec::new()).payload_bytes();
        let setup: u64 = ot.setup_bytes().iter().sum();
        let made = ot.made_rows(rows.server_sends) + ot.made_rows(rows.client_sends);
        let microseconds = made as f64 * row_ns(ot) / 1000.0;
        let bytes = (up + down + 2 * setup) as f64;
        self.share(bytes + microseconds * self.bytes_per_microsecond)
    }

    /// The share of one inference in what a session pays once.
    pub(crate) fn share(&self, once: f64) -> f64 {
        once / f64::from(self.inferences)
    }

    /// Price of the operations of both parties for one layer, in bytes.
    pub(crate) fn operations(&self, counts: &LayoutCounts, params: &RlweParams) -> f64 {
        let mut operations = counts.client_operations(params);
        operations += counts.server_operations(params);
        let PartyOperations { transforms, weight_transforms, products, key_switches } = operations;
        let n = params.ring_degree() as f64;
        let transforms = transforms as f64 + self.share(weight_transforms as f64);
        let digits = params.key_switch().map_or(0, |key_switch| key_switch.digits);
        let of_switch = f64::from(digits) * (PRODUCT_NS * (params.limbs() + 1) as f64 + DIGIT_NS);
        let nanoseconds = n
            * (TRANSFORM_NS * n.log2() * transforms
                + PRODUCT_NS * products as f64
                + of_switch * key_switches as f64);
        nanoseconds / 1000.0 * self.bytes_per_microsecond
    }
}
