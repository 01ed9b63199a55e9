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
use heq_ir::plan::weights::{LinearWeights, ServerWeights, TableEntries, WeightsSpec};
use heq_ir::plan::{
    AHEAD_BYTES, AccStrategy, Layer, LayerKind, LinearChoice, OtExtension, Plan, PlanSpec,
};
use heq_ir::preparation::InputPreparation;
use heq_ir::protocol::adder::{AdderForm, CarryForm};
use heq_ir::protocol::requantize::{RequantizeForm, RequantizeWidths};
use heq_ir::protocol::table::TableWidths;
use heq_ir::protocol::to_arithmetic::ToArithmeticForm;
use heq_ir::rounding::AccRounding;
use heq_ir::secure::{LinearOp, Packing};
use heq_ir::traffic::RotSender;
use heq_net::{Channel, memory};
use heq_runtime::error::RunError;
use heq_runtime::executor::Contribution;
use heq_runtime::party::{run_client, run_server};
use heq_runtime::session::{Mode, PreparedPlan, PreparedServer, Session, WEIGHT_CACHE_BYTES};
use heq_runtime::stats::{Measured, SessionStats};
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
        batch: 1,
    };
    let op = LinearOp {
        geometry,
        weight_bits: 3,
        multiplier_bits: 0,
        acc_bits: ACC_BITS,
        guard_bits: 1,
        rounded_bits: 0,
        packing,
    };
    let tile = ConvTile {
        output: [rows, 6],
        groups: 1,
        placement: GroupPlacement::Dense,
        planes,
        kernels: 2,
        merge_levels: merge_levels as u32,
        samples: 1,
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
    let carry = CarryForm { compared_bits: 3, digit_bits: 2 };
    let form = RequantizeForm { carry, sums: AdderForm::Ripple, range: AdderForm::Select };
    LayerKind::Requantize { widths, range: IntRange { lo, hi: lo + 15 }, form }
}

/// Three convolutions: within channels on the client's values, within channels on shares with merged
/// responses, across channels on signed shares.
fn plan(first_cross: bool, ot: OtExtension) -> Plan {
    let within = |fields| Packing::WithinChannel { fields, field_bits: ACC_BITS + 1 };
    let across = Packing::CrossChannel { field_bits: 14 };
    let first = if first_cross { across } else { within(2) };
    let kinds = [
        linear(3, 6, first, [0, 3, 2, 1]),
        requantize(0),
        LayerKind::ToArithmetic { bits: 16, form: ToArithmeticForm::Direct },
        linear(6, 5, within(3), [0, 2, 4, 2]),
        requantize(-4),
        LayerKind::ToArithmetic { bits: 15, form: ToArithmeticForm::Lifted(CarryForm::RIPPLE) },
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
        rounding: AccRounding::Exact,
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
        ot,
        layers: kinds.into_iter().enumerate().map(layer).collect(),
        batch: 1,
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
    let plan = plan(false, OtExtension::SoftSpoken { field_bits: 4 });
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

/// Runs both parties; both have the memory `ahead_bytes` for random OTs made ahead.
fn run_both(
    plan: &Plan,
    weights: &ServerWeights,
    cache_bytes: usize,
    ahead_bytes: u64,
    samples: &[Vec<i64>],
) -> (Vec<Vec<i64>>, [SessionStats; 2]) {
    run_parties(plan, weights, cache_bytes, [ahead_bytes; 2], samples)
}

/// As [`run_both`], with memory of the client's and of the server's own.
fn run_parties(
    plan: &Plan,
    weights: &ServerWeights,
    cache_bytes: usize,
    ahead_bytes: [u64; 2],
    samples: &[Vec<i64>],
) -> (Vec<Vec<i64>>, [SessionStats; 2]) {
    let prepare = |bytes| PreparedPlan::new(plan.clone()).with_ahead_bytes(bytes);
    let [client_plan, server_plan] = ahead_bytes.map(prepare);
    let prepared = PreparedServer::new(&server_plan, weights, cache_bytes).unwrap();
    let (client_end, server_end) = memory::pair();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| run_server(&server_plan, &prepared, None, server_end));
        let (outputs, client) = run_client(&client_plan, client_end, samples).unwrap();
        (outputs, [client, server.join().unwrap().unwrap()])
    })
}

