//! Types of tensors: what an operator makes of the types that it reads.
//!
//! The one definition, used when a graph is built and again by the verifier. All arithmetic on
//! extents is checked, since they come from a file.

use crate::geometry::Window;
use crate::graph::op::{ConvParams, Function, Op, QuantizeParams, QuantizedTensor, SliceAxis};
use crate::tensor::{ElementType, IntType, Shape, TensorType, permute};

/// Why an operator cannot read tensors of the given types.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// It reads another number of tensors.
    #[error("it reads {found} tensors, expected {expected}")]
    InputCount {
        /// What the operator reads.
        expected: String,
        /// What it was given.
        found: usize,
    },
    /// The elements have another type.
    #[error("input {slot} has elements of type {found}, expected {expected}")]
    Element {
        /// Input slot.
        slot: usize,
        /// What the operator reads.
        expected: String,
        /// What it was given.
        found: ElementType,
    },
    /// The tensor has another number of dimensions.
    #[error("input {slot} has shape {found}, expected {expected} dimensions")]
    Rank {
        /// Input slot.
        slot: usize,
        /// Number of dimensions that the operator reads.
        expected: usize,
        /// What it was given.
        found: Shape,
    },
    /// The batch dimension is not 1.
    #[error("input {slot} has shape {found}, expected a first dimension of 1")]
    Batch {
        /// Input slot.
        slot: usize,
        /// What it was given.
        found: Shape,
    },
    /// Two extents or counts that must be equal are not.
    #[error("{what}: {found}, expected {expected}")]
    Extent {
        /// What was counted.
        what: &'static str,
        /// The count that fits.
        expected: usize,
        /// What it was given.
        found: usize,
    },
    /// The window is larger than the padded input, or lies in the padding.
    #[error("a window of {window:?} does not fit an input of shape {input}")]
    Window {
        /// The window.
        window: Window,
        /// What it was given.
        input: Shape,
    },
    /// There is no such dimension, or the permutation is none.
    #[error("axes {axes:?} do not fit a tensor of shape {shape}")]
    Axis {
        /// ONNX axes.
        axes: Vec<i64>,
        /// What the operator was given.
        shape: Shape,
    },
    /// The elements cannot be arranged like this.
    #[error("a tensor of shape {from} cannot be reshaped to {target:?}")]
    Reshape {
        /// What the operator was given.
        from: Shape,
        /// ONNX target shape.
        target: Vec<i64>,
    },
    /// The result has too many elements.
    #[error("a result of extents {dims:?} is too large")]
    TooLarge {
        /// Extents of the result.
        dims: Vec<usize>,
    },
}

