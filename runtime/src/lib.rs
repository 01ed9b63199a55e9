//! Executes a secure two-party plan.
//!
//! From the bottom up: [`share`] (what a party holds), [`protocol`] (interactive steps), [`session`]
//! (handshake, keys, random OTs), [`executor`] (walks the plan), [`party`] (a whole run), [`client`], [`service`] (a server
//! for many clients) and [`local`] (both parties in a process), [`settings`] (what users decide), [`cli`] (the
//! program `heq-run`). Plans come checked from `heq_ir`; this crate never sees the compiler.

pub mod calibrate;
pub mod cli;
pub mod client;
pub mod error;
pub mod executor;
pub mod local;
pub mod offline;
pub mod party;
mod private_file;
pub mod protocol;
mod random;
pub mod service;
pub mod session;
pub mod settings;
pub mod share;
pub mod stats;
pub mod stock;
mod watch;
