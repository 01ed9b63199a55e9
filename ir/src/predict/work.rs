//! What one step takes: processor time of both parties, and its time by itself.
//!
//! The times by themselves are closed forms of what [`super::timeline`] simulates, for a step that waits
//! neither for random OTs nor for cores that another step uses.

use super::profile::{BitCosts, KeySwitchCosts, RingCosts};
use super::{CostProfile, Situation};
use crate::layout::LayoutCounts;
use crate::params::RlweParams;
use crate::traffic::{RotRun, RotSender, Step, Traffic, wire_bytes};

/// Ciphertexts that a thread works on before the next messages are sent or received.
pub const BATCH_PER_THREAD: usize = 4;

/// Processor time of the stages of a linear step, in microseconds of one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinearWork {
    /// The client makes all requests.
    pub encrypt_us: f64,
    /// The server reads them.
    pub decode_us: f64,
    /// The server makes all responses.
    pub respond_us: f64,
    /// The client reads them.
    pub share_us: f64,
    /// The server transforms the weights: once a session if they are kept.
    pub weights_us: f64,
}

/// Times of linear steps with one parameter set.
#[derive(Clone, Debug)]
pub struct LinearCosts {
    ring: RingCosts,
    switch: KeySwitchCosts,
}

impl LinearCosts {
    /// The work of a step with `counts` polynomials, whose requests have `window` coefficients that travel.
    #[must_use]
    pub fn work(&self, counts: &LayoutCounts, window: usize) -> LinearWork {
        let Self { ring, switch } = self;
        let [requests, responses, leaves, products, weights, switches] = [
            counts.requests(),
            counts.responses(),
            counts.leaves(),
            counts.products(),
            counts.weights(),
            counts.key_switches(),
        ]
        .map(|count| count as f64);
        let merged = counts.merged_responses() as f64;
        let of_window = |nanoseconds: f64| nanoseconds * window as f64 / 1000.0;
        LinearWork {
            encrypt_us: requests * (ring.encrypt_us + of_window(ring.encrypt_coefficient_ns)),
            decode_us: requests * (ring.decode_us + of_window(ring.decode_coefficient_ns)),
            respond_us: (responses - merged) * ring.respond_us
                + merged * ring.merge_us
                + switches * switch.switch_us
                + leaves * ring.sum_us
                + products * ring.product_us,
            share_us: responses * ring.share_us,
            weights_us: weights * ring.weight_us,
        }
    }
}

/// One of the two halves of a linear step: messages that one party makes and the other reads, batch by
/// batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    /// Number of messages.
    pub(super) count: usize,
    /// Bytes of each on the wire.
    pub(super) bytes: f64,
    /// Microseconds of one thread to make one.
    pub(super) make_us: f64,
    /// Microseconds of one thread to read one.
    pub(super) read_us: f64,
}

impl Stream {
    fn new(count: usize, payload_bytes: u64, make_us: f64, read_us: f64) -> Self {
        let each = 1.0 / count.max(1) as f64;
        let bytes = wire_bytes(payload_bytes) as f64;
        Self { count, bytes, make_us: make_us * each, read_us: read_us * each }
    }

    /// Time by itself: batches go through three stages, of which each has one at a time.
    fn path_us(&self, situation: &Situation<'_>) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let size = BATCH_PER_THREAD * situation.threads.max(1);
        let (whole, rest) = (self.count / size, self.count % size);
        let whole_batch = self.stages(size, situation);
        let mut done = [0.0; 3];
        if whole > 0 {
            let [make, wire, read] = whole_batch;
            // On shared cores the pool works for one party after the other.
            let rounds = BATCH_PER_THREAD as f64;
            let pool =
                if situation.is_shared { rounds * (self.make_us + self.read_us) } else { 0.0 };
            let (more, longest) = ((whole - 1) as f64, make.max(wire));
            done = [
                whole as f64 * make,
                make + wire + more * longest,
                make + wire + read + more * longest.max(read).max(pool),
            ];
        }
        if rest > 0 {
            let [make, wire, read] = self.stages(rest, situation);
            done[0] += make;
            done[1] = done[0].max(done[1]) + wire;
            done[2] = done[1].max(done[2]) + read;
        }
        done[2] + situation.latency_us()
    }

    /// Microseconds of making, sending and reading `messages` messages.
    fn stages(&self, messages: usize, situation: &Situation<'_>) -> [f64; 3] {
        let profile = situation.profile;
        let rounds = messages.div_ceil(situation.threads.max(1)) as f64;
        let handling = profile.section_us(situation.threads)
            + messages as f64 * profile.handling_us(self.bytes);
        [
            rounds * self.make_us + handling,
            situation.transmission_us(messages as f64 * self.bytes),
            rounds * self.read_us + handling + situation.wake_us(),
        ]
    }
}

