//! What is predicted is what is measured, and the public plan says nothing of the weights.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

mod rounding;

use heq_compiler::compile::{CompileOptions, compile};
use heq_compiler::lower::plan::PlanOptions;
use heq_compiler::pipeline::ImportOptions;
use heq_compiler::select::options::Objective;
use heq_compiler::select::ot::OtRule;
use heq_ir::link::LinkProfile;
use heq_ir::plan::codec::encode_weights;
use heq_ir::plan::cost::PartCost;
use heq_ir::plan::{AccStrategy, HELLO_BYTES, LANE_WINDOW, OtExtension};
use heq_ir::predict::{CostProfile, Situation};
use heq_ir::traffic::{self, RotSender};
use heq_ot::silent::SilentConfig;
use heq_ot::softspoken::SoftSpokenConfig;
use heq_runtime::stats::Measured;
use heq_tests::{
    compile_bytes, compile_lenet, compiled_lenet, lenet, plan_options, run_both, samples,
};
use prost::Message;
use tract_onnx::pb::ModelProto;

fn check_part(name: &str, predicted: &PartCost, measured: &Measured) {
    assert_eq!(
        (predicted.bytes_up, predicted.bytes_down, predicted.flights),
        (measured.bytes_up, measured.bytes_down, measured.flights),
        "{name}"
    );
}

#[test]
fn bytes_flights_and_operations_are_exact_by_step_at_both_parties() {
    for acc_strategy in [AccStrategy::WeightAware, AccStrategy::WorstCase] {
        let compiled = compiled_lenet(acc_strategy);
        let samples = samples(&compiled.plan, &lenet("digit.png"), 1);
        let run = run_both(&compiled, &samples);
        let cost = compiled.plan.cost(1);
        let (client, server) = (run.client.unwrap().1, run.server.unwrap());
        for (index, (client, server)) in client.layers.iter().zip(&server.layers).enumerate() {
            let mut predicted = compiled.plan.linear_operations(index).unwrap_or_default();
            // All weights were transformed before, and kept.
            predicted.server.weight_transforms = 0;
            assert_eq!(client.operations.client, predicted.client, "step {index}");
            assert_eq!(server.operations.server, predicted.server, "step {index}");
        }
        for stats in [&client, &server] {
            check_part("set-up", &cost.setup, &stats.setup);
            check_part("correlations", &cost.correlations, &stats.correlations);
            for (index, measured) in stats.layers.iter().enumerate() {
                let layer = &compiled.plan.layers()[index];
                let name = format!("{acc_strategy}: {} {}", layer.name, layer.kind.kernel());
                check_part(&name, &cost.layers[index], measured);
            }
            check_part("all steps", &cost.online(), &stats.online());
        }
    }
}

/// The simulation of time moves what the plan counts, and knows a time for every step that sends.
#[test]
fn predicted_times_are_of_all_that_is_sent() {
    let compiled = compiled_lenet(AccStrategy::WeightAware);
    let cost = compiled.plan.cost(1);
    let parts = [cost.setup, cost.correlations, cost.online()];
    let bytes: [u64; 2] = [
        parts.iter().map(|part| part.bytes_up).sum(),
        parts.iter().map(|part| part.bytes_down).sum(),
    ];
    let profile = CostProfile::default();
    for link in [None, Some(LinkProfile::LAN), Some(LinkProfile::WAN)] {
        for (threads, is_shared) in [(1, true), (2, true), (2, false)] {
            let situation = Situation { profile: &profile, link, threads, is_shared };
            let times = compiled.plan.predict(&situation);
            assert_eq!(times.wire_bytes, bytes);
            assert_eq!(times.layers.len(), cost.layers.len());
            for (time, layer) in times.layers.iter().zip(&cost.layers) {
                assert_eq!(time.wall_s > 0.0, layer.bytes() > 0);
                let parts_s = time.network_s + time.waited_s;
                assert!(parts_s <= time.wall_s * (1.0 + 1e-9), "{time:?}");
            }
            let latencies = link.map_or(0.0, |link| link.rtt().as_secs_f64() / 2.0);
            assert!(times.online_s() >= latencies * cost.online().flights as f64);
            assert_eq!(compiled.plan.predict(&situation), times);
        }
    }
}

