//! Layers on real numbers.

use super::builder::Builder;

const IMAGE: &[i64] = &[1, 2, 5, 5];

fn conv(dims: &[i64], weights: &[i64]) -> Builder {
    let count = usize::try_from(weights.iter().product::<i64>()).unwrap();
    Builder::fixed(dims).floats("w", weights, &vec![1.0; count]).node("Conv", &["x", "w"], "y")
}

fn check_conv(model: Builder, expected: &str, ty: &str) {
    let graph = super::builder::graph(&model.bytes());
    let text = heq_ir::graph::text::text(&graph);
    let line = text.lines().find(|line| line.contains("= conv(")).unwrap();
    assert!(line.contains(&format!("(%x,%w) {expected} from=")), "{expected}: {line}");
    assert!(line.ends_with(ty), "{ty}: {line}");
}

#[test]
fn convolutions() {
    let dense: &[i64] = &[4, 2, 3, 3];
    for (model, expected, ty) in [
        (conv(IMAGE, dense), "strides=1,1 pads=0,0,0,0", "[1,4,3,3]"),
        (
            conv(IMAGE, dense)
                .ints("kernel_shape", &[3, 3])
                .ints("strides", &[2, 1])
                .ints("pads", &[0, 1, 1, 2]),
            "kernel=3,3 strides=2,1 pads=0,1,1,2",
            "[1,4,2,6]",
        ),
        (
            conv(IMAGE, dense).ints("dilations", &[2, 1]),
            "strides=1,1 pads=0,0,0,0 dilations=2,1",
            "[1,4,1,3]",
        ),
        (
            conv(IMAGE, &[4, 1, 3, 3]).int("group", 2),
            "strides=1,1 pads=0,0,0,0 groups=2",
            "[1,4,3,3]",
        ),
        (
            conv(IMAGE, dense).text("auto_pad", "VALID").ints("pads", &[7, 7, 7, 7]),
            "strides=1,1 pads=0,0,0,0",
            "[1,4,3,3]",
        ),
        (
            conv(&[1, 2, 6, 5], dense).text("auto_pad", "SAME_UPPER").ints("strides", &[2, 2]),
            "strides=2,2 pads=0,1,1,1",
            "[1,4,3,3]",
        ),
        (
            conv(&[1, 2, 6, 5], dense).text("auto_pad", "SAME_LOWER").ints("strides", &[2, 2]),
            "strides=2,2 pads=1,1,0,1",
            "[1,4,3,3]",
        ),
        (
            conv(&[1, 2, 9], &[4, 2, 3])
                .ints("kernel_shape", &[3])
                .ints("strides", &[2])
                .ints("pads", &[1, 2]),
            "kernel=1,3 strides=1,2 pads=0,1,0,2",
            "[1,4,5]",
        ),
        (
            conv(&[1, 2, 9], &[4, 2, 3]).text("auto_pad", "SAME_UPPER"),
            "strides=1,1 pads=0,1,0,1",
            "[1,4,9]",
        ),
    ] {
        check_conv(model, expected, ty);
    }
    for (model, phrase) in [
        (conv(IMAGE, dense).int("group", 3), "input channels"),
        (conv(IMAGE, dense).ints("strides", &[0, 1]), "is 0"),
        (conv(IMAGE, dense).ints("strides", &[1]), "spatial dimensions"),
        (conv(IMAGE, dense).ints("pads", &[0, -1, 0, 0]), "negative"),
        (conv(IMAGE, dense).text("auto_pad", "SOME"), "not defined"),
        (conv(IMAGE, &[4, 2, 3]), "differ in their dimensions"),
        (conv(IMAGE, dense).ints("dilations", &[i64::MAX, i64::MAX]), "window"),
        (
            conv(IMAGE, dense).text("auto_pad", "SAME_UPPER").ints("dilations", &[i64::MAX, 1]),
            "too large",
        ),
    ] {
        model.refuse(phrase);
    }
}

