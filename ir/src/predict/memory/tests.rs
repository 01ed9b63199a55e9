//! Memory of small plans by hand, and what it may depend on.

use super::*;
use crate::geometry::{Chw, ConvGeometry, Window};
use crate::integer::{
    InputElement, InputLayout, InputMap, IntRange, NetworkInput, Quantization, Rounding,
};
use crate::layout::{ConvTile, GroupPlacement, LayoutCounts};
use crate::params::{KeySwitchSpec, RlweParams, RlweSpec};
use crate::plan::codec::encode_plan;
use crate::plan::{AccStrategy, Layer, LayerKind, LinearChoice, OtExtension, PlanSpec};
use crate::preparation::InputPreparation;
use crate::protocol::adder::{AdderForm, CarryForm};
use crate::protocol::requantize::{RequantizeForm, RequantizeWidths};
use crate::protocol::to_arithmetic::ToArithmeticForm;
use crate::rounding::AccRounding;
use crate::secure::{LinearOp, Packing};

const ACC_BITS: u32 = 12;

fn params(modulus_bits: u32, key_switch: Option<KeySwitchSpec>) -> RlweParams {
    RlweParams::check(RlweSpec { ring_degree: 2048, modulus_bits, key_switch }).unwrap()
}

fn linear(channels: usize) -> LayerKind {
    let window = Window::dense([3; 2], [1; 2], [1; 4]);
    let input = Chw::new(channels, 12, 12);
    let geometry = ConvGeometry { input, out_channels: 8, window, groups: 1, batch: 1 };
    let op = LinearOp {
        geometry,
        weight_bits: 3,
        multiplier_bits: 0,
        acc_bits: ACC_BITS,
        guard_bits: 1,
        rounded_bits: 0,
        packing: Packing::None,
    };
    let placement = GroupPlacement::Dense;
    let tile = ConvTile {
        output: [12, 12],
        groups: 1,
        placement,
        planes: 1,
        kernels: 2,
        merge_levels: 0,
        samples: 1,
    };
    let choice = LinearChoice {
        rlwe: 0,
        tile,
        request_drop_bits: 2,
        response_drop_bits: 3,
        weight_norm_squared_log2: 10,
    };
    LayerKind::Linear { op, choice }
}

/// Two convolutions with a requantization between them.
fn plan(ot: OtExtension) -> Plan {
    let widths =
        RequantizeWidths { acc_bits: ACC_BITS, guard_bits: 1, shift: 4, result_bits: 4, limit: 15 };
    let carry = CarryForm { compared_bits: 3, digit_bits: 2 };
    let form = RequantizeForm { carry, sums: AdderForm::Ripple, range: AdderForm::Select };
    let range = IntRange { lo: 0, hi: 15 };
    let kinds = [
        linear(3),
        LayerKind::Requantize { widths, range, form },
        LayerKind::ToArithmetic { bits: ACC_BITS, form: ToArithmeticForm::Direct },
        linear(8),
        LayerKind::Open,
    ];
    let layer = |(index, kind)| Layer {
        name: format!("step {index}"),
        operator: String::new(),
        tensor: String::new(),
        operands: vec![ValueId(index)],
        kind,
    };
    let spec = PlanSpec {
        model: "two".to_owned(),
        acc_strategy: AccStrategy::WeightAware,
        calibration: None,
        error_budget_log2: 40,
        rounding: AccRounding::Exact,
        input: NetworkInput {
            name: "x".to_owned(),
            shape: Chw::new(3, 12, 12),
            layout: InputLayout::Nchw,
            element: InputElement::Real,
            map: InputMap::identity(),
            quantization: Quantization { scale: 1.0, range },
            rounding: Rounding::HalfEven,
        },
        preparation: InputPreparation::new(1.0, Vec::new(), Vec::new()).unwrap(),
        output_name: "y".to_owned(),
        output_scale: 1.0,
        rlwe: vec![RlweSpec::new(2048, 40)],
        ot,
        layers: kinds.into_iter().enumerate().map(layer).collect(),
        batch: 1,
    };
    encode_plan(spec).unwrap().0
}

