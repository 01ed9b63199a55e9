//! Calibrated widths of networks whose sums are known.

use super::*;
use crate::kernel::packing::PackingRule;
use crate::kernel::price::Resources;
use crate::select::options::{Effort, Restriction, SearchOptions};
use crate::select::ot::OtRule;
use heq_ir::eval;
use heq_ir::geometry::{Chw, ConvGeometry};
use heq_ir::integer::{
    InputElement, InputLayout, InputMap, IntRange, IntegerLayer, LinearTerm, NetworkInput,
    NetworkOutput, Quantization, Requantize, Rounding, SumOp, Term, ValueId,
};
use heq_ir::link::LinkProfile;
use heq_ir::plan::reveal::Reveal;
use heq_ir::plan::{LayerKind, OtExtension};
use heq_ir::rounding::AccRounding;
use std::time::Duration;

/// `5 + 3*x0 - 2*x1` of two inputs in 0..=15.
fn network(requantize: Option<Requantize>) -> IntegerNetwork {
    let linear = LinearTerm {
        geometry: ConvGeometry::fully_connected(2, 1),
        weights: vec![3, -2].into(),
        weight_bits: 4,
        multipliers: vec![1],
        multiplier_bits: 0,
    };
    let output = Chw::new(1, 1, 1);
    let op = SumOp { output, terms: vec![Term::Linear(linear)], bias: vec![5], requantize };
    IntegerNetwork {
        name: "sum".to_owned(),
        input: NetworkInput {
            name: "x".to_owned(),
            shape: Chw::new(2, 1, 1),
            layout: InputLayout::Nchw,
            element: InputElement::Real,
            map: InputMap::identity(),
            quantization: Quantization { scale: 0.5, range: IntRange { lo: 0, hi: 15 } },
            rounding: Rounding::HalfEven,
        },
        layers: vec![IntegerLayer {
            name: "fc".to_owned(),
            operator: "Gemm".to_owned(),
            tensor: "t".to_owned(),
            inputs: vec![ValueId(0)],
            op: IntegerOp::Sum(op),
        }],
        output: NetworkOutput { name: "y".to_owned(), value: ValueId(1), scale: 1.0 },
        batch: 1,
    }
}

fn compile_on(
    network: &IntegerNetwork,
    acc_strategy: AccStrategy,
    samples: &[[i64; 2]],
) -> Result<Compiled, Diagnostics> {
    let options = PlanOptions {
        acc_strategy,
        ot: OtRule::Fixed(OtExtension::SoftSpoken { field_bits: 4 }),
        ..PlanOptions::default()
    };
    compile_calibrated(network, &options, &as_samples(samples), &mut |_, _| {})
}

fn as_samples(inputs: &[[i64; 2]]) -> Vec<Sample> {
    inputs.iter().map(|input| Sample::Integer(input.to_vec())).collect()
}

fn acc_bits(compiled: &Compiled) -> Option<u32> {
    compiled.plan.layers()[0].kind.acc_bits()
}

