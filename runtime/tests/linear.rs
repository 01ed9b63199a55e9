//! A linear layer between two parties: dense, grouped, depthwise, dilated and strided, against the
//! reference convolution.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

use heq_he::Ring;
use heq_he::client::SecretKey;
use heq_he::sampling::Seed;
use heq_he::server::ZeroKey;
use heq_ir::eval::{convolve, wrap};
use heq_ir::geometry::{Chw, ConvGeometry, Window};
use heq_ir::layout::{ConvLayout, ConvTile};
use heq_ir::params::{RlweParams, RlweSpec};
use heq_ir::plan::weights::LinearWeights;
use heq_ir::plan::{LinearChoice, LinearStep};
use heq_ir::secure::LinearOp;
use heq_ir::traffic::wire_bytes;
use heq_net::memory;
use heq_runtime::protocol::linear::{PreparedWeights, RequestSeeds, client, server};
use heq_runtime::share::mask;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

const ACC_BITS: u32 = 12;

/// Runs the layer on random shares: what the shares of the result stand for is `2*acc + delta` with
/// delta 0 or 1, and the traffic is what the layout counts.
fn check(geometry: ConvGeometry, tile: ConvTile) {
    let params = RlweParams::check(RlweSpec { ring_degree: 1024, modulus_bits: 26 }).unwrap();
    let layout = ConvLayout::new(geometry, tile, params.ring_degree()).unwrap();
    let op = LinearOp {
        geometry,
        weight_bits: 2,
        multiplier_bits: 0,
        acc_bits: ACC_BITS,
        guard_bits: 1,
    };
    let choice = LinearChoice {
        rlwe: 0,
        tile,
        request_drop_bits: 0,
        response_drop_bits: 0,
        weight_norm_squared_log2: 7,
    };
    let step = LinearStep { op: &op, choice: &choice, params: &params, layout };
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let weights: Vec<i32> = (0..geometry.fan_in() * geometry.out_channels)
        .map(|_| rng.next_u32().cast_signed() >> 30)
        .collect();
    let bias = (0..geometry.out_channels as i64).map(|k| 3 * k - 5).collect();
    let weights = LinearWeights { weights, multipliers: vec![1; geometry.out_channels], bias };
    let shares: [Vec<u64>; 2] =
        std::array::from_fn(|_| (0..geometry.input.len()).map(|_| rng.next_u64()).collect());
    let x: Vec<i64> = (0..geometry.input.len())
        .map(|i| shares[0][i].wrapping_add(shares[1][i]).cast_signed())
        .collect();
    let folded: Vec<i64> = weights.folded().collect();
    let expected = convolve(&geometry, &folded, &weights.bias, &x);

    let ring = Ring::new(params);
    let a_prime = Seed::derive(&[1; 32], "zero key", 0);
    let (key, message) = SecretKey::generate(&ring, &a_prime, &mut rng);
    let zero_key = ZeroKey::decode(&ring, &a_prime, &message, &mut rng).unwrap();
    let prepared = PreparedWeights::new(&ring, &step, &weights);
    let (mut client_end, mut server_end) = memory::pair();
    let seeds = || RequestSeeds::new([2; 32]);
    let (client_words, server_words) = std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let mut rng = ChaCha20Rng::seed_from_u64(4);
            let end = &mut server_end;
            server(end, &ring, &zero_key, &step, &prepared, &mut seeds(), &shares[1], &mut rng)
        });
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let end = &mut client_end;
        let client = client(end, &ring, &key, &step, &mut seeds(), &shares[0], &mut rng);
        (client.unwrap(), server.join().unwrap().unwrap())
    });

    assert_eq!((client_words.len(), server_words.len()), (expected.len(), expected.len()));
    for (index, acc) in expected.iter().enumerate() {
        let sum = client_words[index].wrapping_add(server_words[index]) & mask(ACC_BITS + 1);
        let delta = wrap(sum.cast_signed() - 2 * wrap(*acc, ACC_BITS), ACC_BITS + 1);
        assert!((0..=1).contains(&delta), "{geometry:?} {tile:?}: output {index} off by {delta}");
    }
    let counts = layout.counts();
    let frame = wire_bytes(params.polynomial_bytes(0));
    let meter = client_end.snapshot();
    let bytes = [counts.requests(), counts.responses()].map(|count| count as u64 * frame);
    assert_eq!([meter.bytes_sent, meter.bytes_received], bytes);
}

#[test]
fn shares_of_every_geometry_sum_to_the_convolution() {
    let plain = |kernel, stride, pad| Window::dense([kernel; 2], [stride; 2], [pad; 4]);
    let dilated = Window { dilations: [2, 2], ..plain(3, 1, 2) };
    for ([c, height, width], k, window, groups, output, [gt, ct, kt]) in [
        ([3, 8, 7], 4, plain(3, 1, 1), 1, [4, 7], [1, 2, 3]),
        ([8, 6, 6], 4, plain(3, 1, 1), 2, [6, 6], [1, 3, 2]),
        ([6, 6, 6], 6, plain(3, 1, 1), 3, [3, 6], [2, 2, 2]),
        ([9, 7, 7], 9, plain(3, 1, 1), 9, [7, 7], [4, 1, 1]),
        ([5, 8, 8], 10, plain(3, 2, 1), 5, [2, 4], [3, 1, 2]),
        ([3, 9, 9], 2, dilated, 1, [5, 9], [1, 2, 2]),
        ([4, 9, 9], 3, plain(1, 2, 0), 1, [5, 5], [1, 4, 3]),
    ] {
        let input = Chw::new(c, height, width);
        let geometry = ConvGeometry { input, out_channels: k, window, groups };
        check(geometry, ConvTile { output, groups: gt, in_channels: ct, out_channels: kt });
    }
}
