//! What the search minimises: bytes of a session, with computation at a nominal price.
//!
//! The price of a way to compute a layer is its bytes on the wire in both directions, the bytes of
//! the correlations that it consumes, and the time of both parties' operations, at the speed of
//! a link of 16 Mbit/s unless another one is given. Keys and the transforms of weights count once a
//! session and are divided among its inferences.

use heq_ir::layout::{LayoutCounts, PartyOperations};
use heq_ir::params::RlweParams;

/// Bytes that a link of 16 Mbit/s moves in a microsecond.
pub const BYTES_PER_MICROSECOND: f64 = 2.0;

/// Nanoseconds of a transform over `N log2 N`: 2.8 us at N = 2048, as `cargo bench -p heq-he` found it
/// on a core of 2.3 GHz with AVX-512.
const TRANSFORM_NS: f64 = 0.124;

/// Nanoseconds a coefficient of a product of a ciphertext and a weight polynomial: two passes.
const PRODUCT_NS: f64 = 0.5;

/// Nanoseconds a coefficient and digit of a key switch beside its transforms and products.
const DIGIT_NS: f64 = 5.0;

/// What a plan is chosen for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// Inferences of a session, among which what is sent once is divided.
    pub inferences: u32,
    /// Bytes of the correlations of one random OT.
    pub ot_bytes: f64,
    /// Bytes that a microsecond of computation is worth.
    pub bytes_per_microsecond: f64,
}

impl Objective {
    /// One of `inferences` inferences a session over an OT extension with fields of `field_bits`.
    #[must_use]
    pub fn new(inferences: u32, field_bits: u32, bytes_per_microsecond: f64) -> Self {
        let columns = 128 / field_bits.clamp(1, 128);
        let ot_bytes = f64::from(columns - 1) / 8.0;
        Self { inferences: inferences.max(1), ot_bytes, bytes_per_microsecond }
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
