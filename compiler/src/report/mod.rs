//! What a plan will cost, before anything runs: as a table and as JSON.

mod json;
mod table;

pub use json::to_json;
pub use table::to_table;

use heq_ir::plan::cost::PartCost;
use heq_ir::plan::{Layer, LayerKind, LinearStep, Plan};

/// One row of the report: a step with its choices and cost.
struct Row<'a> {
    layer: &'a Layer,
    linear: Option<LinearStep<'a>>,
    cost: PartCost,
    shape: String,
}

fn rows(plan: &Plan) -> impl Iterator<Item = Row<'_>> {
    let cost = plan.cost(1);
    plan.layers().iter().zip(cost.layers).enumerate().map(|(index, (layer, cost))| Row {
        layer,
        linear: plan.linear_step(index),
        cost,
        shape: plan.values().get(index + 1).map_or(String::new(), |value| value.shape.to_string()),
    })
}

/// Widths that matter to a step, in the report's short form.
fn bits(kind: &LayerKind) -> String {
    match kind {
        LayerKind::Linear { op, .. } => {
            format!("W{} m{} acc{}", op.weight_bits, op.multiplier_bits, op.acc_bits)
        }
        LayerKind::Requantize { widths, form, .. } => {
            let (l, s, b) = (widths.acc_bits, widths.shift, widths.result_bits);
            format!("{l} >> {s} -> {b}, digits {}", form.digit_bits)
        }
        LayerKind::ToArithmetic { bits, .. } => format!("mod 2^{bits}"),
        LayerKind::MaxPool { window } => {
            format!("{}x{} window", window.kernel[0], window.kernel[1])
        }
        LayerKind::Flatten | LayerKind::Open => String::new(),
    }
}

/// Names come from a file: nothing in them may steer a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
