//! The pipeline on a trained network, and on thousands of damaged copies of it.

use super::*;
use crate::pass::lower_integer::text::text as network_text;
use heq_ir::geometry::Chw;
use heq_ir::graph::text::text;
use heq_ir::integer::{IntRange, IntegerLayer, IntegerOp, LinearTerm, Term, ValueId};

const LENET: &[u8] = include_bytes!("../../../examples/onnx/lenet_mnist/model.onnx");

fn lenet(multiplier_bits: MultiplierBits) -> IntegerNetwork {
    let options = ImportOptions { multiplier_bits, ..ImportOptions::default() };
    match import(LENET, "dir/lenet.onnx", &options) {
        Ok(imported) => imported.network,
        Err(error) => panic!("{error}"),
    }
}

/// The one linear term of a layer, if it is such a sum.
fn linear_term(layer: &mut IntegerLayer) -> Option<&mut LinearTerm> {
    let IntegerOp::Sum(sum) = &mut layer.op else { return None };
    match &mut sum.terms[..] {
        [Term::Linear(linear)] => Some(linear),
        _ => None,
    }
}

#[test]
fn lenet_has_its_layers() {
    let mut network = lenet(MultiplierBits::Auto);
    assert_eq!(network.name, "lenet");
    assert_eq!(network.input.shape, Chw::new(1, 28, 28));
    assert_eq!(network.input.quantization.range, IntRange { lo: -128, hi: 127 });
    let mut found = Vec::new();
    for layer in &mut network.layers {
        let (name, operator) = (layer.name.clone(), layer.operator.clone());
        if let Some(linear) = linear_term(layer) {
            let geometry = linear.geometry;
            let output = geometry.output().unwrap();
            assert_eq!(linear.weights.len(), output.channels * geometry.fan_in());
            assert_eq!(linear.multipliers.len(), output.channels);
            let limit = 1_i64 << (linear.weight_bits - 1);
            assert!(linear.weights.iter().all(|&w| (-limit..limit).contains(&w.into())));
            let (bits, mu) = (linear.weight_bits, linear.multiplier_bits);
            let IntegerOp::Sum(sum) = &layer.op else { panic!("not a sum") };
            assert_eq!((sum.output, sum.bias.len()), (output, output.channels));
            let requantize = sum.requantize.map(|r| (r.shift, r.range.lo, r.range.hi));
            found.push(format!(
                "{name} {operator} {}->{output} w{bits} mu{mu} {requantize:?}",
                geometry.input
            ));
        } else {
            found.push(format!("{name} {operator}"));
        }
    }
    let expected = [
        "/c1/Conv Conv 1x28x28->8x28x28 w8 mu8 Some((19, 0, 15))",
        "/p/MaxPool MaxPool",
        "/c2/Conv Conv 8x14x14->16x10x10 w4 mu7 Some((12, 0, 15))",
        "/p_1/MaxPool MaxPool",
        "/Flatten Flatten",
        "/f1/MatMul MatMul 400x1x1->120x1x1 w4 mu7 Some((12, 0, 15))",
        "/f2/MatMul MatMul 120x1x1->84x1x1 w4 mu8 Some((12, 0, 15))",
        "/f3/Gemm Gemm 84x1x1->10x1x1 w8 mu3 None",
    ];
    assert_eq!(found, expected);
    let mut layers = network.layers.iter().enumerate();
    assert!(layers.all(|(index, layer)| layer.inputs == [ValueId(index)]));
    assert_eq!((network.output.name.as_str(), network.output.value), ("95", ValueId(8)));
}

#[test]
fn multiplier_width_can_be_fixed() {
    let mut network = lenet(MultiplierBits::Fixed(5));
    for layer in &mut network.layers {
        let quantized = matches!(&layer.op, IntegerOp::Sum(sum) if sum.requantize.is_some());
        let name = layer.name.clone();
        if let Some(linear) = linear_term(layer) {
            // The result is four times finer than its products, for the sake of its bias.
            let expected = if quantized { 5 } else { 3 };
            assert_eq!(linear.multiplier_bits, expected, "{name}");
            assert!(linear.multipliers.iter().all(|m| m.abs() < 32));
        }
    }
    let multiplier_bits = MultiplierBits::Fixed(0);
    let options = ImportOptions { multiplier_bits, ..ImportOptions::default() };
    let found = import(LENET, "lenet.onnx", &options).unwrap_err();
    assert_eq!(found.iter().next().map(|found| found.code), Some(Code::BadOption));
}

#[test]
fn every_pass_shows_its_graph() {
    let mut seen = Vec::new();
    let options = ImportOptions::default();
    import_observed(LENET, "lenet.onnx", &options, &mut |pass, graph| {
        seen.push((pass, text(graph).lines().count()));
    })
    .unwrap();
    let names: Vec<&str> = seen.iter().map(|(pass, _)| *pass).collect();
    let expected: Vec<&str> =
        std::iter::once(IMPORTED).chain(PASSES.iter().map(|pass| pass.name)).collect();
    assert_eq!(names, expected);
    assert!(seen[0].1 > seen[PASSES.len()].1, "{seen:?}");
}

#[test]
fn import_is_deterministic() {
    let once = network_text(&lenet(MultiplierBits::Auto));
    assert_eq!(once, network_text(&lenet(MultiplierBits::Auto)));
    assert!(once.contains("network lenet"));
}

/// The bytes of every weight lie in large initializers; changing them all moves no public number.
#[test]
fn weights_change_nothing_but_weights() {
    let mut network = lenet(MultiplierBits::Auto);
    let weights = linear_term(&mut network.layers[0]).unwrap().weights.clone();
    let raw: Vec<u8> = weights.iter().map(|w| i8::try_from(*w).unwrap().cast_unsigned()).collect();
    let at = LENET.windows(raw.len()).position(|window| window == raw).unwrap();
    let mut bytes = LENET.to_vec();
    bytes[at..at + raw.len()].fill(1);
    let mut other = import(&bytes, "lenet.onnx", &ImportOptions::default()).unwrap().network;
    let changed = linear_term(&mut other.layers[0]).unwrap();
    assert!(changed.weights.iter().all(|&w| w == 1));
    changed.weights.clone_from(&weights);
    assert_eq!(other, network);
}

/// A small generator (Knuth's MMIX constants), so that a failure can be repeated from its seed.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

#[test]
fn damaged_files_never_panic() {
    // Initializer data is most of the file; half of the damage goes to the rest.
    let structure: Vec<usize> =
        (0..LENET.len()).filter(|&at| LENET[at.saturating_sub(8)..=at].is_ascii()).collect();
    for seed in 0..3000 {
        let mut random = Lcg(seed);
        let mut bytes = LENET.to_vec();
        for _ in 0..=random.below(4) {
            let at = if random.below(2) == 0 {
                random.below(bytes.len())
            } else {
                structure[random.below(structure.len())]
            };
            bytes[at] ^= 1 << random.below(8);
        }
        if random.below(8) == 0 {
            bytes.truncate(random.below(bytes.len()));
        }
        let outcome =
            std::panic::catch_unwind(|| import(&bytes, "x.onnx", &ImportOptions::default()));
        let Ok(outcome) = outcome else { panic!("seed {seed} panics") };
        if let Err(found) = outcome {
            assert!(found.iter().all(|one| one.code != Code::Internal), "seed {seed}: {found}");
        }
    }
}
