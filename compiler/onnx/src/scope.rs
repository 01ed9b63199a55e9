//! What is known about the tensors of a file while its nodes are read.
//!
//! A name stands for a node of the graph, for a constant that may still become one, or for nothing
//! because its producer was not imported. Several names may stand for the same.

use crate::external::External;
use crate::fault::Fault;
use crate::fold::{self, parameter_count};
use crate::tensor::MAX_RANK;
use heq_ir::diagnostic::Code;
use heq_ir::graph::op::{Op, QuantizeParams};
use heq_ir::graph::{Graph, NodeIndex, Origin};
use heq_ir::tensor::{Tensor, TensorType};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};

/// Most elements that all constants computed at import, and all parameters inside operators, hold
/// together.
pub(crate) const MAX_COMPUTED_ELEMENTS: usize = 1 << 25;

/// Most elements of one constant computed at import.
const MAX_TENSOR_ELEMENTS: usize = 1 << 24;

/// Most elements of a constant whose value is kept although a node of the graph computes it.
const MAX_KNOWN_ELEMENTS: usize = 1 << 16;

/// A tensor that a loader reads or makes.
pub(crate) enum Value {
    /// A tensor of the file.
    Tensor(String),
    /// A tensor whose value is known.
    Constant(Tensor),
    /// What an operator makes of others.
    Op(Op, Vec<Value>),
}

impl Value {
    /// What `op` makes of `inputs`.
    pub(crate) fn op(op: Op, inputs: impl Into<Vec<Value>>) -> Self {
        Self::Op(op, inputs.into())
    }
}

/// What a name stands for.
#[derive(Clone, Copy)]
enum Binding {
    Node(NodeIndex),
    Constant(usize),
    Failed,
}

/// A constant, which moves into the graph when an operator first reads it.
enum Constant {
    Pending(String, Tensor),
    Node(NodeIndex),
}

/// Everything that is known.
pub(crate) struct Scope<'a> {
    /// The graph so far.
    pub(crate) graph: Graph,
    /// Files with tensors.
    pub(crate) external: External<'a>,
    bindings: HashMap<String, Binding>,
    constants: Vec<Constant>,
    /// Values of nodes that depend on small constants alone.
    values: HashMap<NodeIndex, Tensor>,
    /// The quantizers of integer tensors.
    quantizers: HashMap<NodeIndex, QuantizeParams>,
    /// Names of the file's tensors, and those made up here.
    names: HashSet<String>,
    budget: Cell<usize>,
}

/// Names for the tensors between the operators that one node becomes.
struct Names<'a> {
    base: &'a str,
    count: usize,
}

impl<'a> Scope<'a> {
    /// An empty scope; `names` are all names in the file.
    pub(crate) fn new(name: String, external: External<'a>, names: HashSet<String>) -> Self {
        Self {
            graph: Graph::new(name),
            external,
            bindings: HashMap::new(),
            constants: Vec::new(),
            values: HashMap::new(),
            quantizers: HashMap::new(),
            names,
            budget: Cell::new(MAX_COMPUTED_ELEMENTS),
        }
    }

    /// Whether something already stands for `name`.
    pub(crate) fn is_taken(&self, name: &str) -> bool {
        self.bindings.contains_key(name)
    }

    /// Makes `name` stand for nothing.
    pub(crate) fn fail(&mut self, name: &str) {
        if !name.is_empty() {
            self.bindings.insert(name.into(), Binding::Failed);
        }
    }

    /// Makes `name` stand for a constant of the file.
    pub(crate) fn define_constant(&mut self, name: &str, tensor: Tensor) {
        let binding = self.add_constant(name.into(), tensor);
        self.bindings.insert(name.into(), binding);
    }

    /// Adds a node that reads nothing, named `name`.
    pub(crate) fn define_source(&mut self, name: &str, op: Op, kind: &str) -> Result<(), Fault> {
        let id = self.graph.add(Origin::new(name, kind), name, op, &[])?;
        self.bindings.insert(name.into(), Binding::Node(id));
        Ok(())
    }

    /// Makes `name` stand for `value`, which the ONNX node `origin` makes.
    pub(crate) fn define(
        &mut self,
        name: &str,
        value: Value,
        origin: &Origin,
    ) -> Result<(), Fault> {
        let mut names = Names { base: name, count: 1 };
        let binding = self.realize(value, origin, &mut names, true)?;
        self.bindings.insert(name.into(), binding);
        Ok(())
    }

