//! The report as a `heq-report/1` document.

use super::rows;
use heq_ir::params::security::{COMPUTATIONAL_SECURITY_BITS, STATISTICAL_SECURITY_BITS};
use heq_ir::plan::cost::PartCost;
use heq_ir::plan::{LayerKind, Plan};
use serde_json::{Value, json};

/// The report of a plan.
#[must_use]
pub fn to_json(plan: &Plan) -> Value {
    let cost = plan.cost(1);
    let spec = plan.spec();
    let layers: Vec<Value> = rows(plan)
        .enumerate()
        .map(|(index, row)| {
            let mut layer = json!({
                "name": row.layer.name,
                "operator": row.layer.operator,
                "kind": row.layer.kind.op().name(),
                "kernel": row.layer.kind.kernel(),
                "tensor": row.layer.tensor,
                "operands": row.layer.operands,
                "output": row.shape,
                "choices": choices(&row.layer.kind),
                "cost": part(&row.cost),
            });
            if let Some(step) = row.linear {
                let counts = step.layout.counts();
                layer["choices"]["activation_bits"] = json!(row.activation_bits);
                layer["he"] = json!({
                    "ring_degree": step.params.ring_degree(),
                    "modulus_bits": step.params.modulus_bits(),
                    "tile": step.choice.tile,
                    "requests": counts.requests(),
                    "responses": counts.responses(),
                    "weight_polynomials": counts.weights(),
                    "request_drop_bits": step.choice.request_drop_bits,
                    "response_drop_bits": step.choice.response_drop_bits,
                    "noise_margin": step.choice.noise_model().margin(
                        step.params,
                        step.op.acc_bits + step.op.guard_bits,
                    ),
                });
                if let Some(operations) = plan.linear_operations(index) {
                    layer["he"]["transforms"] = json!(operations.transforms);
                    layer["he"]["products"] = json!(operations.products);
                }
            }
            layer
        })
        .collect();
    json!({
        "schema": "heq-report/1",
        "model": spec.model,
        "plan": plan.digest().to_string(),
        "accumulators": spec.acc_strategy.to_string(),
        "error_budget_log2": -i64::from(spec.error_budget_log2),
        "computational_security_bits": COMPUTATIONAL_SECURITY_BITS,
        "statistical_security_bits": STATISTICAL_SECURITY_BITS,
        "input": spec.input,
        "output": {"name": spec.output_name, "len": plan.output_len(), "scale": spec.output_scale},
        "setup": part(&cost.setup),
        "correlations": part(&cost.correlations),
        "online": part(&cost.online()),
        "layers": layers,
    })
}

fn part(cost: &PartCost) -> Value {
    json!({
        "bytes_up": cost.bytes_up,
        "bytes_down": cost.bytes_down,
        "flights": cost.flights,
        "rots_server_sends": cost.rots.server_sends,
        "rots_client_sends": cost.rots.client_sends,
    })
}

/// The widths of a step by their names.
fn choices(kind: &LayerKind) -> Value {
    match kind {
        LayerKind::Linear { op, .. } => json!({
            "weight_bits": op.weight_bits,
            "multiplier_bits": op.multiplier_bits,
            "acc_bits": op.acc_bits,
            "guard_bits": op.guard_bits,
        }),
        LayerKind::Requantize { widths, range, form } => json!({
            "acc_bits": widths.acc_bits,
            "guard_bits": widths.guard_bits,
            "shift": widths.shift,
            "lo": range.lo,
            "hi": range.hi,
            "digit_bits": form.digit_bits,
        }),
        LayerKind::MaxPool { window } => json!({"window": window}),
        LayerKind::Combine(op) => json!({
            "acc_bits": op.acc_bits,
            "guard_bits": op.guard_bits,
            "constant": op.constant,
            "terms": op.terms,
        }),
        LayerKind::Table { widths, lo } => json!({
            "input_bits": widths.input_bits,
            "result_bits": widths.result_bits,
            "lo": lo,
        }),
        LayerKind::View(view) => json!({"axes": view.axes}),
        LayerKind::ToArithmetic { bits } => json!({"share_bits": bits}),
        LayerKind::ToBoolean { bits, lo } => json!({"bits": bits, "lo": lo}),
        LayerKind::Reshape(_) | LayerKind::Concat | LayerKind::Open => json!({}),
    }
}
