//! Changes of networks whose function is known, and advice on an example.

use super::*;
use crate::compile::compile_network;
use crate::pipeline::{ImportOptions, import};
use crate::select::options::{Effort, SearchOptions};
use heq_ir::eval;
use heq_ir::geometry::{Chw, ConvGeometry, Window};
use heq_ir::integer::{
    InputElement, InputLayout, InputMap, IntRange, LinearTerm, MaxPoolOp, NetworkInput,
    NetworkOutput, Quantization, Requantize, Rounding, ScaledTerm, TableOp, Term,
};
use heq_ir::link::LinkProfile;
use heq_ir::plan::OtExtension;
use rayon::ThreadPoolBuilder;

const LENET: &[u8] = include_bytes!("../../../examples/onnx/lenet_mnist/model.onnx");
const SHAPE: Chw = Chw { channels: 2, height: 2, width: 2 };
const POOLED: Chw = Chw { channels: 2, height: 1, width: 1 };

fn layer(name: &str, inputs: &[usize], op: IntegerOp) -> IntegerLayer {
    IntegerLayer {
        name: name.to_owned(),
        operator: "Conv".to_owned(),
        tensor: format!("{name}_out"),
        inputs: inputs.iter().map(|&id| ValueId(id)).collect(),
        op,
    }
}

fn network(layers: Vec<IntegerLayer>) -> IntegerNetwork {
    IntegerNetwork {
        name: "changes".to_owned(),
        input: NetworkInput {
            name: "x".to_owned(),
            shape: SHAPE,
            layout: InputLayout::Nchw,
            element: InputElement::Real,
            map: InputMap::identity(),
            quantization: Quantization { scale: 1.0, range: IntRange { lo: 0, hi: 7 } },
            rounding: Rounding::HalfEven,
        },
        output: NetworkOutput { name: "y".to_owned(), value: ValueId(layers.len()), scale: 0.5 },
        layers,
        batch: 1,
    }
}

fn linear(input: Chw, weights: &[i32], multipliers: &[i64]) -> Term {
    let largest = multipliers.iter().map(|m| m.unsigned_abs()).max().unwrap();
    let multiplier_bits = if largest == 1 { 0 } else { u64::BITS - largest.leading_zeros() };
    let out_channels = multipliers.len();
    Term::Linear(LinearTerm {
        geometry: ConvGeometry { input, out_channels, window: Window::POINT, groups: 1, batch: 1 },
        weights: weights.to_vec().into(),
        weight_bits: 4,
        multipliers: multipliers.to_vec(),
        multiplier_bits,
    })
}

fn scaled(input: Chw, factor: i64) -> Term {
    Term::Scaled(ScaledTerm { input, window: Window::POINT, factor })
}

fn sum(output: Chw, terms: Vec<Term>, bias: i64, requantize: Option<(u32, i64)>) -> IntegerOp {
    let range = |hi| IntRange { lo: 0, hi };
    let requantize = requantize.map(|(shift, hi)| Requantize { shift, range: range(hi) });
    IntegerOp::Sum(SumOp { output, terms, bias: vec![bias; output.channels], requantize })
}

/// `2*x` of the input, so that half of it is exact.
fn doubled(name: &str) -> IntegerLayer {
    let term = linear(SHAPE, &[1, 0, 0, 1], &[16, 16]);
    layer(name, &[0], sum(SHAPE, vec![term], 0, Some((3, 15))))
}

/// The two channels of value `id` as the network's output.
fn result(id: usize, input: Chw) -> IntegerLayer {
    let channels = i32::try_from(input.channels).unwrap();
    let weights: Vec<i32> = (0..2 * channels).map(|index| index % 7 + 1).collect();
    let shape = Chw { channels: 2, ..input };
    layer("result", &[id], sum(shape, vec![linear(input, &weights, &[3, 5])], -6, None))
}

fn max_pool(input: Chw) -> IntegerOp {
    let window = Window { kernel: [2, 2], strides: [2, 2], ..Window::POINT };
    IntegerOp::MaxPool(MaxPoolOp { input, window })
}

fn table(hi: i64, f: impl Fn(i64) -> i64) -> IntegerOp {
    let values: Vec<i64> = (0..=hi).map(f).collect();
    let output = IntRange { lo: 0, hi: 15 };
    IntegerOp::Table(TableOp { inputs: vec![IntRange { lo: 0, hi }], output, values })
}

