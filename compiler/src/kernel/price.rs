//! What a way to compute a step takes, and at what price the search compares such ways.
//!
//! There are many ways, and no order among them: one takes fewer bytes, another less time. A [`Price`]
//! is one view of them; the candidates of the integer program are the best in each of several views.

use heq_ir::layout::LayoutCounts;
use heq_ir::params::RlweParams;
use heq_ir::plan::OtExtension;
use heq_ir::predict::Situation;
use heq_ir::predict::memory::{linear_memory, traffic_memory};
use heq_ir::predict::work::LinearCosts;
use heq_ir::traffic::{FlightClock, RotCounts, RotRun, Traffic};

/// What one way to compute a step takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resources {
    /// Time of the step by itself in microseconds.
    pub path_us: f64,
    /// Processor time of the client in microseconds.
    pub client_us: f64,
    /// Processor time of the server in microseconds, without the transforms of weights.
    pub server_us: f64,
    /// Bytes on the wire, client to server.
    pub bytes_up: f64,
    /// Bytes on the wire, server to client.
    pub bytes_down: f64,
    /// Rows of the OT extension that the server sends, and that the client sends.
    pub rows: [f64; 2],
    /// Sequential message steps.
    pub flights: u64,
    /// Bytes of transformed weights.
    pub weight_bytes: f64,
    /// Bytes that client and server hold while it runs.
    pub held: [f64; 2],
}

impl std::ops::AddAssign for Resources {
    fn add_assign(&mut self, other: Self) {
        self.path_us += other.path_us;
        self.client_us += other.client_us;
        self.server_us += other.server_us;
        self.bytes_up += other.bytes_up;
        self.bytes_down += other.bytes_down;
        self.rows.iter_mut().zip(other.rows).for_each(|(sum, rows)| *sum += rows);
        self.flights += other.flights;
        self.weight_bytes += other.weight_bytes;
        self.held.iter_mut().zip(other.held).for_each(|(held, other)| *held = held.max(other));
    }
}

impl Resources {
    /// Bytes in both directions.
    #[must_use]
    pub fn bytes(&self) -> f64 {
        self.bytes_up + self.bytes_down
    }

    /// Whether nothing is above what `other` takes.
    #[must_use]
    pub fn within(&self, other: &Self) -> bool {
        let all = |of: &Self| {
            let [server_sends, client_sends] = of.rows;
            [
                of.path_us,
                of.client_us,
                of.server_us,
                of.bytes_up,
                of.bytes_down,
                server_sends + client_sends,
                of.weight_bytes,
                of.held[0],
                of.held[1],
            ]
        };
        all(self).iter().zip(all(other)).all(|(own, other)| *own <= other)
    }

    /// Of interactive steps on bits.
    #[must_use]
    pub fn of_traffic(traffic: &Traffic, situation: &Situation<'_>) -> Self {
        let (up, down) = traffic.wire_bytes();
        let rows = RotCounts::sum(&traffic.rots, RotRun::rows);
        let [client_us, server_us] = situation.profile.traffic_us(traffic);
        Self {
            path_us: situation.profile.traffic_path_us(traffic, situation),
            client_us,
            server_us,
            bytes_up: up as f64,
            bytes_down: down as f64,
            rows: [rows.server_sends as f64, rows.client_sends as f64],
            flights: FlightClock::default().advance(traffic),
            weight_bytes: 0.0,
            held: traffic_memory(traffic).map(|bytes| bytes as f64),
        }
    }
}

/// What a unit of every resource counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// A microsecond on the path.
    pub path: f64,
    /// A microsecond of a processor.
    pub cpu: f64,
    /// A byte on the wire.
    pub byte: f64,
    /// A row of the OT extension.
    pub row: f64,
    /// A byte that either party holds.
    pub held: f64,
}

/// One view of the candidates of steps.
#[derive(Clone, Debug)]
pub struct Price<'a> {
    /// What times are predicted for.
    pub situation: Situation<'a>,
    /// Inferences of a session, among which what is sent once is divided.
    pub inferences: u32,
    /// What counts how much.
    pub weights: Weights,
}

/// A byte of transformed weights counts as this many microseconds on the path: less than it takes to
/// transform it, since most are kept.
const WEIGHT_BYTE_US: f64 = 2e-5;

impl Price<'_> {
    /// The price of what takes `resources`.
    #[must_use]
    pub fn of(&self, resources: &Resources) -> f64 {
        let Weights { path, cpu, byte, row, held } = self.weights;
        path * (resources.path_us + WEIGHT_BYTE_US * resources.weight_bytes)
            + cpu * (resources.client_us + resources.server_us)
            + byte * resources.bytes()
            + row * resources.rows.iter().sum::<f64>()
            + held * resources.held.iter().sum::<f64>()
    }

    /// Price of interactive steps and of the random OTs that they take.
    #[must_use]
    pub fn traffic(&self, traffic: &Traffic) -> f64 {
        self.of(&Resources::of_traffic(traffic, &self.situation))
    }

    /// The share of an inference in the price of a key of `bytes` bytes that takes client and server
    /// `times_us`.
    pub(crate) fn key(&self, bytes: u64, times_us: [f64; 2]) -> f64 {
        let path_us = self.situation.transmission_us(bytes as f64) + times_us.iter().sum::<f64>();
        let [client_us, server_us] = times_us;
        let resources = Resources {
            path_us,
            client_us,
            server_us,
            bytes_up: bytes as f64,
            ..Default::default()
        };
        self.of(&resources) / f64::from(self.inferences.max(1))
    }
}

/// What a row of `ot` counts: its time, and its bytes as `byte`.
pub(crate) fn row_price(situation: &Situation<'_>, ot: OtExtension, us: f64, byte: f64) -> f64 {
    us * situation.profile.row_us(ot) + byte * ot.bytes_per_row()
}

/// What a linear step takes by itself, its requests and responses of `bytes` bytes each; `costs` are
/// those of `params`.
pub(crate) fn linear_resources(
    params: &RlweParams,
    costs: &LinearCosts,
    counts: &LayoutCounts,
    window: usize,
    bytes: [u64; 2],
    situation: &Situation<'_>,
) -> Resources {
    let work = costs.work(counts, window);
    let memory = linear_memory(params, counts, bytes, situation.threads);
    Resources {
        path_us: work.path_us(counts, bytes, situation),
        client_us: work.client_us(),
        server_us: work.server_us(),
        weight_bytes: memory.weights as f64,
        held: [memory.client as f64, memory.server as f64],
        ..Resources::default()
    }
}
