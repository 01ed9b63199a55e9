//! The presets of the search: each restricts the plan as it says, and none changes a result.

use heq_compiler::compile::{CompileOptions, compile, compile_network};
use heq_compiler::lower::plan::{Compiled, PlanOptions};
use heq_compiler::pipeline::ImportOptions;
use heq_compiler::select::options::{Objective, Preset, SearchOptions};
use heq_ir::eval::evaluate;
use heq_ir::geometry::{Chw, ConvGeometry, Window};
use heq_ir::integer::IntegerNetwork;
use heq_ir::plan::{AccStrategy, LayerKind, Plan};
use heq_ir::secure::Packing;
use heq_tests::layer::{Widths, one_layer};
use heq_tests::{compile_lenet, compiled_lenet, lenet, plan_options, run_both, samples, shared};

fn options(preset: Preset) -> PlanOptions {
    let search = SearchOptions {
        objective: Objective::Bytes,
        inferences: 100,
        restriction: preset.restriction(),
        ..SearchOptions::default()
    };
    let default = plan_options(AccStrategy::WeightAware);
    PlanOptions { ring_bits: preset.ring_bits(), search, ..default }
}

/// Bytes of linear layers, both ways.
fn linear_bytes(plan: &Plan) -> u64 {
    let cost = plan.cost(1);
    plan.linear_steps().map(|(index, _)| cost.layers[index].bytes()).sum()
}

fn within_channel(plan: &Plan) -> usize {
    let packings = plan.linear_steps().map(|(_, step)| step.op.packing);
    packings.filter(|packing| matches!(packing, Packing::WithinChannel { .. })).count()
}

/// What a run of both parties gives, after it was compared with the reference.
fn run(compiled: &Compiled, inputs: &[Vec<i64>]) -> Vec<Vec<i64>> {
    let (outputs, _) = run_both(compiled, inputs).client.unwrap();
    for (input, output) in inputs.iter().zip(&outputs) {
        let reference = evaluate(&compiled.plan, &compiled.weights, input).unwrap();
        assert_eq!(output, reference.output());
    }
    outputs
}

#[test]
fn every_preset_computes_the_same_digits() {
    let default = compiled_lenet(AccStrategy::WeightAware);
    let inputs = samples(&default.plan, &lenet("input.npy"), 4);
    let expected: Vec<Vec<i64>> = inputs
        .iter()
        .map(|input| evaluate(&default.plan, &default.weights, input).unwrap().output().to_vec())
        .collect();
    let mut bytes = Vec::new();
    for preset in [Preset::Cheetah, Preset::NaiveQuant, Preset::Hequant, Preset::Best] {
        let compiled = compile_lenet(&options(preset));
        assert_eq!(run(&compiled, &inputs), expected, "{preset:?}");
        bytes.push(linear_bytes(&compiled.plan));
    }
    // Every step of the ladder is a step down.
    assert!(bytes.windows(2).all(|pair| pair[1] < pair[0]), "{bytes:?}");
}

#[test]
fn cheetah_is_executed_with_its_parameters() {
    let compiled = compile_lenet(&options(Preset::Cheetah));
    for (_, step) in compiled.plan.linear_steps() {
        assert_eq!((step.params.ring_degree(), step.params.modulus_bits()), (4096, 106));
        assert!(step.params.limbs() > 1 && step.params.key_switch().is_none());
        let tile = step.choice.tile;
        let is_matrix = step.op.geometry.input.height == 1;
        assert!(is_matrix || tile.kernels == 1);
        assert_eq!((tile.groups, tile.merge_levels), (1, 0));
        assert_eq!((step.op.packing, step.choice.request_drop_bits), (Packing::None, 0));
        // LeNet's planes fit a ring.
        let output = step.op.geometry.output().unwrap();
        assert_eq!(tile.output, [output.height, output.width]);
    }
    for layer in compiled.plan.layers() {
        let width = if let LayerKind::Requantize { widths, .. } = &layer.kind {
            Some(widths.acc_bits)
        } else if let LayerKind::ToArithmetic { bits, .. } = layer.kind {
            Some(bits)
        } else {
            layer.kind.acc_bits()
        };
        assert!(width.is_none_or(|bits| bits == Preset::RING_BITS), "{}: {width:?}", layer.name);
    }
}

/// A pointwise layer that has many kernels and so, for every request, many responses.
fn pointwise() -> IntegerNetwork {
    let geometry = ConvGeometry {
        input: Chw::new(4, 32, 32),
        out_channels: 64,
        window: Window::POINT,
        groups: 1,
        batch: 1,
    };
    one_layer(geometry, Widths { weight_bits: 2, activation_bits: 2 })
}

#[test]
fn hequant_packs_within_channels_where_it_pays() {
    let network = pointwise();
    let compiled = compile_network(&network, &options(Preset::Hequant)).unwrap();
    assert_eq!(within_channel(&compiled.plan), 1);
    let input = (0..network.input.shape.len()).map(|index| (index * index % 7 % 4) as i64);
    run(&compiled, &[input.collect()]);
}

#[test]
fn hequant_packs_layers_of_mobilenet() {
    let name = "mobilenetv2_imagenet224_int8_qdq.onnx";
    let Some(path) = shared(&format!("models/{name}")) else { return };
    let plan = options(Preset::Hequant);
    let import = ImportOptions::default();
    let bytes = std::fs::read(path).unwrap();
    let compiled = compile(&bytes, name, &CompileOptions { import, plan, calibration: None });
    let compiled = compiled.unwrap_or_else(|error| panic!("{error}"));
    assert!(within_channel(&compiled.plan) > 0);
    let input = &compiled.plan.spec().input;
    let span = input.quantization.range.hi - input.quantization.range.lo + 1;
    let value = |index: usize| input.quantization.range.lo + (index * 31 % 257) as i64 % span;
    run(&compiled, &[(0..input.shape.len()).map(value).collect()]);
}
