//! Generated integer networks: two parties compute what the reference evaluates, bit for bit, and
//! what they send is what the plan predicts. Shapes, strides, pads, widths, signs and structure vary.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clippy exempts test functions, not their helpers"
)]

use heq_compiler::compile::compile_network;
use heq_compiler::pipeline::{ImportOptions, import};
use heq_ir::diagnostic::Code;
use heq_ir::eval::evaluate;
use heq_ir::geometry::{Chw, ConvGeometry, Window};
use heq_ir::integer::{
    IntRange, IntegerLayer, IntegerNetwork, IntegerOp, LinearOp, MaxPoolOp, NetworkInput,
    NetworkOutput, Quantization, Requantize, ValueId,
};
use heq_ir::plan::AccStrategy;
use heq_tests::{lenet, plan_options, run_both, shared};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// Builds a network layer by layer.
struct Builder {
    rng: ChaCha20Rng,
    network: IntegerNetwork,
    shape: Chw,
}

impl Builder {
    fn new(seed: u64, shape: Chw, range: IntRange) -> Self {
        let quantization = Quantization { scale: 0.25, range };
        let input = NetworkInput { name: "x".to_owned(), shape, quantization };
        let output = NetworkOutput { name: "y".to_owned(), value: ValueId(0), scale: 0.5 };
        let network =
            IntegerNetwork { name: format!("generated {seed}"), input, layers: Vec::new(), output };
        Self { rng: ChaCha20Rng::seed_from_u64(seed), network, shape }
    }

    fn draw(&mut self, lo: i64, hi: i64) -> i64 {
        lo + (self.rng.next_u64() % (hi - lo + 1).cast_unsigned()).cast_signed()
    }

    fn push(&mut self, operator: &str, shape: Chw, op: IntegerOp) {
        let index = self.network.layers.len();
        self.network.layers.push(IntegerLayer {
            name: format!("{operator} {index}"),
            operator: operator.to_owned(),
            input: ValueId(index),
            op,
        });
        self.network.output.value = ValueId(index + 1);
        self.shape = shape;
    }

    fn linear(&mut self, out_channels: usize, window: Window, requantize: Option<Requantize>) {
        let geometry = ConvGeometry { input: self.shape, out_channels, window };
        let output = geometry.output().unwrap();
        let weight_bits = self.draw(1, 8) as u32;
        let multiplier_bits = self.draw(0, 5) as u32;
        let half = 1_i64 << (weight_bits - 1);
        let most = ((1_i64 << multiplier_bits) - 1).max(1);
        let count = geometry.fan_in() * out_channels;
        let weights = (0..count).map(|_| self.draw(-half, half - 1) as i32).collect();
        let multipliers = (0..out_channels).map(|_| self.draw(-most, most)).collect();
        let bias = (0..out_channels).map(|_| self.draw(-500, 500)).collect();
        self.push(
            "Conv",
            output,
            IntegerOp::Linear(LinearOp {
                geometry,
                weights,
                weight_bits,
                multipliers,
                multiplier_bits,
                bias,
                requantize,
            }),
        );
    }

    fn window(&mut self) -> Window {
        let kernel = [self.draw(1, 3) as usize, self.draw(1, 3) as usize];
        let strides = [self.draw(1, 2) as usize, self.draw(1, 2) as usize];
        let mut pad = |axis: usize| self.draw(0, kernel[axis] as i64 - 1) as usize;
        Window { kernel, strides, pads: [pad(0), pad(1), pad(0), pad(1)] }
    }

    fn requantize(&mut self) -> Requantize {
        let (bits, shift) = (self.draw(1, 6), self.draw(0, 9) as u32);
        let lo = [0, -(1 << (bits - 1)), 3][self.draw(0, 2) as usize];
        Requantize { shift, range: IntRange { lo, hi: lo + (1 << bits) - 1 } }
    }

    /// A random network of one to three linear layers.
    fn generate(seed: u64) -> IntegerNetwork {
        let ranges = [IntRange { lo: 0, hi: 15 }, IntRange { lo: -128, hi: 127 }];
        let range = ranges[seed as usize % 2];
        let mut builder = Self::new(seed, Chw::new(1, 1, 1), range);
        let shape = Chw::new(
            builder.draw(1, 5) as usize,
            builder.draw(3, 9) as usize,
            builder.draw(3, 9) as usize,
        );
        builder.network.input.shape = shape;
        builder.shape = shape;
        for _ in 0..builder.draw(0, 2) {
            let (window, requantize) = (builder.window(), builder.requantize());
            let out_channels = builder.draw(1, 6) as usize;
            builder.linear(out_channels, window, Some(requantize));
            let window = builder.window();
            if builder.draw(0, 1) == 1
                && let Some([height, width]) =
                    window.output(builder.shape.height, builder.shape.width)
            {
                let input = builder.shape;
                let output = Chw::new(input.channels, height, width);
                builder.push("MaxPool", output, IntegerOp::MaxPool(MaxPoolOp { input, window }));
            }
        }
        let flat = Chw::new(builder.shape.len(), 1, 1);
        if builder.draw(0, 1) == 1 {
            builder.push("Flatten", flat, IntegerOp::Flatten);
        }
        let out_channels = builder.draw(1, 10) as usize;
        builder.linear(out_channels, Window::POINT, None);
        builder.network
    }
}

