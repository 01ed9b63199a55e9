//! Generated integer networks: two parties compute what the network means, bit for bit, and what they
//! send is what the plan predicts. Shapes, windows, widths, signs and structure vary.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "clippy exempts test functions, not their helpers"
)]

mod batch;
mod generate;
mod reference;
mod reveal;
mod sharing;

use generate::{Builder, Value};
use heq_compiler::compile::{compile_calibrated, compile_network};
use heq_compiler::evaluate::evaluate as evaluate_plan;
use heq_compiler::kernel::packing::PackingRule;
use heq_compiler::lower::plan::Compiled;
use heq_compiler::pipeline::{ImportOptions, import};
use heq_data::Sample;
use heq_ir::diagnostic::Code;
use heq_ir::eval::evaluate;
use heq_ir::geometry::{Chw, Window};
use heq_ir::integer::{
    IntRange, IntegerLayer, IntegerNetwork, IntegerOp, Requantize, ScaledTerm, SumOp, Term, View,
    ViewAxis,
};
use heq_ir::plan::codec::{HEADER_BYTES, decode_plan};
use heq_ir::plan::weights::{ServerWeights, WeightsSpec};
use heq_ir::plan::{AccStrategy, LayerKind, Plan};
use heq_ir::secure::LinearOp;
use heq_tests::{lenet, plan_options, run_both, shared};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use reference::evaluate_wrapped;
use sha2::{Digest, Sha256};
use std::sync::Arc;

const INPUT: IntRange = IntRange { lo: 0, hi: 15 };

/// Compiles the network, and compares its definition, the evaluator and a run with each other, value
/// by value where a value bears the name of a tensor.
fn check_exact(network: &IntegerNetwork, acc_strategy: AccStrategy) -> Plan {
    check_packed(network, acc_strategy, PackingRule::Auto)
}

/// [`check_exact`] with a rule of packing.
fn check_packed(network: &IntegerNetwork, acc_strategy: AccStrategy, packing: PackingRule) -> Plan {
    let mut options = plan_options(acc_strategy);
    options.search.restriction.packing = packing;
    let compiled = compile_network(network, &options)
        .unwrap_or_else(|error| panic!("{}: {error}", network.name));
    let samples = samples_of(network);
    let overflows = check_run(network, &compiled, &samples, &|_| None);
    assert_eq!(overflows, 0, "{}", network.name);
    compiled.plan
}

/// The least, the largest and some input.
fn samples_of(network: &IntegerNetwork) -> Vec<Vec<i64>> {
    let IntRange { lo, hi } = network.input.quantization.range;
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let elements = network.input.shape.len();
    let mut samples = vec![vec![lo; elements], vec![hi; elements]];
    let span = (hi - lo + 1).cast_unsigned();
    samples.push(
        (0..elements).map(|_| lo + (rng.next_u64() % span).cast_signed()).collect::<Vec<_>>(),
    );
    samples
}

/// Compares the network's definition with accumulators of `widths`, the evaluator and a run with each
/// other, and the overflows that are counted with those of the definition, which are returned.
fn check_run(
    network: &IntegerNetwork,
    compiled: &Compiled,
    samples: &[Vec<i64>],
    widths: &dyn Fn(usize) -> Option<u32>,
) -> u64 {
    let name = &network.name;
    let run = run_both(compiled, samples);
    let (outputs, stats) = run.client.unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut overflows = 0;
    for (sample, output) in samples.iter().zip(&outputs) {
        let (expected, wrapped) = evaluate_wrapped(network, sample, widths);
        overflows += wrapped;
        let evaluation = evaluate(&compiled.plan, &compiled.weights, sample).unwrap();
        for (layer, found) in compiled.plan.layers().iter().zip(&evaluation.values[1..]) {
            let made = network.layers.iter().position(|made| made.tensor == layer.tensor);
            if let Some(made) = made {
                assert_eq!(found, &expected[made + 1], "{name}: {}", layer.tensor);
            }
        }
        assert_eq!(output, &expected[network.output.value.0], "{name}");
    }
    let inputs = as_samples(samples);
    let evaluated =
        evaluate_plan(&compiled.plan, &compiled.weights, &inputs, None, &mut |_| Ok(())).unwrap();
    assert_eq!(evaluated.overflows(), overflows, "{name}");
    let inferences = samples.len().div_ceil(compiled.plan.batch());
    assert_eq!(stats.inferences as usize, inferences, "{name}");
    let cost = compiled.plan.cost(stats.inferences);
    for (index, (predicted, measured)) in cost.layers.iter().zip(&stats.layers).enumerate() {
        assert_eq!(
            (predicted.bytes_up, predicted.bytes_down, predicted.flights),
            (measured.bytes_up, measured.bytes_down, measured.flights),
            "{name}, step {index}"
        );
    }
    overflows
}

