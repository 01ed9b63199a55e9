//! Deadlines of connections: how long they may take, and a thread that ends those that take longer.

use heq_ir::link::LinkProfile;
use heq_ir::plan::Plan;
use heq_ir::predict::{CostProfile, Situation};
use heq_net::NetError;
use heq_net::channel::Lifeline;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The link that deadlines are predicted for: slower than most.
const DEADLINE_LINK: LinkProfile = LinkProfile::MOBILE;

/// How many times as long as predicted an inference may take, for slower machines and for those that it
/// shares them with, and how long at least.
const DEADLINE_FACTOR: f64 = 10.0;
const DEADLINE_LEAST: Duration = Duration::from_secs(30);

/// How long set-up and one inference may take.
pub(crate) fn session_deadline(plan: &Plan) -> Duration {
    let profile = CostProfile::default();
    let threads = rayon::current_num_threads();
    let link = Some(DEADLINE_LINK);
    let situation = Situation { profile: &profile, link, threads, is_shared: true };
    let predicted = plan.predict(&situation);
    let seconds = DEADLINE_FACTOR * (predicted.setup.wall_s + predicted.online_s());
    // A day is more than any plan takes; a prediction may be no number for plans that nobody would run.
    let longest = Duration::from_secs(86_400);
    Duration::try_from_secs_f64(seconds).unwrap_or(longest).clamp(DEADLINE_LEAST, longest)
}

/// Ends connections that are past their deadlines.
pub(crate) struct Watch {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<u64, Entry>,
    next: u64,
    /// Whether every deadline has come.
    are_all_late: bool,
    has_ended: bool,
}

struct Entry {
    deadline: Instant,
    limit: Duration,
    lifeline: Lifeline,
}

/// A connection that is watched until this is dropped.
pub(crate) struct Watched {
    watch: Arc<Watch>,
    number: u64,
}

impl Watch {
    /// Starts the thread; it ends with [`Watch::end`].
    pub(crate) fn start() -> std::io::Result<Arc<Self>> {
        let watch = Arc::new(Self { state: Mutex::default(), changed: Condvar::new() });
        let watching = Arc::clone(&watch);
        std::thread::Builder::new().name("heq-watch".to_owned()).spawn(move || watching.run())?;
        Ok(watch)
    }

    /// Watches a connection that may take `limit` from now on.
    pub(crate) fn watch(self: &Arc<Self>, lifeline: Lifeline, limit: Duration) -> Watched {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        let left = if state.are_all_late { Duration::ZERO } else { limit };
        state.entries.insert(number, Entry { deadline: Instant::now() + left, limit, lifeline });
        drop(state);
        self.changed.notify_all();
        Watched { watch: Arc::clone(self), number }
    }

    /// Ends all connections.
    pub(crate) fn end_all(&self) {
        let mut state = self.state();
        let now = Instant::now();
        state.are_all_late = true;
        state.entries.values_mut().for_each(|entry| entry.deadline = now);
        drop(state);
        self.changed.notify_all();
    }

    /// Ends the thread, not the connections.
    pub(crate) fn end(&self) {
        self.state().has_ended = true;
        self.changed.notify_all();
    }

    fn run(&self) {
        let mut state = self.state();
        while !state.has_ended {
            let now = Instant::now();
            let late: Vec<Entry> = state
                .entries
                .extract_if(.., |_, entry| entry.deadline <= now)
                .map(|(_, entry)| entry)
                .collect();
            if !late.is_empty() {
                // Nobody waits for the lock while connections end.
                drop(state);
                for Entry { limit, lifeline, .. } in late {
                    lifeline.end(NetError::Deadline { seconds: limit.as_secs() });
                }
                state = self.state();
                continue;
            }
            let next = state.entries.values().map(|entry| entry.deadline).min();
            state = match next {
                Some(next) => {
                    let left = next.saturating_duration_since(now);
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// From now on the connection may take `limit`.
    pub(crate) fn allow(&self, limit: Duration) {
        let mut state = self.watch.state();
        if !state.are_all_late
            && let Some(entry) = state.entries.get_mut(&self.number)
        {
            entry.deadline = Instant::now() + limit;
            entry.limit = limit;
        }
        drop(state);
        self.watch.changed.notify_all();
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let entry = self.watch.state().entries.remove(&self.number);
        // Not before the lock is free.
        drop(entry);
    }
}
