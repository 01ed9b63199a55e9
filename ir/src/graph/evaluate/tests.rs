//! Every operator against small results computed by hand.

#![expect(clippy::float_cmp, reason = "results are exact where no margin is given")]

mod conv;

use super::*;
use crate::graph::parse::parse;
use crate::tensor::IntType;

/// The outputs of a graph in text form, all one after the other.
fn outputs(text: &str, x: &[f64]) -> Vec<f64> {
    let graph = parse(text).unwrap();
    let values = Evaluator::new(&graph).unwrap().run(x, |_, _| {}).unwrap();
    values.iter().flat_map(|value| value.reals().into_owned()).collect()
}

fn near(found: &[f64], expected: &[f64]) -> bool {
    let near = |(a, b): (&f64, &f64)| a == b || (a - b).abs() <= 1e-12 * b.abs().max(1.0);
    found.len() == expected.len() && found.iter().zip(expected).all(near)
}

/// One operator, written as in the text form, on an input `%x` of type `from`.
fn check(from: &str, x: &[f64], op: &str, to: &str, expected: &[f64]) {
    let text = format!("%x = input : {from}\n%y = {op} : {to}\nreturn %y\n");
    let found = outputs(&text, x);
    assert!(near(&found, expected), "{op} of {x:?}: {found:?}, expected {expected:?}");
}

#[test]
fn quantizers() {
    for (op, to, expected) in [
        // 0.25 and 0.75 are ties between 0, 1 and 1, 2 steps of 0.5.
        (
            "quantize_linear(%x) scale=[0.5] zero_point=[3] type=u8",
            "u8[1,6]",
            [3.0, 5.0, 3.0, 0.0, 255.0, 1.0],
        ),
        (
            "quantize_linear(%x) scale=[0.5] zero_point=[0] type=i4",
            "i4[1,6]",
            [0.0, 2.0, 0.0, -8.0, 7.0, -2.0],
        ),
        ("quantize(%x) scale=0.5 range=-2..2", "f32[1,6]", [0.0, 1.0, 0.0, -1.0, 1.0, -1.0]),
        (
            "quantize(%x) scale=0.5 range=-9..9 rounding=floor",
            "f32[1,6]",
            [0.0, 0.5, -0.5, -4.5, 4.5, -1.5],
        ),
    ] {
        check("f32[1,6]", &[0.25, 0.75, -0.25, -99.0, 999.0, -1.1], op, to, &expected);
    }
    check(
        "f32[1,2,2]",
        &[1.0, 2.0, 1.0, 2.0],
        "quantize_linear(%x) scale=[1.0,0.5] zero_point=[0,1] type=i8 axis=-2",
        "i8[1,2,2]",
        &[1.0, 2.0, 3.0, 5.0],
    );
    let i8s = [-128.0, 5.0, 0.0, 127.0];
    for (op, expected) in [
        ("dequantize_linear(%x) scale=[0.5] zero_point=[1] type=i8", [-64.5, 2.0, -0.5, 63.0]),
        (
            "dequantize_linear(%x) scale=[0.5,2.0] zero_point=[1,2] type=i8 axis=1",
            [-64.5, 6.0, -0.5, 250.0],
        ),
        (
            "dequantize_linear(%x) scale=[0.5,2.0] zero_point=[1,2] type=i8 axis=0",
            [-64.5, 2.0, -4.0, 250.0],
        ),
    ] {
        check("i8[2,2]", &i8s, op, "f32[2,2]", &expected);
    }
    // Scales are the binary32 numbers of the file.
    let scale = f64::from(0.1_f32);
    let op = "dequantize_linear(%x) scale=[0.1] zero_point=[0] type=i8";
    check("i8[2]", &[3.0, -7.0], op, "f32[2]", &[3.0 * scale, -7.0 * scale]);
    // An integer without its zero point that exceeds 64 bits.
    let op = format!("dequantize_linear(%x) scale=[1.0] zero_point=[{}] type=i64", i64::MIN);
    check("i64[1]", &[2f64.powi(62)], &op, "f32[1]", &[2f64.powi(62) + 2f64.powi(63)]);
}

