//! Candidates of a linear layer under coefficient packing: tiles and parameters.
//!
//! For every ring degree and tile the cheapest modulus and dropped bits that keep the noise within
//! its window are found; all candidates are exact in bytes.

use super::conv_tiles::Tiles;
use super::parameters::Choices;
use heq_ir::layout::{ConvTile, LayoutCounts};
use heq_ir::params::{RING_DEGREES, RlweSpec};
use heq_ir::secure::LinearOp;

/// One way to compute a linear layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The tile.
    pub tile: ConvTile,
    /// Ring degree and modulus.
    pub rlwe: RlweSpec,
    /// Low bits dropped from every request coefficient.
    pub request_drop_bits: u32,
    /// Low bits dropped from every response coefficient.
    pub response_drop_bits: u32,
    /// The bound on the weights' squared norm that the noise rests on.
    pub weight_norm_squared_log2: u32,
    /// Bytes on the wire in both directions.
    pub bytes: u64,
    /// Numbers of polynomials.
    pub counts: LayoutCounts,
}

/// Every tile of `op` that no other beats, with its cheapest parameters; `margin` is what the error
/// budget asks for.
///
/// Empty if no parameters satisfy the security table and the margin.
#[must_use]
pub fn candidates(op: &LinearOp, kernel_norms_squared: &[f64], margin: f64) -> Vec<Candidate> {
    let mut choices = Choices::new(op.acc_bits + op.guard_bits, margin);
    let mut tiles = Tiles::new(op.geometry, kernel_norms_squared);
    let mut found = Vec::new();
    for ring_degree in RING_DEGREES {
        for placed in tiles.of_ring(ring_degree) {
            let weight_norm_squared_log2 = ceil_log2(placed.norm_squared);
            let counts = placed.layout.counts();
            let (requests, responses) = (counts.requests(), counts.responses());
            let choice =
                choices.cheapest(ring_degree, weight_norm_squared_log2, requests, responses);
            found.extend(choice.map(|choice| Candidate {
                tile: placed.tile,
                rlwe: choice.params.spec(),
                request_drop_bits: choice.request_drop_bits,
                response_drop_bits: choice.response_drop_bits,
                weight_norm_squared_log2,
                bytes: choice.bytes(requests, responses),
                counts,
            }));
        }
    }
    found
}

/// Smallest `e` with `value <= 2^e`.
pub(super) fn ceil_log2(value: f64) -> u32 {
    (0..=127).find(|&e| value <= f64::from(e).exp2()).unwrap_or(127)
}

#[cfg(test)]
mod tests {
    use super::*;
    use heq_ir::geometry::ConvGeometry;
    use heq_ir::params::RlweParams;
    use heq_ir::params::noise::{NoiseModel, required_margin};

    #[test]
    fn every_candidate_keeps_its_margin_and_counts_its_bytes() {
        let op = LinearOp {
            geometry: ConvGeometry::fully_connected(400, 120),
            weight_bits: 4,
            multiplier_bits: 7,
            acc_bits: 20,
            guard_bits: 1,
        };
        let margin = required_margin(10_000, 40);
        let norms = vec![4e7; 120];
        let found = candidates(&op, &norms, margin);
        assert!(found.len() > 10);
        for candidate in &found {
            let params = RlweParams::check(candidate.rlwe).unwrap();
            let model = NoiseModel {
                weight_norm_squared: 4e7 * candidate.tile.out_channels as f64,
                request_drop_bits: candidate.request_drop_bits,
                response_drop_bits: candidate.response_drop_bits,
            };
            assert!(model.margin(&params, 21) >= margin, "{candidate:?}");
        }
        let best = found.iter().min_by_key(|candidate| candidate.bytes).unwrap();
        assert!(best.tile.in_channels < 400, "cutting the inputs saves bytes here");
    }
}
