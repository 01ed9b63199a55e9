//! From an array to the samples of a model's input.
//!
//! The model's input holds reals or integers. For reals, bytes are raw pixels that are prepared as
//! the plan says, and floating-point elements are the input already. For integers, elements of that
//! type are the input already, floating-point elements are quantized, and bytes are pixels unless
//! they are of that type. Integers of other types could be anything, so they are refused.

use crate::array::{Array, ArrayData};
use crate::error::{DataError, DataFault};
use heq_ir::geometry::Chw;
use heq_ir::integer::{InputElement, InputLayout, NetworkInput};
use heq_ir::preparation::InputPreparation;
use heq_ir::tensor::IntType;

/// One sample `[C, H, W]` of a model's own input.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// Real numbers, finite.
    Real(Vec<f32>),
    /// Integers of the input's type, zero point included.
    Integer(Vec<i64>),
}

impl Sample {
    /// The integers `[C, H, W]` that the network `input` belongs to starts from, zero point removed.
    #[must_use]
    pub fn quantized(&self, input: &NetworkInput) -> Vec<i64> {
        match self {
            Self::Real(values) => input.quantize(values),
            Self::Integer(values) => input.remove_zero_point(values),
        }
    }

    /// The numbers, whatever their type.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "integer inputs have at most 32 bits")]
    pub fn reals(&self) -> Vec<f64> {
        match self {
            Self::Real(values) => values.iter().map(|&value| value.into()).collect(),
            Self::Integer(values) => values.iter().map(|&value| value as f64).collect(),
        }
    }
}

/// Splits `array` into samples and quantizes them: what `evaluate` and a secure run take.
///
/// # Errors
///
/// As [`to_samples`].
pub fn to_inputs(
    array: &Array,
    input: &NetworkInput,
    preparation: &InputPreparation,
) -> Result<Vec<Vec<i64>>, DataError> {
    let samples = to_samples(array, input, preparation)?;
    Ok(samples.iter().map(|sample| sample.quantized(input)).collect())
}

/// Splits `array` into samples of the model's `input`, `[C, H, W]` in row-major order whatever order
/// the array has.
///
/// **Shapes**: `[C, H, W]` or `[H, W, C]` for one sample, with `N >= 1` in front for `N`; the layout
/// of `input` decides where both fit. If `C = 1` also `[H, W]`, if `H = 1` `[C, W]` or `[W, C]`, and
/// if `H = W = 1` `[C]`.
///
/// **Values of a real input**: a byte `p` in channel `c` becomes `(p * scale - mean[c]) / std[c]`,
/// computed in `f64` and rounded to `f32` once; with the default preparation that is numpy's
/// `float32(p) / 255`. `f32` is taken as it is and `f64` is rounded to `f32`; `preparation` does not
/// apply to them.
///
/// **Values of an integer input**: elements of its type, as its zero point and scale mean them. Reals
/// as above, quantized. Bytes are pixels if the type is signed, or if the preparation is not the
/// default; else they are elements of the type.
///
/// # Errors
///
/// [`DataFault::WrongShape`], [`DataFault::IntegerInput`] for integers of another type,
/// [`DataFault::OutOfType`] for integers that the model's type does not have,
/// [`DataFault::NotFinite`] for a value that is NaN or beyond `f32`, and
/// [`DataFault::Preparation`] if the preparation is for another number of channels.
pub fn to_samples(
    array: &Array,
    input: &NetworkInput,
    preparation: &InputPreparation,
) -> Result<Vec<Sample>, DataError> {
    samples(array, input, preparation).map_err(|fault| DataError::new(array.place(), fault))
}

fn samples(
    array: &Array,
    input: &NetworkInput,
    preparation: &InputPreparation,
) -> Result<Vec<Sample>, DataFault> {
    let shape = input.shape;
    let order = Order { shape, layout: layout(array.shape(), input)? };
    if let InputElement::Integer { ty, .. } = input.element
        && let Some(integers) = own_integers(array, ty, preparation)?
    {
        return Ok(order.split(&integers).map(Sample::Integer).collect());
    }
    let reals: Vec<Vec<f32>> = match array.data() {
        ArrayData::F32(values) => {
            check_finite(values.iter().copied(), |at| values[at].into(), array)?;
            order.split(values).collect()
        }
        ArrayData::F64(values) => {
            check_finite(values.iter().copied().map(rounded), |at| values[at], array)?;
            let round = |sample: Vec<f64>| sample.into_iter().map(rounded).collect();
            order.split(values).map(round).collect()
        }
        ArrayData::U8(pixels) => {
            preparation.check_channels(shape.channels)?;
            let plane = (shape.height * shape.width).max(1);
            let prepare = |(index, pixel): (usize, u8)| {
                let value = rounded(preparation.prepare(pixel, index / plane));
                value
                    .is_finite()
                    .then_some(value)
                    .ok_or(DataFault::NotFinite { index: vec![index], value: value.into() })
            };
            let prepare = |sample: Vec<u8>| sample.into_iter().enumerate().map(prepare).collect();
            order.split(pixels).map(prepare).collect::<Result<_, _>>()?
        }
        ArrayData::I8(_) | ArrayData::I64(_) => return Err(DataFault::IntegerInput),
    };
    let sample = |x: Vec<f32>| match input.element {
        InputElement::Real => Sample::Real(x),
        InputElement::Integer { ty, zero_point } => {
            let range = ty.range();
            let add = |steps: i64| steps.saturating_add(zero_point).clamp(range.lo, range.hi);
            Sample::Integer(input.quantize(&x).into_iter().map(add).collect())
        }
    };
    Ok(reals.into_iter().map(sample).collect())
}

