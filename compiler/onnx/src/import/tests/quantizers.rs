//! The quantized forms: QDQ, QOperator, integer operators.

use super::builder::Builder;
use heq_ir::diagnostic::Code;
use tract_onnx::pb::tensor_proto::DataType;

const MICROSOFT: &str = "com.microsoft";

#[test]
fn quantizers_with_and_without_zero_point() {
    Builder::fixed(&[1, 2])
        .floats("s", &[], &[0.5])
        .floats("t", &[2], &[0.5, 0.25])
        .int8("z", &[2], &[0, 0])
        .node("QuantizeLinear", &["x", "s"], "a")
        .node("DequantizeLinear", &["a", "s"], "b")
        .node("QuantizeLinear", &["b", "t", "z"], "c")
        .int("axis", -1)
        .node("DequantizeLinear", &["c", "t"], "y")
        .check(&[
            "%x = input : f32[1,2]",
            "%a = quantize_linear(%x) scale=[0.5] zero_point=[0] type=u8 from=/a,QuantizeLinear : u8[1,2]",
            "%b = dequantize_linear(%a) scale=[0.5] zero_point=[0] type=u8 from=/b,DequantizeLinear : f32[1,2]",
            "%c = quantize_linear(%b) scale=[0.5,0.25] zero_point=[0,0] type=i8 axis=-1 from=/c,QuantizeLinear : i8[1,2]",
            "%y = dequantize_linear(%c) scale=[0.5,0.25] zero_point=[0,0] type=i8 axis=1 from=/y,DequantizeLinear : f32[1,2]",
        ]);
}

#[test]
fn scales_of_every_shape() {
    let model = |dims: &[i64], scales: &[f32]| {
        Builder::fixed(&[1, 2, 3, 3]).floats("s", dims, scales).int8("z", &[], &[3]).node(
            "QuantizeLinear",
            &["x", "s", "z"],
            "y",
        )
    };
    for (dims, scales, expected) in [
        (&[][..], &[0.5][..], "scale=[0.5] zero_point=[3] type=i8"),
        (&[1], &[0.5], "scale=[0.5] zero_point=[3] type=i8"),
        (&[1, 1, 1, 1], &[0.5], "scale=[0.5] zero_point=[3] type=i8"),
        (&[2], &[0.5, 0.25], "scale=[0.5,0.25] zero_point=[3,3] type=i8 axis=1"),
        (&[2, 1, 1], &[0.5, 0.25], "scale=[0.5,0.25] zero_point=[3,3] type=i8 axis=1"),
        (&[1, 2, 1, 1], &[0.5, 0.25], "scale=[0.5,0.25] zero_point=[3,3] type=i8 axis=1"),
        (&[1, 3], &[0.5, 0.25, 1.0], "scale=[0.5,0.25,1.0] zero_point=[3,3,3] type=i8 axis=3"),
    ] {
        model(dims, scales).check_operators(&[&format!("quantize_linear {expected}")]);
    }
    for (dims, scales, phrase) in [
        (&[2, 2][..], &[0.5; 4][..], "as blocks have"),
        (&[1, 2, 1, 1, 1, 1], &[0.5; 2], "as blocks have"),
        (&[3], &[0.5; 3], "scales: 3, expected 2"),
        (&[], &[0.0], "not positive"),
        (&[], &[f32::INFINITY], "not finite"),
    ] {
        model(dims, scales).refuse(phrase);
    }
    model(&[], &[0.5]).int("block_size", 2).refuse("block_size=2");
    model(&[], &[0.5]).int("output_dtype", i64::from(DataType::Uint8 as i32)).refuse("differ");
}

