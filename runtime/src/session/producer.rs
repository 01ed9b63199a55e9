//! Makes the random OTs of a session ahead, on a thread and a lane of its own, while layers compute and
//! the network waits.
//!
//! Both parties make the same chunks in the same order. Each waits before a chunk until it has room
//! for it, and then for the peer's message.
//!
//! Invariant: no party waits for ever. The limit of a chunk leaves room for all that its first step takes
//! before it: when a step waits for a chunk, what is left of those before is for the same step, so at
//! either party there is room to make it.

use super::extension::{Extension, Shapes};
use crate::error::RunError;
use crate::protocol::Role;
use crate::stats::{Measured, RotStats};
use crate::stock::{Ahead, Stock};
use heq_ir::plan::{Plan, RotChunk};
use heq_ir::traffic::{RotRun, RotSender};
use heq_net::{Channel, Meter};
use heq_ot::{RotReceiverBatch, RotSenderBatch, RotShape};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The thread that makes random OTs.
pub(super) struct Producer {
    role: Role,
    thread: Option<JoinHandle<Result<Made, RunError>>>,
    ahead: Arc<Ahead>,
}

/// What the thread made.
#[derive(Clone, Copy, Default)]
struct Made {
    rots: u64,
    rows: u64,
    busy: Duration,
    meter: Meter,
}

/// A session's stocks: random OTs in which this party holds both pads, and those in which it holds one.
pub(super) type Stocks = (Stock<RotSenderBatch>, Stock<RotReceiverBatch>);

impl Producer {
    /// Starts to make the random OTs of `inferences` inferences, of which at most `ahead_bytes`, or what
    /// a step takes if that is more, wait to be taken: `Plan::chunk_limits`.
    ///
    /// # Errors
    /// [`RunError::Internal`] if the system has no thread left.
    pub(super) fn start(
        role: Role,
        plan: &Plan,
        inferences: u32,
        extension: Extension,
        channel: Channel,
        ahead_bytes: u64,
    ) -> Result<(Self, Stocks), RunError> {
        let chunks = plan.rot_chunks();
        let limits = plan.chunk_limits(ahead_bytes);
        let chunks = chunks.iter().zip(limits).map(|(chunk, limit)| Chunk::new(role, chunk, limit));
        let chunks: Vec<Chunk> = chunks.collect();
        let ahead = Arc::new(Ahead::default());
        let (sent, sender_ready) = mpsc::channel();
        let (received, receiver_ready) = mpsc::channel();
        let mut worker = Worker {
            extension,
            channel,
            ahead: Arc::clone(&ahead),
            sent,
            received,
            made: Made::default(),
        };
        let thread = std::thread::Builder::new()
            .name("heq-rot-producer".to_owned())
            .spawn(move || worker.run_guarded(&chunks, inferences))
            .map_err(|_| RunError::Internal { what: "the system has no thread left" })?;
        let stocks = (
            Stock::new(sender_ready, Arc::clone(&ahead)),
            Stock::new(receiver_ready, Arc::clone(&ahead)),
        );
        Ok((Self { role, thread: Some(thread), ahead }, stocks))
    }

    /// Whether the thread has not been waited for.
    pub(super) fn is_running(&self) -> bool {
        self.thread.is_some()
    }

    /// Waits for the thread; one that waits for the peer ends with the connection. Returns what its lane
    /// moved, and what was made and taken.
    ///
    /// # Errors
    /// The thread's error, the first time.
    pub(super) fn join(&mut self) -> Result<(Measured, RotStats), RunError> {
        self.ahead.end();
        let Some(thread) = self.thread.take() else { return Err(RunError::Stopped) };
        let panicked = RunError::Internal { what: "the thread that makes random OTs panicked" };
        let made = thread.join().unwrap_or(Err(panicked))?;
        let taken = self.ahead.taken();
        let mut measured = Measured::default();
        measured.add(self.role, made.meter, made.busy);
        let waited_s = taken.waited.as_secs_f64();
        Ok((measured, RotStats { made: made.rots, used: taken.rots, rows: made.rows, waited_s }))
    }
}

/// A chunk as this party makes it.
struct Chunk {
    shapes: Shapes,
    rots: u64,
    rows: u64,
    pad_bytes: u64,
    /// Bytes of pads that may wait when it is made, its own included.
    limit_bytes: u64,
}

impl Chunk {
    fn new(role: Role, chunk: &RotChunk, limit_bytes: u64) -> Self {
        let own = match role {
            Role::Server => RotSender::Server,
            Role::Client => RotSender::Client,
        };
        // A number that is too large makes a shape that no step takes.
        let number = |number: u64| usize::try_from(number).unwrap_or(0);
        let shapes = |is_own: bool| {
            let runs = chunk.runs.iter().filter(|run| (run.sender == own) == is_own);
            runs.map(|run| RotShape {
                planes: number(run.planes),
                elements: number(run.elements),
                bits: number(run.bits),
            })
            .collect()
        };
        Self {
            shapes: Shapes { sends: shapes(true), receives: shapes(false) },
            rots: chunk.runs.iter().map(RotRun::count).sum(),
            rows: chunk.rows().total(),
            pad_bytes: chunk.pad_bytes(),
            limit_bytes,
        }
    }
}

struct Worker {
    extension: Extension,
    channel: Channel,
    ahead: Arc<Ahead>,
    sent: mpsc::Sender<Result<RotSenderBatch, RunError>>,
    received: mpsc::Sender<Result<RotReceiverBatch, RunError>>,
    made: Made,
}

impl Worker {
    /// Makes the chunks of every inference. If that fails, what waits for random OTs or for the peer waits
    /// no longer; a panic, which would be a fault of this program, is no exception.
    fn run_guarded(&mut self, chunks: &[Chunk], inferences: u32) -> Result<Made, RunError> {
        let run = std::panic::AssertUnwindSafe(|| self.run(chunks, inferences));
        let made = std::panic::catch_unwind(run).unwrap_or(Err(RunError::Internal {
            what: "the thread that makes random OTs panicked",
        }));
        if made.is_err() {
            self.channel.abort();
            let _ = self.sent.send(Err(RunError::Stopped));
            let _ = self.received.send(Err(RunError::Stopped));
        }
        made
    }

    /// Makes the chunks of every inference.
    fn run(&mut self, chunks: &[Chunk], inferences: u32) -> Result<Made, RunError> {
        for _ in 0..inferences {
            for chunk in chunks {
                if !self.ahead.reserve(chunk.pad_bytes, chunk.limit_bytes) {
                    return Err(RunError::Stopped);
                }
                self.make(chunk)?;
            }
        }
        Ok(Made { meter: self.channel.snapshot(), ..self.made })
    }

    fn make(&mut self, chunk: &Chunk) -> Result<(), RunError> {
        let start = Instant::now();
        let (sent, received) = self.extension.extend(&chunk.shapes, &mut self.channel)?;
        self.made.busy += start.elapsed();
        self.made.rots += chunk.rots;
        self.made.rows += chunk.rows;
        // A session that has ended needs them no more.
        sent.into_iter().for_each(|batch| drop(self.sent.send(Ok(batch))));
        received.into_iter().for_each(|batch| drop(self.received.send(Ok(batch))));
        Ok(())
    }
}
