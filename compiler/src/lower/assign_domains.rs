//! Integer network to secure program: every layer becomes protocol steps on typed values.
//!
//! A sum becomes one linear step a linear term, a local addition if there is more than one term, and
//! a requantization to shared bits if it has one. Terms that share requests are one linear step, of which
//! each takes its channels. Conversions between bits and arithmetic shares are
//! made where a layer first reads the other form. Layers that the output does not depend on are left
//! out. Types are checked as each step is added.

use super::demand::{Forms, Native};
use crate::analysis::range::NetworkFacts;
use crate::kernel::shared_requests::{Terms, joined_op, linear_term};
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::integer::{
    IntRange, IntegerLayer, IntegerNetwork, IntegerOp, LinearTerm, Requantize, SumOp, Term,
    ValueId, View, ViewAxis,
};
use heq_ir::plan::reveal::Reveal;
use heq_ir::protocol::requantize::RequantizeWidths;
use heq_ir::protocol::table::TableWidths;
use heq_ir::rounding::EarlyRounding;
use heq_ir::secure::{
    CombineOp, CombineTerm, Domain, LinearOp, Origin, Packing, SecureOp, SecureProgram, TypeError,
    guard_bits,
};
use petgraph::graph::NodeIndex;
use std::collections::{BTreeMap, HashMap};

/// Linear steps that hold several elements in a coefficient, or compute several terms with the same
/// requests, by their terms. Every other term is a step of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinearSteps(pub BTreeMap<Terms, Packing>);

impl LinearSteps {
    /// The terms of the step that computes `term`, and how many elements its coefficients hold.
    #[must_use]
    pub fn of(&self, term: (usize, usize)) -> (&[(usize, usize)], Packing) {
        let found = self.0.iter().find(|(terms, _)| terms.contains(&term));
        found.map_or((&[], Packing::None), |(terms, &packing)| (terms, packing))
    }
}

/// Most linear terms of one sum: 3 guard bits are enough for their rounding errors.
const MAX_LINEAR_TERMS: usize = 7;

/// The nodes that hold a value of the integer network, by form.
#[derive(Clone, Copy, Default)]
struct Nodes {
    /// The client's value or an accumulator.
    plain: Option<NodeIndex>,
    bits: Option<NodeIndex>,
    words: Option<NodeIndex>,
}

/// A secure program, and where the sums of the integer network are in it.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The program.
    pub program: SecureProgram,
    /// For every layer the step of the plan that makes its final accumulator, or `None` if it is no
    /// sum or the output does not depend on it. Steps are the nodes in order, without the input.
    pub sums: Vec<Option<usize>>,
    /// The steps that there are whatever the linear steps are, in order: another lowering has as many.
    pub common: Vec<usize>,
}

impl Lowered {
    /// Whether step `step` of the plan is linear.
    #[must_use]
    pub fn is_linear(&self, step: usize) -> bool {
        let node = self.program.graph.node_weight(NodeIndex::new(step + 1));
        node.is_some_and(|node| matches!(node.op, SecureOp::Linear(_)))
    }
}

/// Lowers the network with the accumulator widths of `facts` and the given linear steps; of the output
/// the client learns what `reveal` says.
///
/// # Errors
/// [`Code::UnsupportedForm`] if a layer reads the unquantized result of a linear layer, bits are
/// needed of a value that 8 bits do not hold, or the output is the client's own;
/// [`Code::BadOption`] if the output has no such values to reveal;
/// [`Code::Internal`] if a step does not type, which the integer network's invariants rule out.
pub fn assign_domains(
    network: &IntegerNetwork,
    facts: &NetworkFacts,
    linear: &LinearSteps,
    reveal: Reveal,
) -> Result<Lowered, Diagnostic> {
    for (index, layer) in network.layers.iter().enumerate() {
        if layer.inputs.is_empty() || layer.inputs.iter().any(|id| id.0 > index) {
            let what = "reads nothing, or a later value";
            return Err(Diagnostic::new(Code::Internal, &layer.name, what, REPORT));
        }
    }
    let forms = Forms::new(network, facts, linear);
    let mut lowering = Lowering {
        network,
        facts,
        linear,
        forms: &forms,
        joined: HashMap::new(),
        added: Vec::new(),
        program: SecureProgram::default(),
        sums: vec![None; network.layers.len()],
        values: vec![Nodes::default(); network.layers.len() + 1],
    };
    let input = &network.input;
    let shape = network.input_shape();
    let op = SecureOp::Input { shape, range: input.quantization.range };
    let origin = Origin { name: input.name.clone(), ..Origin::default() };
    let node = lowering.program.push(&[], origin, op).map_err(|e| untyped(&input.name, &e))?;
    lowering.values[0].plain = Some(node);
    for (index, layer) in network.layers.iter().enumerate() {
        if forms.demand[index + 1].live {
            lowering.lower_layer(index, layer)?;
        }
    }
    lowering.open_output(network, reveal)?;
    let Lowering { program, sums, added, .. } = lowering;
    let steps = 0..program.graph.node_count() - 1;
    Ok(Lowered { program, sums, common: steps.filter(|step| !added.contains(step)).collect() })
}

