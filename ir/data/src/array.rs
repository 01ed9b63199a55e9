//! Arrays: elements with a shape, and where they came from.
//!
//! Elements are in row-major order. Invariant: the shape's product is the number of elements.

use crate::error::{DataError, DataFault};

/// Largest number of dimensions; the same as numpy's before version 2.
pub const MAX_DIMENSIONS: usize = 32;

/// The elements of an array in row-major order.
///
/// The types of a file are kept where it matters and widened without loss where it does not: bytes
/// may be raw pixels or a model's own integers, so other integers and booleans become `I64`, never
/// bytes. `F64` is kept, because narrowing it is the consumer's decision.
#[derive(Clone, Debug, PartialEq)]
pub enum ArrayData {
    /// 32-bit floating point.
    F32(Vec<f32>),
    /// 64-bit floating point.
    F64(Vec<f64>),
    /// Unsigned bytes, for example pixels.
    U8(Vec<u8>),
    /// Signed bytes, for example quantized values.
    I8(Vec<i8>),
    /// All other integers, and booleans as 0 and 1.
    I64(Vec<i64>),
}

impl ArrayData {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::U8(values) => values.len(),
            Self::I8(values) => values.len(),
            Self::I64(values) => values.len(),
        }
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as double-precision numbers; integers beyond 53 bits are rounded.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "as documented")]
    pub fn to_reals(&self) -> Vec<f64> {
        match self {
            Self::F32(values) => values.iter().copied().map(f64::from).collect(),
            Self::F64(values) => values.clone(),
            Self::U8(values) => values.iter().copied().map(f64::from).collect(),
            Self::I8(values) => values.iter().copied().map(f64::from).collect(),
            Self::I64(values) => values.iter().map(|&value| value as f64).collect(),
        }
    }

    /// The elements as integers, or `None` if they are floating-point. For labels.
    #[must_use]
    pub fn to_integers(&self) -> Option<Vec<i64>> {
        match self {
            Self::U8(values) => Some(values.iter().copied().map(i64::from).collect()),
            Self::I8(values) => Some(values.iter().copied().map(i64::from).collect()),
            Self::I64(values) => Some(values.clone()),
            Self::F32(_) | Self::F64(_) => None,
        }
    }
}

/// An array with its shape, and the place to name in errors about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    place: String,
    shape: Vec<usize>,
    data: ArrayData,
}

impl Array {
    /// An array of `data` in row-major order; `place` says where it came from, such as a file.
    ///
    /// # Errors
    ///
    /// [`DataFault::Inconsistent`] if the shape's product is not the number of elements or there
    /// are more than [`MAX_DIMENSIONS`].
    pub fn new(
        place: impl Into<String>,
        shape: Vec<usize>,
        data: ArrayData,
    ) -> Result<Self, DataError> {
        let place = place.into();
        let elements = shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
        if shape.len() > MAX_DIMENSIONS || elements != Some(data.len()) {
            let fault = DataFault::Inconsistent { shape, elements: data.len() };
            return Err(DataError::new(place, fault));
        }
        Ok(Self { place, shape, data })
    }

    /// Where the array came from: a file, with the entry's name if it is an archive.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Number of elements along each dimension.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements in row-major order.
    #[must_use]
    pub fn data(&self) -> &ArrayData {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_and_elements_agree() {
        for (shape, elements, fits) in [
            (vec![], 1, true),
            (vec![2, 3], 6, true),
            (vec![0, 7], 0, true),
            (vec![2, 3], 5, false),
            (vec![usize::MAX, 2], 6, false),
            (vec![1; 33], 1, false),
        ] {
            let array = Array::new("test", shape.clone(), ArrayData::U8(vec![0; elements]));
            assert_eq!(array.is_ok(), fits, "{shape:?}");
        }
    }

    #[test]
    fn only_integers_are_integers() {
        assert_eq!(ArrayData::U8(vec![3]).to_integers(), Some(vec![3]));
        assert_eq!(ArrayData::I64(vec![-3]).to_integers(), Some(vec![-3]));
        assert_eq!(ArrayData::F32(vec![3.0]).to_integers(), None);
    }
}