#[test]
fn widths_hold_what_the_samples_took_and_the_margin() {
    // Adds 2 before the shift; the protocol needs s + b + 1 = 6 bits.
    let shifted = Some(Requantize { shift: 2, range: IntRange { lo: 0, hi: 7 } });
    // Adds 2 + 32.
    let signed = Some(Requantize { shift: 2, range: IntRange { lo: -8, hi: -5 } });
    for (requantize, samples, margin_bits, used_bits, expected, widest) in [
        (None, vec![[0, 0]], 0, 4, 4, 7),
        (None, vec![[0, 0]], 1, 4, 5, 7),
        (None, vec![[0, 0]], 2, 4, 6, 7),
        (None, vec![[0, 0]], 16, 4, 7, 7),
        (None, vec![[0, 6]], 0, 4, 4, 7),
        (None, vec![[0, 7]], 0, 5, 5, 7),
        (None, vec![[0, 0], [15, 0], [1, 1]], 0, 7, 7, 7),
        (shifted, vec![[0, 0]], 0, 4, 6, 7),
        (shifted, vec![[0, 0]], 1, 4, 6, 7),
        (shifted, vec![[0, 0]], 3, 4, 7, 7),
        (shifted, vec![[8, 0]], 0, 6, 6, 7),
        (shifted, vec![[9, 0]], 0, 7, 7, 7),
        (signed, vec![[0, 0]], 0, 7, 7, 8),
        (signed, vec![[9, 0]], 0, 8, 8, 8),
    ] {
        let name = format!("{requantize:?} {samples:?} {margin_bits}");
        let network = network(requantize);
        let wide = compile_on(&network, AccStrategy::WeightAware, &[]).unwrap();
        assert_eq!((acc_bits(&wide), &wide.plan.spec().calibration), (Some(widest), &None));
        let strategy = AccStrategy::Calibrated { margin_bits };
        let compiled = compile_on(&network, strategy, &samples).unwrap();
        assert_eq!(acc_bits(&compiled), Some(expected), "{name}");
        let observed = vec![ObservedSum { step: 0, used_bits }];
        let calibration = Calibration { samples: samples.len() as u64, observed };
        assert_eq!(compiled.plan.spec().calibration, Some(calibration), "{name}");
        if let LayerKind::Requantize { widths, .. } = &compiled.plan.layers()[1].kind {
            assert!(widths.acc_bits == expected && widths.is_valid(), "{name}");
        }
        let free = format!("fc {}", expected - used_bits);
        assert!(compiled.notes[0].contains("empirical") && compiled.notes[1].ends_with(&free));
    }
}

#[test]
fn overflows_are_counted_and_wrap() {
    let strategy = AccStrategy::Calibrated { margin_bits: 0 };
    let compiled = compile_on(&network(None), strategy, &[[0, 0]]).unwrap();
    // Four bits hold -8..=7.
    for (input, sum, output) in
        [([0, 0], 5, 5), ([0, 6], -7, -7), ([1, 0], 8, -8), ([0, 7], -9, 7), ([15, 0], 50, 2)]
    {
        let samples = as_samples(&[input]);
        let found = evaluate(&compiled.plan, &compiled.weights, &samples, None, &mut |_| Ok(()));
        let found = found.unwrap();
        let overflows = u64::from(sum != output);
        assert_eq!(found.overflows(), overflows, "{input:?}");
        assert_eq!(found.accumulators[0].free_bits() < 0, overflows > 0, "{input:?}");
        let values = eval::evaluate(&compiled.plan, &compiled.weights, &input).unwrap();
        assert_eq!(values.output(), [output], "{input:?}");
    }
}

#[test]
fn there_must_be_samples() {
    let strategy = AccStrategy::Calibrated { margin_bits: 1 };
    let found = compile_on(&network(None), strategy, &[]).unwrap_err();
    assert_eq!(found.iter().map(|one| one.code).collect::<Vec<_>>(), [Code::BadOption]);
}

const LENET: &[u8] = include_bytes!("../../../examples/onnx/lenet_mnist/model.onnx");

/// What the search compares is what the plan counts, also where shares are lifted.
#[test]
fn candidates_cost_what_the_plan_says() {
    let network = import(LENET, "lenet.onnx", &ImportOptions::default()).unwrap().network;
    for (packing, acc_strategy) in [
        (PackingRule::None, AccStrategy::WeightAware),
        (PackingRule::Auto, AccStrategy::WorstCase),
        (PackingRule::WithinChannel, AccStrategy::WeightAware),
        (PackingRule::CrossChannel, AccStrategy::WeightAware),
        (PackingRule::CrossChannel, AccStrategy::WorstCase),
    ] {
        let options = PlanOptions {
            acc_strategy,
            ot: OtRule::Fixed(OtExtension::SoftSpoken { field_bits: 4 }),
            search: SearchOptions {
                restriction: Restriction { packing, ..Restriction::default() },
                inferences: 100,
                effort: Effort::Quick,
                ..SearchOptions::default()
            },
            ..PlanOptions::default()
        };
        let facts = network_facts(&network, acc_strategy, AccRounding::Exact).unwrap();
        let lowered =
            assign_domains(&network, &facts, &LinearSteps::default(), Reveal::Logits).unwrap();
        let choice = choose(&network, &lowered, &facts, None, None, &options).unwrap().remove(0);
        let mut expected: Vec<_> = choice.selection.linear.into_iter().collect();
        expected.sort_by(|(a, _), (b, _)| a.cmp(b));
        let compiled = compile_network(&network, &options).unwrap();
        let cost = compiled.plan.cost(1);
        let steps: Vec<_> = compiled.plan.linear_steps().collect();
        assert_eq!(steps.len(), expected.len());
        for ((index, step), (_, candidate)) in steps.iter().zip(expected) {
            assert_eq!(step.op.packing, candidate.packing);
            assert_eq!(step.layout.counts(), candidate.counts);
            let layer = &cost.layers[*index];
            let Resources { bytes_up, bytes_down, .. } = candidate.resources;
            let bytes = [layer.bytes_up as f64, layer.bytes_down as f64];
            let is_same =
                bytes.iter().zip([bytes_up, bytes_down]).all(|(a, b)| (a - b).abs() < 0.5);
            assert!(is_same, "{candidate:?}: {bytes:?}");
            assert_eq!(layer.rots.total(), candidate.lifted as u64);
        }
        let is_packed = steps.iter().any(|(_, step)| step.op.packing != Packing::None);
        assert!(is_packed || matches!(packing, PackingRule::None | PackingRule::Auto));
    }
}

