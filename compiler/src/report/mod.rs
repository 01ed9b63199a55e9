//! What a plan will cost, before anything runs: as a table and as JSON.

mod json;
mod table;

pub use json::to_json;
pub use table::to_table;

use heq_ir::plan::cost::PartCost;
use heq_ir::plan::{Layer, LayerKind, LinearStep, Plan, RoundedStep};
use heq_ir::secure::{Domain, Packing, ValueType};

/// One row of the report: a step with its choices and cost.
struct Row<'a> {
    layer: &'a Layer,
    /// Width of the activations that a linear step reads, in bits.
    activation_bits: u32,
    linear: Option<LinearStep<'a>>,
    cost: PartCost,
    shape: String,
    /// Type of the first operand.
    operand: Option<ValueType>,
    /// Of a requantization that rounds early, how.
    rounded: Option<RoundedStep>,
    /// Bits that calibration data took of the accumulator, if its width was calibrated.
    used_bits: Option<u32>,
}

impl Row<'_> {
    /// Bits that calibration data left free of the accumulator.
    fn free_bits(&self) -> Option<u32> {
        Some(self.layer.kind.acc_bits()?.saturating_sub(self.used_bits?))
    }
}

fn rows(plan: &Plan) -> impl Iterator<Item = Row<'_>> {
    let cost = plan.cost(1);
    plan.layers().iter().zip(cost.layers).enumerate().map(|(index, (layer, cost))| Row {
        layer,
        activation_bits: activation_bits(plan, layer),
        linear: plan.linear_step(index),
        operand: plan.operands(index).first().copied(),
        rounded: plan.rounded_step(index),
        used_bits: plan.observed_bits(index),
        cost,
        shape: plan.values().get(index + 1).map_or(String::new(), |value| value.shape.to_string()),
    })
}

/// Width of the integers that a step reads: of the client's input, of the bits behind the shares, or
/// of the shares themselves.
fn activation_bits(plan: &Plan, layer: &Layer) -> u32 {
    let mut layer = layer;
    loop {
        let Some(operand) = layer.operands.first() else { return 0 };
        match plan.values().get(operand.0).map(|value| value.domain) {
            Some(Domain::Client { range }) => return range.bits(),
            Some(Domain::Boolean { bits, .. }) => return bits,
            Some(Domain::Arithmetic { bits, .. }) => {
                // Values are numbered after their makers, and a maker reads an earlier value.
                let Some(maker) = operand.0.checked_sub(1) else { return bits };
                layer = &plan.layers()[maker];
                if matches!(layer.kind, LayerKind::Combine(_)) {
                    return bits;
                }
            }
            _ => return 0,
        }
    }
}

/// What an opening reveals.
fn opened(operand: Option<ValueType>) -> String {
    operand.map_or(String::new(), |operand| operand.domain.to_string())
}

/// Widths that matter to a step, in the report's short form.
fn bits(row: &Row<'_>) -> String {
    let free = row.free_bits().map_or(String::new(), |bits| format!(", {bits} free"));
    match &row.layer.kind {
        LayerKind::Linear { op, .. } => {
            let packing = match op.packing {
                Packing::None => String::new(),
                packing @ (Packing::WithinChannel { .. } | Packing::CrossChannel { .. }) => {
                    format!(" {packing}")
                }
            };
            let dropped = match op.rounded_bits {
                0 => String::new(),
                bits => format!(" d{bits}"),
            };
            format!(
                "W{}A{} m{} acc{}{dropped}{packing}{free}",
                op.weight_bits, row.activation_bits, op.multiplier_bits, op.acc_bits
            )
        }
        LayerKind::Requantize { widths, form, .. } => {
            let (l, s, b) = (widths.acc_bits, widths.shift, widths.result_bits);
            let rounded = row.rounded.map_or(String::new(), |rounded| {
                format!(", off by one {:.1e}", rounded.probability)
            });
            format!("{l} >> {s} -> {b}, {form}{rounded}")
        }
        LayerKind::Combine(op) => format!("{} terms, acc{}{free}", op.terms.len(), op.acc_bits),
        LayerKind::Table { widths, .. } => {
            format!("{} -> {}", widths.input_bits, widths.result_bits)
        }
        LayerKind::ToArithmetic { bits, form } => format!("mod 2^{bits}, {form}"),
        LayerKind::ToBoolean { bits, .. } => format!("{bits} bits"),
        LayerKind::MaxPool { window, .. } => {
            format!("{}x{} window", window.kernel[0], window.kernel[1])
        }
        LayerKind::Open => opened(row.operand),
        LayerKind::Top { k } => {
            format!("{k} of {}", row.operand.map_or(0, |operand| operand.shape.channels))
        }
        LayerKind::View(_) | LayerKind::Reshape(_) | LayerKind::Concat => String::new(),
    }
}
