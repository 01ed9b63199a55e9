//! Whole sessions over a plan with packed and merged layers: results, traffic and operations of both
//! parties against the plan.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clippy exempts test functions, not their helpers"
)]

use heq_ir::eval::evaluate;
use heq_ir::geometry::{Chw, ConvGeometry, Window};
use heq_ir::integer::{
    InputElement, InputLayout, InputMap, IntRange, NetworkInput, Quantization, Rounding, ValueId,
};
use heq_ir::layout::{ConvTile, GroupPlacement, PartyOperations};
use heq_ir::params::{KeySwitchSpec, RlweSpec};
use heq_ir::plan::codec::encode_plan;
use heq_ir::plan::cost::{LinearOperations, PartCost};
use heq_ir::plan::weights::{LinearWeights, ServerWeights, WeightsSpec};
use heq_ir::plan::{AccStrategy, Layer, LayerKind, LinearChoice, Plan, PlanSpec};
use heq_ir::preparation::InputPreparation;
use heq_ir::protocol::requantize::{RequantizeForm, RequantizeWidths};
use heq_ir::secure::{LinearOp, Packing};
use heq_net::memory;
use heq_runtime::party::{run_client, run_server};
use heq_runtime::session::{PreparedPlan, PreparedServer, WEIGHT_CACHE_BYTES};
use heq_runtime::stats::Measured;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// A parameter set for merging, one without.
const RLWE: [RlweSpec; 2] = [
    RlweSpec {
        ring_degree: 4096,
        modulus_bits: 72,
        key_switch: Some(KeySwitchSpec { special_bits: 34, digits: 3 }),
    },
    RlweSpec { ring_degree: 8192, modulus_bits: 110, key_switch: None },
];

const ACC_BITS: u32 = 12;

fn linear(channels: usize, kernels: usize, packing: Packing, choice: [usize; 4]) -> LayerKind {
    let [rlwe, rows, planes, merge_levels] = choice;
    let geometry = ConvGeometry {
        input: Chw::new(channels, 7, 6),
        out_channels: kernels,
        window: Window::dense([3; 2], [1; 2], [1; 4]),
        groups: 1,
    };
    let op = LinearOp {
        geometry,
        weight_bits: 3,
        multiplier_bits: 0,
        acc_bits: ACC_BITS,
        guard_bits: 1,
        packing,
    };
    let tile = ConvTile {
        output: [rows, 6],
        groups: 1,
        placement: GroupPlacement::Dense,
        planes,
        kernels: 2,
        merge_levels: merge_levels as u32,
    };
    let choice = LinearChoice {
        rlwe,
        tile,
        request_drop_bits: 2,
        response_drop_bits: 3,
        weight_norm_squared_log2: 10 + packing.norm_factor().log2().ceil() as u32,
    };
    LayerKind::Linear { op, choice }
}

fn requantize(lo: i64) -> LayerKind {
    let widths =
        RequantizeWidths { acc_bits: ACC_BITS, guard_bits: 1, shift: 4, result_bits: 4, limit: 15 };
    let form = RequantizeForm { digit_bits: 2 };
    LayerKind::Requantize { widths, range: IntRange { lo, hi: lo + 15 }, form }
}

/// Three convolutions: within channels on the client's values, within channels on shares with merged
/// responses, across channels on signed shares.
fn plan(first_cross: bool) -> Plan {
    let within = |fields| Packing::WithinChannel { fields, field_bits: ACC_BITS + 1 };
    let across = Packing::CrossChannel { field_bits: 14 };
    let first = if first_cross { across } else { within(2) };
    let kinds = [
        linear(3, 6, first, [0, 3, 2, 1]),
        requantize(0),
        LayerKind::ToArithmetic { bits: 16 },
        linear(6, 5, within(3), [0, 2, 4, 2]),
        requantize(-4),
        LayerKind::ToArithmetic { bits: 15 },
        linear(5, 4, across, [1, 7, 2, 0]),
        LayerKind::Open,
    ];
    let layer = |(index, kind)| Layer {
        name: format!("step {index}"),
        operator: String::new(),
        tensor: String::new(),
        operands: vec![ValueId(index)],
        kind,
    };
    let spec = PlanSpec {
        model: "packed".to_owned(),
        acc_strategy: AccStrategy::WeightAware,
        calibration: None,
        error_budget_log2: 40,
        input: NetworkInput {
            name: "x".to_owned(),
            shape: Chw::new(3, 7, 6),
            layout: InputLayout::Nchw,
            element: InputElement::Real,
            map: InputMap::identity(),
            quantization: Quantization { scale: 1.0, range: IntRange { lo: -8, hi: 7 } },
            rounding: Rounding::HalfEven,
        },
        preparation: InputPreparation::new(1.0, Vec::new(), Vec::new()).unwrap(),
        output_name: "y".to_owned(),
        output_scale: 1.0,
        rlwe: RLWE.to_vec(),
        ot_field_bits: 4,
        layers: kinds.into_iter().enumerate().map(layer).collect(),
    };
    encode_plan(spec).unwrap().0
}