impl LinearWork {
    /// The client's time.
    #[must_use]
    pub fn client_us(&self) -> f64 {
        self.encrypt_us + self.share_us
    }

    /// The server's time, without that for weights.
    #[must_use]
    pub fn server_us(&self) -> f64 {
        self.decode_us + self.respond_us
    }

    /// Requests and responses, of the given payload bytes each.
    pub(super) fn streams(
        &self,
        counts: &LayoutCounts,
        [request_bytes, response_bytes]: [u64; 2],
    ) -> [Stream; 2] {
        let (requests, responses) = (counts.requests(), counts.responses());
        [
            Stream::new(requests, request_bytes, self.encrypt_us, self.decode_us),
            Stream::new(responses, response_bytes, self.respond_us, self.share_us),
        ]
    }

    /// Time of the step by itself in microseconds, its requests of `request_bytes` and its responses of
    /// `response_bytes` each included: stages overlap batch by batch.
    #[must_use]
    pub fn path_us(
        &self,
        counts: &LayoutCounts,
        bytes: [u64; 2],
        situation: &Situation<'_>,
    ) -> f64 {
        self.streams(counts, bytes).iter().map(|stream| stream.path_us(situation)).sum()
    }
}

impl CostProfile {
    /// Work of a linear step with parameters `params`, `window` coefficients of every request of which
    /// travel.
    #[must_use]
    pub fn linear_work(
        &self,
        params: &RlweParams,
        counts: &LayoutCounts,
        window: usize,
    ) -> LinearWork {
        self.linear_costs(params).work(counts, window)
    }

    /// Times of linear steps with `params`, for the work of many.
    #[must_use]
    pub fn linear_costs(&self, params: &RlweParams) -> LinearCosts {
        let ring = self.ring(params);
        let switch = ring.key_switch(params).unwrap_or_default();
        LinearCosts { ring, switch }
    }

    /// Processor time of client and server for interactive steps on bits, in microseconds.
    #[must_use]
    pub fn traffic_us(&self, traffic: &Traffic) -> [f64; 2] {
        let phases = phases(self, traffic);
        [0, 1].map(|party| phases.iter().map(|phase| phase.work_us(party)).sum())
    }

    /// Time of interactive steps on bits by themselves, in microseconds.
    #[must_use]
    pub fn traffic_path_us(&self, traffic: &Traffic, situation: &Situation<'_>) -> f64 {
        let phases = phases(self, traffic);
        let mut clocks = Clocks::new(situation);
        if is_look_up(traffic) {
            clocks.look_ups(&phases);
        } else {
            phases.iter().for_each(|phase| clocks.phase(phase));
        }
        clocks.now[0].max(clocks.now[1])
    }

    /// Processor time of a message of `bytes` at its sender or receiver, in microseconds.
    pub(super) fn handling_us(&self, bytes: f64) -> f64 {
        self.message_us + bytes * self.message_byte_ns / 1000.0
    }

    /// Beginning and end of a computation on `threads` threads, in microseconds.
    pub(super) fn section_us(&self, threads: usize) -> f64 {
        if threads > 1 { self.section_us } else { 0.0 }
    }
}

/// When each party is done with what it did, and when each wire, up and down, is free.
struct Clocks<'s> {
    situation: &'s Situation<'s>,
    now: [f64; 2],
    free: [f64; 2],
}

impl<'s> Clocks<'s> {
    fn new(situation: &'s Situation<'s>) -> Self {
        Self { situation, now: [0.0; 2], free: [0.0; 2] }
    }

    fn phase(&mut self, phase: &Phase) {
        let before = phase.before_us;
        let is_one_core = self.situation.is_shared && self.situation.threads <= 1;
        if is_one_core && before.iter().all(|&time| time > 0.0) {
            self.now = [self.now[0].max(self.now[1]) + before[0] + before[1]; 2];
        } else {
            self.now = [0, 1].map(|party| self.now[party] + before[party]);
        }
        let arrivals = [0, 1].map(|party| phase.sends[party].map(|bytes| self.send(party, bytes)));
        for party in [0, 1] {
            self.receive(party, arrivals[1 - party]);
            self.now[party] += phase.after_us[party];
        }
    }

    /// All that the client asks, which the server answers one by one.
    fn look_ups(&mut self, phases: &[Phase]) {
        let (asks, answers): (Vec<&Phase>, Vec<&Phase>) =
            phases.iter().partition(|phase| phase.sends[0].is_some());
        let mut asked = Vec::with_capacity(asks.len());
        for ask in &asks {
            self.now[0] += ask.before_us[0];
            asked.push(ask.sends[0].map(|bytes| self.send(0, bytes)));
            self.now[0] += ask.after_us[0];
        }
        for (index, answer) in answers.iter().enumerate() {
            if let Some(ask) = asks.get(index) {
                self.receive(1, asked[index]);
                self.now[1] += ask.before_us[1] + ask.after_us[1];
            }
            self.now[1] += answer.before_us[1];
            let arrival = answer.sends[1].map(|bytes| self.send(1, bytes));
            self.now[1] += answer.after_us[1];
            self.receive(0, arrival);
            self.now[0] += answer.before_us[0] + answer.after_us[0];
        }
    }

