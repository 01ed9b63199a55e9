//! Operators on constants, evaluated at import in the arithmetic of ONNX: reals in 32 bits, integers
//! in 64 bits with every overflow an error.
//!
//! Sizes are known before anything is allocated: callers check [`element_count`].

use crate::fault::Fault;
use heq_ir::graph::infer::{infer, order};
use heq_ir::graph::op::{BinaryOp, Bounds, Function, Op, QuantizeParams, SliceAxis};
use heq_ir::integer::IntRange;
use heq_ir::tensor::{ElementType, IntType, Shape, Tensor, TensorData, TensorType, transpose};

/// Whether an operator on constants is replaced by its result. Others stay in the graph, since the
/// integers of weights must not become reals.
pub(crate) fn is_foldable(op: &Op) -> bool {
    matches!(
        op,
        Op::Binary(_)
            | Op::Flatten { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Pad(_)
            | Op::Slice(_)
            | Op::Concat { .. }
    )
}

/// Number of elements that `op` makes.
pub(crate) fn element_count(op: &Op, inputs: &[&Tensor]) -> Result<usize, Fault> {
    Ok(result_type(op, inputs)?.shape.element_count())
}

/// Number of elements that the parameters of `op` hold.
pub(crate) fn parameter_count(op: &Op) -> usize {
    if let Op::Constant(tensor) = op {
        tensor.stored_len()
    } else if let Op::QuantizedConstant(tensor) = op {
        tensor.values.len()
    } else if let Op::QuantizeLinear(params) | Op::DequantizeLinear(params) = op {
        2 * params.scale.len()
    } else if let Op::BatchNormalization(params) = op {
        4 * params.gamma.len()
    } else if let Op::Function(Function::LeakyRelu { slopes }) = op {
        slopes.len()
    } else {
        1
    }
}

/// The result of a foldable operator.
pub(crate) fn fold(op: &Op, inputs: &[&Tensor]) -> Result<Tensor, Fault> {
    let shape = result_type(op, inputs)?.shape;
    match (op, inputs) {
        (Op::Binary(kind), &[a, b]) => binary((*kind).into(), a, b),
        (Op::Flatten { .. } | Op::Reshape { .. }, &[x]) => {
            Ok(Tensor { shape, data: x.data.clone() })
        }
        (Op::Transpose { perm }, &[x]) => {
            let order = order(perm.as_deref(), x.shape.rank());
            let positions: Vec<usize> = (0..x.shape.element_count()).collect();
            let positions = transpose(&x.shape, &positions, &order).ok_or_else(misfit)?.1;
            Ok(Tensor { shape, data: select(&x.data, &positions) })
        }
        (Op::Slice(axes), &[x]) => {
            let positions = sliced(&x.shape, axes).ok_or_else(misfit)?;
            Ok(Tensor { shape, data: select(&x.data, &positions) })
        }
        (Op::Pad(pads), &[x]) => padded(x, pads, shape),
        (Op::Concat { axis }, parts) => concatenated(parts, *axis, shape),
        _ => Err(misfit()),
    }
}

/// The value of an operator on constants, whether or not it stays in the graph; `None` for
/// operators that are never evaluated.
pub(crate) fn evaluate(op: &Op, inputs: &[&Tensor]) -> Option<Tensor> {
    match (op, inputs) {
        (Op::QuantizedConstant(tensor), []) => {
            let scales = Along::new(&tensor.shape, tensor.axis, tensor.scale.len())?;
            let values = tensor.values.iter().enumerate();
            #[expect(clippy::cast_precision_loss, reason = "parameters need no more than 24 bits")]
            #[expect(clippy::cast_possible_truncation, reason = "scales are given as f32")]
            let real =
                |(at, &value): (usize, &i64)| value as f32 * tensor.scale[scales.index(at)] as f32;
            Some(floats(tensor.shape.clone(), values.map(real).collect()))
        }
        (Op::QuantizeLinear(params), [x]) => quantize(params, x),
        (Op::DequantizeLinear(params), [x]) => dequantize(params, x),
        (Op::Clip(bounds), [x]) => Some(clip(bounds, x)),
        (op, inputs) if is_foldable(op) => fold(op, inputs).ok(),
        _ => None,
    }
}

/// Arithmetic on two tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`, towards zero on integers.
    Div,
    /// `a` to the power of `b`.
    Pow,
}

