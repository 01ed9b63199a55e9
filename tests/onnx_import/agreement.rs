//! Generated networks: the reference evaluator after the import agrees with the direct evaluation of
//! the ONNX model, bit for bit.
//!
//! Every real factor is exact in these networks, so rounding is all that could differ. The rule of the
//! direct evaluation is that of docs/integer-network.md: ties go to the even integer in the first
//! quantizer, which the client applies, and where the operand of a quantizer is a function of one
//! quantized tensor that becomes a table (any function, and an affine one of at most 6 bits); all other
//! quantizers round ties up.

use crate::semantics::{Dyadic, Rules, Tensor, evaluate};
use heq_compiler::compile::compile_network;
use heq_compiler::pass::elide_branch_quantizers::BranchQuantizers;
use heq_compiler::pass::lower_integer::multiplier::MultiplierBits;
use heq_compiler::pass::lower_integer::text::text;
use heq_compiler::pipeline::{ImportOptions, import_observed};
use heq_ir::graph::Graph;
use heq_ir::graph::op::Op;
use heq_ir::integer::{InputLayout, IntegerNetwork};
use heq_ir::plan::AccStrategy;
use heq_tests::onnx::builder::encode;
use heq_tests::onnx::generate::{Form, Generated, Limits, generate};
use heq_tests::plan_options;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tract_onnx::pb::tensor_proto::DataType;

/// Inputs that every network is evaluated on.
const SAMPLES: u64 = 2;

#[test]
fn generated_networks_mean_what_onnx_says() {
    check_all(0..240, BranchQuantizers::Keep, |seed| Limits {
        wide: seed % 8 >= 4,
        steps: 1 + (seed / 8 % 5).cast_signed(),
    });
}

#[test]
fn without_quantizers_on_branches_too() {
    check_all(1000..1120, BranchQuantizers::Elide, |_| Limits { wide: true, steps: 4 });
}

