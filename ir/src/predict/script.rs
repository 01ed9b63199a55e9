//! What the threads of both parties do in a session of one inference, from its plan: of a whole one, of its
//! preparation, or of one that was prepared.

use super::simulation::{Action, Scripts};
use super::work::{BATCH_PER_THREAD, Phase, Stream, is_look_up, phases};
use super::{Situation, WEIGHT_CACHE_BYTES, memory};
use crate::layout::LayoutCounts;
use crate::plan::{AHEAD_BYTES, HELLO_BYTES, LANE_WINDOW, LayerKind, OtExtension, Plan, RotChunk};
use crate::traffic::{RotRun, RotSender, Step, Traffic, wire_bytes};
use std::ops::Range;

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
    /// What takes every run that steps take and that is left, of either sender, the next one last.
    takes: [Vec<Action>; 2],
}

/// The lane of the producers that make the random OTs of `sender`.
fn lane(sender: RotSender) -> usize {
    match sender {
        RotSender::Server => 1,
        RotSender::Client => 2,
    }
}

impl<'a> Writer<'a> {
    /// A writer of what takes the random OTs of `chunks`, of server and client.
    pub(super) fn new(situation: &'a Situation<'a>, chunks: &[Vec<RotChunk>; 2]) -> Self {
        let takes = RotSender::ALL.map(|sender| {
            let chunks = chunks[lane(sender) - 1].iter().enumerate();
            let mut takes: Vec<Action> = chunks
                .flat_map(|(chunk, RotChunk { runs })| runs.iter().map(move |run| (chunk, run)))
                .map(|(chunk, run)| Action::Take {
                    lane: lane(sender),
                    chunk,
                    bytes: run.pad_bytes() as f64,
                })
                .collect();
            takes.reverse();
            takes
        });
        Self { situation, scripts: Scripts::default(), takes }
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
        let runs = traffic.rots.get(..taken).unwrap_or(&traffic.rots);
        let takes: Vec<Action> =
            runs.iter().filter_map(|run| self.takes[lane(run.sender) - 1].pop()).collect();
        for party in [CLIENT, SERVER] {
            let order: Vec<&Phase> = match party {
                SERVER if is_look_up(traffic) => answered(&phases),
                _ => phases.iter().collect(),
            };
            for phase in order {
                self.phase(party, phase, &takes);
            }
        }
    }

