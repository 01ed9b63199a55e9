//! Time of one linear layer, 3x3 over 28x28x128 with 128 kernels, W4A4: both parties in one process, over
//! memory, fixed seed.
//!
//! Run with `cargo bench -p heq-runtime --bench layer`. This is wall time, with rayon's threads shared by two
//! parties that mostly wait for each other; `cargo xtask bench layers` tells their CPU times apart.

use std::error::Error;
use std::time::Duration;

use criterion::Criterion;
use heq_he::Ring;
use heq_he::client::SecretKey;
use heq_he::server::ServerKeys;
use heq_ir::geometry::{Chw, ConvGeometry, Window};
use heq_ir::integer::IntRange;
use heq_ir::layout::{ConvLayout, ConvTile, GroupPlacement};
use heq_ir::params::{KeySwitchSpec, RlweParams, RlweSpec};
use heq_ir::plan::weights::LinearWeights;
use heq_ir::plan::{LinearChoice, LinearStep};
use heq_ir::secure::{Domain, LinearOp, Packing};
use heq_net::memory;
use heq_runtime::error::RunError;
use heq_runtime::protocol::keys::{self, KeySet};
use heq_runtime::protocol::linear::{self, Layer, PreparedWeights, RequestSeeds};
use heq_runtime::protocol::{Link, Role};
use heq_runtime::share::Words;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// Memory for transformed weights in bytes: for all of them, and for none.
const WEIGHT_CACHES: [(&str, usize); 2] = [("cached weights", 1 << 30), ("weights on the fly", 0)];

/// The operand of the layer: 4-bit activations that both parties hold shares of.
const OPERAND: Domain = Domain::Arithmetic { bits: 17, range: IntRange { lo: 0, hi: 15 } };

/// The layer.
const OP: LinearOp = LinearOp {
    geometry: ConvGeometry {
        input: Chw { channels: 128, height: 28, width: 28 },
        out_channels: 128,
        window: Window { kernel: [3; 2], strides: [1; 2], pads: [1; 4], dilations: [1; 2] },
        groups: 1,
        batch: 1,
    },
    weight_bits: 4,
    multiplier_bits: 0,
    acc_bits: 17,
    guard_bits: 1,
    rounded_bits: 0,
    packing: Packing::None,
};

/// Its parameters, as `heqc` chooses them for sessions of many inferences.
const RLWE: RlweSpec = RlweSpec {
    ring_degree: 2048,
    modulus_bits: 34,
    key_switch: Some(KeySwitchSpec { special_bits: 15, digits: 2 }),
};
const CHOICE: LinearChoice = LinearChoice {
    rlwe: 0,
    tile: ConvTile {
        output: [28; 2],
        groups: 1,
        placement: GroupPlacement::Dense,
        planes: 2,
        kernels: 1,
        merge_levels: 1,
        samples: 1,
    },
    request_drop_bits: 5,
    response_drop_bits: 8,
    weight_norm_squared_log2: 15,
};

/// Runs the layer once on uniform shares.
fn run(
    layers: [&Layer<'_>; 2],
    key: &SecretKey,
    keys: &ServerKeys,
    weights: &PreparedWeights,
    shares: &[u64],
    rng: &mut ChaCha20Rng,
) -> Result<[Words; 2], RunError> {
    let (mut client_end, mut server_end) = memory::pair();
    let mut server_rng = ChaCha20Rng::seed_from_u64(rng.next_u64());
    let mut nonce = [0; 32];
    rng.fill_bytes(&mut nonce);
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let link = &mut Link {
                role: Role::Server,
                channel: &mut server_end,
                sender: &mut [].into_iter().collect(),
                receiver: &mut [].into_iter().collect(),
            };
            let seeds = &mut RequestSeeds::new(nonce);
            linear::server(link, layers[1], keys, weights, seeds, shares, &mut server_rng)
        });
        let link = &mut Link {
            role: Role::Client,
            channel: &mut client_end,
            sender: &mut [].into_iter().collect(),
            receiver: &mut [].into_iter().collect(),
        };
        let client =
            linear::client(link, layers[0], key, &mut RequestSeeds::new(nonce), shares, rng)?;
        let server = server.join().map_err(|_| RunError::Internal { what: "the server" })??;
        Ok([client, server])
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut rng = ChaCha20Rng::seed_from_u64(0);
    let params = RlweParams::check(RLWE)?;
    let layout = ConvLayout::new(OP.geometry, OP.packing, CHOICE.tile, params.ring_degree())?;
    let step = LinearStep { op: &OP, choice: &CHOICE, params: &params, layout };
    let mut weight = || i32::try_from(rng.next_u32() % 15).map(|weight| weight - 7);
    let count = OP.geometry.fan_in() * OP.geometry.out_channels;
    let weights = LinearWeights {
        weights: (0..count).map(|_| weight()).collect::<Result<_, _>>()?,
        multipliers: vec![1; OP.geometry.out_channels],
        bias: vec![0; OP.geometry.out_channels],
    };
    let shares: Vec<u64> = (0..OP.geometry.input.len()).map(|_| rng.next_u64()).collect();

    let rings = [Ring::new(params), Ring::new(params)];
    let spacings: Vec<usize> = step.layout.merge_spacings().collect();
    let set = KeySet { index: 0, spacings: &spacings, nonce: &[1; 32] };
    let (mut client_end, mut server_end) = memory::pair();
    let key = keys::client(&mut client_end, &rings[0], set, &mut rng)?;
    let keys = keys::server(&mut server_end, &rings[1], set, &mut rng)?;
    let layers = rings.each_ref().map(|ring| Layer { ring, step: &step, operand: OPERAND });

    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(3))
        .without_plots()
        .configure_from_args();
    for (name, mut cache) in WEIGHT_CACHES {
        let weights = PreparedWeights::new(&rings[1], &step, &weights, &mut cache)?;
        let mut run = || run(layers.each_ref(), &key, &keys, &weights, &shares, &mut rng);
        run()?;
        let id = format!("layer/28x28x128->128 3x3 W4A4/{name}/{params}");
        criterion.bench_function(&id, |bencher| bencher.iter(&mut run));
    }
    criterion.final_summary();
    Ok(())
}
