//! Secrets stay where they belong: types that cannot be printed or copied, memory that is wiped before it is
//! freed, programs that say nothing of what they compute on.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy exempts test functions, not their helpers"
)]

mod freed;
mod said;
mod types;
mod wiped;