fn as_samples(inputs: &[Vec<i64>]) -> Vec<Sample> {
    inputs.iter().cloned().map(Sample::Integer).collect()
}

/// Calibrates on `calibration` and checks runs on `samples`; returns the plan and the number of
/// overflows, by the definition of a sum with a width.
fn check_calibrated(
    network: &IntegerNetwork,
    packing: PackingRule,
    calibration: &[Vec<i64>],
    samples: &[Vec<i64>],
) -> (Plan, u64) {
    let mut options = plan_options(AccStrategy::Calibrated { margin_bits: 0 });
    options.search.restriction.packing = packing;
    let calibration = as_samples(calibration);
    let compiled = compile_calibrated(network, &options, &calibration, &mut |_, _| {});
    let compiled = compiled.unwrap_or_else(|error| panic!("{}: {error}", network.name));
    let widths = acc_bits(network, &compiled.plan);
    let overflows = check_run(network, &compiled, samples, &|layer| widths[layer]);
    (compiled.plan, overflows)
}

/// Width of the final accumulator of every layer, if the plan has one.
fn acc_bits(network: &IntegerNetwork, plan: &Plan) -> Vec<Option<u32>> {
    let width = |layer: &IntegerLayer| {
        let step = plan.layers().iter().find(|step| step.tensor == layer.tensor)?;
        if let LayerKind::Requantize { widths, .. } = &step.kind {
            Some(widths.acc_bits)
        } else {
            step.kind.acc_bits()
        }
    };
    network.layers.iter().map(width).collect()
}

/// Names of the steps of a plan.
fn steps(plan: &Plan) -> Vec<&'static str> {
    plan.layers().iter().map(|layer| layer.kind.op().name()).collect()
}

fn sum_of(layer: &mut IntegerLayer) -> &mut SumOp {
    let IntegerOp::Sum(op) = &mut layer.op else { panic!("{} is no sum", layer.name) };
    op
}

/// Number of generated networks.
const NETWORKS: &str = "HEQ_NETWORKS";

/// A wrong result fails the test: of so many runs the plans' error budgets let far less than one be wrong.
#[test]
fn generated_networks_are_exact() {
    let networks = std::env::var(NETWORKS).map_or(120, |text| text.parse().unwrap());
    let mut seen = std::collections::BTreeSet::new();
    let (mut runs, mut predicted) = (0, 0.0);
    for seed in 0..networks {
        let network = Builder::generate(seed);
        let plan = check_exact(&network, AccStrategy::WeightAware);
        seen.extend(steps(&plan));
        let samples = samples_of(&network).len();
        runs += samples;
        predicted += samples as f64 * (-f64::from(plan.spec().error_budget_log2)).exp2();
    }
    println!(
        "{networks} networks, {runs} runs, all exact; at most {predicted:.1e} wrong were to be expected"
    );
    assert!(predicted < 1e-6, "so many runs may well have a wrong one");
    assert_eq!(seen.len(), 11, "every step is run: {seen:?}");
}

