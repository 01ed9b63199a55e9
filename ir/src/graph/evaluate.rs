//! The meaning of a graph: ONNX semantics in double precision, and in integers where the graph has
//! them.
//!
//! Parameters are the numbers of the file, exactly. What comes out of `DequantizeLinear`, `Quantize`
//! or a quantized constant is held as integers with their scale ([`Grid`]): convolutions and matrix
//! products of two grids, average pools of a grid, sums of grids of one scale, and everything that
//! moves or compares elements work on the integers, exactly up to 64 bits. Everything else is
//! binary64. Quantizers divide by the scale and round half to even.
//!
//! So the number that a quantizer rounds has been through a handful of binary64 roundings since the
//! last exact integer: it is off by less than a relative 2^-50 of the largest term in it. Only where
//! the exact number is that close to a tie can another integer come out, in practice at a true tie;
//! where scales are powers of two nothing is rounded before the quantizer.

mod elementwise;
mod kernel;
mod linear;
mod moves;
mod pool;
#[cfg(test)]
mod tests;
mod value;

pub use value::{Elements, Grid, Value};

use super::infer::order;
use super::op::{Bounds, Op};
use super::verify::{Violation, verify};
use super::{Graph, NodeIndex};
use crate::geometry::{Chw, ConvGeometry};
use crate::tensor::{ElementType, Tensor, TensorData, TensorType};
use linear::Linear;
use std::collections::{HashMap, HashSet};
use value::real;

/// Largest number of elements of a tensor that is evaluated: 2 GiB of numbers.
pub const MAX_ELEMENTS: usize = 1 << 28;

/// Why a graph cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphEvalError {
    /// The graph breaks a rule.
    #[error("the graph is not valid: {0}")]
    Graph(Violation),
    /// The outputs depend on more than one tensor that is given at run time.
    #[error("the graph has {found} inputs where one is evaluated")]
    Inputs {
        /// How many there are.
        found: usize,
    },
    /// A tensor has more than [`MAX_ELEMENTS`] elements.
    #[error("tensor {tensor} of type {ty} is too large to evaluate")]
    TooLarge {
        /// Name of the tensor.
        tensor: String,
        /// Its type.
        ty: TensorType,
    },
    /// The input has another number of elements.
    #[error("the input has {found} elements where the graph wants {expected}")]
    InputLength {
        /// Elements that the graph wants.
        expected: usize,
        /// Elements that are there.
        found: usize,
    },
    /// An element of the input is not finite, or not an integer of the input's type.
    #[error("element {index} of the input is not of type {expected}")]
    InputElement {
        /// Its position in row-major order.
        index: usize,
        /// Type of the elements.
        expected: ElementType,
    },
    /// A tensor is missing or of the wrong kind; cannot happen in a graph that keeps the rules.
    #[error("tensor {tensor} cannot be computed from what its operator reads")]
    Operand {
        /// Name of the tensor.
        tensor: String,
    },
}

/// A graph that is ready to be evaluated on any number of samples, from several threads.
///
/// Everything that does not depend on the input is computed once, when it is made.
#[derive(Debug)]
pub struct Evaluator<'g> {
    graph: &'g Graph,
    /// The nodes that depend on the input, in topological order.
    steps: Vec<Step>,
    /// The tensors that do not, if a step reads them or the graph returns them.
    constants: HashMap<NodeIndex, Value>,
}

#[derive(Debug)]
struct Step {
    id: NodeIndex,
    inputs: Vec<NodeIndex>,
    /// The tensors that nothing reads from here on.
    last_read: Vec<NodeIndex>,
}

