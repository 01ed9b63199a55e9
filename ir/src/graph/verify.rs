//! The rules that every graph keeps, whatever pass made it.
//!
//! - **G1** The inputs of a node fill slots 0, 1, ... without gap or double, as many as its operator
//!   reads.
//! - **G2** There is no cycle.
//! - **G3** Every tensor has a name, and no two have the same.
//! - **G4** The type of a tensor is the one that its operator makes of the types it reads; constants
//!   hold as many elements as their shape says.
//! - **G5** Integers of constants lie within their range, and the range within their type.
//! - **G6** Scales are positive and finite, ranges are not empty, and zero points lie within their
//!   type.
//! - **G7** Parameters of affine maps, functions and normalizations are finite, what normalizations
//!   divide by is positive, and bounds of clips are numbers or infinite.
//! - **G8** There is an output, every output exists, and every node but an input leads to one.
//!
//! Not checked: that an output node is not repeated, that origins exist in the ONNX file.

use super::infer::infer;
use super::op::{BatchNormParams, Function, Op, QuantizeParams, Quantizer};
use super::{Graph, NodeIndex};
use crate::integer::IntRange;
use crate::tensor::TensorData;
use petgraph::Direction;
use std::collections::HashSet;
use std::fmt;

/// A rule, by its number in the list that opens this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Input slots.
    G1,
    /// Cycles.
    G2,
    /// Tensor names.
    G3,
    /// Types.
    G4,
    /// Integers of constants.
    G5,
    /// Quantizers.
    G6,
    /// Parameters of affine maps, functions, normalizations and clips.
    G7,
    /// Outputs and dead nodes.
    G8,
}

/// A rule that does not hold, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule:?} at {place}: {what}")]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// Name of the tensor, or of the graph.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

/// Checks every rule.
///
/// # Errors
/// All violations, in the order of the nodes; never an empty list.
pub fn verify(graph: &Graph) -> Result<(), Vec<Violation>> {
    let mut found = Violations(Vec::new());
    let mut names = HashSet::new();
    let live = graph.live();
    for id in graph.nodes.node_indices() {
        let node = graph.node(id);
        if node.tensor.is_empty() || !names.insert(node.tensor.as_str()) {
            found.add(Rule::G3, &node.tensor, "the name is empty or taken");
        }
        if check_slots(graph, id, &mut found) {
            check_type(graph, id, &mut found);
        }
        check_values(&node.tensor, &node.op, &mut found);
        if !live.contains(&id) && !matches!(node.op, Op::Input(_)) {
            found.add(Rule::G8, &node.tensor, "no output depends on it");
        }
    }
    let order = graph.topological().len();
    if order != graph.node_count() {
        let stuck = graph.node_count() - order;
        found.add(Rule::G2, &graph.name, format_args!("{stuck} nodes on or after a cycle"));
    }
    if graph.outputs.is_empty() {
        found.add(Rule::G8, &graph.name, "there is no output");
    }
    if graph.outputs.iter().any(|&id| !graph.nodes.contains_node(id)) {
        found.add(Rule::G8, &graph.name, "an output was removed");
    }
    if found.0.is_empty() { Ok(()) } else { Err(found.0) }
}

struct Violations(Vec<Violation>);

impl Violations {
    fn add(&mut self, rule: Rule, place: &str, what: impl fmt::Display) {
        self.0.push(Violation { rule, place: place.into(), what: what.to_string() });
    }
}

fn check_slots(graph: &Graph, id: NodeIndex, found: &mut Violations) -> bool {
    let mut slots: Vec<usize> =
        graph.nodes.edges_directed(id, Direction::Incoming).map(|edge| *edge.weight()).collect();
    slots.sort_unstable();
    let node = graph.node(id);
    let filled = slots.iter().enumerate().all(|(index, &slot)| index == slot);
    if !filled || !node.op.arity().contains(&slots.len()) {
        found.add(Rule::G1, &node.tensor, format_args!("input slots {slots:?}"));
        return false;
    }
    true
}

fn check_type(graph: &Graph, id: NodeIndex, found: &mut Violations) {
    let node = graph.node(id);
    let inputs = graph.inputs(id);
    let types: Vec<_> = inputs.iter().map(|&input| &graph.node(input).ty).collect();
    match infer(&node.op, &types) {
        Ok(ty) if ty == node.ty => {}
        Ok(ty) => {
            found.add(Rule::G4, &node.tensor, format_args!("type {} instead of {ty}", node.ty));
        }
        Err(error) => found.add(Rule::G4, &node.tensor, error),
    }
}

