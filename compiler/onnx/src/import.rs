//! A decoded model to a graph, with every offending node reported.
//!
//! Initializers are constants, also if they are listed among the graph's inputs; those that nothing
//! reads are ignored. Nodes are read in dependency order whatever order the file has; a node whose
//! operand could not be imported is still read, so that its own faults are found, but is not
//! reported for its operand's.

use crate::external::{External, ExternalData};
use crate::fault::Fault;
use crate::model::{Model, canonical_domain};
use crate::node::NodeReader;
use crate::ops::{lookup, unsupported};
use crate::scope::Scope;
use crate::tensor::{Element, element, tensor};
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::graph::op::{GraphInput, Op};
use heq_ir::graph::{Graph, Origin};
use heq_ir::tensor::{ElementType, Shape, TensorType};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{NodeProto, TensorProto, ValueInfoProto};

/// Most diagnostics of one model; reading stops there.
const MAX_DIAGNOSTICS: usize = 1000;

/// The graph of the ONNX model in `bytes`, of which nothing but its outputs' dependencies is kept.
/// `file_name` names it in diagnostics, and its stem becomes the name of the graph; `external` says
/// where files with tensors that the model names may lie.
///
/// # Errors
/// Everything in the file that is not supported, or not ONNX.
pub fn import(
    bytes: &[u8],
    file_name: &str,
    external: ExternalData<'_>,
) -> Result<Graph, Diagnostics> {
    let mut model = Model::decode(bytes, file_name)?;
    let initializers = std::mem::take(&mut model.graph.initializer);
    let stem = std::path::Path::new(file_name).file_stem();
    let name = stem.map_or_else(|| file_name.into(), |stem| stem.to_string_lossy().into_owned());
    let nodes = &model.graph.node;
    let inputs = nodes.iter().flat_map(|node| &node.input);
    let outputs = model.graph.output.iter().map(|output| &output.name);
    let read: HashSet<String> =
        inputs.chain(outputs).filter(|name| !name.is_empty()).cloned().collect();
    let made = nodes.iter().flat_map(|node| &node.output);
    let others = model.graph.input.iter().map(|input| &input.name);
    let stored = initializers.iter().map(|proto| &proto.name);
    let names = read.iter().chain(made).chain(others).chain(stored).cloned().collect();
    let scope = Scope::new(name, External::new(external), names);
    let mut importer = Importer { model: &model, scope, read, found: Vec::new() };
    importer.initializers(initializers);
    importer.inputs();
    for index in importer.node_order() {
        if importer.found.len() >= MAX_DIAGNOSTICS {
            break;
        }
        importer.node(index, &model.graph.node[index]);
    }
    importer.outputs();
    match Diagnostics::from_found(importer.found) {
        Some(diagnostics) => Err(diagnostics),
        None => {
            let mut graph = importer.scope.graph;
            graph.remove_dead();
            Ok(graph)
        }
    }
}

struct Importer<'a> {
    model: &'a Model,
    scope: Scope<'a>,
    /// Names that a node or the graph's outputs read.
    read: HashSet<String>,
    found: Vec<Diagnostic>,
}

