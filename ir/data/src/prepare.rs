//! From an array to the samples of a model's input.
//!
//! Bytes are raw pixels and are prepared as the plan says; floating-point elements are the model's
//! input already; other integers could be either, so they are refused.

use crate::array::{Array, ArrayData};
use crate::error::{DataError, DataFault};
use heq_ir::geometry::Chw;
use heq_ir::preparation::InputPreparation;

/// Splits `array` into samples of `shape` (`[C, H, W]`, row-major) with the model's input values.
///
/// **Shapes**: `[C, H, W]` for one sample or `[N, C, H, W]` for `N >= 1`; if `C = 1` also `[H, W]`
/// and `[N, H, W]`; if `H = W = 1` also `[C]` and `[N, C]`.
///
/// **Values**: a byte `p` in channel `c` becomes `(p * scale - mean[c]) / std[c]`, computed in `f64`
/// and rounded to `f32` once; with the default preparation that is numpy's `float32(p) / 255`.
/// `f32` is taken as it is and `f64` is rounded to `f32`; `preparation` does not apply to them.
///
/// # Errors
///
/// [`DataFault::WrongShape`], [`DataFault::IntegerInput`] for integers other than bytes,
/// [`DataFault::NotFinite`] for a value that is NaN or beyond `f32`, and
/// [`DataFault::Preparation`] if the preparation is for another number of channels.
pub fn to_samples(
    array: &Array,
    shape: Chw,
    preparation: &InputPreparation,
) -> Result<Vec<Vec<f32>>, DataError> {
    samples(array, shape, preparation).map_err(|fault| DataError::new(array.place(), fault))
}

fn samples(
    array: &Array,
    shape: Chw,
    preparation: &InputPreparation,
) -> Result<Vec<Vec<f32>>, DataFault> {
    check_shape(array.shape(), shape)?;
    let values: Vec<f32> = match array.data() {
        ArrayData::F32(values) => values.clone(),
        ArrayData::F64(values) => values.iter().copied().map(rounded).collect(),
        ArrayData::U8(pixels) => {
            preparation.check_channels(shape.channels)?;
            let plane = shape.height * shape.width;
            let prepare = |(c, plane): (usize, &[u8])| {
                let prepare = move |&pixel| rounded(preparation.prepare(pixel, c));
                plane.iter().map(prepare).collect::<Vec<f32>>()
            };
            (0..shape.channels).cycle().zip(pixels.chunks(plane)).flat_map(prepare).collect()
        }
        ArrayData::I64(_) => return Err(DataFault::IntegerInput),
    };
    if let Some(position) = values.iter().position(|value| !value.is_finite()) {
        let value = match array.data() {
            ArrayData::F64(originals) => originals[position],
            ArrayData::F32(_) | ArrayData::U8(_) | ArrayData::I64(_) => values[position].into(),
        };
        return Err(DataFault::NotFinite { index: index_of(position, array.shape()), value });
    }
    Ok(values.chunks_exact(shape.len()).map(<[f32]>::to_vec).collect())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to the model's element type is meant"
)]
fn rounded(value: f64) -> f32 {
    value as f32
}

/// Checks that an array of shape `found` holds one or more samples of `expected`, none empty.
fn check_shape(found: &[usize], expected: Chw) -> Result<(), DataFault> {
    let Chw { channels, height, width } = expected;
    let mut forms = vec![vec![channels, height, width]];
    if channels == 1 {
        forms.push(vec![height, width]);
    }
    if height == 1 && width == 1 {
        forms.push(vec![channels]);
    }
    let holds = |form: &Vec<usize>| {
        found == form || found.split_first().is_some_and(|(_, sample)| sample == form)
    };
    if forms.iter().any(holds) && !found.contains(&0) {
        return Ok(());
    }
    let accepted: Vec<String> = forms
        .iter()
        .map(|form| {
            let extents: Vec<String> = form.iter().map(usize::to_string).collect();
            format!("[{0}], [N, {0}]", extents.join(", "))
        })
        .collect();
    Err(DataFault::WrongShape {
        expected,
        found: found.to_vec(),
        accepted: accepted.join(", "),
        channels_last: matches!(found.len(), 3 | 4) && found.ends_with(&[height, width, channels]),
    })
}

