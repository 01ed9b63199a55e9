//! Golden networks, and every fault that only lowering can see.

use super::*;
use crate::pass::tests::check_golden_text;
use heq_ir::graph::parse::parse;

#[test]
fn golden() {
    check_golden_text("lower_integer", &|graph| match lower_integer(graph, MultiplierBits::Auto) {
        Ok(network) => text::text(&network),
        Err(diagnostics) => panic!("{diagnostics}"),
    });
}

/// Lowers a graph of `lines` and expects diagnostics with these codes and phrases, in order.
fn check_faults(lines: &str, expected: &[(Code, &str)]) {
    let graph = parse(lines).unwrap();
    let found = lower_integer(&graph, MultiplierBits::Auto).unwrap_err();
    let codes: Vec<Code> = found.iter().map(|diagnostic| diagnostic.code).collect();
    let expected_codes: Vec<Code> = expected.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, expected_codes, "{found}");
    for (diagnostic, (_, phrase)) in found.iter().zip(expected) {
        assert!(diagnostic.to_string().contains(phrase), "{phrase}: {diagnostic}");
    }
}

const INPUT: &str = "graph g
%x = input : f32[1,2]
%q = quantize(%x) scale=0.5 range=0..15 : f32[1,2]
%w = quantized_constant values=[1,2,3,4] scale=[0.5] range=-7..7 : f32[2,2]
";

#[test]
fn a_network_without_quantizers() {
    check_faults(
        "graph g
%x = input : f32[1,2]
%w = constant values=[1.0,2.0,3.0,4.0] : f32[2,2]
%y = mat_mul(%x,%w) from=/first,MatMul : f32[1,2]
%r = relu(%y) : f32[1,2]
%z = mat_mul(%r,%w) from=/second,MatMul : f32[1,2]
return %z",
        &[
            (Code::MissingQuantizer, "node \"/first\" (MatMul): its input \"x\""),
            (Code::MissingQuantizer, "node \"/first\" (MatMul): its weights \"w\""),
            (Code::MissingQuantizer, "node \"/second\" (MatMul): its input \"r\""),
            (Code::MissingQuantizer, "node \"/second\" (MatMul): its weights \"w\""),
        ],
    );
}

#[test]
fn faults_of_one_layer_do_not_hide_those_of_the_next() {
    let lines = format!(
        "{INPUT}%u = quantized_constant values=[1,2,3,4] scale=[0.5] range=-331..124 : f32[2,2]
%y = mat_mul(%q,%u) : f32[1,2]
%a = quantize(%y) scale=1.0 range=-7..7 : f32[1,2]
%v = quantized_constant values=[1,2,3,4] scale=[0.5,0.5] range=-7..7 axis=0 : f32[2,2]
%z = mat_mul(%a,%v) : f32[1,2]
return %z"
    );
    check_faults(
        &lines,
        &[
            (Code::UnsupportedForm, "zero point"),
            (Code::UnsupportedForm, "another dimension than its outputs"),
        ],
    );
}

#[test]
fn operators_left_over() {
    let n = "gamma=[1.0,1.0] beta=[0.0,0.0] mean=[0.0,0.0] variance=[1.0,1.0] epsilon=0.0";
    for (tail, code, phrase) in [
        ("%y = relu(%q) : f32[1,2]".to_owned(), Code::MissingQuantizer, "output \"y\""),
        (
            format!("%y = batch_normalization(%q) {n} : f32[1,2]"),
            Code::UnsupportedForm,
            "statistics",
        ),
        ("%y = transpose(%q) : f32[2,1]".into(), Code::UnsupportedForm, "shape [2,1]"),
        (
            "%s = mat_mul(%q,%w) : f32[1,2]\n%a = quantize(%s) scale=1.0 range=0..15 : f32[1,2]\n\
             %y = mul(%q,%a) : f32[1,2]"
                .into(),
            Code::UnsupportedForm,
            "two activations",
        ),
        ("%y = softmax(%q) axis=1 : f32[1,2]".into(), Code::UnsupportedForm, "last operator"),
        (
            "%s = mat_mul(%q,%w) : f32[1,2]\n%y = sigmoid(%s) : f32[1,2]".into(),
            Code::MissingQuantizer,
            "input \"s\"",
        ),
        (
            "%s = mat_mul(%q,%w) : f32[1,2]\n%y = add(%s,%s) : f32[1,2]".into(),
            Code::UnsupportedForm,
            "2 nodes read",
        ),
        (
            "%y = quantize_linear(%q) scale=[1.0] zero_point=[0] type=u8 : u8[1,2]".into(),
            Code::UnsupportedForm,
            "no DequantizeLinear",
        ),
        (
            "%s = mat_mul(%q,%w) : f32[1,2]\n%y = quantize(%s) scale=1e-20 range=0..15 : f32[1,2]"
                .into(),
            Code::UnsupportedForm,
            "multipliers and a shift",
        ),
        (
            "%s = mat_mul(%q,%w) : f32[1,2]\n%y = quantize(%s) scale=1e30 range=0..15 : f32[1,2]"
                .into(),
            Code::UnsupportedForm,
            "multipliers and a shift",
        ),
    ] {
        check_faults(&format!("{INPUT}{tail}\nreturn %y"), &[(code, phrase)]);
    }
}

#[test]
fn one_input_and_one_output() {
    check_faults(&format!("{INPUT}return %q\nreturn %x"), &[(Code::UnsupportedForm, "2 outputs")]);
    let second = "%v = input : f32[1,2]\n%r = quantize(%v) scale=0.5 range=0..15 : f32[1,2]";
    check_faults(
        &format!("{INPUT}{second}\n%y = mat_mul(%q,%w) : f32[1,2]\nreturn %y"),
        &[(Code::UnsupportedForm, "second input")],
    );
    let wide =
        "graph g\n%x = input : f32[1,2]\n%q = quantize(%x) scale=0.5 range=0..65535 : f32[1,2]";
    check_faults(&format!("{wide}\nreturn %q"), &[(Code::UnsupportedForm, "16 bits")]);
}
