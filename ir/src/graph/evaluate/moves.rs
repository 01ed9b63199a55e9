//! Operators that move elements: whatever kind of value they are given, they make the same kind.

use super::value::{Elements, Grid, Value, inner, same};
use crate::graph::op::SliceAxis;
use crate::tensor::Shape;
use std::borrow::Cow;

/// How one dimension of a result walks along a dimension of the operand; the result is 0 where it
/// is outside.
struct Walk {
    /// Dimension of the operand.
    source: usize,
    /// For every index of the result, that of the operand.
    indices: Vec<Option<usize>>,
}

/// Permutes the dimensions; `order` is a permutation of them.
pub(super) fn transpose(x: &Value, order: &[usize], shape: &Shape) -> Value {
    let walk =
        |&source: &usize| Walk { source, indices: (0..x.shape.dims()[source]).map(Some).collect() };
    rearrange(x, &order.iter().map(walk).collect::<Vec<_>>(), shape)
}

/// Zeros around the elements.
pub(super) fn pad(x: &Value, pads: &[[usize; 2]], shape: &Shape) -> Value {
    let walks = pads.iter().zip(shape.dims()).zip(x.shape.dims()).enumerate();
    let walk = |(source, ((pads, &extent), &size)): (usize, ((&[usize; 2], &usize), &usize))| {
        let index = |at: usize| at.checked_sub(pads[0]).filter(|&at| at < size);
        Walk { source, indices: (0..extent).map(index).collect() }
    };
    rearrange(x, &walks.map(walk).collect::<Vec<_>>(), shape)
}

/// Every step-th element; all lie in the operand.
pub(super) fn slice(x: &Value, axes: &[SliceAxis], shape: &Shape) -> Value {
    let walk = |(source, axis): (usize, &SliceAxis)| {
        let (start, step) = (axis.start.cast_signed(), axis.step);
        let step = isize::try_from(step).unwrap_or_default();
        let index = |at: usize| usize::try_from(start + at.cast_signed() * step).ok();
        Walk { source, indices: (0..axis.len).map(index).collect() }
    };
    rearrange(x, &axes.iter().enumerate().map(walk).collect::<Vec<_>>(), shape)
}

/// The elements of `values` repeated along every dimension of extent 1, and along new ones in
/// front, until they have `shape`.
pub(super) fn broadcast<'a, T: Copy + Default>(
    values: &'a [T],
    from: &Shape,
    shape: &Shape,
) -> Cow<'a, [T]> {
    if values.len() == shape.element_count() {
        return Cow::Borrowed(values);
    }
    let missing = shape.rank() - from.rank();
    let walk = |(source, &size): (usize, &usize)| {
        let extent = shape.dims()[missing + source];
        Walk { source, indices: (0..extent).map(|at| Some(at.min(size - 1))).collect() }
    };
    let walks: Vec<Walk> = from.dims().iter().enumerate().map(walk).collect();
    let repeats = shape.dims()[..missing].iter().product();
    Cow::Owned(gather(values, from, &walks).repeat(repeats))
}

/// The same elements in another shape. The scales of a grid keep their dimension if the new shape
/// has it too; otherwise the elements become reals.
pub(super) fn reshape(x: &Value, shape: &Shape) -> Value {
    let shape = shape.clone();
    let Elements::Grid(Grid { axis: Some(axis), .. }) = x.elements else {
        return Value { shape, elements: x.elements.clone() };
    };
    let (extent, inside) = (x.shape.dims()[axis], inner(&x.shape, axis));
    let kept = (0..shape.rank())
        .find(|&axis| shape.dims()[axis] == extent && inner(&shape, axis) == inside);
    match &x.elements {
        Elements::Grid(grid) if kept.is_some() => {
            Value::grid(shape, grid.steps.clone(), grid.scale.clone(), kept)
        }
        Elements::Real(_) | Elements::Integer(_) | Elements::Grid(_) => {
            Value::real(shape, x.reals().into_owned())
        }
    }
}