/// The index along each dimension of the element at `position` in row-major order.
fn index_of(mut position: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, &extent) in index.iter_mut().zip(shape).rev() {
        *i = position % extent;
        position /= extent;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[usize], data: ArrayData) -> Array {
        Array::new("x.npy", shape.to_vec(), data).unwrap()
    }

    fn zeros(shape: &[usize]) -> Array {
        array(shape, ArrayData::F32(vec![0.0; shape.iter().product()]))
    }

    #[test]
    fn accepted_shapes() {
        let cases: [(Chw, &[usize], usize); 12] = [
            (Chw::new(3, 4, 5), &[3, 4, 5], 1),
            (Chw::new(3, 4, 5), &[2, 3, 4, 5], 2),
            (Chw::new(1, 4, 5), &[4, 5], 1),
            (Chw::new(1, 4, 5), &[7, 4, 5], 7),
            (Chw::new(1, 4, 5), &[7, 1, 4, 5], 7),
            (Chw::new(1, 4, 5), &[1, 4, 5], 1),
            (Chw::new(6, 1, 1), &[6], 1),
            (Chw::new(6, 1, 1), &[9, 6], 9),
            (Chw::new(6, 1, 1), &[6, 1, 1], 1),
            (Chw::new(6, 1, 1), &[2, 6, 1, 1], 2),
            (Chw::new(1, 1, 1), &[1], 1),
            (Chw::new(1, 1, 1), &[5, 1], 5),
        ];
        for (shape, found, expected) in cases {
            let samples = to_samples(&zeros(found), shape, &InputPreparation::default()).unwrap();
            assert_eq!(samples.len(), expected, "{found:?} as {shape}");
            assert!(samples.iter().all(|sample| sample.len() == shape.len()));
        }
    }

    #[test]
    fn wrong_shapes() {
        let cases: [(Chw, &[usize], bool); 12] = [
            (Chw::new(3, 4, 5), &[], false),
            (Chw::new(3, 4, 5), &[60], false),
            (Chw::new(3, 4, 5), &[3, 5, 4], false),
            (Chw::new(3, 4, 5), &[4, 5], false),
            (Chw::new(3, 4, 5), &[4, 5, 3], true),
            (Chw::new(3, 4, 5), &[2, 4, 5, 3], true),
            (Chw::new(3, 4, 5), &[0, 3, 4, 5], false),
            (Chw::new(3, 4, 5), &[1, 2, 3, 4, 5], false),
            (Chw::new(1, 4, 5), &[20], false),
            (Chw::new(1, 4, 5), &[4, 5, 1], true),
            (Chw::new(6, 1, 1), &[7], false),
            (Chw::new(0, 1, 1), &[0], false),
        ];
        for (shape, found, last) in cases {
            let error = to_samples(&zeros(found), shape, &InputPreparation::default()).unwrap_err();
            assert!(
                matches!(error.fault(), DataFault::WrongShape { channels_last, .. }
                    if *channels_last == last),
                "{found:?} as {shape}: {error}"
            );
            assert!(error.to_string().starts_with("x.npy: "), "{error}");
        }
        let error =
            to_samples(&zeros(&[3]), Chw::new(1, 2, 2), &InputPreparation::default()).unwrap_err();
        assert!(
            error.to_string().contains("[1, 2, 2], [N, 1, 2, 2], [2, 2], [N, 2, 2]"),
            "{error}"
        );
    }

    #[test]
    fn pixels_are_prepared_by_channel() {
        let preparation =
            InputPreparation::new(1.0 / 255.0, vec![0.5, 0.25], vec![0.5, 0.125]).unwrap();
        let pixels = array(&[2, 2, 1, 2], ArrayData::U8(vec![0, 255, 0, 255, 51, 51, 51, 51]));
        let samples = to_samples(&pixels, Chw::new(2, 1, 2), &preparation).unwrap();
        assert_eq!(samples, [[-1.0, 1.0, -2.0, 6.0], [-0.6, -0.6, -0.4, -0.4]]);
        let error = to_samples(&pixels, Chw::new(2, 1, 2), &{
            InputPreparation::new(1.0, vec![0.0; 3], vec![]).unwrap()
        });
        assert!(matches!(error.unwrap_err().fault(), DataFault::Preparation(_)));
    }

    #[test]
    fn floats_are_taken_as_they_are() {
        let shape = Chw::new(2, 1, 1);
        let preparation = InputPreparation::default();
        let single = array(&[2], ArrayData::F32(vec![0.1, -7.0]));
        assert_eq!(to_samples(&single, shape, &preparation).unwrap(), [[0.1, -7.0]]);
        let double = array(&[2], ArrayData::F64(vec![0.1, 1e-60]));
        assert_eq!(to_samples(&double, shape, &preparation).unwrap(), [[0.1, 0.0]]);
    }

    #[test]
    fn ambiguous_integers_are_refused() {
        let integers = array(&[2], ArrayData::I64(vec![1, 2]));
        let error = to_samples(&integers, Chw::new(2, 1, 1), &InputPreparation::default());
        assert!(matches!(error.unwrap_err().fault(), DataFault::IntegerInput));
    }

    #[test]
    fn values_that_are_not_finite_are_located() {
        let mut singles = vec![0.0; 24];
        singles[2 * 6 + 3 + 1] = f32::NAN;
        let mut doubles = vec![0.0; 24];
        doubles[2 * 6 + 3 + 1] = 1e300;
        for data in [ArrayData::F32(singles), ArrayData::F64(doubles)] {
            let error = to_samples(
                &array(&[4, 2, 1, 3], data),
                Chw::new(2, 1, 3),
                &InputPreparation::default(),
            );
            let error = error.unwrap_err();
            assert!(
                matches!(error.fault(), DataFault::NotFinite { index, .. } if index == &[2, 1, 0, 1]),
                "{error}"
            );
        }
    }
}
