//! Constant tensors and the types of all tensors of a [`Graph`](crate::graph::Graph).
//!
//! Elements lie in row-major order. A shape here is the ONNX shape, batch dimension included; the
//! integer network drops it. Invariants: no extent is 0, and a shape has at most
//! [`MAX_ELEMENTS`] elements, so an element count never overflows.

use crate::integer::IntRange;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Largest number of elements of one tensor. A plan of this size could not be executed; the bound
/// exists so that every product of extents fits in 64 bits.
pub const MAX_ELEMENTS: usize = 1 << 31;

/// An integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IntType {
    /// Width in bits, 1 to 64; at most 63 if unsigned.
    pub bits: u32,
    /// Whether it is two's complement.
    pub signed: bool,
}

impl IntType {
    /// A two's complement type of `bits` bits.
    #[must_use]
    pub const fn signed(bits: u32) -> Self {
        Self { bits, signed: true }
    }

    /// An unsigned type of `bits` bits.
    #[must_use]
    pub const fn unsigned(bits: u32) -> Self {
        Self { bits, signed: false }
    }

    /// All values of the type.
    #[must_use]
    pub fn range(self) -> IntRange {
        if self.signed {
            let unused = i64::BITS.saturating_sub(self.bits).min(63);
            IntRange { lo: i64::MIN >> unused, hi: i64::MAX >> unused }
        } else {
            IntRange { lo: 0, hi: i64::MAX >> 63_u32.saturating_sub(self.bits) }
        }
    }
}

impl fmt::Display for IntType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.signed { 'i' } else { 'u' }, self.bits)
    }
}

/// The type of the elements of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// Real numbers, stored as binary32.
    Float,
    /// Integers.
    Int(IntType),
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float => f.write_str("f32"),
            Self::Int(ty) => ty.fmt(f),
        }
    }
}

/// The extents of a tensor, outermost first; a scalar has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// A shape, or `None` if an extent is 0 or there are more than [`MAX_ELEMENTS`] elements.
    #[must_use]
    pub fn new(dims: Vec<usize>) -> Option<Self> {
        let len = dims.iter().try_fold(1_usize, |len, &dim| len.checked_mul(dim))?;
        (1..=MAX_ELEMENTS).contains(&len).then_some(Self(dims))
    }

    /// The shape of a scalar.
    #[must_use]
    pub const fn scalar() -> Self {
        Self(Vec::new())
    }

    /// The extents.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// Number of dimensions.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Number of elements.
    #[must_use]
    pub fn element_count(&self) -> usize {
        self.0.iter().product()
    }

    /// The dimension that an ONNX axis names, negative ones counted from the end.
    #[must_use]
    pub fn axis(&self, axis: i64) -> Option<usize> {
        let rank = i64::try_from(self.rank()).ok()?;
        let axis = if axis < 0 { axis.checked_add(rank)? } else { axis };
        usize::try_from(axis).ok().filter(|&axis| axis < self.rank())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.0.iter().map(usize::to_string).collect();
        write!(f, "[{}]", dims.join(","))
    }
}

/// Element type and shape of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorType {
    /// Type of the elements.
    pub element: ElementType,
    /// Extents.
    pub shape: Shape,
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.element, self.shape)
    }
}

/// The elements of a constant tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// Real numbers.
    Float(Vec<f32>),
    /// Integers of a type, within a range that may be narrower than the type.
    Int {
        /// The type.
        ty: IntType,
        /// What the values may be, known without looking at them: from the type, narrowed by a
        /// `Clip`. Widths follow from it, so that they do not depend on the values.
        range: IntRange,
        /// The values.
        values: Vec<i64>,
    },
}

/// A constant tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Extents.
    pub shape: Shape,
    /// Elements, as many as the shape says.
    pub data: TensorData,
}

impl Tensor {
    /// An integer tensor over the full range of its type.
    #[must_use]
    pub fn int(shape: Shape, ty: IntType, values: Vec<i64>) -> Self {
        Self { shape, data: TensorData::Int { ty, range: ty.range(), values } }
    }