/// Real outputs of inputs that take all values.
fn outputs(network: &IntegerNetwork) -> Vec<Vec<f64>> {
    let compiled = compile_network(network, &PlanOptions::default()).unwrap();
    let inputs = (0..24_i64).map(|seed| (0..8).map(|at| (seed * 5 + at * at * 3) % 8).collect());
    inputs
        .map(|input: Vec<i64>| {
            let values = eval::evaluate(&compiled.plan, &compiled.weights, &input).unwrap();
            values.output().iter().map(|&y| y as f64 * network.output.scale).collect()
        })
        .collect()
}

fn sum_of(network: &IntegerNetwork, layer: usize) -> &SumOp {
    let IntegerOp::Sum(op) = &network.layers[layer].op else { panic!("layer {layer}") };
    op
}

fn shift(network: &IntegerNetwork, layer: usize) -> u32 {
    sum_of(network, layer).requantize.unwrap().shift
}

/// Halves the quantizer of the first layers and compares the function; `shifts` are those of sums
/// afterwards, by layer.
fn check_halved(layers: Vec<IntegerLayer>, shared: &[usize], shifts: &[(usize, u32)]) {
    let network = network(layers);
    let quantizers = SharedQuantizer::all(&network);
    let quantizer = quantizers.first().unwrap();
    assert_eq!((&quantizer.layers[..], quantizer.bits), (shared, 4));
    let halved = quantizer.halved(&network).unwrap();
    for &index in shared {
        let found = sum_of(&halved, index).requantize.unwrap().range;
        assert_eq!(found, IntRange { lo: 0, hi: 7 });
    }
    for &(index, expected) in shifts {
        assert_eq!(shift(&halved, index), expected, "layer {index}");
    }
    assert_eq!(outputs(&halved), outputs(&network));
}

#[test]
fn a_bit_less_is_the_same_function_of_even_values() {
    let reads = |id, requantize| {
        let term = linear(SHAPE, &[1, 2, 3, -1], &[12, 8]);
        layer("reads", &[id], sum(SHAPE, vec![term], 4, requantize))
    };
    // Through a pooling into the result, whose step absorbs it.
    check_halved(
        vec![doubled("a"), layer("pool", &[1], max_pool(SHAPE)), result(2, POOLED)],
        &[0],
        &[(0, 3)],
    );
    // Into a requantization, whose shift absorbs it.
    check_halved(vec![doubled("a"), reads(1, Some((6, 15))), result(2, SHAPE)], &[0], &[(1, 5)]);
    // Both branches of a concatenation.
    let joined = Chw { channels: 4, ..SHAPE };
    check_halved(
        vec![
            doubled("a"),
            doubled("b"),
            layer("c", &[1, 2], IntegerOp::Concat { batch: 1 }),
            result(3, joined),
        ],
        &[0, 1],
        &[(0, 3), (1, 3)],
    );
    // One operand of an addition, by a factor of twice the size; odd factors keep their shift.
    let added = vec![linear(SHAPE, &[1, 0, 0, 1], &[3, 1]), scaled(SHAPE, 5)];
    check_halved(
        vec![
            doubled("a"),
            layer("b", &[0], sum(SHAPE, vec![linear(SHAPE, &[1; 4], &[1, 1])], 0, Some((0, 15)))),
            layer("add", &[2, 1], sum(SHAPE, added, 0, Some((3, 15)))),
            result(3, SHAPE),
        ],
        &[0],
        &[(2, 3)],
    );
    // A table that reads it, and one that makes it.
    check_halved(
        vec![doubled("a"), layer("f", &[1], table(15, |x| x * x % 16)), result(2, SHAPE)],
        &[0],
        &[],
    );
    let client = sum(SHAPE, vec![linear(SHAPE, &[1, 0, 0, 1], &[1, 1])], 0, Some((0, 7)));
    let mut made = network(vec![
        layer("a", &[0], client),
        layer("f", &[1], table(7, |x| 14 - 2 * x)),
        result(2, SHAPE),
    ]);
    let quantizers = SharedQuantizer::all(&made);
    let halved = quantizers[1].halved(&made).unwrap();
    assert_eq!(outputs(&halved), outputs(&made));
    // A quantizer of two bits stays.
    if let IntegerOp::Sum(SumOp { requantize: Some(requantize), .. }) = &mut made.layers[0].op {
        requantize.range.hi = 3;
    }
    assert_eq!(SharedQuantizer::all(&made)[0].layers, [1]);
}

