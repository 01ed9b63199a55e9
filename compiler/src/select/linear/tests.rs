//! Bytes of the layer shapes that every benchmark uses, and packings that do what they are for.

use super::*;
use crate::select::options::{Objective, Restriction, SearchOptions};
use heq_ir::geometry::{Chw, ConvGeometry, Window};
use heq_ir::integer::IntRange;
use heq_ir::layout::ConvLayout;
use heq_ir::params::noise::{NoiseModel, required_margin};
use heq_ir::plan::OtExtension;
use heq_ir::secure::{Domain, LinearOp, Packing};

const OT: OtExtension = OtExtension::SoftSpoken { field_bits: 4 };

/// A layer with random weights, as wide as they need it, on values that the parties share.
struct Layer {
    op: LinearOp,
    operand: Domain,
    norms: Vec<f64>,
}

fn layer(
    [size, c, k, kernel, groups]: [usize; 5],
    weight_bits: u32,
    activation_bits: u32,
) -> Layer {
    let geometry = ConvGeometry {
        input: Chw::new(c, size, size),
        out_channels: k,
        window: Window::dense([kernel; 2], [1; 2], [kernel / 2; 4]),
        groups,
        batch: 1,
    };
    let mut state = 1_u64;
    let most = (1_i64 << (weight_bits - 1)) - 1;
    let mut weight = || {
        // Knuth's MMIX generator.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).cast_signed() % (2 * most + 1) - most
    };
    let highest = (1_i64 << activation_bits) - 1;
    let (mut least, mut largest, mut norms) = (0, 0, Vec::new());
    for _ in 0..k {
        let weights: Vec<i64> = (0..geometry.fan_in()).map(|_| weight()).collect();
        let sum = |sign: i64| weights.iter().filter(|&w| w * sign > 0).sum::<i64>() * highest;
        (least, largest) = (sum(-1).min(least), sum(1).max(largest));
        norms.push(weights.iter().map(|w| w * w).sum::<i64>() as f64);
    }
    let acc_bits = 65 - largest.max(-1 - least).leading_zeros();
    let op = LinearOp {
        geometry,
        weight_bits,
        multiplier_bits: 0,
        acc_bits,
        guard_bits: 1,
        rounded_bits: 0,
        packing: Packing::None,
    };
    let range = IntRange { lo: 0, hi: highest };
    Layer { op, operand: Domain::Arithmetic { bits: acc_bits, range }, norms }
}

impl Layer {
    fn task(&self, packing: Packing, merges: bool) -> LinearTask<'_> {
        LinearTask {
            op: LinearOp { packing, ..self.op },
            operand: self.operand,
            kernel_norms_squared: &self.norms,
            margin: required_margin(self.op.geometry.output().unwrap().len(), 40),
            restriction: Restriction { merges, ..Restriction::default() },
        }
    }

    /// The candidate where keys are nearly free, after its margin and bytes were counted again.
    fn choose(&self, packing: Packing, merges: bool) -> Candidate {
        let task = self.task(packing, merges);
        let found = cheapest(&[vec![task]], 1000)[0];
        check(&task, &found);
        found
    }
}

/// The candidate keeps its margin, and its bytes are those of its layout.
fn check(task: &LinearTask<'_>, found: &Candidate) {
    let params = RlweParams::check(found.rlwe).unwrap();
    let layout =
        ConvLayout::new(task.op.geometry, found.packing, found.tile, params.ring_degree()).unwrap();
    let counts = layout.counts();
    let norm = layout.largest_norm_squared(task.kernel_norms_squared);
    assert!(norm <= f64::from(found.weight_norm_squared_log2).exp2());
    let op = LinearOp { packing: found.packing, ..task.op };
    let model = NoiseModel {
        weight_norm_squared: norm,
        request_drop_bits: found.request_drop_bits,
        response_drop_bits: found.response_drop_bits,
        merge_levels: found.tile.merge_levels,
    };
    assert!(model.margin(&params, op.word_bits()) >= task.margin, "{found:?}");
    let is_shared = matches!(task.operand, Domain::Arithmetic { .. });
    let lifted = if is_shared { layout.lifted_elements().len() as u64 } else { 0 };
    let lift = (
        lifted.div_ceil(8),
        (lifted * u64::from(op.plain_bits() - op.packing.field_bits())).div_ceil(8),
    );
    let lift = if lifted > 0 { (wire_bytes(lift.0), wire_bytes(lift.1)) } else { (0, 0) };
    let (_, window) = layout.request_window();
    let request = params.coefficient_bytes(window, found.request_drop_bits);
    let response = params.polynomial_bytes(found.response_drop_bits);
    assert_eq!(found.lifted as u64, lifted, "{found:?}");
    let up = lift.0 + counts.requests() as u64 * wire_bytes(request);
    let down = lift.1 + counts.responses() as u64 * wire_bytes(response);
    let Resources { bytes_up, bytes_down, .. } = found.resources;
    let is_same = |a: f64, b: u64| (a - b as f64).abs() < 0.5;
    assert!(is_same(bytes_up, up) && is_same(bytes_down, down), "{found:?}");
}