/// Packing where it pays is rare in small networks: here it is forced.
#[test]
fn packed_networks_are_exact() {
    for (packing, expected) in [
        (PackingRule::WithinChannel, "within-channel"),
        (PackingRule::CrossChannel, "cross-channel"),
    ] {
        let mut packed = 0;
        for seed in 200..240 {
            let plan = check_packed(&Builder::generate(seed), AccStrategy::WeightAware, packing);
            let steps = plan.linear_steps();
            let name = |op: &LinearOp| op.packing.to_string();
            packed += steps.filter(|(_, step)| name(step.op).starts_with(expected)).count();
        }
        assert!(packed >= 5, "{packed} steps are packed {expected}");
    }
}

/// Calibrated on one sample without margin, accumulators overflow on others: runs wrap as the plan
/// says, and evaluations count it.
#[test]
fn calibrated_networks_overflow_deterministically() {
    let (mut overflown, mut narrower) = (0, 0);
    for seed in 0..60 {
        let network = Builder::generate(seed);
        let samples = samples_of(&network);
        let widest = compile_network(&network, &plan_options(AccStrategy::WeightAware)).unwrap();
        // Fields hold the sums of products even where accumulators overflow.
        let packing = [PackingRule::Auto, PackingRule::WithinChannel, PackingRule::CrossChannel];
        let packing = packing[seed as usize % 3];
        let (plan, overflows) = check_calibrated(&network, packing, &samples[..1], &samples);
        overflown += u32::from(overflows > 0);
        let pairs = acc_bits(&network, &plan).into_iter().zip(acc_bits(&network, &widest.plan));
        for (calibrated, weight_aware) in pairs {
            assert!(calibrated <= weight_aware, "{}", network.name);
            narrower += u32::from(calibrated < weight_aware);
        }
        if seed % 4 == 0 {
            let (_, overflows) = check_calibrated(&network, packing, &samples, &samples);
            assert_eq!(overflows, 0, "{}: what was calibrated on does not overflow", network.name);
        }
    }
    assert!(overflown >= 20 && narrower >= 60, "{overflown} networks, {narrower} sums");
}

#[test]
fn an_output_may_be_flattened() {
    let mut builder = Builder::new(1, Chw::new(2, 4, 4), INPUT);
    let last = builder.linear(3, Window::dense([3, 3], [1, 1], [0; 4]), None);
    builder.reshape(last, Chw::new(12, 1, 1));
    let plan = check_exact(&builder.network, AccStrategy::WeightAware);
    assert_eq!(steps(&plan), ["linear", "reshape", "open"]);
}

#[test]
fn shares_are_wider_than_the_bits_they_come_from() {
    let mut builder = Builder::new(2, Chw::new(4, 1, 1), IntRange { lo: 0, hi: 1 });
    let range = IntRange { lo: 0, hi: 255 };
    builder.linear(4, Window::POINT, Some(Requantize { shift: 0, range }));
    builder.linear(2, Window::POINT, None);
    let last = sum_of(&mut builder.network.layers[1]);
    let Term::Linear(linear) = &mut last.terms[0] else { panic!("linear") };
    Arc::make_mut(&mut linear.weights).fill(0);
    last.bias.fill(0);
    check_exact(&builder.network, AccStrategy::WeightAware);
}

#[test]
fn a_bias_that_saturates_every_output_is_no_fault() {
    for bias in [-10_000, 10_000] {
        let mut builder = Builder::new(3, Chw::new(4, 1, 1), INPUT);
        let range = IntRange { lo: -128, hi: 127 };
        builder.linear(3, Window::POINT, Some(Requantize { shift: 3, range }));
        builder.linear(2, Window::POINT, None);
        sum_of(&mut builder.network.layers[0]).bias.fill(bias);
        check_exact(&builder.network, AccStrategy::WeightAware);
    }
}

