//! Stops work that nobody wants any more.

use crate::diagnostic::{Code, Diagnostic};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Tells work, on whatever threads, that it is to stop. Copies tell the same work.
///
/// Work that computes looks now and then; work that waits leaves something to be done when it is to stop.
#[derive(Clone, Default)]
pub struct Stop(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_stopped: AtomicBool,
    next: AtomicU64,
    actions: Mutex<BTreeMap<u64, Action>>,
}

type Action = Box<dyn Fn() + Send>;

/// Something to be done when work is to stop, until this is dropped.
pub struct OnStop {
    stop: Stop,
    number: u64,
}

impl Stop {
    /// Tells the work to stop.
    pub fn stop(&self) {
        self.0.is_stopped.store(true, Ordering::SeqCst);
        let actions = std::mem::take(&mut *self.actions());
        actions.values().for_each(|action| action());
    }

    /// Whether the work is to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.is_stopped.load(Ordering::SeqCst)
    }

    /// Ends work that is to stop.
    ///
    /// # Errors
    /// [`Code::Interrupted`] if it is.
    pub fn check(&self) -> Result<(), Diagnostic> {
        if !self.is_stopped() {
            return Ok(());
        }
        let remedy = "run it again; nothing was written";
        Err(Diagnostic::new(Code::Interrupted, "heq", "was stopped", remedy))
    }

    /// Does `action` once when the work is to stop, at once if it is.
    pub fn on_stop(&self, action: impl Fn() + Send + 'static) -> OnStop {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.actions().insert(number, Box::new(action));
        if self.is_stopped() {
            // Whoever takes it out does it.
            let action = self.actions().remove(&number);
            action.into_iter().for_each(|action| action());
        }
        OnStop { stop: self.clone(), number }
    }

    fn actions(&self) -> MutexGuard<'_, BTreeMap<u64, Action>> {
        self.0.actions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OnStop {
    fn drop(&mut self) {
        let action = self.stop.actions().remove(&self.number);
        // Not before the lock is free.
        drop(action);
    }
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stop").field(&self.is_stopped()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_done_once_and_not_after_they_are_withdrawn() {
        let done = Arc::new(AtomicU64::new(0));
        let count = |by| {
            let done = Arc::clone(&done);
            move || {
                done.fetch_add(by, Ordering::SeqCst);
            }
        };
        let stop = Stop::default();
        let kept = stop.on_stop(count(1));
        drop(stop.on_stop(count(10)));
        assert!(stop.check().is_ok());
        stop.clone().stop();
        stop.stop();
        assert_eq!(stop.check().map_err(|error| error.code), Err(Code::Interrupted));
        let late = stop.on_stop(count(100));
        assert_eq!(done.load(Ordering::SeqCst), 101);
        drop((kept, late));
    }
}
