//! Which ONNX nodes became part of which layer.
//!
//! A layer is named after one node and makes one tensor. It also takes the operators on single
//! elements that follow a node of it, such as activations and quantizers, and those that only lead to
//! it, such as an addition before its quantizer. The graph as imported is read, so that the nodes are
//! those of the file.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a pattern is made of the operators that it knows"
)]

use heq_ir::graph::op::Op;
use heq_ir::graph::{Graph, NodeIndex};
use heq_ir::integer::IntegerNetwork;
use std::collections::{HashMap, HashSet};

pub(super) struct Patterns {
    nodes: Vec<Vec<[String; 2]>>,
    quantizers: Vec<Vec<[String; 2]>>,
}

impl Patterns {
    /// The patterns of `network`, which became of `first` and, by way of all passes, of `last`.
    pub(super) fn new(network: &IntegerNetwork, first: &Graph, last: &Graph) -> Self {
        let owners = owners(network, first);
        let mut nodes = vec![Vec::new(); network.layers.len()];
        let mut seen = HashSet::new();
        for id in first.topological() {
            let origin = &first.node(id).origin;
            let pair = [origin.operator.clone(), origin.node.clone()];
            if let Some(&owner) = owners.get(&id)
                && seen.insert((owner, origin.node.clone()))
            {
                nodes[owner].push(pair);
            }
        }
        let tensors: HashMap<&str, NodeIndex> =
            last.topological().into_iter().map(|id| (last.node(id).tensor.as_str(), id)).collect();
        let quantizers = network.layers.iter().map(|layer| {
            let id = tensors.get(layer.tensor.as_str());
            id.map_or_else(Vec::new, |&id| quantizers(last, id))
        });
        let quantizers = quantizers.collect();
        Self { nodes, quantizers }
    }

    /// The nodes of a layer, operator and name, in the order in which they run.
    pub(super) fn nodes(&self, layer: usize) -> Vec<[String; 2]> {
        self.nodes.get(layer).cloned().unwrap_or_default()
    }

    /// The quantizers of a layer's result and weights, operator and name.
    pub(super) fn quantizers(&self, layer: usize) -> Vec<[String; 2]> {
        self.quantizers.get(layer).cloned().unwrap_or_default()
    }
}

/// The layer of every node that depends on the input.
fn owners(network: &IntegerNetwork, graph: &Graph) -> HashMap<NodeIndex, usize> {
    let mut named: HashMap<&str, usize> = HashMap::new();
    for (index, layer) in network.layers.iter().enumerate() {
        named.entry(layer.name.as_str()).or_insert(index);
    }
    let makers: HashMap<&str, usize> =
        network.layers.iter().enumerate().map(|(at, layer)| (layer.tensor.as_str(), at)).collect();
    let order = graph.topological();
    let mut varying = HashSet::new();
    for &id in &order {
        if matches!(graph.node(id).op, Op::Input(_))
            || graph.inputs(id).iter().any(|input| varying.contains(input))
        {
            varying.insert(id);
        }
    }
    let source = |id: NodeIndex| graph.inputs(id).into_iter().find(|x| varying.contains(x));
    let follows = |id: NodeIndex| {
        let inputs = graph.inputs(id);
        let others = inputs.iter().filter(|input| varying.contains(input)).count();
        others == 1 && is_elementwise(&graph.node(id).op)
    };
    let name = |id: NodeIndex| named.get(graph.node(id).origin.node.as_str()).copied();
    let maker = |id: NodeIndex| makers.get(graph.node(id).tensor.as_str()).copied();
    // The layer that a tensor flows into first.
    let mut next: HashMap<NodeIndex, usize> = HashMap::new();
    for &id in order.iter().rev().filter(|id| varying.contains(id)) {
        let reader = || graph.readers(id).into_iter().find_map(|x| next.get(&x).copied());
        if let Some(layer) = name(id).or_else(|| maker(id)).or_else(reader) {
            next.insert(id, layer);
        }
    }
    let mut owners: HashMap<NodeIndex, usize> = HashMap::new();
    for &id in order.iter().filter(|id| varying.contains(id)) {
        if matches!(graph.node(id).op, Op::Input(_)) {
            continue;
        }
        let before = || source(id).filter(|_| follows(id)).map(|x| owners.get(&x).copied());
        // What follows the input belongs to the client, like the input itself.
        let owner = name(id).map(Some).or_else(before);
        let owner = owner.unwrap_or_else(|| next.get(&id).copied());
        if let Some(owner) = owner {
            owners.insert(id, owner);
        }
    }
    owners
}

/// Whether an operator with one varying operand changes single elements only.
fn is_elementwise(op: &Op) -> bool {
    matches!(
        op,
        Op::QuantizeLinear(_)
            | Op::DequantizeLinear(_)
            | Op::Quantize(_)
            | Op::Clip(_)
            | Op::Relu
            | Op::Function(_)
            | Op::BatchNormalization(_)
            | Op::ChannelAffine(_)
            | Op::Binary(_)
    )
}

/// The quantizer that makes tensor `id`, and those of the weights that it is computed with.
fn quantizers(graph: &Graph, id: NodeIndex) -> Vec<[String; 2]> {
    let pair = |id: NodeIndex| {
        let origin = &graph.node(id).origin;
        [origin.operator.clone(), origin.node.clone()]
    };
    let mut found = Vec::new();
    let mut pending = vec![id];
    let mut seen = HashSet::new();
    while let Some(at) = pending.pop() {
        if !seen.insert(at) {
            continue;
        }
        match &graph.node(at).op {
            Op::Quantize(_) if at == id => found.push(pair(at)),
            Op::Quantize(_) | Op::Input(_) => continue,
            Op::QuantizedConstant(_) => found.push(pair(at)),
            _ => {}
        }
        pending.extend(graph.inputs(at));
    }
    found
}