#[test]
fn a_pooled_input_costs_nothing() {
    let mut builder = Builder::new(4, Chw::new(1, 4, 4), INPUT);
    builder.max_pool(builder.last(), Window::dense([2, 2], [2, 2], [0; 4]));
    builder.linear(2, Window::POINT, None);
    let plan = check_exact(&builder.network, AccStrategy::WeightAware);
    assert_eq!(steps(&plan), ["max-pool", "linear", "open"]);
    assert_eq!(plan.cost(1).layers[0], heq_ir::plan::cost::PartCost::default());
}

/// A residual block: `y = requantize(linear(x) + 3*x)`, then a classifier.
#[test]
fn a_skip_reuses_the_shares_of_the_branch() {
    let mut builder = Builder::new(5, Chw::new(3, 4, 4), INPUT);
    let clamp = Requantize { shift: 4, range: IntRange { lo: 0, hi: 20 } };
    let trunk = builder.linear(3, Window::POINT, Some(clamp));
    let window = Window::dense([3, 3], [1, 1], [1; 4]);
    let terms = vec![
        builder.linear_term(trunk.shape, 3, window),
        Term::Scaled(ScaledTerm { input: trunk.shape, window: Window::POINT, factor: 3 }),
    ];
    builder.sum(&[trunk, trunk], terms, trunk.shape, Some(clamp));
    builder.linear(2, Window::dense([4, 4], [1, 1], [0; 4]), None);
    let plan = check_exact(&builder.network, AccStrategy::WeightAware);
    let expected = [
        ["linear", "requantize", "to-arithmetic"].as_slice(),
        &["linear", "combine", "requantize", "to-arithmetic", "linear", "open"],
    ];
    assert_eq!(steps(&plan), expected.concat());
    check_exact(&builder.network, AccStrategy::WorstCase);
}

/// Two tensors of 2 bits are added by one look-up, and the branch needs no arithmetic shares.
#[test]
fn a_sum_of_few_bits_is_looked_up() {
    let mut builder = Builder::new(12, Chw::new(3, 5, 5), INPUT);
    let two_bits = |shift, lo| Requantize { shift, range: IntRange { lo, hi: lo + 3 } };
    let trunk = builder.linear(3, Window::POINT, Some(two_bits(4, 0)));
    let branch = builder.linear(3, Window::dense([3, 3], [1, 1], [1; 4]), Some(two_bits(4, -1)));
    let scaled =
        |factor| Term::Scaled(ScaledTerm { input: trunk.shape, window: Window::POINT, factor });
    builder.sum(&[branch, trunk], vec![scaled(3), scaled(2)], trunk.shape, Some(two_bits(2, 0)));
    sum_of(&mut builder.network.layers[2]).bias.fill(-1);
    builder.linear(2, Window::dense([5, 5], [1, 1], [0; 4]), None);
    let plan = check_exact(&builder.network, AccStrategy::WeightAware);
    let expected = [
        ["linear", "requantize", "to-arithmetic"].as_slice(),
        &["linear", "requantize", "table", "to-arithmetic", "linear", "open"],
    ];
    assert_eq!(steps(&plan), expected.concat());
    let options = plan_options(AccStrategy::WeightAware);
    let compiled = compile_network(&builder.network, &options).unwrap();
    // (3*(x - 1) + 2*y - 1 + 2) >> 2, at x + 4*y.
    let expected = [0, 0, 1, 1, 0, 0, 1, 2, 0, 1, 2, 2, 1, 1, 2, 3];
    assert_eq!(compiled.weights.tables()[0].entries, expected);
    // 4 choice bits and 15 entries of 2 bits an element.
    let table = plan.layers().iter().position(|layer| layer.kind.op().name() == "table").unwrap();
    assert_eq!(plan.layer_traffic()[table].payload_bytes(), (4 * 10, 30 * 10));
    // An index of 5 and 4 bits is too wide.
    let mut builder = Builder::new(13, Chw::new(3, 5, 5), INPUT);
    let clamp = Some(Requantize { shift: 4, range: IntRange { lo: 0, hi: 15 } });
    let trunk = builder.linear(3, Window::POINT, clamp);
    let terms = vec![scaled(3), scaled(2)];
    let wide = Some(Requantize { shift: 4, range: IntRange { lo: 0, hi: 31 } });
    let branch = builder.linear(3, Window::dense([3, 3], [1, 1], [1; 4]), wide);
    builder.sum(&[branch, trunk], terms, trunk.shape, clamp);
    builder.linear(2, Window::dense([5, 5], [1, 1], [0; 4]), None);
    let plan = check_exact(&builder.network, AccStrategy::WeightAware);
    assert!(steps(&plan).contains(&"combine") && !steps(&plan).contains(&"table"));
}

