//! Targets that run whole sessions of which one party's frames are changed on the way.
//!
//! The other party follows the protocol, and what it sends meets the bytes of the target: a list of changes
//! to its frames. So the party that is looked at comes to every state with messages that are nearly right.

use super::files::TOY;
use super::{Script, blames_peer};
use heq_ir::eval::evaluate;
use heq_net::NetError;
use heq_net::channel::Lifeline;
use heq_net::memory::{Interceptor, Passage, intercepted_pair};
use heq_runtime::error::RunError;
use heq_runtime::party::{run_client, run_server};
use heq_runtime::protocol::Role;
use heq_runtime::session::{PreparedPlan, PreparedServer, WEIGHT_CACHE_BYTES};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Without a frame for so long, parties wait for each other, and the connection is ended.
const STALL: Duration = Duration::from_millis(500);

/// A party whose connection has ended and that goes on for so long hangs.
const HANG: Duration = Duration::from_secs(20);

/// Most changes of a session, and bytes of one.
const CHANGES: usize = 4;
const CHANGE_BYTES: usize = 6;

/// Kinds of changes.
const KINDS: u8 = 10;

struct Toy {
    plans: [PreparedPlan; 2],
    weights: PreparedServer,
    sample: Vec<i64>,
    output: Vec<i64>,
}

static SESSION: LazyLock<Toy> = LazyLock::new(|| {
    let plans = [(); 2].map(|()| PreparedPlan::new(TOY.plan.clone()));
    let weights = PreparedServer::new(&plans[1], &TOY.weights, WEIGHT_CACHE_BYTES).unwrap();
    let input = &TOY.plan.spec().input;
    let range = input.quantization.range;
    let sample: Vec<i64> =
        (range.lo..=range.hi).cycle().step_by(3).take(input.shape.len()).collect();
    let values = evaluate(&TOY.plan, &TOY.weights, &sample).unwrap().values;
    Toy { plans, weights, output: values.last().unwrap().clone(), sample }
});

/// A change of the frame that is sent as number `frame`.
#[derive(Clone, Copy)]
struct Change {
    frame: usize,
    kind: u8,
    at: usize,
    value: u16,
}

/// Changes the frames of one direction; counts those that were changed.
struct Changes {
    list: Vec<Change>,
    sent: Vec<Vec<u8>>,
    held: Option<Vec<u8>>,
    applied: Arc<AtomicUsize>,
}

impl Changes {
    fn new(bytes: &[u8], applied: Arc<AtomicUsize>) -> Self {
        let list = bytes.chunks_exact(CHANGE_BYTES).take(CHANGES).map(|bytes| {
            let mut script = Script(bytes);
            let (frame, kind) = (usize::from(script.byte()), script.byte() % KINDS);
            Change { frame, kind, at: script.word(), value: script.word() as u16 }
        });
        Self { list: list.collect(), sent: Vec::new(), held: None, applied }
    }

    fn pass(&mut self, frame: Vec<u8>) -> Passage {
        let (number, held) = (self.sent.len(), self.held.take());
        self.sent.push(frame.clone());
        let mut passage = Passage::Deliver(frame);
        let due: Vec<_> =
            self.list.iter().copied().filter(|change| change.frame == number).collect();
        for change in due {
            self.applied.fetch_add(1, Ordering::Relaxed);
            passage = self.apply(change, passage);
        }
        match (held, passage) {
            (Some(held), Passage::Deliver(frame)) => Passage::Deliver([frame, held].concat()),
            (_, passage) => passage,
        }
    }

    fn apply(&mut self, change: Change, passage: Passage) -> Passage {
        let Change { kind, at, value, .. } = change;
        let Passage::Deliver(mut frame) = passage else { return passage };
        let place = at % frame.len().max(1);
        let earlier = self.sent.get(usize::from(value) % self.sent.len());
        match (kind, frame.get_mut(place)) {
            (0, Some(byte)) => *byte ^= 1 << (value % 8),
            (1, Some(byte)) => *byte = value as u8,
            (2, Some(_)) => frame[place..].fill(value as u8),
            (3, _) => {
                frame.truncate(place);
                return Passage::End(frame);
            }
            (4, _) => frame.clear(),
            (5, _) => frame = [frame.clone(), frame].concat(),
            (6, _) => frame = earlier.cloned().unwrap_or_default(),
            (7, _) => self.held = Some(std::mem::take(&mut frame)),
            (8, _) => frame.splice(place..place, value.to_le_bytes()).for_each(drop),
            _ => return Passage::End(frame),
        }
        Passage::Deliver(frame)
    }
}

/// A session in which what the server sends is changed.
pub(super) fn client(bytes: &[u8]) -> Result<(), String> {
    session(bytes, Role::Server)
}

/// A session in which what the client sends is changed.
pub(super) fn server(bytes: &[u8]) -> Result<(), String> {
    session(bytes, Role::Client)
}

fn session(bytes: &[u8], changed: Role) -> Result<(), String> {
    let Toy { plans: [client_plan, server_plan], weights, sample, output } = &*SESSION;
    let applied = Arc::new(AtomicUsize::new(0));
    let (moved, moves) = channel();
    let ends = [Role::Client, Role::Server].map(|role| {
        let changes = if role == changed { bytes } else { &[] };
        let mut changes = Changes::new(changes, Arc::clone(&applied));
        let moved = moved.clone();
        let pass = move |frame| {
            // Nobody looks any more once both parties have ended.
            let _unseen = moved.send(());
            changes.pass(frame)
        };
        Box::new(pass) as Interceptor
    });
    drop(moved);
    let (client_end, server_end) = intercepted_pair(ends);
    let lifelines = [client_end.lifeline(), server_end.lifeline()];
    let (found, served) = std::thread::scope(|scope| {
        scope.spawn(move || watch(&moves, &lifelines));
        let served = scope.spawn(|| run_server(server_plan, weights, None, server_end));
        let found = run_client(client_plan, client_end, std::slice::from_ref(sample));
        (found, served.join())
    });
    let served = served.map_err(|_| "the server panics")?;
    let changes = applied.load(Ordering::Relaxed);
    match &found {
        Ok((found, _)) if changes == 0 && *found != [output.clone()] => {
            return Err(format!("{found:?} instead of {output:?}, and nobody changed a bit"));
        }
        Err(error) if changes == 0 => return Err(format!("nobody changed a bit: {error}")),
        _ => {}
    }
    let outcomes: [Result<(), RunError>; 2] = [found.map(|_| ()), served.map(|_| ())];
    outcomes.into_iter().try_for_each(|outcome| outcome.or_else(blames_peer))
}

/// Ends the connection of parties that wait for each other, and the program if one goes on after that.
fn watch(moves: &Receiver<()>, lifelines: &[Lifeline; 2]) {
    let mut limit = STALL;
    loop {
        match moves.recv_timeout(limit) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) if limit == STALL => {
                for lifeline in lifelines {
                    lifeline.end(NetError::Closed { doing: "waiting" });
                }
                limit = HANG;
            }
            Err(RecvTimeoutError::Timeout) => {
                eprintln!("a party goes on though its connection has ended");
                std::process::abort();
            }
        }
    }
}

/// Every kind of change in some frames of either direction, and none.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let changes = (0..KINDS).flat_map(|kind| {
        [0, 1, 3, 6, 9, 13].map(|frame| vec![frame, kind, frame * 7 + kind, 0, 3, 0])
    });
    std::iter::once(Vec::new()).chain(changes).collect()
}
