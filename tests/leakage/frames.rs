//! Directions, lanes, lengths and stamps of all frames are a function of the plan.

use super::recording::{Frame, session};
use heq_compiler::lower::plan::{Compiled, PlanOptions};
use heq_compiler::select::ot::OtRule;
use heq_ir::plan::weights::{ServerWeights, WeightsSpec};
use heq_ir::plan::{AccStrategy, OtExtension};
use heq_tests::{compile_lenet, lenet, plan_options, samples};

/// What anybody who counts bytes sees of a lane: lengths and stamps in order.
type Lane = Vec<(usize, u32)>;

/// The three lanes of both directions. Those of one direction interleave as time has it.
fn lanes(frames: &[Vec<Frame>; 2]) -> Vec<Lane> {
    let lane = |frames: &[Frame], number: u8| -> Lane {
        let own = frames.iter().filter(|frame| frame.lane == number);
        own.map(|frame| (frame.payload.len(), frame.stamp)).collect()
    };
    let numbers = frames.iter().flat_map(|frames| frames.iter().map(|frame| frame.lane));
    let last = numbers.max().unwrap_or(0);
    frames.iter().flat_map(|frames| (0..=last).map(move |number| lane(frames, number))).collect()
}

/// The same plan with weights that `change` makes.
pub(crate) fn with_weights(compiled: &Compiled, change: impl Fn(&mut WeightsSpec)) -> Compiled {
    let mut spec = compiled.weights.spec().clone();
    change(&mut spec);
    let weights = ServerWeights::check(spec, &compiled.plan, "weights").unwrap();
    Compiled { weights, ..compile_lenet(&options(compiled.plan.spec().ot)) }
}

pub(crate) fn options(ot: OtExtension) -> PlanOptions {
    PlanOptions { ot: OtRule::Fixed(ot), ..plan_options(AccStrategy::WeightAware) }
}

#[test]
fn frames_are_those_of_the_plan_whatever_it_computes() {
    for ot in [OtExtension::SoftSpoken { field_bits: 4 }, OtExtension::Silent { log_rows: 18 }] {
        let compiled = compile_lenet(&options(ot));
        let digit = samples(&compiled.plan, &lenet("digit.png"), 1).remove(0);
        let range = compiled.plan.spec().input.quantization.range;
        let [least, most] = [range.lo, range.hi].map(|value| vec![value; digit.len()]);
        let zero = with_weights(&compiled, |spec| {
            for layer in &mut spec.layers {
                layer.weights.fill(0);
                layer.bias.fill(0);
            }
            spec.tables.iter_mut().for_each(|table| table.entries.fill(0));
        });
        let reversed = with_weights(&compiled, |spec| {
            for (layer, (_, step)) in spec.layers.iter_mut().zip(compiled.plan.linear_steps()) {
                let fan_in = step.op.geometry.fan_in();
                layer.weights.chunks_mut(fan_in).for_each(<[i32]>::reverse);
            }
        });
        let expected = lanes(&session(&compiled, &[digit.clone(), digit.clone()]).1);
        assert_eq!(expected.len(), 6, "three lanes each way");
        for (name, compiled, input) in [
            ("least input", &compiled, &least),
            ("largest input", &compiled, &most),
            ("zero weights", &zero, &digit),
            ("other weights", &reversed, &digit),
        ] {
            let found = lanes(&session(compiled, &[input.clone(), digit.clone()]).1);
            assert!(found == expected, "{ot}: {name}");
        }
        let fewer = lanes(&session(&compiled, std::slice::from_ref(&digit)).1);
        assert!(fewer != expected, "the number of inferences is public");
    }
}
