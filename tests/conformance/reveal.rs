//! Plans that reveal the indices of the largest values.

use super::*;
use heq_compiler::lower::plan::PlanOptions;
use heq_ir::plan::reveal::Reveal;

/// The largest values of accumulators, of exact shares and of bits, with ties.
#[test]
fn indices_of_the_largest_values_are_revealed() {
    type Build = fn(&mut Builder);
    let unquantized = |builder: &mut Builder| {
        builder.linear(9, Window::dense([2, 2], [1, 1], [0; 4]), None);
    };
    let quantized = |builder: &mut Builder| {
        let clamp = Requantize { shift: 3, range: IntRange { lo: -2, hi: 1 } };
        builder.linear(11, Window::dense([2, 2], [1, 1], [0; 4]), Some(clamp));
    };
    let exact = |builder: &mut Builder| {
        let clamp = Requantize { shift: 3, range: IntRange { lo: -2, hi: 1 } };
        let value = builder.linear(6, Window::dense([2, 2], [1, 1], [0; 4]), Some(clamp));
        let scaled =
            |factor| Term::Scaled(ScaledTerm { input: value.shape, window: Window::POINT, factor });
        builder.sum(&[value, value], vec![scaled(5), scaled(-9)], value.shape, None);
    };
    let cases: [(Build, usize); 3] = [(unquantized, 9), (quantized, 11), (exact, 6)];
    for (build, classes) in cases {
        let mut builder = Builder::new(10, Chw::new(3, 2, 2), INPUT);
        build(&mut builder);
        let network = &builder.network;
        let samples = samples_of(network);
        for k in [1, 3, 5] {
            let options =
                PlanOptions { reveal: Reveal::Top { k }, ..plan_options(AccStrategy::WeightAware) };
            let compiled = compile_network(network, &options).unwrap();
            assert_eq!(
                (compiled.plan.reveal(), compiled.plan.classes()),
                (options.reveal, classes)
            );
            let (outputs, stats) = run_both(&compiled, &samples).client.unwrap();
            for (sample, output) in samples.iter().zip(&outputs) {
                let values =
                    &evaluate_wrapped(network, sample, &|_| None).0[network.output.value.0];
                let mut expected: Vec<i64> = (0..classes as i64).collect();
                expected.sort_by_key(|&index| (std::cmp::Reverse(values[index as usize]), index));
                assert_eq!(*output, expected[..k as usize], "{values:?}");
                let evaluated = evaluate(&compiled.plan, &compiled.weights, sample).unwrap();
                assert_eq!(evaluated.output(), output);
            }
            let cost = compiled.plan.cost(samples.len() as u32);
            for (predicted, measured) in cost.layers.iter().zip(&stats.layers) {
                let predicted = (predicted.bytes_up, predicted.bytes_down, predicted.flights);
                assert_eq!(predicted, (measured.bytes_up, measured.bytes_down, measured.flights));
            }
        }
    }
}

#[test]
fn values_that_cannot_be_ranked_are_refused() {
    for (window, k, what) in [([2, 2], 3, "which is not more than 3"), ([1, 1], 1, "only channels")]
    {
        let mut builder = Builder::new(11, Chw::new(3, 2, 2), INPUT);
        builder.linear(3, Window::dense(window, [1, 1], [0; 4]), None);
        let options =
            PlanOptions { reveal: Reveal::Top { k }, ..plan_options(AccStrategy::WeightAware) };
        let found = compile_network(&builder.network, &options).unwrap_err();
        let first = found.iter().next().unwrap();
        assert_eq!(
            (first.code, first.place.clone()),
            (Code::BadOption, format!("--reveal {}", options.reveal))
        );
        assert!(first.what.contains(what), "{first}");
    }
}