/// The elements of an array that holds the model's own integers, or `None` if it does not.
fn own_integers(
    array: &Array,
    ty: IntType,
    preparation: &InputPreparation,
) -> Result<Option<Vec<i64>>, DataFault> {
    let widen = |value: &u8| i64::from(*value);
    let integers: Vec<i64> = match array.data() {
        ArrayData::U8(bytes) if !ty.signed && *preparation == InputPreparation::default() => {
            bytes.iter().map(widen).collect()
        }
        ArrayData::I8(bytes) if ty.signed => bytes.iter().map(|&byte| byte.into()).collect(),
        ArrayData::F32(_)
        | ArrayData::F64(_)
        | ArrayData::U8(_)
        | ArrayData::I8(_)
        | ArrayData::I64(_) => return Ok(None),
    };
    let range = ty.range();
    match integers.iter().position(|&value| value < range.lo || range.hi < value) {
        Some(at) => {
            let index = index_of(at, array.shape());
            Err(DataFault::OutOfType { index, value: integers[at], ty })
        }
        None => Ok(Some(integers)),
    }
}

/// Checks that all elements are finite; `original` is the element in the array.
fn check_finite(
    mut values: impl Iterator<Item = f32>,
    original: impl Fn(usize) -> f64,
    array: &Array,
) -> Result<(), DataFault> {
    match values.position(|value| !value.is_finite()) {
        Some(at) => {
            let index = index_of(at, array.shape());
            Err(DataFault::NotFinite { index, value: original(at) })
        }
        None => Ok(()),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to the model's element type is meant"
)]
fn rounded(value: f64) -> f32 {
    value as f32
}

/// How an array holds samples.
#[derive(Clone, Copy)]
struct Order {
    shape: Chw,
    layout: InputLayout,
}

impl Order {
    /// The samples, each in the order `[C, H, W]`.
    fn split<T: Copy>(self, elements: &[T]) -> impl Iterator<Item = Vec<T>> {
        let Chw { channels, height, width } = self.shape;
        let plane = height * width;
        let reorder = move |sample: &[T]| match self.layout {
            InputLayout::Nchw => sample.to_vec(),
            InputLayout::Nhwc => (0..channels)
                .flat_map(|c| (0..plane).map(move |at| at * channels + c))
                .map(|at| sample[at])
                .collect(),
        };
        elements.chunks_exact(self.shape.len().max(1)).map(reorder)
    }
}

/// The order in which an array of shape `found` holds one or more samples, none empty.
fn layout(found: &[usize], input: &NetworkInput) -> Result<InputLayout, DataFault> {
    let Chw { channels, height, width } = input.shape;
    let mut forms = vec![
        (vec![channels, height, width], InputLayout::Nchw),
        (vec![height, width, channels], InputLayout::Nhwc),
    ];
    if channels == 1 {
        forms.push((vec![height, width], InputLayout::Nchw));
    }
    if height == 1 {
        forms.push((vec![channels, width], InputLayout::Nchw));
        forms.push((vec![width, channels], InputLayout::Nhwc));
    }
    if height == 1 && width == 1 {
        forms.push((vec![channels], InputLayout::Nchw));
    }
    let holds = |form: &[usize]| {
        found == form || found.split_first().is_some_and(|(_, sample)| sample == form)
    };
    let fits = |layout| forms.iter().any(|(form, of)| *of == layout && holds(form));
    let other = match input.layout {
        InputLayout::Nchw => InputLayout::Nhwc,
        InputLayout::Nhwc => InputLayout::Nchw,
    };
    let fitting = [input.layout, other].into_iter().find(|&layout| fits(layout));
    if let Some(layout) = fitting.filter(|_| !found.contains(&0)) {
        return Ok(layout);
    }
    let mut accepted: Vec<String> = Vec::new();
    for (form, _) in forms {
        let extents: Vec<String> = form.iter().map(usize::to_string).collect();
        let text = format!("[{0}], [N, {0}]", extents.join(", "));
        if !accepted.contains(&text) {
            accepted.push(text);
        }
    }
    Err(DataFault::WrongShape {
        expected: input.shape,
        found: found.to_vec(),
        accepted: accepted.join(", "),
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
mod tests;
