//! Makes the random OTs of a session ahead, on two threads, each with a lane of its own, while layers compute
//! and the network waits.
//!
//! One thread makes those of which this party is the sender, the other those of which it is the receiver.
//! Both parties make the same chunks in the same order. Each waits before a chunk until it has room for it;
//! the party that receives the chunk's message then waits for that, and the one that sends it for the
//! acknowledgement of an earlier one: see `heq_ir::plan::LANE_WINDOW`.
//!
//! Invariant: no party waits for ever. The limit of a chunk leaves room for all that its first step takes
//! before it: when a step waits for a chunk, what is left of those before is for the same step, so at
//! either party there is room to make it.

use super::extension::{End, Extension};
use crate::error::RunError;
use crate::protocol::Role;
use crate::stats::{Measured, RotStats};
use crate::stock::{Ahead, Stock};
use heq_ir::plan::{LANE_WINDOW, Plan, RotChunk};
use heq_ir::traffic::{RotRun, RotSender};
use heq_net::{Channel, Meter};
use heq_ot::{RotReceiverBatch, RotSenderBatch, RotShape};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The threads that make random OTs.
pub(super) struct Producer {
    role: Role,
    threads: Vec<Thread>,
}

/// One of them.
struct Thread {
    handle: JoinHandle<Result<Made, RunError>>,
    ahead: Arc<Ahead>,
}

/// What a thread made.
#[derive(Clone, Copy, Default)]
struct Made {
    rots: u64,
    rows: u64,
    busy: Duration,
    meter: Meter,
}

/// A session's stocks: random OTs in which this party holds both pads, and those in which it holds one.
pub(super) type Stocks = (Stock<RotSenderBatch>, Stock<RotReceiverBatch>);

/// The lanes of random OTs that this party sends, and of those that it receives.
pub(super) struct Lanes {
    pub(super) sends: Channel,
    pub(super) receives: Channel,
}

impl Producer {
    /// Starts to make the random OTs of `inferences` inferences, of which at most `ahead_bytes` of either
    /// sender, or what a step takes if that is more, wait to be taken: `Plan::chunk_limits`.
    ///
    /// # Errors
    /// [`RunError::NoThread`] if the system has none left.
    pub(super) fn start(
        role: Role,
        plan: &Plan,
        inferences: u32,
        extension: Extension,
        lanes: Lanes,
        ahead_bytes: u64,
    ) -> Result<(Self, Stocks), RunError> {
        let own = sender(role);
        let work = |sender| Work::new(plan, sender, own, inferences, ahead_bytes);
        let (first, sender_stock) = work(own).start(extension.sender, lanes.sends)?;
        let second = work(own.other()).start(extension.receiver, lanes.receives);
        let (second, receiver_stock) = second.inspect_err(|_| first.ahead.end())?;
        Ok((Self { role, threads: vec![first, second] }, (sender_stock, receiver_stock)))
    }

    /// Whether the threads have not been waited for.
    pub(super) fn is_running(&self) -> bool {
        !self.threads.is_empty()
    }

    /// Waits for the threads; one that waits for the peer ends with the connection. Returns what their lanes
    /// moved, and what was made and taken. Times and flights are of the thread that has more of them.
    ///
    /// # Errors
    /// A thread's error, the first time.
    pub(super) fn join(&mut self) -> Result<(Measured, RotStats), RunError> {
        if self.threads.is_empty() {
            return Err(RunError::Stopped);
        }
        self.threads.iter().for_each(|thread| thread.ahead.end());
        let (mut measured, mut rots) = (Measured::default(), RotStats::default());
        let mut outcome = Ok(());
        for Thread { handle, ahead } in self.threads.drain(..) {
            match handle.join().unwrap_or(Err(PANICKED)) {
                Ok(made) => {
                    let mut lane = Measured::default();
                    lane.add(self.role, made.meter, made.busy);
                    measured.bytes_up += lane.bytes_up;
                    measured.bytes_down += lane.bytes_down;
                    measured.flights = measured.flights.max(lane.flights);
                    measured.wall_s = measured.wall_s.max(lane.wall_s);
                    let taken = ahead.taken();
                    rots.made += made.rots;
                    rots.rows += made.rows;
                    rots.used += taken.rots;
                    rots.waited_s += taken.waited.as_secs_f64();
                }
                // What stopped one thread may be the other's error.
                Err(error) if matches!(outcome, Ok(()) | Err(RunError::Stopped)) => {
                    outcome = Err(error);
                }
                Err(_) => {}
            }
        }
        outcome.map(|()| (measured, rots))
    }
}

const PANICKED: RunError = RunError::Internal { what: "a thread that makes random OTs panicked" };