impl From<BinaryOp> for Arithmetic {
    fn from(op: BinaryOp) -> Self {
        match op {
            BinaryOp::Add => Self::Add,
            BinaryOp::Div => Self::Div,
            BinaryOp::Mul => Self::Mul,
            BinaryOp::Sub => Self::Sub,
        }
    }
}

/// The shape of two tensors that broadcast.
pub(crate) fn broadcast(a: &Shape, b: &Shape) -> Result<Shape, Fault> {
    let real = |shape: &Shape| TensorType { element: ElementType::Float, shape: shape.clone() };
    Ok(infer(&Op::Binary(BinaryOp::Add), &[&real(a), &real(b)])?.shape)
}

/// Arithmetic on constants that broadcast.
pub(crate) fn binary(kind: Arithmetic, a: &Tensor, b: &Tensor) -> Result<Tensor, Fault> {
    let shape = broadcast(&a.shape, &b.shape)?;
    let (at_a, at_b) = (Broadcast::new(&a.shape, &shape), Broadcast::new(&b.shape, &shape));
    let positions = (0..shape.element_count()).map(|at| (at_a.source(at), at_b.source(at)));
    match (&a.data, &b.data) {
        (TensorData::Float(a), TensorData::Float(b)) => {
            let values = positions.map(|(i, j)| real_arithmetic(kind, a[i], b[j])).collect();
            Ok(floats(shape, values))
        }
        (TensorData::Float(a), TensorData::Int { values: b, .. }) if kind == Arithmetic::Pow => {
            #[expect(clippy::cast_precision_loss, reason = "exponents are small")]
            let values = positions.map(|(i, j)| a[i].powf(b[j] as f32)).collect();
            Ok(floats(shape, values))
        }
        (TensorData::Int { ty, values: a, .. }, TensorData::Int { ty: other, values: b, .. })
            if ty == other || kind == Arithmetic::Pow =>
        {
            let values: Option<Vec<i64>> = positions
                .map(|(i, j)| {
                    let value = integer_arithmetic(kind, a[i], b[j])?;
                    contains(ty.range(), value).then_some(value)
                })
                .collect();
            let values = values.ok_or_else(|| {
                Fault::malformed(format!("the result does not fit its type {ty}, or divides by 0"))
            })?;
            Ok(Tensor::int(shape, *ty, values))
        }
        _ => Err(Fault::malformed("its operands have different types")),
    }
}

fn real_arithmetic(kind: Arithmetic, a: f32, b: f32) -> f32 {
    match kind {
        Arithmetic::Add => a + b,
        Arithmetic::Sub => a - b,
        Arithmetic::Mul => a * b,
        Arithmetic::Div => a / b,
        Arithmetic::Pow => a.powf(b),
    }
}

fn integer_arithmetic(kind: Arithmetic, a: i64, b: i64) -> Option<i64> {
    match kind {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Sub => a.checked_sub(b),
        Arithmetic::Mul => a.checked_mul(b),
        Arithmetic::Div => a.checked_div(b),
        Arithmetic::Pow => a.checked_pow(u32::try_from(b).ok()?),
    }
}

/// The constant with elements of another type; reals become integers by dropping their fraction.
pub(crate) fn cast(x: &Tensor, to: ElementType) -> Result<Tensor, Fault> {
    let misfit = || Fault::malformed(format!("an element does not fit the type {to}"));
    let data = match (&x.data, to) {
        (TensorData::Float(_), ElementType::Float) => x.data.clone(),
        #[expect(clippy::cast_precision_loss, reason = "as the standard defines it")]
        (TensorData::Int { values, .. }, ElementType::Float) => {
            TensorData::Float(values.iter().map(|&value| value as f32).collect())
        }
        (TensorData::Int { values, .. }, ElementType::Int(ty)) => {
            if !values.iter().all(|&value| contains(ty.range(), value)) {
                return Err(misfit());
            }
            TensorData::Int { ty, range: ty.range(), values: values.clone() }
        }
        (TensorData::Float(values), ElementType::Int(ty)) => {
            let values: Option<Vec<i64>> = values.iter().map(|&x| truncated(x, ty)).collect();
            TensorData::Int { ty, range: ty.range(), values: values.ok_or_else(misfit)? }
        }
    };
    Ok(Tensor { shape: x.shape.clone(), data })
}

fn truncated(x: f32, ty: IntType) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and the bounds are checked")]
    let value = x as i64;
    (x.is_finite() && x.abs() < 9.2e18 && contains(ty.range(), value)).then_some(value)
}

