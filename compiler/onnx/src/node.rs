//! Typed access to one ONNX node: inputs, constants and attributes.
//!
//! Whatever a loader does not ask for is an error: an attribute or input that is silently ignored
//! would be a model that is silently wrong.

use crate::fault::Fault;
use crate::tensor::tensor;
use heq_ir::diagnostic::Code;
use heq_ir::tensor::{ElementType, Tensor, TensorData};
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};

/// What is known about tensors when a node is read.
#[derive(Default)]
pub(crate) struct Known {
    /// Tensors whose values are known.
    pub(crate) constants: HashMap<String, Tensor>,
    /// Element types of computed tensors.
    pub(crate) elements: HashMap<String, ElementType>,
    /// Tensors whose producers were not imported.
    pub(crate) failed: HashSet<String>,
}

/// One node while it is being read.
pub(crate) struct NodeReader<'a> {
    proto: &'a NodeProto,
    known: &'a Known,
    opset: i64,
    attributes_read: HashSet<&'static str>,
    inputs_read: usize,
}

impl<'a> NodeReader<'a> {
    /// A reader on `proto`, of operator set version `opset`.
    pub(crate) fn new(proto: &'a NodeProto, known: &'a Known, opset: i64) -> Self {
        Self { proto, known, opset, attributes_read: HashSet::new(), inputs_read: 0 }
    }

    /// Version of the node's operator set.
    pub(crate) fn opset(&self) -> i64 {
        self.opset
    }

    /// Name of the input tensor in `slot`.
    pub(crate) fn input(&mut self, slot: usize) -> Result<String, Fault> {
        self.optional_input(slot)
            .ok_or_else(|| Fault::malformed(format!("input {slot} is missing")))
    }

    /// Name of the input tensor in `slot`, if there is one.
    pub(crate) fn optional_input(&mut self, slot: usize) -> Option<String> {
        self.inputs_read = self.inputs_read.max(slot + 1);
        self.proto.input.get(slot).filter(|name| !name.is_empty()).cloned()
    }

