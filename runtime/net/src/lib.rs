//! Metered, framed, blocking channels between the two parties of heq.
//!
//! Protocol steps never see a socket: a driver hands their messages to a [`Channel`], which is the
//! only place that counts bytes, messages and flights. Over TCP ([`tcp`]), in one process
//! ([`memory`]) or over a simulated link ([`shaped`]) a channel moves exactly the same bytes.
//!
//! Invariants: a receiver names the length of every message beforehand, so the peer never decides
//! how much is allocated; sending never waits for the peer; after an error all lanes are unusable;
//! no byte from the peer can cause a panic. A channel over TCP that leaves this machine is encrypted, and both
//! ends are authenticated ([`tls`]); others are not.
#![forbid(unsafe_code)]

pub mod channel;
mod connection;
pub mod error;
mod flight;
pub mod frame;
pub mod memory;
pub mod meter;
pub mod shaped;
pub mod tcp;
pub mod tls;

pub use channel::Channel;
pub use error::NetError;
pub use meter::Meter;
