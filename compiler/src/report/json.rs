//! The report as a `heq-report/1` document.

use super::measured::{Comparison, Measurement};
use super::rows::{ByMechanism, Row, total_failure_log2};
use super::units::share;
use super::{Report, assumptions};
use heq_ir::layout::PartyOperations;
use heq_ir::params::RlweParams;
use heq_ir::params::security::{COMPUTATIONAL_SECURITY_BITS, STATISTICAL_SECURITY_BITS};
use heq_ir::plan::cost::PartCost;
use heq_ir::plan::{AccStrategy, LayerKind, LinearStep, Plan};
use heq_ir::predict::PartPrediction;
use heq_ir::predict::memory::PartyMemory;
use serde_json::{Value, json};

impl Report<'_> {
    /// The report as a `heq-report/1` document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (plan, cost, spec) = (self.plan, &self.cost, self.plan.spec());
        let mut document = json!({
            "schema": "heq-report/1",
            "model": spec.model,
            "plan": plan.digest().to_string(),
            "accumulators": spec.acc_strategy.to_string(),
            "calibration": calibration(plan),
            "error_budget_log2": -i64::from(spec.error_budget_log2),
            "failure_log2": total_failure_log2(&self.rows),
            "rounding": {"rule": spec.rounding.to_string(), "differing_elements": plan.differing_elements()},
            "computational_security_bits": COMPUTATIONAL_SECURITY_BITS,
            "statistical_security_bits": STATISTICAL_SECURITY_BITS,
            "batch": plan.batch(),
            "input": spec.input,
            "output": {
                "name": spec.output_name,
                "len": plan.output_len(),
                "scale": spec.output_scale,
                "reveal": plan.reveal().to_string(),
                "classes": plan.classes(),
            },
            "situation": self.situation(),
            "setup": part(&cost.setup),
            "keys": plan.rlwe().iter().enumerate().map(|set| keys(set, plan)).collect::<Vec<_>>(),
            "correlations": part(&cost.correlations),
            "ot": {
                "extension": spec.ot.to_string(),
                "bytes_per_row": spec.ot.bytes_per_row(),
                "setup_bytes": 2 * spec.ot.setup_bytes().iter().sum::<u64>(),
                "messages": self.ot_messages(),
            },
            "online": part(&self.online),
            "bytes": mechanisms(&self.bytes()),
            "prediction": {
                "setup": time(&self.prediction.setup),
                "correlations": time(&self.prediction.correlations),
                "online_s": self.prediction.online_s(),
                "cpu_s": self.prediction.cpu_s(),
            },
            "memory": {"client": memory(&self.memory.client), "server": memory(&self.memory.server)},
            "layers": self.order().into_iter().map(|at| self.layer(&self.rows[at])).collect::<Vec<_>>(),
        });
        document["disclosure"] = self
            .disclosure()
            .iter()
            .map(|(label, text)| json!({"what": label, "text": text}))
            .collect();
        document["prepared"] = self.prepared_json();
        document["choices"] = self.choices_json();
        document["measured"] =
            self.options.measured.map_or(Value::Null, |measured| self.measured_json(measured));
        document
    }

    /// What times and memory are predicted for.
    fn situation(&self) -> Value {
        let (options, profile) = (&self.options, self.options.profile);
        json!({
            "link": options.link.map(|link| link.to_string()),
            "bits_per_second": options.link.map(heq_ir::link::LinkProfile::bits_per_second),
            "rtt_s": options.link.map(|link| link.rtt().as_secs_f64()),
            "threads": options.threads.max(1),
            "is_shared": options.is_shared,
            "machine": profile.machine,
            "measured_on": profile.date,
            "command": profile.command,
        })
    }

    /// Why the plan is as it is, candidates left out; null if that is not known.
    fn choices_json(&self) -> Value {
        let Some(choices) = self.choices() else { return Value::Null };
        json!({
            "assumptions": choices.assumptions,
            "solver": choices.solver,
            "fixed": choices.fixed,
            "advice": choices.advice.iter().take(assumptions::ADVICE).collect::<Vec<_>>(),
        })
    }

    fn measured_json(&self, measured: &Measurement) -> Value {
        let (steps, [online, correlations, setup]) = self.comparisons(measured);
        let steps: Vec<Value> = steps.iter().map(comparison).collect();
        let usage = Self::usage(measured).into_iter();
        let usage: Vec<Value> = usage
            .map(|(process, cpu_s, memory)| {
                json!({"process": process, "cpu_s": cpu_s, "peak_rss_bytes": memory})
            })
            .collect();
        json!({
            "link": measured.link_name(),
            "inferences": measured.inferences(),
            "online": comparison(&online),
            "correlations": comparison(&correlations),
            "setup": comparison(&setup),
            "processes": usage,
            "steps": steps,
        })
    }

    fn layer(&self, row: &Row<'_>) -> Value {
        let mut layer = json!({
            "step": row.index + 1,
            "name": row.layer.name,
            "operator": row.layer.operator,
            "kind": row.layer.kind.op().name(),
            "kernel": row.layer.kind.kernel(),
            "tensor": row.layer.tensor,
            "operands": row.layer.operands,
            "output": row.shape,
            "choices": choices(&row.layer.kind),
            "cost": part(&row.cost),
            "bytes": mechanisms(&row.bytes),
            "rot_rows": row.rot_rows,
            "prediction": time(&row.time),
            "memory": {"client": row.memory[0], "server": row.memory[1]},
            "share": {
                "bytes": share(row.bytes.total() as f64, self.bytes().total() as f64),
                "time": share(row.time.wall_s, self.prediction.online_s()),
            },
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
        if let (Some(step), Some(noise)) = (&row.linear, row.noise) {
            layer["choices"]["activation_bits"] = json!(row.activation_bits);
            layer["he"] = linear(self.plan, row.index, step);
            layer["he"]["shared_with"] = json!(row.shared_with);
            layer["he"]["noise_margin"] = json!(noise.margin);
            layer["he"]["required_margin"] = json!(noise.required);
            layer["he"]["failure_log2"] = json!(noise.failure_log2);
        }
        layer
    }
}

fn comparison(found: &Comparison) -> Value {
    json!({
        "bytes_up": {"predicted": found.predicted.bytes_up, "measured": found.measured.bytes_up()},
        "bytes_down": {"predicted": found.predicted.bytes_down, "measured": found.measured.bytes_down()},
        "flights": {"predicted": found.predicted.flights, "measured": found.measured.flights()},
        "wall_s": {"predicted": found.predicted_s, "measured": found.measured_s},
        "is_exact": found.is_exact(),
        "time_error": found.time_error(),
    })
}

fn mechanisms(bytes: &ByMechanism) -> Value {
    json!({
        "requests": bytes.requests,
        "responses": bytes.responses,
        "bits_up": bytes.bits_up,
        "bits_down": bytes.bits_down,
        "rots_up": bytes.rots_up,
        "rots_down": bytes.rots_down,
    })
}

pub(super) fn time(part: &PartPrediction) -> Value {
    json!({
        "client_cpu_s": part.client_cpu_s,
        "server_cpu_s": part.server_cpu_s,
        "network_s": part.network_s,
        "waited_s": part.waited_s,
        "wall_s": part.wall_s,
        "bound": part.bound.name(),
    })
}

fn memory(party: &PartyMemory) -> Value {
    json!({"peak": party.peak(), "kept": party.kept})
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

pub(super) fn part(cost: &PartCost) -> Value {
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
        LayerKind::Reshape(_) | LayerKind::Concat { .. } | LayerKind::Open => json!({}),
    }
}