#[test]
fn narrow_integers() {
    for (ty, name) in [(26, "i2"), (25, "u2"), (22, "i4"), (21, "u4"), (5, "i16"), (6, "i32")] {
        let mut model = Builder::fixed(&[1, 2])
            .floats("s", &[], &[0.5])
            .small(DataType::Int8, "z", &[], &[1])
            .node("QuantizeLinear", &["x", "s", "z"], "y");
        model.graph.initializer[1].data_type = ty;
        model.check_type(&format!("{name}[1,2]"));
    }
    let ty = i64::from(DataType::Int16 as i32);
    Builder::fixed(&[1, 2])
        .floats("s", &[], &[0.5])
        .node("QuantizeLinear", &["x", "s"], "y")
        .int("output_dtype", ty)
        .check_type("i16[1,2]");
}

#[test]
fn parameters_behind_quantizers_are_known() {
    // A slope that was itself quantized, and a padding value.
    let quantized = |model: Builder| {
        model
            .floats("s", &[], &[0.5])
            .int8("q", &[], &[3])
            .int8("z", &[], &[3])
            .int8("one", &[], &[1])
            .node("DequantizeLinear", &["q", "s", "one"], "slope")
            .node("DequantizeLinear", &["q", "s", "z"], "zero")
    };
    quantized(Builder::fixed(&[1, 2]))
        .node("PRelu", &["x", "slope"], "y")
        .check_operators(&["leaky_relu slopes=[1.0]"]);
    quantized(Builder::fixed(&[1, 2]))
        .list("pads", &[0, 1, 0, 0])
        .node("Pad", &["x", "pads", "zero"], "y")
        .check_operators(&["pad before=0,1 after=0,0"]);
    quantized(Builder::fixed(&[1, 2]))
        .list("pads", &[0, 1, 0, 0])
        .node("Pad", &["x", "pads", "slope"], "y")
        .refuse("another value than 0");
}

#[test]
fn integer_inputs_and_casts() {
    Builder::integer(DataType::Uint8, &[1, 2]).node("Cast", &["x"], "y").int("to", 1).check(&[
        "%x = input : u8[1,2]",
        "%y = dequantize_linear(%x) scale=[1.0] zero_point=[0] type=u8 from=/y,Cast : f32[1,2]",
    ]);
    Builder::fixed(&[1, 2])
        .node("Cast", &["x"], "a")
        .int("to", 1)
        .node("Relu", &["a"], "y")
        .check_operators(&["relu"]);
    Builder::fixed(&[1, 2])
        .node("ArgMax", &["x"], "a")
        .int("axis", -1)
        .node("Cast", &["a"], "y")
        .int("to", 6)
        .check_operators(&["arg_max axis=1 keep_dims=true"]);
    Builder::fixed(&[1, 2]).node("Cast", &["x"], "y").int("to", 3).refuse("a cast of f32 to i8");
    Builder::integer(DataType::Uint8, &[1, 2]).node("Relu", &["x"], "y").refuse("QDQ form");
}

#[test]
fn integer_operators() {
    Builder::integer(DataType::Uint8, &[1, 1, 2, 2])
        .int8("w", &[2, 1, 1, 1], &[1, 2])
        .uint8("xz", &[], &[128])
        .int8("wz", &[2], &[0, 1])
        .small(DataType::Int32, "b", &[1, 2, 1, 1], &[5, 6])
        .floats("s", &[], &[0.5])
        .node("ConvInteger", &["x", "w", "xz", "wz"], "a")
        .node("Add", &["a", "b"], "c")
        .node("Cast", &["c"], "d")
        .int("to", 1)
        .node("Mul", &["d", "s"], "y")
        .check_operators(&[
            "dequantize_linear scale=[1.0] zero_point=[128] type=u8",
            "constant values=[1,2]",
            "dequantize_linear scale=[1.0,1.0] zero_point=[0,1] type=i8 axis=0",
            "conv strides=1,1 pads=0,0,0,0",
            "constant values=[5.0,6.0]",
            "add",
            "constant values=[0.5]",
            "mul",
        ]);
    Builder::integer(DataType::Uint8, &[1, 2])
        .int8("w", &[2, 1], &[1, 2])
        .uint8("xz", &[1], &[128])
        .node("MatMulInteger", &["x", "w", "xz"], "y")
        .check_type("f32[1,1]");
    Builder::fixed(&[1, 2])
        .int8("w", &[2, 1], &[1, 2])
        .node_of("", "DynamicQuantizeLinear", &["x"], &["q", "s", "z"])
        .node("MatMulInteger", &["q", "w", "z"], "a")
        .node("Cast", &["a"], "b")
        .int("to", 1)
        .node("Mul", &["b", "s"], "y")
        .check_faults(&[(Code::UnsupportedOperator, "dynamic quantization")]);
}

