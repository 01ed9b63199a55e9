//! A decoded model to a graph, with every offending node reported.
//!
//! Initializers are constants, also if they are listed among the graph's inputs. Nodes are read in
//! dependency order whatever order the file has; a node whose operand could not be imported is still
//! read, so that its own faults are found, but is not reported for its operand's.

use crate::fault::Fault;
use crate::model::{Model, canonical_domain};
use crate::node::{Known, NodeReader};
use crate::ops::{Loaded, lookup};
use crate::tensor::{Element, element, tensor};
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::graph::op::Op;
use heq_ir::graph::{Graph, NodeIndex, Origin};
use heq_ir::tensor::{ElementType, Shape, TensorType};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{NodeProto, ValueInfoProto};

/// The graph of the ONNX model in `bytes`, of which nothing but its outputs' dependencies is kept.
/// `file_name` names it in diagnostics, and its stem becomes the name of the graph.
///
/// # Errors
/// Everything in the file that is not supported, or not ONNX.
pub fn import(bytes: &[u8], file_name: &str) -> Result<Graph, Diagnostics> {
    let model = Model::decode(bytes, file_name)?;
    let stem = std::path::Path::new(file_name).file_stem();
    let name = stem.map_or_else(|| file_name.into(), |stem| stem.to_string_lossy().into_owned());
    let mut importer = Importer {
        model: &model,
        graph: Graph::new(name),
        known: Known::default(),
        nodes: HashMap::new(),
        aliases: HashMap::new(),
        found: Vec::new(),
    };
    importer.initializers();
    importer.inputs();
    for index in importer.node_order() {
        importer.node(index, &model.graph.node[index]);
    }
    importer.outputs();
    match Diagnostics::from_found(importer.found) {
        Some(diagnostics) => Err(diagnostics),
        None => {
            importer.graph.remove_dead();
            Ok(importer.graph)
        }
    }
}

struct Importer<'a> {
    model: &'a Model,
    graph: Graph,
    known: Known,
    /// Nodes of the graph by the name of their tensor.
    nodes: HashMap<String, NodeIndex>,
    /// Tensors that are another name of a tensor.
    aliases: HashMap<String, String>,
    found: Vec<Diagnostic>,
}

impl Importer<'_> {
    fn report(&mut self, place: impl Into<String>, fault: Fault) {
        self.found.extend(fault.at(place));
    }

    fn initializers(&mut self) {
        let model = self.model;
        for proto in &model.graph.initializer {
            let place = format!("initializer {:?}", proto.name);
            if proto.name.is_empty() || self.known.constants.contains_key(&proto.name) {
                self.report(place, Fault::malformed("its name is empty or taken"));
                continue;
            }
            match tensor(proto) {
                Ok(tensor) => {
                    self.known.constants.insert(proto.name.clone(), tensor);
                }
                Err(fault) => {
                    self.known.failed.insert(proto.name.clone());
                    self.report(place, fault);
                }
            }
        }
        if !model.graph.sparse_initializer.is_empty() {
            let fault = Fault::form("sparse initializers are not supported", "store them densely");
            self.report("graph", fault);
        }
    }

    fn inputs(&mut self) {
        let model = self.model;
        for input in &model.graph.input {
            let known = &self.known;
            if known.constants.contains_key(&input.name) || known.failed.contains(&input.name) {
                continue;
            }
            let place = format!("input {:?}", input.name);
            let ty = if input.name.is_empty() || self.nodes.contains_key(&input.name) {
                Err(Fault::malformed("its name is empty or taken"))
            } else {
                input_type(input)
            };
            let added = ty.and_then(|ty| {
                let origin = Origin::new(input.name.clone(), "input");
                Ok(self.graph.add(origin, input.name.clone(), Op::Input(ty), &[])?)
            });
            match added {
                Ok(id) => self.define(&input.name, id),
                Err(fault) => {
                    self.known.failed.insert(input.name.clone());
                    self.report(place, fault);
                }
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
                let taken = self.nodes.contains_key(name)
                    || self.known.constants.contains_key(name)
                    || self.known.failed.contains(name)
                    || producers.contains_key(name.as_str());
                if taken {
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
        let operands: Vec<String> = proto.input.iter().map(|name| self.resolve(name)).collect();
        let proto = NodeProto { input: operands, ..proto.clone() };
        if let Err(fault) = self.try_node(&proto) {
            self.fail(&proto);
            self.report(place(index, &proto), fault);
        }
    }

    fn try_node(&mut self, proto: &NodeProto) -> Result<(), Fault> {
        let Some(entry) = lookup(&proto.domain, &proto.op_type) else {
            return Err(Fault::new(
                Code::UnsupportedOperator,
                "the operator is not supported",
                "replace it by supported operators; `heqc ops` lists them",
            ));
        };
        let opset = self.model.opset(&proto.domain)?;
        let mut reader = NodeReader::new(proto, &self.known, opset);
        let loaded = entry.load(&mut reader)?;
        let output = reader.finish()?;
        match loaded {
            Loaded::Constant(tensor) => {
                self.known.constants.insert(output, tensor);
            }
            Loaded::Alias(name) => {
                self.check_exists(&name)?;
                self.aliases.insert(output, name);
            }
            Loaded::Op(op, inputs) => {
                let mut ids = Vec::with_capacity(inputs.len());
                for name in &inputs {
                    ids.push(self.operand(name)?);
                }
                let name = if proto.name.is_empty() { &output } else { &proto.name };
                let origin = Origin::new(name.clone(), proto.op_type.clone());
                let id = self.graph.add(origin, output.clone(), op, &ids)?;
                self.define(&output, id);
            }
        }
        Ok(())
    }

    fn outputs(&mut self) {
        let model = self.model;
        let mut ids = Vec::new();
        for output in &model.graph.output {
            let name = self.resolve(&output.name);
            match self.operand(&name) {
                Ok(id) => ids.push(id),
                Err(fault) => self.report(format!("output {:?}", output.name), fault),
            }
        }
        if model.graph.output.is_empty() {
            self.report("graph", Fault::malformed("it has no output"));
        }
        self.graph.set_outputs(ids);
    }

    /// The node that makes a tensor; constants become nodes when they are first read.
    fn operand(&mut self, name: &str) -> Result<NodeIndex, Fault> {
        self.check_exists(name)?;
        if let Some(&id) = self.nodes.get(name) {
            return Ok(id);
        }
        let Some(tensor) = self.known.constants.get(name) else { return Err(Fault::Upstream) };
        let origin = Origin::new(name, "constant");
        let id = self.graph.add(origin, name, Op::Constant(tensor.clone()), &[])?;
        self.nodes.insert(name.into(), id);
        Ok(id)
    }

    fn check_exists(&self, name: &str) -> Result<(), Fault> {
        if self.known.failed.contains(name) {
            return Err(Fault::Upstream);
        }
        if self.nodes.contains_key(name) || self.known.constants.contains_key(name) {
            return Ok(());
        }
        Err(Fault::malformed(format!("nothing makes the tensor {name:?} that it reads")))
    }

    fn define(&mut self, name: &str, id: NodeIndex) {
        self.known.elements.insert(name.into(), self.graph.node(id).ty.element);
        self.nodes.insert(name.into(), id);
    }

    fn resolve(&self, name: &str) -> String {
        self.aliases.get(name).map_or_else(|| name.into(), Clone::clone)
    }

    fn fail(&mut self, proto: &NodeProto) {
        self.known.failed.extend(proto.output.iter().filter(|name| !name.is_empty()).cloned());
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
