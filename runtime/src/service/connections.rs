//! Connections that have a thread, and those of them that have not said yet who they are.
//!
//! Of the latter there are so many at most: one more ends the oldest, which an honest client is only for an
//! instant. So nobody keeps others out by holding connections; by making them fast enough one still can.

use heq_net::tcp::Closer;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most connections that have not said yet who they are and what they want.
const MAX_UNAUTHENTICATED: usize = 512;

/// Counts connections.
#[derive(Default)]
pub(super) struct Connections {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    count: usize,
    next: u64,
    unauthenticated: BTreeMap<u64, Closer>,
}

/// A connection that is counted until this is dropped.
pub(super) struct Counted(Arc<Connections>);

/// A connection that is closed if there come too many others while this is there.
pub(super) struct Unauthenticated {
    connections: Arc<Connections>,
    number: u64,
}

impl Connections {
    pub(super) fn count(self: &Arc<Self>) -> Counted {
        self.state().count += 1;
        Counted(Arc::clone(self))
    }

    /// Takes up a connection; whether another was closed for it.
    pub(super) fn unknown(self: &Arc<Self>, closer: Closer) -> (Unauthenticated, bool) {
        let is_full = self.state().unauthenticated.len() >= MAX_UNAUTHENTICATED;
        let was_full = is_full && self.close_oldest();
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.unauthenticated.insert(number, closer);
        drop(state);
        (Unauthenticated { connections: Arc::clone(self), number }, was_full)
    }

    /// Closes the oldest connection that has not said who it is; whether there was one.
    pub(super) fn close_oldest(&self) -> bool {
        let oldest = self.state().unauthenticated.pop_first();
        let Some((_, oldest)) = oldest else { return false };
        oldest.close();
        true
    }

    pub(super) fn unauthenticated(&self) -> usize {
        self.state().unauthenticated.len()
    }

    /// Waits until there is none; whether that came within `limit`.
    pub(super) fn wait(&self, limit: Duration) -> bool {
        let start = Instant::now();
        let mut state = self.state();
        while state.count > 0 {
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.state().count -= 1;
        self.0.changed.notify_all();
    }
}

impl Drop for Unauthenticated {
    fn drop(&mut self) {
        let closer = self.connections.state().unauthenticated.remove(&self.number);
        // Not before the lock is free.
        drop(closer);
    }
}
