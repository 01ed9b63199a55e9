//! The stock of random OTs: batches in the order in which the plan takes them, made ahead.

use crate::error::RunError;
use heq_mutation::broken;
use heq_ot::{RotBatch, RotShape};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// One side's random OTs, made ahead and handed out once each.
pub struct Stock<B> {
    ready: mpsc::Receiver<Result<B, RunError>>,
    ahead: Arc<Ahead>,
}

impl<B: RotBatch> Stock<B> {
    /// A stock that hands out what `ready` brings, waiting for it, and tells `ahead` what was taken.
    #[must_use]
    pub fn new(ready: mpsc::Receiver<Result<B, RunError>>, ahead: Arc<Ahead>) -> Self {
        Self { ready, ahead }
    }

    /// The next batch, which the plan says is of `shape`.
    ///
    /// # Errors
    /// The error that kept it from being made; [`RunError::Internal`] if the next batch has another
    /// shape or there is none: the step then takes what the plan does not count.
    pub fn take(&mut self, shape: RotShape) -> Result<B, RunError> {
        let start = Instant::now();
        let batch = self.ready.recv().map_err(|_| NOT_COUNTED)??;
        self.ahead.take(batch.shape(), start.elapsed());
        if broken!(
            "random OTs serve twice",
            "heq-runtime lib every_batch_is_handed_out_once_and_in_order"
        ) {
            let mut bytes = Vec::new();
            batch.store(&mut bytes);
            let (sender, ready) = mpsc::channel();
            let _unread = sender.send(Ok(B::restore(shape, &bytes)?));
            self.ready = ready;
        }
        if batch.shape() == shape { Ok(batch) } else { Err(NOT_COUNTED) }
    }

    /// Whether nothing is left; waits for what is still being made.
    pub fn is_used_up(&mut self) -> bool {
        self.ready.recv().is_err()
    }
}

impl<B: RotBatch> FromIterator<B> for Stock<B> {
    fn from_iter<I: IntoIterator<Item = B>>(batches: I) -> Self {
        let (sender, ready) = mpsc::channel();
        // The receiver is at hand, so sending cannot fail.
        batches.into_iter().for_each(|batch| drop(sender.send(Ok(batch))));
        Self::new(ready, Arc::default())
    }
}

const NOT_COUNTED: RunError =
    RunError::Internal { what: "a step takes random OTs that the plan does not count" };

/// How much was made ahead, between the thread that makes random OTs and the stocks of both kinds.
#[derive(Default)]
pub struct Ahead {
    state: Mutex<AheadState>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct AheadState {
    /// Bytes of both pads, reserved and not yet taken.
    bytes: u64,
    has_ended: bool,
    taken: Taken,
}

/// What steps took from the stocks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Taken {
    /// Number of random OTs.
    pub rots: u64,
    /// How long steps waited for them.
    pub waited: Duration,
}

impl Ahead {
    /// Waits until `bytes` more may be made, which with what was made ahead are at most `limit_bytes`,
    /// or nothing is ahead. False if the session has ended.
    #[must_use]
    pub fn reserve(&self, bytes: u64, limit_bytes: u64) -> bool {
        let mut state = self.state();
        while !state.has_ended && state.bytes > 0 && state.bytes.saturating_add(bytes) > limit_bytes
        {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.bytes = state.bytes.saturating_add(bytes);
        !state.has_ended
    }

    /// Lets nobody wait for room any more.
    pub fn end(&self) {
        self.state().has_ended = true;
        self.changed.notify_all();
    }

    /// What was taken so far.
    #[must_use]
    pub fn taken(&self) -> Taken {
        self.state().taken
    }

    fn take(&self, shape: RotShape, waited: Duration) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(pad_bytes(shape));
        state.taken.rots += (shape.planes * shape.elements) as u64;
        state.taken.waited += waited;
        drop(state);
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, AheadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of both pads of a batch, as the plan counts them.
fn pad_bytes(shape: RotShape) -> u64 {
    (shape.planes * shape.words()) as u64 * 16 * shape.bits as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use heq_ot::RotReceiverBatch;
    use heq_ot::ideal::ideal_rot;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    #[test]
    fn every_batch_is_handed_out_once_and_in_order() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let shape = RotShape { planes: 1, elements: 200, bits: 2 };
        let batches: Vec<_> = (0..3).map(|_| ideal_rot(shape, &mut rng).1).collect();
        let choices = |batch: &RotReceiverBatch| batch.choices(0).to_vec();
        let expected: Vec<_> = batches.iter().map(choices).collect();
        let mut stock: Stock<_> = batches.into_iter().collect();
        let found: Vec<_> = (0..3).map(|_| choices(&stock.take(shape).unwrap())).collect();
        assert_eq!(found, expected);
        assert!(found[0] != found[1] && found[1] != found[2]);
        assert!(matches!(stock.take(shape), Err(RunError::Internal { .. })));
        assert!(stock.is_used_up());
    }

    #[test]
    fn batches_of_another_shape_are_refused() {
        let shape = RotShape { planes: 2, elements: 200, bits: 2 };
        for other in [
            RotShape { planes: 1, ..shape },
            RotShape { elements: 199, ..shape },
            RotShape { bits: 3, ..shape },
        ] {
            let (sender, _) = ideal_rot(shape, &mut ChaCha20Rng::seed_from_u64(1));
            let mut stock: Stock<_> = [sender].into_iter().collect();
            assert!(matches!(stock.take(other), Err(RunError::Internal { .. })), "{other:?}");
        }
    }

    #[test]
    fn what_is_made_ahead_waits_for_room() {
        let shape = RotShape { planes: 3, elements: 65, bits: 2 };
        let bytes = pad_bytes(shape);
        assert_eq!(bytes, 3 * 2 * 2 * 16);
        let ahead = Ahead::default();
        // Nothing is ahead, then two fit.
        assert!(ahead.reserve(bytes, 0) && ahead.reserve(bytes, 2 * bytes));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| ahead.reserve(bytes, 2 * bytes));
            ahead.take(shape, Duration::ZERO);
            assert!(waiting.join().unwrap());
            let waiting = scope.spawn(|| ahead.reserve(bytes, 2 * bytes));
            ahead.end();
            assert!(!waiting.join().unwrap());
        });
        assert_eq!(ahead.taken().rots, 3 * 65);
    }
}