const SHAPES: [[usize; 5]; 7] = [
    [56, 64, 64, 3, 1],
    [28, 128, 128, 3, 1],
    [14, 256, 256, 3, 1],
    [7, 512, 512, 3, 1],
    [28, 192, 64, 1, 1],
    [1, 512, 1000, 1, 1],
    [28, 192, 192, 3, 192],
];

/// The choice of the local search that looks for few bytes, for sessions of `inferences`.
fn cheapest(layers: &[Vec<LinearTask<'_>>], inferences: u32) -> Vec<Candidate> {
    let objective = Objective::Bytes;
    let search = SearchOptions { objective, inferences, ..SearchOptions::default() };
    let fronts = linear_fronts(layers, &[], &search.views(OT)[..1]);
    fronts.layers.iter().map(|front| front.candidates[0]).collect()
}

#[test]
fn layers_stay_within_their_bytes() {
    let limits = [1.6, 0.85, 0.47, 0.26, 0.66, 0.015, 0.92];
    for (shape, limit) in SHAPES.into_iter().zip(limits) {
        let found = layer(shape, 4, 4).choose(Packing::None, true);
        let bytes = found.resources.bytes();
        assert!(bytes <= limit * 1e6, "{shape:?}: {bytes} {found:?}");
    }
    // Wide accumulators take more than one prime.
    let mut wide = layer(SHAPES[5], 8, 8);
    wide.op.acc_bits = 40;
    let found = wide.choose(Packing::None, true);
    let params = RlweParams::check(found.rlwe).unwrap();
    assert!(params.limbs() >= 2, "{found:?}");
}

#[test]
fn packing_halves_the_requests() {
    let layer = layer(SHAPES[0], 2, 2);
    let plain = layer.choose(Packing::None, false);
    let within =
        |layer: &Layer| Packing::WithinChannel { fields: 2, field_bits: layer.op.acc_bits + 1 };
    let packed_within = layer.choose(within(&layer), false);
    let cross = layer.choose(Packing::CrossChannel { field_bits: layer.op.acc_bits }, false);
    for packed in [&packed_within, &cross] {
        let [packed, plain] = [packed, &plain].map(|found| found.counts.requests());
        assert!(packed * 200 <= plain * 105, "{packed} of {plain}");
    }
    assert_eq!(packed_within.rlwe.ring_degree, plain.rlwe.ring_degree);
    // The client lifts nothing of its own.
    let own = Layer { operand: Domain::Client { range: IntRange { lo: 0, hi: 3 } }, ..layer };
    assert_eq!(own.choose(within(&own), false).lifted, 0);
}

/// Layers alike take one parameter set, and none that the others cannot use pays for itself.
#[test]
fn keys_are_shared() {
    let layers: Vec<Layer> = [1, 2, 2, 3].map(|index| layer(SHAPES[index], 4, 4)).into();
    let tasks: Vec<_> = layers.iter().map(|layer| vec![layer.task(Packing::None, true)]).collect();
    let found = cheapest(&tasks, 1);
    assert_eq!(found, cheapest(&tasks, 1));
    let mut sets: Vec<_> = found.iter().map(|found| found.rlwe).collect();
    sets.dedup();
    assert_eq!(sets.len(), 1, "{found:?}");
    let merges = |found: &Candidate| found.tile.merge_levels > 0;
    assert!(found.iter().all(merges), "{found:?}");
    // A lone small layer does not pay for keys.
    let small = layer([8, 16, 16, 3, 1], 4, 4);
    assert!(!merges(&cheapest(&[vec![small.task(Packing::None, true)]], 1)[0]));
}