impl<'g> Evaluator<'g> {
    /// Verifies the graph and computes all that is constant.
    ///
    /// # Errors
    /// [`GraphEvalError`] if the graph breaks a rule, has several inputs, or is too large.
    pub fn new(graph: &'g Graph) -> Result<Self, GraphEvalError> {
        if let Err(violations) = verify(graph) {
            return violations.into_iter().next().map_or(
                Err(GraphEvalError::Operand { tensor: graph.name.clone() }),
                |violation| Err(GraphEvalError::Graph(violation)),
            );
        }
        let live = graph.live();
        let mut steps = Vec::new();
        let mut varying = HashSet::new();
        let mut constants = HashMap::new();
        let mut found = 0;
        for id in graph.topological().into_iter().filter(|id| live.contains(id)) {
            let node = graph.node(id);
            if node.ty.shape.element_count() > MAX_ELEMENTS {
                let (tensor, ty) = (node.tensor.clone(), node.ty.clone());
                return Err(GraphEvalError::TooLarge { tensor, ty });
            }
            let inputs = graph.inputs(id);
            let given = matches!(node.op, Op::Input(_));
            found += usize::from(given);
            if given || inputs.iter().any(|input| varying.contains(input)) {
                varying.insert(id);
                steps.push(Step { id, inputs, last_read: Vec::new() });
            } else {
                let value = compute(graph, id, &inputs, |id| constants.get(&id))?;
                constants.insert(id, value);
            }
        }
        if found > 1 {
            return Err(GraphEvalError::Inputs { found });
        }
        let outputs = graph.outputs();
        let mut read: HashSet<NodeIndex> = outputs.iter().copied().collect();
        for step in steps.iter_mut().rev() {
            let unread = |id: &NodeIndex| !read.contains(id) && varying.contains(id);
            step.last_read = step.inputs.iter().copied().filter(unread).collect();
            read.extend(&step.inputs);
        }
        constants.retain(|id, _| read.contains(id));
        Ok(Self { graph, steps, constants })
    }

    /// Evaluates the graph on one sample and returns its outputs.
    ///
    /// `x` is the input in the graph's own layout, whatever order a user's arrays have: reals, or
    /// integers if that is the type of the input's elements; nothing if the graph has no input.
    /// `observe` sees every tensor that depends on the input, the input first, in topological order;
    /// tensors are dropped after the last node that reads them.
    ///
    /// # Errors
    /// [`GraphEvalError`] if the input is none of the graph's.
    pub fn run(
        &self,
        x: &[f64],
        mut observe: impl FnMut(NodeIndex, &Value),
    ) -> Result<Vec<Value>, GraphEvalError> {
        if self.steps.is_empty() && !x.is_empty() {
            return Err(GraphEvalError::InputLength { expected: 0, found: x.len() });
        }
        let mut values: HashMap<NodeIndex, Value> = HashMap::new();
        for step in &self.steps {
            let node = self.graph.node(step.id);
            let value = if matches!(node.op, Op::Input(_)) {
                input(&node.ty, x)?
            } else {
                compute(self.graph, step.id, &step.inputs, |id| {
                    values.get(&id).or_else(|| self.constants.get(&id))
                })?
            };
            observe(step.id, &value);
            values.insert(step.id, value);
            for id in &step.last_read {
                values.remove(id);
            }
        }
        let output = |&id: &NodeIndex| {
            let value = values.get(&id).or_else(|| self.constants.get(&id)).cloned();
            value.ok_or_else(|| missing(self.graph, id))
        };
        self.graph.outputs().iter().map(output).collect()
    }
}

/// The tensor that is given at run time.
#[expect(clippy::cast_possible_truncation, reason = "checked to be an integer of the type")]
fn input(ty: &TensorType, x: &[f64]) -> Result<Value, GraphEvalError> {
    let expected = ty.shape.element_count();
    if x.len() != expected {
        return Err(GraphEvalError::InputLength { expected, found: x.len() });
    }
    let fits = |x: f64| match ty.element {
        ElementType::Float => x.is_finite(),
        ElementType::Int(ty) => {
            let range = ty.range();
            x.fract().abs() <= 0.0 && (real(range.lo)..=real(range.hi)).contains(&x)
        }
    };
    if let Some(index) = x.iter().position(|&x| !fits(x)) {
        return Err(GraphEvalError::InputElement { index, expected: ty.element });
    }
    let shape = ty.shape.clone();
    Ok(match ty.element {
        ElementType::Float => Value::real(shape, x.to_vec()),
        ElementType::Int(_) => Value::integer(shape, x.iter().map(|&x| x as i64).collect()),
    })
}

