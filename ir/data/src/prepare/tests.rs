//! Arrays of every shape, order and type as inputs of real and integer models.

use super::*;
use heq_ir::integer::{InputMap, IntRange, Quantization, Rounding};

const INT8: InputElement = InputElement::Integer { ty: IntType::signed(8), zero_point: -3 };
const UINT8: InputElement = InputElement::Integer { ty: IntType::unsigned(8), zero_point: 10 };
const UINT4: InputElement = InputElement::Integer { ty: IntType::unsigned(4), zero_point: 0 };

fn array(shape: &[usize], data: ArrayData) -> Array {
    Array::new("x.npy", shape.to_vec(), data).unwrap()
}

fn zeros(shape: &[usize]) -> Array {
    array(shape, ArrayData::F32(vec![0.0; shape.iter().product()]))
}

fn input(shape: Chw, layout: InputLayout, element: InputElement) -> NetworkInput {
    let range = match element {
        InputElement::Real => IntRange { lo: -128, hi: 127 },
        InputElement::Integer { ty, zero_point } => {
            IntRange { lo: ty.range().lo - zero_point, hi: ty.range().hi - zero_point }
        }
    };
    let quantization = Quantization { scale: 0.5, range };
    let (name, map) = ("x".to_owned(), InputMap::identity());
    NetworkInput { name, shape, layout, element, map, quantization, rounding: Rounding::HalfEven }
}

fn real(shape: Chw) -> NetworkInput {
    input(shape, InputLayout::Nchw, InputElement::Real)
}

fn reals(array: &Array, shape: Chw, preparation: &InputPreparation) -> Vec<Vec<f32>> {
    let samples = to_samples(array, &real(shape), preparation).unwrap();
    let real = |sample| match sample {
        Sample::Real(values) => values,
        Sample::Integer(values) => panic!("{values:?}"),
    };
    samples.into_iter().map(real).collect()
}

fn fault(array: &Array, input: &NetworkInput) -> DataError {
    to_samples(array, input, &InputPreparation::default()).unwrap_err()
}

#[test]
fn accepted_shapes() {
    let cases: [(Chw, &[usize], usize); 18] = [
        (Chw::new(3, 4, 5), &[3, 4, 5], 1),
        (Chw::new(3, 4, 5), &[2, 3, 4, 5], 2),
        (Chw::new(3, 4, 5), &[4, 5, 3], 1),
        (Chw::new(3, 4, 5), &[2, 4, 5, 3], 2),
        (Chw::new(1, 4, 5), &[4, 5], 1),
        (Chw::new(1, 4, 5), &[7, 4, 5], 7),
        (Chw::new(1, 4, 5), &[7, 1, 4, 5], 7),
        (Chw::new(1, 4, 5), &[1, 4, 5], 1),
        (Chw::new(1, 4, 5), &[4, 5, 1], 1),
        (Chw::new(6, 1, 1), &[6], 1),
        (Chw::new(6, 1, 1), &[9, 6], 9),
        (Chw::new(6, 1, 1), &[6, 1, 1], 1),
        (Chw::new(6, 1, 1), &[2, 6, 1, 1], 2),
        (Chw::new(2, 1, 7), &[2, 7], 1),
        (Chw::new(2, 1, 7), &[5, 2, 7], 5),
        (Chw::new(2, 1, 7), &[5, 7, 2], 5),
        (Chw::new(1, 1, 1), &[1], 1),
        (Chw::new(1, 1, 1), &[5, 1], 5),
    ];
    for (shape, found, expected) in cases {
        let samples = reals(&zeros(found), shape, &InputPreparation::default());
        assert_eq!(samples.len(), expected, "{found:?} as {shape}");
        assert!(samples.iter().all(|sample| sample.len() == shape.len()));
    }
}

