//! Channels over TLS: who the peer is, and that nobody between reads or changes anything.
//!
//! TLS 1.3 alone, with certificates on both sides, without resumption and early data \[RFC8446\]. The
//! cryptography is that of `rustls` and `ring`; here are the rules of who is trusted
//! ([`Trust`]), files of keys and certificates ([`Identity`]), a small private authority ([`Authority`]) and
//! the transport between a socket and a channel.
//!
//! Invariants: no byte of a channel is sent before the peer's certificate was accepted; a connection that is
//! not authenticated yet costs at most [`HANDSHAKE_BYTES`] of what its peer sends, and ends by the deadline
//! that its opener gives.

mod authority;
mod certificate;
mod error;
mod handshake;
mod identity;
mod stream;
mod trust;

pub use authority::Authority;
pub use certificate::{Certificate, KeyPin, ParsePinError};
pub use error::TlsFileError;
pub use handshake::HANDSHAKE_BYTES;
pub use identity::Identity;
pub use trust::{ClientTls, ServerTls, Trust};

pub(crate) use handshake::{Secured, accept, connect};
pub(crate) use stream::TlsWriter;

/// What both parties of a connection know, and nobody else: an exporter's output [RFC8446, 7.5].
pub const BINDING_BYTES: usize = 32;

/// Whom a channel leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The peer's public key.
    pub pin: KeyPin,
    /// The name in its certificate, with nothing in it that a terminal would act on; empty if it has none.
    pub name: String,
}
