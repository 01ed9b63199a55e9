//! Connections that have a thread, and those of them that have not said yet who they are.
//!
//! Of the latter there are so many at most: one more ends the oldest, which an honest client is only for an
//! instant. So nobody keeps others out by holding connections.

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
        let mut state = self.state();
        let oldest = if state.unauthenticated.len() >= MAX_UNAUTHENTICATED {
            state.unauthenticated.pop_first()
        } else {
            None
        };
        let number = state.next;
        state.next += 1;
        state.unauthenticated.insert(number, closer);
        drop(state);
        if let Some((_, oldest)) = &oldest {
            oldest.close();
        }
        (Unauthenticated { connections: Arc::clone(self), number }, oldest.is_some())
    }

    pub(super) fn unauthenticated(&self) -> usize {
        self.state().unauthenticated.len()
    }

    /// Waits until there is none; whether that came in time.
    pub(super) fn wait(&self, limit: Option<Duration>) -> bool {
        let start = Instant::now();
        let mut state = self.state();
        while state.count > 0 {
            state = match limit.map(|limit| limit.saturating_sub(start.elapsed())) {
                Some(Duration::ZERO) => return false,
                Some(left) => {
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
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