/// Three branches whose accumulators are added need two guard bits.
#[test]
fn accumulators_add_up() {
    let mut builder = Builder::new(6, Chw::new(3, 3, 3), INPUT);
    for (terms, guard_bits) in [(2, 2), (3, 2), (4, 3), (7, 3)] {
        builder.network.layers.clear();
        builder.values.truncate(1);
        let input = builder.last();
        let terms: Vec<Term> =
            (0..terms).map(|_| builder.linear_term(input.shape, 2, Window::POINT)).collect();
        builder.sum(&vec![input; terms.len()], terms, Chw::new(2, 3, 3), None);
        let plan = check_exact(&builder.network, AccStrategy::WeightAware);
        let found = plan.layers().iter().find_map(|layer| {
            if let LayerKind::Combine(op) = &layer.kind { Some(op.guard_bits) } else { None }
        });
        assert_eq!(found, Some(guard_bits));
    }
}

/// Reading every second row halves what is converted; a reshape converts its source once for both.
#[test]
fn rearranged_values_are_converted_where_it_costs_least() {
    let clamp = Requantize { shift: 4, range: IntRange { lo: -3, hi: 20 } };
    let check = |rearrange: fn(&mut Builder, Value), expected: &[&str]| {
        let mut builder = Builder::new(7, Chw::new(2, 4, 4), INPUT);
        let value = builder.linear(2, Window::POINT, Some(clamp));
        rearrange(&mut builder, value);
        let last = builder.last();
        builder.reshape(last, Chw::new(last.shape.len(), 1, 1));
        builder.linear(2, Window::POINT, None);
        let plan = check_exact(&builder.network, AccStrategy::WeightAware);
        assert_eq!(steps(&plan)[2..], *expected);
    };
    check(|_, _| {}, &["to-arithmetic", "reshape", "linear", "open"]);
    let slice = |builder: &mut Builder, value: Value| {
        let axis = |source, step| ViewAxis { source, start: 0, step };
        let axes = [axis(0, 1), axis(1, 2), axis(2, 1)];
        builder.view(value, View { axes, output: Chw::new(2, 2, 4), batch: 1 });
    };
    check(slice, &["view", "to-arithmetic", "reshape", "linear", "open"]);
    let both = |builder: &mut Builder, value: Value| {
        builder.max_pool(value, Window::dense([2, 2], [2, 2], [0; 4]));
        let pooled = builder.last();
        builder.concat(&[pooled, pooled]);
    };
    check(both, &["max-pool", "to-arithmetic", "concat", "reshape", "linear", "open"]);
}

#[test]
fn what_cannot_be_computed_is_refused_by_name() {
    type Build = fn(&mut Builder);
    let unquantized = |builder: &mut Builder| {
        builder.linear(2, Window::POINT, None);
        let last = builder.last();
        builder.table(Value { range: INPUT, ..last });
    };
    let wide = |builder: &mut Builder| {
        let input = builder.last();
        let terms = vec![Term::Scaled(ScaledTerm {
            input: input.shape,
            window: Window::POINT,
            factor: 100,
        })];
        let last = builder.sum(&[input], terms, input.shape, None);
        builder.max_pool(last, Window::POINT);
    };
    let no_weights = |builder: &mut Builder| {
        let last = builder.last();
        builder.reshape(last, Chw::new(16, 1, 1));
    };
    let cases: [(Build, &str, &str); 3] = [
        (unquantized, "Table 1", "unquantized"),
        (wide, "MaxPool 1", "more than 8 bits"),
        (no_weights, "y", "its own input"),
    ];
    for (build, place, what) in cases {
        let mut builder = Builder::new(8, Chw::new(1, 4, 4), INPUT);
        build(&mut builder);
        let options = plan_options(AccStrategy::WeightAware);
        let found = compile_network(&builder.network, &options).unwrap_err();
        let first = found.iter().next().unwrap();
        assert_eq!((first.code, first.place.as_str()), (Code::UnsupportedForm, place));
        assert!(first.what.contains(what), "{first}");
    }
}

