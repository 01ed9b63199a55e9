//! Layers that read the same value and share its requests.

use crate::generate::{Builder, Value};
use crate::{INPUT, acc_bits, as_samples, check_run, samples_of};
use heq_compiler::compile::{compile_calibrated, compile_network};
use heq_compiler::kernel::packing::PackingRule;
use heq_compiler::lower::plan::{Compiled, PlanOptions};
use heq_compiler::select::options::Objective;
use heq_ir::geometry::{Chw, Window};
use heq_ir::integer::{IntegerNetwork, Requantize, Term};
use heq_ir::plan::AccStrategy;
use heq_ir::secure::{LinearOp, Packing};
use heq_tests::plan_options;

/// Linear layers of the networks here.
const LINEAR: usize = 7;

/// A window, with as much padding as keeps outputs in place.
fn window(kernel: usize, stride: usize) -> Window {
    Window::dense([kernel; 2], [stride; 2], [kernel / 2; 4])
}

/// Adds a quantized sum of convolutions.
fn conv(builder: &mut Builder, inputs: &[(Value, Window)], channels: usize, shift: u32) -> Value {
    let terms =
        inputs.iter().map(|&(input, window)| builder.linear_term(input.shape, channels, window));
    let terms: Vec<Term> = terms.collect();
    let (Value { shape, .. }, window) = inputs[0];
    let [height, width] = window.output(shape.height, shape.width).unwrap();
    let inputs: Vec<Value> = inputs.iter().map(|(input, _)| *input).collect();
    let requantize = Some(Requantize { shift, range: INPUT });
    builder.sum(&inputs, terms, Chw::new(channels, height, width), requantize)
}

/// Two windows on one value, joined; then a block with a projection beside it: one layer with a sum of its
/// own and one that is added to another. No number of channels makes groups.
pub(crate) fn network(seed: u64) -> IntegerNetwork {
    let mut builder = Builder::new(seed, Chw::new(2, 8, 8), INPUT);
    let all = &mut builder;
    let input = all.last();
    let squeezed = conv(all, &[(input, window(3, 1))], 3, 5);
    let narrow = conv(all, &[(squeezed, window(1, 1))], 4, 4);
    let wide = conv(all, &[(squeezed, window(3, 1))], 5, 6);
    let joined = all.concat(&[narrow, wide]);
    let first = conv(all, &[(joined, window(3, 2))], 7, 6);
    conv(all, &[(first, window(3, 1)), (joined, window(1, 2))], 7, 6);
    all.linear(3, Window::dense([4, 4], [1, 1], [0; 4]), None);
    builder.network
}

fn options(objective: Objective, shares: bool) -> PlanOptions {
    let mut options = plan_options(AccStrategy::WeightAware);
    options.search.objective = objective;
    options.search.restriction.shares = shares;
    options
}

/// Runs what was compiled of `network`; how many layers share the requests of others.
fn check_shared(network: &IntegerNetwork, compiled: &Compiled) -> usize {
    assert_eq!(check_run(network, compiled, &samples_of(network), &|_| None), 0);
    LINEAR - compiled.plan.linear_steps().count()
}

fn bytes(compiled: &Compiled) -> u64 {
    let cost = compiled.plan.cost(1);
    cost.online().bytes() + cost.correlations.bytes() + cost.setup.bytes()
}

#[test]
fn shared_requests_are_exact_and_pay() {
    let (mut of_bytes, mut of_latency) = (0, 0);
    for seed in 0..8 {
        let network = network(seed);
        for (objective, shared) in
            [(Objective::Bytes, &mut of_bytes), (Objective::Latency, &mut of_latency)]
        {
            let compile = |shares| compile_network(&network, &options(objective, shares)).unwrap();
            let (apart, chosen) = (compile(false), compile(true));
            assert_eq!(apart.plan.linear_steps().count(), LINEAR);
            *shared += check_shared(&network, &chosen);
            if objective == Objective::Bytes {
                let allowed = 1.0 + 2.0 * heq_compiler::select::SOLVE_LIMITS.gap;
                assert!(bytes(&chosen) as f64 <= allowed * bytes(&apart) as f64, "seed {seed}");
            }
        }
    }
    assert!(of_bytes >= 8 && of_latency >= 14, "{of_bytes} {of_latency}");
}

#[test]
fn shared_requests_hold_several_elements_a_coefficient() {
    for (packing, cross) in [(PackingRule::WithinChannel, false), (PackingRule::CrossChannel, true)]
    {
        let network = network(3);
        let mut options = options(Objective::Latency, true);
        options.search.restriction.packing = packing;
        let compiled = compile_network(&network, &options).unwrap();
        check_shared(&network, &compiled);
        let is_packed = |op: &LinearOp| match op.packing {
            Packing::None => false,
            Packing::WithinChannel { .. } => !cross,
            Packing::CrossChannel { .. } => cross,
        };
        // The two windows on one value have nine kernels together.
        let steps: Vec<LinearOp> = compiled.plan.linear_steps().map(|(_, step)| *step.op).collect();
        let shared = steps.iter().find(|op| op.geometry.out_channels == 9);
        assert!(shared.is_some_and(is_packed), "{steps:?}");
    }
}

/// Accumulators of layers that share requests overflow where those of each layer do.
#[test]
fn shared_requests_keep_calibrated_widths() {
    let (mut shared, mut overflows) = (0, 0);
    for seed in 20..26 {
        let network = network(seed);
        let samples = samples_of(&network);
        let mut options = options(Objective::Latency, true);
        options.acc_strategy = AccStrategy::Calibrated { margin_bits: 0 };
        let calibration = as_samples(&samples[..1]);
        let compiled =
            compile_calibrated(&network, &options, &calibration, &mut |_, _| {}).unwrap();
        let widths = acc_bits(&network, &compiled.plan);
        overflows += check_run(&network, &compiled, &samples, &|layer| widths[layer]);
        shared += LINEAR - compiled.plan.linear_steps().count();
    }
    assert!(shared >= 6 && overflows > 0, "{shared} {overflows}");
}

#[test]
fn worst_case_widths_share_too() {
    let network = network(2);
    let mut options = options(Objective::Latency, true);
    options.acc_strategy = AccStrategy::WorstCase;
    let compiled = compile_network(&network, &options).unwrap();
    assert!(check_shared(&network, &compiled) > 0);
}
