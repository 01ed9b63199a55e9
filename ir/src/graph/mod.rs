//! The cleartext operator graph: what an ONNX file says, before it becomes integer arithmetic.
//!
//! A node is one operator and the one tensor that it makes; an edge carries the input slot of its
//! target. Building checks types, so a graph that exists is well typed; `verify.rs` lists every rule
//! and is run after each pass. What a graph computes, `evaluate.rs` says.

pub mod evaluate;
pub mod function;
pub mod infer;
pub mod op;
pub mod parse;
pub mod text;
pub mod verify;

pub use petgraph::stable_graph::NodeIndex;

use crate::tensor::{IntType, Shape, Tensor, TensorType};
use infer::TypeError;
use op::Op;
use petgraph::Direction;
use petgraph::stable_graph::StableDiGraph;
use petgraph::visit::EdgeRef;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// Where a node comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Name of the ONNX node, or of its output if the node has none.
    pub node: String,
    /// ONNX operator type.
    pub operator: String,
}

impl Origin {
    /// An origin from its two parts.
    pub fn new(node: impl Into<String>, operator: impl Into<String>) -> Self {
        Self { node: node.into(), operator: operator.into() }
    }
}

/// One operator and the tensor that it makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it comes from.
    pub origin: Origin,
    /// Name of the tensor; unique in the graph.
    pub tensor: String,
    /// What it computes.
    pub op: Op,
    /// Type of the tensor.
    pub ty: TensorType,
}

