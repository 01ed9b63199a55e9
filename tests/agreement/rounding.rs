//! Early rounding between two parties: results are at most one step off, as often as predicted, and
//! traffic is what the plan counts.

use super::check_part;
use heq_compiler::compile::compile_network;
use heq_compiler::evaluate::evaluate as evaluate_samples;
use heq_compiler::lower::plan::{Compiled, PlanOptions};
use heq_data::Sample;
use heq_ir::eval::{evaluate, evaluate_rounded};
use heq_ir::geometry::{Chw, ConvGeometry, Window};
use heq_ir::integer::{
    InputElement, InputLayout, InputMap, IntRange, IntegerLayer, IntegerNetwork, IntegerOp,
    LinearTerm, NetworkInput, NetworkOutput, Quantization, Requantize, Rounding, ScaledTerm, SumOp,
    Term, ValueId,
};
use heq_ir::plan::AccStrategy;
use heq_ir::rounding::AccRounding;
use heq_tests::{TwoParties, compile_lenet, lenet, plan_options, run_both, samples};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::sync::Arc;

const INPUT: Chw = Chw::new(4, 56, 56);

const WITHIN: AccRounding = AccRounding::Within { bound_log2: 5 };

/// Random weights under wide multipliers.
fn convolution(size: usize, out_channels: usize, rng: &mut ChaCha20Rng) -> Term {
    let window = Window::dense([size; 2], [1; 2], [size / 2; 4]);
    let geometry = ConvGeometry { input: INPUT, out_channels, window, groups: 1, batch: 1 };
    let weights = (0..geometry.fan_in() * out_channels).map(|_| (rng.next_u32() % 16) as i32 - 8);
    let weights = Arc::new(weights.collect());
    let multipliers = (0..out_channels).map(|_| i64::from(rng.next_u32() % 128 + 128)).collect();
    Term::Linear(LinearTerm { geometry, weights, weight_bits: 4, multipliers, multiplier_bits: 8 })
}

/// One requantized sum of `terms`, all of which read the input.
fn network(terms: Vec<Term>, channels: usize) -> IntegerNetwork {
    let inputs = vec![ValueId(0); terms.len()];
    let op = SumOp {
        output: Chw { channels, ..INPUT },
        terms,
        bias: (0..channels as i64).map(|k| 1357 * k - 9_000).collect(),
        requantize: Some(Requantize { shift: 12, range: IntRange { lo: -8, hi: 7 } }),
    };
    IntegerNetwork {
        name: "sum".to_owned(),
        input: NetworkInput {
            name: "x".to_owned(),
            shape: INPUT,
            layout: InputLayout::Nchw,
            element: InputElement::Real,
            map: InputMap::identity(),
            quantization: Quantization { scale: 1.0, range: IntRange { lo: 0, hi: 15 } },
            rounding: Rounding::HalfEven,
        },
        layers: vec![IntegerLayer {
            name: "conv".to_owned(),
            operator: "Conv".to_owned(),
            tensor: "y".to_owned(),
            inputs,
            op: IntegerOp::Sum(op),
        }],
        output: NetworkOutput { name: "y".to_owned(), value: ValueId(1), scale: 1.0 },
        batch: 1,
    }
}

fn compile_rounded(network: &IntegerNetwork, rounding: AccRounding) -> Compiled {
    let options = PlanOptions { rounding, ..plan_options(AccStrategy::WeightAware) };
    compile_network(network, &options).unwrap_or_else(|error| panic!("{error}"))
}