/// A real constant.
pub(crate) fn floats(shape: Shape, values: Vec<f32>) -> Tensor {
    Tensor { shape, data: TensorData::Float(values) }
}

/// The elements at `positions`, which must exist.
pub(crate) fn select(data: &TensorData, positions: &[usize]) -> TensorData {
    match data {
        TensorData::Float(values) => {
            TensorData::Float(positions.iter().map(|&at| values[at]).collect())
        }
        TensorData::Int { ty, range, values } => TensorData::Int {
            ty: *ty,
            range: *range,
            values: positions.iter().map(|&at| values[at]).collect(),
        },
    }
}

/// Distances between neighbours along every dimension, in elements.
pub(crate) fn strides(shape: &Shape) -> Vec<usize> {
    let mut strides = vec![1; shape.rank()];
    for axis in (1..shape.rank()).rev() {
        strides[axis - 1] = strides[axis] * shape.dims()[axis];
    }
    strides
}

fn result_type(op: &Op, inputs: &[&Tensor]) -> Result<TensorType, Fault> {
    // Integers are added and multiplied too, which the graph does not do.
    if let (Op::Binary(_), &[a, b]) = (op, inputs) {
        return Ok(TensorType { element: a.ty().element, shape: broadcast(&a.shape, &b.shape)? });
    }
    let types: Vec<TensorType> = inputs.iter().map(|input| input.ty()).collect();
    Ok(infer(op, &types.iter().collect::<Vec<_>>())?)
}

fn sliced(shape: &Shape, axes: &[SliceAxis]) -> Option<Vec<usize>> {
    let mut positions = vec![0_usize];
    for (axis, stride) in axes.iter().zip(strides(shape)) {
        let mut next = Vec::with_capacity(positions.len() * axis.len);
        for at in positions {
            for index in 0..axis.len {
                let offset = i64::try_from(index).ok()?.checked_mul(axis.step)?;
                let index = i64::try_from(axis.start).ok()?.checked_add(offset)?;
                next.push(at + usize::try_from(index).ok()? * stride);
            }
        }
        positions = next;
    }
    Some(positions)
}

fn padded(x: &Tensor, pads: &[[usize; 2]], shape: Shape) -> Result<Tensor, Fault> {
    let extents = x.shape.dims();
    let axes: Vec<SliceAxis> = pads
        .iter()
        .zip(extents)
        .map(|(pad, &len)| SliceAxis { start: pad[0], step: 1, len })
        .collect();
    let targets = sliced(&shape, &axes).ok_or_else(misfit)?;
    let count = shape.element_count();
    let data = match &x.data {
        TensorData::Float(values) => {
            let mut result = vec![0.0; count];
            targets.iter().zip(values).for_each(|(&at, &value)| result[at] = value);
            TensorData::Float(result)
        }
        TensorData::Int { ty, range, values } => {
            let mut result = vec![0; count];
            targets.iter().zip(values).for_each(|(&at, &value)| result[at] = value);
            let range = IntRange { lo: range.lo.min(0), hi: range.hi.max(0) };
            TensorData::Int { ty: *ty, range, values: result }
        }
    };
    Ok(Tensor { shape, data })
}

fn concatenated(parts: &[&Tensor], axis: usize, shape: Shape) -> Result<Tensor, Fault> {
    let outer: usize = shape.dims()[..axis].iter().product();
    fn gather<'a, T: Copy + 'a>(
        outer: usize,
        count: usize,
        parts: impl Iterator<Item = &'a [T]> + Clone,
    ) -> Vec<T> {
        let mut result = Vec::with_capacity(count);
        for row in 0..outer {
            for part in parts.clone() {
                let len = part.len() / outer;
                result.extend_from_slice(&part[row * len..][..len]);
            }
        }
        result
    }
    let count = shape.element_count();
    let data = match &parts.first().ok_or_else(misfit)?.data {
        TensorData::Float(_) => {
            let reals = parts.iter().filter_map(|part| match &part.data {
                TensorData::Float(values) => Some(values.as_slice()),
                TensorData::Int { .. } => None,
            });
            TensorData::Float(gather(outer, count, reals))
        }
        TensorData::Int { ty, range, .. } => {
            let mut range = *range;
            for part in parts {
                if let TensorData::Int { range: other, .. } = &part.data {
                    range = IntRange { lo: range.lo.min(other.lo), hi: range.hi.max(other.hi) };
                }
            }
            let integers = parts.iter().filter_map(|part| part.as_ints());
            TensorData::Int { ty: *ty, range, values: gather(outer, count, integers) }
        }
    };
    Ok(Tensor { shape, data })
}