#[test]
fn tables_are_checked_against_the_plan() {
    let mut builder = Builder::new(9, Chw::new(2, 2, 2), INPUT);
    builder.table(builder.last());
    let compiled = compile_network(&builder.network, &plan_options(AccStrategy::WeightAware));
    let compiled = compiled.unwrap();
    let changes: [fn(&mut WeightsSpec); 4] = [
        |spec| spec.tables.clear(),
        |spec| spec.tables.push(spec.tables[0].clone()),
        |spec| spec.tables[0].entries.truncate(15),
        |spec| spec.tables[0].entries = vec![255; 16 * 3],
    ];
    for change in changes {
        let mut spec = compiled.weights.spec().clone();
        assert!(ServerWeights::check(spec.clone(), &compiled.plan, "weights").is_ok());
        change(&mut spec);
        let found = ServerWeights::check(spec, &compiled.plan, "weights");
        assert_eq!(found.unwrap_err().code, Code::PlanRejected);
    }
}

/// The steps that LeNet lacks, in plans with changed bytes under a right checksum.
#[test]
fn mutated_plans_never_panic() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let mut accepted = 0;
    for seed in 0..60 {
        let options = plan_options(AccStrategy::WeightAware);
        let compiled = compile_network(&Builder::generate(seed), &options).unwrap();
        for _ in 0..300 {
            let mut bytes = compiled.plan_bytes.clone();
            for _ in 0..1 + rng.next_u32() % 2 {
                let range = (bytes.len() - HEADER_BYTES) as u32;
                bytes[HEADER_BYTES + (rng.next_u32() % range) as usize] = rng.next_u32() as u8;
            }
            let (head, payload) = bytes.split_at(HEADER_BYTES);
            let digest = Sha256::new().chain_update(&head[..HEADER_BYTES - 32]);
            let digest = digest.chain_update(payload).finalize();
            bytes[HEADER_BYTES - 32..HEADER_BYTES].copy_from_slice(&digest);
            if let Ok(plan) = decode_plan(&bytes) {
                accepted += 1;
                let _ = (plan.cost(1), heq_compiler::report::to_table(&plan));
                let _ = heq_compiler::report::to_json(&plan);
            }
        }
    }
    assert!(accepted > 0, "some mutations change names alone");
}

#[test]
fn qonnx_and_qcdq_exports_give_the_same_network() {
    let Some(qonnx) = shared("models/lenet_mnist_w4a4_qonnx.onnx") else { return };
    let network = |path: &std::path::Path| {
        let bytes = std::fs::read(path).unwrap();
        let imported = import(&bytes, "lenet.onnx", &ImportOptions::default());
        imported.unwrap_or_else(|error| panic!("{error}")).network
    };
    // Tensors between operators are named differently.
    let nameless = |mut network: IntegerNetwork| {
        network.layers.iter_mut().for_each(|layer| layer.tensor.clear());
        network
    };
    let (qonnx, qcdq) = (nameless(network(&qonnx)), nameless(network(&lenet("model.onnx"))));
    assert!(qonnx.layers == qcdq.layers);
    assert_eq!(qonnx.input.quantization, qcdq.input.quantization);
    assert_eq!(qonnx.output.value, qcdq.output.value);
}
