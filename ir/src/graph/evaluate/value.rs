//! Tensors of the evaluator: real numbers, integers, or real numbers that are known to be integers
//! times a scale.

use crate::tensor::Shape;
use std::borrow::Cow;

/// A tensor that was computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Extents.
    pub shape: Shape,
    /// Elements in row-major order, as many as the shape says.
    pub elements: Elements,
}

/// The elements of a [`Value`].
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// Real numbers.
    Real(Vec<f64>),
    /// Integers of an integer tensor, zero point included.
    Integer(Vec<i64>),
    /// Real numbers on a grid.
    Grid(Grid),
}

/// Real numbers `scale*step`, held as the integers `step`.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Integers, zero point removed.
    pub steps: Vec<i64>,
    /// Real value of one step: one a tensor, or one for every index of `axis`.
    pub scale: Vec<f64>,
    /// The dimension of several scales; `None` if there is one for the whole tensor.
    pub axis: Option<usize>,
}

impl Value {
    pub(super) fn real(shape: Shape, elements: Vec<f64>) -> Self {
        Self { shape, elements: Elements::Real(elements) }
    }

    pub(super) fn integer(shape: Shape, elements: Vec<i64>) -> Self {
        Self { shape, elements: Elements::Integer(elements) }
    }

    /// Real numbers on a grid; a dimension of extent 1 has one scale, hence no axis.
    pub(super) fn grid(
        shape: Shape,
        steps: Vec<i64>,
        scale: Vec<f64>,
        axis: Option<usize>,
    ) -> Self {
        let axis = axis.filter(|_| scale.len() > 1);
        Self { shape, elements: Elements::Grid(Grid { steps, scale, axis }) }
    }

    /// The elements as real numbers; integers of an integer tensor as they are, without a scale.
    #[must_use]
    pub fn reals(&self) -> Cow<'_, [f64]> {
        match &self.elements {
            Elements::Real(elements) => Cow::Borrowed(elements),
            Elements::Integer(elements) => elements.iter().map(|&value| real(value)).collect(),
            Elements::Grid(Grid { steps, scale, axis: None }) => {
                let scale = scale.first().copied().unwrap_or_default();
                steps.iter().map(|&step| real(step) * scale).collect()
            }
            Elements::Grid(Grid { steps, scale, axis: Some(axis) }) => {
                let runs = steps.chunks(inner(&self.shape, *axis)).zip(scale.iter().cycle());
                runs.flat_map(|(run, scale)| run.iter().map(move |&step| real(step) * scale))
                    .collect()
            }
        }
    }

    /// The integers: of an integer tensor with its zero point, of a grid without.
    #[must_use]
    pub fn integers(&self) -> Option<&[i64]> {
        match &self.elements {
            Elements::Real(_) => None,
            Elements::Integer(elements) => Some(elements),
            Elements::Grid(grid) => Some(&grid.steps),
        }
    }

    /// The real numbers after a function of channel and element; channels are dimension 1.
    pub(super) fn map(&self, function: impl Fn(usize, f64) -> f64) -> Self {
        let (plane, channels) = match self.shape.dims() {
            [_, channels, ..] => (inner(&self.shape, 1), *channels),
            _ => (self.shape.element_count(), 1),
        };
        let mut elements = self.reals().into_owned();
        for (index, plane) in elements.chunks_mut(plane.max(1)).enumerate() {
            let channel = index % channels.max(1);
            for element in plane {
                *element = function(channel, *element);
            }
        }
        Self::real(self.shape.clone(), elements)
    }
}

impl Grid {
    /// The scale of the whole tensor, if there is one.
    pub(super) fn one_scale(&self) -> Option<f64> {
        if self.axis.is_some() { None } else { self.scale.first().copied() }
    }
}

/// Number of elements that one index of dimension `axis` stands for: the extents behind it.
pub(super) fn inner(shape: &Shape, axis: usize) -> usize {
    shape.dims().iter().skip(axis + 1).product()
}

/// Whether two scales are the same number.
pub(super) fn same(a: f64, b: f64) -> bool {
    a.total_cmp(&b).is_eq()
}

/// An integer as a real number, exact up to 53 bits.
#[expect(clippy::cast_precision_loss, reason = "documented where larger integers may occur")]
pub(super) fn real(value: i64) -> f64 {
    value as f64
}
