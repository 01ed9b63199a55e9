//! The last pass: the graph to the integer network.
//!
//! Walks the graph in order and keeps for every tensor what is known of it: a value of the integer
//! network, a tensor of reals without a quantizer, or one that could not be lowered. The last kind
//! silences whatever depends on it, so that each fault is reported once, and all of them together.

mod linear;
pub mod multiplier;
pub mod text;

use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::geometry::{Chw, Window};
use heq_ir::graph::op::Op;
use heq_ir::graph::{Graph, Node, NodeIndex};
use heq_ir::integer::{
    IntRange, IntegerLayer, IntegerNetwork, IntegerOp, MaxPoolOp, NetworkInput, NetworkOutput,
    Quantization, ValueId,
};
use heq_ir::tensor::Shape;
use multiplier::MultiplierBits;
use std::collections::{HashMap, HashSet};

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
        absorbed: HashSet::new(),
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
        (Some(input), Some(output)) => {
            Ok(IntegerNetwork { name: graph.name.clone(), input, layers: lowering.layers, output })
        }
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
#[derive(Clone, Copy)]
enum Known {
    /// It is a value of the integer network.
    Value(Value),
    /// It holds reals, and no quantizer makes it.
    Unquantized,
    /// It could not be lowered; the reason is reported.
    Failed,
}

/// A value of the integer network.
#[derive(Clone, Copy)]
struct Value {
    id: ValueId,
    shape: Chw,
    /// Real value of one step.
    scale: f64,
    /// What the integers may be; `None` for a sum that was not requantized.
    range: Option<IntRange>,
}

struct Lowering<'a> {
    graph: &'a Graph,
    multiplier_bits: MultiplierBits,
    input: Option<NetworkInput>,
    layers: Vec<IntegerLayer>,
    tensors: HashMap<NodeIndex, Known>,
    /// Nodes that a linear layer took with it.
    absorbed: HashSet<NodeIndex>,
    found: Vec<Diagnostic>,
}

