//! The quantizers of QONNX.

use super::builder::Builder;

const QONNX: &str = "qonnx.custom_op.general";

/// A quantizer of the tensor `x` with these parameters.
fn quant(model: Builder, scale: &[f32], zero_point: f32, bits: f32, signed: i64) -> Builder {
    model
        .floats("s", &[i64::try_from(scale.len()).unwrap()], scale)
        .floats("z", &[], &[zero_point])
        .floats("b", &[], &[bits])
        .node_of(QONNX, "Quant", &["x", "s", "z", "b"], &["y"])
        .int("signed", signed)
}

/// The same on an activation.
fn on_input(scale: &[f32], zero_point: f32, bits: f32, signed: i64) -> Builder {
    quant(Builder::fixed(&[1, 2]), scale, zero_point, bits, signed)
}

/// A model whose `x` is a constant.
fn constant(dims: &[i64], values: &[f32]) -> Builder {
    let mut model = Builder::fixed(&[1]).floats("x", dims, values);
    model.graph.input.clear();
    model
}

#[test]
fn activations() {
    for (zero_point, bits, signed, narrow, range) in [
        (0.0, 4.0, 1, 0, "-8..7"),
        (0.0, 4.0, 1, 1, "-7..7"),
        (0.0, 2.0, 0, 0, "0..3"),
        (3.0, 8.0, 0, 0, "-3..252"),
    ] {
        on_input(&[0.5], zero_point, bits, signed).int("narrow", narrow).check(&[
            "%x = input : f32[1,2]",
            &format!("%y = quantize(%x) scale=0.5 range={range} from=/y,Quant : f32[1,2]"),
        ]);
    }
    on_input(&[0.5, 0.5], 0.0, 2.0, 1)
        .text("rounding_mode", "FLOOR")
        .check_operators(&["quantize scale=0.5 range=-2..1 rounding=floor"]);
    for (model, phrase) in [
        (on_input(&[0.5, 0.25], 0.0, 4.0, 1), "scale has 2 values"),
        (on_input(&[-0.5], 0.0, 4.0, 1), "not positive"),
        (on_input(&[f32::NAN], 0.0, 4.0, 1), "not finite"),
        (on_input(&[0.5], 0.5, 4.0, 1), "zero point 0.5"),
        (on_input(&[0.5], 0.0, 9.0, 1), "bit width 9"),
        (on_input(&[0.5], 0.0, 1.0, 1).int("narrow", 1), "single value"),
        (on_input(&[0.5], 0.0, 4.0, 2), "0 or 1"),
        (on_input(&[0.5], 0.0, 4.0, 1).text("rounding_mode", "CEIL"), "CEIL"),
    ] {
        model.refuse(phrase);
    }
}

#[test]
fn constants() {
    let x = &[-1.25, -0.75, 0.75, 9.0];
    for (mode, values) in [
        ("ROUND", "[-2,-2,2,7]"),
        ("half_even", "[-2,-2,2,7]"),
        ("FLOOR", "[-3,-2,1,7]"),
        ("CEIL", "[-2,-1,2,7]"),
        ("ROUND_TO_ZERO", "[-2,-1,1,7]"),
        ("HALF_UP", "[-3,-2,2,7]"),
        ("HALF_DOWN", "[-2,-1,1,7]"),
        ("UP", "[-3,-2,2,7]"),
    ] {
        quant(constant(&[4], x), &[0.5], 0.0, 4.0, 1).text("rounding_mode", mode).check_operators(
            &[&format!("quantized_constant values={values} scale=[0.5] range=-8..7")],
        );
    }
    // A 32-bit bias, and a zero point, which is added before rounding.
    quant(constant(&[1], &[3.0e9]), &[1.0], 0.0, 32.0, 1).check_operators(&[
        "quantized_constant values=[2147483647] scale=[1.0] range=-2147483648..2147483647",
    ]);
    quant(constant(&[1], &[0.5]), &[1.0], 1.0, 4.0, 0)
        .check_operators(&["quantized_constant values=[1] scale=[1.0] range=-1..14"]);
    quant(constant(&[1], &[0.5]), &[1.0], 0.0, 33.0, 0).refuse("bit width 33");
    quant(constant(&[1], &[0.5]), &[1.0], 0.0, 4.0, 0).text("rounding_mode", "ODD").refuse("ODD");
}

#[test]
fn constants_with_a_scale_a_channel() {
    let channels = |dims: &[i64]| {
        constant(&[2, 2, 1], &[1.0, 2.0, 3.0, 4.0])
            .floats("s", dims, &[1.0, 0.5])
            .floats("z", &[], &[0.0])
            .floats("b", &[], &[4.0])
            .node_of("onnx.brevitas", "Quant", &["x", "s", "z", "b"], &["y"])
    };
    let text = |values, axis| {
        format!("quantized_constant values={values} scale=[1.0,0.5] range=-8..7 axis={axis}")
    };
    channels(&[2, 1, 1]).check_operators(&[&text("[1,2,6,7]", 0)]);
    channels(&[1, 2, 1]).check_operators(&[&text("[1,4,3,7]", 1)]);
    channels(&[2, 1]).check_operators(&[&text("[1,4,3,7]", 1)]);
    channels(&[2]).refuse("parameters of shape [2]");
}

#[test]
fn bipolar() {
    let node = |model: Builder, domain: &str| {
        model.floats("s", &[], &[0.5]).node_of(domain, "BipolarQuant", &["x", "s"], &["y"])
    };
    node(constant(&[3], &[-0.1, 0.0, 7.0]), "finn.custom_op.general")
        .check_operators(&["quantized_constant values=[-1,1,1] scale=[0.5] range=-1..1"]);
    node(Builder::fixed(&[1, 2]), QONNX).check_operators(&[
        "quantize scale=0.5 range=-1..0 rounding=floor",
        "constant values=[2.0]",
        "mul",
        "constant values=[0.5]",
        "add",
    ]);
}

#[test]
fn truncation() {
    let node = |from: f32, to: f32, zero: f32| {
        Builder::fixed(&[1, 2])
            .floats("s", &[], &[0.5])
            .floats("z", &[], &[zero])
            .floats("from", &[], &[from])
            .floats("to", &[], &[to])
            .node_of(QONNX, "Trunc", &["x", "s", "z", "from", "to"], &["y"])
    };
    node(8.0, 4.0, 0.0).check_operators(&[
        "quantize scale=8.0 range=-16..15 rounding=floor",
        "constant values=[0.0625]",
        "mul",
    ]);
    node(4.0, 4.0, 0.0)
        .text("rounding_mode", "ROUND")
        .check_operators(&["quantize scale=0.5 range=-16..15"]);
    node(4.0, 8.0, 0.0).refuse("extends 4 bits to 8");
    node(8.0, 4.0, 1.0).refuse("zero point 1");
}
