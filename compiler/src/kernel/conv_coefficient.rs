//! Candidates of a linear layer under coefficient packing: tiles and parameters.
//!
//! For every ring degree and tile the cheapest modulus and dropped bits that keep the noise within
//! its window are found; all candidates are exact in bytes.

use heq_ir::geometry::Chw;
use heq_ir::layout::{ConvLayout, ConvTile, LayoutCounts};
use heq_ir::params::noise::NoiseModel;
use heq_ir::params::security::max_modulus_bits;
use heq_ir::params::{MAX_MODULUS_BITS, MIN_MODULUS_BITS, RING_DEGREES, RlweParams, RlweSpec};
use heq_ir::plan::weights::largest_group_norm;
use heq_ir::secure::LinearOp;
use heq_ir::traffic::wire_bytes;

/// Most low bits that are worth dropping from a request: its error must stay near the encryption's.
const MAX_REQUEST_DROP_BITS: u32 = 12;

/// Extents that cut an output plane into at most this many rows or columns of tiles are tried.
const MAX_CUTS: usize = 32;

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

/// Every tile of `op` with its cheapest parameters; `margin` is what the error budget asks for.
///
/// Empty if no parameters satisfy the security table and the margin.
#[must_use]
pub fn candidates(op: &LinearOp, kernel_norms_squared: &[f64], margin: f64) -> Vec<Candidate> {
    let Some(output) = op.geometry.output() else { return Vec::new() };
    let moduli = Moduli::new();
    let mut found = Vec::new();
    for ring_degree in RING_DEGREES {
        for tile in tiles(op, output, ring_degree) {
            let Ok(layout) = ConvLayout::new(op.geometry, tile, ring_degree) else { continue };
            let norm = largest_group_norm(kernel_norms_squared, tile.out_channels);
            found.extend(cheapest(op, &moduli, ring_degree, &layout, tile, norm, margin));
        }
    }
    found
}

/// The parameter sets that can be used, narrowest modulus first.
struct Moduli(Vec<RlweParams>);

impl Moduli {
    fn new() -> Self {
        let sets = RING_DEGREES.iter().flat_map(|&ring_degree| {
            let widest = max_modulus_bits(ring_degree).unwrap_or(0).min(MAX_MODULUS_BITS);
            (MIN_MODULUS_BITS..=widest).filter_map(move |modulus_bits| {
                RlweParams::check(RlweSpec { ring_degree, modulus_bits }).ok()
            })
        });
        Self(sets.collect())
    }

    fn of_degree(&self, ring_degree: usize) -> impl Iterator<Item = &RlweParams> {
        self.0.iter().filter(move |params| params.ring_degree() == ring_degree)
    }
}

/// Sizes that cut `total` into n equal parts, n = 1, 2, ...; each size once.
fn cuts(total: usize) -> Vec<usize> {
    let mut sizes: Vec<usize> = (1..=total.min(MAX_CUTS)).map(|n| total.div_ceil(n)).collect();
    sizes.extend([1]);
    sizes.dedup();
    sizes
}

/// Tiles that fit the ring, with as many kernels as fit beside the input channels, evenly divided.
fn tiles(op: &LinearOp, output: Chw, ring_degree: usize) -> impl Iterator<Item = ConvTile> {
    let geometry = op.geometry;
    let extent = move |size: usize, axis: usize| {
        (size - 1) * geometry.window.strides[axis] + geometry.window.kernel[axis]
    };
    let (rows, columns) = (cuts(output.height), cuts(output.width));
    let channels = cuts(geometry.input.channels);
    rows.into_iter().flat_map(move |height| {
        let channels = channels.clone();
        columns.clone().into_iter().flat_map(move |width| {
            let area = extent(height, 0).saturating_mul(extent(width, 1));
            channels.clone().into_iter().filter_map(move |in_channels| {
                let most = (ring_degree / area.saturating_mul(in_channels).max(1))
                    .min(geometry.out_channels);
                if most == 0 {
                    return None;
                }
                let groups = geometry.out_channels.div_ceil(most);
                let out_channels = geometry.out_channels.div_ceil(groups);
                Some(ConvTile { output: [height, width], in_channels, out_channels })
            })
        })
    })
}

/// The cheapest parameters of one tile.
fn cheapest(
    op: &LinearOp,
    moduli: &Moduli,
    ring_degree: usize,
    layout: &ConvLayout,
    tile: ConvTile,
    norm_squared: f64,
    margin: f64,
) -> Option<Candidate> {
    let output_bits = op.acc_bits + op.guard_bits;
    let weight_norm_squared_log2 = ceil_log2(norm_squared);
    let counts = layout.counts();
    let mut best: Option<Candidate> = None;
    for params in moduli.of_degree(ring_degree) {
        if params.modulus_bits() <= output_bits {
            continue;
        }
        for request_drop_bits in 0..=MAX_REQUEST_DROP_BITS {
            let model = |response_drop_bits| NoiseModel {
                weight_norm_squared: f64::from(weight_norm_squared_log2).exp2(),
                request_drop_bits,
                response_drop_bits,
            };
            let holds = |drop: &u32| model(*drop).margin(params, output_bits) >= margin;
            let Some(response_drop_bits) = (0..params.modulus_bits()).take_while(holds).last()
            else {
                break;
            };
            let bytes = counts.requests() as u64
                * wire_bytes(params.polynomial_bytes(request_drop_bits))
                + counts.responses() as u64
                    * wire_bytes(params.polynomial_bytes(response_drop_bits));
            if best.is_none_or(|best| bytes < best.bytes) {
                best = Some(Candidate {
                    tile,
                    rlwe: params.spec(),
                    request_drop_bits,
                    response_drop_bits,
                    weight_norm_squared_log2,
                    bytes,
                    counts,
                });
            }
        }
    }
    best
}

/// Smallest `e` with `value <= 2^e`.
fn ceil_log2(value: f64) -> u32 {
    (0..=127).find(|&e| value <= f64::from(e).exp2()).unwrap_or(127)
}

#[cfg(test)]
mod tests {
    use super::*;
    use heq_ir::geometry::ConvGeometry;
    use heq_ir::params::noise::required_margin;

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
        assert!(found.len() > 20);
        for candidate in &found {
            let params = RlweParams::check(candidate.rlwe).unwrap();
            let model = NoiseModel {
                weight_norm_squared: 4e7 * candidate.tile.out_channels as f64,
                request_drop_bits: candidate.request_drop_bits,
                response_drop_bits: candidate.response_drop_bits,
            };
            assert!(model.margin(&params, 21) >= margin, "{candidate:?}");
        }
        let best = found.iter().map(|candidate| candidate.bytes).min().unwrap();
        let whole = found.iter().find(|c| c.tile.in_channels == 400).unwrap();
        assert!(best < whole.bytes, "cutting the inputs saves bytes here");
    }

    #[test]
    fn cuts_divide_evenly() {
        assert_eq!(cuts(10), [10, 5, 4, 3, 2, 1]);
        assert_eq!(cuts(1), [1]);
    }
}
