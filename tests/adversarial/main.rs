//! Hostile or mistaken files and peers: a clear error, no panic, no wrong success.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

mod by_hand;
mod cases;
mod files;
mod messages;
mod peers;
mod plans;
mod service;