    /// The tensor that `name` stands for, if it is known without computing anything.
    pub(crate) fn constant(&self, name: &str) -> Option<&Tensor> {
        match self.bindings.get(name)? {
            Binding::Constant(index) => self.constant_at(*index),
            Binding::Node(_) | Binding::Failed => None,
        }
    }

    /// The tensor that `name` stands for, if it depends on constants alone and is either one or small.
    pub(crate) fn value(&self, name: &str) -> Result<Option<&Tensor>, Fault> {
        Ok(self.value_of(self.binding(name)?))
    }

    /// Type of the tensor that `name` stands for.
    pub(crate) fn ty(&self, name: &str) -> Result<TensorType, Fault> {
        match self.binding(name)? {
            Binding::Node(id) => Ok(self.graph.node(id).ty.clone()),
            Binding::Constant(index) => {
                self.constant_at(index).map(Tensor::ty).ok_or(Fault::Upstream)
            }
            Binding::Failed => Err(Fault::Upstream),
        }
    }

    /// What made the integers that `name` stands for out of real numbers, if one scale did.
    pub(crate) fn quantizer(&self, name: &str) -> Option<&QuantizeParams> {
        match self.bindings.get(name)? {
            Binding::Node(id) => self.quantizers.get(id),
            Binding::Constant(_) | Binding::Failed => None,
        }
    }

    /// The operator that makes the tensor, if one does.
    pub(crate) fn op(&self, name: &str) -> Option<&Op> {
        match self.bindings.get(name)? {
            Binding::Node(id) => Some(&self.graph.node(*id).op),
            Binding::Constant(_) | Binding::Failed => None,
        }
    }

    /// The node that makes the tensor; a constant becomes one now.
    pub(crate) fn node(&mut self, name: &str) -> Result<NodeIndex, Fault> {
        let binding = self.binding(name)?;
        self.node_of(binding)
    }

    /// Checks that a constant of `count` elements may be computed at import.
    pub(crate) fn afford(&self, count: usize) -> Result<(), Fault> {
        if count > MAX_TENSOR_ELEMENTS {
            return Err(Fault::new(
                Code::TooLarge,
                format!(
                    "it computes a constant of {count} elements, the limit is {MAX_TENSOR_ELEMENTS}"
                ),
                "store the constant in the file",
            ));
        }
        self.remaining(count).map(|_| ())
    }

    fn remaining(&self, count: usize) -> Result<usize, Fault> {
        self.budget.get().checked_sub(count).ok_or_else(|| {
            Fault::new(
                Code::TooLarge,
                format!(
                    "the model computes constants of more than {MAX_COMPUTED_ELEMENTS} elements"
                ),
                "store the computed constants in the file, e.g. with onnxsim",
            )
        })
    }

    fn charge(&self, count: usize) -> Result<(), Fault> {
        self.budget.set(self.remaining(count)?);
        Ok(())
    }

    fn binding(&self, name: &str) -> Result<Binding, Fault> {
        match self.bindings.get(name) {
            Some(Binding::Failed) => Err(Fault::Upstream),
            Some(binding) => Ok(*binding),
            None => {
                Err(Fault::malformed(format!("nothing makes the tensor {name:?} that it reads")))
            }
        }
    }

    fn add_constant(&mut self, name: String, tensor: Tensor) -> Binding {
        self.constants.push(Constant::Pending(name, tensor));
        Binding::Constant(self.constants.len() - 1)
    }

    fn constant_at(&self, index: usize) -> Option<&Tensor> {
        match self.constants.get(index)? {
            Constant::Pending(_, tensor) => Some(tensor),
            Constant::Node(id) => {
                let Op::Constant(tensor) = &self.graph.node(*id).op else { return None };
                Some(tensor)
            }
        }
    }

    fn value_of(&self, binding: Binding) -> Option<&Tensor> {
        match binding {
            Binding::Node(id) => self.values.get(&id),
            Binding::Constant(index) => self.constant_at(index),
            Binding::Failed => None,
        }
    }

