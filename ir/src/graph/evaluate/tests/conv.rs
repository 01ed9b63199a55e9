//! Convolutions against their definition.

use crate::graph::evaluate::Evaluator;
use crate::graph::evaluate::value::real;
use crate::graph::op::{ConvParams, GraphInput, Op, QuantizeParams, QuantizedTensor};
use crate::graph::{Graph, Origin};
use crate::integer::IntRange;
use crate::tensor::{ElementType, IntType, Shape, TensorType};
use proptest::prelude::*;

/// A convolution and its operands as integers.
#[derive(Clone, Debug)]
struct Case {
    params: ConvParams,
    x_shape: Vec<usize>,
    w_shape: Vec<usize>,
    x: Vec<i64>,
    w: Vec<i64>,
}

fn cases() -> impl Strategy<Value = Case> {
    let pair = |range: std::ops::RangeInclusive<usize>| (range.clone(), range);
    // Sums of these fit binary32, binary64 and 64-bit integers, in this order.
    let bits = prop_oneof![Just(3_u32), Just(15), Just(27)];
    let channels = (1..=3_usize, 1..=3_usize, 1..=6_usize);
    let extents = (pair(1..=20), pair(1..=3), any::<bool>());
    let steps = (pair(1..=3), pair(1..=3), [0..=3_usize, 0..=3, 0..=3, 0..=3]);
    (channels, extents, steps, bits).prop_flat_map(|(channels, extents, steps, bits)| {
        let (groups, inputs, outputs) = channels;
        let ((mut height, width), (mut rows, columns), line) = extents;
        let (strides, dilations, mut pads) = steps;
        if line {
            (height, rows, pads[0], pads[2]) = (1, 1, 0, 0);
        }
        let [height, width] =
            [height.max((rows - 1) * dilations.0 + 1), width.max((columns - 1) * dilations.1 + 1)];
        let params = ConvParams {
            kernel: None,
            strides: strides.into(),
            pads,
            dilations: dilations.into(),
            groups,
        };
        let x_shape = vec![1, groups * inputs, height, width];
        let w_shape = vec![groups * outputs, inputs, rows, columns];
        let values = -(1_i64 << bits)..=1 << bits;
        let values = |shape: &[usize]| {
            proptest::collection::vec(values.clone(), shape.iter().product::<usize>())
        };
        (values(&x_shape), values(&w_shape)).prop_map(move |(x, w)| {
            let (mut x_shape, mut w_shape) = (x_shape.clone(), w_shape.clone());
            if line {
                x_shape.remove(2);
                w_shape.remove(2);
            }
            Case { params, x_shape, w_shape, x, w }
        })
    })
}

/// The sums as the definition says.
fn reference(case: &Case) -> Vec<f64> {
    let image = |shape: &[usize]| match *shape {
        [a, b, c, d] => [a, b, c, d],
        [a, b, d] => [a, b, 1, d],
        _ => unreachable!(),
    };
    let [_, channels, height, width] = image(&case.x_shape);
    let [outputs, inputs, rows, columns] = image(&case.w_shape);
    let window = case.params.window([rows, columns]);
    let [out_height, out_width] = window.output(height, width).unwrap();
    assert_eq!(channels, inputs * case.params.groups);
    let mut y = Vec::new();
    for k in 0..outputs {
        let first = k / (outputs / case.params.groups) * inputs;
        for oy in 0..out_height {
            for ox in 0..out_width {
                let mut sum = 0_i64;
                for c in 0..inputs {
                    for i in 0..rows {
                        for j in 0..columns {
                            if let Some([iy, ix]) = window.source([oy, ox], [i, j], [height, width])
                            {
                                let x = case.x[((first + c) * height + iy) * width + ix];
                                sum += x * case.w[((k * inputs + c) * rows + i) * columns + j];
                            }
                        }
                    }
                }
                y.push(real(sum));
            }
        }
    }
    y
}

/// The convolution by the evaluator, on grids or on reals.
fn evaluated(case: &Case, grid: bool) -> Vec<f64> {
    let mut graph = Graph::new("conv");
    let shape = |dims: &[usize]| Shape::new(dims.to_vec()).unwrap();
    let ty = IntType::signed(32);
    let origin = || Origin::new("", "");
    let element = if grid { ElementType::Int(ty) } else { ElementType::Float };
    let input = GraphInput::new(TensorType { element, shape: shape(&case.x_shape) });
    let mut x = graph.add(origin(), "x", Op::Input(input), &[]).unwrap();
    let weights = QuantizedTensor {
        shape: shape(&case.w_shape),
        values: case.w.clone(),
        range: IntRange { lo: -(1 << 30), hi: 1 << 30 },
        scale: vec![0.25],
        axis: None,
    };
    let weights = graph.add(origin(), "w", Op::QuantizedConstant(weights), &[]).unwrap();
    if grid {
        let params = QuantizeParams { scale: vec![4.0], zero_point: vec![0], ty, axis: None };
        x = graph.add(origin(), "d", Op::DequantizeLinear(params), &[x]).unwrap();
    }
    let y = graph.add(origin(), "y", Op::Conv(case.params), &[x, weights]).unwrap();
    graph.set_outputs(vec![y]);
    let factor = if grid { 1.0 } else { 4.0 };
    let x: Vec<f64> = case.x.iter().map(|&x| real(x) * factor).collect();
    Evaluator::new(&graph).unwrap().run(&x, |_, _| {}).unwrap()[0].reals().into_owned()
}

proptest! {
    #[test]
    fn convolutions_are_as_defined(case in cases()) {
        let expected = reference(&case);
        prop_assert_eq!(&evaluated(&case, true), &expected);
        if case.x.iter().chain(&case.w).all(|value| value.abs() <= 1 << 15) {
            prop_assert_eq!(&evaluated(&case, false), &expected);
        }
    }
}

/// More positions than one block holds, so that blocks cut rows and columns.
#[test]
fn large_convolutions_are_as_defined() {
    let fill = |shape: &[usize]| (0..).map(|at| at * 7 % 11 - 5).take(shape.iter().product());
    for (x_shape, w_shape, strides, pads) in [
        (vec![1, 2, 3000], vec![5, 2, 3], [1, 1], [0, 1, 0, 2]),
        (vec![1, 1, 5000], vec![1, 1, 5], [1, 2], [0, 3, 0, 0]),
        (vec![1, 2, 45, 50], vec![4, 1, 3, 3], [1, 1], [1; 4]),
    ] {
        let groups = x_shape[1] / w_shape[1];
        let params = ConvParams { kernel: None, strides, pads, dilations: [1, 1], groups };
        let (x, w) = (fill(&x_shape).collect(), fill(&w_shape).collect());
        let case = Case { params, x_shape, w_shape, x, w };
        let expected = reference(&case);
        assert!(evaluated(&case, true) == expected, "{:?}", case.x_shape);
        assert!(evaluated(&case, false) == expected, "{:?}", case.x_shape);
    }
}
