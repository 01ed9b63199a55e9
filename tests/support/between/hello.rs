//! Hellos written by hand: where their fields are, and one that is believed without TLS.

use super::Party;
use heq_ir::plan::HELLO_BYTES;
use heq_runtime::session::PROTOCOL_VERSION;
use sha2::{Digest, Sha256};
use std::ops::Range;

/// The magic.
pub const MAGIC: Range<usize> = 0..8;
/// The protocol version.
pub const VERSION: Range<usize> = 8..12;
/// The role.
pub const ROLE: Range<usize> = 12..13;
/// The modes.
pub const MODES: Range<usize> = 13..16;
/// The digest of the plan.
pub const PLAN: Range<usize> = 16..48;
/// The nonce.
pub const NONCE: Range<usize> = 48..80;
/// The number of inferences.
pub const INFERENCES: Range<usize> = 80..84;
/// The binding.
pub const BINDING: Range<usize> = 84..116;
/// The verdict.
pub const VERDICT: Range<usize> = 116..120;
/// Seconds after which to ask again.
pub const SECONDS: Range<usize> = 120..124;

/// What a party without TLS shows of its connection.
#[must_use]
pub fn binding(party: Party) -> [u8; 32] {
    let role = match party {
        Party::Client => "client",
        Party::Server => "server",
    };
    Sha256::digest(format!("heq/1/binding/{role}{}", "\0".repeat(32))).into()
}

/// A client's hello for `inferences`, or a server's answer that it serves it.
#[must_use]
pub fn hello(party: Party, mode: u8, plan: [u8; 32], inferences: u8) -> Vec<u8> {
    let mut bytes = vec![0; HELLO_BYTES];
    bytes[MAGIC].copy_from_slice(b"HEQPEER\n");
    bytes[VERSION].copy_from_slice(&PROTOCOL_VERSION.to_le_bytes());
    bytes[ROLE][0] = u8::from(party == Party::Server);
    bytes[MODES][0] = mode;
    bytes[PLAN].copy_from_slice(&plan);
    bytes[NONCE].fill(1 + u8::from(party == Party::Server));
    bytes[INFERENCES][0] = inferences;
    bytes[BINDING].copy_from_slice(&binding(party));
    bytes
}