#[test]
fn wrong_shapes() {
    let cases: [(Chw, &[usize]); 9] = [
        (Chw::new(3, 4, 5), &[]),
        (Chw::new(3, 4, 5), &[60]),
        (Chw::new(3, 4, 5), &[3, 5, 4]),
        (Chw::new(3, 4, 5), &[4, 5]),
        (Chw::new(3, 4, 5), &[0, 3, 4, 5]),
        (Chw::new(3, 4, 5), &[1, 2, 3, 4, 5]),
        (Chw::new(1, 4, 5), &[20]),
        (Chw::new(6, 1, 1), &[7]),
        (Chw::new(0, 1, 1), &[0]),
    ];
    for (shape, found) in cases {
        let error = fault(&zeros(found), &real(shape));
        assert!(
            matches!(error.fault(), DataFault::WrongShape { .. }),
            "{found:?} as {shape}: {error}"
        );
        assert!(error.to_string().starts_with("x.npy: "), "{error}");
    }
    let error = fault(&zeros(&[3]), &real(Chw::new(1, 2, 2))).to_string();
    assert!(error.contains("[1, 2, 2], [N, 1, 2, 2], [2, 2, 1], [N, 2, 2, 1], [2, 2]"), "{error}");
}

/// The shape tells the order of an array; the input's layout only where both fit.
#[test]
fn samples_come_in_the_order_of_channels_rows_and_columns() {
    let numbered = |shape: &[usize]| {
        let values = (0_u8..shape.iter().product::<usize>().try_into().unwrap()).map(f32::from);
        array(shape, ArrayData::F32(values.collect()))
    };
    let moved = vec![0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0];
    let straight: Vec<f32> = (0_u8..8).map(f32::from).collect();
    for (shape, layout, found, expected) in [
        (Chw::new(2, 2, 2), InputLayout::Nchw, [2, 2, 2], &straight),
        (Chw::new(2, 2, 2), InputLayout::Nhwc, [2, 2, 2], &moved),
        (Chw::new(2, 1, 4), InputLayout::Nchw, [2, 1, 4], &straight),
        (Chw::new(2, 1, 4), InputLayout::Nhwc, [2, 1, 4], &straight),
        (Chw::new(2, 1, 4), InputLayout::Nchw, [1, 4, 2], &moved),
        (Chw::new(2, 1, 4), InputLayout::Nhwc, [1, 4, 2], &moved),
    ] {
        let input = input(shape, layout, InputElement::Real);
        let samples = to_samples(&numbered(&found), &input, &InputPreparation::default()).unwrap();
        assert_eq!(samples, [Sample::Real(expected.clone())], "{found:?} as {shape}");
    }
    let pixels = array(&[2, 1, 2], ArrayData::U8(vec![10, 20, 30, 40]));
    let preparation = InputPreparation::new(1.0, vec![0.0, 20.0], vec![1.0, 10.0]).unwrap();
    let input = input(Chw::new(2, 2, 1), InputLayout::Nhwc, InputElement::Real);
    let samples = to_samples(&pixels, &input, &preparation).unwrap();
    assert_eq!(samples, [Sample::Real(vec![10.0, 30.0, 0.0, 2.0])]);
}

#[test]
fn pixels_are_prepared_by_channel() {
    let preparation =
        InputPreparation::new(1.0 / 255.0, vec![0.5, 0.25], vec![0.5, 0.125]).unwrap();
    let pixels = array(&[2, 2, 1, 2], ArrayData::U8(vec![0, 255, 0, 255, 51, 51, 51, 51]));
    let samples = reals(&pixels, Chw::new(2, 1, 2), &preparation);
    assert_eq!(samples, [[-1.0, 1.0, -2.0, 6.0], [-0.6, -0.6, -0.4, -0.4]]);
    let three = InputPreparation::new(1.0, vec![0.0; 3], vec![]).unwrap();
    let error = to_samples(&pixels, &real(Chw::new(2, 1, 2)), &three);
    assert!(matches!(error.unwrap_err().fault(), DataFault::Preparation(_)));
}

