//! Networks of one linear layer on shared values: the common work of `cargo xtask bench layers`.

use heq_ir::geometry::{Chw, ConvGeometry, Window};
use heq_ir::integer::{
    InputElement, InputLayout, InputMap, IntRange, IntegerLayer, IntegerNetwork, IntegerOp,
    LinearTerm, NetworkInput, NetworkOutput, Quantization, Rounding, SumOp, TableOp, Term, ValueId,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::sync::Arc;

/// A layer of the common work.
#[derive(Clone, Copy, Debug)]
pub struct LayerShape {
    /// Its name.
    pub name: &'static str,
    /// Shapes and window.
    pub geometry: ConvGeometry,
}

/// Widths of weights and activations in bits.
#[derive(Clone, Copy, Debug)]
pub struct Widths {
    /// Weights, uniform in `[-(2^(b-1)-1), 2^(b-1)-1]`.
    pub weight_bits: u32,
    /// Activations, `[0, 2^b-1]`.
    pub activation_bits: u32,
}

impl std::fmt::Display for Widths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "W{}A{}", self.weight_bits, self.activation_bits)
    }
}

/// The layers that other systems were measured on.
#[must_use]
pub fn common_layers() -> Vec<LayerShape> {
    let square = |name, [c, k, size, kernel, groups]: [usize; 5]| LayerShape {
        name,
        geometry: ConvGeometry {
            input: Chw::new(c, size, size),
            out_channels: k,
            window: Window::dense([kernel; 2], [1; 2], [kernel / 2; 4]),
            groups,
            batch: 1,
        },
    };
    vec![
        square("56x56x64->64 3x3", [64, 64, 56, 3, 1]),
        square("28x28x128->128 3x3", [128, 128, 28, 3, 1]),
        square("14x14x256->256 3x3", [256, 256, 14, 3, 1]),
        square("7x7x512->512 3x3", [512, 512, 7, 3, 1]),
        square("28x28x192->64 1x1", [192, 64, 28, 1, 1]),
        square("depthwise 28x28x192 3x3", [192, 192, 28, 3, 192]),
        LayerShape { name: "FC 512->1000", geometry: ConvGeometry::fully_connected(512, 1000) },
        square("14x14x1024->256 1x1", [1024, 256, 14, 1, 1]),
    ]
}

/// A network whose second layer is `geometry` on values that both parties share, with weights of a
/// fixed seed.
#[must_use]
pub fn one_layer(geometry: ConvGeometry, widths: Widths) -> IntegerNetwork {
    let range = IntRange { lo: 0, hi: (1 << widths.activation_bits) - 1 };
    let most = (1_i64 << (widths.weight_bits - 1)) - 1;
    let mut rng = ChaCha20Rng::seed_from_u64(2024);
    let weights = geometry.fan_in() * geometry.out_channels;
    let mut weight = || i64::from(rng.next_u32()) % (2 * most + 1) - most;
    let linear = LinearTerm {
        geometry,
        weights: Arc::new((0..weights).map(|_| i32::try_from(weight()).unwrap_or(0)).collect()),
        weight_bits: widths.weight_bits,
        multipliers: vec![1; geometry.out_channels],
        multiplier_bits: 0,
    };
    let table =
        TableOp { inputs: vec![range], output: range, values: (range.lo..=range.hi).collect() };
    let sum = SumOp {
        output: geometry.output().unwrap_or(Chw::new(0, 0, 0)),
        terms: vec![Term::Linear(linear)],
        bias: vec![0; geometry.out_channels],
        requantize: None,
    };
    let layer = |name: &str, operator: &str, input, op| IntegerLayer {
        name: name.to_owned(),
        operator: operator.to_owned(),
        tensor: name.to_owned(),
        inputs: vec![ValueId(input)],
        op,
    };
    IntegerNetwork {
        name: "one layer".to_owned(),
        input: NetworkInput {
            name: "x".to_owned(),
            shape: geometry.input,
            layout: InputLayout::Nchw,
            element: InputElement::Real,
            map: InputMap::identity(),
            quantization: Quantization { scale: 1.0, range },
            rounding: Rounding::HalfEven,
        },
        layers: vec![
            layer("shared", "Table", 0, IntegerOp::Table(table)),
            layer("layer", "Conv", 1, IntegerOp::Sum(sum)),
        ],
        output: NetworkOutput { name: "y".to_owned(), value: ValueId(2), scale: 1.0 },
        batch: 1,
    }
}