fn check_exact(network: &IntegerNetwork, acc_strategy: AccStrategy) {
    let compiled = compile_network(network, &plan_options(acc_strategy))
        .unwrap_or_else(|error| panic!("{}: {error}", network.name));
    let IntRange { lo, hi } = network.input.quantization.range;
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let elements = network.input.shape.len();
    let mut samples = vec![vec![lo; elements], vec![hi; elements]];
    let span = (hi - lo + 1).cast_unsigned();
    samples.push(
        (0..elements).map(|_| lo + (rng.next_u64() % span).cast_signed()).collect::<Vec<_>>(),
    );
    let run = run_both(&compiled, &samples);
    let (outputs, stats) = run.client.unwrap_or_else(|error| panic!("{}: {error}", network.name));
    for (sample, output) in samples.iter().zip(&outputs) {
        let reference = evaluate(&compiled.plan, &compiled.weights, sample).unwrap();
        assert_eq!(output, reference.output(), "{}", network.name);
    }
    let cost = compiled.plan.cost(3);
    for (index, (predicted, measured)) in cost.layers.iter().zip(&stats.layers).enumerate() {
        assert_eq!(
            (predicted.bytes_up, predicted.bytes_down, predicted.flights),
            (measured.bytes_up, measured.bytes_down, measured.flights),
            "{}, step {index}",
            network.name
        );
    }
}

#[test]
fn generated_networks_are_exact() {
    for seed in 0..60 {
        check_exact(&Builder::generate(seed), AccStrategy::WeightAware);
    }
}

#[test]
fn an_output_may_be_flattened() {
    let mut builder = Builder::new(1, Chw::new(2, 4, 4), IntRange { lo: 0, hi: 15 });
    builder.linear(3, Window { kernel: [3, 3], strides: [1, 1], pads: [0; 4] }, None);
    let flat = Chw::new(builder.shape.len(), 1, 1);
    builder.push("Flatten", flat, IntegerOp::Flatten);
    check_exact(&builder.network, AccStrategy::WeightAware);
}

#[test]
fn shares_are_wider_than_the_bits_they_come_from() {
    let mut builder = Builder::new(2, Chw::new(4, 1, 1), IntRange { lo: 0, hi: 1 });
    let range = IntRange { lo: 0, hi: 255 };
    builder.linear(4, Window::POINT, Some(Requantize { shift: 0, range }));
    builder.linear(2, Window::POINT, None);
    let IntegerOp::Linear(last) = &mut builder.network.layers[1].op else { panic!("linear") };
    last.weights.fill(0);
    last.bias.fill(0);
    check_exact(&builder.network, AccStrategy::WeightAware);
}

#[test]
fn a_bias_that_saturates_every_output_is_no_fault() {
    for bias in [-10_000, 10_000] {
        let mut builder = Builder::new(3, Chw::new(4, 1, 1), IntRange { lo: 0, hi: 15 });
        let range = IntRange { lo: -128, hi: 127 };
        builder.linear(3, Window::POINT, Some(Requantize { shift: 3, range }));
        builder.linear(2, Window::POINT, None);
        let IntegerOp::Linear(first) = &mut builder.network.layers[0].op else { panic!("linear") };
        first.bias.fill(bias);
        check_exact(&builder.network, AccStrategy::WeightAware);
    }
}

#[test]
fn pooling_an_input_is_refused_by_name() {
    let mut builder = Builder::new(4, Chw::new(1, 4, 4), IntRange { lo: 0, hi: 15 });
    let window = Window { kernel: [2, 2], strides: [2, 2], pads: [0; 4] };
    let input = builder.shape;
    builder.push("MaxPool", Chw::new(1, 2, 2), IntegerOp::MaxPool(MaxPoolOp { input, window }));
    builder.linear(2, Window::POINT, None);
    let options = plan_options(AccStrategy::WeightAware);
    let found = compile_network(&builder.network, &options).unwrap_err();
    let first = found.iter().next().unwrap();
    assert_eq!((first.code, first.place.as_str()), (Code::UnsupportedForm, "MaxPool 0"));
}

#[test]
fn qonnx_and_qcdq_exports_give_the_same_network() {
    let Some(qonnx) = shared("models/lenet_mnist_w4a4_qonnx.onnx") else { return };
    let network = |path: &std::path::Path| {
        let bytes = std::fs::read(path).unwrap();
        import(&bytes, "lenet.onnx", &ImportOptions::default()).unwrap_or_else(|e| panic!("{e}"))
    };
    let (qonnx, qcdq) = (network(&qonnx), network(&lenet("model.onnx")));
    assert_eq!(qonnx.layers, qcdq.layers);
    assert_eq!(qonnx.input.quantization, qcdq.input.quantization);
    assert_eq!(qonnx.output.value, qcdq.output.value);
}