#[test]
fn elements() {
    let x = [-4.0, -1.0, 0.5, 9.0];
    for (op, expected) in [
        ("clip(%x) lower=-1.5 upper=6.0", [-1.5, -1.0, 0.5, 6.0]),
        ("clip(%x) lower=-inf upper=0.0", [-4.0, -1.0, 0.0, 0.0]),
        ("relu(%x)", [0.0, 0.0, 0.5, 9.0]),
        ("leaky_relu(%x) slopes=[0.5,0.25]", [-2.0, -0.25, 0.5, 9.0]),
        ("hard_swish(%x)", [0.0, -1.0 / 3.0, 0.5 * (0.5 / 6.0 + 0.5), 9.0]),
        (
            "batch_normalization(%x) gamma=[2.0,1.0] beta=[1.0,0.0] mean=[1.0,-1.0] \
             variance=[3.0,0.0] epsilon=1.0",
            [-4.0, 0.0, 0.5, 10.0],
        ),
        ("channel_affine(%x) multiplier=[2.0,-1.0] offset=[0.5,1.0]", [-7.5, 2.0, 1.5, -8.0]),
    ] {
        check("f32[2,2]", &x, op, "f32[2,2]", &expected);
    }
    check("i8[3]", &[-5.0, 2.0, 9.0], "clip(%x) lower=-1.5 upper=7.0", "i8[3]", &[-1.0, 2.0, 7.0]);
    let halves = "%x = input : i8[3]
%d = dequantize_linear(%x) scale=[0.5] zero_point=[1] type=i8 : f32[3]
%y = relu(%d) : f32[3]
%z = clip(%d) lower=-0.75 upper=inf : f32[3]
return %y
return %z";
    let expected = [0.0, 0.0, 1.5, -0.75, 0.0, 1.5];
    assert_eq!(outputs(halves, &[-3.0, 1.0, 4.0]), expected);
}

#[test]
fn binary_operators_broadcast() {
    for (op, expected) in [
        ("add", [11.0, 12.0, 103.0, 104.0]),
        ("sub", [-9.0, -8.0, -97.0, -96.0]),
        ("mul", [10.0, 20.0, 300.0, 400.0]),
        ("div", [0.1, 0.2, 0.03, 0.04]),
    ] {
        let text = format!(
            "%x = input : f32[1,2,2]
%c = constant values=[10.0,100.0] : f32[2,1]
%y = {op}(%x,%c) : f32[1,2,2]
return %y"
        );
        let found = outputs(&text, &[1.0, 2.0, 3.0, 4.0]);
        assert!(near(&found, &expected), "{op}: {found:?}");
    }
    let rows = "%x = input : f32[2]
%c = constant values=[10.0,20.0,30.0,40.0] : f32[2,2]
%y = add(%x,%c) : f32[2,2]
return %y";
    assert_eq!(outputs(rows, &[1.0, 2.0]), [11.0, 22.0, 31.0, 42.0]);
}

/// With a scale of 0.1, in double precision, `0.1 + 0.5 - 6*0.1` is not 0, `6*0.1 - 8*0.1` is not
/// `-2*0.1` and `0.1 - 6*0.1` is not `-5*0.1`.
#[test]
fn grids_are_summed_as_integers() {
    let window = "kernel=1,3 strides=1,1 pads=0,0,0,0";
    for (op, x, expected) in [
        (format!("conv(%q,%w) {window}"), [0.1, 0.5, -0.6], 0.0),
        (format!("average_pool(%q) {window} count_pads=true"), [0.1, 0.5, -0.6], 0.0),
        (format!("conv(%q,%w,%b) {window}"), [-0.3, -0.3, -0.2], -2.0 * 0.1),
    ] {
        let text = format!(
            "%x = input : f32[1,1,1,3]
%q = quantize(%x) scale=0.1 range=-8..7 : f32[1,1,1,3]
%w = quantized_constant values=[1,1,1] scale=[1.0] range=-1..1 : f32[1,1,1,3]
%b = quantized_constant values=[6] scale=[0.1] range=0..6 : f32[1]
%y = {op} : f32[1,1,1,1]
return %y
return %w
return %b"
        );
        assert_eq!(outputs(&text, &x)[0], expected, "{op}");
    }
    let residual = "%x = input : f32[1,2]
%a = quantize(%x) scale=0.1 range=-8..7 : f32[1,2]
%w = constant values=[0.0,1.0,1.0,0.0] : f32[2,2]
%s = mat_mul(%x,%w) : f32[1,2]
%b = quantize(%s) scale=0.1 range=-8..7 : f32[1,2]
%y = add(%a,%b) : f32[1,2]
%z = sub(%y,%a) : f32[1,2]
return %y
return %z";
    assert_eq!(outputs(residual, &[0.1, -0.6]), [-5.0 * 0.1, -5.0 * 0.1, -6.0 * 0.1, 0.1]);
}