/// Number of elements that differ, by one.
fn differing(found: &[i64], expected: &[i64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let distances = found.iter().zip(expected).map(|(a, b)| a.abs_diff(*b));
    distances.clone().for_each(|distance| assert!(distance <= 1, "off by {distance}"));
    distances.sum::<u64>() as f64
}

/// Whether a count of independent rare events is one that `mean` explains, but for one in 10^8.
fn assert_explained(found: f64, mean: f64, what: &str) {
    assert!((found - mean).abs() <= 6.0 * mean.sqrt(), "{what}: {found}, not about {mean}");
}

fn check_traffic(compiled: &Compiled, run: TwoParties) -> Vec<Vec<i64>> {
    let cost = compiled.plan.cost(1);
    let (outputs, client) = run.client.unwrap();
    let server = run.server.unwrap();
    for stats in [&client, &server] {
        check_part("set-up", &cost.setup, &stats.setup);
        check_part("correlations", &cost.correlations, &stats.correlations);
        for (index, measured) in stats.layers.iter().enumerate() {
            check_part(&compiled.plan.layers()[index].name, &cost.layers[index], measured);
        }
    }
    outputs
}

#[test]
fn results_differ_by_one_step_as_often_as_predicted() {
    let mut rng = ChaCha20Rng::seed_from_u64(17);
    let skip = ScaledTerm { input: INPUT, window: Window::POINT, factor: 777 };
    let one = vec![convolution(3, 12, &mut rng)];
    let sum = vec![convolution(3, 4, &mut rng), convolution(1, 4, &mut rng), Term::Scaled(skip)];
    for (what, network) in [("one", network(one, 12)), ("sum", network(sum, 4))] {
        let exact = compile_rounded(&network, AccRounding::Exact);
        let rounded = compile_rounded(&network, WITHIN);
        let bytes = [&exact, &rounded].map(|compiled| compiled.plan.cost(1).online().bytes());
        assert!(bytes[1] * 10 < bytes[0] * 9, "{what}: {bytes:?}");

        let x: Vec<i64> = (0..INPUT.len()).map(|_| i64::from(rng.next_u32() % 16)).collect();
        let expected = evaluate(&exact.plan, &exact.weights, &x).unwrap();
        // The rounded plan means the same integers.
        let same = evaluate(&rounded.plan, &rounded.weights, &x).unwrap();
        assert_eq!(same.output(), expected.output(), "{what}");

        let data = [Sample::Integer(x.clone())];
        let found = evaluate_samples(&rounded.plan, &rounded.weights, &data, None, &mut |_| Ok(()));
        let predicted = found.unwrap().differing_elements();
        let most = rounded.plan.differing_elements();
        assert!(predicted > 100.0 && predicted < most, "{what}: {predicted} of {most}");
        let elements = expected.output().len() as f64;
        assert!(most <= elements / 32.0 * 1.03 && most > elements / 32.0, "{what}: {most}");

        let outputs = check_traffic(&rounded, run_both(&rounded, std::slice::from_ref(&x)));
        let measured = differing(&outputs[0], expected.output());
        assert_explained(measured, predicted, what);

        // What the reference makes of shares drawn at random.
        let mut round = |index: usize, sums: &mut [i64]| {
            let rounding = rounded.plan.early_rounding(index).unwrap();
            let word_bits = rounding.rounded_word_bits() + rounding.dropped_bits();
            let guard_bits = rounding.dropped_bits() - rounding.accumulator_bits();
            let unused = u64::BITS - rounding.rounded_word_bits();
            for sum in sums {
                let client = rng.next_u64() >> (u64::BITS - word_bits);
                let server = (sum.cast_unsigned() << guard_bits).wrapping_sub(client);
                let words = rounding.round_client(client) + rounding.round_server(server);
                *sum = (words << unused).cast_signed() >> unused;
            }
            true
        };
        let simulated = evaluate_rounded(&rounded.plan, &rounded.weights, &x, &mut round).unwrap();
        let simulated = differing(simulated.output(), expected.output());
        assert_explained(simulated, predicted, what);
    }
}

#[test]
fn lenet_moves_fewer_bytes() {
    let exact = compile_lenet(&plan_options(AccStrategy::WeightAware));
    let rounding = AccRounding::Within { bound_log2: 8 };
    let options = PlanOptions { rounding, ..plan_options(AccStrategy::WeightAware) };
    let rounded = compile_lenet(&options);
    let bytes = [&exact, &rounded].map(|compiled| compiled.plan.cost(1).online().bytes());
    assert!(bytes[1] < bytes[0], "{bytes:?}");
    let samples = samples(&rounded.plan, &lenet("digit.png"), 1);
    let expected = evaluate(&exact.plan, &exact.weights, &samples[0]).unwrap();
    let outputs = check_traffic(&rounded, run_both(&rounded, &samples));
    let largest = |output: &[i64]| (0..output.len()).max_by_key(|&index| output[index]);
    assert_eq!(largest(&outputs[0]), largest(expected.output()));
}