/// A quantizer of `x` with scale 0.5 and zero point 3, and constants for the operators after it.
fn quantized(dims: &[i64]) -> Builder {
    Builder::fixed(dims)
        .floats("s", &[], &[0.5])
        .uint8("z", &[], &[3])
        .floats("t", &[], &[0.25])
        .uint8("u", &[], &[7])
        .node("QuantizeLinear", &["x", "s", "z"], "q")
}

const DQ: &str = "dequantize_linear scale=[0.5] zero_point=[3] type=u8";
const Q: &str = "quantize_linear scale=[0.5] zero_point=[3] type=u8";
const OUT: &str = "quantize_linear scale=[0.25] zero_point=[7] type=u8";

#[test]
fn quantized_convolution() {
    quantized(&[1, 1, 4, 4])
        .int8("w", &[2, 1, 1, 1], &[1, 2])
        .floats("ws", &[2], &[0.5, 2.0])
        .int8("wz", &[2], &[0, 0])
        .small(DataType::Int32, "b", &[2], &[5, 6])
        .node("QLinearConv", &["q", "s", "z", "w", "ws", "wz", "t", "u", "b"], "y")
        .check(&[
            "%x = input : f32[1,1,4,4]",
            "%q = quantize_linear(%x) scale=[0.5] zero_point=[3] type=u8 from=/q,QuantizeLinear : u8[1,1,4,4]",
            "%y:dequantize_linear = dequantize_linear(%q) scale=[0.5] zero_point=[3] type=u8 from=/y,QLinearConv : f32[1,1,4,4]",
            "%w = constant values=[1,2] : i8[2,1,1,1]",
            "%y:dequantize_linear2 = dequantize_linear(%w) scale=[0.5,2.0] zero_point=[0,0] type=i8 axis=0 from=/y,QLinearConv : f32[2,1,1,1]",
            "%b = constant values=[5,6] : i32[2]",
            "%y:dequantize_linear3 = dequantize_linear(%b) scale=[0.25,1.0] zero_point=[0,0] type=i32 axis=0 from=/y,QLinearConv : f32[2]",
            "%y:conv = conv(%y:dequantize_linear,%y:dequantize_linear2,%y:dequantize_linear3) strides=1,1 pads=0,0,0,0 from=/y,QLinearConv : f32[1,2,4,4]",
            "%y = quantize_linear(%y:conv) scale=[0.25] zero_point=[7] type=u8 from=/y,QLinearConv : u8[1,2,4,4]",
        ]);
}

#[test]
fn quantized_matrix_products() {
    let matrix = |dims: &[i64]| {
        quantized(&[1, 2])
            .int8("w", dims, &[1, 2])
            .floats("ws", &[1], &[0.5])
            .int8("wz", &[1], &[0])
            .small(DataType::Int32, "b", &[1], &[5])
    };
    let weights = |scale| format!("dequantize_linear scale=[{scale}] zero_point=[0] type=i8");
    let constant = "constant values=[1,2]";
    let bias = "constant values=[5]";
    matrix(&[2, 1])
        .node("QLinearMatMul", &["q", "s", "z", "w", "ws", "wz", "t", "u"], "y")
        .check_operators(&[Q, DQ, constant, &weights("0.5"), "mat_mul", OUT]);
    let gemm = |outputs: &[&str]| {
        let inputs = [&["q", "s", "z", "w", "ws", "wz", "b"], outputs].concat();
        matrix(&[1, 2]).node_of(MICROSOFT, "QGemm", &inputs, &["y"]).int("transB", 1)
    };
    let bias_scale = |scale| format!("dequantize_linear scale=[{scale}] zero_point=[0] type=i32");
    gemm(&["t", "u"]).check_operators(&[
        Q,
        DQ,
        constant,
        &weights("0.5"),
        bias,
        &bias_scale("0.25"),
        "gemm trans_b=true",
        OUT,
    ]);
    gemm(&[]).float("alpha", 2.0).check_operators(&[
        Q,
        DQ,
        constant,
        &weights("0.5"),
        "gemm trans_b=true",
        "constant values=[2.0]",
        "mul",
        bias,
        &bias_scale("0.5"),
        "add",
    ]);
}

