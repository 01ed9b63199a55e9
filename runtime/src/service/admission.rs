//! Which sessions run now, which wait, and which are refused.
//!
//! Sessions are admitted in the order in which they asked, each as soon as there is a place and memory for it.
//! So many wait at most, and so long; the others are told when to ask again.

use crate::session::Refusal;
use heq_net::tls::KeyPin;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a server takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most sessions at a time.
    pub sessions: usize,
    /// Most memory that plans and sessions may take by their predictions, in bytes.
    pub memory_bytes: u64,
    /// Most connections of one client: sessions that run or wait, and plans that it fetches.
    pub of_client: usize,
    /// Most sessions that wait for others to end.
    pub queue: usize,
    /// How long one waits at most.
    pub patience: Duration,
}

/// Seconds after which to ask again, at least and at most.
const RETRY_S: std::ops::RangeInclusive<u32> = 1..=120;

/// Seconds after which to ask again, if the server stops: another may start in its place.
const STOPPING_RETRY_S: u32 = 5;

/// Weight of the last session in the mean of their times.
const MEAN_WEIGHT: f64 = 0.125;

/// Admits sessions.
pub(crate) struct Admission {
    limits: Limits,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    running: usize,
    /// Memory of the sessions that run.
    session_bytes: u64,
    /// Memory of the plans.
    shared_bytes: u64,
    /// Those that wait, first come first.
    queue: VecDeque<u64>,
    /// Sessions of each client that run or wait.
    of_clients: BTreeMap<KeyPin, usize>,
    next_ticket: u64,
    mean_seconds: f64,
    is_stopping: bool,
}

/// How full a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) running: usize,
    pub(crate) waiting: usize,
    pub(crate) bytes: u64,
}

/// A session's place; it is free again when this is dropped.
pub(crate) struct Permit {
    admission: Arc<Admission>,
    bytes: u64,
    start: Instant,
}

