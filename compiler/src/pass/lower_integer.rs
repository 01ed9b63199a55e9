//! The last pass: the graph to the integer network.
//!
//! Walks the graph in order and keeps for every tensor what is known of it: a value of the integer
//! network, a sum that waits for its quantizer, a function of one value that waits for its, reals
//! without a quantizer, or nothing because it could not be lowered. The last kind silences whatever
//! depends on it, so that each fault is reported once, and all of them together.

mod expression;
mod function;
mod linear;
pub mod multiplier;
mod rearrange;
mod sum;
pub mod text;

use expression::Expression;
use function::Tabulated;
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::geometry::{Chw, Window};
use heq_ir::graph::op::{GraphInput, Op, Quantizer, Rounding};
use heq_ir::graph::{Graph, Node, NodeIndex};
use heq_ir::integer::{
    InputMap, IntRange, IntegerLayer, IntegerNetwork, IntegerOp, MaxPoolOp, NetworkInput,
    NetworkOutput, Quantization, ValueId,
};
use heq_ir::tensor::Shape;
use multiplier::MultiplierBits;
use std::collections::HashMap;

/// Lowers a graph on which all other passes ran.
///
/// # Errors
/// Everything in the graph that the integer network cannot express.
pub fn lower_integer(
    graph: &Graph,
    multiplier_bits: MultiplierBits,
) -> Result<IntegerNetwork, Diagnostics> {
    let mut lowering = Lowering {
        graph,
        multiplier_bits,
        input: None,
        layers: Vec::new(),
        tensors: HashMap::new(),
        found: Vec::new(),
    };
    for id in graph.topological() {
        lowering.node(id);
    }
    let output = lowering.output();
    if let Some(diagnostics) = Diagnostics::from_found(lowering.found) {
        return Err(diagnostics);
    }
    match (lowering.input, output) {
        (Some(input), Some(output)) => Ok(IntegerNetwork {
            name: graph.name.clone(),
            input,
            layers: lowering.layers,
            output,
            batch: 1,
        }),
        _ => Err(fault(
            Code::MissingQuantizer,
            &graph.name,
            "the output does not depend on a quantized input",
            "quantize the input of the network",
        )
        .into()),
    }
}

/// What is known of a tensor.
#[derive(Clone)]
enum Known {
    /// It is the network's input, before its quantizer.
    Input(InputMap),
    /// It is a value of the integer network.
    Value(Value),
    /// It is a sum of linear layers and values, before its quantizer.
    Sum(Expression),
    /// It is a function of one value, before its quantizer.
    Function(Tabulated),
    /// It holds reals, and no quantizer makes it.
    Unquantized,
    /// It could not be lowered; the reason is reported.
    Failed,
}

/// A value of the integer network.
#[derive(Clone, Copy, PartialEq)]
struct Value {
    id: ValueId,
    shape: Chw,
    /// Real value of one step.
    scale: f64,
    /// What the integers may be.
    range: IntRange,
    kind: ValueKind,
}

/// How a value came about, which decides what may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ValueKind {
    /// The client knows it.
    Client,
    /// A quantizer made it.
    Quantized,
    /// It is an exact sum of values that no quantizer made narrow again.
    Exact,
    /// It is the network's result, which nothing but reshaping reads.
    Result,
}

impl Value {
    /// Whether it has at most 8 bits, so that bits of it can be compared and looked up.
    fn is_narrow(&self) -> bool {
        self.kind != ValueKind::Result && self.range.bits() <= 8
    }
}

type Faults = Vec<Diagnostic>;

struct Lowering<'a> {
    graph: &'a Graph,
    multiplier_bits: MultiplierBits,
    input: Option<NetworkInput>,
    layers: Vec<IntegerLayer>,
    tensors: HashMap<NodeIndex, Known>,
    found: Faults,
}