/// One tensor after the other along `axis`; a grid if all have the same one scale.
pub(super) fn concat(inputs: &[&Value], axis: usize, shape: &Shape) -> Value {
    if let Some(scale) = common_scale(inputs) {
        return Value::grid(shape.clone(), join(&integers(inputs), axis), vec![scale], None);
    }
    if inputs.iter().all(|input| matches!(input.elements, Elements::Integer(_))) {
        return Value::integer(shape.clone(), join(&integers(inputs), axis));
    }
    let reals: Vec<_> = inputs.iter().map(|input| (&input.shape, input.reals())).collect();
    let reals: Vec<_> = reals.iter().map(|(shape, reals)| (*shape, reals.as_ref())).collect();
    Value::real(shape.clone(), join(&reals, axis))
}

/// The scale of all, if they are grids with one scale each, and it is the same.
pub(super) fn common_scale(inputs: &[&Value]) -> Option<f64> {
    let mut scales = inputs.iter().map(|input| match &input.elements {
        Elements::Grid(grid) => grid.one_scale(),
        Elements::Real(_) | Elements::Integer(_) => None,
    });
    let first = scales.next()??;
    scales.all(|scale| scale.is_some_and(|scale| same(scale, first))).then_some(first)
}

fn integers<'a>(inputs: &[&'a Value]) -> Vec<(&'a Shape, &'a [i64])> {
    inputs.iter().map(|input| (&input.shape, input.integers().unwrap_or_default())).collect()
}

fn join<T: Copy>(parts: &[(&Shape, &[T])], axis: usize) -> Vec<T> {
    let outer = parts.first().map_or(0, |(shape, _)| shape.dims()[..axis].iter().product());
    let mut joined = Vec::with_capacity(parts.iter().map(|(_, values)| values.len()).sum());
    for index in 0..outer {
        for (_, values) in parts {
            let run = values.len() / outer;
            joined.extend_from_slice(&values[index * run..(index + 1) * run]);
        }
    }
    joined
}

/// A result whose dimensions walk along all dimensions of `x`, each along another.
fn rearrange(x: &Value, walks: &[Walk], shape: &Shape) -> Value {
    let shape_of_x = &x.shape;
    let shape = shape.clone();
    match &x.elements {
        Elements::Real(values) => Value::real(shape, gather(values, shape_of_x, walks)),
        Elements::Integer(values) => Value::integer(shape, gather(values, shape_of_x, walks)),
        Elements::Grid(Grid { steps, scale, axis }) => {
            let steps = gather(steps, shape_of_x, walks);
            let moved = walks.iter().position(|walk| Some(walk.source) == *axis);
            let scale = match moved {
                None => scale.clone(),
                // A zero from outside has any scale.
                Some(axis) => walks[axis]
                    .indices
                    .iter()
                    .map(|index| index.and_then(|index| scale.get(index).copied()).unwrap_or(1.0))
                    .collect(),
            };
            Value::grid(shape, steps, scale, moved)
        }
    }
}

/// The elements that the walks visit, the last walk fastest.
fn gather<T: Copy + Default>(values: &[T], shape: &Shape, walks: &[Walk]) -> Vec<T> {
    let offsets = walks.iter().map(|walk| {
        let stride = inner(shape, walk.source);
        walk.indices.iter().map(|index| index.map(|index| index * stride)).collect::<Vec<_>>()
    });
    // What has one index adds to the base, so that the recursion is at most 31 deep.
    let (fixed, offsets): (Vec<_>, Vec<_>) =
        offsets.partition(|offsets| matches!(offsets[..], [Some(_)]));
    let base = fixed.into_iter().flatten().flatten().sum();
    let mut out = Vec::with_capacity(offsets.iter().map(Vec::len).product());
    visit(values, base, &offsets, &mut out);
    out
}

fn visit<T: Copy + Default>(
    values: &[T],
    base: usize,
    offsets: &[Vec<Option<usize>>],
    out: &mut Vec<T>,
) {
    match offsets {
        [] => out.extend(values.get(base)),
        [last] => out.extend(last.iter().map(|offset| {
            let offset = offset.and_then(|offset| values.get(base + offset).copied());
            offset.unwrap_or_default()
        })),
        [first, rest @ ..] => {
            let inner: usize = rest.iter().map(Vec::len).product();
            for offset in first {
                match offset {
                    Some(offset) => visit(values, base + offset, rest, out),
                    None => out.resize(out.len() + inner, T::default()),
                }
            }
        }
    }
}