const REPORT: &str = "this is a fault of heqc; please report it";

struct Lowering<'a> {
    network: &'a IntegerNetwork,
    facts: &'a NetworkFacts,
    linear: &'a LinearSteps,
    forms: &'a Forms,
    /// Steps of several terms, by the first of them.
    joined: HashMap<(usize, usize), NodeIndex>,
    /// Steps that there would not be without those.
    added: Vec<usize>,
    program: SecureProgram,
    sums: Vec<Option<usize>>,
    values: Vec<Nodes>,
}

impl Lowering<'_> {
    fn lower_layer(&mut self, index: usize, layer: &IntegerLayer) -> Result<(), Diagnostic> {
        let value = ValueId(index + 1);
        let nodes = match &layer.op {
            IntegerOp::Sum(op) => self.lower_sum(index, layer, op)?,
            IntegerOp::MaxPool(pool) => {
                let op = SecureOp::MaxPool { window: pool.window };
                self.rearrange(value, layer, &op)?
            }
            IntegerOp::Table(table) => {
                let operands = layer.inputs.iter().map(|&id| self.bits(layer, id));
                let operands = operands.collect::<Result<Vec<_>, _>>()?;
                let mut input_bits = 0;
                for &operand in &operands {
                    let Domain::Boolean { bits, .. } = self.domain(operand) else {
                        return Err(unsupported(layer, "looks up values that are not bits"));
                    };
                    input_bits += bits;
                }
                let widths = TableWidths { input_bits, result_bits: table.output.bits().max(1) };
                let op = SecureOp::Table { widths, lo: table.output.lo };
                let origin = Origin { secret: vec![(index, 0)], ..result_origin(layer) };
                let bits = Some(self.push(&operands, origin, op)?);
                Nodes { bits, ..Nodes::default() }
            }
            IntegerOp::View(view) => self.rearrange(value, layer, &SecureOp::View(*view))?,
            IntegerOp::Reshape(shape) => {
                self.rearrange(value, layer, &SecureOp::Reshape(*shape))?
            }
            &IntegerOp::Concat { batch } => {
                self.rearrange(value, layer, &SecureOp::Concat { batch })?
            }
        };
        self.values[value.0] = nodes;
        Ok(())
    }

    fn lower_sum(
        &mut self,
        index: usize,
        layer: &IntegerLayer,
        op: &SumOp,
    ) -> Result<Nodes, Diagnostic> {
        let count = op.linear_terms().count();
        if count > MAX_LINEAR_TERMS {
            return Err(unsupported(layer, "adds more than 7 linear layers in one step"));
        }
        let guard_bits = guard_bits(count);
        let exact = self.forms.native[index + 1] == Native::Words;
        // An exact result is as wide as its readers want it.
        let wanted = self.forms.demand[index + 1].words.filter(|_| exact).unwrap_or(0);
        let acc_bits = self.facts.acc_bits(index).max(wanted);
        let is_last = op.requantize.is_none();
        let origin_of = |last: bool| if last { result_origin(layer) } else { step_origin(layer) };
        let mut terms = Vec::with_capacity(op.terms.len());
        let mut operands = Vec::with_capacity(op.terms.len());
        let is_joined = self.linear.of((index, 0)).0.len() > 1;
        let plain = op.terms.len() == 1 && count == 1;
        for (position, (term, &input)) in op.terms.iter().zip(&layer.inputs).enumerate() {
            let operand = self.words(layer, input)?;
            match term {
                Term::Linear(linear) => {
                    terms.push(CombineTerm::Accumulator);
                    let (shared, packing) = self.linear.of((index, position));
                    if shared.len() > 1 {
                        let shared = (shared, (index, position), packing);
                        operands.push(self.part(layer, operand, shared, linear)?);
                        continue;
                    }
                    let origin =
                        Origin { secret: vec![(index, position)], ..origin_of(is_last && plain) };
                    let op = SecureOp::Linear(LinearOp {
                        geometry: linear.geometry,
                        weight_bits: linear.weight_bits,
                        multiplier_bits: linear.multiplier_bits,
                        acc_bits,
                        guard_bits,
                        rounded_bits: self.facts.rounded_bits(index),
                        packing,
                    });
                    operands.push(self.push(&[operand], origin, op)?);
                }
                Term::Scaled(scaled) => {
                    operands.push(operand);
                    terms.push(CombineTerm::Scaled(*scaled));
                }
            }
        }
        let sum = if plain && !is_joined {
            operands[0]
        } else {
            if plain {
                // As wide as this sum needs it.
                self.added.push(self.program.graph.node_count() - 1);
            }
            // With a linear term the bias is the server's, and part of that step.
            let constant = if count == 0 { op.bias.first().copied().unwrap_or(0) } else { 0 };
            let combine = CombineOp { acc_bits, guard_bits, constant, terms };
            self.push(&operands, origin_of(is_last), SecureOp::Combine(combine))?
        };
        self.sums[index] = sum.index().checked_sub(1);
        let Some(requantize) = op.requantize else {
            return Ok(if exact {
                Nodes { words: Some(sum), ..Nodes::default() }
            } else {
                Nodes { plain: Some(sum), ..Nodes::default() }
            });
        };
        let bits = self.requantize(sum, requantize, result_origin(layer))?;
        Ok(Nodes { bits: Some(bits), ..Nodes::default() })
    }

    /// The channels of `term`, which is `linear`, of the step that computes it and others: the first of
    /// them makes that step.
    fn part(
        &mut self,
        layer: &IntegerLayer,
        operand: NodeIndex,
        (terms, term, packing): (&[(usize, usize)], (usize, usize), Packing),
        linear: &LinearTerm,
    ) -> Result<NodeIndex, Diagnostic> {
        let node = match self.joined.get(&terms[0]) {
            Some(&node) => node,
            None => {
                let op = joined_op(self.network, self.facts, terms, packing)
                    .ok_or_else(|| missing(layer))?;
                let origin = Origin { secret: terms.to_vec(), ..step_origin(layer) };
                let node = self.push(&[operand], origin, SecureOp::Linear(op))?;
                self.joined.insert(terms[0], node);
                // The first part, which comes next.
                self.added.push(node.index());
                node
            }
        };
        let before = terms.iter().take_while(|&&other| other != term);
        let channels = before.filter_map(|&other| linear_term(self.network, other));
        let start: usize = channels.map(|linear| linear.geometry.out_channels).sum();
        let axis = |source, start| ViewAxis { source, start, step: 1 };
        let start = i64::try_from(start).map_err(|_| missing(layer))?;
        let output = linear.geometry.output().ok_or_else(|| missing(layer))?;
        let view = View {
            axes: [axis(0, start), axis(1, 0), axis(2, 0)],
            output,
            batch: linear.geometry.batch,
        };
        self.push(&[node], step_origin(layer), SecureOp::View(view))
    }

    /// A step that works on every form of its operands, in the forms that are needed of its result.
    fn rearrange(
        &mut self,
        value: ValueId,
        layer: &IntegerLayer,
        op: &SecureOp,
    ) -> Result<Nodes, Diagnostic> {
        let demand = self.forms.demand[value.0];
        let native = self.forms.native[value.0];
        let mut nodes = Nodes::default();
        let inputs = layer.inputs.iter();
        if matches!(native, Native::Client | Native::Accumulator) {
            let operands: Option<Vec<_>> = inputs.map(|id| self.values[id.0].plain).collect();
            let operands = operands
                .ok_or_else(|| unsupported(layer, "joins unquantized results of linear layers"))?;
            if native == Native::Accumulator {
                // Only reordering hands an accumulator on.
                let pushed = self.program.push(&operands, result_origin(layer), op.clone());
                let what = "pads or joins the unquantized result of a linear layer";
                nodes.plain = Some(pushed.map_err(|_| unsupported(layer, what))?);
            } else {
                nodes.plain = Some(self.push(&operands, result_origin(layer), op.clone())?);
            }
            return Ok(nodes);
        }
        if native == Native::Bits && demand.bits {
            let operands = inputs.clone().map(|&id| self.bits(layer, id));
            let operands = operands.collect::<Result<Vec<_>, _>>()?;
            nodes.bits = Some(self.push(&operands, result_origin(layer), op.clone())?);
        }
        if native == Native::Words || demand.rearranged_words {
            let operands = inputs.map(|&id| self.words(layer, id));
            let operands = operands.collect::<Result<Vec<_>, _>>()?;
            nodes.words = Some(self.push(&operands, result_origin(layer), op.clone())?);
        }
        Ok(nodes)
    }

    /// The value as arithmetic shares, or as the client's own; `layer` reads it.
    fn words(&mut self, layer: &IntegerLayer, value: ValueId) -> Result<NodeIndex, Diagnostic> {
        let nodes = self.values[value.0];
        if self.forms.native[value.0] == Native::Accumulator {
            return Err(unsupported(layer, "reads the unquantized result of a linear layer"));
        }
        if let Some(node) = nodes.words.or(nodes.plain) {
            return Ok(node);
        }
        let bits = nodes.bits.ok_or_else(|| missing(layer))?;
        let Domain::Boolean { bits: own, .. } = self.domain(bits) else {
            return Err(missing(layer));
        };
        // Wider than the value's own bits, even if no accumulator is; and so wide that it holds.
        let least = self.forms.width(value, self.facts).max(own + 1);
        let width = self.forms.demand[value.0].words.unwrap_or(0).max(least);
        let op = SecureOp::ToArithmetic { bits: width };
        let node = self.push(&[bits], step_origin(layer), op)?;
        self.values[value.0].words = Some(node);
        Ok(node)
    }

    /// The value as bits; `layer` reads it.
    fn bits(&mut self, layer: &IntegerLayer, value: ValueId) -> Result<NodeIndex, Diagnostic> {
        let nodes = self.values[value.0];
        if let Some(node) = nodes.bits {
            return Ok(node);
        }
        let range = self.facts.ranges.get(value.0).copied().unwrap_or(IntRange { lo: 0, hi: 0 });
        // A constant has one bit too.
        let range = IntRange { lo: range.lo, hi: range.hi.max(range.lo + 1) };
        if range.bits() > 8 {
            return Err(Diagnostic::new(
                Code::UnsupportedForm,
                &layer.name,
                format!("reads integers in {}..={}, more than 8 bits hold", range.lo, range.hi),
                "quantize this tensor; where branches are joined, quantize them with one scale",
            ));
        }
        let node = match (self.forms.native[value.0], nodes) {
            (Native::Accumulator, _) => {
                return Err(unsupported(layer, "reads the unquantized result of a linear layer"));
            }
            (_, Nodes { words: Some(words), .. }) => {
                let requantize = Requantize { shift: 0, range };
                self.requantize(words, requantize, step_origin(layer))?
            }
            (_, Nodes { plain: Some(plain), .. }) => {
                let op = SecureOp::ToBoolean { bits: range.bits(), lo: range.lo };
                self.push(&[plain], step_origin(layer), op)?
            }
            _ => return Err(missing(layer)),
        };
        self.values[value.0].bits = Some(node);
        Ok(node)
    }

    fn requantize(
        &mut self,
        operand: NodeIndex,
        Requantize { shift, range }: Requantize,
        origin: Origin,
    ) -> Result<NodeIndex, Diagnostic> {
        let domain = self.domain(operand);
        let (acc_bits, guard_bits, shift) = match (domain, EarlyRounding::of(domain)) {
            // The guard bits are among those that rounding drops.
            (_, Some(rounding)) => {
                let shift = shift.saturating_sub(rounding.accumulator_bits());
                (rounding.rounded_word_bits(), 0, shift)
            }
            (Domain::Accumulator { acc_bits, guard_bits, .. }, None) => {
                (acc_bits, guard_bits, shift)
            }
            (Domain::Arithmetic { bits, .. }, None) => (bits, 0, shift),
            (Domain::Client { .. } | Domain::Boolean { .. } | Domain::Revealed, None) => {
                (0, 0, shift)
            }
        };
        let limit = u32::try_from(range.hi.abs_diff(range.lo)).unwrap_or(u32::MAX);
        let widths =
            RequantizeWidths { acc_bits, guard_bits, shift, result_bits: range.bits(), limit };
        self.push(&[operand], origin, SecureOp::Requantize { widths, range })
    }

    fn open_output(&mut self, network: &IntegerNetwork, reveal: Reveal) -> Result<(), Diagnostic> {
        let name = &network.output.name;
        let unsupported = |what: &str| {
            let remedy = "let the output depend on the weights: end with a Conv, Gemm or MatMul";
            Diagnostic::new(Code::UnsupportedForm, name, what, remedy)
        };
        let value = network.output.value;
        let native = self.forms.native.get(value.0).copied();
        let nodes = self.values.get(value.0).copied().unwrap_or_default();
        if native == Some(Native::Client) {
            return Err(unsupported("the client computes the output from its own input"));
        }
        let node = match native {
            Some(Native::Bits) => nodes.bits,
            _ => nodes.words.or(nodes.plain),
        };
        let mut node = node.ok_or_else(|| unsupported("no layer makes the output"))?;
        let (name, operator) = (name.clone(), "Output".to_owned());
        let mut origin = Origin { tensor: name.clone(), name, operator, secret: Vec::new() };
        if let Reveal::Top { k } = reveal {
            reveal.check(self.program.graph[node].result.shape).map_err(|what| {
                let remedy = "reveal fewer, or --reveal logits; end the model with a pooling or a \
                              Flatten if rows and columns are left";
                Diagnostic::new(Code::BadOption, format!("--reveal {reveal}"), what, remedy)
            })?;
            // Indices are integers of none of the model's tensors.
            origin.tensor.clear();
            node = self.push(&[node], origin.clone(), SecureOp::Top { k })?;
        }
        self.push(&[node], origin, SecureOp::Open)?;
        Ok(())
    }

    fn push(
        &mut self,
        operands: &[NodeIndex],
        origin: Origin,
        op: SecureOp,
    ) -> Result<NodeIndex, Diagnostic> {
        let name = origin.name.clone();
        self.program.push(operands, origin, op).map_err(|error| untyped(&name, &error))
    }

    fn domain(&self, node: NodeIndex) -> Domain {
        self.program.graph[node].result.domain
    }
}

/// The origin of a step within `layer` whose result is none of the model's tensors.
fn step_origin(layer: &IntegerLayer) -> Origin {
    let (name, operator) = (layer.name.clone(), layer.operator.clone());
    Origin { name, operator, ..Origin::default() }
}

/// The origin of the step that makes the result of `layer`.
fn result_origin(layer: &IntegerLayer) -> Origin {
    Origin { tensor: layer.tensor.clone(), ..step_origin(layer) }
}

fn unsupported(layer: &IntegerLayer, what: &str) -> Diagnostic {
    let remedy = "put a quantizer behind the Conv, Gemm or MatMul";
    Diagnostic::new(Code::UnsupportedForm, &layer.name, what, remedy)
}

fn missing(layer: &IntegerLayer) -> Diagnostic {
    Diagnostic::new(Code::Internal, &layer.name, "reads a value in a form not made", REPORT)
}

fn untyped(name: &str, error: &TypeError) -> Diagnostic {
    Diagnostic::new(Code::Internal, name, error.to_string(), REPORT)
}