impl Lowering<'_> {
    fn known(&self, id: NodeIndex) -> Known {
        self.tensors.get(&id).cloned().unwrap_or(Known::Unquantized)
    }

    /// What is known of the tensor in an input slot of `id`.
    fn operand(&self, id: NodeIndex, slot: usize) -> Known {
        self.graph.inputs(id).get(slot).map_or(Known::Unquantized, |&input| self.known(input))
    }

    fn node(&mut self, id: NodeIndex) {
        let known = self.lower(id).and_then(|known| self.check_readers(id, known));
        let known = known.unwrap_or_else(|faults| {
            self.found.extend(faults);
            Known::Failed
        });
        self.tensors.insert(id, known);
    }

    fn lower(&mut self, id: NodeIndex) -> Result<Known, Faults> {
        let graph = self.graph;
        let is_failed = |x: &NodeIndex| matches!(self.tensors.get(x), Some(Known::Failed));
        let failed = graph.inputs(id).iter().any(is_failed);
        match &graph.node(id).op {
            Op::Input(_) => Ok(Known::Input(InputMap::identity())),
            Op::Constant(_) | Op::QuantizedConstant(_) => Ok(Known::Unquantized),
            Op::Conv(_) | Op::MatMul | Op::Gemm { .. } => self.linear(id),
            _ if failed => Ok(Known::Failed),
            Op::Quantize(quantizer) => self.quantize(id, *quantizer),
            Op::ChannelAffine(map) => self.affine(id, map),
            Op::Binary(op) => self.binary(id, *op),
            Op::AveragePool(pool) => self.average_pool(id, *pool),
            Op::MaxPool(window) => self.max_pool(id, *window),
            Op::Relu | Op::Clip(_) | Op::Function(_) => self.function(id),
            Op::Flatten { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Pad(_)
            | Op::Slice(_)
            | Op::Concat { .. } => self.rearrange(id),
            Op::BatchNormalization(_) => self.unsupported(
                id,
                "its statistics cannot be expressed by finite numbers",
                "check its variance and epsilon",
            ),
            Op::QuantizeLinear(params) | Op::DequantizeLinear(params) if params.scale.len() > 1 => {
                self.unsupported(
                    id,
                    "an activation has several scales",
                    "quantize activations with one scale a tensor; only weights may have several",
                )
            }
            Op::QuantizeLinear(_) => self.unsupported(
                id,
                "no DequantizeLinear follows it",
                "export in QDQ form, with a DequantizeLinear behind every QuantizeLinear",
            ),
            Op::DequantizeLinear(_) => self.unsupported(
                id,
                "no QuantizeLinear with the same zero point comes before it",
                "export in QDQ form, with equal parameters in both halves of a quantizer",
            ),
            Op::Softmax { .. } | Op::ArgMax { .. } => self.unsupported(
                id,
                "it is supported as the last operator of a network only",
                "end the network with it, or compute it outside",
            ),
        }
    }

    fn unsupported(&self, id: NodeIndex, what: &str, remedy: &str) -> Result<Known, Faults> {
        Err(vec![fault(Code::UnsupportedForm, place(self.graph.node(id)), what, remedy)])
    }

    /// The fault of a node that needs a quantizer on its operand in `slot`.
    fn unquantized(&self, id: NodeIndex, slot: usize) -> Faults {
        let operand = self.graph.inputs(id).get(slot).map(|&x| &self.graph.node(x).tensor);
        vec![fault(
            Code::MissingQuantizer,
            place(self.graph.node(id)),
            format!("its input {:?} has no quantizer", operand.map_or("", String::as_str)),
            "train and export the network quantized, with a quantizer on this tensor",
        )]
    }

    /// A sum with linear layers is computed for one reader: for several it would be computed again.
    fn check_readers(&self, id: NodeIndex, known: Known) -> Result<Known, Faults> {
        let Known::Sum(sum) = &known else { return Ok(known) };
        let readers = self.graph.readers(id).len();
        let outputs = self.graph.outputs().iter().filter(|&&output| output == id).count();
        if readers + outputs > 1 && sum.has_layer() {
            self.unsupported(
                id,
                &format!("{} nodes read its result, which has no quantizer", readers + outputs),
                "place one quantizer behind it, and let all nodes read that",
            )
        } else {
            Ok(known)
        }
    }

    /// A quantizer: of the input, of a sum, or of a function.
    fn quantize(&mut self, id: NodeIndex, quantizer: Quantizer) -> Result<Known, Faults> {
        let operand = self.operand(id, 0);
        let quantizer = narrowed(quantizer, &operand);
        let range = quantizer.quantization.range;
        if range.bits() == 0 {
            return self.unsupported(
                id,
                "it makes every element the same",
                "check its scale, its zero point and the bounds before it",
            );
        }
        if !(1..=8).contains(&range.bits()) {
            return self.unsupported(
                id,
                &format!("its values take {} bits, supported are 1 to 8", range.bits()),
                "quantize activations to at most 8 bits",
            );
        }
        let value = match operand {
            Known::Failed => return Ok(Known::Failed),
            Known::Input(map) => self.network_input(id, quantizer, map)?,
            Known::Value(value) => match self.requantized(value, quantizer) {
                Some(same) => same,
                None => match Tabulated::of_narrow(value) {
                    Some(function) => self.table(id, &function, quantizer)?,
                    None => self.sum(id, &Expression::of(value), quantizer)?,
                },
            },
            Known::Sum(sum) => match sum.as_function().filter(Tabulated::requantizes) {
                Some(function) => self.table(id, &function, quantizer)?,
                None => self.sum(id, &sum, quantizer)?,
            },
            Known::Function(function) => self.table(id, &function, quantizer)?,
            Known::Unquantized => return Err(self.unquantized(id, 0)),
        };
        Ok(Known::Value(value))
    }

    /// The value itself, if the quantizer changes none of its integers.
    fn requantized(&self, value: Value, quantizer: Quantizer) -> Option<Value> {
        let Quantizer { quantization, .. } = quantizer;
        let IntRange { lo, hi } = quantization.range;
        let same = value.scale.to_bits() == quantization.scale.to_bits()
            && lo <= value.range.lo
            && value.range.hi <= hi;
        same.then_some(value)
    }

    fn network_input(
        &mut self,
        id: NodeIndex,
        quantizer: Quantizer,
        map: InputMap,
    ) -> Result<Value, Faults> {
        let mut source = self.graph.inputs(id)[0];
        while !matches!(self.graph.node(source).op, Op::Input(_)) {
            source = self.graph.inputs(source)[0];
        }
        let node = self.graph.node(source);
        let unsupported = |what: &str, remedy: &str| {
            vec![fault(Code::UnsupportedForm, place(self.graph.node(id)), what, remedy)]
        };
        let Op::Input(GraphInput { layout, element, .. }) = node.op else {
            return Err(self.unquantized(id, 0));
        };
        if self.input.is_some() {
            return Err(unsupported(
                "the network has a second input, or a second quantizer of its input",
                "export a network with one input and one quantizer on it",
            ));
        }
        let shape = chw(self.graph.node(id))?;
        let name = node.tensor.clone();
        let Quantizer { quantization, rounding } = quantizer;
        self.input =
            Some(NetworkInput { name, shape, layout, element, map, quantization, rounding });
        Ok(Value {
            id: ValueId(0),
            shape,
            scale: quantization.scale,
            range: quantization.range,
            kind: ValueKind::Client,
        })
    }

    fn max_pool(&mut self, id: NodeIndex, window: Window) -> Result<Known, Faults> {
        let value = match self.operand(id, 0) {
            Known::Value(value) if value.is_narrow() => value,
            _ => return Err(self.unquantized(id, 0)),
        };
        let node = self.graph.node(id);
        let shape = chw(node)?;
        let op = IntegerOp::MaxPool(MaxPoolOp { input: value.shape, window });
        let made = self.push(id, id, &[value], op);
        Ok(Known::Value(Value { id: made, shape, ..value }))
    }

    /// Appends the layer that makes the tensor of `made`, named after the node `named`.
    fn push(
        &mut self,
        named: NodeIndex,
        made: NodeIndex,
        inputs: &[Value],
        op: IntegerOp,
    ) -> ValueId {
        let origin = &self.graph.node(named).origin;
        self.layers.push(IntegerLayer {
            name: origin.node.clone(),
            operator: origin.operator.clone(),
            tensor: self.graph.node(made).tensor.clone(),
            inputs: inputs.iter().map(|value| value.id).collect(),
            op,
        });
        ValueId(self.layers.len())
    }

    fn output(&mut self) -> Option<NetworkOutput> {
        let &[id] = self.graph.outputs() else {
            self.found.push(fault(
                Code::UnsupportedForm,
                &self.graph.name,
                format!("the network has {} outputs", self.graph.outputs().len()),
                "export a network with one output",
            ));
            return None;
        };
        let name = self.graph.node(id).tensor.clone();
        let value = match self.known(id) {
            Known::Value(value) if value.id != ValueId(0) => Ok(value),
            Known::Sum(sum) => self.result(id, &sum),
            Known::Failed => return None,
            Known::Value(_) | Known::Input(_) | Known::Function(_) | Known::Unquantized => {
                Err(vec![fault(
                    Code::MissingQuantizer,
                    place(self.graph.node(id)),
                    format!("the output {name:?} is made without a quantizer"),
                    "end the network in a linear layer, or quantize its output",
                )])
            }
        };
        match value {
            Ok(value) => Some(NetworkOutput { name, value: value.id, scale: value.scale }),
            Err(faults) => {
                self.found.extend(faults);
                None
            }
        }
    }
}