/// One of a client's connections, or of those that nobody knows.
pub(crate) struct Share {
    admission: Arc<Admission>,
    client: KeyPin,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        if let Some(count) = state.of_clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                state.of_clients.remove(&self.client);
            }
        }
    }
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let state = State {
            running: 0,
            session_bytes: 0,
            shared_bytes: 0,
            queue: VecDeque::new(),
            of_clients: BTreeMap::new(),
            next_ticket: 0,
            mean_seconds: 1.0,
            is_stopping: false,
        };
        Arc::new(Self { limits, state: Mutex::new(state), changed: Condvar::new() })
    }

    /// From now on the plans take so much memory.
    pub(crate) fn set_shared(&self, bytes: u64) {
        self.state().shared_bytes = bytes;
        self.changed.notify_all();
    }

    /// From now on nobody is admitted, and nobody waits.
    pub(crate) fn stop(&self) {
        self.state().is_stopping = true;
        self.changed.notify_all();
    }

    pub(crate) fn load(&self) -> Load {
        let state = self.state();
        Load {
            running: state.running,
            waiting: state.queue.len(),
            bytes: state.shared_bytes.saturating_add(state.session_bytes),
        }
    }

    /// Waits for a place for a session that takes `bytes`.
    pub(crate) fn enter(self: &Arc<Self>, bytes: u64) -> Result<Permit, Refusal> {
        let mut state = self.state();
        if state.shared_bytes.saturating_add(bytes) > self.limits.memory_bytes {
            return Err(Refusal::TooLarge);
        }
        if state.is_stopping {
            return Err(Refusal::Stopping { retry_after_s: STOPPING_RETRY_S });
        }
        let has_room = state.queue.is_empty() && self.fits(&state, bytes);
        if !has_room && state.queue.len() >= self.limits.queue {
            return Err(self.busy(&state));
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.queue.push_back(ticket);
        let deadline = Instant::now() + self.limits.patience;
        loop {
            let is_first = state.queue.front() == Some(&ticket);
            let left = deadline.saturating_duration_since(Instant::now());
            let outcome = if state.is_stopping {
                Err(Refusal::Stopping { retry_after_s: STOPPING_RETRY_S })
            } else if is_first && self.fits(&state, bytes) {
                Ok(())
            } else if left.is_zero() {
                Err(self.busy(&state))
            } else {
                let waited = self.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            };
            state.queue.retain(|&waiting| waiting != ticket);
            // Whoever is first now may fit.
            self.changed.notify_all();
            outcome?;
            state.running += 1;
            state.session_bytes = state.session_bytes.saturating_add(bytes);
            drop(state);
            let admission = Arc::clone(self);
            return Ok(Permit { admission, bytes, start: Instant::now() });
        }
    }

    /// Counts a connection of `client`, if it may have one more.
    pub(crate) fn share(self: &Arc<Self>, client: KeyPin) -> Result<Share, Refusal> {
        let mut state = self.state();
        if state.of_clients.get(&client).is_some_and(|&count| count >= self.limits.of_client) {
            return Err(self.busy(&state));
        }
        *state.of_clients.entry(client).or_default() += 1;
        drop(state);
        Ok(Share { admission: Arc::clone(self), client })
    }

    fn fits(&self, state: &State, bytes: u64) -> bool {
        let taken = state.shared_bytes.saturating_add(state.session_bytes);
        state.running < self.limits.sessions
            && taken.saturating_add(bytes) <= self.limits.memory_bytes
    }

    /// The time after which those before a new one may be done.
    fn busy(&self, state: &State) -> Refusal {
        let before = (state.running + state.queue.len()) as f64;
        let seconds = state.mean_seconds * before / self.limits.sessions.max(1) as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds of a mean session, far below 2^32, and as casts saturate"
        )]
        let seconds = seconds.ceil() as u32;
        Refusal::Busy { retry_after_s: seconds.clamp(*RETRY_S.start(), *RETRY_S.end()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        state.running -= 1;
        state.session_bytes = state.session_bytes.saturating_sub(self.bytes);
        let seconds = self.start.elapsed().as_secs_f64();
        state.mean_seconds += MEAN_WEIGHT * (seconds - state.mean_seconds);
        drop(state);
        self.admission.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn limits(sessions: usize, queue: usize) -> Limits {
        Limits {
            sessions,
            memory_bytes: 100,
            of_client: 2,
            queue,
            patience: Duration::from_secs(5),
        }
    }

    #[test]
    fn memory_and_places_are_kept() {
        let admission = Admission::new(limits(3, 0));
        admission.set_shared(40);
        assert!(matches!(admission.enter(61), Err(Refusal::TooLarge)));
        let first = admission.enter(30).unwrap_or_else(|refusal| panic!("{refusal}"));
        assert!(matches!(admission.enter(31), Err(Refusal::Busy { .. })), "memory");
        let _more = [admission.enter(0), admission.enter(0)];
        assert!(matches!(admission.enter(0), Err(Refusal::Busy { .. })), "places");
        assert_eq!(admission.load(), Load { running: 3, waiting: 0, bytes: 70 });
        drop(first);
        assert!(admission.enter(60).is_ok());
    }

    #[test]
    fn whoever_waits_is_served_in_order() {
        let admission = Admission::new(limits(1, 10));
        let permit = admission.enter(1).unwrap_or_else(|refusal| panic!("{refusal}"));
        let (done, order) = mpsc::channel();
        std::thread::scope(|scope| {
            for number in 0..5 {
                let (admission, done) = (&admission, done.clone());
                scope.spawn(move || {
                    let _permit = admission.enter(1).map_err(|refusal| panic!("{refusal}"));
                    done.send(number).unwrap_or(());
                });
                while admission.load().waiting <= number {
                    std::thread::yield_now();
                }
            }
            drop(permit);
        });
        drop(done);
        assert_eq!(order.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_client_does_not_take_all_places() {
        let admission = Admission::new(limits(5, 5));
        let [greedy, other] = [[1; 32], [2; 32]].map(KeyPin);
        let held = [admission.share(greedy), admission.share(greedy)];
        assert!(matches!(admission.share(greedy), Err(Refusal::Busy { .. })));
        assert!(admission.share(other).is_ok());
        drop(held);
        assert!(admission.share(greedy).is_ok());
        assert!(admission.state().of_clients.is_empty(), "nobody is remembered");
    }

    #[test]
    fn waiting_ends_by_patience_and_by_stopping() {
        let impatient = Limits { patience: Duration::from_millis(20), ..limits(1, 1) };
        let admission = Admission::new(impatient);
        let _permit = admission.enter(1);
        assert!(matches!(admission.enter(1), Err(Refusal::Busy { .. })));
        assert_eq!(admission.load().waiting, 0);
        let admission = Admission::new(limits(1, 1));
        let _permit = admission.enter(1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| admission.enter(1).err());
            while admission.load().waiting == 0 {
                std::thread::yield_now();
            }
            admission.stop();
            assert!(matches!(waiting.join().unwrap_or(None), Some(Refusal::Stopping { .. })));
        });
        assert!(matches!(admission.enter(1), Err(Refusal::Stopping { .. })));
    }
}