/// A cleartext operator graph.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Name of the model.
    pub name: String,
    nodes: StableDiGraph<Node, usize>,
    outputs: Vec<NodeIndex>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Adds an operator that reads `inputs` in slot order.
    ///
    /// # Errors
    /// If the operator cannot read tensors of these types.
    pub fn add(
        &mut self,
        origin: Origin,
        tensor: impl Into<String>,
        op: Op,
        inputs: &[NodeIndex],
    ) -> Result<NodeIndex, TypeError> {
        let ty = self.infer(&op, inputs)?;
        let id = self.nodes.add_node(Node { origin, tensor: tensor.into(), op, ty });
        self.connect(id, inputs);
        Ok(id)
    }

    /// Makes node `id` compute something else from `inputs`. Its tensor keeps its name.
    ///
    /// # Errors
    /// If the operator cannot read tensors of these types; the node is then unchanged.
    pub fn replace(
        &mut self,
        id: NodeIndex,
        origin: Origin,
        op: Op,
        inputs: &[NodeIndex],
    ) -> Result<(), TypeError> {
        let ty = self.infer(&op, inputs)?;
        let old: Vec<_> =
            self.nodes.edges_directed(id, Direction::Incoming).map(|edge| edge.id()).collect();
        for edge in old {
            self.nodes.remove_edge(edge);
        }
        let tensor = std::mem::take(&mut self.nodes[id].tensor);
        self.nodes[id] = Node { origin, tensor, op, ty };
        self.connect(id, inputs);
        Ok(())
    }

    /// Makes every reader of `old`, and the graph's outputs, read `new` instead.
    pub fn redirect(&mut self, old: NodeIndex, new: NodeIndex) {
        let edges: Vec<_> = self
            .nodes
            .edges_directed(old, Direction::Outgoing)
            .map(|edge| (edge.id(), edge.target(), *edge.weight()))
            .collect();
        for (edge, target, slot) in edges {
            self.nodes.remove_edge(edge);
            self.nodes.add_edge(new, target, slot);
        }
        for output in self.outputs.iter_mut().filter(|output| **output == old) {
            *output = new;
        }
    }

    /// Sets the tensors that the graph returns.
    pub fn set_outputs(&mut self, outputs: Vec<NodeIndex>) {
        self.outputs = outputs;
    }

    /// The nodes whose tensors the graph returns.
    #[must_use]
    pub fn outputs(&self) -> &[NodeIndex] {
        &self.outputs
    }

    /// A node.
    ///
    /// # Panics
    /// If `id` is of another graph or was removed.
    #[must_use]
    pub fn node(&self, id: NodeIndex) -> &Node {
        &self.nodes[id]
    }

    /// The nodes that `id` reads, in slot order.
    #[must_use]
    pub fn inputs(&self, id: NodeIndex) -> Vec<NodeIndex> {
        let mut inputs: Vec<_> = self
            .nodes
            .edges_directed(id, Direction::Incoming)
            .map(|edge| (*edge.weight(), edge.source()))
            .collect();
        inputs.sort_unstable();
        inputs.into_iter().map(|(_, source)| source).collect()
    }

    /// The nodes that read `id`, once for every slot.
    #[must_use]
    pub fn readers(&self, id: NodeIndex) -> Vec<NodeIndex> {
        let mut readers: Vec<_> =
            self.nodes.edges_directed(id, Direction::Outgoing).map(|edge| edge.target()).collect();
        readers.sort_unstable();
        readers
    }

    /// The one reader of a tensor that is not itself an output of the graph.
    #[must_use]
    pub fn only_reader(&self, id: NodeIndex) -> Option<NodeIndex> {
        match self.readers(id)[..] {
            [reader] if !self.outputs.contains(&id) => Some(reader),
            _ => None,
        }
    }

    /// All nodes in an order in which every tensor is made before it is read, smallest index first
    /// where there is a choice; nodes on a cycle, and all that depend on them, are left out.
    #[must_use]
    pub fn topological(&self) -> Vec<NodeIndex> {
        let mut missing: HashMap<NodeIndex, usize> = self
            .nodes
            .node_indices()
            .map(|id| (id, self.nodes.edges_directed(id, Direction::Incoming).count()))
            .collect();
        let mut ready: BinaryHeap<Reverse<NodeIndex>> =
            missing.iter().filter(|(_, count)| **count == 0).map(|(&id, _)| Reverse(id)).collect();
        let mut order = Vec::with_capacity(missing.len());
        while let Some(Reverse(id)) = ready.pop() {
            order.push(id);
            for reader in self.readers(id) {
                if let Some(count) = missing.get_mut(&reader) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push(Reverse(reader));
                    }
                }
            }
        }
        order
    }

    /// Number of nodes.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.node_count()
    }

    /// Whether the graph has a node of this index.
    #[must_use]
    pub fn contains(&self, id: NodeIndex) -> bool {
        self.nodes.contains_node(id)
    }

    /// Removes a node if nothing reads it and it is not an output of the graph.
    pub fn remove_unread(&mut self, id: NodeIndex) {
        let read = self.nodes.edges_directed(id, Direction::Outgoing).next().is_some();
        if !read && !self.outputs.contains(&id) {
            self.nodes.remove_node(id);
        }
    }

    /// Forgets what node `id` holds if nothing reads it and it is not an output of the graph. It is left
    /// to [`Graph::remove_dead`], so that nodes which are added later have the same indices.
    pub fn empty_unread(&mut self, id: NodeIndex) {
        if self.readers(id).is_empty() && !self.outputs.contains(&id) {
            let nothing = Tensor::int(Shape::scalar(), IntType::unsigned(1), vec![0]);
            let node = &mut self.nodes[id];
            node.ty = nothing.ty();
            node.op = Op::Constant(nothing);
        }
    }

    /// Removes every node that no output depends on, except inputs.
    pub fn remove_dead(&mut self) {
        let live = self.live();
        self.nodes
            .retain_nodes(|nodes, id| live.contains(&id) || matches!(nodes[id].op, Op::Input(_)));
    }

    /// The nodes that an output depends on.
    fn live(&self) -> HashSet<NodeIndex> {
        let mut live = HashSet::new();
        let mut pending = self.outputs.clone();
        while let Some(id) = pending.pop() {
            if live.insert(id) {
                pending.extend(self.nodes.neighbors_directed(id, Direction::Incoming));
            }
        }
        live
    }

    fn infer(&self, op: &Op, inputs: &[NodeIndex]) -> Result<TensorType, TypeError> {
        let types: Vec<&TensorType> = inputs.iter().map(|&id| &self.nodes[id].ty).collect();
        infer::infer(op, &types)
    }

    fn connect(&mut self, id: NodeIndex, inputs: &[NodeIndex]) {
        for (slot, &input) in inputs.iter().enumerate() {
            self.nodes.add_edge(input, id, slot);
        }
    }
}
