//! What a model becomes, without planning it: a row for every layer of its integer network.

mod pattern;

use crate::pipeline::{IMPORTED, ImportOptions, PASSES, import_observed};
use comfy_table::{Table, presets};
use heq_ir::diagnostic::{Diagnostics, cell, printable};
use heq_ir::geometry::Chw;
use heq_ir::graph::Graph;
use heq_ir::integer::{
    InputElement, InputLayout, IntRange, IntegerLayer, IntegerNetwork, IntegerOp, SumOp, Term,
};
use pattern::Patterns;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A model that is supported.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Its integer network.
    pub network: IntegerNetwork,
    /// What the user should know about it, in sentences.
    pub notes: Vec<String>,
    /// One entry for each layer.
    pub layers: Vec<CheckedLayer>,
}

/// What one layer is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedLayer {
    /// What it computes, in the words of docs/integer-network.md.
    pub kernel: String,
    /// Shape of the result.
    pub shape: Chw,
    /// Width of the weights in bits, if it has any.
    pub weight_bits: Option<u32>,
    /// Width of the widest activation that it reads in bits, unless that is an exact sum.
    pub activation_bits: Option<u32>,
    /// Width of the multipliers in bits, if it has weights.
    pub multiplier_bits: Option<u32>,
    /// Shift of its requantization in bits.
    pub shift: Option<u32>,
    /// The values that its result takes, if they are few.
    pub range: Option<IntRange>,
    /// The ONNX nodes that it computes, operator and name, in the order in which they run.
    pub nodes: Vec<[String; 2]>,
    /// The quantizers of its result and its weights, operator and name.
    pub quantizers: Vec<[String; 2]>,
}

/// Imports a model and says what became of it.
///
/// # Errors
/// Everything in the model that is not supported.
pub fn check(
    bytes: &[u8],
    file_name: &str,
    options: &ImportOptions<'_>,
) -> Result<Checked, Diagnostics> {
    let (mut first, mut last) = (None, None);
    let imported = import_observed(bytes, file_name, options, &mut |name, graph| {
        if name == IMPORTED {
            first = Some(graph.clone());
        } else if PASSES.last().is_some_and(|pass| pass.name == name) {
            last = Some(graph.clone());
        }
    })?;
    let network = imported.network;
    let layers = match (first, last) {
        (Some(first), Some(last)) => layers(&network, &first, &last),
        _ => Vec::new(),
    };
    Ok(Checked { network, notes: imported.notes, layers })
}

fn layers(network: &IntegerNetwork, first: &Graph, last: &Graph) -> Vec<CheckedLayer> {
    let patterns = Patterns::new(network, first, last);
    let input = (network.input_shape(), Some(network.input.quantization.range));
    let mut values: Vec<(Chw, Option<IntRange>)> = vec![input];
    let mut layers = Vec::with_capacity(network.layers.len());
    for (index, layer) in network.layers.iter().enumerate() {
        let operands: Vec<(Chw, Option<IntRange>)> =
            layer.inputs.iter().filter_map(|id| values.get(id.0)).copied().collect();
        let (shape, range) = result(layer, &operands);
        values.push((shape, range));
        let sum = match &layer.op {
            IntegerOp::Sum(sum) => Some(sum),
            IntegerOp::MaxPool(_)
            | IntegerOp::Table(_)
            | IntegerOp::View(_)
            | IntegerOp::Reshape(_)
            | IntegerOp::Concat { .. } => None,
        };
        let linear = || sum.into_iter().flat_map(SumOp::linear_terms).map(|(_, term)| term);
        let bits = operands.iter().map(|(_, range)| range.map(IntRange::bits));
        layers.push(CheckedLayer {
            kernel: kernel(&layer.op, &operands),
            shape,
            weight_bits: linear().map(|term| term.weight_bits).max(),
            activation_bits: bits.max().flatten(),
            multiplier_bits: linear().map(|term| term.multiplier_bits).max(),
            shift: sum.and_then(|sum| sum.requantize).map(|requantize| requantize.shift),
            range,
            nodes: patterns.nodes(index),
            quantizers: patterns.quantizers(index),
        });
    }
    layers
}

/// Shape of a layer's result, and the values that it takes.
fn result(layer: &IntegerLayer, operands: &[(Chw, Option<IntRange>)]) -> (Chw, Option<IntRange>) {
    let (shape, range) = operands.first().copied().unwrap_or((Chw::new(0, 0, 0), None));
    match &layer.op {
        IntegerOp::Sum(sum) => (sum.output, sum.requantize.map(|requantize| requantize.range)),
        IntegerOp::MaxPool(pool) => {
            let [height, width] =
                pool.window.output(pool.input.height, pool.input.width).unwrap_or([0, 0]);
            (Chw::new(pool.input.channels, height, width), range)
        }
        IntegerOp::Table(table) => (shape, Some(table.output)),
        IntegerOp::View(view) => (view.output, range),
        IntegerOp::Reshape(shape) => (*shape, range),
        IntegerOp::Concat { .. } => {
            let channels = operands.iter().map(|(shape, _)| shape.channels).sum();
            let join = |a: Option<IntRange>, b: Option<IntRange>| {
                Some(IntRange { lo: a?.lo.min(b?.lo), hi: a?.hi.max(b?.hi) })
            };
            let range = operands.iter().map(|(_, range)| *range).fold(range, join);
            (Chw { channels, ..shape }, range)
        }
    }
}