/// The exchanges of random OTs over several inferences, with rows left over between them.
#[test]
fn random_ots_cost_what_the_plan_says_with_every_extension() {
    for extension in [
        OtExtension::SoftSpoken { field_bits: 2 },
        OtExtension::SoftSpoken { field_bits: 8 },
        OtExtension::Silent { log_rows: 18 },
        OtExtension::Silent { log_rows: 20 },
    ] {
        let plan =
            PlanOptions { ot: OtRule::Fixed(extension), ..plan_options(AccStrategy::WeightAware) };
        let options = CompileOptions { import: ImportOptions::default(), plan, calibration: None };
        let model = std::fs::read(lenet("model.onnx")).unwrap();
        let compiled = compile(&model, "model.onnx", &options).unwrap();
        let sample = samples(&compiled.plan, &lenet("digit.png"), 1).remove(0);
        for inferences in [1, 3] {
            let run = run_both(&compiled, &vec![sample.clone(); inferences]);
            let cost = compiled.plan.cost(inferences as u32);
            let messages = |sender| compiled.plan.rot_chunks(sender).len() * inferences;
            let messages = RotSender::ALL.map(messages).into_iter().max().unwrap();
            let waits = (messages - 1) / LANE_WINDOW;
            assert_eq!(cost.correlations.flights, 1 + 2 * waits as u64);
            for stats in [&run.client.unwrap().1, &run.server.unwrap()] {
                let name = |part| format!("{extension}, {inferences} inferences: {part}");
                check_part(&name("set-up"), &cost.setup, &stats.setup);
                check_part(&name("random OTs"), &cost.correlations, &stats.correlations);
                check_part(&name("all steps"), &cost.online(), &stats.online());
                let rots = compiled.plan.rots().total() * inferences as u64;
                assert_eq!((stats.rots.made, stats.rots.used), (rots, rots));
            }
        }
    }
}

#[test]
fn the_plan_knows_the_sizes_of_the_ot_layer() {
    for extension in OtExtension::all() {
        let rows = [1 << 20, 128];
        let of = |bytes: [usize; 2]| bytes.map(|bytes| bytes as u64);
        let (messages, setup) = match extension {
            OtExtension::SoftSpoken { field_bits } => {
                let config = SoftSpokenConfig::new(field_bits as u8).unwrap();
                let bytes = rows.map(|rows| config.extend_message_bytes(rows));
                (of(bytes), vec![config.ggm_message_bytes() as u64])
            }
            OtExtension::Silent { log_rows } => {
                let config = SilentConfig::new(log_rows as u8).unwrap();
                let message = |rows| config.iterations(0, rows) * config.iteration_bytes();
                let bootstrap = SoftSpokenConfig::new(8).unwrap();
                let start = bootstrap.extend_message_bytes(config.bootstrap_rows());
                let setup = of([bootstrap.ggm_message_bytes(), start]).to_vec();
                (of(rows.map(message)), setup)
            }
        };
        let planned = rows.map(|rows| extension.message(rows as u64, &mut 0));
        assert_eq!(planned, messages[..], "{extension}");
        assert_eq!(extension.setup_bytes(), setup, "{extension}");
    }
}

#[test]
fn one_lenet_inference_moves_at_most_half_a_megabyte() {
    let mut options = plan_options(AccStrategy::WeightAware);
    options.search.objective = Objective::Bytes;
    let cost = compile_lenet(&options).plan.cost(1);
    assert!(cost.online().bytes() <= 500_000, "{} bytes", cost.online().bytes());
}

#[test]
fn the_channel_frames_as_the_plan_counts() {
    assert_eq!(heq_net::frame::HEADER_BYTES as u64, traffic::FRAME_HEADER_BYTES);
    assert_eq!(heq_net::frame::MAX_PAYLOAD_BYTES as u64, traffic::FRAME_MAX_PAYLOAD_BYTES);
    for payload in [0, 1, HELLO_BYTES as u64, traffic::FRAME_MAX_PAYLOAD_BYTES + 1, 100 << 20] {
        assert_eq!(heq_net::frame::wire_bytes(payload), traffic::wire_bytes(payload));
    }
}

/// LeNet with other integer weights and biases; every scale and BatchNorm tensor is the same.
fn with_other_weights(model: &[u8]) -> Vec<u8> {
    let mut model = ModelProto::decode(model).unwrap();
    let mut changed = 0;
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        let is_weight = tensor.name.contains("weight_quant") && tensor.dims.len() >= 2;
        if is_weight {
            tensor.raw_data.reverse();
            changed += 1;
        } else if tensor.name == "f3.bias" {
            let bytes = &mut tensor.raw_data;
            for value in bytes.chunks_exact_mut(4) {
                let half = f32::from_le_bytes(value.try_into().unwrap()) * -0.5;
                value.copy_from_slice(&half.to_le_bytes());
            }
            changed += 1;
        }
    }
    assert_eq!(changed, 6, "five weight tensors and one bias");
    model.encode_to_vec()
}

#[test]
fn worst_case_plans_do_not_depend_on_weights() {
    let model = std::fs::read(lenet("model.onnx")).unwrap();
    let one = compile_bytes(&model, AccStrategy::WorstCase);
    let other = compile_bytes(&with_other_weights(&model), AccStrategy::WorstCase);
    assert_ne!(
        encode_weights(one.weights.spec()).unwrap(),
        encode_weights(other.weights.spec()).unwrap()
    );
    assert_eq!(one.plan_bytes, other.plan_bytes);
}

#[test]
fn the_same_model_gives_the_same_plan() {
    for acc_strategy in [AccStrategy::WeightAware, AccStrategy::WorstCase] {
        let (one, two) = (compiled_lenet(acc_strategy), compiled_lenet(acc_strategy));
        assert_eq!(one.plan_bytes, two.plan_bytes);
    }
}