#[test]
fn power_of_two_scales() {
    let with = |multipliers: &[i64], bias| {
        let terms = vec![linear(SHAPE, &[1, 2, -3, 1], multipliers), scaled(SHAPE, 8)];
        let conv = layer("conv", &[1, 1], sum(SHAPE, terms, bias, Some((5, 15))));
        network(vec![doubled("a"), conv, result(2, SHAPE)])
    };
    // They are, but for a common factor: the function stays.
    let present = with(&[8, -8], 24);
    let changed = power_of_two::apply(&present, None).unwrap();
    for index in 0..3 {
        let (_, term) = sum_of(&changed, index).linear_terms().next().unwrap();
        assert_eq!((&term.multipliers[..], term.multiplier_bits), (&[1, 1][..], 0));
        assert!(power_of_two::apply(&changed, Some(index)).is_none());
    }
    assert!(matches!(sum_of(&changed, 1).terms[1], Term::Scaled(ScaledTerm { factor: 1, .. })));
    assert_eq!((shift(&present, 1), shift(&changed, 1)), (5, 2));
    let one = power_of_two::apply(&present, Some(1)).unwrap();
    assert_eq!(outputs(&one), outputs(&present));
    assert_eq!((&one.layers[0], &one.layers[2]), (&present.layers[0], &present.layers[2]));
    // The nearest of others: 2^3 of 7 and 10, and the output's scale follows 3*5 as 2^2.
    let others = power_of_two::apply(&with(&[7, 10], 20), None).unwrap();
    assert_eq!((shift(&others, 1), sum_of(&others, 1).bias[0]), (2, 3));
    assert!((others.output.scale - 0.5 * 4.0).abs() < 1e-12);
    // Channels that are 0 stay 0.
    let zero = power_of_two::apply(&with(&[8, 0], 0), None).unwrap();
    let (_, term) = sum_of(&zero, 1).linear_terms().next().unwrap();
    assert_eq!((&term.weights[..], &term.multipliers[..]), (&[1, 2, 0, 0][..], &[1, 1][..]));
}

#[test]
fn sums_at_half_their_scale() {
    for (multipliers, factor, shift, is_coarser) in [
        (&[12, 8][..], 4, 4, true),
        // Odd, and so narrow that a bit would be missed.
        (&[12, 7], 4, 4, false),
        (&[12, 8], 5, 4, false),
        // Odd, with 3 bits to spare beyond the output's.
        (&[1001, 777], 1001, 4, true),
        (&[12, 8], 4, 1, false),
    ] {
        let terms = vec![linear(SHAPE, &[1; 4], multipliers), scaled(SHAPE, factor)];
        let IntegerOp::Sum(mut op) = sum(SHAPE, terms, 6, Some((shift, 15))) else { return };
        let before = op.clone();
        assert_eq!(coarser::coarsen(&mut op, 4), is_coarser, "{before:?}");
        assert_eq!(op == before, !is_coarser);
        let bias = if is_coarser { 3 } else { 6 };
        assert_eq!(
            (op.bias[0], op.requantize.unwrap().shift),
            (bias, shift - u32::from(is_coarser))
        );
    }
    for (value, bits, expected) in [(5, 0, 5), (5, 1, 3), (-5, 1, -3), (4, 1, 2), (-6, 2, -2)] {
        assert_eq!(coarser::shifted(value, bits), expected, "{value} by {bits}");
    }
}

#[test]
fn one_layer_stands_for_all_if_it_makes_most() {
    let (whole, layer) = (Change::PowerOfTwo(None), Change::PowerOfTwo(Some(3)));
    let other = Change::NarrowerSums(Some(3));
    for (of_whole, of_layer, kept) in [
        (10.0, 9.5, vec![&layer, &other]),
        (10.0, 8.0, vec![&whole, &other]),
        (0.0, 8.0, vec![&layer, &other]),
    ] {
        let saving = |change, worth| Saving { change, bytes: 1, seconds: 1.0, worth };
        let all = [(&whole, of_whole), (&layer, of_layer), (&other, 1.0)];
        let mut savings: Vec<Saving<'_>> =
            all.into_iter().filter(|(_, worth)| *worth > 0.0).map(|(c, w)| saving(c, w)).collect();
        without_repetitions(&mut savings);
        let found: Vec<&Change> = savings.iter().map(|saving| saving.change).collect();
        assert_eq!(found, kept, "{of_whole} {of_layer}");
    }
}

fn lenet() -> IntegerNetwork {
    import(LENET, "lenet.onnx", &ImportOptions::default()).unwrap().network
}

fn options(objective: Objective, link: LinkProfile) -> PlanOptions {
    // As changes are planned.
    let effort = Effort::Quick;
    let search = SearchOptions { objective, network: link, effort, ..SearchOptions::default() };
    let ot = OtRule::Fixed(OtExtension::Silent { log_rows: 20 });
    PlanOptions { search, ot, ..PlanOptions::default() }
}