    /// When what the party sends now arrives.
    fn send(&mut self, party: usize, bytes: f64) -> f64 {
        self.free[party] =
            self.free[party].max(self.now[party]) + self.situation.transmission_us(bytes);
        self.free[party] + self.situation.latency_us()
    }

    fn receive(&mut self, party: usize, arrival: Option<f64>) {
        if let Some(arrival) = arrival.filter(|&arrival| arrival > self.now[party]) {
            self.now[party] = arrival + self.situation.wake_us();
        }
    }
}

/// One message of a step on bits, or an exchange of two, with the work around it. Pairs are of client and
/// server.
#[derive(Clone, Debug, Default)]
pub(super) struct Phase {
    /// What each party sends, in bytes on the wire.
    pub(super) sends: [Option<f64>; 2],
    /// Random OTs that each party takes before it sends, or before it works if it does not: as a range
    /// of the traffic's runs.
    pub(super) runs: std::ops::Range<usize>,
    /// Work of each party before its message, in microseconds.
    pub(super) before_us: [f64; 2],
    /// Work of each party after the peer's message, in microseconds.
    pub(super) after_us: [f64; 2],
}

impl Phase {
    fn work_us(&self, party: usize) -> f64 {
        self.before_us[party] + self.after_us[party]
    }
}

/// The messages of steps on bits, with the work around each.
///
/// Random OTs belong to the message by which the client corrects its choices and masks its factors: a bit of
/// every random OT in which the server sends, and every bit of the pads of one in which the client does.
pub(super) fn phases(profile: &CostProfile, traffic: &Traffic) -> Vec<Phase> {
    let costs = if is_look_up(traffic) { &profile.look_ups } else { &profile.gates };
    let elements = traffic.rots.iter().map(|run| run.elements).max().unwrap_or(0) as f64;
    let mut phases = Vec::with_capacity(traffic.steps.len());
    let mut taken = 0;
    for step in &traffic.steps {
        let (count, [up, down]) = match *step {
            Step::Up { count, bytes } => (count, [Some(bytes), None]),
            Step::Down { count, bytes } => (count, [None, Some(bytes)]),
            Step::Exchange { up, down } => (1, [Some(up), Some(down)]),
        };
        for _ in 0..count {
            let first = taken;
            let mut due = up.unwrap_or(0);
            while let Some(run) = traffic.rots.get(taken).filter(|_| due > 0) {
                due = due.saturating_sub(client_bytes(run));
                taken += 1;
            }
            phases.push(phase(costs, &traffic.rots[first..taken], first..taken, [up, down]));
        }
    }
    if let Some(first) = phases.first_mut() {
        for (work, costs) in first.before_us.iter_mut().zip(costs) {
            *work += elements * costs.element_ns / 1000.0;
        }
    }
    phases
}

/// Whether every message belongs to 1-of-2^k OTs.
pub(super) fn is_look_up(traffic: &Traffic) -> bool {
    !traffic.steps.iter().any(|step| matches!(step, Step::Exchange { .. }))
}

/// Payload bytes of the client's message for random OTs.
fn client_bytes(run: &RotRun) -> u64 {
    let planes = match run.sender {
        RotSender::Server => run.planes,
        RotSender::Client => run.planes.saturating_mul(run.bits),
    };
    planes.saturating_mul(run.elements.div_ceil(8))
}

fn phase(
    costs: &[BitCosts; 2],
    rots: &[RotRun],
    runs: std::ops::Range<usize>,
    payloads: [Option<u64>; 2],
) -> Phase {
    let pad_bytes: f64 = rots.iter().map(|run| run.pad_bytes() as f64).sum();
    let sends = payloads.map(|bytes| bytes.map(|bytes| wire_bytes(bytes) as f64));
    let mut phase = Phase { sends, runs, ..Phase::default() };
    for (party, costs) in costs.iter().enumerate() {
        let of_bytes =
            |bytes: Option<f64>| bytes.map_or(0.0, |bytes| bytes * costs.byte_ns / 1000.0);
        let pads = pad_bytes * costs.pad_byte_ns / 1000.0;
        let receives = of_bytes(sends[1 - party]);
        phase.before_us[party] = of_bytes(sends[party]);
        phase.after_us[party] = receives + costs.step_us;
        // Pads are used for what is sent or, by a party that only receives, for its answer.
        match sends[party] {
            Some(_) => phase.before_us[party] += pads,
            None => phase.after_us[party] += pads,
        }
    }
    phase
}
