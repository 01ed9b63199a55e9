//! The handshake: from a connected socket to an authenticated peer, by a deadline.

use super::certificate::Certificate;
use super::error::explain;
use super::stream::{Session, TlsIncoming};
use super::trust::{ClientTls, ServerTls};
use super::{BINDING_BYTES, Peer};
use crate::error::NetError;
use crate::tcp::Shared;
use heq_mutation::broken;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConnection};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most bytes that a peer may send before it is authenticated: several times what certificates take.
pub const HANDSHAKE_BYTES: usize = 16 << 10;

/// Bytes read at once during the handshake.
const READ_BYTES: usize = 2 << 10;

/// How long a side that refuses its peer waits for it to read why, and how much of it that throws away.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 << 10;

/// What both sides of a connection say that its binding is for.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-heq-1-session";

/// An authenticated connection.
pub(crate) struct Secured {
    pub(crate) incoming: TlsIncoming,
    pub(crate) session: Arc<Session>,
    pub(crate) peer: Peer,
    pub(crate) binding: [u8; BINDING_BYTES],
}

/// The client's side, with a server at `host`.
pub(crate) fn connect(
    stream: &Arc<TcpStream>,
    host: &str,
    tls: &ClientTls,
    deadline: Instant,
) -> Result<Secured, NetError> {
    let name = tls.server_name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name).map_err(|_| NetError::Authentication {
        what: format!("{host} is no name that a certificate could be for"),
        remedy: "say with --server-name which one the server's certificate is for",
    })?;
    let connection = ClientConnection::new(Arc::clone(&tls.config), name);
    secure(stream, connection.map_err(|error| explain(&error))?.into(), deadline)
}

/// The server's side.
pub(crate) fn accept(
    stream: &Arc<TcpStream>,
    tls: &ServerTls,
    deadline: Instant,
) -> Result<Secured, NetError> {
    let connection = ServerConnection::new(Arc::clone(&tls.config));
    secure(stream, connection.map_err(|error| explain(&error))?.into(), deadline)
}

fn secure(
    stream: &Arc<TcpStream>,
    mut connection: Connection,
    deadline: Instant,
) -> Result<Secured, NetError> {
    if let Err(error) = negotiate(stream, &mut connection, deadline) {
        linger(stream, deadline);
        return Err(error);
    }
    let own_fault = |what: &str| NetError::Authentication {
        what: format!("the TLS connection failed: {what}"),
        remedy: "connect again",
    };
    let certificate = connection.peer_certificates().and_then(|all| all.first());
    let certificate = certificate.and_then(|der| Certificate::parse(der));
    let certificate = certificate.ok_or_else(|| own_fault("the peer has no certificate"))?;
    let peer = Peer { pin: certificate.pin, name: certificate.subject };
    let binding = connection.export_keying_material([0; BINDING_BYTES], EXPORTER_LABEL, None);
    let mut binding = binding.map_err(|error| own_fault(&error.to_string()))?;
    if broken!(
        "connections share their binding",
        "heq-net tls both_sides_know_each_other_and_share_a_secret"
    ) {
        binding.fill(0);
    }
    let session = Arc::new(Session::new(connection));
    let incoming = TlsIncoming::new(Shared(Arc::clone(stream)), Arc::clone(&session));
    Ok(Secured { incoming, session, peer, binding })
}

fn negotiate(
    stream: &TcpStream,
    connection: &mut Connection,
    deadline: Instant,
) -> Result<(), NetError> {
    const DOING: &str = "authenticating";
    let io_error = |error| NetError::from_io(DOING, error);
    let mut stream = stream;
    let mut received = 0;
    loop {
        while connection.wants_write() {
            let mut out = Vec::new();
            connection.write_tls(&mut out).map_err(io_error)?;
            stream.set_write_timeout(Some(left(deadline)?)).map_err(io_error)?;
            stream.write_all(&out).map_err(io_error)?;
        }
        if !connection.is_handshaking() {
            return Ok(());
        }
        let mut bytes = [0; READ_BYTES];
        stream.set_read_timeout(Some(left(deadline)?)).map_err(io_error)?;
        let count = stream.read(&mut bytes).map_err(io_error)?;
        received += count;
        if count == 0 {
            return Err(NetError::Closed { doing: DOING });
        }
        if received > HANDSHAKE_BYTES {
            return Err(NetError::Authentication {
                what: format!("the peer sent more than {HANDSHAKE_BYTES} bytes unauthenticated"),
                remedy: "send fewer or smaller certificates",
            });
        }
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            connection.read_tls(&mut rest).map_err(io_error)?;
            if let Err(error) = connection.process_new_packets() {
                // The alert says why; whether it arrives is the peer's concern.
                let mut alert = Vec::new();
                if connection.write_tls(&mut alert).is_ok() {
                    let _unsent = stream.write_all(&alert);
                }
                return Err(explain(&error));
            }
        }
    }
}

/// The time that is left.
fn left(deadline: Instant) -> Result<Duration, NetError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(NetError::Timeout { doing: "authenticating" }) } else { Ok(left) }
}

/// Lets the peer read what was sent last: a socket that is closed with bytes unread resets the connection,
/// and what it had sent is lost.
fn linger(mut stream: &TcpStream, deadline: Instant) {
    let deadline = deadline.min(Instant::now() + LINGER);
    // The connection has failed already.
    let _shut = stream.shutdown(Shutdown::Write);
    let (mut bytes, mut count) = ([0; READ_BYTES], 0);
    while count < LINGER_BYTES
        && let Ok(left) = left(deadline)
        && stream.set_read_timeout(Some(left)).is_ok()
        && let Ok(more @ 1..) = stream.read(&mut bytes)
    {
        count += more;
    }
}
