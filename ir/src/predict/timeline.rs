//! The steps of both parties laid out in time.

use super::simulation::{Action, PartTimes, Scripts, simulate};
use super::{Situation, script};
use crate::plan::Plan;

/// What a part of a run spends most of its time on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bound {
    /// It takes no time.
    #[default]
    Nothing,
    /// The client computes.
    ClientCpu,
    /// The server computes.
    ServerCpu,
    /// Messages wait for the bandwidth of the link.
    Bandwidth,
    /// Messages are under way.
    Latency,
    /// A step waits for random OTs.
    RandomOts,
}

impl Bound {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::ClientCpu => "client",
            Self::ServerCpu => "server",
            Self::Bandwidth => "bandwidth",
            Self::Latency => "latency",
            Self::RandomOts => "random OTs",
        }
    }
}

/// Predicted times of one part of a run, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PartPrediction {
    /// Processor time of the client, all threads together.
    pub client_cpu_s: f64,
    /// Processor time of the server, all threads together.
    pub server_cpu_s: f64,
    /// Time in which messages are under way while both parties wait for them.
    pub network_s: f64,
    /// Time in which the part waits for random OTs.
    pub waited_s: f64,
    /// Time from its first to its last moment, as the client sees it.
    pub wall_s: f64,
    /// What it is bound by.
    pub bound: Bound,
}

/// Predicted times of a session of one inference.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanPrediction {
    /// Handshake, base OT, keys.
    pub setup: PartPrediction,
    /// Making the random OTs, which runs beside the steps.
    pub correlations: PartPrediction,
    /// One entry a step.
    pub layers: Vec<PartPrediction>,
    /// Bytes that client and server put on the wire in all, as the plan counts them.
    pub wire_bytes: [u64; 2],
}

impl PlanPrediction {
    /// Time of the steps together, in seconds.
    #[must_use]
    pub fn online_s(&self) -> f64 {
        self.layers.iter().map(|layer| layer.wall_s).sum()
    }

    /// Processor time of client and server for the steps and their random OTs, in seconds.
    #[must_use]
    pub fn cpu_s(&self) -> [f64; 2] {
        let parts = || self.layers.iter().chain([&self.correlations]);
        [parts().map(|part| part.client_cpu_s).sum(), parts().map(|part| part.server_cpu_s).sum()]
    }
}

impl Plan {
    /// Predicts the times of a session of one inference, with the runtime's own limits of memory.
    #[must_use]
    pub fn predict(&self, situation: &Situation<'_>) -> PlanPrediction {
        prediction_of(&script::of_plan(self, situation, false), situation)
    }

    /// Predicts the times of a session that prepares one inference.
    #[must_use]
    pub fn predict_offline(&self, situation: &Situation<'_>) -> PlanPrediction {
        prediction_of(&script::of_plan(self, situation, true), situation)
    }

    /// Predicts the times of a session that runs one prepared inference.
    #[must_use]
    pub fn predict_prepared(&self, situation: &Situation<'_>) -> PlanPrediction {
        prediction_of(&script::of_prepared(self, situation), situation)
    }
}

fn prediction_of(scripts: &Scripts, situation: &Situation<'_>) -> PlanPrediction {
    let outcome = simulate(scripts, situation);
    let mut parts = outcome.parts.iter().zip(walker_us(scripts)).map(|(times, work_us)| {
        let mut part = prediction(times);
        [part.client_cpu_s, part.server_cpu_s] = work_us.map(|time| time / 1e6);
        part
    });
    let setup = parts.next().unwrap_or_default();
    let layers: Vec<PartPrediction> = parts.collect();
    let made = |party: usize| {
        let lanes = scripts.producers.iter().flat_map(|lane| &lane[party]);
        lanes.map(Action::work_us).sum::<f64>() / 1e6
    };
    let correlations = PartPrediction {
        client_cpu_s: made(0),
        server_cpu_s: made(1),
        waited_s: layers.iter().map(|layer| layer.waited_s).sum(),
        wall_s: outcome.producing_us[0] / 1e6,
        ..PartPrediction::default()
    };
    // Sums of whole numbers far below 2^53.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
    let wire_bytes = outcome.sent_bytes.map(|bytes| bytes as u64);
    PlanPrediction { setup, correlations, layers, wire_bytes }
}

/// Work of the walkers of client and server in every part, in microseconds.
fn walker_us(scripts: &Scripts) -> Vec<[f64; 2]> {
    let of_party = |party: usize| {
        let parts = scripts.walkers[party].split(|action| *action == Action::EndPart);
        parts.map(|part| part.iter().map(Action::work_us).sum()).collect::<Vec<f64>>()
    };
    let [client, server] = [0, 1].map(of_party);
    client.into_iter().zip(server).map(|(client, server)| [client, server]).collect()
}

fn prediction(times: &PartTimes) -> PartPrediction {
    let [client, server] = times.computing;
    let shares = [
        (client, Bound::ClientCpu),
        (server, Bound::ServerCpu),
        (times.bandwidth, Bound::Bandwidth),
        (times.latency, Bound::Latency),
        (times.random_ots, Bound::RandomOts),
    ];
    let longest = shares.into_iter().fold((0.0, Bound::Nothing), |longest, share| {
        if share.0 > longest.0 { share } else { longest }
    });
    PartPrediction {
        network_s: (times.bandwidth + times.latency) / 1e6,
        waited_s: times.random_ots / 1e6,
        wall_s: times.wall / 1e6,
        bound: longest.1,
        ..PartPrediction::default()
    }
}
