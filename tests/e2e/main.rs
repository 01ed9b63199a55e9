//! From an ONNX file to the client's logits: every secure result equals the reference bit for bit.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

mod outputs;
mod presets;
mod programs;

use heq_compiler::compile::{CompileOptions, compile};
use heq_compiler::lower::plan::PlanOptions;
use heq_compiler::pipeline::ImportOptions;
use heq_data::output::top1;
use heq_data::read_array;
use heq_ir::eval::evaluate;
use heq_ir::plan::AccStrategy;
use heq_ir::plan::reveal::Reveal;
use heq_tests::{compiled_lenet, lenet, plan_options, run_both, samples, shared};
use std::path::Path;

fn check_secure_equals_reference(
    acc_strategy: AccStrategy,
    input: &Path,
    limit: usize,
) -> Vec<usize> {
    let compiled = compiled_lenet(acc_strategy);
    let samples = samples(&compiled.plan, input, limit);
    let (outputs, _) = run_both(&compiled, &samples).client.unwrap();
    assert_eq!(outputs.len(), samples.len());
    for (index, (sample, output)) in samples.iter().zip(&outputs).enumerate() {
        let reference = evaluate(&compiled.plan, &compiled.weights, sample).unwrap();
        assert_eq!(output, reference.output(), "{acc_strategy}, sample {index}");
    }
    outputs.iter().filter_map(|output| top1(output)).collect()
}

fn labels(path: &Path) -> Vec<usize> {
    let labels = read_array(path, None).unwrap().data().to_integers().unwrap();
    labels.iter().map(|&label| usize::try_from(label).unwrap()).collect()
}

#[test]
fn example_digits_are_classified_exactly() {
    for acc_strategy in [AccStrategy::WeightAware, AccStrategy::WorstCase] {
        let found = check_secure_equals_reference(acc_strategy, &lenet("input.npy"), usize::MAX);
        assert_eq!(found, labels(&lenet("labels.npy")), "{acc_strategy}");
    }
}

#[test]
fn revealed_classes_are_those_of_the_logits() {
    let bytes = std::fs::read(lenet("model.onnx")).unwrap();
    let logits = compiled_lenet(AccStrategy::WeightAware);
    let inputs = samples(&logits.plan, &lenet("input.npy"), usize::MAX);
    for k in [1, 3] {
        let plan =
            PlanOptions { reveal: Reveal::Top { k }, ..plan_options(AccStrategy::WeightAware) };
        let options = CompileOptions { import: ImportOptions::default(), plan, calibration: None };
        let compiled = compile(&bytes, "model.onnx", &options).unwrap();
        let (outputs, _) = run_both(&compiled, &inputs).client.unwrap();
        for (x, output) in inputs.iter().zip(&outputs) {
            let evaluation = evaluate(&logits.plan, &logits.weights, x).unwrap();
            let values = evaluation.output();
            let mut expected: Vec<usize> = (0..10).collect();
            expected.sort_by_key(|&class| (std::cmp::Reverse(values[class]), class));
            let found: Vec<usize> =
                output.iter().map(|&class| usize::try_from(class).unwrap()).collect();
            assert_eq!(found, expected[..k as usize]);
            assert_eq!(top1(values), found.first().copied());
        }
    }
}

#[test]
fn a_hundred_digits_agree_with_onnx_runtime() {
    let (Some(images), Some(expected)) =
        (shared("data/mnist_test_1000.npz"), shared("expected/lenet_mnist_w4a4_qcdq.npz"))
    else {
        return;
    };
    let found = check_secure_equals_reference(AccStrategy::WeightAware, &images, 100);
    let expected = read_array(&expected, Some("output")).unwrap();
    let heq_data::ArrayData::F32(logits) = expected.data() else { panic!("float32 logits") };
    let top1 = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
    let agree = logits.chunks(10).zip(&found).filter(|(row, found)| top1(row) == Some(**found));
    let agree = agree.count();
    assert!(agree >= 99, "top-1 agrees on {agree} of 100 digits");
}

#[test]
fn example_outputs_are_those_on_record() {
    let compiled = compiled_lenet(AccStrategy::WeightAware);
    let recorded = read_array(&lenet("expected.npy"), None).unwrap();
    let heq_data::ArrayData::F32(recorded) = recorded.data() else { panic!("float32 logits") };
    let outputs: Vec<f32> = samples(&compiled.plan, &lenet("input.npy"), usize::MAX)
        .iter()
        .flat_map(|x| evaluate(&compiled.plan, &compiled.weights, x).unwrap().output().to_vec())
        .map(|value| (value as f64 * compiled.plan.spec().output_scale) as f32)
        .collect();
    assert_eq!(&outputs, recorded);
}
