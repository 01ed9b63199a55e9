//! Channels over TCP, encrypted and authenticated by TLS or, on one machine alone, without.
//!
//! A writer thread owns the sending half, fed by a queue: because a party never waits while it sends, two
//! parties that send large messages to each other cannot block each other. What may wait in the queue is
//! bounded by what the protocol lets a party send before it must wait ([`Channel::limit_queue`]). The thread
//! flushes whenever the queue is empty, so that small messages share packets but never linger; while there is
//! nothing to send it sends heartbeats, so that a peer can tell a party that computes from one that is gone.
//! If it fails it shuts the connection down, which wakes the reading half.

mod writer;

pub(crate) use writer::await_end;

use crate::channel::Channel;
use crate::connection::{Abort, Connection, Finish, Incoming, Outgoing};
use crate::error::NetError;
use crate::tls::{self, ClientTls, ServerTls, TlsWriter};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs,
};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use writer::{Patient, Writer, shut_down};

/// Size of the read and write buffers in bytes; longer payloads bypass them.
const BUFFER_BYTES: usize = 64 << 10;

/// Pause between two attempts to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// How often a writer that cannot write looks whether it still should.
const WRITE_PATIENCE: Duration = Duration::from_millis(500);

/// Settings of a TCP channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    /// How long nothing may come from a peer that is waited for, heartbeats included, and how long a peer may
    /// take nothing of what is left when the channel closes. None: for ever. Zero is refused when the channel
    /// is made.
    pub idle_timeout: Option<Duration>,
    /// After how long without a message a heartbeat is sent.
    pub heartbeat: Duration,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self { idle_timeout: None, heartbeat: Duration::from_secs(5) }
    }
}

/// Connects to `address` (`host:port`), again and again until `deadline`, so that the two parties
/// may be started in any order. Without `tls` the address must be of this machine.
///
/// # Errors
///
/// [`NetError::Connect`] with the last attempt's error; at once if `address` is not of the form
/// `host:port`. [`NetError::Authentication`] if the peer is not trusted, or [`NetError::Plaintext`] if
/// nothing says who it is. [`NetError::Io`] if the connection cannot be set up.
pub fn connect(
    address: &str,
    deadline: Instant,
    options: TcpOptions,
    tls: Option<&ClientTls>,
) -> Result<Channel, NetError> {
    loop {
        match attempt(address, deadline) {
            Ok(stream) => {
                return open(Arc::new(stream), options, |stream| {
                    tls.map(|tls| tls::connect(stream, host_of(address), tls, deadline)).transpose()
                });
            }
            Err(source) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() || source.kind() == ErrorKind::InvalidInput {
                    return Err(NetError::Connect { address: address.to_owned(), source });
                }
                std::thread::sleep(RETRY_PAUSE.min(left));
            }
        }
    }
}

