//! Shapes that operators make, and shapes that they refuse.

use super::*;
use crate::graph::op::{AveragePool, BinaryOp};

/// The shape that an operator makes of real tensors of these shapes, or that it refuses them.
fn check(op: &Op, inputs: &[&[usize]], expected: Option<&[usize]>) {
    let types: Vec<TensorType> =
        inputs.iter().map(|dims| real(Shape::new(dims.to_vec()).unwrap())).collect();
    let types: Vec<&TensorType> = types.iter().collect();
    let found = infer(op, &types);
    assert_eq!(found.as_ref().ok().map(|ty| ty.shape.dims()), expected, "{op:?}: {found:?}");
}

#[test]
fn convolution() {
    let op = |strides, pads| {
        Op::Conv(ConvParams { kernel: Some([5, 5]), strides, pads, dilations: [1; 2], groups: 1 })
    };
    let weights: &[usize] = &[8, 3, 5, 5];
    check(&op([1, 1], [2; 4]), &[&[1, 3, 28, 28], weights], Some(&[1, 8, 28, 28]));
    check(&op([2, 2], [0; 4]), &[&[1, 3, 28, 28], weights, &[8]], Some(&[1, 8, 12, 12]));
    check(&op([1, 1], [0; 4]), &[&[1, 3, 28, 28], weights, &[7]], None);
    check(&op([1, 1], [0; 4]), &[&[1, 4, 28, 28], weights], None);
    check(&op([1, 1], [0; 4]), &[&[1, 3, 28], weights], None);
    check(&op([1, 1], [usize::MAX; 4]), &[&[1, 3, 28, 28], weights], None);
}

#[test]
fn reshapes() {
    let op = |target: &[i64]| Op::Reshape { target: target.to_vec(), allow_zero: false };
    check(&op(&[1, -1]), &[&[1, 4, 3, 3]], Some(&[1, 36]));
    check(&op(&[0, 36]), &[&[1, 4, 3, 3]], Some(&[1, 36]));
    check(&op(&[-1, -1]), &[&[1, 4, 3, 3]], None);
    check(&op(&[1, 35]), &[&[1, 4, 3, 3]], None);
    check(&op(&[i64::MAX, i64::MAX, -1]), &[&[1, 4, 3, 3]], None);
    check(&Op::Flatten { axis: 1 }, &[&[1, 4, 3, 3]], Some(&[1, 36]));
    check(&Op::Flatten { axis: -3 }, &[&[1, 4, 3, 3]], Some(&[1, 36]));
    check(&Op::Flatten { axis: 5 }, &[&[1, 4, 3, 3]], None);
    check(&Op::Flatten { axis: i64::MIN }, &[&[1, 4, 3, 3]], None);
}

#[test]
fn matrix_products() {
    check(&Op::MatMul, &[&[1, 400], &[400, 120]], Some(&[1, 120]));
    check(&Op::MatMul, &[&[2, 400], &[400, 120]], None);
    check(&Op::Gemm { trans_b: true }, &[&[1, 84], &[10, 84], &[10]], Some(&[1, 10]));
    check(&Op::Gemm { trans_b: true }, &[&[1, 84], &[84, 10], &[10]], None);
    check(&Op::Gemm { trans_b: false }, &[&[1, 84], &[84, 10], &[1, 10]], Some(&[1, 10]));
    check(&Op::Gemm { trans_b: false }, &[&[1, 84], &[84, 10], &[]], Some(&[1, 10]));
    check(&Op::Gemm { trans_b: false }, &[&[1, 84], &[84, 10], &[10, 1]], None);
}

#[test]
fn groups_and_lines() {
    let op = |groups, kernel, dilations| {
        let (strides, pads) = ([1, 1], [0; 4]);
        Op::Conv(ConvParams { kernel, strides, pads, dilations, groups })
    };
    for (op, inputs, expected) in [
        (op(4, None, [1, 1]), [&[1, 4, 5, 5][..], &[8, 1, 3, 3]], Some(&[1, 8, 3, 3][..])),
        (op(2, None, [1, 2]), [&[1, 4, 5, 5], &[8, 2, 3, 3]], Some(&[1, 8, 3, 1])),
        (op(1, Some([1, 3]), [1, 1]), [&[1, 4, 5], &[8, 4, 3]], Some(&[1, 8, 3])),
        (op(1, Some([3, 1]), [1, 1]), [&[1, 4, 5], &[8, 4, 3]], None),
        (op(3, None, [1, 1]), [&[1, 4, 5, 5], &[6, 1, 3, 3]], None),
        (op(4, None, [1, 1]), [&[1, 4, 5, 5], &[6, 1, 3, 3]], None),
        (op(0, None, [1, 1]), [&[1, 4, 5, 5], &[6, 4, 3, 3]], None),
        (op(1, None, [0, 1]), [&[1, 4, 5, 5], &[6, 4, 3, 3]], None),
        (op(1, None, [1, 3]), [&[1, 4, 5, 5], &[6, 4, 3, 3]], None),
    ] {
        check(&op, &inputs, expected);
    }
}