fn samples(inferences: u32, rng: &mut ChaCha20Rng) -> Vec<Vec<i64>> {
    let mut value = || i64::from(rng.next_u32() % 16) - 8;
    (0..inferences).map(|_| (0..3 * 7 * 6).map(|_| value()).collect()).collect()
}

fn check_results(plan: &Plan, weights: &ServerWeights, samples: &[Vec<i64>], found: &[Vec<i64>]) {
    assert_eq!(samples.len(), found.len());
    for (sample, output) in samples.iter().zip(found) {
        assert_eq!(evaluate(plan, weights, sample).unwrap().output(), output);
    }
}

fn check_traffic(plan: &Plan, inferences: u32, stats: &SessionStats) {
    let cost = plan.cost(inferences);
    check_part("set-up", &cost.setup, &stats.setup);
    check_part("correlations", &cost.correlations, &stats.correlations);
    for (index, (cost, measured)) in cost.layers.iter().zip(&stats.layers).enumerate() {
        check_part(&format!("step {index}"), cost, measured);
    }
    let rots = plan.rots().total() * u64::from(inferences);
    assert_eq!((stats.rots.made, stats.rots.used), (rots, rots));
}

#[test]
fn every_extension_makes_what_the_plan_says_whatever_the_memory() {
    for (ot, inferences, ahead_bytes) in [
        (OtExtension::SoftSpoken { field_bits: 1 }, 1, AHEAD_BYTES),
        (OtExtension::SoftSpoken { field_bits: 2 }, 3, 0),
        (OtExtension::SoftSpoken { field_bits: 8 }, 2, AHEAD_BYTES),
        (OtExtension::Silent { log_rows: 18 }, 5, 0),
        (OtExtension::Silent { log_rows: 20 }, 2, AHEAD_BYTES),
    ] {
        let mut rng = ChaCha20Rng::seed_from_u64(8);
        let plan = plan(true, ot);
        let weights = ServerWeights::check(weights(&plan, &mut rng), &plan, "weights").unwrap();
        let samples = samples(inferences, &mut rng);
        let (outputs, parties) =
            run_both(&plan, &weights, WEIGHT_CACHE_BYTES, ahead_bytes, &samples);
        check_results(&plan, &weights, &samples, &outputs);
        parties.iter().for_each(|stats| check_traffic(&plan, inferences, stats));
    }
}

/// A table over so many elements that its random OTs take several chunks.
fn table_plan(ot: OtExtension) -> (Plan, ServerWeights) {
    let mut spec = plan(false, ot).spec().clone();
    spec.input.shape = Chw::new(1, 320, 320);
    let widths = TableWidths { input_bits: 4, result_bits: 4 };
    let kinds = [
        LayerKind::ToBoolean { bits: 4, lo: -8 },
        LayerKind::Table { widths, lo: -3 },
        LayerKind::Open,
    ];
    for (layer, kind) in spec.layers.iter_mut().zip(kinds) {
        layer.kind = kind;
    }
    spec.layers.truncate(3);
    spec.rlwe.clear();
    let plan = encode_plan(spec).unwrap().0;
    let entries = (0..16).map(|index| index * 7 % 16).collect();
    let tables = vec![TableEntries { entries }];
    let weights = WeightsSpec { plan: plan.digest(), layers: Vec::new(), tables };
    let weights = ServerWeights::check(weights, &plan, "weights").unwrap();
    (plan, weights)
}

#[test]
fn a_step_may_take_more_random_ots_than_are_made_ahead() {
    for ot in [OtExtension::SoftSpoken { field_bits: 4 }, OtExtension::Silent { log_rows: 18 }] {
        let (plan, weights) = table_plan(ot);
        let chunks = RotSender::ALL.map(|sender| plan.rot_chunks(sender).len());
        assert!(chunks.iter().sum::<usize>() > 1, "{ot}: {chunks:?}");
        let mut rng = ChaCha20Rng::seed_from_u64(9);
        let mut sample = || (0..320 * 320).map(|_| i64::from(rng.next_u32() % 16) - 8).collect();
        let samples = [sample(), sample()];
        for ahead_bytes in [[0, 0], [0, AHEAD_BYTES], [AHEAD_BYTES, 0]] {
            let (outputs, parties) =
                run_parties(&plan, &weights, WEIGHT_CACHE_BYTES, ahead_bytes, &samples);
            check_results(&plan, &weights, &samples, &outputs);
            parties.iter().for_each(|stats| check_traffic(&plan, 2, stats));
        }
    }
}