#[test]
fn matrix_products() {
    let gemm = || {
        Builder::fixed(&[1, 2]).floats("w", &[2, 1], &[1.0, 2.0]).floats("b", &[1], &[4.0]).node(
            "Gemm",
            &["x", "w", "b"],
            "y",
        )
    };
    let [weights, bias] = ["constant values=[1.0,2.0]", "constant values=[4.0]"];
    gemm().check_operators(&[weights, bias, "gemm trans_b=false"]);
    gemm().float("beta", 0.5).check_operators(&[
        weights,
        "constant values=[2.0]",
        "gemm trans_b=false",
    ]);
    gemm().float("alpha", 2.0).check_operators(&[
        weights,
        "gemm trans_b=false",
        "constant values=[2.0]",
        "mul",
        bias,
        "add",
    ]);
    gemm().int("transA", 1).refuse("transA=1");
    gemm().float("alpha", f32::INFINITY).refuse("not finite");
    let product = |dims: &[i64]| {
        Builder::fixed(dims).floats("w", &[2, 3], &[0.0; 6]).node("MatMul", &["x", "w"], "y")
    };
    product(&[1, 2]).check_type("f32[1,3]");
    product(&[1, 1, 2]).check_type("f32[1,1,3]");
    product(&[1, 1, 2, 2]).refuse("2 dimensions");
    product(&[1, 3]).refuse("input features");
}

#[test]
fn pooling() {
    let pool = |operator: &str, kernel: i64| {
        Builder::fixed(IMAGE).node(operator, &["x"], "y").ints("kernel_shape", &[kernel, kernel])
    };
    let fixed = "kernel=2,2 strides=1,1 pads=0,0,0,0";
    for (model, expected) in [
        (pool("MaxPool", 2), format!("max_pool {fixed}")),
        (pool("MaxPool", 2).ints("dilations", &[2, 1]), format!("max_pool {fixed} dilations=2,1")),
        (pool("MaxPool", 2).int("ceil_mode", 1), format!("max_pool {fixed}")),
        (pool("AveragePool", 2), format!("average_pool {fixed} count_pads=false")),
        (
            pool("AveragePool", 2).int("count_include_pad", 1),
            format!("average_pool {fixed} count_pads=true"),
        ),
        (
            pool("MaxPool", 3).text("auto_pad", "SAME_UPPER").ints("strides", &[2, 2]),
            "max_pool kernel=3,3 strides=2,2 pads=1,1,1,1".into(),
        ),
    ] {
        model.check_operators(&[&expected]);
    }
    for (model, phrase) in [
        (pool("MaxPool", 2).int("ceil_mode", 1).ints("strides", &[2, 2]), "ceil_mode=1"),
        (pool("AveragePool", 2).ints("dilations", &[2, 2]), "dilated"),
        (pool("MaxPool", 2).ints("pads", &[2, 0, 0, 0]), "window"),
        (pool("MaxPool", 9), "window"),
        (Builder::fixed(IMAGE).node("MaxPool", &["x"], "y"), "kernel_shape is missing"),
        (Builder::fixed(&[1, 2]).node("GlobalMaxPool", &["x"], "y"), "shape [1,2]"),
    ] {
        model.refuse(phrase);
    }
}

#[test]
fn whole_planes() {
    let plane = "kernel=5,5 strides=1,1 pads=0,0,0,0";
    let average = format!("average_pool {plane} count_pads=false");
    Builder::fixed(IMAGE).node("GlobalAveragePool", &["x"], "y").check_operators(&[&average]);
    Builder::fixed(IMAGE)
        .node("GlobalMaxPool", &["x"], "y")
        .check_operators(&[&format!("max_pool {plane}")]);
    Builder::fixed(&[1, 2, 5]).node("GlobalAveragePool", &["x"], "y").check_type("f32[1,2,1]");
    let mean =
        |axes: &[i64]| Builder::fixed(IMAGE).node("ReduceMean", &["x"], "y").ints("axes", axes);
    mean(&[2, 3]).check_operators(&[&average]);
    mean(&[-1, -2])
        .int("keepdims", 0)
        .check_operators(&[&average, "reshape target=[1,2] allow_zero=false"]);
    Builder::fixed(IMAGE)
        .opset(18)
        .list("axes", &[3, 2])
        .node("ReduceMean", &["x", "axes"], "y")
        .check_operators(&[&average]);
    mean(&[1]).refuse("reduces dimensions [1]");
    Builder::fixed(IMAGE).node("ReduceMean", &["x"], "y").refuse("reduces dimensions []");
}

