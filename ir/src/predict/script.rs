//! What the threads of both parties do in a session of one inference, from its plan.

use super::simulation::{Action, Scripts};
use super::work::{LinearWork, Phase, Stream, is_look_up, phases};
use super::{Situation, WEIGHT_CACHE_BYTES, memory};
use crate::plan::{AHEAD_BYTES, LayerKind, OtExtension, Plan, RotChunk};
use crate::traffic::{RotCounts, RotRun, Step, Traffic, wire_bytes};

/// Rows of an OT extension that a thread makes at a time.
const JOB_ROWS: f64 = 8192.0;

/// The client's index in pairs.
const CLIENT: usize = 0;
/// The server's.
const SERVER: usize = 1;

/// Writes the scripts of a plan.
pub(super) struct Writer<'a> {
    situation: &'a Situation<'a>,
    scripts: Scripts,
    /// Bytes of pads and chunk of every run that steps take and that is left, the next one last.
    runs: Vec<(f64, usize)>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(situation: &'a Situation<'a>, chunks: &[RotChunk]) -> Self {
        let of_chunk = |(index, chunk): (usize, &RotChunk)| {
            let runs: Vec<_> =
                chunk.runs.iter().map(|run| (run.pad_bytes() as f64, index)).collect();
            runs
        };
        let mut runs: Vec<_> = chunks.iter().enumerate().flat_map(of_chunk).collect();
        runs.reverse();
        Self { situation, scripts: Scripts::default(), runs }
    }

    pub(super) fn finish(self) -> Scripts {
        self.scripts
    }

    fn push(&mut self, party: usize, action: Action) {
        self.scripts.walkers[party].push(action);
    }

    /// Work of the thread that walks the plan.
    fn compute(&mut self, party: usize, work_us: f64) {
        let work = Action::Compute { work_us, width: 1.0, is_pooled: false };
        if work_us > 0.0 {
            self.push(party, work);
        }
    }

    pub(super) fn end_part(&mut self) {
        self.push(CLIENT, Action::EndPart);
        self.push(SERVER, Action::EndPart);
    }

    /// Steps on bits.
    pub(super) fn traffic(&mut self, traffic: &Traffic) {
        let phases = phases(self.situation.profile, traffic);
        let taken = phases.iter().map(|phase| phase.runs.end).max().unwrap_or(0);
        let mut runs = Vec::with_capacity(taken);
        runs.extend((0..taken).filter_map(|_| self.runs.pop()));
        for party in [CLIENT, SERVER] {
            let order: Vec<&Phase> = match party {
                SERVER if is_look_up(traffic) => answered(&phases),
                _ => phases.iter().collect(),
            };
            for phase in order {
                self.phase(party, phase, &runs);
            }
        }
    }

    fn phase(&mut self, party: usize, phase: &Phase, runs: &[(f64, usize)]) {
        let takes = |writer: &mut Self| {
            for &(bytes, chunk) in runs.get(phase.runs.clone()).unwrap_or(&[]) {
                writer.push(party, Action::Take { chunk, bytes });
            }
        };
        if phase.sends[party].is_some() {
            takes(self);
        }
        self.compute(party, phase.before_us[party]);
        if let Some(bytes) = phase.sends[party] {
            self.push(party, Action::Send(bytes));
        }
        if phase.sends[1 - party].is_some() {
            self.push(party, Action::Receive);
        }
        if phase.sends[party].is_none() {
            takes(self);
        }
        self.compute(party, phase.after_us[party]);
    }

    /// Requests and responses.
    pub(super) fn streams(&mut self, [requests, responses]: [Stream; 2]) {
        self.stream(&requests, CLIENT);
        self.stream(&responses, SERVER);
    }

    fn stream(&mut self, stream: &Stream, maker: usize) {
        let threads = self.situation.threads.max(1);
        for batch in stream.batches(threads) {
            self.batch(maker, batch, stream.make_us);
            self.compute(maker, batch as f64 * self.situation.profile.handling_us(stream.bytes));
            for _ in 0..batch {
                self.push(maker, Action::Send(stream.bytes));
            }
        }
        let reader = 1 - maker;
        for batch in stream.batches(threads) {
            for _ in 0..batch {
                self.push(reader, Action::Receive);
            }
            self.compute(reader, batch as f64 * self.situation.profile.handling_us(stream.bytes));
            self.batch(reader, batch, stream.read_us);
        }
    }

    /// `count` tasks on all threads.
    fn batch(&mut self, party: usize, count: usize, task_us: f64) {
        let threads = self.situation.threads.max(1);
        self.compute(party, self.situation.profile.section_us(threads));
        let width = count as f64 / count.div_ceil(threads).max(1) as f64;
        let work_us = task_us * count as f64;
        self.push(party, Action::Compute { work_us, width, is_pooled: true });
    }

    /// Handshake, base OTs, extension and keys.
    fn setup(&mut self, plan: &Plan) {
        let profile = self.situation.profile;
        let exchanges = plan.setup_traffic().steps;
        let extension = profile.extension(plan.spec().ot).map_or([0.0; 2], |costs| costs.setup_us);
        let count = exchanges.iter().filter(|step| matches!(step, Step::Exchange { .. })).count();
        for (index, step) in exchanges.iter().enumerate() {
            let Step::Exchange { up, down } = *step else { continue };
            let own = |party: usize| match index {
                0 => profile.session_us,
                1 | 2 => profile.base_ots_us[party] / 2.0,
                _ => extension[party] / count.saturating_sub(3).max(1) as f64,
            };
            for (party, [sent, received]) in [[up, down], [down, up]].into_iter().enumerate() {
                let handling = |bytes: u64| profile.handling_us(wire_bytes(bytes) as f64);
                self.compute(party, own(party) + handling(sent));
                self.push(party, Action::Send(wire_bytes(sent) as f64));
                self.push(party, Action::Receive);
                self.compute(party, handling(received));
            }
        }
        self.keys(plan);
        for party in [CLIENT, SERVER] {
            self.push(party, Action::Start);
        }
    }

    fn keys(&mut self, plan: &Plan) {
        for (set, params) in plan.rlwe().iter().enumerate() {
            let ring = self.situation.profile.ring(params);
            let galois = ring.key_switch(params).map_or([0.0; 2], |switch| switch.key_us);
            let zero = (ring.zero_key_us, params.polynomial_bytes(0));
            let others = plan.galois_spacings(set).len();
            let others = std::iter::repeat_n((galois, params.galois_key_bytes()), others);
            for (work_us, bytes) in std::iter::once(zero).chain(others) {
                let bytes = wire_bytes(bytes) as f64;
                let handling = self.situation.profile.handling_us(bytes);
                self.compute(CLIENT, work_us[CLIENT] + handling);
                self.push(CLIENT, Action::Send(bytes));
                self.push(SERVER, Action::Receive);
                self.compute(SERVER, work_us[SERVER] + handling);
            }
        }
    }

    /// The producers of both parties.
    fn producers(&mut self, ot: OtExtension, chunks: &[RotChunk], limits: &[u64]) {
        for producer in &mut self.scripts.producers {
            producer.push(Action::AwaitStart);
        }
        let (mut made, mut stock) = (RotCounts::default(), RotCounts::default());
        let mut ahead_bytes = 0.0;
        for (chunk, &limit) in chunks.iter().zip(limits) {
            let limit = limit as f64;
            let Step::Exchange { up, down } = ot.exchange(chunk.rows(), &mut stock) else {
                continue;
            };
            let mut work = self.chunk_work(ot, chunk, &mut made);
            // Pads take new memory until the first of them are used up.
            if ahead_bytes < limit {
                ahead_bytes += chunk.pad_bytes() as f64;
                for (work, us) in work.iter_mut().zip(self.fresh_pads_us(chunk)) {
                    work[1] += us;
                }
            }
            let wires = [up, down].map(|bytes| wire_bytes(bytes) as f64);
            for (party, work) in work.into_iter().enumerate() {
                self.chunk(party, chunk, limit, work, wires);
            }
        }
    }

    /// Microseconds of client and server to use memory for the pads of a chunk for the first time: both pads
    /// of those in which they send, one of the others.
    fn fresh_pads_us(&self, chunk: &RotChunk) -> [f64; 2] {
        let pads = RotCounts::sum(&chunk.runs, RotRun::pad_bytes);
        let (server, client) = (pads.server_sends as f64, pads.client_sends as f64);
        [client + server / 2.0, server + client / 2.0]
            .map(|bytes| bytes * self.situation.profile.fresh_byte_ns / 1000.0)
    }

    fn chunk(
        &mut self,
        party: usize,
        chunk: &RotChunk,
        limit: f64,
        [before_us, after_us]: [f64; 2],
        wires: [f64; 2],
    ) {
        let profile = self.situation.profile;
        let threads = self.situation.threads.max(1);
        let jobs = (chunk.rows().total() as f64 / JOB_ROWS).ceil().max(1.0);
        let width = jobs / (jobs / threads as f64).ceil();
        let pooled = |work_us: f64| Action::Compute { work_us, width, is_pooled: true };
        let own = |bytes: f64| Action::Compute {
            work_us: profile.handling_us(bytes) + profile.section_us(threads),
            width: 1.0,
            is_pooled: false,
        };
        self.scripts.producers[party].extend([
            Action::Reserve { bytes: chunk.pad_bytes() as f64, limit },
            pooled(before_us),
            own(wires[party]),
            Action::Send(wires[party]),
            Action::Receive,
            own(wires[1 - party]),
            pooled(after_us),
            Action::Publish,
        ]);
    }

    /// Work of client and server for a chunk, before and after its exchange, in microseconds of one thread.
    fn chunk_work(&self, ot: OtExtension, chunk: &RotChunk, made: &mut RotCounts) -> [[f64; 2]; 2] {
        let Some(costs) = self.situation.profile.extension(ot) else { return [[0.0; 2]; 2] };
        let rows = chunk.rows();
        let bits = RotCounts::sum(&chunk.runs, |run: &RotRun| {
            run.rows().saturating_mul(run.bits.saturating_sub(1))
        });
        let before = iterations(ot, *made);
        *made += rows;
        let after = iterations(ot, *made);
        let rows_us = fresh_row_bytes(ot) * self.situation.profile.fresh_byte_ns / 1000.0;
        // Of one direction: the work of its sender and of its receiver.
        let work = |count: fn(&RotCounts) -> u64| {
            let iterations = count(&after) - count(&before);
            let fresh_us = if count(&before) == 0 && iterations > 0 { rows_us } else { 0.0 };
            [0, 1].map(|role| {
                let nanoseconds = count(&rows) as f64 * costs.row_ns[role]
                    + count(&bits) as f64 * costs.bit_ns[role];
                nanoseconds / 1000.0 + iterations as f64 * costs.iteration_us[role] + fresh_us
            })
        };
        let server_sends = work(|counts| counts.server_sends);
        let client_sends = work(|counts| counts.client_sends);
        let of_party = |sends: f64, receives: f64| match ot {
            OtExtension::SoftSpoken { .. } => [receives, sends],
            OtExtension::Silent { .. } => [sends, receives],
        };
        [of_party(client_sends[0], server_sends[1]), of_party(server_sends[0], client_sends[1])]
    }
}