/// The type of the tensor that `op` makes from tensors of types `inputs`.
///
/// # Errors
/// If it cannot read them.
pub fn infer(op: &Op, inputs: &[&TensorType]) -> Result<TensorType, TypeError> {
    if !op.arity().contains(&inputs.len()) {
        let expected = match (op.arity().start(), op.arity().end()) {
            (low, high) if low == high => low.to_string(),
            (low, &usize::MAX) => format!("{low} or more"),
            (low, high) => format!("{low} to {high}"),
        };
        return Err(TypeError::InputCount { expected, found: inputs.len() });
    }
    match op {
        Op::Input(input) => Ok(input.ty.clone()),
        Op::Constant(tensor) => {
            equal("elements stored", tensor.shape.element_count(), tensor.stored_len())?;
            Ok(tensor.ty())
        }
        Op::QuantizedConstant(tensor) => quantized_constant(tensor),
        Op::QuantizeLinear(params) => {
            let x = float(inputs, 0)?;
            quantize_params(params, x)?;
            Ok(TensorType { element: ElementType::Int(params.ty), shape: x.clone() })
        }
        Op::DequantizeLinear(params) => {
            let x = inputs[0];
            if x.element != ElementType::Int(params.ty) {
                let expected = params.ty.to_string();
                return Err(TypeError::Element { slot: 0, expected, found: x.element });
            }
            quantize_params(params, &x.shape)?;
            Ok(real(x.shape.clone()))
        }
        Op::Clip(_) => Ok(inputs[0].clone()),
        Op::Quantize(_) | Op::Relu => Ok(real(float(inputs, 0)?.clone())),
        Op::Function(function) => {
            if let Function::LeakyRelu { slopes } = function
                && slopes.len() != 1
            {
                equal("slopes", channels(inputs)?, slopes.len())?;
            }
            Ok(real(float(inputs, 0)?.clone()))
        }
        Op::Binary(_) => broadcast(float(inputs, 0)?, float(inputs, 1)?),
        Op::Conv(params) => conv(params, inputs),
        Op::MatMul => matrix_product(inputs, false),
        Op::Gemm { trans_b } => matrix_product(inputs, *trans_b),
        Op::BatchNormalization(params) => {
            let channels = channels(inputs)?;
            for list in [&params.gamma, &params.beta, &params.mean, &params.variance] {
                equal("parameters of the normalization", channels, list.len())?;
            }
            Ok(inputs[0].clone())
        }
        Op::ChannelAffine(params) => {
            let channels = channels(inputs)?;
            equal("multipliers", channels, params.multiplier.len())?;
            equal("offsets", channels, params.offset.len())?;
            Ok(inputs[0].clone())
        }
        Op::MaxPool(window) => pool(window, inputs),
        Op::AveragePool(params) => pool(&params.window, inputs),
        Op::Flatten { axis } => flatten(*axis, inputs[0]),
        Op::Reshape { target, allow_zero } => reshape(target, *allow_zero, inputs[0]),
        Op::Transpose { perm } => {
            let x = inputs[0];
            let order = order(perm.as_deref(), x.shape.rank());
            let permuted = permute(&x.shape, &order).ok_or_else(|| TypeError::Axis {
                axes: order.iter().filter_map(|&axis| i64::try_from(axis).ok()).collect(),
                shape: x.shape.clone(),
            })?;
            Ok(TensorType { element: x.element, shape: permuted })
        }
        Op::Pad(pads) => {
            let x = inputs[0];
            equal("dimensions padded", x.shape.rank(), pads.len())?;
            let dims = x.shape.dims().iter().zip(pads);
            let dims = dims
                .map(|(&dim, [before, after])| dim.saturating_add(*before).saturating_add(*after));
            Ok(TensorType { element: x.element, shape: shape(dims.collect())? })
        }
        Op::Slice(axes) => slice(axes, inputs[0]),
        Op::Concat { axis } => concat(*axis, inputs),
        Op::Softmax { axis, .. } => {
            let x = float(inputs, 0)?;
            dimension(*axis, x)?;
            Ok(real(x.clone()))
        }
        Op::ArgMax { axis, keep_dims } => {
            let x = &inputs[0].shape;
            dimension(*axis, x)?;
            let mut dims = x.dims().to_vec();
            if *keep_dims {
                dims[*axis] = 1;
            } else {
                dims.remove(*axis);
            }
            let element = ElementType::Int(IntType::signed(64));
            Ok(TensorType { element, shape: shape(dims)? })
        }
    }
}

/// Pooling over windows each of which reads an element that is not padding.
fn pool(window: &Window, inputs: &[&TensorType]) -> Result<TensorType, TypeError> {
    let [batch, channels, height, width] = image(inputs, 0)?;
    let x = &inputs[0].shape;
    let fail = || TypeError::Window { window: *window, input: x.clone() };
    let [rows, columns] = window.span().ok_or_else(fail)?;
    let [top, left, bottom, right] = window.pads;
    let gaps = |axis: usize, size: usize| window.kernel[axis] > 1 && window.dilations[axis] > size;
    if top.max(bottom) >= rows || left.max(right) >= columns || gaps(0, height) || gaps(1, width) {
        return Err(fail());
    }
    let output = windowed(window, x, height, width)?;
    like_image(x, batch, channels, output)
}

/// The type of an image with as many dimensions as `like`.
fn like_image(
    like: &Shape,
    batch: usize,
    channels: usize,
    [height, width]: [usize; 2],
) -> Result<TensorType, TypeError> {
    let dims = if like.rank() == 3 {
        vec![batch, channels, width]
    } else {
        vec![batch, channels, height, width]
    };
    Ok(real(shape(dims)?))
}

fn slice(axes: &[SliceAxis], x: &TensorType) -> Result<TensorType, TypeError> {
    equal("dimensions sliced", x.shape.rank(), axes.len())?;
    for (index, (axis, &extent)) in axes.iter().zip(x.shape.dims()).enumerate() {
        if !axis.fits(extent) || axis.step == 0 {
            let axes = i64::try_from(index).into_iter().collect();
            return Err(TypeError::Axis { axes, shape: x.shape.clone() });
        }
    }
    let dims = axes.iter().map(|axis| axis.len).collect();
    Ok(TensorType { element: x.element, shape: shape(dims)? })
}