/// What either end of a session makes of a fault.
fn outcomes(
    plan: &Plan,
    weights: &ServerWeights,
    client: impl FnOnce(&PreparedPlan, Channel) -> Result<(), RunError> + Send,
) -> [Result<(), RunError>; 2] {
    let [client_plan, server_plan] = [(); 2].map(|()| PreparedPlan::new(plan.clone()));
    let prepared = PreparedServer::new(&server_plan, weights, 0).unwrap();
    let (client_end, server_end) = memory::pair();
    std::thread::scope(|scope| {
        let server =
            scope.spawn(|| run_server(&server_plan, &prepared, None, server_end).map(|_| ()));
        let client = client(&client_plan, client_end);
        [client, server.join().unwrap()]
    })
}

#[test]
fn a_party_that_ends_early_ends_the_session_of_both() {
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let plan = plan(false, OtExtension::SoftSpoken { field_bits: 4 });
    let weights = ServerWeights::check(weights(&plan, &mut rng), &plan, "weights").unwrap();
    let sample = samples(1, &mut rng).remove(0);
    // After so many of three inferences the client drops the session, ends it, or brings nonsense.
    for run in 0..3 {
        for fault in 0..3 {
            let [client, server] = outcomes(&plan, &weights, |plan, channel| {
                let mut session = Session::connect(plan, channel, Mode::Whole, 3)?;
                let mut stats = vec![Measured::default(); plan.plan().layers().len()];
                for _ in 0..run {
                    session.infer(&Contribution::Input(&sample), &mut stats)?;
                }
                match fault {
                    0 => {
                        drop(session);
                        Ok(())
                    }
                    1 => session.end(Ok(())).map(|_| ()),
                    _ => {
                        let outcome = session.infer(&Contribution::Input(&[]), &mut stats);
                        session.end(outcome.map(|_| ())).map(|_| ())
                    }
                }
            });
            assert_eq!(client.is_ok(), fault == 0, "{client:?}");
            assert!(matches!(client, Ok(()) | Err(RunError::Internal { .. })), "{client:?}");
            assert!(matches!(server, Err(RunError::Network(_))), "{server:?}");
        }
    }
}

/// A thread that makes random OTs finds the fault; the session reports it, and whom it blames.
#[test]
fn a_wrong_message_on_the_lane_of_random_ots_blames_the_peer() {
    let mut rng = ChaCha20Rng::seed_from_u64(10);
    let plan = plan(false, OtExtension::Silent { log_rows: 18 });
    let weights = ServerWeights::check(weights(&plan, &mut rng), &plan, "weights").unwrap();
    let sample = samples(1, &mut rng).remove(0);
    let [client, server] = outcomes(&plan, &weights, |plan, channel| {
        // They take the places of the lanes that the session opens; the client leads the second.
        let _first = channel.add_lane(u64::MAX, u64::MAX)?;
        let mut lane = channel.add_lane(u64::MAX, u64::MAX)?;
        lane.send(&[1, 2, 3])?;
        run_client(plan, channel, &[sample]).map(|_| ())
    });
    assert!(matches!(server, Err(RunError::PeerMisbehaved { .. })), "{server:?}");
    assert!(client.is_err());
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
        let plan = plan(first_cross, OtExtension::SoftSpoken { field_bits: 4 });
        let weights = ServerWeights::check(weights(&plan, &mut rng), &plan, "weights").unwrap();
        let samples = samples(inferences, &mut rng);
        let (outputs, [client, server]) = run_both(&plan, &weights, cache, AHEAD_BYTES, &samples);
        check_results(&plan, &weights, &samples, &outputs);
        [&client, &server].into_iter().for_each(|stats| check_traffic(&plan, inferences, stats));
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