#[test]
fn matrix_products() {
    for (op, expected) in [
        ("mat_mul(%x,%w)", [7.0, 10.0]),
        ("gemm(%x,%w) trans_b=false", [7.0, 10.0]),
        ("gemm(%x,%w,%b) trans_b=true", [5.5, 10.5]),
        ("gemm(%x,%s) trans_b=true", [7.0, 6.0]),
        ("gemm(%x,%s,%h) trans_b=true", [7.5, 6.5]),
        ("mat_mul(%x,%r)", [9.0, 2.5]),
        ("gemm(%q,%s,%o) trans_b=true", [8.0, 4.0]),
        ("mat_mul(%q,%r)", [9.0, 2.5]),
        ("gemm(%q,%c) trans_b=true", [4.5, 10.5]),
    ] {
        let text = format!(
            "%x = input : f32[1,2]
%w = constant values=[1.0,2.0,3.0,4.0] : f32[2,2]
%b = constant values=[0.5,-0.5] : f32[2]
%h = constant values=[0.5] : f32[1]
%s = quantized_constant values=[3,2,8,2] scale=[1.0,0.5] range=0..9 axis=0 : f32[2,2]
%c = quantized_constant values=[2,1,3,3] scale=[1.0,1.25] range=0..9 axis=1 : f32[2,2]
%r = quantized_constant values=[1,3,4,1] scale=[1.0,0.5] range=0..9 axis=1 : f32[2,2]
%q = quantize(%x) scale=1.0 range=0..3 : f32[1,2]
%o = quantized_constant values=[1,-4] scale=[1.0,0.5] range=-9..9 axis=0 : f32[2]
%y = {op} : f32[1,2]
return %y
return %w
return %b
return %h
return %s
return %c
return %r
return %q
return %o"
        );
        let found = outputs(&text, &[1.0, 2.0]);
        assert_eq!(found[..2], expected, "{op}");
    }
}

#[test]
fn pools() {
    let x: Vec<f64> = (1..=9).map(f64::from).collect();
    let half = "kernel=2,2 strides=2,2 pads=1,1,0,0";
    for (op, to, expected) in [
        (format!("max_pool(%x) {half}"), "f32[1,1,2,2]", vec![1.0, 3.0, 7.0, 9.0]),
        (
            "max_pool(%x) kernel=2,2 strides=1,1 pads=0,0,0,0 dilations=2,1".into(),
            "f32[1,1,1,2]",
            vec![8.0, 9.0],
        ),
        (
            format!("average_pool(%x) {half} count_pads=true"),
            "f32[1,1,2,2]",
            vec![0.25, 1.25, 2.75, 7.0],
        ),
        (
            format!("average_pool(%x) {half} count_pads=false"),
            "f32[1,1,2,2]",
            vec![1.0, 2.5, 5.5, 7.0],
        ),
    ] {
        check("f32[1,1,3,3]", &x, &op, to, &expected);
        let grid = format!(
            "%i = input : i8[1,1,3,3]
%x = dequantize_linear(%i) scale=[0.5] zero_point=[-1] type=i8 : f32[1,1,3,3]
%y = {op} : {to}
return %y"
        );
        let steps: Vec<f64> = x.iter().map(|x| 2.0 * x - 1.0).collect();
        assert_eq!(outputs(&grid, &steps), expected, "{op}");
    }
    let negative = "max_pool(%x) kernel=1,2 strides=1,2 pads=0,1,0,0";
    check(
        "f32[1,2,3]",
        &[-1.0, -2.0, -3.0, -6.0, -5.0, -4.0],
        negative,
        "f32[1,2,2]",
        &[-1.0, -2.0, -6.0, -4.0],
    );
}

#[test]
fn moves() {
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    for (op, to, expected) in [
        ("flatten(%x) axis=1", "[2,3]", vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        ("reshape(%x) target=[3,-1] allow_zero=false", "[3,2]", x.to_vec()),
        ("transpose(%x)", "[3,2]", vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]),
        ("transpose(%x) perm=[0,1]", "[2,3]", x.to_vec()),
        ("pad(%x) before=1,0 after=0,1", "[3,4]", {
            vec![0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 6.0, 0.0]
        }),
        ("slice(%x) start=1,2 step=[1,-2] len=1,2", "[1,2]", vec![6.0, 4.0]),
        ("slice(%x) start=1,1 step=[1,1] len=1,1", "[1,1]", vec![5.0]),
        ("concat(%x,%x) axis=1", "[2,6]", {
            vec![1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 4.0, 5.0, 6.0]
        }),
    ] {
        check("f32[2,3]", &x, op, &format!("f32{to}"), &expected);
        check("i8[2,3]", &x, op, &format!("i8{to}"), &expected);
        // One scale, scales of rows, and scales of columns.
        for (scales, axis, factors) in [
            ("0.5", "", [0.5; 6]),
            ("0.5,2.0", " axis=0", [0.5, 0.5, 0.5, 2.0, 2.0, 2.0]),
            ("0.5,2.0,4.0", " axis=1", [0.5, 2.0, 4.0, 0.5, 2.0, 4.0]),
        ] {
            let zeros =
                if axis.is_empty() { "0" } else { &"0,0,0"[..scales.split(',').count() * 2 - 1] };
            let text = format!(
                "%i = input : i8[2,3]
%x = dequantize_linear(%i) scale=[{scales}] zero_point=[{zeros}] type=i8{axis} : f32[2,3]
%y = {op} : f32{to}
return %y"
            );
            let factor = |value: &f64| {
                x.iter().position(|x| x == value).map_or(0.0, |at| value * factors[at])
            };
            let expected: Vec<f64> = expected.iter().map(factor).collect();
            assert_eq!(outputs(&text, &x), expected, "{op} scale={scales}");
        }
    }
}

