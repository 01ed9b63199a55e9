//! Peak memory of the largest layers of the common work, both parties together; a binary of its own,
//! since a process has one peak.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clippy exempts test functions, not their helpers"
)]

mod common;

use common::{Case, Parties, share};
use heq_ir::geometry::{Chw, ConvGeometry, Window};
use heq_ir::integer::IntRange;
use heq_ir::layout::{ConvLayout, ConvTile, GroupPlacement};
use heq_ir::params::{KeySwitchSpec, RlweParams, RlweSpec};
use heq_ir::plan::weights::LinearWeights;
use heq_ir::plan::{LinearChoice, LinearStep};
use heq_ir::secure::{Domain, LinearOp, Packing};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// What one party may take.
const LIMIT_BYTES: u64 = 400_000_000;

/// Memory for transformed weights; those of both layers take more than twice that.
const CACHE_BYTES: usize = 60_000_000;

fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024 * peak.trim().trim_end_matches(" kB").parse::<u64>().ok()?)
}

fn check(geometry: ConvGeometry, tile: ConvTile) {
    let key_switch = Some(KeySwitchSpec { special_bits: 40, digits: 2 });
    let spec = RlweSpec { ring_degree: 4096, modulus_bits: 44, key_switch };
    let params = RlweParams::check(spec).unwrap();
    let op = LinearOp {
        geometry,
        weight_bits: 4,
        multiplier_bits: 0,
        acc_bits: 18,
        guard_bits: 1,
        rounded_bits: 0,
        packing: Packing::None,
    };
    let mut choice = LinearChoice {
        rlwe: 0,
        tile,
        request_drop_bits: 0,
        response_drop_bits: 10,
        weight_norm_squared_log2: 0,
    };
    let layout = ConvLayout::new(geometry, op.packing, tile, params.ring_degree()).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(2024);
    let count = geometry.fan_in() * geometry.out_channels;
    let weights = LinearWeights {
        weights: (0..count).map(|_| (rng.next_u32() % 15) as i32 - 7).collect(),
        multipliers: vec![1; geometry.out_channels],
        bias: vec![0; geometry.out_channels],
    };
    let step = LinearStep { op: &op, choice: &choice, params: &params, layout: layout.clone() };
    choice.weight_norm_squared_log2 = weights.norm_squared(&step).log2().ceil() as u32;
    assert!(choice.noise_model().margin(&params, op.word_bits()) > 9.0);
    let step = LinearStep { op: &op, choice: &choice, params: &params, layout };
    let range = IntRange { lo: 0, hi: 15 };
    let x: Vec<i64> = (0..geometry.input.len()).map(|_| common::draw(range, &mut rng)).collect();
    let [client, server] = share(&x, 18, &mut rng);
    let operand = Domain::Arithmetic { bits: 18, range };
    let shares = [client.as_slice(), server.as_slice()];
    let case = Case { step: &step, operand, shares, weights: &weights, cache: CACHE_BYTES };
    let counts = step.layout.counts();
    let polynomials = counts.weights() * params.ring_degree() * params.limbs() * size_of::<u64>();
    assert!(polynomials > 2 * CACHE_BYTES, "{polynomials}");
    let parties = Parties::new(&step, &mut rng);
    let kept = case.check(&parties).preparation.weight_transforms as usize;
    // An evaluation mod a prime of 44 bits takes 6 or 8 bytes.
    let evaluations = kept * params.ring_degree();
    assert!(evaluations * 6 <= CACHE_BYTES, "{evaluations}");
    assert!(evaluations * 8 > CACHE_BYTES * 9 / 10, "{evaluations}");
}

#[test]
fn both_parties_together_take_less_than_one_may() {
    let tile = |output, planes, kernels, merge_levels| ConvTile {
        output,
        groups: 1,
        placement: GroupPlacement::Dense,
        planes,
        kernels,
        merge_levels,
        samples: 1,
    };
    let layer = |[c, k, size, kernel]: [usize; 4]| ConvGeometry {
        input: Chw::new(c, size, size),
        out_channels: k,
        window: Window::dense([kernel; 2], [1; 2], [kernel / 2; 4]),
        groups: 1,
        batch: 1,
    };
    check(layer([1024, 256, 14, 1]), tile([14, 14], 16, 1, 4));
    check(layer([512, 512, 7, 3]), tile([7, 7], 32, 2, 5));
    if let Some(peak) = peak_bytes() {
        assert!(peak < LIMIT_BYTES, "{peak}");
    }
}