/// What a layer computes, in a few words.
fn kernel(op: &IntegerOp, operands: &[(Chw, Option<IntRange>)]) -> String {
    match op {
        IntegerOp::Sum(sum) => {
            let terms: Vec<String> = sum.terms.iter().map(term).collect();
            terms.join(" + ")
        }
        IntegerOp::MaxPool(pool) => {
            let [rows, columns] = pool.window.kernel;
            format!("max pooling {rows}x{columns}")
        }
        IntegerOp::Table(table) => {
            format!("table of {}", table.size().unwrap_or(usize::MAX))
        }
        IntegerOp::View(_) => "view".into(),
        IntegerOp::Reshape(_) => "reshape".into(),
        IntegerOp::Concat { .. } => format!("concatenation of {}", operands.len()),
    }
}

fn term(term: &Term) -> String {
    match term {
        Term::Linear(linear) => {
            let geometry = &linear.geometry;
            let [rows, columns] = geometry.window.kernel;
            let groups = match geometry.groups {
                1 => String::new(),
                groups => format!(", {groups} groups"),
            };
            let (input, kernels) = (geometry.input, geometry.out_channels);
            if [input.height, input.width, rows, columns] == [1; 4] {
                format!("fully connected {} -> {kernels}{groups}", input.channels)
            } else {
                format!("convolution {rows}x{columns} {} -> {kernels}{groups}", input.channels)
            }
        }
        Term::Scaled(scaled) => {
            let [rows, columns] = scaled.window.kernel;
            match [rows, columns] {
                [1, 1] => format!("{}*value", scaled.factor),
                _ => format!("{}*sum {rows}x{columns}", scaled.factor),
            }
        }
    }
}

impl Checked {
    /// A row for every layer, and the verdict.
    #[must_use]
    pub fn to_table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY);
        table.set_header([
            "#",
            "node",
            "becomes",
            "shape",
            "bits",
            "shift",
            "clamp",
            "made of",
            "quantizers",
        ]);
        for (index, (layer, of)) in self.network.layers.iter().zip(&self.layers).enumerate() {
            table.add_row([
                (index + 1).to_string(),
                format!("{} ({})", cell(&layer.name), cell(&layer.operator)),
                of.kernel.clone(),
                of.shape.to_string(),
                of.bits(),
                of.shift.map_or_else(String::new, |shift| format!(">> {shift}")),
                of.range.map_or_else(String::new, |range| format!("{}..{}", range.lo, range.hi)),
                printable(&operators(&of.nodes)),
                names(&of.quantizers),
            ]);
        }
        let input = &self.network.input;
        let order = match input.layout {
            InputLayout::Nchw => "",
            InputLayout::Nhwc => ", brought as rows x columns x channels",
        };
        let element = match input.element {
            InputElement::Real => "reals".to_owned(),
            InputElement::Integer { ty, zero_point } => {
                format!("integers {ty} with zero point {zero_point}")
            }
        };
        let bits = input.quantization.range.bits();
        let mut text = printable(&format!(
            "input {:?}: {element} {}{order}, quantized to {bits} bits",
            input.name, input.shape
        ));
        let linear = self.layers.iter().filter(|layer| layer.weight_bits.is_some()).count();
        let _ = writeln!(
            text,
            "\n{table}\nsupported: {} layers, {linear} of them with weights",
            self.layers.len()
        );
        text
    }

    /// A `heq-check/1` document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let nodes = |list: &[[String; 2]]| -> Vec<Value> {
            list.iter()
                .map(|[operator, name]| json!({"operator": operator, "name": name}))
                .collect()
        };
        let layers = self.network.layers.iter().zip(&self.layers).map(|(layer, of)| {
            json!({
                "name": layer.name,
                "operator": layer.operator,
                "tensor": layer.tensor,
                "inputs": layer.inputs,
                "kernel": of.kernel,
                "shape": of.shape,
                "weight_bits": of.weight_bits,
                "activation_bits": of.activation_bits,
                "multiplier_bits": of.multiplier_bits,
                "shift": of.shift,
                "range": of.range,
                "nodes": nodes(&of.nodes),
                "quantizers": nodes(&of.quantizers),
            })
        });
        json!({
            "schema": "heq-check/1",
            "model": self.network.name,
            "supported": true,
            "input": self.network.input,
            "output": self.network.output,
            "notes": self.notes,
            "layers": layers.collect::<Vec<_>>(),
        })
    }
}

impl CheckedLayer {
    /// Widths of weights, activations and multipliers.
    fn bits(&self) -> String {
        let part = |letter: &str, bits: Option<u32>| {
            bits.map_or_else(String::new, |bits| format!("{letter}{bits}"))
        };
        let widths = part("W", self.weight_bits) + &part("A", self.activation_bits);
        let multiplier = part("m", self.multiplier_bits);
        if multiplier.is_empty() { widths } else { format!("{widths} {multiplier}") }
    }
}

/// The operators of a list of nodes, each once in a row.
fn operators(nodes: &[[String; 2]]) -> String {
    let mut operators: Vec<&str> = nodes.iter().map(|[operator, _]| operator.as_str()).collect();
    operators.dedup();
    operators.join(", ")
}

fn names(nodes: &[[String; 2]]) -> String {
    let names: Vec<String> = nodes.iter().map(|[_, name]| cell(name)).collect();
    names.join("\n")
}
