//! A small plan as a whole: how much longer its steps take in a run than their primitives by themselves.
//!
//! In a run caches hold what the steps before left, buffers are new, and the parties' threads meet at
//! messages. That is not in any primitive, and it is about the same for all of them.

use crate::error::RunError;
use crate::party::{run_client, run_server};
use crate::session::{PreparedPlan, PreparedServer};
use heq_ir::geometry::{Chw, ConvGeometry, Window};
use heq_ir::integer::{
    InputElement, InputLayout, InputMap, IntRange, NetworkInput, Quantization, Rounding, ValueId,
};
use heq_ir::layout::{ConvTile, GroupPlacement};
use heq_ir::params::RlweSpec;
use heq_ir::plan::codec::encode_plan;
use heq_ir::plan::weights::{LinearWeights, ServerWeights, WeightsSpec};
use heq_ir::plan::{AccStrategy, Layer, LayerKind, LinearChoice, OtExtension, Plan, PlanSpec};
use heq_ir::predict::{CostProfile, Situation, WEIGHT_CACHE_BYTES};
use heq_ir::preparation::InputPreparation;
use heq_ir::protocol::adder::{AdderForm, CarryForm};
use heq_ir::protocol::requantize::{RequantizeForm, RequantizeWidths};
use heq_ir::protocol::to_arithmetic::ToArithmeticForm;
use heq_ir::rounding::AccRounding;
use heq_ir::secure::{LinearOp, Packing};
use heq_net::memory;

/// Channels of every layer.
const CHANNELS: usize = 64;

/// Rows and columns of every layer.
const SIZE: usize = 28;

/// Layers of the plan.
const LAYERS: usize = 6;

/// Width of its accumulators in bits.
const ACC_BITS: u32 = 15;

/// Runs, of which the one in the middle counts.
const RUNS: usize = 5;

/// Most that the factor may be: more would be another program's doing.
const MOST: f64 = 2.0;

/// The time of a whole plan over that which `profile` predicts, at least 1.
pub(super) fn measure(profile: &CostProfile) -> Result<f64, RunError> {
    let mut factors = Vec::new();
    for ot in [OtExtension::SoftSpoken { field_bits: 4 }, OtExtension::Silent { log_rows: 18 }] {
        let plan = plan(ot)?;
        let threads = rayon::current_num_threads();
        let situation = Situation { profile, link: None, threads, is_shared: true };
        let predicted_s = plan.predict(&situation).online_s();
        let mut measured = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            measured.push(online_s(&plan)?);
        }
        measured.sort_by(f64::total_cmp);
        factors.push(measured.get(RUNS / 2).map_or(1.0, |middle| middle / predicted_s.max(1e-9)));
    }
    let mean = factors.iter().sum::<f64>() / factors.len() as f64;
    Ok(mean.clamp(1.0, MOST))
}

/// Seconds of the steps of one inference between two threads.
fn online_s(plan: &Plan) -> Result<f64, RunError> {
    let [client, server] = [(); 2].map(|()| PreparedPlan::new(plan.clone()));
    let prepared = PreparedServer::new(&server, &weights(plan)?, WEIGHT_CACHE_BYTES)?;
    let (client_end, server_end) = memory::pair();
    let input = vec![1; plan.spec().input.shape.len()];
    std::thread::scope(|scope| {
        let run = || run_server(&server, &prepared, None, server_end);
        let serves = std::thread::Builder::new().spawn_scoped(scope, run);
        let serves = serves.map_err(|_| RunError::NoThread)?;
        let found = run_client(&client, client_end, &[input]);
        let panicked = RunError::Internal { what: "a thread of the calibration panicked" };
        serves.join().map_err(|_| panicked)??;
        Ok(found?.1.online().wall_s)
    })
}

fn plan(ot: OtExtension) -> Result<Plan, RunError> {
    let mut kinds = Vec::new();
    for layer in 0..LAYERS {
        if layer > 0 {
            kinds.push(LayerKind::ToArithmetic { bits: ACC_BITS, form: ToArithmeticForm::Direct });
        }
        kinds.extend([linear(), requantize()]);
    }
    kinds.push(LayerKind::Open);
    let layer = |(index, kind)| Layer {
        name: format!("step {index}"),
        operator: String::new(),
        tensor: String::new(),
        operands: vec![ValueId(index)],
        kind,
    };
    let range = IntRange { lo: 0, hi: 15 };
    let spec = PlanSpec {
        model: "calibration".to_owned(),
        acc_strategy: AccStrategy::WeightAware,
        calibration: None,
        error_budget_log2: 40,
        rounding: AccRounding::Exact,
        input: NetworkInput {
            name: "x".to_owned(),
            shape: Chw::new(CHANNELS, SIZE, SIZE),
            layout: InputLayout::Nchw,
            element: InputElement::Real,
            map: InputMap::identity(),
            quantization: Quantization { scale: 1.0, range },
            rounding: Rounding::HalfEven,
        },
        preparation: InputPreparation::default(),
        output_name: "y".to_owned(),
        output_scale: 1.0,
        rlwe: vec![RlweSpec::new(4096, 48)],
        ot,
        layers: kinds.into_iter().enumerate().map(layer).collect(),
        batch: 1,
    };
    let refused = RunError::Internal { what: "the plan of the calibration breaks a rule" };
    encode_plan(spec).map(|(plan, _)| plan).map_err(|_| refused)
}

/// Rows of products as common layers have them: a few input channels a request, one kernel a response.
fn linear() -> LayerKind {
    let op = LinearOp {
        geometry: ConvGeometry {
            input: Chw::new(CHANNELS, SIZE, SIZE),
            out_channels: CHANNELS,
            window: Window::dense([3; 2], [1; 2], [1; 4]),
            groups: 1,
            batch: 1,
        },
        weight_bits: 4,
        multiplier_bits: 0,
        acc_bits: ACC_BITS,
        guard_bits: 1,
        rounded_bits: 0,
        packing: Packing::None,
    };
    let tile = ConvTile {
        output: [SIZE, SIZE],
        groups: 1,
        placement: GroupPlacement::Dense,
        planes: 4,
        kernels: 1,
        merge_levels: 0,
        samples: 1,
    };
    let choice = LinearChoice {
        rlwe: 0,
        tile,
        request_drop_bits: 10,
        response_drop_bits: 20,
        weight_norm_squared_log2: 14,
    };
    LayerKind::Linear { op, choice }
}

fn requantize() -> LayerKind {
    let widths =
        RequantizeWidths { acc_bits: ACC_BITS, guard_bits: 1, shift: 7, result_bits: 4, limit: 15 };
    let carry = CarryForm { compared_bits: 8, digit_bits: 2 };
    let form = RequantizeForm { carry, sums: AdderForm::Ripple, range: AdderForm::Ripple };
    LayerKind::Requantize { widths, range: IntRange { lo: 0, hi: 15 }, form }
}

fn weights(plan: &Plan) -> Result<ServerWeights, RunError> {
    let of_layer = |geometry: ConvGeometry| LinearWeights {
        weights: (0_i32..).take(geometry.fan_in() * CHANNELS).map(|index| index % 5 - 2).collect(),
        multipliers: vec![1; CHANNELS],
        bias: vec![0; CHANNELS],
    };
    let layers = plan.linear_steps().map(|(_, step)| of_layer(step.op.geometry)).collect();
    let spec = WeightsSpec { plan: plan.digest(), layers, tables: Vec::new() };
    let refused = RunError::Internal { what: "the weights of the calibration break a rule" };
    ServerWeights::check(spec, plan, "calibration").map_err(|_| refused)
}