impl Importer<'_> {
    fn report(&mut self, place: impl Into<String>, fault: Fault) {
        self.found.extend(fault.at(place));
    }

    fn initializers(&mut self, initializers: Vec<TensorProto>) {
        for proto in initializers {
            let place = format!("initializer {:?}", proto.name);
            if proto.name.is_empty() || self.scope.is_taken(&proto.name) {
                self.report(place, Fault::malformed("its name is empty or taken"));
                continue;
            }
            if !self.read.contains(&proto.name) {
                // It may also be listed among the inputs, and is none.
                self.scope.fail(&proto.name);
                continue;
            }
            match tensor(&proto, &self.scope.external) {
                Ok(tensor) => self.scope.define_constant(&proto.name, tensor),
                Err(fault) => {
                    self.scope.fail(&proto.name);
                    self.report(place, fault);
                }
            }
        }
        if !self.model.graph.sparse_initializer.is_empty() {
            let fault = Fault::form("sparse initializers are not supported", "store them densely");
            self.report("graph", fault);
        }
    }

    fn inputs(&mut self) {
        let model = self.model;
        let mut seen = HashSet::new();
        for input in &model.graph.input {
            let place = format!("input {:?}", input.name);
            if input.name.is_empty() || !seen.insert(input.name.as_str()) {
                self.report(place, Fault::malformed("its name is empty or taken"));
                continue;
            }
            if self.scope.is_taken(&input.name) {
                continue;
            }
            let defined = input_type(input).and_then(|ty| {
                let op = Op::Input(GraphInput::new(ty));
                self.scope.define_source(&input.name, op, "input")
            });
            if let Err(fault) = defined {
                self.scope.fail(&input.name);
                self.report(place, fault);
            }
        }
    }

    /// The nodes of the file in dependency order. Nodes on or after a cycle are reported and left
    /// out, as are second producers of a tensor.
    fn node_order(&mut self) -> Vec<usize> {
        let model = self.model;
        let nodes = &model.graph.node;
        let mut producers: HashMap<&str, usize> = HashMap::new();
        let mut usable = vec![true; nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            for name in node.output.iter().filter(|name| !name.is_empty()) {
                if self.scope.is_taken(name) || producers.contains_key(name.as_str()) {
                    let what = format!("another node, input or initializer also makes {name:?}");
                    self.report(place(index, node), Fault::malformed(what));
                    self.fail(node);
                    usable[index] = false;
                } else {
                    producers.insert(name, index);
                }
            }
        }
        let mut readers: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut missing = vec![0_usize; nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            for name in &node.input {
                if let Some(&producer) = producers.get(name.as_str()) {
                    readers.entry(producer).or_default().push(index);
                    missing[index] += 1;
                }
            }
        }
        let mut ready: BinaryHeap<Reverse<usize>> =
            (0..nodes.len()).filter(|&index| missing[index] == 0).map(Reverse).collect();
        let mut order = Vec::with_capacity(nodes.len());
        let mut reached = vec![false; nodes.len()];
        while let Some(Reverse(index)) = ready.pop() {
            reached[index] = true;
            order.push(index);
            for &reader in readers.get(&index).into_iter().flatten() {
                missing[reader] -= 1;
                if missing[reader] == 0 {
                    ready.push(Reverse(reader));
                }
            }
        }
        for (index, node) in nodes.iter().enumerate().filter(|(index, _)| !reached[*index]) {
            self.fail(node);
            self.report(place(index, node), Fault::malformed("it is on or after a cycle"));
        }
        order.retain(|&index| usable[index]);
        order
    }

    fn node(&mut self, index: usize, proto: &NodeProto) {
        if let Err(fault) = self.try_node(proto) {
            self.fail(proto);
            self.report(place(index, proto), fault);
        }
    }

    fn try_node(&mut self, proto: &NodeProto) -> Result<(), Fault> {
        let Some(entry) = lookup(&proto.domain, &proto.op_type) else {
            return Err(unsupported(&proto.op_type));
        };
        let opset = self.model.opset(&proto.domain)?;
        let mut reader = NodeReader::new(proto, &self.scope, opset);
        let values = entry.load(&mut reader)?.0;
        reader.finish()?;
        if proto.output.first().is_none_or(String::is_empty) {
            return Err(Fault::malformed("it has no output"));
        }
        let further = proto.output.get(values.len()..).unwrap_or_default();
        if further.iter().any(|name| self.read.contains(name)) {
            return Err(Fault::form(
                "only its first output is supported",
                "export the model for inference, without the further outputs",
            ));
        }
        let node = if proto.name.is_empty() { &proto.output[0] } else { &proto.name };
        let origin = Origin::new(node.clone(), proto.op_type.clone());
        for (name, value) in proto.output.iter().zip(values) {
            if !name.is_empty() {
                self.scope.define(name, value, &origin)?;
            }
        }
        Ok(())
    }

    fn outputs(&mut self) {
        let model = self.model;
        let mut ids = Vec::new();
        for output in &model.graph.output {
            match self.scope.node(&output.name) {
                Ok(id) => ids.push(id),
                Err(fault) => self.report(format!("output {:?}", output.name), fault),
            }
        }
        if model.graph.output.is_empty() {
            self.report("graph", Fault::malformed("it has no output"));
        }
        self.scope.graph.set_outputs(ids);
    }

    fn fail(&mut self, proto: &NodeProto) {
        for name in &proto.output {
            self.scope.fail(name);
        }
    }
}

/// Type of a graph input; only its first dimension may be symbolic and is then 1.
fn input_type(input: &ValueInfoProto) -> Result<TensorType, Fault> {
    let Some(TypeValue::TensorType(tensor)) =
        input.r#type.as_ref().and_then(|ty| ty.value.as_ref())
    else {
        return Err(Fault::malformed("it has no tensor type"));
    };
    let element = match element(tensor.elem_type)? {
        Element::Float => ElementType::Float,
        Element::Int(ty) => ElementType::Int(ty),
    };
    let dynamic = |what: String| {
        Fault::new(
            Code::DynamicShape,
            what,
            "export with fixed extents; only the batch dimension may be symbolic",
        )
    };
    let shape =
        tensor.shape.as_ref().ok_or_else(|| dynamic("its number of dimensions is open".into()))?;
    let mut dims = Vec::with_capacity(shape.dim.len());
    for (axis, dim) in shape.dim.iter().enumerate() {
        let extent = match &dim.value {
            Some(Dim::DimValue(value)) => usize::try_from(*value).ok().filter(|&value| value > 0),
            Some(Dim::DimParam(_)) | None if axis == 0 => Some(1),
            Some(Dim::DimParam(name)) => {
                return Err(dynamic(format!("dimension {axis} is symbolic ({name:?})")));
            }
            None => return Err(dynamic(format!("dimension {axis} is open"))),
        };
        dims.push(extent.ok_or_else(|| dynamic(format!("dimension {axis} is not positive")))?);
    }
    if !(1..=4).contains(&dims.len()) {
        return Err(Fault::form(
            format!("it has {} dimensions", dims.len()),
            "only images [1, C, H, W], signals [1, C, W] and vectors [1, F] are supported",
        ));
    }
    if dims.first().is_some_and(|&batch| batch != 1) {
        return Err(Fault::form(
            format!("it holds a batch of {}", dims[0]),
            "export the model with a batch of 1, or a symbolic one",
        ));
    }
    let shape = Shape::new(dims).ok_or_else(|| Fault::malformed("it is too large"))?;
    Ok(TensorType { element, shape })
}

/// How a node is named in diagnostics.
fn place(index: usize, node: &NodeProto) -> String {
    let domain = canonical_domain(&node.domain);
    let name = match (node.name.as_str(), node.output.first()) {
        ("", Some(output)) => format!("node {index} that makes {output:?}"),
        ("", None) => format!("node {index}"),
        (name, _) => format!("node {name:?}"),
    };
    format!("{name} ({} of {domain})", node.op_type)
}

#[cfg(test)]
mod tests;