/// Bytes of the rows that a party of silent OT keeps in one direction.
fn fresh_row_bytes(ot: OtExtension) -> f64 {
    const ROW_BYTES: f64 = 16.0;
    match ot {
        OtExtension::SoftSpoken { .. } => 0.0,
        OtExtension::Silent { log_rows } => ROW_BYTES * f64::from(log_rows).exp2(),
    }
}

/// Iterations of silent OT that make so many rows.
fn iterations(ot: OtExtension, rows: RotCounts) -> RotCounts {
    let of = |rows: u64| ot.iteration().map_or(0, |(each, _)| rows.div_ceil(each));
    RotCounts { server_sends: of(rows.server_sends), client_sends: of(rows.client_sends) }
}

/// The phases of look-ups in the server's order: it answers every message of the client before it
/// receives the next.
fn answered(phases: &[Phase]) -> Vec<&Phase> {
    let (asks, answers): (Vec<&Phase>, Vec<&Phase>) =
        phases.iter().partition(|phase| phase.sends[CLIENT].is_some());
    let mut order = Vec::with_capacity(phases.len());
    let mut asks = asks.into_iter();
    for answer in answers {
        order.extend(asks.next());
        order.push(answer);
    }
    order.extend(asks);
    order
}

/// The scripts of a session of one inference.
pub(super) fn of_plan(plan: &Plan, situation: &Situation<'_>) -> Scripts {
    let chunks = plan.rot_chunks();
    let mut writer = Writer::new(situation, &chunks);
    writer.setup(plan);
    writer.end_part();
    writer.producers(plan.spec().ot, &chunks, &plan.chunk_limits(AHEAD_BYTES));
    let mut cache = WEIGHT_CACHE_BYTES as u64;
    for (index, traffic) in plan.layer_traffic().iter().enumerate() {
        match linear(plan, index, situation, &mut cache) {
            Some((_, streams)) => {
                let lifts = traffic.steps.len().saturating_sub(2);
                let lift = Traffic::new(traffic.steps[..lifts].to_vec(), traffic.rots.clone());
                writer.traffic(&lift);
                writer.streams(streams);
            }
            None => writer.traffic(traffic),
        }
        writer.end_part();
    }
    writer.finish()
}

/// Work and messages of step `index` if it is linear. The work of weights that the server does not keep
/// is that of the responses; `cache` is what is left for those that it keeps.
pub(super) fn linear(
    plan: &Plan,
    index: usize,
    situation: &Situation<'_>,
    cache: &mut u64,
) -> Option<(LinearWork, [Stream; 2])> {
    let (step, layer) = (plan.linear_step(index)?, plan.layers().get(index)?);
    let LayerKind::Linear { choice, .. } = &layer.kind else { return None };
    let counts = step.layout.counts();
    let (_, window) = step.layout.request_window();
    let mut work = situation.profile.linear_work(step.params, &counts, window);
    let rows = counts.rows.max(1) as u64;
    let row_bytes = memory::row_bytes(step.params, counts.input_tiles).max(1);
    let kept = rows.min(*cache / row_bytes);
    *cache -= kept * row_bytes;
    let made = counts.spatial as f64 * (rows - kept) as f64 / rows as f64;
    work.respond_us += made * work.weights_us;
    let bytes = [
        step.params.coefficient_bytes(window, choice.request_drop_bits),
        step.params.polynomial_bytes(choice.response_drop_bits),
    ];
    let streams = work.streams(&counts, bytes);
    Some((work, streams))
}
