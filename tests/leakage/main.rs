//! What either party sees, against what it may learn: which frames come, how messages and shares are
//! distributed, and that nothing random serves twice.
//!
//! Steps that take a generator get one of a fixed seed, so that a run repeats to the bit. The randomness of
//! whole sessions is the operating system's: tests of those count equal values, which by chance come with a
//! probability below 2^-100. Statistical limits: `statistics.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clippy exempts test functions, not their helpers"
)]

mod agreement;
mod distinct;
mod frames;
mod prepared;
mod recording;
mod requests;
mod responses;
#[path = "../../runtime/he/tests/common/mod.rs"]
mod session;
mod shares;
mod statistics;
#[path = "../../runtime/tests/common/steps.rs"]
mod steps;