    /// The tensor in `slot`, which must be known now; `role` names it in diagnostics.
    pub(crate) fn constant(&mut self, slot: usize, role: &str) -> Result<&'a Tensor, Fault> {
        self.optional_constant(slot, role)?
            .ok_or_else(|| Fault::malformed(format!("input {slot} ({role}) is missing")))
    }

    /// The tensor in `slot`, if there is one; it must be known now.
    pub(crate) fn optional_constant(
        &mut self,
        slot: usize,
        role: &str,
    ) -> Result<Option<&'a Tensor>, Fault> {
        let Some(name) = self.optional_input(slot) else { return Ok(None) };
        if self.known.failed.contains(&name) {
            return Err(Fault::Upstream);
        }
        match self.known.constants.get(&name) {
            Some(tensor) => Ok(Some(tensor)),
            None => Err(Fault::new(
                Code::NotConstant,
                format!("the {role} (tensor {name:?}) is computed, not constant"),
                "export with static quantization, so that every parameter is an initializer",
            )),
        }
    }

    /// The floats of the constant in `slot`.
    pub(crate) fn floats(&mut self, slot: usize, role: &str) -> Result<&'a [f32], Fault> {
        float_values(self.constant(slot, role)?, role)
    }

    /// Element type of the tensor in `slot`.
    pub(crate) fn element(&mut self, slot: usize) -> Result<ElementType, Fault> {
        let name = self.input(slot)?;
        match self.known.constants.get(&name) {
            Some(tensor) => Ok(tensor.ty().element),
            None => self.known.elements.get(&name).copied().ok_or(Fault::Upstream),
        }
    }

    /// An integer attribute, if the node has it.
    pub(crate) fn optional_int(&mut self, name: &'static str) -> Result<Option<i64>, Fault> {
        Ok(self.attribute(name, AttributeType::Int)?.map(|attribute| attribute.i))
    }

    /// An integer attribute.
    pub(crate) fn int(&mut self, name: &'static str, default: i64) -> Result<i64, Fault> {
        Ok(self.optional_int(name)?.unwrap_or(default))
    }

    /// A real attribute, if the node has it.
    pub(crate) fn optional_float(&mut self, name: &'static str) -> Result<Option<f32>, Fault> {
        Ok(self.attribute(name, AttributeType::Float)?.map(|attribute| attribute.f))
    }

    /// A real attribute.
    pub(crate) fn float(&mut self, name: &'static str, default: f32) -> Result<f32, Fault> {
        Ok(self.optional_float(name)?.unwrap_or(default))
    }

    /// An attribute that is a list of integers, if the node has it.
    pub(crate) fn ints(&mut self, name: &'static str) -> Result<Option<&'a [i64]>, Fault> {
        Ok(self.attribute(name, AttributeType::Ints)?.map(|attribute| attribute.ints.as_slice()))
    }

    /// An attribute that is a list of exactly `N` natural numbers.
    pub(crate) fn naturals<const N: usize>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<[usize; N]>, Fault> {
        let Some(ints) = self.ints(name)? else { return Ok(None) };
        let naturals: Option<Vec<usize>> = ints.iter().map(|&i| usize::try_from(i).ok()).collect();
        match naturals.and_then(|naturals| naturals.try_into().ok()) {
            Some(naturals) => Ok(Some(naturals)),
            None => Err(Fault::form(
                format!("attribute {name}={ints:?} is not {N} natural numbers"),
                "only two spatial dimensions are supported, without negative padding",
            )),
        }
    }

    /// A text attribute, if the node has it.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<String>, Fault> {
        let attribute = self.attribute(name, AttributeType::String)?;
        Ok(attribute.map(|attribute| String::from_utf8_lossy(&attribute.s).into_owned()))
    }

    /// A tensor attribute, if the node has it.
    pub(crate) fn tensor(&mut self, name: &'static str) -> Result<Option<Tensor>, Fault> {
        let attribute = self.attribute(name, AttributeType::Tensor)?;
        attribute.and_then(|attribute| attribute.t.as_ref()).map(tensor).transpose()
    }

    /// Marks an attribute as one that does not matter here.
    pub(crate) fn ignore(&mut self, name: &'static str) {
        self.attributes_read.insert(name);
    }

    /// An integer attribute that may only be `expected`.
    pub(crate) fn require(
        &mut self,
        name: &'static str,
        expected: i64,
        default: i64,
    ) -> Result<(), Fault> {
        let found = self.int(name, default)?;
        if found == expected {
            return Ok(());
        }
        Err(Fault::form(
            format!("attribute {name}={found} is not supported, only {expected}"),
            "replace the layer before training, or run this part outside",
        ))
    }

    /// Checks that nothing of the node was left unread, and returns the name of its output.
    pub(crate) fn finish(self) -> Result<String, Fault> {
        for attribute in &self.proto.attribute {
            if !self.attributes_read.contains(attribute.name.as_str()) {
                return Err(Fault::form(
                    format!("attribute {} is not supported", attribute.name),
                    "export without it, or with an older operator set",
                ));
            }
        }
        if self.proto.input.iter().skip(self.inputs_read).any(|name| !name.is_empty()) {
            return Err(Fault::malformed(format!(
                "it has {} inputs, at most {} are defined",
                self.proto.input.len(),
                self.inputs_read
            )));
        }
        let mut outputs = self.proto.output.iter().filter(|name| !name.is_empty());
        match (outputs.next(), outputs.next()) {
            (Some(name), None) if self.proto.output.first() == Some(name) => Ok(name.clone()),
            (None, _) => Err(Fault::malformed("it has no output")),
            _ => Err(Fault::form(
                "only its first output is supported",
                "export the model for inference, without the further outputs",
            )),
        }
    }

    fn attribute(
        &mut self,
        name: &'static str,
        ty: AttributeType,
    ) -> Result<Option<&'a AttributeProto>, Fault> {
        self.attributes_read.insert(name);
        let mut found = self.proto.attribute.iter().filter(|attribute| attribute.name == name);
        let Some(attribute) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(Fault::malformed(format!("attribute {name} is given twice")));
        }
        if attribute.r#type != ty as i32 || !attribute.ref_attr_name.is_empty() {
            return Err(Fault::malformed(format!(
                "attribute {name} is not of type {}",
                ty.as_str_name()
            )));
        }
        Ok(Some(attribute))
    }
}

/// The elements of a float tensor, all finite.
pub(crate) fn float_values<'a>(tensor: &'a Tensor, role: &str) -> Result<&'a [f32], Fault> {
    match &tensor.data {
        TensorData::Float(values) if values.iter().all(|value| value.is_finite()) => Ok(values),
        TensorData::Float(_) => Err(Fault::malformed(format!("the {role} is not finite"))),
        TensorData::Int { .. } => {
            Err(Fault::malformed(format!("the {role} must be real, but is integer")))
        }
    }
}