#[test]
fn quantized_sums_and_functions() {
    let add = |operator: &str| {
        let inputs = ["q", "s", "z", "q", "s", "z", "t", "u"];
        quantized(&[1, 2]).node_of(MICROSOFT, operator, &inputs, &["y"])
    };
    add("QLinearAdd").check_operators(&[Q, DQ, DQ, "add", OUT]);
    add("QLinearMul").check_operators(&[Q, DQ, DQ, "mul", OUT]);
    let inputs = ["t", "u", "q", "s", "z", "q", "s", "z"];
    quantized(&[1, 2])
        .node_of(MICROSOFT, "QLinearConcat", &inputs, &["y"])
        .int("axis", 1)
        .check_operators(&[Q, DQ, DQ, "concat axis=1", OUT]);
    let unary = |operator: &str, dims: &[i64]| {
        quantized(dims).node_of(MICROSOFT, operator, &["q", "s", "z", "t", "u"], &["y"])
    };
    unary("QLinearSigmoid", &[1, 2]).check_operators(&[Q, DQ, "sigmoid", OUT]);
    unary("QLinearLeakyRelu", &[1, 2]).float("alpha", 0.5).check_operators(&[
        Q,
        DQ,
        "leaky_relu slopes=[0.5]",
        OUT,
    ]);
    unary("QLinearSoftmax", &[1, 2]).int("opset", 13).check_operators(&[
        Q,
        DQ,
        "softmax axis=1",
        OUT,
    ]);
    unary("QLinearGlobalAveragePool", &[1, 2, 4, 4]).int("channels_last", 0).check_operators(&[
        Q,
        DQ,
        "average_pool kernel=4,4 strides=1,1 pads=0,0,0,0 count_pads=false",
        OUT,
    ]);
    unary("QLinearAveragePool", &[1, 2, 4, 4]).ints("kernel_shape", &[2, 2]).check_operators(&[
        Q,
        DQ,
        "average_pool kernel=2,2 strides=1,1 pads=0,0,0,0 count_pads=false",
        OUT,
    ]);
    unary("QLinearGlobalAveragePool", &[1, 2, 4, 4])
        .int("channels_last", 1)
        .refuse("channels_last=1");
}

#[test]
fn maxima_and_padding_of_integers_keep_their_quantizer() {
    let pool = "max_pool kernel=2,2 strides=1,1 pads=0,0,0,0";
    quantized(&[1, 1, 4, 4])
        .node("Identity", &["q"], "i")
        .node("MaxPool", &["i"], "y")
        .ints("kernel_shape", &[2, 2])
        .check_operators(&[Q, DQ, pool, Q]);
    let pad = |zero: &str| {
        quantized(&[1, 2]).list("pads", &[0, 0, 0, 1]).node("Pad", &["q", "pads", zero], "y")
    };
    let other = |operator: &str| format!("{operator} scale=[1.0] zero_point=[7] type=u8");
    pad("z").check_operators(&[Q, DQ, "pad before=0,0 after=0,1", Q]);
    pad("u").check_operators(&[
        Q,
        &other("dequantize_linear"),
        "pad before=0,0 after=0,1",
        &other("quantize_linear"),
    ]);
}