fn weights(plan: &Plan, rng: &mut ChaCha20Rng) -> WeightsSpec {
    let mut layers = Vec::new();
    for (_, step) in plan.linear_steps() {
        let geometry = step.op.geometry;
        let mut draw =
            |count| -> Vec<i32> { (0..count).map(|_| (rng.next_u32() % 5) as i32 - 2).collect() };
        layers.push(LinearWeights {
            weights: draw(geometry.fan_in() * geometry.out_channels),
            multipliers: vec![1; geometry.out_channels],
            bias: draw(geometry.out_channels).into_iter().map(i64::from).collect(),
        });
    }
    WeightsSpec { plan: plan.digest(), layers, tables: Vec::new() }
}

#[test]
fn weights_whose_sums_leave_their_fields_are_refused() {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let plan = plan(false);
    // The second layer sums 54 products with values up to 15 in fields that hold sums below 2048.
    for (weight, fits) in [(2, true), (3, false), (-2, true), (-3, false)] {
        let mut spec = weights(&plan, &mut rng);
        spec.layers[1].weights[..54].fill(weight);
        let checked = ServerWeights::check(spec, &plan, "weights");
        let reason = checked.err().map(|refused| refused.to_string());
        let as_expected = reason.as_ref().map_or(fits, |reason| !fits && reason.contains("fields"));
        assert!(as_expected, "{weight}: {reason:?}");
    }
}

fn check_part(name: &str, predicted: &PartCost, measured: &Measured) {
    assert_eq!(
        (predicted.bytes_up, predicted.bytes_down, predicted.flights),
        (measured.bytes_up, measured.bytes_down, measured.flights),
        "{name}"
    );
}

#[test]
fn packed_layers_run_as_the_plan_says() {
    let inferences = 2;
    let times = |counts: PartyOperations| {
        let mut sum = PartyOperations::default();
        (0..inferences).for_each(|_| sum += counts);
        sum
    };
    for (first_cross, cache) in [(false, WEIGHT_CACHE_BYTES), (true, 0)] {
        let mut rng = ChaCha20Rng::seed_from_u64(6);
        let plan = plan(first_cross);
        let weights = ServerWeights::check(weights(&plan, &mut rng), &plan, "weights").unwrap();
        let mut value = || i64::from(rng.next_u32() % 16) - 8;
        let samples: Vec<Vec<i64>> =
            (0..inferences).map(|_| (0..3 * 7 * 6).map(|_| value()).collect()).collect();
        let [client_plan, server_plan] = [(); 2].map(|()| PreparedPlan::new(plan.clone()));
        let prepared = PreparedServer::new(&server_plan, &weights, cache).unwrap();
        let (client_end, server_end) = memory::pair();
        let ((outputs, client), server) = std::thread::scope(|scope| {
            let server = scope.spawn(|| run_server(&server_plan, &prepared, server_end));
            let client = run_client(&client_plan, client_end, &samples).unwrap();
            (client, server.join().unwrap().unwrap())
        });
        for (sample, output) in samples.iter().zip(&outputs) {
            assert_eq!(evaluate(&plan, &weights, sample).unwrap().output(), output);
        }
        let cost = plan.cost(inferences);
        for stats in [&client, &server] {
            check_part("set-up", &cost.setup, &stats.setup);
            check_part("correlations", &cost.correlations, &stats.correlations);
            for (index, (cost, measured)) in cost.layers.iter().zip(&stats.layers).enumerate() {
                check_part(&format!("step {index}"), cost, measured);
            }
        }
        let mut both = client.clone();
        both.add_operations_of(&server);
        for (index, measured) in both.layers.iter().enumerate() {
            let Some(step) = plan.linear_step(index) else {
                assert_eq!(measured.operations, LinearOperations::default());
                continue;
            };
            let LinearOperations { client, mut server } = plan.linear_operations(index).unwrap();
            // Rows that are not kept are transformed for every spatial tile.
            let uses = if cache == 0 { step.layout.counts().spatial as u64 } else { 0 };
            server.weight_transforms *= uses;
            let predicted = LinearOperations { client: times(client), server: times(server) };
            assert_eq!(measured.operations, predicted, "step {index}");
        }
        let document = both.to_json(&plan, "memory", "local");
        let operations = &document["layers"][3]["operations"];
        assert_eq!(operations["server"]["products"], both.layers[3].operations.server.products);
        assert_eq!(operations["client"]["transforms"], both.layers[3].operations.client.transforms);
        assert!(document["layers"][1].get("operations").is_none());
    }
}