#[test]
fn a_ring_widens_accumulators_that_are_narrower() {
    let shifted = Some(Requantize { shift: 2, range: IntRange { lo: 0, hi: 7 } });
    let calibrated = AccStrategy::Calibrated { margin_bits: 0 };
    for (requantize, acc_strategy, ring_bits, expected) in [
        (None, AccStrategy::WeightAware, None, 7),
        (None, AccStrategy::WeightAware, Some(5), 7),
        (None, AccStrategy::WeightAware, Some(37), 37),
        (None, AccStrategy::WorstCase, Some(37), 37),
        (shifted, calibrated, Some(6), 6),
        (shifted, calibrated, Some(37), 37),
        // One guard bit of the 48 that shares have.
        (None, AccStrategy::WeightAware, Some(99), 47),
    ] {
        let options = PlanOptions {
            acc_strategy,
            ring_bits,
            ot: OtRule::Fixed(OtExtension::SoftSpoken { field_bits: 4 }),
            ..PlanOptions::default()
        };
        let samples = as_samples(&[[0, 0], [1, 15], [15, 0]]);
        let network = network(requantize);
        let compiled =
            compile_calibrated(&network, &options, &samples[..1], &mut |_, _| {}).unwrap();
        assert_eq!(acc_bits(&compiled), Some(expected), "{ring_bits:?}");
        if acc_strategy == calibrated {
            continue;
        }
        for (sample, sum) in samples.iter().zip([5, -22, 50]) {
            let Sample::Integer(input) = sample else { panic!("integers") };
            let values = eval::evaluate(&compiled.plan, &compiled.weights, input).unwrap();
            assert_eq!(values.output(), [sum], "{ring_bits:?}");
        }
    }
}

/// Fewer bytes where many random OTs share the set-up, less computation where bytes are cheap; and none
/// that is fixed is better.
#[test]
fn the_best_extension_follows_the_session_and_the_link() {
    let network = import(LENET, "lenet.onnx", &ImportOptions::default()).unwrap().network;
    let compile = |ot, inferences, mbits: u64| {
        let link = LinkProfile::new(mbits * 1_000_000, Duration::from_millis(4)).unwrap();
        let search = SearchOptions { inferences, network: link, ..SearchOptions::default() };
        let options = PlanOptions { ot, search, ..PlanOptions::default() };
        compile_network(&network, &options).unwrap()
    };
    let mut chosen = Vec::new();
    for (inferences, mbits) in [(1, 16), (1000, 16), (1, 8_000_000)] {
        let free = compile(OtRule::Auto, inferences, mbits);
        for extension in OtExtension::all().step_by(3) {
            let fixed = compile(OtRule::Fixed(extension), inferences, mbits);
            let [free, fixed] = [&free, &fixed].map(|found| found.choices.solver.objective);
            assert!(free <= fixed * 1.01, "{extension}: {free} above {fixed}");
        }
        chosen.push(free.plan.spec().ot);
    }
    assert!(matches!(chosen[1], OtExtension::Silent { .. }), "{chosen:?}");
    assert!(matches!(chosen[2], OtExtension::SoftSpoken { field_bits: 1..=4 }), "{chosen:?}");
}