fn concat(axis: usize, inputs: &[&TensorType]) -> Result<TensorType, TypeError> {
    let first = inputs[0];
    dimension(axis, &first.shape)?;
    let mut dims = first.shape.dims().to_vec();
    for (slot, other) in inputs.iter().enumerate().skip(1) {
        if other.element != first.element {
            let expected = first.element.to_string();
            return Err(TypeError::Element { slot, expected, found: other.element });
        }
        let rank = first.shape.rank();
        if other.shape.rank() != rank {
            return Err(TypeError::Rank { slot, expected: rank, found: other.shape.clone() });
        }
        for (index, &dim) in other.shape.dims().iter().enumerate() {
            if index != axis {
                equal("extent beside the concatenated dimension", dims[index], dim)?;
            }
        }
        dims[axis] = dims[axis].saturating_add(other.shape.dims()[axis]);
    }
    Ok(TensorType { element: first.element, shape: shape(dims)? })
}

/// The shape of two real tensors after broadcasting.
fn broadcast(a: &Shape, b: &Shape) -> Result<TensorType, TypeError> {
    let rank = a.rank().max(b.rank());
    let extent = |shape: &Shape, index: usize| {
        (index + shape.rank()).checked_sub(rank).map_or(1, |index| shape.dims()[index])
    };
    let mut dims = Vec::with_capacity(rank);
    for index in 0..rank {
        let (a, b) = (extent(a, index), extent(b, index));
        if a != 1 && b != 1 {
            equal("extents that broadcast", a, b)?;
        }
        dims.push(a.max(b));
    }
    Ok(real(shape(dims)?))
}

fn dimension(axis: usize, x: &Shape) -> Result<(), TypeError> {
    if axis < x.rank() {
        return Ok(());
    }
    Err(TypeError::Axis { axes: i64::try_from(axis).into_iter().collect(), shape: x.clone() })
}

/// The permutation of a `Transpose` on `rank` dimensions, reversal if it states none.
#[must_use]
pub fn order(perm: Option<&[usize]>, rank: usize) -> Vec<usize> {
    perm.map_or_else(|| (0..rank).rev().collect(), <[usize]>::to_vec)
}

fn conv(params: &ConvParams, inputs: &[&TensorType]) -> Result<TensorType, TypeError> {
    let [batch, in_channels, height, width] = image(inputs, 0)?;
    let [out_channels, weight_channels, rows, columns] = image(inputs, 1)?;
    if batch != 1 {
        return Err(TypeError::Batch { slot: 0, found: inputs[0].shape.clone() });
    }
    let per_group = in_channels.checked_div(params.groups).unwrap_or(0);
    equal("input channels of the weights", per_group, weight_channels)?;
    equal("input channels in groups", in_channels, per_group.saturating_mul(params.groups))?;
    if !out_channels.is_multiple_of(params.groups.max(1)) {
        return Err(TypeError::Extent {
            what: "output channels that the groups divide",
            expected: out_channels / params.groups.max(1) * params.groups,
            found: out_channels,
        });
    }
    if let Some(kernel) = params.kernel {
        equal("rows of the weights", kernel[0], rows)?;
        equal("columns of the weights", kernel[1], columns)?;
    }
    if inputs.len() > 2 {
        equal("elements of the bias", out_channels, float(inputs, 2)?.element_count())?;
    }
    let window = params.window([rows, columns]);
    let output = windowed(&window, &inputs[0].shape, height, width)?;
    like_image(&inputs[0].shape, batch, out_channels, output)
}

fn matrix_product(inputs: &[&TensorType], transposed: bool) -> Result<TensorType, TypeError> {
    let [batch, features] = matrix(inputs, 0)?;
    let [rows, columns] = matrix(inputs, 1)?;
    if batch != 1 {
        return Err(TypeError::Batch { slot: 0, found: inputs[0].shape.clone() });
    }
    let (weight_features, outputs) = if transposed { (columns, rows) } else { (rows, columns) };
    equal("input features of the weights", features, weight_features)?;
    if inputs.len() > 2 {
        let bias = float(inputs, 2)?;
        if bias.element_count() != 1 {
            equal("elements of the bias", outputs, bias.element_count())?;
            equal("columns of the bias", outputs, bias.dims().last().copied().unwrap_or(1))?;
        }
    }
    Ok(real(shape(vec![1, outputs])?))
}

