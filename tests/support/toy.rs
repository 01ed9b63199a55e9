//! A plan so small that a session costs little more than its set-up.

use crate::plan_options;
use heq_compiler::compile::compile_network;
use heq_compiler::lower::plan::PlanOptions;
use heq_compiler::select::ot::OtRule;
use heq_ir::geometry::{Chw, ConvGeometry, Window};
use heq_ir::integer::{
    InputElement, InputLayout, InputMap, IntRange, IntegerLayer, IntegerNetwork, IntegerOp,
    LinearTerm, MaxPoolOp, NetworkInput, NetworkOutput, Quantization, Requantize, Rounding, SumOp,
    TableOp, Term, ValueId,
};
use heq_ir::params::{KeySwitchSpec, RlweSpec};
use heq_ir::plan::codec::encode_plan;
use heq_ir::plan::weights::{ServerWeights, WeightsSpec};
use heq_ir::plan::{AccStrategy, LayerKind, OtExtension, Plan};
use std::sync::Arc;

/// Values of the input and of activations.
const RANGE: IntRange = IntRange { lo: 0, hi: 7 };

fn linear(geometry: ConvGeometry, requantize: Option<Requantize>) -> IntegerOp {
    let weights = geometry.fan_in() * geometry.out_channels;
    let weight = |index: usize| i32::try_from(index * 5 % 7).unwrap() - 3;
    let linear = LinearTerm {
        geometry,
        weights: Arc::new((0..weights).map(weight).collect()),
        weight_bits: 3,
        multipliers: vec![1; geometry.out_channels],
        multiplier_bits: 0,
    };
    IntegerOp::Sum(SumOp {
        output: geometry.output().unwrap(),
        terms: vec![Term::Linear(linear)],
        bias: (0_i64..).map(|channel| channel % 5 - 2).take(geometry.out_channels).collect(),
        requantize,
    })
}

fn network(name: &str, shape: Chw, ops: Vec<(&str, IntegerOp)>) -> IntegerNetwork {
    let layer = |(index, (operator, op)): (usize, (&str, IntegerOp))| IntegerLayer {
        name: format!("{operator} {index}"),
        operator: operator.to_owned(),
        tensor: format!("t{index}"),
        inputs: vec![ValueId(index)],
        op,
    };
    let layers: Vec<_> = ops.into_iter().enumerate().map(layer).collect();
    IntegerNetwork {
        name: name.to_owned(),
        input: NetworkInput {
            name: "x".to_owned(),
            shape,
            layout: InputLayout::Nchw,
            element: InputElement::Real,
            map: InputMap::identity(),
            quantization: Quantization { scale: 1.0, range: RANGE },
            rounding: Rounding::HalfEven,
        },
        output: NetworkOutput { name: "y".to_owned(), value: ValueId(layers.len()), scale: 1.0 },
        layers,
        batch: 1,
    }
}

/// Every kind of step that most networks have: a convolution on the client's values, requantization, max
/// pooling, a table, and a layer on shares.
fn every_step() -> IntegerNetwork {
    let input = Chw::new(2, 4, 4);
    let conv = ConvGeometry {
        input,
        out_channels: 4,
        window: Window::dense([3; 2], [1; 2], [1; 4]),
        groups: 1,
        batch: 1,
    };
    let pooled = Chw::new(4, 2, 2);
    let last = ConvGeometry {
        input: pooled,
        out_channels: 16,
        window: Window::POINT,
        groups: 1,
        batch: 1,
    };
    let pool =
        MaxPoolOp { input: conv.output().unwrap(), window: Window::dense([2; 2], [2; 2], [0; 4]) };
    let values = (RANGE.lo..=RANGE.hi).map(|value| value * 3 % 8).collect();
    let table = TableOp { inputs: vec![RANGE], output: RANGE, values };
    let requantize = Some(Requantize { shift: 3, range: RANGE });
    let ops = vec![
        ("Conv", linear(conv, requantize)),
        ("MaxPool", IntegerOp::MaxPool(pool)),
        ("Table", IntegerOp::Table(table)),
        ("Conv", linear(last, None)),
    ];
    network("every step", input, ops)
}

/// A plan with messages of every kind, and its weights: the first layer has a request a channel, the last one
/// responses that are merged of leaves, which the compiler would not do with layers so small.
#[must_use]
pub fn every_message(ot: OtExtension) -> (Plan, ServerWeights) {
    let options = PlanOptions { ot: OtRule::Fixed(ot), ..plan_options(AccStrategy::WeightAware) };
    let compiled = compile_network(&every_step(), &options).unwrap();
    let mut spec = compiled.plan.spec().clone();
    let key_switch = Some(KeySwitchSpec { special_bits: 17, digits: 2 });
    spec.rlwe = vec![spec.rlwe[0], RlweSpec { key_switch, ..RlweSpec::new(2048, 36) }];
    let mut choices = spec.layers.iter_mut().filter_map(|layer| {
        let LayerKind::Linear { choice, .. } = &mut layer.kind else { return None };
        Some(choice)
    });
    choices.next().unwrap().tile.planes = 1;
    let last = choices.next().unwrap();
    (last.rlwe, last.tile.planes, last.tile.kernels, last.tile.merge_levels) = (1, 4, 2, 2);
    let (plan, _) = encode_plan(spec).unwrap();
    let weights = WeightsSpec { plan: plan.digest(), ..compiled.weights.spec().clone() };
    let weights = ServerWeights::check(weights, &plan, "weights").unwrap();
    (plan, weights)
}