/// The party as a sender of random OTs.
fn sender(role: Role) -> RotSender {
    match role {
        Role::Server => RotSender::Server,
        Role::Client => RotSender::Client,
    }
}

/// What a thread has to make.
struct Work {
    chunks: Vec<Chunk>,
    inferences: u32,
    /// Whether this party sends the messages.
    leads: bool,
    name: &'static str,
}

/// A chunk as this party makes it.
struct Chunk {
    shapes: Vec<RotShape>,
    rots: u64,
    rows: u64,
    pad_bytes: u64,
    /// Bytes of pads that may wait when it is made, its own included.
    limit_bytes: u64,
}

impl Work {
    fn new(
        plan: &Plan,
        sender: RotSender,
        own: RotSender,
        inferences: u32,
        ahead_bytes: u64,
    ) -> Self {
        let limits = plan.chunk_limits(sender, ahead_bytes);
        let chunks = plan.rot_chunks(sender);
        Self {
            chunks: chunks
                .iter()
                .zip(limits)
                .map(|(chunk, limit)| Chunk::new(chunk, limit))
                .collect(),
            inferences,
            leads: plan.spec().ot.leader(sender) == own,
            name: if sender == own { "heq-rot-sender" } else { "heq-rot-receiver" },
        }
    }

    /// Starts the thread that does it, and returns the stock that it fills.
    fn start<E: End>(
        self,
        end: E,
        channel: Channel,
    ) -> Result<(Thread, Stock<E::Batch>), RunError> {
        let ahead = Arc::new(Ahead::default());
        let (made, ready) = mpsc::channel();
        let stock = Stock::new(ready, Arc::clone(&ahead));
        let name = self.name.to_owned();
        let of_thread = Arc::clone(&ahead);
        let mut worker = Worker { end, channel, ahead: of_thread, made, sum: Made::default() };
        let handle = std::thread::Builder::new()
            .name(name)
            .spawn(move || worker.run_guarded(&self))
            .map_err(|_| RunError::NoThread)?;
        Ok((Thread { handle, ahead }, stock))
    }
}

impl Chunk {
    fn new(chunk: &RotChunk, limit_bytes: u64) -> Self {
        // A number that is too large makes a shape that no step takes.
        let number = |number: u64| usize::try_from(number).unwrap_or(0);
        let shapes = chunk.runs.iter().map(|run| RotShape {
            planes: number(run.planes),
            elements: number(run.elements),
            bits: number(run.bits),
        });
        Self {
            shapes: shapes.collect(),
            rots: chunk.runs.iter().map(RotRun::count).sum(),
            rows: chunk.rows(),
            pad_bytes: chunk.pad_bytes(),
            limit_bytes,
        }
    }
}

struct Worker<E: End> {
    end: E,
    channel: Channel,
    ahead: Arc<Ahead>,
    made: mpsc::Sender<Result<E::Batch, RunError>>,
    sum: Made,
}

impl<E: End> Worker<E> {
    /// Makes the chunks of every inference. If that fails, what waits for random OTs or for the peer waits
    /// no longer; a panic, which would be a fault of this program, is no exception.
    fn run_guarded(&mut self, work: &Work) -> Result<Made, RunError> {
        let run = std::panic::AssertUnwindSafe(|| self.run(work));
        let made = std::panic::catch_unwind(run).unwrap_or(Err(PANICKED));
        if made.is_err() {
            self.channel.abort();
            let _ = self.made.send(Err(RunError::Stopped));
        }
        made
    }

    /// Makes the chunks of every inference.
    fn run(&mut self, work: &Work) -> Result<Made, RunError> {
        let mut left = work.chunks.len() as u64 * u64::from(work.inferences);
        let mut unacknowledged = 0;
        for chunk in (0..work.inferences).flat_map(|_| &work.chunks) {
            if !self.ahead.reserve(chunk.pad_bytes, chunk.limit_bytes) {
                return Err(RunError::Stopped);
            }
            let start = Instant::now();
            if work.leads && unacknowledged == LANE_WINDOW {
                self.channel.recv(0)?;
                unacknowledged -= 1;
            }
            let batches = self.end.extend(&chunk.shapes, &mut self.channel)?;
            unacknowledged += 1;
            left -= 1;
            self.sum.busy += start.elapsed();
            self.sum.rots += chunk.rots;
            self.sum.rows += chunk.rows;
            // A session that has ended needs them no more.
            batches.into_iter().for_each(|batch| drop(self.made.send(Ok(batch))));
            if !work.leads && left >= LANE_WINDOW as u64 {
                self.channel.send(&[])?;
            }
        }
        Ok(Made { meter: self.channel.snapshot(), ..self.sum })
    }
}
