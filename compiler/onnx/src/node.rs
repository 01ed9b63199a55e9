//! Typed access to one ONNX node: inputs, constants and attributes.
//!
//! Whatever a loader does not ask for is an error: an attribute or input that is silently ignored
//! would be a model that is silently wrong.

use crate::fault::Fault;
use crate::scope::{Scope, Value};
use crate::tensor::tensor;
use heq_ir::diagnostic::Code;
use heq_ir::graph::op::{Op, QuantizeParams};
use heq_ir::tensor::{ElementType, IntType, Tensor, TensorData, TensorType};
use std::collections::HashSet;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};

/// One node while it is being read.
pub(crate) struct NodeReader<'a> {
    proto: &'a NodeProto,
    scope: &'a Scope<'a>,
    opset: i64,
    attributes_read: HashSet<&'static str>,
    inputs_read: usize,
}

impl<'a> NodeReader<'a> {
    /// A reader on `proto`, of operator set version `opset`.
    pub(crate) fn new(proto: &'a NodeProto, scope: &'a Scope<'a>, opset: i64) -> Self {
        Self { proto, scope, opset, attributes_read: HashSet::new(), inputs_read: 0 }
    }

    /// Version of the node's operator set.
    pub(crate) fn opset(&self) -> i64 {
        self.opset
    }

    /// Number of inputs, those that are left out in the middle counted.
    pub(crate) fn input_count(&self) -> usize {
        self.proto.input.len()
    }

    /// Number of outputs, those that are left out in the middle counted.
    pub(crate) fn output_count(&self) -> usize {
        self.proto.output.len()
    }

    /// The input tensor in `slot`.
    pub(crate) fn input(&mut self, slot: usize) -> Result<Value, Fault> {
        Ok(Value::Tensor(self.name(slot)?.into()))
    }

    /// The input tensor in `slot`, if there is one.
    pub(crate) fn optional_input(&mut self, slot: usize) -> Option<Value> {
        self.optional_name(slot).map(|name| Value::Tensor(name.into()))
    }

    /// Type of the tensor in `slot`.
    pub(crate) fn ty(&mut self, slot: usize) -> Result<TensorType, Fault> {
        self.scope.ty(self.name(slot)?)
    }

    /// What made the integers in `slot` out of real numbers, if one scale did.
    pub(crate) fn quantizer(&mut self, slot: usize) -> Result<Option<QuantizeParams>, Fault> {
        Ok(self.scope.quantizer(self.name(slot)?).cloned())
    }

    /// The operator that makes the tensor in `slot`, if one does.
    pub(crate) fn producer(&mut self, slot: usize) -> Result<Option<&'a Op>, Fault> {
        Ok(self.scope.op(self.name(slot)?))
    }

    /// Checks that a constant of `count` elements may be computed.
    pub(crate) fn afford(&self, count: usize) -> Result<(), Fault> {
        self.scope.afford(count)
    }

    /// The tensor in `slot` if it is known without computing anything.
    pub(crate) fn known(&mut self, slot: usize) -> Result<Option<&'a Tensor>, Fault> {
        Ok(self.scope.constant(self.name(slot)?))
    }

    /// The tensor in `slot` if it depends on constants alone and is either one or small.
    pub(crate) fn value(&mut self, slot: usize) -> Result<Option<&'a Tensor>, Fault> {
        self.scope.value(self.name(slot)?)
    }

    /// The tensor in `slot` of an operator that only works on constants.
    pub(crate) fn operand(&mut self, slot: usize) -> Result<&'a Tensor, Fault> {
        self.value(slot)?.ok_or_else(|| {
            let name = &self.proto.input[slot];
            Fault::form(
                format!("its operand {name:?} depends on the input; it is supported on constants"),
                "replace the layer before training, or run this part outside",
            )
        })
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
        let Some(name) = self.optional_name(slot) else { return Ok(None) };
        match self.scope.value(name)? {
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

    /// The integers of the constant in `slot`, if there is one.
    pub(crate) fn optional_integers(
        &mut self,
        slot: usize,
        role: &str,
    ) -> Result<Option<&'a [i64]>, Fault> {
        let Some(tensor) = self.optional_constant(slot, role)? else { return Ok(None) };
        let integers = tensor.as_ints();
        integers.map(Some).ok_or_else(|| Fault::malformed(format!("the {role} must be integer")))
    }

    /// The list of integers that older operator sets give as an attribute and newer ones, from
    /// version `since`, in `slot`.
    pub(crate) fn integers(
        &mut self,
        name: &'static str,
        since: i64,
        slot: usize,
    ) -> Result<Option<&'a [i64]>, Fault> {
        if self.opset < since { self.ints(name) } else { self.optional_integers(slot, name) }
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

    /// An attribute that is a list of natural numbers.
    pub(crate) fn naturals(&mut self, name: &'static str) -> Result<Option<Vec<usize>>, Fault> {
        let Some(ints) = self.ints(name)? else { return Ok(None) };
        let naturals: Option<Vec<usize>> = ints.iter().map(|&i| usize::try_from(i).ok()).collect();
        naturals.map(Some).ok_or_else(|| {
            Fault::form(
                format!("attribute {name}={ints:?} has a negative number"),
                "crop with a Slice instead of negative padding",
            )
        })
    }

    /// An attribute that is a list of real numbers, if the node has it.
    pub(crate) fn reals(&mut self, name: &'static str) -> Result<Option<&'a [f32]>, Fault> {
        Ok(self
            .attribute(name, AttributeType::Floats)?
            .map(|attribute| attribute.floats.as_slice()))
    }

    /// A text attribute, if the node has it.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<String>, Fault> {
        let attribute = self.attribute(name, AttributeType::String)?;
        Ok(attribute.map(|attribute| String::from_utf8_lossy(&attribute.s).into_owned()))
    }

    /// A tensor attribute, if the node has it.
    pub(crate) fn tensor(&mut self, name: &'static str) -> Result<Option<Tensor>, Fault> {
        let attribute = self.attribute(name, AttributeType::Tensor)?;
        let proto = attribute.and_then(|attribute| attribute.t.as_ref());
        proto.map(|proto| tensor(proto, &self.scope.external)).transpose()
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

    /// Checks that nothing of the node was left unread.
    pub(crate) fn finish(self) -> Result<(), Fault> {
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
        Ok(())
    }

    fn name(&mut self, slot: usize) -> Result<&'a str, Fault> {
        self.optional_name(slot).ok_or_else(|| Fault::malformed(format!("input {slot} is missing")))
    }

    fn optional_name(&mut self, slot: usize) -> Option<&'a str> {
        self.inputs_read = self.inputs_read.max(slot + 1);
        self.proto.input.get(slot).filter(|name| !name.is_empty()).map(String::as_str)
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

/// The type of the integers of a tensor.
pub(crate) fn int_type(ty: &TensorType) -> Result<IntType, Fault> {
    match ty.element {
        ElementType::Int(ty) => Ok(ty),
        ElementType::Float => Err(Fault::malformed("it reads integers, but was given reals")),
    }
}