#[test]
fn activations() {
    let node = |operator: &str| Builder::fixed(IMAGE).node(operator, &["x"], "y");
    for (model, expected) in [
        (node("Relu"), "relu"),
        (node("Sigmoid"), "sigmoid"),
        (node("Tanh"), "tanh"),
        (node("HardSwish"), "hard_swish"),
        (node("HardSigmoid"), "hard_sigmoid alpha=0.2 beta=0.5"),
        (node("Elu").float("alpha", 0.5), "elu alpha=0.5"),
        (node("LeakyRelu"), "leaky_relu slopes=[0.01]"),
        (node("Gelu"), "gelu tanh=false"),
        (node("Gelu").text("approximate", "tanh"), "gelu tanh=true"),
    ] {
        model.check_operators(&[expected]);
    }
    node("Gelu").text("approximate", "sigmoid").refuse("not defined");
    let slopes = |dims: &[i64], slopes: &[f32]| {
        Builder::fixed(IMAGE).floats("s", dims, slopes).node("PRelu", &["x", "s"], "y")
    };
    slopes(&[1], &[0.5]).check_operators(&["leaky_relu slopes=[0.5]"]);
    slopes(&[2, 1, 1], &[0.5, 0.25]).check_operators(&["leaky_relu slopes=[0.5,0.25]"]);
    slopes(&[5], &[0.5; 5]).refuse("slopes have shape [5]");
}

#[test]
fn elementwise_arithmetic() {
    for (operator, name) in [("Add", "add"), ("Sub", "sub"), ("Mul", "mul"), ("Div", "div")] {
        Builder::fixed(IMAGE).node(operator, &["x", "x"], "y").check_operators(&[name]);
        Builder::fixed(IMAGE)
            .floats("c", &[2, 1, 1], &[1.0, 2.0])
            .node(operator, &["x", "c"], "y")
            .check_operators(&["constant values=[1.0,2.0]", name]);
    }
    Builder::fixed(IMAGE)
        .floats("c", &[3, 1, 1], &[1.0; 3])
        .node("Add", &["x", "c"], "y")
        .refuse("broadcast");
    Builder::fixed(IMAGE)
        .floats("c", &[], &[2.0])
        .node("Pow", &["x", "c"], "y")
        .refuse("depends on the input");
}

#[test]
fn classifiers() {
    let node = |operator: &str, dims: &[i64]| Builder::fixed(dims).node(operator, &["x"], "y");
    node("Softmax", IMAGE).check_operators(&["softmax axis=3"]);
    node("LogSoftmax", &[1, 2]).int("axis", 1).check_operators(&["log_softmax axis=1"]);
    node("Softmax", &[1, 2]).opset(11).check_operators(&["softmax axis=1"]);
    node("Softmax", &[1, 2]).opset(11).int("axis", 0).check_operators(&["softmax axis=1"]);
    node("Softmax", IMAGE).opset(11).refuse("several dimensions");
    node("Softmax", IMAGE).int("axis", 4).refuse("axis=4");
    let arg_max = || node("ArgMax", &[1, 2]).int("axis", 1);
    arg_max().int("keepdims", 0).check_operators(&["arg_max axis=1 keep_dims=false"]);
    arg_max().int("select_last_index", 1).refuse("select_last_index=1");
}