    /// Element type and shape.
    #[must_use]
    pub fn ty(&self) -> TensorType {
        let element = match self.data {
            TensorData::Float(_) => ElementType::Float,
            TensorData::Int { ty, .. } => ElementType::Int(ty),
        };
        TensorType { element, shape: self.shape.clone() }
    }

    /// Number of elements that are stored.
    #[must_use]
    pub fn stored_len(&self) -> usize {
        match &self.data {
            TensorData::Float(values) => values.len(),
            TensorData::Int { values, .. } => values.len(),
        }
    }

    /// The integers, or `None` if it is a float tensor.
    #[must_use]
    pub fn as_ints(&self) -> Option<&[i64]> {
        match &self.data {
            TensorData::Float(_) => None,
            TensorData::Int { values, .. } => Some(values),
        }
    }
}

/// The elements of a tensor of `shape` after permuting its dimensions: dimension `i` of the result
/// is dimension `order[i]` of the operand. `None` if `order` is not a permutation or the element
/// count is wrong.
#[must_use]
pub fn transpose<T: Copy>(shape: &Shape, values: &[T], order: &[usize]) -> Option<(Shape, Vec<T>)> {
    let permuted = permute(shape, order)?;
    if values.len() != shape.element_count() {
        return None;
    }
    let mut strides = vec![1; shape.rank()];
    for axis in (1..shape.rank()).rev() {
        strides[axis - 1] = strides[axis] * shape.dims()[axis];
    }
    let steps: Vec<usize> = order.iter().map(|&axis| strides[axis]).collect();
    let mut position = vec![0; order.len()];
    let mut result = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        let source: usize = position.iter().zip(&steps).map(|(at, step)| at * step).sum();
        result.push(values[source]);
        for axis in (0..position.len()).rev() {
            position[axis] += 1;
            if position[axis] < permuted.dims()[axis] {
                break;
            }
            position[axis] = 0;
        }
    }
    Some((permuted, result))
}

/// The shape after permuting the dimensions, or `None` if `order` is not a permutation of them.
#[must_use]
pub fn permute(shape: &Shape, order: &[usize]) -> Option<Shape> {
    let mut seen = vec![false; shape.rank()];
    for &axis in order {
        let flag = seen.get_mut(axis)?;
        if std::mem::replace(flag, true) {
            return None;
        }
    }
    if order.len() != shape.rank() {
        return None;
    }
    Some(Shape(order.iter().map(|&axis| shape.0[axis]).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int_ranges() {
        for (ty, lo, hi) in [
            (IntType::signed(8), -128, 127),
            (IntType::unsigned(8), 0, 255),
            (IntType::unsigned(1), 0, 1),
            (IntType::signed(64), i64::MIN, i64::MAX),
            (IntType::unsigned(63), 0, i64::MAX),
        ] {
            assert_eq!(ty.range(), IntRange { lo, hi }, "{ty}");
        }
    }

    #[test]
    fn shapes_are_bounded() {
        assert!(Shape::new(vec![1 << 20, 1 << 20]).is_none());
        assert!(Shape::new(vec![usize::MAX, usize::MAX]).is_none());
        assert!(Shape::new(vec![3, 0]).is_none());
        assert_eq!(Shape::new(vec![]).unwrap().element_count(), 1);
    }

    #[test]
    fn transpose_moves_elements() {
        let shape = Shape::new(vec![2, 3]).unwrap();
        let (permuted, values) = transpose(&shape, &[1, 2, 3, 4, 5, 6], &[1, 0]).unwrap();
        assert_eq!(permuted.dims(), [3, 2]);
        assert_eq!(values, [1, 4, 2, 5, 3, 6]);
        assert!(transpose(&shape, &[1, 2, 3, 4, 5, 6], &[0, 0]).is_none());
    }
}