/// The quantizer with fewer bits, if its operand never needs all of them. What is known of an operand
/// here is public, so the width still tells nothing of weights.
fn narrowed(quantizer: Quantizer, operand: &Known) -> Quantizer {
    let reach = match operand {
        Known::Value(value) => Expression::of(*value).reach(),
        Known::Sum(sum) => sum.reach(),
        Known::Input(_) | Known::Function(_) | Known::Unquantized | Known::Failed => None,
    };
    let Some((lowest, highest)) = reach else { return quantizer };
    let Quantization { scale, range } = quantizer.quantization;
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and is then cut to the range")]
    let cut = |steps: f64| (steps as i64).clamp(range.lo, range.hi);
    let (lowest, highest) = (lowest / scale, highest / scale);
    // Ties may go either way.
    let mut needed = match quantizer.rounding {
        Rounding::HalfEven => {
            IntRange { lo: cut((lowest - 0.5).ceil()), hi: cut((highest + 0.5).floor()) }
        }
        Rounding::Floor => IntRange { lo: cut(lowest.floor()), hi: cut(highest.floor()) },
    };
    if (range.lo..=range.hi).contains(&0) {
        // Zero stays one of the values, for padding.
        needed = IntRange { lo: needed.lo.min(0), hi: needed.hi.max(0) };
    }
    if needed.bits() >= range.bits() {
        return quantizer;
    }
    let span = (1 << needed.bits().max(1)) - 1;
    let lo = needed.lo.min(range.hi.saturating_sub(span)).max(range.lo);
    let range = IntRange { lo, hi: lo.saturating_add(span).min(range.hi) };
    Quantizer { quantization: Quantization { scale, range }, ..quantizer }
}

/// Shape without batch of the tensor that `node` makes.
fn chw(node: &Node) -> Result<Chw, Faults> {
    let shape: &Shape = &node.ty.shape;
    match *shape.dims() {
        [1, channels, height, width] => Ok(Chw::new(channels, height, width)),
        [1, channels, width] => Ok(Chw::new(channels, 1, width)),
        [1, features] => Ok(Chw::new(features, 1, 1)),
        _ => Err(vec![fault(
            Code::UnsupportedForm,
            place(node),
            format!("its result has shape {shape}"),
            "only images [1, C, H, W], sequences [1, C, W] and vectors [1, F] are supported",
        )]),
    }
}

fn place(node: &Node) -> String {
    format!("node {:?} ({})", node.origin.node, node.origin.operator)
}

fn fault(
    code: Code,
    place: impl Into<String>,
    what: impl Into<String>,
    remedy: &str,
) -> Diagnostic {
    Diagnostic::new(code, place, what, remedy)
}

#[cfg(test)]
mod tests;