/// Which of several parameters along a dimension belongs to an element.
pub(crate) struct Along {
    stride: usize,
    extent: usize,
}

impl Along {
    /// `count` parameters along dimension `axis` of a tensor of `shape`, or one; `None` if they do not
    /// fit.
    pub(crate) fn new(shape: &Shape, axis: Option<usize>, count: usize) -> Option<Self> {
        match axis {
            None => (count == 1).then_some(Self { stride: 1, extent: 1 }),
            Some(axis) => {
                let extent = *shape.dims().get(axis)?;
                (extent == count).then(|| Self { stride: strides(shape)[axis], extent })
            }
        }
    }

    fn of(params: &QuantizeParams, shape: &Shape) -> Option<Self> {
        let axis = params.axis.map(|axis| shape.axis(axis));
        if axis == Some(None) || params.zero_point.len() != params.scale.len() {
            return None;
        }
        Self::new(shape, axis.flatten(), params.scale.len())
    }

    /// Index of the parameter of the element at `position`.
    pub(crate) fn index(&self, position: usize) -> usize {
        position / self.stride % self.extent
    }
}

fn quantize(params: &QuantizeParams, x: &Tensor) -> Option<Tensor> {
    let TensorData::Float(values) = &x.data else { return None };
    let scales = Along::of(params, &x.shape)?;
    let range = params.ty.range();
    let quantized = values.iter().enumerate().map(|(at, value)| {
        let index = scales.index(at);
        #[expect(clippy::cast_possible_truncation, reason = "saturates, as the standard says")]
        let rounded = (value / params.scale[index]).round_ties_even() as i64;
        rounded.saturating_add(params.zero_point[index]).clamp(range.lo, range.hi)
    });
    Some(Tensor::int(x.shape.clone(), params.ty, quantized.collect()))
}

fn dequantize(params: &QuantizeParams, x: &Tensor) -> Option<Tensor> {
    let scales = Along::of(params, &x.shape)?;
    let real = |(at, &value): (usize, &i64)| {
        let index = scales.index(at);
        #[expect(clippy::cast_precision_loss, reason = "as the standard defines it")]
        let steps = value.saturating_sub(params.zero_point[index]) as f32;
        steps * params.scale[index]
    };
    let values = x.as_ints()?.iter().enumerate().map(real).collect();
    Some(floats(x.shape.clone(), values))
}

fn clip(bounds: &Bounds, x: &Tensor) -> Tensor {
    let data = match &x.data {
        #[expect(clippy::cast_possible_truncation, reason = "bounds are given as f32")]
        TensorData::Float(values) => TensorData::Float(
            values.iter().map(|x| x.max(bounds.lower as f32).min(bounds.upper as f32)).collect(),
        ),
        TensorData::Int { ty, range, values } => {
            #[expect(clippy::cast_possible_truncation, reason = "saturates at the type's range")]
            let [lower, upper] = [bounds.lower.ceil() as i64, bounds.upper.floor() as i64];
            let values = values.iter().map(|&x| x.max(lower).min(upper)).collect();
            TensorData::Int { ty: *ty, range: *range, values }
        }
    };
    Tensor { shape: x.shape.clone(), data }
}

/// Where the elements of a broadcast tensor come from.
struct Broadcast {
    /// Distance in the result, extent in the result and distance in the operand of every dimension
    /// along which the operand has more than one element.
    axes: Vec<[usize; 3]>,
}

impl Broadcast {
    fn new(from: &Shape, to: &Shape) -> Self {
        let missing = to.rank() - from.rank();
        let (result, operand) = (strides(to), strides(from));
        let axes = from.dims().iter().enumerate().filter(|(_, extent)| **extent > 1);
        Self { axes: axes.map(|(i, &extent)| [result[i + missing], extent, operand[i]]).collect() }
    }

    fn source(&self, at: usize) -> usize {
        self.axes.iter().map(|[result, extent, operand]| at / result % extent * operand).sum()
    }
}

fn contains(range: IntRange, value: i64) -> bool {
    (range.lo..=range.hi).contains(&value)
}

fn misfit() -> Fault {
    Fault::malformed("its constant operands do not fit")
}
