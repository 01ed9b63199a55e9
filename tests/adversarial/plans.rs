//! Hostile plans: every rule of the checker is reached, and no mutation makes anything panic.

use heq_ir::geometry::{Chw, Window};
use heq_ir::integer::{InputElement, ValueId};
use heq_ir::params::{KeySwitchSpec, RlweSpec};
use heq_ir::plan::codec::{
    CodecError, HEADER_BYTES, MAX_WEIGHTS_BYTES, decode_plan, decode_weights, encode_plan,
    encode_weights,
};
use heq_ir::plan::weights::ServerWeights;
use heq_ir::plan::{AccStrategy, Calibration, LayerKind, ObservedSum, OtExtension, PlanSpec};
use heq_ir::preparation::InputPreparation;
use heq_ir::protocol::adder::CarryForm;
use heq_ir::protocol::max_pool::ComparisonForm;
use heq_ir::protocol::to_arithmetic::ToArithmeticForm;
use heq_ir::rounding::AccRounding;
use heq_tests::compiled_lenet;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

fn lenet_spec() -> PlanSpec {
    compiled_lenet(AccStrategy::WeightAware).plan.spec().clone()
}

/// Makes the checksum right again after a change.
fn sign(bytes: &mut [u8]) {
    let digest = Sha256::new()
        .chain_update(&bytes[..HEADER_BYTES - 32])
        .chain_update(&bytes[HEADER_BYTES..])
        .finalize();
    bytes[HEADER_BYTES - 32..HEADER_BYTES].copy_from_slice(&digest);
}

fn first_choice(spec: &mut PlanSpec) -> &mut heq_ir::plan::LinearChoice {
    let LayerKind::Linear { choice, .. } = &mut spec.layers[0].kind else {
        panic!("LeNet starts with a linear layer");
    };
    choice
}

fn calibrate(spec: &mut PlanSpec, margin_bits: u32, samples: u64, observed: &[(usize, u32)]) {
    spec.acc_strategy = AccStrategy::Calibrated { margin_bits };
    let sum = |&(step, used_bits): &(usize, u32)| ObservedSum { step, used_bits };
    let observed = observed.iter().map(sum).collect();
    spec.calibration = Some(Calibration { samples, observed });
}

/// Inserts poolings of 64x64 that keep the shape after the first requantization.
fn insert_pools(spec: &mut PlanSpec, count: usize) {
    let window = heq_ir::geometry::Window::dense([64; 2], [1; 2], [31, 31, 32, 32]);
    for layer in &mut spec.layers[2..] {
        layer.operands[0].0 += count;
    }
    let template = spec.layers[0].clone();
    for index in 2..2 + count {
        let form = ComparisonForm::Tree;
        let kind = LayerKind::MaxPool { window, form };
        let operands = vec![ValueId(index)];
        spec.layers.insert(index, heq_ir::plan::Layer { kind, operands, ..template.clone() });
    }
}

fn change_forms(spec: &mut PlanSpec, change: fn(&mut CarryForm)) {
    for layer in &mut spec.layers {
        if let LayerKind::Requantize { form, .. } = &mut layer.kind {
            change(&mut form.carry);
        }
    }
}

fn convert_all(spec: &mut PlanSpec) {
    let kind = LayerKind::ToArithmetic { bits: 48, form: ToArithmeticForm::Direct };
    run_alone(spec, Chw::new(64, 1024, 1024), kind);
}

fn pool_all(spec: &mut PlanSpec) {
    let window = heq_ir::geometry::Window::dense([4; 2], [4; 2], [0; 4]);
    let kind = LayerKind::MaxPool { window, form: ComparisonForm::Tree };
    run_alone(spec, Chw::new(1, 1 << 14, 1 << 14), kind);
}

/// A plan of one step, on the bits of an input of `shape`.
fn run_alone(spec: &mut PlanSpec, shape: Chw, kind: LayerKind) {
    spec.input.shape = shape;
    let kinds = [LayerKind::ToBoolean { bits: 8, lo: -128 }, kind, LayerKind::Open];
    let template = spec.layers[0].clone();
    let layers = kinds.into_iter().enumerate().map(|(index, kind)| {
        let operands = vec![ValueId(index)];
        heq_ir::plan::Layer { kind, operands, ..template.clone() }
    });
    spec.layers = layers.collect();
    spec.rlwe.clear();
}