    fn phase(&mut self, party: usize, phase: &Phase, takes: &[Action]) {
        let takes = |writer: &mut Self| {
            for &take in takes.get(phase.runs.clone()).unwrap_or(&[]) {
                writer.push(party, take);
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

    /// Requests and responses. The server receives the requests of a batch of responses before it makes that.
    pub(super) fn streams(&mut self, counts: &LayoutCounts, [requests, responses]: &[Stream; 2]) {
        self.send(CLIENT, requests, 0..requests.count);
        self.read(CLIENT, responses, 0..responses.count);
        let mut received = 0;
        for batch in self.batches(0..responses.count) {
            let needed = counts.blocks_of(batch.clone()).end * counts.input_tiles;
            self.read(SERVER, requests, received..needed);
            received = received.max(needed);
            self.send(SERVER, responses, batch);
        }
    }

    /// Takes the random OTs of a step and leaves them unused.
    fn take_all(&mut self, traffic: &Traffic) {
        for run in &traffic.rots {
            if let Some(take) = self.takes[lane(run.sender) - 1].pop() {
                self.push(CLIENT, take);
                self.push(SERVER, take);
            }
        }
    }

    /// A linear layer of a prepared inference: a message of the client, so many products of the server.
    fn masked(&mut self, bytes: f64, macs: f64) {
        let profile = self.situation.profile;
        let handling_us = profile.handling_us(bytes);
        self.compute(CLIENT, handling_us);
        self.push(CLIENT, Action::Send(bytes));
        self.push(SERVER, Action::Receive);
        let threads = self.situation.threads.max(1);
        self.compute(SERVER, handling_us + profile.section_us(threads));
        let work_us = macs * profile.mac_ns / 1000.0;
        let work = Action::Compute { work_us, width: threads as f64, is_pooled: true };
        self.push(SERVER, work);
    }

    /// The messages of a range in batches.
    fn batches(&self, range: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let size = BATCH_PER_THREAD * self.situation.threads.max(1);
        let end = range.end;
        range.step_by(size).map(move |first| first..end.min(first + size))
    }

    fn send(&mut self, maker: usize, stream: &Stream, range: Range<usize>) {
        for batch in self.batches(range) {
            self.batch(maker, batch.len(), stream.make_us);
            let handling_us = self.situation.profile.handling_us(stream.bytes);
            self.compute(maker, batch.len() as f64 * handling_us);
            for _ in batch {
                self.push(maker, Action::Send(stream.bytes));
            }
        }
    }

    fn read(&mut self, reader: usize, stream: &Stream, range: Range<usize>) {
        for batch in self.batches(range) {
            for _ in batch.clone() {
                self.push(reader, Action::Receive);
            }
            let handling_us = self.situation.profile.handling_us(stream.bytes);
            self.compute(reader, batch.len() as f64 * handling_us);
            self.batch(reader, batch.len(), stream.read_us);
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
        let exchange = |step: &Step| match *step {
            Step::Exchange { up, down } => Some((up, down)),
            Step::Up { .. } | Step::Down { .. } => None,
        };
        let exchanges: Vec<_> = plan.setup_traffic().steps.iter().filter_map(exchange).collect();
        let extension = profile.extension(plan.spec().ot).map_or([0.0; 2], |costs| costs.setup_us);
        // The hellos: the client's, then the server's.
        let hello = wire_bytes(HELLO_BYTES as u64) as f64;
        for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
            self.compute(from, profile.session_us + profile.handling_us(hello));
            self.push(from, Action::Send(hello));
            self.push(to, Action::Receive);
            self.compute(to, profile.handling_us(hello));
        }
        for (index, &(up, down)) in exchanges.iter().enumerate() {
            let own = |party: usize| match index {
                0 | 1 => profile.base_ots_us[party] / 2.0,
                _ => extension[party] / exchanges.len().saturating_sub(2).max(1) as f64,
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

    /// The producers of both parties that make the random OTs of `sender`.
    fn producers(&mut self, plan: &Plan, sender: RotSender, chunks: &[RotChunk]) {
        let ot = plan.spec().ot;
        let leads = match ot.leader(sender) {
            RotSender::Client => CLIENT,
            RotSender::Server => SERVER,
        };
        let of_lane = lane(sender) - 1;
        for producer in &mut self.scripts.producers[of_lane] {
            producer.push(Action::AwaitStart);
        }
        let limits = plan.chunk_limits(sender, AHEAD_BYTES);
        let (mut made, mut stock, mut ahead_bytes) = (0, 0, 0.0);
        for (index, (chunk, limit)) in chunks.iter().zip(limits).enumerate() {
            let limit = limit as f64;
            let mut work = self.chunk_work(ot, sender, chunk, &mut made);
            // Pads take new memory until the first of them are used up.
            if ahead_bytes < limit {
                ahead_bytes += chunk.pad_bytes() as f64;
                for (work, us) in work.iter_mut().zip(self.fresh_pads_us(sender, chunk)) {
                    *work += us;
                }
            }
            let wire = wire_bytes(ot.message(chunk.rows(), &mut stock)) as f64;
            let reserve = Action::Reserve { bytes: chunk.pad_bytes() as f64, limit };
            let handling = self.handling(wire);
            let making = work.map(|work_us| self.making(chunk, work_us));
            let [leader, other] = if leads == CLIENT { making } else { [making[1], making[0]] };
            let acknowledgement = Action::Send(wire_bytes(0) as f64);
            let producers = &mut self.scripts.producers[of_lane];
            producers[leads].push(reserve);
            if index >= LANE_WINDOW {
                producers[leads].push(Action::Receive);
            }
            producers[leads].extend([leader, handling, Action::Send(wire), Action::Publish]);
            let follows = &mut producers[1 - leads];
            follows.extend([reserve, Action::Receive, handling, other, Action::Publish]);
            if index + LANE_WINDOW < chunks.len() {
                follows.push(acknowledgement);
            }
        }
    }

    /// Microseconds of client and server to use memory for the pads of a chunk for the first time: both pads
    /// of the sender, one of the receiver.
    fn fresh_pads_us(&self, sender: RotSender, chunk: &RotChunk) -> [f64; 2] {
        let us = chunk.pad_bytes() as f64 * self.situation.profile.fresh_byte_ns / 1000.0;
        of_parties(sender, us, us / 2.0)
    }

    /// Work of making a chunk on all threads.
    fn making(&self, chunk: &RotChunk, work_us: f64) -> Action {
        let threads = self.situation.threads.max(1);
        let jobs = (chunk.rows() as f64 / JOB_ROWS).ceil().max(1.0);
        let width = jobs / (jobs / threads as f64).ceil();
        Action::Compute { work_us, width, is_pooled: true }
    }

    /// Work of a producer with a message of `bytes`.
    fn handling(&self, bytes: f64) -> Action {
        let profile = self.situation.profile;
        let threads = self.situation.threads.max(1);
        let work_us = profile.handling_us(bytes) + profile.section_us(threads);
        Action::Compute { work_us, width: 1.0, is_pooled: false }
    }

    /// Work of client and server for a chunk, in microseconds of one thread; `made` rows were made before.
    fn chunk_work(
        &self,
        ot: OtExtension,
        sender: RotSender,
        chunk: &RotChunk,
        made: &mut u64,
    ) -> [f64; 2] {
        let Some(costs) = self.situation.profile.extension(ot) else { return [0.0; 2] };
        let rows = chunk.rows();
        let more_bits = |run: &RotRun| run.rows().saturating_mul(run.bits.saturating_sub(1));
        let bits: u64 = chunk.runs.iter().map(more_bits).fold(0, u64::saturating_add);
        let before = iterations(ot, *made);
        *made = made.saturating_add(rows);
        let iterations = iterations(ot, *made) - before;
        let fresh_us = fresh_row_bytes(ot) * self.situation.profile.fresh_byte_ns / 1000.0;
        let fresh_us = if before == 0 && iterations > 0 { fresh_us } else { 0.0 };
        let [sends, receives] = [0, 1].map(|role| {
            let nanoseconds = rows as f64 * costs.row_ns[role] + bits as f64 * costs.bit_ns[role];
            nanoseconds / 1000.0 + iterations as f64 * costs.iteration_us[role] + fresh_us
        });
        of_parties(sender, sends, receives)
    }
}

/// Of client and server, what the sender of random OTs has and what the receiver has.
fn of_parties(sender: RotSender, sends: f64, receives: f64) -> [f64; 2] {
    match sender {
        RotSender::Client => [sends, receives],
        RotSender::Server => [receives, sends],
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
fn iterations(ot: OtExtension, rows: u64) -> u64 {
    ot.iteration().map_or(0, |(each, _)| rows.div_ceil(each))
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

/// The scripts of a session of one inference, or of one that prepares it.
pub(super) fn of_plan(plan: &Plan, situation: &Situation<'_>, is_offline: bool) -> Scripts {
    let chunks = RotSender::ALL.map(|sender| plan.rot_chunks(sender));
    let mut writer = Writer::new(situation, &chunks);
    writer.setup(plan);
    writer.end_part();
    for (sender, chunks) in RotSender::ALL.into_iter().zip(&chunks) {
        writer.producers(plan, sender, chunks);
    }
    let mut cache = WEIGHT_CACHE_BYTES as u64;
    for (index, traffic) in plan.layer_traffic().iter().enumerate() {
        match linear(plan, index, situation, &mut cache) {
            Some((counts, streams)) if is_offline => {
                writer.streams(&counts, &streams);
            }
            Some((counts, streams)) => {
                let lifts = traffic.steps.len().saturating_sub(2);
                let lift = Traffic::new(traffic.steps[..lifts].to_vec(), traffic.rots.clone());
                writer.traffic(&lift);
                writer.streams(&counts, &streams);
            }
            None if is_offline => writer.take_all(traffic),
            None => writer.traffic(traffic),
        }
        writer.end_part();
    }
    writer.finish()
}

/// The scripts of a session that runs one prepared inference.
pub(super) fn of_prepared(plan: &Plan, situation: &Situation<'_>) -> Scripts {
    let mut writer = Writer::new(situation, &[Vec::new(), Vec::new()]);
    writer.traffic(&plan.online_setup_traffic(1));
    writer.end_part();
    for (index, traffic) in plan.online_traffic().iter().enumerate() {
        match plan.linear_step(index) {
            Some(step) => {
                let bytes = traffic.wire_bytes().0 as f64;
                let geometry = &step.op.geometry;
                let outputs = geometry.output().map_or(0, |output| output.len());
                let macs = outputs as f64 * geometry.fan_in() as f64;
                writer.masked(bytes, macs);
            }
            None => writer.traffic(&prepared(traffic, plan.layer_traffic().get(index))),
        }
        writer.end_part();
    }
    writer.finish()
}

/// Steps with the random OTs that they use, whoever made them.
fn prepared(traffic: &Traffic, whole: Option<&Traffic>) -> Traffic {
    let rots = whole.map_or(Vec::new(), |whole| whole.rots.clone());
    Traffic::new(traffic.steps.clone(), rots)
}

/// Counts and messages of step `index` if it is linear. The work of weights that the server does not keep
/// is that of the responses; `cache` is what is left for those that it keeps.
fn linear(
    plan: &Plan,
    index: usize,
    situation: &Situation<'_>,
    cache: &mut u64,
) -> Option<(LayoutCounts, [Stream; 2])> {
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
    Some((counts, streams))
}
