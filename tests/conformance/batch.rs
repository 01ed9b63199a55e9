//! Several samples at once: every sample gets what it gets alone.

use crate::generate::Builder;
use crate::{as_samples, check_run, samples_of, sharing};
use heq_compiler::compile::{compile_calibrated, compile_network};
use heq_compiler::kernel::packing::PackingRule;
use heq_compiler::select::options::Objective;
use heq_ir::diagnostic::Code;
use heq_ir::eval::evaluate;
use heq_ir::integer::IntegerNetwork;
use heq_ir::plan::reveal::Reveal;
use heq_ir::plan::{AccStrategy, LayerKind, Plan};
use heq_tests::{compile_lenet, lenet, plan_options, run_both, samples};

/// Compiles for `batch` samples and checks a run of three; returns the plan.
fn check_batch(network: &IntegerNetwork, batch: usize, packing: PackingRule) -> Plan {
    let mut options = plan_options(AccStrategy::WeightAware);
    options.batch = batch;
    options.search.restriction.packing = packing;
    options.search.objective = Objective::Bytes;
    let compiled = compile_network(network, &options)
        .unwrap_or_else(|error| panic!("{}: {error}", network.name));
    let samples = samples_of(network);
    assert_eq!(check_run(network, &compiled, &samples, &|_| None), 0, "{}", network.name);
    let pass = compiled.plan.pass_input(&samples[..batch.min(3)]);
    let together = evaluate(&compiled.plan, &compiled.weights, &pass).unwrap();
    let together = compiled.plan.sample_outputs(together.output());
    for (sample, output) in samples.iter().zip(together) {
        let alone = evaluate(&compiled.plan, &compiled.weights, sample).unwrap();
        assert_eq!(alone.output(), output, "{}", network.name);
    }
    compiled.plan
}

/// Linear steps whose tiles hold several samples.
fn shared_tiles(plan: &Plan) -> usize {
    plan.linear_steps().filter(|(_, step)| step.choice.tile.samples > 1).count()
}

#[test]
fn generated_networks_run_in_batches() {
    let (mut shared, mut concats, mut views) = (0, 0, 0);
    for seed in 0..40 {
        let packing = match seed % 4 {
            0 => PackingRule::WithinChannel,
            1 => PackingRule::CrossChannel,
            _ => PackingRule::Auto,
        };
        let plan = check_batch(&Builder::generate(seed), 2 + seed as usize % 4, packing);
        shared += shared_tiles(&plan);
        for layer in plan.layers() {
            concats += usize::from(matches!(layer.kind, LayerKind::Concat { .. }));
            views += usize::from(matches!(layer.kind, LayerKind::View(_)));
        }
    }
    assert!(shared > 0 && concats > 0 && views > 0, "{shared} {concats} {views}");
}

#[test]
fn layers_that_share_requests_run_in_batches() {
    for seed in 0..3 {
        let plan = check_batch(&sharing::network(seed), 3, PackingRule::Auto);
        assert!(shared_tiles(&plan) > 0);
    }
}

#[test]
fn calibrated_widths_are_those_of_single_samples() {
    let network = Builder::generate(3);
    let samples = as_samples(&samples_of(&network));
    let mut options = plan_options(AccStrategy::Calibrated { margin_bits: 1 });
    let widths = |batch| {
        options.batch = batch;
        let compiled = compile_calibrated(&network, &options, &samples, &mut |_, _| {}).unwrap();
        let layers = compiled.plan.layers().iter();
        let widths: Vec<_> = layers.filter_map(|layer| layer.kind.acc_bits()).collect();
        (widths, compiled.plan.spec().calibration.clone())
    };
    let [one, four] = [1, 4].map(widths);
    assert_eq!(one.1.map(|found| found.samples), four.1.map(|found| found.samples));
    assert_eq!(one.0, four.0);
}

#[test]
fn lenet_runs_four_digits_at_once() {
    let mut options = plan_options(AccStrategy::WeightAware);
    let alone = compile_lenet(&options);
    options.batch = 4;
    let compiled = compile_lenet(&options);
    let (one, four) = (alone.plan.cost(1).online(), compiled.plan.cost(1).online());
    assert!(four.bytes() < 4 * one.bytes() && four.flights < 2 * one.flights);
    assert_eq!(alone.weights.layers(), compiled.weights.layers());
    let digits = samples(&compiled.plan, &lenet("input.npy"), 6);
    let digits: Vec<Vec<i64>> = digits.iter().cycle().take(6).cloned().collect();
    let run = run_both(&compiled, &digits);
    let (outputs, stats) = run.client.unwrap();
    assert_eq!((outputs.len(), stats.inferences, run.server.unwrap().inferences), (6, 2, 2));
    for (digit, output) in digits.iter().zip(&outputs) {
        assert_eq!(evaluate(&alone.plan, &alone.weights, digit).unwrap().output(), output);
    }
    let (predicted, measured) = (compiled.plan.cost(2).online(), stats.online());
    assert_eq!(
        [predicted.bytes_up, predicted.bytes_down, predicted.flights],
        [measured.bytes_up, measured.bytes_down, measured.flights]
    );
}

#[test]
fn impossible_batches_are_refused() {
    let network = Builder::generate(0);
    for (batch, reveal) in [(0, Reveal::Logits), (1025, Reveal::Logits), (2, Reveal::Top { k: 1 })]
    {
        let mut options = plan_options(AccStrategy::WeightAware);
        (options.batch, options.reveal) = (batch, reveal);
        let error = compile_network(&network, &options).unwrap_err();
        assert!(error.iter().any(|error| error.code == Code::BadOption), "{error}");
    }
}
