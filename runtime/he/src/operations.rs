//! Counters of operations on polynomials: what a layer took, against what its layout predicts.

use heq_ir::layout::PartyOperations;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Operations so far, limb by limb; counts depend on public parameters alone.
///
/// May be read while other threads compute.
#[derive(Debug, Default)]
pub struct Operations {
    transforms: AtomicU64,
    weight_transforms: AtomicU64,
    products: AtomicU64,
    key_switches: AtomicU64,
}

impl Operations {
    /// The counts up to now.
    #[must_use]
    pub fn counts(&self) -> PartyOperations {
        PartyOperations {
            transforms: self.transforms.load(Relaxed),
            weight_transforms: self.weight_transforms.load(Relaxed),
            products: self.products.load(Relaxed),
            key_switches: self.key_switches.load(Relaxed),
        }
    }

    pub(crate) fn count_transforms(&self, count: usize) {
        self.transforms.fetch_add(count as u64, Relaxed);
    }

    pub(crate) fn count_weight_transforms(&self, count: usize) {
        self.weight_transforms.fetch_add(count as u64, Relaxed);
    }

    pub(crate) fn count_products(&self, count: usize) {
        self.products.fetch_add(count as u64, Relaxed);
    }

    pub(crate) fn count_key_switch(&self) {
        self.key_switches.fetch_add(1, Relaxed);
    }
}