#[test]
fn floats_are_taken_as_they_are() {
    let shape = Chw::new(2, 1, 1);
    let preparation = InputPreparation::default();
    let single = array(&[2], ArrayData::F32(vec![0.1, -7.0]));
    assert_eq!(reals(&single, shape, &preparation), [[0.1, -7.0]]);
    let double = array(&[2], ArrayData::F64(vec![0.1, 1e-60]));
    assert_eq!(reals(&double, shape, &preparation), [[0.1, 0.0]]);
}

/// Scale 0.5; what the model's own integers and the network's are.
#[test]
fn integer_inputs() {
    let explicit = InputPreparation::new(0.25, vec![], vec![]).unwrap();
    let default = InputPreparation::default();
    for (element, preparation, data, own, quantized) in [
        (INT8, &default, ArrayData::I8(vec![-128, 127]), [-128, 127], [-125, 130]),
        (INT8, &explicit, ArrayData::I8(vec![-3, 0]), [-3, 0], [0, 3]),
        (INT8, &explicit, ArrayData::U8(vec![8, 255]), [1, 125], [4, 128]),
        (INT8, &default, ArrayData::U8(vec![0, 255]), [-3, -1], [0, 2]),
        (INT8, &default, ArrayData::F32(vec![1.0, 1e9]), [-1, 127], [2, 130]),
        (UINT8, &default, ArrayData::U8(vec![0, 255]), [0, 255], [-10, 245]),
        (UINT8, &explicit, ArrayData::U8(vec![8, 0]), [14, 10], [4, 0]),
        (UINT8, &default, ArrayData::F64(vec![-1e9, 0.25]), [0, 10], [-10, 0]),
        (UINT4, &default, ArrayData::U8(vec![0, 15]), [0, 15], [0, 15]),
    ] {
        let input = input(Chw::new(2, 1, 1), InputLayout::Nchw, element);
        let array = array(&[2], data);
        let samples = to_samples(&array, &input, preparation).unwrap();
        assert_eq!(samples, [Sample::Integer(own.to_vec())], "{element:?} {:?}", array.data());
        let inputs = to_inputs(&array, &input, preparation).unwrap();
        assert_eq!(inputs, [quantized], "{element:?} {:?}", array.data());
    }
}

#[test]
fn integers_of_other_types_are_refused() {
    for (element, data) in [
        (InputElement::Real, ArrayData::I64(vec![1, 2])),
        (InputElement::Real, ArrayData::I8(vec![1, 2])),
        (INT8, ArrayData::I64(vec![1, 2])),
        (UINT8, ArrayData::I8(vec![1, 2])),
    ] {
        let input = input(Chw::new(2, 1, 1), InputLayout::Nchw, element);
        let error = fault(&array(&[2], data), &input);
        assert!(matches!(error.fault(), DataFault::IntegerInput), "{element:?}: {error}");
    }
    let nibbles = input(Chw::new(2, 1, 1), InputLayout::Nchw, UINT4);
    let error = fault(&array(&[2, 2], ArrayData::U8(vec![0, 15, 3, 16])), &nibbles);
    let expected = "x.npy: element [1, 1] of the input is 16, which the model's type u4 does not \
                    have";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn values_that_are_not_finite_are_located() {
    let mut singles = vec![0.0; 24];
    singles[2 * 6 + 3 + 1] = f32::NAN;
    let mut doubles = vec![0.0; 24];
    doubles[2 * 6 + 3 + 1] = 1e300;
    for data in [ArrayData::F32(singles), ArrayData::F64(doubles)] {
        let error = fault(&array(&[4, 2, 1, 3], data), &real(Chw::new(2, 1, 3)));
        assert!(
            matches!(error.fault(), DataFault::NotFinite { index, .. } if index == &[2, 1, 0, 1]),
            "{error}"
        );
    }
}