#[test]
fn every_rule_is_checked() {
    type Change = fn(&mut PlanSpec);
    let cases: [(&str, Change); 53] = [
        ("no samples", |spec| spec.batch = 0),
        ("another shape", |spec| spec.batch = usize::MAX),
        ("mixes the samples", |spec| {
            // Two samples of half the channels would be one of the plan's.
            let mut ops = spec.layers.iter_mut().filter_map(|layer| {
                let LayerKind::Linear { op, .. } = &mut layer.kind else { return None };
                (op.geometry.input.channels % 2 == 0).then_some(op)
            });
            let geometry = &mut ops.next().unwrap().geometry;
            geometry.batch = 2;
            geometry.out_channels /= 2;
        }),
        ("does not lie within the layer", |spec| first_choice(spec).tile.samples = 2),
        ("has 0 steps", |spec| spec.layers.clear()),
        ("below 128-bit security", |spec| {
            spec.rlwe = vec![RlweSpec::new(2048, 54)];
        }),
        ("below 128-bit security", |spec| {
            // The special prime counts.
            let key_switch = Some(KeySwitchSpec { special_bits: 20, digits: 2 });
            spec.rlwe = vec![RlweSpec { key_switch, ..RlweSpec::new(2048, 34) }];
        }),
        ("key switching with 9 digits", |spec| {
            let key_switch = Some(KeySwitchSpec { special_bits: 17, digits: 9 });
            spec.rlwe = vec![RlweSpec { key_switch, ..RlweSpec::new(2048, 36) }];
        }),
        ("no room for so many leaves", |spec| first_choice(spec).tile.merge_levels = 11),
        ("is not one of", |spec| spec.rlwe[0].ring_degree = 2047),
        ("is outside", |spec| {
            spec.rlwe = vec![RlweSpec::new(8192, 121)];
        }),
        ("do not ascend", |spec| spec.rlwe = vec![spec.rlwe[0]; 10]),
        ("has 1000 parameter sets", |spec| spec.rlwe = vec![spec.rlwe[0]; 1000]),
        ("set is not used", |spec| {
            spec.rlwe.push(RlweSpec::new(8192, 61));
        }),
        ("never read", |spec| {
            let kind = LayerKind::Concat { batch: 1 };
            let layer = heq_ir::plan::Layer { kind, ..spec.layers[0].clone() };
            let last = spec.layers.len() - 1;
            spec.layers.insert(last, layer);
            spec.layers[last + 1].operands = vec![ValueId(last)];
        }),
        ("channels", |spec| {
            spec.preparation = InputPreparation::new(1.0, vec![0.5; 3], Vec::new()).unwrap();
        }),
        ("no valid calibration", |spec| {
            spec.calibration = Some(Calibration { samples: 1, observed: Vec::new() });
        }),
        ("no valid calibration", |spec| {
            spec.acc_strategy = AccStrategy::Calibrated { margin_bits: 1 };
        }),
        ("no valid calibration", |spec| calibrate(spec, 17, 1, &[])),
        ("no valid calibration", |spec| calibrate(spec, 16, 0, &[])),
        ("names no accumulator", |spec| calibrate(spec, 1, 1, &[(0, 9), (0, 9)])),
        ("names no accumulator", |spec| calibrate(spec, 1, 1, &[(0, 9), (1, 9)])),
        ("more bits than one has", |spec| calibrate(spec, 1, 1, &[(0, 60)])),
        ("windows are too large", |spec| insert_pools(spec, 5)),
        ("form does not fit", |spec| {
            change_forms(spec, |carry| carry.digit_bits = 5);
        }),
        ("form does not fit", |spec| {
            change_forms(spec, |carry| carry.digit_bits = 0);
        }),
        ("form does not fit", |spec| {
            change_forms(spec, |carry| carry.compared_bits = u32::MAX);
        }),
        ("form does not fit", |spec| {
            for layer in &mut spec.layers {
                if let LayerKind::ToArithmetic { form, .. } = &mut layer.kind {
                    let carry = CarryForm { compared_bits: 9, digit_bits: 1 };
                    *form = ToArithmeticForm::Lifted(carry);
                }
            }
        }),
        ("names no parameter set", |spec| first_choice(spec).rlwe = 99),
        ("noise exceeds", |spec| first_choice(spec).weight_norm_squared_log2 += 3),
        ("noise exceeds", |spec| first_choice(spec).response_drop_bits += 3),
        ("more bits than q has", |spec| first_choice(spec).request_drop_bits = 64),
        ("does not lie within the layer", |spec| first_choice(spec).tile.planes = 1 << 20),
        ("coefficients", |spec| first_choice(spec).tile.kernels = 6),
        ("cannot read", |spec| spec.layers[1].operands = vec![ValueId(0)]),
        ("not made yet", |spec| spec.layers[1].operands = vec![ValueId(50)]),
        ("the last step", |spec| {
            spec.layers.pop();
        }),
        ("error budget of 2^-39", |spec| spec.error_budget_log2 = 39),
        ("more than the plan's bound, exact", |spec| round(spec, AccRounding::Exact)),
        ("rounding within 2^-2", |spec| round(spec, AccRounding::Within { bound_log2: 2 })),
        ("not positive", |spec| spec.output_scale = f64::NAN),
        ("random OTs by softspoken:3", |spec| spec.ot = OtExtension::SoftSpoken { field_bits: 3 }),
        ("random OTs by silent:17", |spec| spec.ot = OtExtension::Silent { log_rows: 17 }),
        ("number of operands", |spec| spec.layers[1].operands.clear()),
        ("number of operands", |spec| spec.layers[1].operands = vec![ValueId(1); 2]),
        ("map has another number", |spec| spec.input.map.offset = vec![0.0; 5]),
        ("map is not finite", |spec| spec.input.map.multiplier[0] = f64::INFINITY),
        ("zero point", |spec| {
            let ty = heq_ir::tensor::IntType::unsigned(8);
            spec.input.element = InputElement::Integer { ty, zero_point: 256 };
        }),
        // 2^26 elements to shares of 48 bits; the maxima of 2^24 windows of 16.
        ("messages is too large", convert_all),
        ("too many random OTs at once", pool_all),
        ("fewer than there are", |spec| rank(spec, 10)),
        ("1 to 16 values", |spec| rank(spec, 0)),
        ("2 to 256 values", |spec| {
            let LayerKind::Requantize { range, .. } = &mut spec.layers[1].kind else {
                panic!("LeNet requantizes its first linear layer");
            };
            range.hi -= 1;
        }),
    ];
    for (expected, change) in cases {
        let mut spec = lenet_spec();
        change(&mut spec);
        match encode_plan(spec) {
            Err(CodecError::Rejected(error)) => {
                assert!(error.to_string().contains(expected), "{error}, not {expected}");
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
}

/// Rounds one bit off the accumulator of the first layer.
fn round(spec: &mut PlanSpec, rule: AccRounding) {
    spec.rounding = rule;
    let [first, second, ..] = &mut spec.layers[..] else { panic!("LeNet has many layers") };
    let (LayerKind::Linear { op, .. }, LayerKind::Requantize { widths, form, .. }) =
        (&mut first.kind, &mut second.kind)
    else {
        panic!("LeNet requantizes its first linear layer");
    };
    op.rounded_bits = op.guard_bits + 1;
    (widths.acc_bits, widths.guard_bits, widths.shift) = (widths.acc_bits - 1, 0, widths.shift - 1);
    form.carry = CarryForm::RIPPLE;
}

/// Ranks the logits before they are opened.
fn rank(spec: &mut PlanSpec, k: u32) {
    let open = spec.layers.pop().unwrap();
    let ranked = heq_ir::plan::Layer { kind: LayerKind::Top { k }, ..open.clone() };
    spec.layers.push(ranked);
    let operands = vec![ValueId(spec.layers.len())];
    spec.layers.push(heq_ir::plan::Layer { operands, ..open });
}

#[test]
fn hostile_shapes_are_refused() {
    for size in [0, usize::MAX, usize::MAX / 2, 1 << 40] {
        let mut spec = lenet_spec();
        spec.input.shape.height = size;
        assert!(encode_plan(spec).is_err());
        let mut spec = lenet_spec();
        if let LayerKind::Linear { op, .. } = &mut spec.layers[0].kind {
            op.geometry.window.kernel[0] = size;
            op.geometry.window.pads = [size; 4];
        }
        assert!(encode_plan(spec).is_err());
        let mut spec = lenet_spec();
        if let LayerKind::Linear { op, .. } = &mut spec.layers[0].kind {
            op.geometry.out_channels = size;
        }
        assert!(encode_plan(spec).is_err());
    }
    // One tap alone reads the input, and the number of weights wraps to 0.
    let mut spec = lenet_spec();
    let far = 1 << 20;
    spec.input.shape = Chw::new(1 << 24, 1, 1);
    if let LayerKind::Linear { op, .. } = &mut spec.layers[0].kind {
        op.geometry.input = spec.input.shape;
        op.geometry.out_channels = 1;
        op.geometry.window = Window::dense([far; 2], [1; 2], [far - 1, far - 1, 0, 0]);
    }
    assert!(encode_plan(spec).unwrap_err().to_string().contains("too many weights"));
    // Every size is allowed, and tables of phases and tiles would be quadratic in them.
    for (kernel, stride) in [(1 << 16, 1 << 16), (1 << 15, 1)] {
        let mut spec = lenet_spec();
        spec.input.shape = Chw::new(1, 1 << 16, 1);
        if let LayerKind::Linear { op, choice } = &mut spec.layers[0].kind {
            op.geometry.input = spec.input.shape;
            op.geometry.out_channels = 1;
            op.geometry.window = Window::dense([kernel, 1], [stride, 1], [0; 4]);
            choice.tile.output = [1, 1];
        }
        let start = std::time::Instant::now();
        assert!(encode_plan(spec).is_err());
        assert!(start.elapsed().as_secs() < 5, "{kernel} {stride}");
    }
}

#[test]
fn mutated_files_never_panic() {
    let compiled = compiled_lenet(AccStrategy::WeightAware);
    let weights = encode_weights(compiled.weights.spec()).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut bytes = compiled.plan_bytes.clone();
        for _ in 0..1 + rng.next_u32() % 3 {
            let range = (bytes.len() - HEADER_BYTES) as u32;
            let position = HEADER_BYTES + (rng.next_u32() % range) as usize;
            bytes[position] = rng.next_u32() as u8;
        }
        sign(&mut bytes);
        if let Ok(plan) = decode_plan(&bytes) {
            accepted += 1;
            let _ = (plan.cost(1), heq_compiler::report::to_table(&plan));
        }
    }
    assert!(accepted > 0, "some mutations change names alone");
    for _ in 0..200 {
        let mut bytes = weights.clone();
        let range = (bytes.len() - HEADER_BYTES) as u32;
        bytes[HEADER_BYTES + (rng.next_u32() % range) as usize] ^= 1 << (rng.next_u32() % 8);
        assert_eq!(decode_weights(&bytes), Err(CodecError::Checksum));
        sign(&mut bytes);
        if let Ok(weights) = decode_weights(&bytes) {
            let _ = ServerWeights::check(weights, &compiled.plan, "weights");
        }
    }
}

#[test]
fn plans_cut_anywhere_are_refused() {
    let whole = compiled_lenet(AccStrategy::WeightAware).plan_bytes;
    for length in 0..whole.len() {
        assert!(decode_plan(&whole[..length]).is_err(), "{length} bytes");
    }
    let mut long = whole.clone();
    long.push(0);
    assert!(matches!(decode_plan(&long), Err(CodecError::Length { .. })));
    let weights = encode_weights(compiled_lenet(AccStrategy::WeightAware).weights.spec()).unwrap();
    let mut huge = [whole, weights];
    for length in [1 << 31, u64::from(u32::MAX), 1 << 32, 1 << 63, u64::MAX] {
        huge.iter_mut().for_each(|file| file[12..20].copy_from_slice(&length.to_le_bytes()));
        let [plan, weights] = &huge;
        assert!(matches!(decode_plan(plan), Err(CodecError::TooLarge { .. })), "{length}");
        let refused = decode_weights(weights);
        let is_within = length <= MAX_WEIGHTS_BYTES as u64;
        let is_due = match refused {
            Err(CodecError::TooLarge { .. }) => !is_within,
            Err(CodecError::Length { .. }) => is_within,
            _ => false,
        };
        assert!(is_due, "{length}: {refused:?}");
    }
}