fn flatten(axis: i64, x: &TensorType) -> Result<TensorType, TypeError> {
    let dims = x.shape.dims();
    let split = if i64::try_from(dims.len()).is_ok_and(|rank| rank == axis) {
        dims.len()
    } else {
        x.shape
            .axis(axis)
            .ok_or_else(|| TypeError::Axis { axes: vec![axis], shape: x.shape.clone() })?
    };
    let dims = vec![dims[..split].iter().product(), dims[split..].iter().product()];
    Ok(TensorType { element: x.element, shape: shape(dims)? })
}

fn reshape(target: &[i64], allow_zero: bool, x: &TensorType) -> Result<TensorType, TypeError> {
    let fail = || TypeError::Reshape { from: x.shape.clone(), target: target.to_vec() };
    let total = x.shape.element_count();
    let mut known = 1_usize;
    let mut dims = Vec::with_capacity(target.len());
    let mut open = None;
    for (index, &extent) in target.iter().enumerate() {
        let extent = match extent {
            -1 if open.replace(index).is_none() => 1,
            0 if !allow_zero => *x.shape.dims().get(index).ok_or_else(fail)?,
            1.. => usize::try_from(extent).map_err(|_| fail())?,
            _ => return Err(fail()),
        };
        known = known.checked_mul(extent).filter(|&known| known <= total).ok_or_else(fail)?;
        dims.push(extent);
    }
    if let Some(index) = open {
        dims[index] = total / known;
        known *= dims[index];
    }
    if known != total {
        return Err(fail());
    }
    Ok(TensorType { element: x.element, shape: shape(dims)? })
}

fn quantized_constant(tensor: &QuantizedTensor) -> Result<TensorType, TypeError> {
    equal("elements stored", tensor.shape.element_count(), tensor.values.len())?;
    let scales = match tensor.axis {
        None => 1,
        Some(axis) => *tensor.shape.dims().get(axis).ok_or_else(|| TypeError::Axis {
            axes: i64::try_from(axis).into_iter().collect(),
            shape: tensor.shape.clone(),
        })?,
    };
    equal("scales", scales, tensor.scale.len())?;
    Ok(real(tensor.shape.clone()))
}

fn quantize_params(params: &QuantizeParams, x: &Shape) -> Result<(), TypeError> {
    let scales = match params.axis {
        None => 1,
        Some(axis) => {
            let fail = || TypeError::Axis { axes: vec![axis], shape: x.clone() };
            x.dims()[x.axis(axis).ok_or_else(fail)?]
        }
    };
    equal("scales", scales, params.scale.len())?;
    equal("zero points", scales, params.zero_point.len())
}

fn windowed(
    window: &Window,
    input: &Shape,
    height: usize,
    width: usize,
) -> Result<[usize; 2], TypeError> {
    let fail = || TypeError::Window { window: *window, input: input.clone() };
    window.output(height, width).ok_or_else(fail)
}

fn channels(inputs: &[&TensorType]) -> Result<usize, TypeError> {
    let x = float(inputs, 0)?;
    x.dims().get(1).copied().ok_or_else(|| TypeError::Rank {
        slot: 0,
        expected: 2,
        found: x.clone(),
    })
}

fn image(inputs: &[&TensorType], slot: usize) -> Result<[usize; 4], TypeError> {
    let x = float(inputs, slot)?;
    match *x.dims() {
        [batch, channels, height, width] => Ok([batch, channels, height, width]),
        [batch, channels, width] => Ok([batch, channels, 1, width]),
        _ => Err(TypeError::Rank { slot, expected: 4, found: x.clone() }),
    }
}

fn matrix(inputs: &[&TensorType], slot: usize) -> Result<[usize; 2], TypeError> {
    let x = float(inputs, slot)?;
    x.dims().try_into().map_err(|_| TypeError::Rank { slot, expected: 2, found: x.clone() })
}

fn float<'a>(inputs: &[&'a TensorType], slot: usize) -> Result<&'a Shape, TypeError> {
    let ty = inputs[slot];
    match ty.element {
        ElementType::Float => Ok(&ty.shape),
        ElementType::Int(_) => {
            Err(TypeError::Element { slot, expected: "f32".into(), found: ty.element })
        }
    }
}

fn equal(what: &'static str, expected: usize, found: usize) -> Result<(), TypeError> {
    if expected == found { Ok(()) } else { Err(TypeError::Extent { what, expected, found }) }
}

fn shape(dims: Vec<usize>) -> Result<Shape, TypeError> {
    Shape::new(dims.clone()).ok_or(TypeError::TooLarge { dims })
}

fn real(shape: Shape) -> TensorType {
    TensorType { element: ElementType::Float, shape }
}

#[cfg(test)]
mod tests;
