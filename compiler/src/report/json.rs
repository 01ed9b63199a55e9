//! The report as a `heq-report/1` document.

use super::rows;
use heq_ir::layout::PartyOperations;
use heq_ir::params::RlweParams;
use heq_ir::params::security::{COMPUTATIONAL_SECURITY_BITS, STATISTICAL_SECURITY_BITS};
use heq_ir::plan::cost::PartCost;
use heq_ir::plan::{AccStrategy, LayerKind, LinearStep, Plan};
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
            if let (Some(used_bits), Some(free_bits)) = (row.used_bits, row.free_bits()) {
                layer["calibration"] = json!({"used_bits": used_bits, "free_bits": free_bits});
            }
            if let Some(rounded) = row.rounded {
                layer["rounding"] = json!({
                    "dropped_bits": rounded.rounding.dropped_bits(),
                    "differing_probability": rounded.probability,
                    "differing_elements": rounded.differing(),
                });
            }
            if let Some(step) = row.linear {
                layer["choices"]["activation_bits"] = json!(row.activation_bits);
                layer["he"] = linear(plan, index, &step);
            }
            layer
        })
        .collect();
    json!({
        "schema": "heq-report/1",
        "model": spec.model,
        "plan": plan.digest().to_string(),
        "accumulators": spec.acc_strategy.to_string(),
        "calibration": calibration(plan),
        "error_budget_log2": -i64::from(spec.error_budget_log2),
        "rounding": {"rule": spec.rounding.to_string(), "differing_elements": plan.differing_elements()},
        "computational_security_bits": COMPUTATIONAL_SECURITY_BITS,
        "statistical_security_bits": STATISTICAL_SECURITY_BITS,
        "input": spec.input,
        "output": {
            "name": spec.output_name,
            "len": plan.output_len(),
            "scale": spec.output_scale,
            "reveal": plan.reveal().to_string(),
            "classes": plan.classes(),
        },
        "setup": part(&cost.setup),
        "keys": plan.rlwe().iter().enumerate().map(|set| keys(set, plan)).collect::<Vec<_>>(),
        "correlations": part(&cost.correlations),
        "ot": {
            "extension": spec.ot.to_string(),
            "bytes_per_row": spec.ot.bytes_per_row(),
            "setup_bytes": 2 * spec.ot.setup_bytes().iter().sum::<u64>(),
            "exchanges": plan.rot_chunks().len(),
        },
        "online": part(&cost.online()),
        "layers": layers,
    })
}

/// What calibrated widths rest on; null of other widths, which never overflow.
fn calibration(plan: &Plan) -> Value {
    let spec = plan.spec();
    match (spec.acc_strategy, &spec.calibration) {
        (AccStrategy::Calibrated { margin_bits }, Some(calibration)) => json!({
            "margin_bits": margin_bits,
            "samples": calibration.samples,
            "may_overflow": true,
        }),
        _ => Value::Null,
    }
}

/// How a linear step is computed.
fn linear(plan: &Plan, index: usize, step: &LinearStep<'_>) -> Value {
    let LinearStep { op, choice, params, layout } = step;
    let counts = layout.counts();
    let operations = plan.linear_operations(index).unwrap_or_default();
    let lifted = plan.lifted_elements(index).map_or(0, |elements| elements.len());
    json!({
        "ring_degree": params.ring_degree(),
        "modulus_bits": params.modulus_bits(),
        "key_switch": params.spec().key_switch,
        "packing": op.packing.to_string(),
        "field_bits": op.packing.field_bits(),
        "lifted_elements": lifted,
        "tile": choice.tile,
        "requests": counts.requests(),
        "request_coefficients": layout.request_window().1,
        "responses": counts.responses(),
        "leaves": counts.leaves(),
        "weight_polynomials": counts.weights(),
        "request_drop_bits": choice.request_drop_bits,
        "response_drop_bits": choice.response_drop_bits,
        "noise_margin": choice.noise_model().margin(params, op.precise_bits()),
        "client": party(&operations.client),
        "server": party(&operations.server),
    })
}

fn party(operations: &PartyOperations) -> Value {
    json!({
        "transforms": operations.transforms,
        "weight_transforms": operations.weight_transforms,
        "products": operations.products,
        "key_switches": operations.key_switches,
    })
}

/// The keys of a parameter set.
fn keys((set, params): (usize, &RlweParams), plan: &Plan) -> Value {
    let galois_keys = plan.galois_spacings(set).len() as u64;
    json!({
        "ring_degree": params.ring_degree(),
        "modulus_bits": params.modulus_bits(),
        "key_switch": params.spec().key_switch,
        "zero_key_bytes": params.polynomial_bytes(0),
        "galois_keys": galois_keys,
        "galois_key_bytes": galois_keys * params.galois_key_bytes(),
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
            "rounded_bits": op.rounded_bits,
            "packing": op.packing.to_string(),
        }),
        LayerKind::Requantize { widths, range, form } => json!({
            "acc_bits": widths.acc_bits,
            "guard_bits": widths.guard_bits,
            "shift": widths.shift,
            "lo": range.lo,
            "hi": range.hi,
            "form": form,
        }),
        LayerKind::MaxPool { window, form } => json!({"window": window, "form": form}),
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
        LayerKind::ToArithmetic { bits, form } => json!({"share_bits": bits, "form": form}),
        LayerKind::ToBoolean { bits, lo } => json!({"bits": bits, "lo": lo}),
        LayerKind::Top { k } => json!({"k": k}),
        LayerKind::Reshape(_) | LayerKind::Concat | LayerKind::Open => json!({}),
    }
}