#[test]
fn linear_steps_by_hand() {
    // N = 2048: 64 blocks of 32 evaluations.
    for (modulus_bits, tiles, row) in [
        (30, 3, 64 * 3 * 32 * 4),
        (36, 3, 64 * 512),
        (36, 2, 64 * 320),
        (44, 3, 64 * 576),
        (50, 3, 64 * 768),
        // Two primes of 26 bits.
        (52, 3, 2 * 64 * 384),
    ] {
        assert_eq!(row_bytes(&params(modulus_bits, None), tiles), row, "{modulus_bits} {tiles}");
    }
    let params = params(44, None);
    let counts = LayoutCounts {
        spatial: 1,
        group_tiles: 1,
        input_tiles: 3,
        rows: 5,
        rows_of_group_tile: 5,
        merge_levels: 0,
    };
    let memory = linear_memory(&params, &counts, [1000, 500], 2);
    let n = 2048 * 8;
    // Three requests queued and in the batch, two under way.
    let sends = 3 * 1000 + 3 * 1000 + 2 * (3 * n + 2 * n + n + n + 1000);
    let reads = 5 * 500 + 5 * (500 + 2 * n) + 2 * (2 * n + n);
    assert_eq!(memory.client, sends.max(reads));
    let row = 64 * 576;
    let blocks = 2 * 3 * n;
    let receives = blocks + 3 * (1000 + 2 * n) + 2 * (3 * n + n);
    let answers = blocks + 5 * 500 + 5 * (500 + 2 * n) + 2 * (4 * n + 2 * n + n + 500 + row);
    assert_eq!(memory.server, receives.max(answers));
    assert_eq!(memory.weights, 5 * row);
}

#[test]
fn hostile_counts_saturate() {
    let special = Some(KeySwitchSpec { special_bits: 20, digits: 2 });
    let huge = usize::MAX / 3;
    let counts = LayoutCounts {
        spatial: huge,
        group_tiles: huge,
        input_tiles: huge,
        rows: huge,
        rows_of_group_tile: huge,
        merge_levels: 20,
    };
    let memory = linear_memory(&params(32, special), &counts, [u64::MAX; 2], usize::MAX);
    assert_eq!([memory.client, memory.server, memory.weights], [u64::MAX; 3]);
}

#[test]
fn values_wait_until_their_last_reader() {
    let plan = plan(OtExtension::SoftSpoken { field_bits: 4 });
    let (input, words) = (3 * 144 * 8, 8 * 144 * 8);
    let planes = 4 * (8 * 144 / 64) * 8;
    assert_eq!(plan.waiting_values(), [input, words, planes, words, words]);
}

#[test]
fn all_random_ots_of_a_small_plan_are_made_ahead() {
    let plan = plan(OtExtension::SoftSpoken { field_bits: 4 });
    let stock = plan.stock_memory();
    let sum = |parts: &[usize]| -> Both {
        let runs = parts.iter().flat_map(|&index| &plan.layer_traffic()[index].rots);
        runs.map(stages::run_memory).fold(Both::default(), Both::add)
    };
    // Before the first step nothing is taken.
    assert_eq!(stock.kept, sum(&[1, 2, 4]));
    assert_eq!(stock.steps, [Both::default(); 5]);
    // One bit of every element, the server its sender: two pads and one, and the choice.
    let run = crate::protocol::to_arithmetic::bit_product_rots(100, 3);
    assert_eq!(stages::run_memory(&run), Both { client: (3 + 1) * 16, server: 2 * 3 * 16 });
}

#[test]
fn more_threads_and_a_bigger_cache_never_predict_less() {
    for ot in OtExtension::all() {
        let plan = plan(ot);
        let at = |weight_cache_bytes, threads| {
            let memory = plan.memory(&MemorySituation { weight_cache_bytes, threads });
            [memory.client.peak(), memory.server.peak()]
        };
        let caches = (0..40).map(|step| step * 9_973).chain([u64::MAX]);
        let peaks: Vec<_> = caches.map(|cache| at(cache, 1)).collect();
        assert!(peaks.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1]), "{ot}: {peaks:?}");
        let step = plan.linear_steps().map(|(_, step)| step.layout.counts());
        let row = |counts: LayoutCounts| row_bytes(&plan.rlwe()[0], counts.input_tiles);
        let weights: u64 = step.map(|counts| row(counts) * counts.rows as u64).sum();
        assert_eq!(peaks[40][1] - peaks[0][1], weights, "{ot}");
        let peaks: Vec<_> = [0, 1, 2, 3, 8, 64, usize::MAX].map(|threads| at(0, threads)).into();
        assert!(peaks.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1]), "{ot}: {peaks:?}");
        assert_eq!(peaks[0], peaks[1]);
    }
}

#[test]
fn the_extension_is_what_its_state_takes() {
    for (ot, bytes) in [
        (OtExtension::SoftSpoken { field_bits: 1 }, 2 * 128 * 2 * 176),
        (OtExtension::SoftSpoken { field_bits: 8 }, 2 * 16 * 256 * 176),
        (OtExtension::Silent { log_rows: 18 }, 2 * (40_960 + (1 << 18)) * 16),
    ] {
        assert_eq!(ot.state_bytes(), bytes, "{ot}");
    }
}
