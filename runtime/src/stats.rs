//! What a run measured, and its JSON form `heq-stats/1`.

use crate::protocol::Role;
use crate::session::Mode;
use heq_ir::layout::PartyOperations;
use heq_ir::plan::cost::{LinearOperations, PlanCost};
use heq_ir::plan::{LayerKind, Plan};
use heq_net::Meter;
use serde::Serialize;
use std::time::Duration;

/// Traffic and time of one part of a run. Up is client to server; bytes are on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Measured {
    /// Bytes that the client sent.
    pub bytes_up: u64,
    /// Bytes that the server sent.
    pub bytes_down: u64,
    /// Sequential message steps.
    pub flights: u64,
    /// Wall time in seconds.
    pub wall_s: f64,
    /// Operations on polynomials, of the party that measured; of a linear step alone.
    #[serde(skip)]
    pub operations: LinearOperations,
}

impl Measured {
    /// Adds what the party `role` saw.
    pub fn add(&mut self, role: Role, meter: Meter, wall: Duration) {
        let (up, down) = match role {
            Role::Client => (meter.bytes_sent, meter.bytes_received),
            Role::Server => (meter.bytes_received, meter.bytes_sent),
        };
        self.bytes_up += up;
        self.bytes_down += down;
        self.flights += u64::from(meter.horizon);
        self.wall_s += wall.as_secs_f64();
    }

    /// Adds `operations` of the party `role`.
    pub fn add_operations(&mut self, role: Role, operations: PartyOperations) {
        match role {
            Role::Client => self.operations.client += operations,
            Role::Server => self.operations.server += operations,
        }
    }
}

/// The random OTs of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RotStats {
    /// Random OTs that were made.
    pub made: u64,
    /// Random OTs that steps took.
    pub used: u64,
    /// Rows of the OT extension that those made took.
    pub rows: u64,
    /// How long steps waited for random OTs, in seconds.
    pub waited_s: f64,
}

/// What one session measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionStats {
    /// What the session was for.
    pub mode: Mode,
    /// Inferences that were run or prepared; all figures but set-up are their sums.
    pub inferences: u32,
    /// Batches of prepared inferences that the client offered.
    pub offers: u32,
    /// Time of writing prepared inferences, or of reading them without the random OTs, in seconds.
    pub store_s: f64,
    /// Handshake, base OT, keys.
    pub setup: Measured,
    /// OT extension, on a lane and a thread of its own; its time is that of making random OTs.
    pub correlations: Measured,
    /// The random OTs.
    pub rots: RotStats,
    /// One entry a step.
    pub layers: Vec<Measured>,
}

impl SessionStats {
    /// Adds the operations that the other party of the same session counted.
    pub fn add_operations_of(&mut self, peer: &Self) {
        for (own, peer) in self.layers.iter_mut().zip(&peer.layers) {
            own.add_operations(Role::Client, peer.operations.client);
            own.add_operations(Role::Server, peer.operations.server);
        }
    }

    /// Sum over all steps.
    #[must_use]
    pub fn online(&self) -> Measured {
        self.layers.iter().fold(Measured::default(), |sum, layer| Measured {
            bytes_up: sum.bytes_up + layer.bytes_up,
            bytes_down: sum.bytes_down + layer.bytes_down,
            flights: sum.flights + layer.flights,
            wall_s: sum.wall_s + layer.wall_s,
            ..sum
        })
    }

    /// What the plan says of such a session.
    #[must_use]
    pub fn predicted(&self, plan: &Plan) -> PlanCost {
        match self.mode {
            Mode::Whole => plan.cost(self.inferences),
            Mode::Prepare => plan.offline_cost(self.inferences),
            Mode::Prepared => plan.online_cost(self.inferences, self.offers),
        }
    }

    /// The statistics as a `heq-stats/1` document; `party` is `client`, `server`, or `local` for both.
    #[must_use]
    pub fn to_json(&self, plan: &Plan, link: &str, party: &str) -> serde_json::Value {
        let layers: Vec<_> = plan
            .layers()
            .iter()
            .zip(&self.layers)
            .map(|(layer, measured)| {
                let mut entry = serde_json::json!({
                    "name": layer.name,
                    "kind": layer.kind.op().name(),
                    "bytes_up": measured.bytes_up,
                    "bytes_down": measured.bytes_down,
                    "flights": measured.flights,
                    "wall_s": measured.wall_s,
                });
                if matches!(layer.kind, LayerKind::Linear { .. }) {
                    entry["operations"] = operations_json(party, &measured.operations);
                }
                entry
            })
            .collect();
        let (offline, online) = match self.mode {
            Mode::Prepare => (self.online(), Measured::default()),
            Mode::Whole | Mode::Prepared => (Measured::default(), self.online()),
        };
        serde_json::json!({
            "schema": "heq-stats/1",
            "plan": plan.digest().to_string(),
            "model": plan.spec().model,
            "link": link,
            "mode": self.mode.name(),
            "inferences": self.inferences,
            "batch": plan.batch(),
            "setup": self.setup,
            "offline": offline,
            "online": online,
            "offers": self.offers,
            "store_s": self.store_s,
            "correlations": {
                "bytes_up": self.correlations.bytes_up,
                "bytes_down": self.correlations.bytes_down,
                "flights": self.correlations.flights,
                "wall_s": self.correlations.wall_s,
                "waited_s": self.rots.waited_s,
                "extension": plan.spec().ot.to_string(),
                "made": self.rots.made,
                "used": self.rots.used,
                "rows": self.rots.rows,
            },
            party: serde_json::json!(ProcessUsage::now()),
            "layers": layers,
        })
    }
}

/// The operations of the parties that were measured.
fn operations_json(party: &str, operations: &LinearOperations) -> serde_json::Value {
    let parties = [("client", operations.client), ("server", operations.server)];
    let known = parties.into_iter().filter(|(name, _)| [*name, "local"].contains(&party));
    let entry = |(name, counts): (&str, PartyOperations)| {
        let counts = serde_json::json!({
            "transforms": counts.transforms,
            "weight_transforms": counts.weight_transforms,
            "products": counts.products,
            "key_switches": counts.key_switches,
        });
        (name.to_owned(), counts)
    };
    known.map(entry).collect::<serde_json::Map<_, _>>().into()
}

/// CPU time and peak memory of this process, where the operating system tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ProcessUsage {
    /// User and system time so far in seconds, in steps of 1/100 s.
    pub cpu_s: Option<f64>,
    /// Largest resident memory so far in bytes.
    pub peak_rss_bytes: Option<u64>,
}

impl ProcessUsage {
    /// Of this process, now.
    #[must_use]
    pub fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak_kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
        Self { cpu_s: cpu_seconds(), peak_rss_bytes: peak_kib.map(|kib| kib * 1024) }
    }
}

/// Resident memory of this process in bytes, where the operating system tells.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}

/// User and system time of this process in seconds.
fn cpu_seconds() -> Option<f64> {
    /// Linux reports `/proc/self/stat` times in units of 1/100 s on every architecture.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the program's name, may contain spaces; it ends with the last ')'.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}