impl Lowering<'_> {
    fn known(&self, id: NodeIndex) -> Known {
        self.tensors.get(&id).copied().unwrap_or(Known::Unquantized)
    }

    fn node(&mut self, id: NodeIndex) {
        if self.absorbed.contains(&id) {
            return;
        }
        let node = self.graph.node(id);
        let known = match &node.op {
            Op::Input(_) | Op::Constant(_) | Op::QuantizedConstant(_) => Ok(Known::Unquantized),
            Op::Conv(_) | Op::MatMul | Op::Gemm { .. } => self.linear(id),
            Op::Quantize(quantization) => self.quantize(id, *quantization),
            Op::MaxPool(window) => self.max_pool(id, *window),
            Op::Flatten { .. } | Op::Reshape { .. } => self.flatten(id),
            Op::Relu | Op::Clip(_) => Ok(match self.known(self.graph.inputs(id)[0]) {
                Known::Failed => Known::Failed,
                Known::Unquantized | Known::Value(_) => Known::Unquantized,
            }),
            Op::BatchNormalization(_) | Op::ChannelAffine(_) => self.failed(
                id,
                "it does not follow a linear layer of which it is the only reader",
                "move the normalization behind a convolution or matrix product",
            ),
            Op::QuantizeLinear(_) => self.failed(
                id,
                "no DequantizeLinear follows it",
                "export in QDQ form, with a DequantizeLinear behind every QuantizeLinear",
            ),
            Op::DequantizeLinear(params) if params.scale.len() > 1 => self.failed(
                id,
                "an activation has several scales",
                "quantize activations with one scale a tensor; only weights may have several",
            ),
            Op::DequantizeLinear(_) => self.failed(
                id,
                "no QuantizeLinear with the same scale and zero point comes before it",
                "export in QDQ form, with equal parameters in both halves of a quantizer",
            ),
            Op::Transpose { .. } => self.failed(
                id,
                "it transposes an activation",
                "export in NCHW layout, without transposed activations",
            ),
        };
        let known = known.unwrap_or_else(|diagnostics| {
            self.found.extend(diagnostics);
            Known::Failed
        });
        self.tensors.entry(id).or_insert(known);
    }

    fn failed(&self, id: NodeIndex, what: &str, remedy: &str) -> Result<Known, Vec<Diagnostic>> {
        match self.known(self.graph.inputs(id)[0]) {
            Known::Failed => Ok(Known::Failed),
            Known::Value(_) | Known::Unquantized => {
                let place = place(self.graph.node(id));
                Err(vec![fault(Code::UnsupportedForm, place, what, remedy)])
            }
        }
    }

    /// A quantizer that no linear layer took with it: the one of the input, or a second one.
    fn quantize(
        &mut self,
        id: NodeIndex,
        quantization: Quantization,
    ) -> Result<Known, Vec<Diagnostic>> {
        let source = self.graph.inputs(id)[0];
        let unsupported = |what: &str, remedy: &str| {
            Err(vec![fault(Code::UnsupportedForm, place(self.graph.node(id)), what, remedy)])
        };
        match (self.known(source), &self.graph.node(source).op) {
            (Known::Failed, _) => Ok(Known::Failed),
            (Known::Value(_), _) => unsupported(
                "its operand is already quantized, with another scale",
                "use one scale from a layer to its readers",
            ),
            (Known::Unquantized, Op::Input(_)) if self.input.is_some() => unsupported(
                "the network has a second input, or a second quantizer of its input",
                "export a network with one input and one quantizer on it",
            ),
            (Known::Unquantized, Op::Input(_)) => {
                let node = self.graph.node(source);
                let shape = chw(self.graph.node(id))?;
                if !(1..=8).contains(&quantization.range.bits()) {
                    let bits = quantization.range.bits();
                    return unsupported(
                        &format!("the input has {bits} bits, supported are 1 to 8"),
                        "quantize the input to at most 8 bits",
                    );
                }
                self.input = Some(NetworkInput { name: node.tensor.clone(), shape, quantization });
                Ok(Known::Value(Value {
                    id: ValueId(0),
                    shape,
                    scale: quantization.scale,
                    range: Some(quantization.range),
                }))
            }
            (Known::Unquantized, _) => unsupported(
                "it follows no linear layer of which it is the only reader",
                "place quantizers directly behind a linear layer with its activation",
            ),
        }
    }

    fn max_pool(&mut self, id: NodeIndex, window: Window) -> Result<Known, Vec<Diagnostic>> {
        let value = match self.known(self.graph.inputs(id)[0]) {
            Known::Value(value) if value.range.is_some() => value,
            Known::Value(_) | Known::Unquantized => return Ok(Known::Unquantized),
            Known::Failed => return Ok(Known::Failed),
        };
        let node = self.graph.node(id);
        let shape = chw(node)?;
        let op = IntegerOp::MaxPool(MaxPoolOp { input: value.shape, window });
        let made = self.push(node, value.id, op);
        Ok(Known::Value(Value { id: made, shape, ..value }))
    }

    fn flatten(&mut self, id: NodeIndex) -> Result<Known, Vec<Diagnostic>> {
        let known = self.known(self.graph.inputs(id)[0]);
        let Known::Value(value) = known else { return Ok(known) };
        let node = self.graph.node(id);
        let shape = chw(node)?;
        if shape == value.shape {
            return Ok(known);
        }
        if shape.height != 1 || shape.width != 1 {
            return self.failed(
                id,
                &format!("it turns {} into {shape}", value.shape),
                "only reshaping to a vector is supported",
            );
        }
        let made = self.push(node, value.id, IntegerOp::Flatten);
        Ok(Known::Value(Value { id: made, shape, ..value }))
    }

    fn push(&mut self, node: &Node, input: ValueId, op: IntegerOp) -> ValueId {
        self.layers.push(IntegerLayer {
            name: node.origin.node.clone(),
            operator: node.origin.operator.clone(),
            input,
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
        match self.known(id) {
            Known::Value(value) => {
                Some(NetworkOutput { name, value: value.id, scale: value.scale })
            }
            Known::Failed => None,
            Known::Unquantized => {
                self.found.push(fault(
                    Code::MissingQuantizer,
                    place(self.graph.node(id)),
                    format!("the output {name:?} is made without a quantizer"),
                    "end the network in a linear layer, or quantize its output",
                ));
                None
            }
        }
    }
}

/// Shape without batch of the tensor that `node` makes.
fn chw(node: &Node) -> Result<Chw, Vec<Diagnostic>> {
    let shape: &Shape = &node.ty.shape;
    match *shape.dims() {
        [1, channels, height, width] => Ok(Chw::new(channels, height, width)),
        [1, features] => Ok(Chw::new(features, 1, 1)),
        _ => Err(vec![fault(
            Code::UnsupportedForm,
            place(node),
            format!("its result has shape {shape}"),
            "only images [1, C, H, W] and vectors [1, F] are supported",
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
