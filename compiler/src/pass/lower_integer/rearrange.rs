//! Operators that move elements: views, reshaping, concatenation.

use super::{Faults, Known, Lowering, Value, ValueKind, chw};
use heq_ir::geometry::Chw;
use heq_ir::graph::NodeIndex;
use heq_ir::graph::infer::order;
use heq_ir::graph::op::Op;
use heq_ir::integer::{IntRange, IntegerOp, View, ViewAxis};
use heq_ir::secure::MAX_TERMS;

impl Lowering<'_> {
    /// Moves the elements of values; a sum is made the network's result if only that is left.
    pub(super) fn rearrange(&mut self, id: NodeIndex) -> Result<Known, Faults> {
        let inputs = self.graph.inputs(id);
        let mut values = Vec::with_capacity(inputs.len());
        for (slot, &input) in inputs.iter().enumerate() {
            match self.known(input) {
                Known::Value(value) => values.push(value),
                Known::Sum(sum) if inputs.len() == 1 && self.leads_to_output(id) => {
                    values.push(self.result(input, &sum)?);
                }
                // Without a quantizer only an exact sum can be moved.
                Known::Sum(sum) if !sum.is_linear() => match self.exact(input, &sum)? {
                    Some(value) => values.push(value),
                    None => return Err(self.unquantized(id, slot)),
                },
                Known::Failed => return Ok(Known::Failed),
                Known::Input(_) | Known::Sum(_) | Known::Function(_) | Known::Unquantized => {
                    if inputs.len() > 1 {
                        return Err(self.unquantized(id, slot));
                    }
                    return Ok(Known::Unquantized);
                }
            }
        }
        let node = self.graph.node(id);
        let shape = chw(node)?;
        let Some(&value) = values.first() else { return Ok(Known::Unquantized) };
        let op = match &node.op {
            Op::Concat { axis } => return self.concat(id, *axis, shape, &values),
            Op::Flatten { .. } | Op::Reshape { .. } => Some(IntegerOp::Reshape(shape)),
            op => view(op, self.graph.node(inputs[0]).ty.shape.rank(), shape).map(IntegerOp::View),
        };
        let Some(op) = op else {
            return self.unsupported(
                id,
                "it moves elements along the batch dimension",
                "leave the first dimension as it is",
            );
        };
        if op == IntegerOp::Reshape(value.shape) || is_identity(&op, value.shape) {
            return Ok(Known::Value(value));
        }
        let range = match op {
            IntegerOp::View(_) if matches!(node.op, Op::Pad(_)) => with_zero(value.range),
            _ => value.range,
        };
        if range != value.range && value.kind != ValueKind::Client {
            return self.unsupported(
                id,
                "it pads a tensor that never is 0 with zeros",
                "quantize the tensor so that 0 is one of its values",
            );
        }
        let made = self.push(id, id, &[value], op);
        Ok(Known::Value(Value { id: made, shape, ..value }))
    }

    fn concat(
        &mut self,
        id: NodeIndex,
        axis: usize,
        shape: Chw,
        values: &[Value],
    ) -> Result<Known, Faults> {
        let Some(&first) = values.first() else { return Ok(Known::Unquantized) };
        if values.len() > MAX_TERMS {
            return self.unsupported(
                id,
                &format!("it has {} inputs, at most {MAX_TERMS} are supported", values.len()),
                "concatenate in several steps",
            );
        }
        if axis != 1 {
            return self.unsupported(
                id,
                "it concatenates along another dimension than the channels",
                "concatenate along dimension 1",
            );
        }
        if let Some(other) = values.iter().find(|v| v.scale.to_bits() != first.scale.to_bits()) {
            return self.unsupported(
                id,
                &format!("its inputs have unequal scales, {} and {}", first.scale, other.scale),
                "place a quantizer behind the concatenation, or quantize its inputs with one scale",
            );
        }
        let range = values.iter().fold(first.range, |range, value| IntRange {
            lo: range.lo.min(value.range.lo),
            hi: range.hi.max(value.range.hi),
        });
        let all = |kind| values.iter().all(|value| value.kind == kind);
        let kind = if all(first.kind) { first.kind } else { ValueKind::Exact };
        let made = self.push(id, id, values, IntegerOp::Concat { batch: 1 });
        Ok(Known::Value(Value { id: made, shape, range, kind, ..first }))
    }

    /// Whether nothing but reshaping stands between a tensor and the output of the network.
    fn leads_to_output(&self, mut id: NodeIndex) -> bool {
        while let Some(reader) = self.graph.only_reader(id) {
            if !matches!(self.graph.node(reader).op, Op::Flatten { .. } | Op::Reshape { .. }) {
                return false;
            }
            id = reader;
        }
        self.graph.outputs().contains(&id) && self.graph.readers(id).is_empty()
    }
}

/// The view that an operator is on a tensor of `rank` dimensions; `None` if it moves the batch.
fn view(op: &Op, rank: usize, output: Chw) -> Option<View> {
    let mut axes = [0, 1, 2].map(|source| ViewAxis { source, start: 0, step: 1 });
    // Dimension of `[C, H, W]` that a dimension of the tensor is.
    let place = |dimension: usize| match (rank, dimension) {
        (_, 0) => None,
        (_, 1) => Some(0),
        (3, 2) | (4, 3) => Some(2),
        (4, 2) => Some(1),
        _ => None,
    };
    match op {
        Op::Slice(slices) => {
            for (dimension, slice) in slices.iter().enumerate().skip(1) {
                let axis = &mut axes[place(dimension)?];
                axis.start = i64::try_from(slice.start).ok()?;
                axis.step = slice.step;
            }
        }
        Op::Pad(pads) => {
            if pads.first() != Some(&[0, 0]) {
                return None;
            }
            for (dimension, [before, _]) in pads.iter().enumerate().skip(1) {
                axes[place(dimension)?].start = -i64::try_from(*before).ok()?;
            }
        }
        Op::Transpose { perm } => {
            let order = order(perm.as_deref(), rank);
            if order.first() != Some(&0) {
                return None;
            }
            for (dimension, &source) in order.iter().enumerate().skip(1) {
                axes[place(dimension)?].source = place(source)?;
            }
        }
        _ => return None,
    }
    Some(View { axes, output, batch: 1 })
}

fn is_identity(op: &IntegerOp, input: Chw) -> bool {
    let IntegerOp::View(view) = op else { return false };
    let plain = [0, 1, 2].map(|source| ViewAxis { source, start: 0, step: 1 });
    view.axes == plain && view.output == input
}

fn with_zero(range: IntRange) -> IntRange {
    IntRange { lo: range.lo.min(0), hi: range.hi.max(0) }
}