#[test]
fn generated_networks_hold_every_operator() {
    let limits = Limits { wide: false, steps: 5 };
    let mut operators = BTreeSet::new();
    for seed in 0..480 {
        let graph = generate(seed, limits).model.graph.unwrap();
        operators.extend(graph.node.into_iter().map(|node| node.op_type));
    }
    let expected = [
        "Add",
        "AveragePool",
        "BatchNormalization",
        "BipolarQuant",
        "Clip",
        "Concat",
        "Conv",
        "DequantizeLinear",
        "Flatten",
        "Gemm",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "MatMul",
        "MaxPool",
        "Mul",
        "PRelu",
        "Pad",
        "QGemm",
        "QLinearAdd",
        "QLinearAveragePool",
        "QLinearConcat",
        "QLinearConv",
        "QLinearGlobalAveragePool",
        "QLinearLeakyRelu",
        "QLinearMatMul",
        "QLinearSigmoid",
        "Quant",
        "QuantizeLinear",
        "Relu",
        "Reshape",
        "Sigmoid",
        "Slice",
        "Sub",
        "Tanh",
        "Transpose",
    ];
    assert_eq!(operators.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

/// Checks the networks of all seeds, and fails with those that disagree.
fn check_all(seeds: std::ops::Range<u64>, branches: BranchQuantizers, limits: fn(u64) -> Limits) {
    let failed: Vec<u64> = seeds
        .filter(|&seed| {
            let generated = generate(seed, limits(seed));
            let form = generated.form;
            // The graph's names are not the model's there, so nobody can say what was elided.
            if branches == BranchQuantizers::Elide && form == Form::QOperator {
                return false;
            }
            let result = catch_unwind(AssertUnwindSafe(|| check(seed, &generated, branches)));
            result.inspect_err(|_| eprintln!("seed {seed}, {form:?}")).is_err()
        })
        .collect();
    assert!(failed.is_empty(), "{} seeds: {failed:?}", failed.len());
}

fn check(seed: u64, generated: &Generated, branch_quantizers: BranchQuantizers) {
    let bytes = encode(&generated.model);
    let multiplier_bits =
        generated.multiplier_bits.map_or(MultiplierBits::Auto, MultiplierBits::Fixed);
    let options = ImportOptions { multiplier_bits, branch_quantizers, ..ImportOptions::default() };
    let mut elided = BTreeSet::new();
    let mut observer = |pass: &'static str, graph: &Graph| match pass {
        "fold_affine" => elided = quantizers(graph),
        "elide_branch_quantizers" => elided.retain(|name| !quantizers(graph).contains(name)),
        _ => {}
    };
    let imported = import_observed(&bytes, "generated.onnx", &options, &mut observer)
        .unwrap_or_else(|error| panic!("{error}"));
    let network = &imported.network;
    let compiled = compile_network(network, &plan_options(AccStrategy::WeightAware))
        .unwrap_or_else(|error| panic!("{error}\n{}", text(network)));
    let rules = Rules { even: &generated.even, elided: &elided };
    let graph = generated.model.graph.as_ref().unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    for _ in 0..SAMPLES {
        let (given, x) = sample(generated, network, &mut rng);
        let found = heq_ir::eval::evaluate(&compiled.plan, &compiled.weights, &x).unwrap();
        let scale = Dyadic::from_f64(network.output.scale);
        let found: Vec<Dyadic> =
            found.output().iter().map(|&y| Dyadic::from(i128::from(y)) * scale).collect();
        let tensors = evaluate(graph, given, &rules);
        let mut expected = tensors[&generated.output].clone();
        if let Some(stored) = generated.stored {
            let zero = Dyadic::from(i128::from(stored.zero));
            let scale = Dyadic::from_f64(f64::from(stored.scale.value()));
            expected.values.iter_mut().for_each(|y| *y = (*y - zero) * scale);
        }
        if found != expected.values {
            let reals = |list: &[Dyadic]| list.iter().map(|y| y.to_f64()).collect::<Vec<_>>();
            let (found, expected) = (reals(&found), reals(&expected.values));
            panic!("{found:?}\nexpected {expected:?}\n{}", text(network));
        }
    }
}

/// Names of the tensors that quantizers make.
fn quantizers(graph: &Graph) -> BTreeSet<String> {
    let nodes = graph.topological().into_iter().map(|id| graph.node(id));
    nodes
        .filter(|node| matches!(node.op, Op::Quantize(_)))
        .map(|node| node.tensor.clone())
        .collect()
}

/// A random input as the model has it, and quantized as the integer network has it. Reals lie on and
/// between steps, with ties, and beyond the range.
fn sample(
    generated: &Generated,
    network: &IntegerNetwork,
    rng: &mut ChaCha20Rng,
) -> (Tensor, Vec<i64>) {
    let quantizer = generated.quantizer;
    let mut draw =
        |lo: i64, hi: i64| lo + (rng.next_u64() % (hi - lo + 1).cast_unsigned()).cast_signed();
    let count: usize = generated.input.iter().product();
    let (lo, hi) = quantizer.range();
    let dims = generated.input.clone();
    let order: Vec<usize> = match network.input.layout {
        InputLayout::Nchw => (0..count).collect(),
        InputLayout::Nhwc => {
            let channels = dims[3];
            let plane = count / channels;
            (0..count).map(|index| index % plane * channels + index / plane).collect()
        }
    };
    if generated.integers {
        let values: Vec<i64> = (0..count).map(|_| draw(quantizer.lo, quantizer.hi)).collect();
        let given = values.iter().map(|&value| Dyadic::from(i128::from(value))).collect();
        let arranged: Vec<i64> = order.iter().map(|&index| values[index]).collect();
        let x = network.input.remove_zero_point(&arranged);
        return (Tensor { dims, values: given, ty: quantizer.ty }, x);
    }
    let quarter = quantizer.scale.value() / 4.0;
    let values: Vec<f32> =
        (0..count).map(|_| draw(4 * lo - 8, 4 * hi + 8) as f32 * quarter).collect();
    let given = values.iter().map(|&value| Dyadic::from_f64(f64::from(value))).collect();
    let arranged: Vec<f32> = order.iter().map(|&index| values[index]).collect();
    let x = network.input.quantize(&arranged);
    (Tensor { dims, values: given, ty: DataType::Float }, x)
}
