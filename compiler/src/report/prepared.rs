//! What a plan takes in two phases: an inference that is prepared, and what is left to do with its input.

use super::Report;
use super::json::{part, time};
use super::units::{bytes, count};
use heq_ir::plan::Plan;
use heq_ir::plan::cost::{PartCost, PlanCost};
use heq_ir::predict::{Bound, PartPrediction, PlanPrediction, Situation};
use serde_json::{Value, json};

/// Costs and predictions of both phases of one inference.
pub(super) struct TwoPhases {
    offline: (PlanCost, PlanPrediction),
    online: (PlanCost, PlanPrediction),
    /// Bytes on disk at client and server.
    stored: [u64; 2],
}

impl TwoPhases {
    /// Of `plan`, unless it cannot be prepared.
    pub(super) fn of(plan: &Plan, situation: &Situation<'_>) -> Option<Self> {
        if plan.packed_layers().next().is_some() {
            return None;
        }
        Some(Self {
            offline: (plan.offline_cost(1), plan.predict_offline(situation)),
            online: (plan.online_cost(1, 1), plan.predict_prepared(situation)),
            stored: plan.prepared_bytes(),
        })
    }

    /// What is done beforehand, its random OTs included, and what is left.
    fn parts(&self) -> [(&'static str, PartCost, PartPrediction); 2] {
        let (cost, prediction) = &self.offline;
        let mut offline = cost.online();
        offline.add(&cost.correlations);
        offline.flights = cost.online().flights;
        let mut beforehand = sum(prediction);
        beforehand.client_cpu_s += prediction.correlations.client_cpu_s;
        beforehand.server_cpu_s += prediction.correlations.server_cpu_s;
        [
            ("or prepared: beforehand", offline, beforehand),
            ("or prepared: with the input", self.online.0.online(), sum(&self.online.1)),
        ]
    }
}

/// The steps of a prediction together.
pub(super) fn sum(prediction: &PlanPrediction) -> PartPrediction {
    let sum = |figure: fn(&PartPrediction) -> f64| prediction.layers.iter().map(figure).sum();
    PartPrediction {
        client_cpu_s: sum(|part| part.client_cpu_s),
        server_cpu_s: sum(|part| part.server_cpu_s),
        network_s: sum(|part| part.network_s),
        waited_s: sum(|part| part.waited_s),
        wall_s: prediction.online_s(),
        bound: Bound::Nothing,
    }
}

impl Report<'_> {
    /// The phases of a prepared inference with their cost and time; none if it cannot be prepared.
    pub(super) fn phases(&self) -> Vec<(&'static str, PartCost, PartPrediction)> {
        self.two_phases.iter().flat_map(TwoPhases::parts).collect()
    }

    /// What prepared inferences take on disk, or why there are none.
    pub(super) fn prepared_text(&self) -> String {
        match &self.two_phases {
            Some(phases) => {
                let [client, server] = phases.stored.map(bytes);
                format!(
                    "prepared inferences (heq-run prepare): {client} on disk at the client, {server} at the server, each"
                )
            }
            None => format!(
                "prepared inferences (heq-run prepare): none, since {} several elements a coefficient; \
                 compile with --objective online-latency",
                match self.plan.packed_layers().count() {
                    1 => "1 layer holds".to_owned(),
                    layers => format!("{} hold", count(layers, "layer")),
                }
            ),
        }
    }

    /// Both phases of an inference, and of each step; null if it cannot be prepared.
    pub(super) fn prepared_json(&self) -> Value {
        let Some(phases) = &self.two_phases else { return Value::Null };
        let phase = |(cost, prediction): &(PlanCost, PlanPrediction)| {
            json!({
                "setup": part(&cost.setup),
                "correlations": part(&cost.correlations),
                "steps": part(&cost.online()),
                "prediction": time(&sum(prediction)),
                "layers": cost.layers.iter().map(part).collect::<Vec<_>>(),
            })
        };
        let [client, server] = phases.stored;
        json!({
            "offline": phase(&phases.offline),
            "online": phase(&phases.online),
            "stored_bytes": {"client": client, "server": server},
        })
    }
}