#[test]
fn savings_are_differences_of_plans() {
    let network = lenet();
    for (objective, link) in
        [(Objective::Latency, LinkProfile::LAN), (Objective::Bytes, LinkProfile::WAN)]
    {
        let options = options(objective, link);
        let cost = |network: &IntegerNetwork, options: &PlanOptions| {
            let plan = compile_network(network, options).unwrap().plan;
            InferenceCost::of(&plan, &options.search)
        };
        let compiled = compile_network(&network, &options).unwrap();
        let present = cost(&network, &options);
        // The dearer network in the place of the one without quantizers is no advice.
        let dearer = {
            let mut dearer = network.clone();
            let IntegerOp::Sum(op) = &mut dearer.layers[0].op else { panic!() };
            op.bias[0] += 1 << 27;
            dearer
        };
        let of_dearer = cost(&dearer, &options);
        assert!(match objective {
            Objective::Bytes => of_dearer.bytes > present.bytes,
            Objective::Latency | Objective::OnlineLatency | Objective::Weighted { .. } =>
                of_dearer.seconds > present.seconds,
        });
        let advice = advise(&network, Some(&dearer), &options, &compiled.plan, 100);
        assert!(advice.iter().all(|one| !one.change.contains("branches")));
        let worth = |one: &Advice| match objective {
            Objective::Bytes => one.bytes as f64,
            Objective::Latency | Objective::OnlineLatency | Objective::Weighted { .. } => {
                one.seconds
            }
        };
        assert!(advice.iter().all(|one| worth(one) > 0.0), "{advice:?}");
        let rounded = PlanOptions {
            rounding: AccRounding::Within { bound_log2: EARLY_ROUNDING_LOG2 },
            ..options.clone()
        };
        let halved = SharedQuantizer::all(&network)[0].halved(&network).unwrap();
        let scaled = power_of_two::apply(&network, None).unwrap();
        for (phrase, changed) in [
            ("power-of-two", cost(&scaled, &options)),
            ("output of /c1/Conv to 3 bits", cost(&halved, &options)),
            ("--rounding within:2^-8", cost(&network, &rounded)),
        ] {
            let found = advice.iter().find(|one| one.change.contains(phrase));
            let found = found.unwrap_or_else(|| panic!("{phrase}: {advice:?}"));
            let bytes =
                i64::try_from(present.bytes).unwrap() - i64::try_from(changed.bytes).unwrap();
            assert_eq!(found.bytes, bytes, "{phrase}");
            assert!(
                (found.seconds - (present.seconds - changed.seconds)).abs() < 1e-12,
                "{phrase}"
            );
        }
        // Changes to the model come first, the best of them at most as many as asked for.
        let is_option = |one: &Advice| one.change.starts_with("compile with");
        let model: Vec<&Advice> = advice.iter().take_while(|one| !is_option(one)).collect();
        assert!(model.is_sorted_by(|a, b| worth(a) >= worth(b)) && model.len() > 2);
        assert!(advice[model.len()..].iter().all(is_option));
        let two = advise(&network, None, &options, &compiled.plan, 2);
        assert_eq!((&two[..2], &two[2..]), (&advice[..2], &advice[model.len()..]));
    }
}

#[test]
fn advice_does_not_depend_on_threads() {
    let network = lenet();
    let options = options(Objective::Latency, LinkProfile::WAN);
    let plan = compile_network(&network, &options).unwrap().plan;
    let on = |threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| advise(&network, Some(&network), &options, &plan, 3))
    };
    let found = on(2);
    assert_eq!(found, on(1));
    assert!(!found.is_empty());
}

/// Nothing is said of what the model has already.
#[test]
fn no_advice_for_what_is_done() {
    let network = power_of_two::apply(&lenet(), None).unwrap();
    let mut options = options(Objective::Bytes, LinkProfile::WAN);
    options.rounding = AccRounding::Within { bound_log2: 8 };
    options.acc_strategy = AccStrategy::Calibrated { margin_bits: 1 };
    let exact = PlanOptions { acc_strategy: AccStrategy::WeightAware, ..options.clone() };
    let plan = compile_network(&network, &exact).unwrap().plan;
    let advice = advise(&network, Some(&network), &options, &plan, 100);
    assert!(!advice.is_empty());
    for phrase in ["power-of-two", "branches", "--rounding", "--acc-bits"] {
        assert!(!advice.iter().any(|one| one.change.contains(phrase)), "{phrase}: {advice:?}");
    }
}