/// The tensor of one node, from those that it reads.
fn compute<'a>(
    graph: &Graph,
    id: NodeIndex,
    inputs: &[NodeIndex],
    lookup: impl Fn(NodeIndex) -> Option<&'a Value>,
) -> Result<Value, GraphEvalError> {
    let inputs: Option<Vec<&Value>> = inputs.iter().map(|&input| lookup(input)).collect();
    let node = graph.node(id);
    inputs.and_then(|inputs| apply(&node.op, &node.ty, &inputs)).ok_or_else(|| missing(graph, id))
}

fn missing(graph: &Graph, id: NodeIndex) -> GraphEvalError {
    GraphEvalError::Operand { tensor: graph.node(id).tensor.clone() }
}

/// What `op` makes of `inputs`, a tensor of type `ty`; `None` if it reads others.
fn apply(op: &Op, ty: &TensorType, inputs: &[&Value]) -> Option<Value> {
    let shape = &ty.shape;
    let x = || inputs.first().copied();
    let product = |linear: &Linear<'_>| {
        let y = linear.apply(x()?, inputs.get(1)?, inputs.get(2).copied());
        Some(Value::real(shape.clone(), y))
    };
    let outputs = shape.element_count();
    Some(match op {
        Op::Input(_) => return None,
        Op::Constant(tensor) => constant(tensor),
        Op::QuantizedConstant(tensor) => {
            let (steps, scale) = (tensor.values.clone(), tensor.scale.clone());
            Value::grid(shape.clone(), steps, scale, tensor.axis)
        }
        Op::QuantizeLinear(params) => elementwise::quantize_linear(x()?, params),
        Op::DequantizeLinear(params) => elementwise::dequantize_linear(x()?, params),
        Op::Quantize(quantizer) => elementwise::quantize(x()?, quantizer),
        Op::Clip(bounds) => elementwise::clip(x()?, *bounds),
        Op::Relu => elementwise::clip(x()?, Bounds::RELU),
        Op::Function(function) => x()?.map(|channel, x| function.apply(x, channel)),
        Op::Binary(op) => elementwise::binary(*op, x()?, inputs.get(1)?, shape),
        Op::Conv(params) => {
            let (x, weights) = (x()?, *inputs.get(1)?);
            let [channels, height, width] = pool::image(&x.shape);
            let [_, rows, columns] = pool::image(&weights.shape);
            let [out_channels, out_height, out_width] = pool::image(shape);
            let geometry = ConvGeometry {
                input: Chw::new(channels, height, width),
                out_channels,
                window: params.window([rows, columns]),
                groups: params.groups,
                batch: 1,
            };
            let output = Chw::new(out_channels, out_height, out_width);
            product(&Linear::Conv(&geometry, output))?
        }
        Op::MatMul | Op::Gemm { trans_b: false } => product(&Linear::Columns(outputs))?,
        Op::Gemm { trans_b: true } => product(&Linear::Rows(outputs))?,
        Op::BatchNormalization(params) => elementwise::normalize(x()?, params),
        Op::ChannelAffine(map) => elementwise::channel_affine(x()?, map),
        Op::MaxPool(window) => pool::max(x()?, window, shape),
        Op::AveragePool(params) => pool::average(x()?, params, shape),
        Op::Flatten { .. } | Op::Reshape { .. } => moves::reshape(x()?, shape),
        Op::Transpose { perm } => {
            moves::transpose(x()?, &order(perm.as_deref(), shape.rank()), shape)
        }
        Op::Pad(pads) => moves::pad(x()?, pads, shape),
        Op::Slice(axes) => moves::slice(x()?, axes, shape),
        Op::Concat { axis } => moves::concat(inputs, *axis, shape),
        Op::Softmax { axis, log } => elementwise::softmax(x()?, *axis, *log),
        Op::ArgMax { axis, .. } => elementwise::arg_max(x()?, *axis, shape),
    })
}

fn constant(tensor: &Tensor) -> Value {
    let shape = tensor.shape.clone();
    match &tensor.data {
        TensorData::Float(values) => {
            Value::real(shape, values.iter().map(|&value| f64::from(value)).collect())
        }
        TensorData::Int { values, .. } => Value::integer(shape, values.clone()),
    }
}
