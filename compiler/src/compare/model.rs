//! The exact meaning of the model, and where its tensors are found.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "only the operators that end or begin a graph are of interest"
)]

use super::{Output, Sources, internal};
use crate::pipeline::{IMPORTED, ImportOptions, import_observed};
use heq_data::Sample;
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::geometry::Chw;
use heq_ir::graph::evaluate::{Evaluator, Value};
use heq_ir::graph::op::{GraphInput, Op};
use heq_ir::graph::{Graph, NodeIndex};
use heq_ir::integer::InputLayout;
use heq_ir::tensor::{ElementType, TensorType};
use std::collections::HashMap;

/// The graph as it was imported.
pub(super) struct Model {
    pub(super) graph: Graph,
    pub(super) notes: Vec<String>,
    /// Type of the input tensor of the file.
    pub(super) input: TensorType,
    /// Whether that tensor is `[1, H, W, C]`.
    channels_last: bool,
    shape: Chw,
    /// The tensors of the graph that steps of the plan hold the integers of.
    pub(super) steps: HashMap<NodeIndex, usize>,
    /// The tensor whose integers the plan outputs.
    pub(super) result: Option<NodeIndex>,
    /// How the outputs of the file are to be read.
    pub(super) end: End,
}

/// What the outputs of the file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The plan's output, as reals.
    Reals,
    /// The plan's output, as integers with this zero point.
    Integers {
        /// The integer that stands for 0.0.
        zero_point: i64,
    },
    /// Probabilities, from which the plan's output differs in all but the order.
    Probabilities,
    /// The class.
    Class,
}

impl Model {
    pub(super) fn import(sources: &Sources<'_>) -> Result<Self, Diagnostics> {
        let mut graph = None;
        let imported = import_observed(
            sources.model,
            sources.model_name,
            &ImportOptions { external: sources.external, ..ImportOptions::default() },
            &mut |name, observed| {
                if name == IMPORTED {
                    graph = Some(observed.clone());
                }
            },
        )?;
        let graph = graph.ok_or_else(|| internal("the import was not observed"))?;
        let (network, spec) = (imported.network, sources.plan.spec());
        let input = graph.topological().into_iter().find_map(|id| match &graph.node(id).op {
            Op::Input(GraphInput { ty, .. }) if graph.node(id).tensor == network.input.name => {
                Some(ty.clone())
            }
            _ => None,
        });
        let input = input.ok_or_else(|| internal("the model has no input"))?;
        if network.input.shape != spec.input.shape || network.input.name != spec.input.name {
            let what = format!(
                "its input {:?} {} is not {:?} {}, the plan's",
                network.input.name, network.input.shape, spec.input.name, spec.input.shape
            );
            let remedy = "give the model that the plan was compiled from";
            return Err(Diagnostic::new(Code::WrongInput, sources.model_name, what, remedy).into());
        }
        let shape = network.input.shape;
        let last = [1, shape.height, shape.width, shape.channels];
        let channels_last = network.input.layout == InputLayout::Nhwc && input.shape.dims() == last;
        let tensors: HashMap<&str, NodeIndex> = graph
            .topological()
            .into_iter()
            .map(|id| (graph.node(id).tensor.as_str(), id))
            .collect();
        let result = tensors.get(spec.output_name.as_str()).copied();
        let mut steps = HashMap::new();
        for (step, layer) in sources.plan.layers().iter().enumerate() {
            let id = tensors.get(layer.tensor.as_str()).filter(|_| !layer.tensor.is_empty());
            let held = sources.plan.values().get(step + 1).map(|value| {
                let channels = value.shape.channels / sources.plan.batch();
                Chw { channels, ..value.shape }
            });
            if let Some(&id) = id.filter(|&&id| held.is_some_and(|held| is_held(&graph, id, held)))
            {
                steps.entry(id).or_insert(step);
            }
        }
        let end = end(&graph);
        Ok(Self {
            notes: imported.notes,
            input,
            channels_last,
            shape,
            steps,
            result: result.or(match end {
                End::Reals | End::Integers { .. } => graph.outputs().first().copied(),
                End::Probabilities | End::Class => None,
            }),
            end,
            graph,
        })
    }

