//! Batches and pools of random OTs, what the upper layers consume.
//!
//! A random OT gives the sender two random pads and the receiver a random choice bit with the pad
//! it selects. Invariants: the vectors of a batch have one length; batches change hands whole and
//! are zeroized on drop; a pool hands out every random OT once, in the order it came, so that two
//! parties that push and take alike hold matching batches.

use core::fmt;
use core::ops::Range;
use std::collections::VecDeque;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::bits::ChoiceBits;
use crate::block::Block;
use crate::error::OtError;

/// The sender's side of random OTs.
///
/// **Security**: nobody else knows both pads of an OT.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RotSenderBatch {
    pads0: Vec<Block>,
    pads1: Vec<Block>,
}

impl RotSenderBatch {
    /// An empty batch with room for `n` OTs; filling it up to `n` never reallocates, so that no
    /// copy of a pad is left behind.
    pub(crate) fn with_capacity(n: usize) -> Self {
        Self { pads0: Vec::with_capacity(n), pads1: Vec::with_capacity(n) }
    }

    /// Appends OTs; the slices have one length.
    pub(crate) fn extend(&mut self, pads0: &[Block], pads1: &[Block]) {
        debug_assert_eq!(pads0.len(), pads1.len());
        self.pads0.extend_from_slice(pads0);
        self.pads1.extend_from_slice(pads1);
    }

    /// Number of OTs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pads0.len()
    }

    /// Whether there is no OT.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pads0.is_empty()
    }

    /// The pads that choice 0 selects.
    #[must_use]
    pub fn pads0(&self) -> &[Block] {
        &self.pads0
    }

    /// The pads that choice 1 selects.
    #[must_use]
    pub fn pads1(&self) -> &[Block] {
        &self.pads1
    }
}

/// The receiver's side of random OTs.
///
/// **Security**: the sender does not know the choices, the receiver does not know the pads it did
/// not choose.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RotReceiverBatch {
    choices: ChoiceBits,
    pads: Vec<Block>,
}

impl RotReceiverBatch {
    /// A batch of `choices.len() == pads.len()` OTs.
    pub(crate) fn new(choices: ChoiceBits, pads: Vec<Block>) -> Self {
        debug_assert_eq!(choices.len(), pads.len());
        Self { choices, pads }
    }

    /// Number of OTs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pads.len()
    }

    /// Whether there is no OT.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pads.is_empty()
    }

    /// The choice bits `c_i`.
    #[must_use]
    pub fn choices(&self) -> &ChoiceBits {
        &self.choices
    }

    /// The chosen pads: entry `i` is the sender's `pads0[i]` or `pads1[i]`, as `c_i` is 0 or 1.
    #[must_use]
    pub fn pads(&self) -> &[Block] {
        &self.pads
    }
}

/// A side of a batch, as the pools see it.
trait Batch: Sized {
    fn len(&self) -> usize;
    fn with_capacity(n: usize) -> Self;
    /// Moves `range` of `source` to the end of `self`; what stays behind is zero.
    fn append(&mut self, source: &mut Self, range: Range<usize>);
}

impl Batch for RotSenderBatch {
    fn len(&self) -> usize {
        self.len()
    }

    fn with_capacity(n: usize) -> Self {
        Self::with_capacity(n)
    }

    fn append(&mut self, source: &mut Self, range: Range<usize>) {
        self.extend(&source.pads0[range.clone()], &source.pads1[range.clone()]);
        source.pads0[range.clone()].zeroize();
        source.pads1[range].zeroize();
    }
}

impl Batch for RotReceiverBatch {
    fn len(&self) -> usize {
        self.len()
    }

    fn with_capacity(n: usize) -> Self {
        Self { choices: ChoiceBits::with_capacity(n), pads: Vec::with_capacity(n) }
    }

    fn append(&mut self, source: &mut Self, range: Range<usize>) {
        self.choices.push_range(&source.choices, range.start, range.len());
        self.pads.extend_from_slice(&source.pads[range.clone()]);
        source.pads[range].zeroize();
    }
}

/// Batches in order, the first of them used up to `front`.
struct Queue<B> {
    batches: VecDeque<B>,
    front: usize,
    left: usize,
}

impl<B: Batch> Queue<B> {
    fn new() -> Self {
        Self { batches: VecDeque::new(), front: 0, left: 0 }
    }

    fn push(&mut self, batch: B) {
        self.left += batch.len();
        self.batches.push_back(batch);
    }

    fn take(&mut self, n: usize) -> Result<B, OtError> {
        if n > self.left {
            return Err(OtError::Exhausted { wanted: n, left: self.left });
        }
        let mut taken = B::with_capacity(n);
        while let Some(batch) = self.batches.front_mut() {
            let end = batch.len().min(self.front + n - taken.len());
            taken.append(batch, self.front..end);
            if end < batch.len() {
                self.front = end;
                break;
            }
            self.batches.pop_front();
            self.front = 0;
        }
        self.left -= n;
        Ok(taken)
    }
}

/// The sender's stock of random OTs.
pub struct RotSenderPool(Queue<RotSenderBatch>);

impl RotSenderPool {
    /// An empty pool.
    #[must_use]
    pub fn new() -> Self {
        Self(Queue::new())
    }

    /// Number of random OTs left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.left
    }

    /// Whether no random OT is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.left == 0
    }

    /// Adds a batch behind those already there.
    pub fn push(&mut self, batch: RotSenderBatch) {
        self.0.push(batch);
    }

    /// Takes the next `n` random OTs out of the pool.
    ///
    /// # Errors
    /// [`OtError::Exhausted`] if fewer than `n` are left; the pool is then unchanged.
    pub fn take(&mut self, n: usize) -> Result<RotSenderBatch, OtError> {
        self.0.take(n)
    }
}

/// The receiver's stock of random OTs.
pub struct RotReceiverPool(Queue<RotReceiverBatch>);

impl RotReceiverPool {
    /// An empty pool.
    #[must_use]
    pub fn new() -> Self {
        Self(Queue::new())
    }

    /// Number of random OTs left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.left
    }

    /// Whether no random OT is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.left == 0
    }

    /// Adds a batch behind those already there.
    pub fn push(&mut self, batch: RotReceiverBatch) {
        self.0.push(batch);
    }

    /// Takes the next `n` random OTs out of the pool.
    ///
    /// # Errors
    /// [`OtError::Exhausted`] if fewer than `n` are left; the pool is then unchanged.
    pub fn take(&mut self, n: usize) -> Result<RotReceiverBatch, OtError> {
        self.0.take(n)
    }
}

macro_rules! impl_default_and_debug {
    ($($pool:ident, $batch:ident;)*) => {$(
        impl Default for $pool {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Debug for $pool {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($pool)).field("len", &self.len()).finish_non_exhaustive()
            }
        }

        impl fmt::Debug for $batch {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($batch)).field("len", &self.len()).finish_non_exhaustive()
            }
        }
    )*};
}

impl_default_and_debug! {
    RotSenderPool, RotSenderBatch;
    RotReceiverPool, RotReceiverBatch;
}