#[test]
fn pools() {
    let window = |kernel: usize, stride, pad, dilation| Window {
        kernel: [1, kernel],
        strides: [1, stride],
        pads: [0, pad, 0, pad],
        dilations: [1, dilation],
    };
    for (window, expected) in [
        (window(2, 2, 0, 1), Some(&[1, 3, 2][..])),
        (window(2, 2, 1, 1), Some(&[1, 3, 3])),
        (window(2, 2, 2, 1), None),
        (window(2, 0, 0, 1), None),
        (window(0, 1, 0, 1), None),
        (window(2, 1, 4, 4), Some(&[1, 3, 8])),
        // One tap before the four elements, one behind them.
        (window(2, 1, 5, 5), None),
        (window(usize::MAX, 1, usize::MAX - 1, 1), None),
    ] {
        check(&Op::MaxPool(window), &[&[1, 3, 4]], expected);
        let average = Op::AveragePool(AveragePool { window, count_pads: true });
        check(&average, &[&[1, 3, 4]], expected);
    }
}

#[test]
fn moves() {
    let slice =
        |start, step, len| Op::Slice(vec![SliceAxis::whole(2), SliceAxis { start, step, len }]);
    for (op, inputs, expected) in [
        (slice(1, 2, 2), &[&[2, 4][..]][..], Some(&[2, 2][..])),
        (slice(3, -3, 2), &[&[2, 4]], Some(&[2, 2])),
        (slice(1, 2, 3), &[&[2, 4]], None),
        (slice(2, -3, 2), &[&[2, 4]], None),
        (slice(4, 1, 1), &[&[2, 4]], None),
        (slice(0, 1, 0), &[&[2, 4]], None),
        (slice(0, 0, 1), &[&[2, 4]], None),
        (slice(1, i64::MAX, usize::MAX), &[&[2, 4]], None),
        (slice(0, 1, 4), &[&[4]], None),
        (Op::Pad(vec![[0, 1], [2, 3]]), &[&[2, 4]], Some(&[3, 9])),
        (Op::Pad(vec![[0, 1]]), &[&[2, 4]], None),
        (Op::Pad(vec![[0, 0], [usize::MAX, 1]]), &[&[2, 4]], None),
        (Op::Concat { axis: 1 }, &[&[2, 4], &[2, 1], &[2, 4]], Some(&[2, 9])),
        (Op::Concat { axis: 1 }, &[&[2, 4]], Some(&[2, 4])),
        (Op::Concat { axis: 1 }, &[&[2, 4], &[3, 4]], None),
        (Op::Concat { axis: 1 }, &[&[2, 4], &[2]], None),
        (Op::Concat { axis: 2 }, &[&[2, 4], &[2, 4]], None),
        (Op::Concat { axis: 0 }, &[], None),
        (Op::Transpose { perm: None }, &[&[2, 4, 3]], Some(&[3, 4, 2])),
        (Op::Transpose { perm: Some(vec![0, 0]) }, &[&[2, 4]], None),
    ] {
        check(&op, inputs, expected);
    }
}

#[test]
fn elements_and_lines() {
    let slopes = |count| Op::Function(Function::LeakyRelu { slopes: vec![0.5; count] });
    for (op, inputs, expected) in [
        (Op::Binary(BinaryOp::Add), &[&[2, 4][..], &[4]][..], Some(&[2, 4][..])),
        (Op::Binary(BinaryOp::Mul), &[&[2, 1], &[3, 1, 4]], Some(&[3, 2, 4])),
        (Op::Binary(BinaryOp::Sub), &[&[], &[2]], Some(&[2])),
        (Op::Binary(BinaryOp::Div), &[&[2, 4], &[2]], None),
        (slopes(1), &[&[4]], Some(&[4])),
        (slopes(3), &[&[2, 3, 4]], Some(&[2, 3, 4])),
        (slopes(2), &[&[2, 3, 4]], None),
        (slopes(0), &[&[2, 3, 4]], None),
        (Op::Softmax { axis: 1, log: true }, &[&[2, 4]], Some(&[2, 4])),
        (Op::Softmax { axis: 2, log: false }, &[&[2, 4]], None),
        (Op::ArgMax { axis: 0, keep_dims: false }, &[&[2, 4]], Some(&[4])),
        (Op::ArgMax { axis: 1, keep_dims: true }, &[&[2, 4]], Some(&[2, 1])),
        (Op::ArgMax { axis: 2, keep_dims: true }, &[&[2, 4]], None),
    ] {
        check(&op, inputs, expected);
    }
}
