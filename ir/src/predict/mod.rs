//! Predicted time and memory of a plan: exact counts times the costs of a machine.
//!
//! A [`CostProfile`] holds the times of one machine's primitives, as `heq-run calibrate` measures them.
//! [`work`] multiplies it with the counts of a step, [`timeline`] simulates how the runtime lays the steps
//! of both parties out in time. The compiler chooses by it, reports show it. docs/cost-model.md.

pub mod memory;
pub mod profile;
mod script;
mod simulation;
#[cfg(test)]
mod tests;
pub mod timeline;
pub mod work;

pub use profile::CostProfile;
pub use timeline::{Bound, PartPrediction, PlanPrediction};
pub use work::BATCH_PER_THREAD;

use crate::link::LinkProfile;

/// Memory for transformed weights that a server takes unless told otherwise, in bytes.
pub const WEIGHT_CACHE_BYTES: usize = 256_000_000;

/// What a time is predicted for.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// The machines.
    pub profile: &'a CostProfile,
    /// The link between the parties; none in memory.
    pub link: Option<LinkProfile>,
    /// Threads of each party, at least 1.
    pub threads: usize,
    /// Whether both parties run on these threads, as in the role `local`, or each has its own.
    pub is_shared: bool,
}

impl Situation<'_> {
    /// Microseconds that `bytes` occupy one direction of the link.
    #[must_use]
    pub fn transmission_us(&self, bytes: f64) -> f64 {
        self.link.map_or(0.0, |link| bytes * 8e6 / link.bits_per_second() as f64)
    }

    /// Microseconds until a party that waits for a message runs after it came. One that waits for the
    /// time of delivery on a simulated link does not sleep to the end.
    pub(crate) fn wake_us(&self) -> f64 {
        if self.link.is_some() { 0.0 } else { self.profile.wake_us }
    }

    /// Microseconds from the last byte sent to the last byte received.
    #[must_use]
    pub fn latency_us(&self) -> f64 {
        self.link.map_or(0.0, |link| link.rtt().as_secs_f64() * 5e5)
    }
}