fn check_values(place: &str, op: &Op, found: &mut Violations) {
    match op {
        Op::Constant(tensor) => {
            if let TensorData::Int { ty, range, values } = &tensor.data {
                if !contains(ty.range(), *range) {
                    found.add(Rule::G5, place, format_args!("range {range:?} exceeds {ty}"));
                }
                check_range(place, *range, values, found);
            }
        }
        Op::QuantizedConstant(tensor) => {
            check_range(place, tensor.range, &tensor.values, found);
            check_scales(place, &tensor.scale, found);
        }
        Op::Quantize(Quantizer { quantization, .. }) => {
            check_scales(place, &[quantization.scale], found);
            if quantization.range.lo > quantization.range.hi {
                found.add(Rule::G6, place, "the range is empty");
            }
        }
        Op::QuantizeLinear(params) | Op::DequantizeLinear(params) => {
            check_params(place, params, found);
        }
        Op::ChannelAffine(map) => {
            if !map.multiplier.iter().chain(&map.offset).all(|value| value.is_finite()) {
                found.add(Rule::G7, place, "a multiplier or offset is not finite");
            }
        }
        Op::Function(function) => check_function(place, function, found),
        Op::BatchNormalization(params) => check_normalization(place, params, found),
        Op::Clip(bounds) => {
            if bounds.lower.is_nan() || bounds.upper.is_nan() {
                found.add(Rule::G7, place, "a bound is not a number");
            }
        }
        Op::Input(_)
        | Op::Relu
        | Op::Binary(_)
        | Op::Conv(_)
        | Op::MatMul
        | Op::Gemm { .. }
        | Op::MaxPool(_)
        | Op::AveragePool(_)
        | Op::Flatten { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Pad(_)
        | Op::Slice(_)
        | Op::Concat { .. }
        | Op::Softmax { .. }
        | Op::ArgMax { .. } => {}
    }
}

fn check_function(place: &str, function: &Function, found: &mut Violations) {
    let finite = match function {
        Function::Elu { alpha } => alpha.is_finite(),
        Function::HardSigmoid { alpha, beta } => alpha.is_finite() && beta.is_finite(),
        Function::LeakyRelu { slopes } => slopes.iter().all(|slope| slope.is_finite()),
        Function::Gelu { .. } | Function::HardSwish | Function::Sigmoid | Function::Tanh => true,
    };
    if !finite {
        found.add(Rule::G7, place, "a parameter of the function is not finite");
    }
}

fn check_normalization(place: &str, params: &BatchNormParams, found: &mut Violations) {
    let BatchNormParams { gamma, beta, mean, variance, epsilon } = params;
    let mut all = [gamma, beta, mean, variance].into_iter().flatten();
    if !all.all(|value| value.is_finite()) || !epsilon.is_finite() {
        found.add(Rule::G7, place, "a parameter of the normalization is not finite");
    }
    let divisors = variance.iter().map(|&variance| f64::from(variance) + f64::from(*epsilon));
    if divisors.into_iter().any(|divisor| divisor <= 0.0) {
        found.add(Rule::G7, place, "a variance with epsilon is not positive");
    }
}

fn check_params(place: &str, params: &QuantizeParams, found: &mut Violations) {
    let scales: Vec<f64> = params.scale.iter().map(|&scale| f64::from(scale)).collect();
    check_scales(place, &scales, found);
    let range = params.ty.range();
    if params.zero_point.iter().any(|zero| !(range.lo..=range.hi).contains(zero)) {
        found.add(Rule::G6, place, format_args!("a zero point exceeds {}", params.ty));
    }
}

fn check_scales(place: &str, scales: &[f64], found: &mut Violations) {
    if !scales.iter().all(|scale| *scale > 0.0 && scale.is_finite()) {
        found.add(Rule::G6, place, "a scale is not positive and finite");
    }
}

fn check_range(place: &str, range: IntRange, values: &[i64], found: &mut Violations) {
    if !values.iter().all(|value| (range.lo..=range.hi).contains(value)) {
        found.add(Rule::G5, place, format_args!("a value lies outside {range:?}"));
    }
}

fn contains(outer: IntRange, inner: IntRange) -> bool {
    outer.lo <= inner.lo && inner.lo <= inner.hi && inner.hi <= outer.hi
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Window;
    use crate::graph::op::{Bounds, ChannelAffine, SliceAxis};
    use crate::graph::parse::parse;

    const GRAPH: &str = "graph g
%x = input : f32[1,1,2,2]
%w = quantized_constant values=[1,-2] scale=[0.5] range=-3..3 : f32[2,1,1,1]
%y = conv(%x,%w) strides=1,1 pads=0,0,0,0 : f32[1,2,2,2]
%z = channel_affine(%y) multiplier=[1.0,2.0] offset=[0.0,0.0] : f32[1,2,2,2]
%q = quantize(%z) scale=0.25 range=0..15 : f32[1,2,2,2]
return %q
";

    /// Breaks a valid graph and expects exactly the violations of `rules`.
    fn check(rules: &[Rule], damage: impl FnOnce(&mut Graph, &dyn Fn(&str) -> NodeIndex)) {
        let mut graph = parse(GRAPH).unwrap();
        verify(&graph).unwrap();
        let original = graph.clone();
        let find = |name: &str| {
            let mut ids = original.nodes.node_indices();
            ids.find(|&id| original.node(id).tensor == name).unwrap()
        };
        damage(&mut graph, &find);
        let found = verify(&graph).unwrap_err();
        let found_rules: Vec<Rule> = found.iter().map(|violation| violation.rule).collect();
        assert_eq!(found_rules, rules, "{found:?}");
    }

    #[test]
    fn slots() {
        check(&[Rule::G1], |graph, find| {
            graph.nodes.add_edge(find("x"), find("y"), 7);
        });
    }

    #[test]
    fn cycles() {
        check(&[Rule::G8, Rule::G8, Rule::G2], |graph, find| {
            let edge = graph.nodes.find_edge(find("y"), find("z")).unwrap();
            graph.nodes.remove_edge(edge);
            graph.nodes.add_edge(find("q"), find("z"), 0);
        });
    }

    #[test]
    fn names() {
        check(&[Rule::G3, Rule::G3], |graph, find| {
            graph.nodes[find("y")].tensor.clear();
            graph.nodes[find("q")].tensor = "z".into();
        });
    }

    #[test]
    fn types() {
        check(&[Rule::G4, Rule::G4], |graph, find| {
            let ty = graph.node(find("x")).ty.clone();
            graph.nodes[find("q")].ty = ty;
            if let Op::ChannelAffine(map) = &mut graph.nodes[find("z")].op {
                map.offset.pop();
            }
        });
    }

    #[test]
    fn constants() {
        check(&[Rule::G5, Rule::G6], |graph, find| {
            if let Op::QuantizedConstant(tensor) = &mut graph.nodes[find("w")].op {
                tensor.range = IntRange { lo: -1, hi: 3 };
                tensor.scale = vec![-0.5];
            }
        });
    }

    #[test]
    fn quantizers() {
        check(&[Rule::G6, Rule::G6], |graph, find| {
            if let Op::Quantize(Quantizer { quantization, .. }) = &mut graph.nodes[find("q")].op {
                quantization.scale = f64::NAN;
                quantization.range = IntRange { lo: 1, hi: 0 };
            }
        });
    }

    #[test]
    fn parameters() {
        let [inf, nan] = [f32::INFINITY, f32::NAN];
        let norm = |variance, mean, epsilon| {
            let (gamma, beta) = (vec![1.0; 2], vec![0.0; 2]);
            let (mean, variance) = (vec![0.0, mean], vec![1.0, variance]);
            Op::BatchNormalization(BatchNormParams { gamma, beta, mean, variance, epsilon })
        };
        for op in [
            Op::ChannelAffine(ChannelAffine {
                multiplier: vec![1.0, f64::INFINITY],
                offset: vec![0.0; 2],
            }),
            Op::Function(Function::Elu { alpha: inf }),
            Op::Function(Function::HardSigmoid { alpha: 1.0, beta: nan }),
            Op::Function(Function::LeakyRelu { slopes: vec![0.5, -inf] }),
            Op::Clip(Bounds { lower: f64::NAN, upper: 1.0 }),
            norm(0.0, 0.0, 0.0),
            norm(1.0, inf, 0.0),
        ] {
            check(&[Rule::G7], |graph, find| graph.nodes[find("z")].op = op);
        }
    }

    #[test]
    fn shapes() {
        let axis = |start, step, len| SliceAxis { start, step, len };
        let whole = |extents: [usize; 3]| extents.map(SliceAxis::whole);
        for op in [
            Op::Slice([&whole([1, 2, 2])[..], &[axis(1, 1, 2)]].concat()),
            Op::Slice([&whole([1, 2, 2])[..], &[axis(0, 0, 2)]].concat()),
            Op::Pad(vec![[0, 0]; 3]),
            Op::Softmax { axis: 4, log: false },
            Op::ArgMax { axis: 4, keep_dims: true },
            Op::Concat { axis: 4 },
            Op::MaxPool(Window::dense([1, 1], [0, 1], [0; 4])),
        ] {
            check(&[Rule::G4], |graph, find| graph.nodes[find("z")].op = op);
        }
    }

    #[test]
    fn outputs() {
        check(&[Rule::G8], |graph, find| graph.outputs = vec![find("z")]);
        check(&[Rule::G8; 5], |graph, _| graph.outputs.clear());
    }
}