/// The host in `host:port`, without the brackets of an IPv6 address.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Tries every address that the name resolves to once.
fn attempt(address: &str, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    let candidates: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    for (index, candidate) in candidates.iter().enumerate() {
        // An address that does not answer leaves time for the others.
        let left = deadline.saturating_duration_since(Instant::now());
        let left = left / u32::try_from(candidates.len() - index).unwrap_or(u32::MAX);
        match TcpStream::connect_timeout(candidate, left.max(Duration::from_millis(1))) {
            // On one host, a connection to a free port can be handed that same port and connect to
            // itself.
            Ok(stream) if stream.local_addr()? == stream.peer_addr()? => {
                last = ErrorKind::ConnectionRefused.into();
            }
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A socket that waits for peers.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
}

impl Listener {
    /// Listens on `address` (`host:port`); port 0 lets the system choose.
    ///
    /// # Errors
    ///
    /// [`NetError::Listen`] if the address is malformed, in use, or not of this machine.
    pub fn bind(address: &str) -> Result<Self, NetError> {
        TcpListener::bind(address)
            .map(|listener| Self { listener })
            .map_err(|source| NetError::Listen { address: address.to_owned(), source })
    }

    /// The address that is listened on, with the actual port.
    ///
    /// # Errors
    ///
    /// [`NetError::Io`] if the system does not tell.
    pub fn local_address(&self) -> Result<SocketAddr, NetError> {
        let doing = "reading the listening address";
        self.listener.local_addr().map_err(|source| NetError::Io { doing, source })
    }

    /// Lets a thread that waits in [`Listener::accept`] return, with a connection that is closed.
    pub fn wake(&self) {
        let Ok(mut address) = self.listener.local_addr() else { return };
        if address.ip().is_unspecified() {
            let loopback: IpAddr = match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
            address.set_ip(loopback);
        }
        // If it fails, the next client wakes the thread.
        let _woken = TcpStream::connect_timeout(&address, WRITE_PATIENCE);
    }

    /// Waits for one peer.
    ///
    /// # Errors
    ///
    /// [`NetError::Io`] if no connection can be accepted.
    pub fn accept(&self) -> Result<Accepted, NetError> {
        let doing = "accepting a connection";
        let (stream, peer) =
            self.listener.accept().map_err(|source| NetError::Io { doing, source })?;
        Ok(Accepted { stream: Arc::new(stream), peer })
    }
}

/// A connection of a peer that is not known yet.
#[derive(Debug)]
pub struct Accepted {
    stream: Arc<TcpStream>,
    peer: SocketAddr,
}

impl Accepted {
    /// Where the connection comes from.
    #[must_use]
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// A handle by which another thread can close the connection, whatever becomes of it.
    #[must_use]
    pub fn closer(&self) -> Closer {
        Closer(Arc::clone(&self.stream))
    }

    /// Makes a channel of the connection, once the peer has proved by `deadline` who it is. Without `tls` the
    /// peer must be on this machine.
    ///
    /// # Errors
    ///
    /// [`NetError::Authentication`] if the peer is not trusted, or [`NetError::Plaintext`] if nothing says who
    /// it is; [`NetError::Timeout`] or [`NetError::Closed`] if it does not go on; [`NetError::Io`].
    pub fn open(
        self,
        options: TcpOptions,
        tls: Option<&ServerTls>,
        deadline: Instant,
    ) -> Result<Channel, NetError> {
        open(self.stream, options, |stream| {
            tls.map(|tls| tls::accept(stream, tls, deadline)).transpose()
        })
    }
}

/// Closes a connection.
#[derive(Debug)]
pub struct Closer(Arc<TcpStream>);

impl Closer {
    /// Closes it at once; nobody waits for it any more.
    pub fn close(&self) {
        shut_down(&self.0, Shutdown::Both);
    }
}

/// Makes a channel of a connected stream.
fn open(
    stream: Arc<TcpStream>,
    options: TcpOptions,
    secure: impl FnOnce(&Arc<TcpStream>) -> Result<Option<tls::Secured>, NetError>,
) -> Result<Channel, NetError> {
    let io_error = |source| NetError::Io { doing: "setting up a connection", source };
    stream.set_nodelay(true).map_err(io_error)?;
    let secured = secure(&stream)?;
    if secured.is_none() {
        let peer = stream.peer_addr().map_err(io_error)?;
        if !peer.ip().to_canonical().is_loopback() {
            return Err(NetError::Plaintext { address: peer.to_string() });
        }
    }
    stream.set_read_timeout(options.idle_timeout).map_err(io_error)?;
    stream.set_write_timeout(Some(WRITE_PATIENCE)).map_err(io_error)?;
    let (handle, reading) = (Arc::clone(&stream), Shared(Arc::clone(&stream)));
    let drains_since = Arc::new(OnceLock::new());
    let idle = options.idle_timeout;
    let out = Patient { stream, idle, drains_since: Arc::clone(&drains_since) };
    Ok(match secured {
        Some(tls::Secured { incoming, session, peer, binding }) => {
            let out = TlsWriter::new(out, session);
            let writer = Writer::spawn(out, drains_since, options).map_err(io_error)?;
            let outgoing = Box::new(TcpOutgoing { stream: handle, writer });
            Channel::over(Connection::new(outgoing, Box::new(incoming)).secured(peer, binding))
        }
        None => {
            let reader = BufReader::with_capacity(BUFFER_BYTES, reading);
            let writer = Writer::spawn(out, drains_since, options).map_err(io_error)?;
            let incoming = TcpIncoming { reader, has_begun: false };
            Channel::new(TcpOutgoing { stream: handle, writer }, incoming)
        }
    })
}

struct TcpOutgoing {
    stream: Arc<TcpStream>,
    writer: Writer,
}

/// A socket's receiving half; all parts of a connection share one descriptor.
pub(crate) struct Shared(pub(crate) Arc<TcpStream>);

impl Read for Shared {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(bytes)
    }
}

struct TcpIncoming {
    reader: BufReader<Shared>,
    has_begun: bool,
}

impl Outgoing for TcpOutgoing {
    fn send(&mut self, frame: Vec<u8>) -> Result<(), NetError> {
        self.writer.queue(frame)
    }

    fn finish(&mut self) -> Finish {
        self.writer.finish()
    }

    fn aborter(&self) -> Abort {
        let stream = Arc::clone(&self.stream);
        Box::new(move || shut_down(&stream, Shutdown::Both))
    }

    fn failure(&mut self) -> Option<NetError> {
        // A writer that has ended by itself has failed.
        if self.writer.has_ended() { self.writer.finish()().err() } else { None }
    }

    fn limit_queue(&mut self, limit_bytes: u64) {
        self.writer.limit_bytes = limit_bytes;
    }
}

impl Incoming for TcpIncoming {
    fn recv_exact(&mut self, buffer: &mut [u8]) -> Result<(), NetError> {
        let io_error = |error| NetError::from_io("receiving", error);
        if !std::mem::replace(&mut self.has_begun, true) {
            // The header of no frame that could come first begins like a record of TLS.
            if let [0x15 | 0x16, 3, ..] = self.reader.fill_buf().map_err(io_error)? {
                return Err(NetError::Authentication {
                    what: "the peer speaks TLS, this side does not".to_owned(),
                    remedy: "give this side --identity in the place of --insecure-loopback",
                });
            }
        }
        self.reader.read_exact(buffer).map_err(io_error)
    }

    fn await_end(&mut self) {
        await_end(&self.reader.get_ref().0);
    }
}

impl Drop for TcpOutgoing {
    fn drop(&mut self) {
        // Whoever wants to know calls `Channel::close`.
        let _unreported = self.writer.finish()();
    }
}