#[test]
fn lines() {
    let x = [0.0, 3f64.ln(), 1000.0, 1000.0];
    for (op, to, expected) in [
        ("softmax(%x) axis=1", "f32[2,2]", vec![0.25, 0.75, 0.5, 0.5]),
        ("softmax(%x) axis=0", "f32[2,2]", vec![0.0, 0.0, 1.0, 1.0]),
        ("log_softmax(%x) axis=1", "f32[2,2]", {
            vec![0.25f64.ln(), 0.75f64.ln(), 0.5f64.ln(), 0.5f64.ln()]
        }),
        ("arg_max(%x) axis=1 keep_dims=false", "i64[2]", vec![1.0, 0.0]),
        ("arg_max(%x) axis=0 keep_dims=true", "i64[1,2]", vec![1.0, 1.0]),
    ] {
        check("f32[2,2]", &x, op, to, &expected);
    }
}

#[test]
fn observers_see_what_depends_on_the_input() {
    let graph = parse(
        "%x = input : f32[1]
%c = constant values=[2.0] : f32[1]
%d = relu(%c) : f32[1]
%y = add(%x,%d) : f32[1]
%z = relu(%y) : f32[1]
return %z
return %d",
    )
    .unwrap();
    let evaluator = Evaluator::new(&graph).unwrap();
    let mut seen = Vec::new();
    let run = |x| evaluator.run(&[x], |_, _| {}).unwrap();
    let [a, b] = std::thread::scope(|scope| {
        [1.0, 2.0].map(|x| scope.spawn(move || run(x))).map(|thread| thread.join().unwrap())
    });
    assert_eq!([a[0].reals()[0], b[0].reals()[0]], [3.0, 4.0]);
    let outputs = evaluator
        .run(&[-5.0], |id, value| seen.push((graph.node(id).tensor.clone(), value.reals()[0])))
        .unwrap();
    assert_eq!(seen, [("x".into(), -5.0), ("y".into(), -3.0), ("z".into(), 0.0)]);
    assert_eq!(outputs.iter().map(|value| value.reals()[0]).collect::<Vec<_>>(), [0.0, 2.0]);
}

#[test]
fn errors() {
    let run = |text: &str, x: &[f64]| {
        let graph = parse(text).unwrap();
        Evaluator::new(&graph).and_then(|evaluator| evaluator.run(x, |_, _| {})).unwrap_err()
    };
    let relu = "%x = input : f32[2]\n%y = relu(%x) : f32[2]\nreturn %y";
    let expected = ElementType::Float;
    assert_eq!(run(relu, &[1.0]), GraphEvalError::InputLength { expected: 2, found: 1 });
    let nan = GraphEvalError::InputElement { index: 1, expected };
    assert_eq!(run(relu, &[1.0, f64::NAN]), nan);
    let flat = "%x = input : i8[2]\n%y = flatten(%x) axis=0 : i8[1,2]\nreturn %y";
    for x in [0.5, 128.0, f64::INFINITY] {
        let expected = ElementType::Int(IntType::signed(8));
        assert_eq!(run(flat, &[1.0, x]), GraphEvalError::InputElement { index: 1, expected });
    }
    let two = "%a = input : f32[1]\n%b = input : f32[1]\n%y = add(%a,%b) : f32[1]\nreturn %y";
    assert_eq!(run(two, &[1.0]), GraphEvalError::Inputs { found: 2 });
    let constant = "%a = constant values=[1.0] : f32[1]\nreturn %a";
    assert_eq!(run(constant, &[1.0]), GraphEvalError::InputLength { expected: 0, found: 1 });
    assert!(matches!(run("%x = input : f32[1]", &[1.0]), GraphEvalError::Graph(_)));
    let large = "%x = input : f32[1073741824]\nreturn %x";
    assert!(matches!(run(large, &[1.0]), GraphEvalError::TooLarge { .. }));
}