    fn node_of(&mut self, binding: Binding) -> Result<NodeIndex, Fault> {
        let index = match binding {
            Binding::Node(id) => return Ok(id),
            Binding::Constant(index) => index,
            Binding::Failed => return Err(Fault::Upstream),
        };
        // The tensor moves, since weights may be large.
        let placeholder = Constant::Node(NodeIndex::end());
        let slot = self.constants.get_mut(index).ok_or(Fault::Upstream)?;
        let id = match std::mem::replace(slot, placeholder) {
            Constant::Node(id) => id,
            Constant::Pending(name, tensor) => {
                let origin = Origin::new(name.clone(), "constant");
                self.graph.add(origin, name, Op::Constant(tensor), &[])?
            }
        };
        if let Some(slot) = self.constants.get_mut(index) {
            *slot = Constant::Node(id);
        }
        Ok(id)
    }

    /// Adds what `value` needs to the graph. Its depth is that of a loader's own expression, never
    /// of a file.
    fn realize(
        &mut self,
        value: Value,
        origin: &Origin,
        names: &mut Names<'_>,
        last: bool,
    ) -> Result<Binding, Fault> {
        let (op, inputs) = match value {
            Value::Tensor(name) => return self.binding(&name),
            Value::Constant(tensor) => {
                self.charge(tensor.shape.element_count())?;
                let name = self.name(names, last, "constant");
                return Ok(self.add_constant(name, tensor));
            }
            Value::Op(op, inputs) => (op, inputs),
        };
        let mut operands = Vec::with_capacity(inputs.len());
        for input in inputs {
            operands.push(self.realize(input, origin, names, false)?);
        }
        let name = self.name(names, last, op.mnemonic());
        if let Some(tensor) = self.fold(&op, &operands)? {
            return Ok(self.add_constant(name, tensor));
        }
        self.charge(parameter_count(&op))?;
        let mut ids = Vec::with_capacity(operands.len());
        for &operand in &operands {
            ids.push(self.node_of(operand)?);
        }
        let known = self.known_value(&op, &operands);
        let quantizer = self.quantizer_after(&op, &ids);
        let id = self.graph.add(origin.clone(), name, op, &ids)?;
        if self.graph.node(id).ty.shape.rank() > MAX_RANK {
            return Err(Fault::form(
                format!("its result has more than {MAX_RANK} dimensions"),
                "use tensors of fewer dimensions",
            ));
        }
        self.values.extend(known.map(|tensor| (id, tensor)));
        self.quantizers.extend(quantizer.map(|params| (id, params)));
        Ok(Binding::Node(id))
    }

    /// What arithmetic and rearrangement make of constants.
    fn fold(&self, op: &Op, operands: &[Binding]) -> Result<Option<Tensor>, Fault> {
        let constants: Option<Vec<&Tensor>> = operands
            .iter()
            .map(|operand| match operand {
                Binding::Constant(index) => self.constant_at(*index),
                Binding::Node(_) | Binding::Failed => None,
            })
            .collect();
        match constants {
            Some(constants) if !constants.is_empty() && fold::is_foldable(op) => {
                let count = fold::element_count(op, &constants)?;
                self.afford(count)?;
                self.charge(count)?;
                fold::fold(op, &constants).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The value of a node that depends on small constants alone, as far as the budget goes.
    fn known_value(&self, op: &Op, operands: &[Binding]) -> Option<Tensor> {
        let values: Option<Vec<&Tensor>> =
            operands.iter().map(|&operand| self.value_of(operand)).collect();
        let values = values?;
        let count = fold::element_count(op, &values).ok()?;
        if count > MAX_KNOWN_ELEMENTS {
            return None;
        }
        self.charge(count).ok()?;
        fold::evaluate(op, &values)
    }

    fn quantizer_after(&self, op: &Op, ids: &[NodeIndex]) -> Option<QuantizeParams> {
        if let Op::QuantizeLinear(params) = op {
            return params.axis.is_none().then(|| params.clone());
        }
        let keeps_integers = matches!(
            op,
            Op::Clip(_)
                | Op::Flatten { .. }
                | Op::Reshape { .. }
                | Op::Transpose { .. }
                | Op::Slice(_)
                | Op::Concat { .. }
        );
        let first = self.quantizers.get(ids.first()?)?;
        let same = || ids.iter().all(|id| self.quantizers.get(id) == Some(first));
        (keeps_integers && same()).then(|| first.clone())
    }

    /// The name of the file's tensor for the last operator of a node, one made up for the others.
    fn name(&mut self, names: &mut Names<'_>, last: bool, kind: &str) -> String {
        if last {
            return names.base.into();
        }
        let mut name = format!("{}:{kind}", names.base);
        while !self.names.insert(name.clone()) {
            names.count += 1;
            name = format!("{}:{kind}{}", names.base, names.count);
        }
        name
    }
}