    pub(super) fn evaluator(&self) -> Result<Evaluator<'_>, Diagnostics> {
        Evaluator::new(&self.graph).map_err(|error| internal(&error.to_string()).into())
    }

    /// A sample in the order of the file's input.
    pub(super) fn arrange(&self, sample: &Sample) -> Vec<f64> {
        let x = sample.reals();
        let Chw { channels, height, width } = self.shape;
        if !self.channels_last || x.len() != self.shape.len() {
            return x;
        }
        let plane = height * width;
        let reorder = |at: usize| (0..channels).map(move |c| c * plane + at);
        (0..plane).flat_map(reorder).map(|at| x[at]).collect()
    }

    /// Numbers in the file's own output as an output.
    pub(super) fn output(&self, values: Vec<f64>) -> Output {
        match self.end {
            End::Class => Output::of_class(values),
            End::Reals | End::Integers { .. } | End::Probabilities => Output::new(values),
        }
    }

    /// The numbers of the file's output in steps of the plan's output, if they are.
    pub(super) fn in_steps(&self, values: &[f64], scale: f64) -> Option<Vec<f64>> {
        #[expect(clippy::cast_precision_loss, reason = "zero points are small")]
        match self.end {
            End::Reals => Some(values.iter().map(|value| value / scale).collect()),
            End::Integers { zero_point } => {
                Some(values.iter().map(|value| value - zero_point as f64).collect())
            }
            End::Probabilities | End::Class => None,
        }
    }
}

/// The integers of a tensor in steps of `scale`; reals are divided by it, if there is one.
pub(super) fn steps(value: &Value, scale: Option<f64>) -> Option<Vec<f64>> {
    use heq_ir::graph::evaluate::Elements;
    #[expect(clippy::cast_precision_loss, reason = "values of a plan have far less than 53 bits")]
    let exact = |integers: &[i64]| Some(integers.iter().map(|&step| step as f64).collect());
    match (&value.elements, scale) {
        (Elements::Grid(grid), None) if grid.scale.len() == 1 => exact(&grid.steps),
        (Elements::Grid(grid), Some(scale))
            if grid.scale.first().is_some_and(|own| own.total_cmp(&scale).is_eq()) =>
        {
            exact(&grid.steps)
        }
        (Elements::Grid(_) | Elements::Real(_), Some(scale)) => {
            Some(value.reals().iter().map(|real| real / scale).collect())
        }
        (Elements::Grid(_) | Elements::Real(_) | Elements::Integer(_), _) => None,
    }
}

/// Whether a tensor has the elements of a value of `shape` in the same order.
fn is_held(graph: &Graph, id: NodeIndex, shape: Chw) -> bool {
    let extents = |dims: &[usize]| -> Vec<usize> {
        dims.iter().copied().filter(|&extent| extent != 1).collect()
    };
    let held = [shape.channels, shape.height, shape.width];
    extents(graph.node(id).ty.shape.dims()) == extents(&held)
}

/// What the graph's first output is.
fn end(graph: &Graph) -> End {
    let Some(&output) = graph.outputs().first() else { return End::Reals };
    let mut at = output;
    loop {
        match &graph.node(at).op {
            Op::Softmax { .. } => return End::Probabilities,
            Op::ArgMax { .. } => return End::Class,
            Op::Quantize(_)
            | Op::QuantizeLinear(_)
            | Op::DequantizeLinear(_)
            | Op::Flatten { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Slice(_)
            | Op::Concat { .. } => {}
            _ => break,
        }
        match graph.inputs(at).first() {
            Some(&source) => at = source,
            None => break,
        }
    }
    match (&graph.node(output).op, graph.node(output).ty.element) {
        (Op::QuantizeLinear(params), _) => {
            End::Integers { zero_point: params.zero_point.first().copied().unwrap_or(0) }
        }
        (_, ElementType::Int(_)) => integers_behind(graph, output),
        (_, ElementType::Float) => End::Reals,
    }
}

/// The zero point of integers that were only moved since they were quantized.
fn integers_behind(graph: &Graph, mut at: NodeIndex) -> End {
    while let Some(&source) = graph.inputs(at).first() {
        at = source;
        if let Op::QuantizeLinear(params) = &graph.node(at).op {
            return End::Integers { zero_point: params.zero_point.first().copied().unwrap_or(0) };
        }
    }
    End::Integers { zero_point: 0 }
}
