//! Channels over TCP.
//!
//! A writer thread owns the sending half, fed by an unbounded queue: of a peer that reads what is due before
//! it sends, the plan bounds what can be in it, and because a party never waits while it sends, two parties that send large messages to each
//! other cannot block each other. The thread flushes whenever the queue is empty, so that small
//! messages share packets but never linger. If it fails it shuts the connection down, which wakes
//! the reading half.

use crate::channel::Channel;
use crate::connection::{Incoming, Outgoing};
use crate::error::NetError;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Size of the read and write buffers in bytes; longer payloads bypass them.
const BUFFER_BYTES: usize = 64 << 10;

/// Pause between two attempts to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Settings of a TCP channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// How long the connection may make no progress while this party reads or writes; without it
    /// the peer may compute for as long as it likes. Zero is refused when the channel is made.
    pub idle_timeout: Option<Duration>,
}

/// Connects to `address` (`host:port`), again and again until `deadline`, so that the two parties
/// may be started in any order.
///
/// # Errors
///
/// [`NetError::Connect`] with the last attempt's error; at once if `address` is not of the form
/// `host:port`. [`NetError::Io`] if the connection cannot be set up.
pub fn connect(address: &str, deadline: Instant, options: TcpOptions) -> Result<Channel, NetError> {
    loop {
        match attempt(address, deadline) {
            Ok(stream) => return open(stream, options),
            Err(source) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() || source.kind() == io::ErrorKind::InvalidInput {
                    return Err(NetError::Connect { address: address.to_owned(), source });
                }
                std::thread::sleep(RETRY_PAUSE.min(left));
            }
        }
    }
}

/// Tries every address that the name resolves to once.
fn attempt(address: &str, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in address.to_socket_addrs()? {
        let left = deadline.saturating_duration_since(Instant::now());
        match TcpStream::connect_timeout(&candidate, left.max(Duration::from_millis(1))) {
            // On one host, a connection to a free port can be handed that same port and connect to
            // itself.
            Ok(stream) if stream.local_addr()? == stream.peer_addr()? => {
                last = io::ErrorKind::ConnectionRefused.into();
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

    /// Waits for one peer; returns the channel and the peer's address.
    ///
    /// # Errors
    ///
    /// [`NetError::Io`] if no connection can be accepted or set up.
    pub fn accept(&self, options: TcpOptions) -> Result<(Channel, SocketAddr), NetError> {
        let doing = "accepting a connection";
        let (stream, peer) =
            self.listener.accept().map_err(|source| NetError::Io { doing, source })?;
        Ok((open(stream, options)?, peer))
    }
}

/// Makes a channel of a connected stream.
fn open(stream: TcpStream, options: TcpOptions) -> Result<Channel, NetError> {
    let set_up = || {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(options.idle_timeout)?;
        stream.set_write_timeout(options.idle_timeout)?;
        let reader = BufReader::with_capacity(BUFFER_BYTES, stream.try_clone()?);
        Ok((reader, Writer::spawn(stream.try_clone()?)?))
    };
    let doing = "setting up a connection";
    let (reader, writer) = set_up().map_err(|source| NetError::Io { doing, source })?;
    Ok(Channel::new(TcpOutgoing { stream, writer }, TcpIncoming { reader }))
}

struct TcpOutgoing {
    stream: TcpStream,
    writer: Writer,
}

struct TcpIncoming {
    reader: BufReader<TcpStream>,
}

impl Outgoing for TcpOutgoing {
    fn send(&mut self, frame: Vec<u8>) -> Result<(), NetError> {
        self.writer.queue(frame)
    }

    fn finish(&mut self) -> Result<(), NetError> {
        self.writer.finish()
    }

    fn abort(&mut self) {
        shut_down(&self.stream, Shutdown::Both);
    }

    fn failure(&mut self) -> Option<NetError> {
        // A writer that has ended by itself has failed.
        if self.writer.has_ended() { self.writer.finish().err() } else { None }
    }
}

impl Incoming for TcpIncoming {
    fn recv_exact(&mut self, buffer: &mut [u8]) -> Result<(), NetError> {
        self.reader.read_exact(buffer).map_err(|error| NetError::from_io("receiving", error))
    }
}

impl Drop for TcpOutgoing {
    fn drop(&mut self) {
        // Whoever wants to know calls `Channel::close`.
        let _unreported = self.writer.finish();
    }
}

/// The handle of a writer thread.
struct Writer {
    frames: Option<Sender<Vec<u8>>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Writer {
    fn spawn(stream: TcpStream) -> io::Result<Self> {
        let (frames, queue) = mpsc::channel();
        let thread =
            std::thread::Builder::new().name("heq-net-writer".to_owned()).spawn(move || {
                let result = write_frames(&stream, &queue);
                let which = if result.is_ok() { Shutdown::Write } else { Shutdown::Both };
                shut_down(&stream, which);
                result
            })?;
        Ok(Self { frames: Some(frames), thread: Some(thread) })
    }

    fn queue(&mut self, frame: Vec<u8>) -> Result<(), NetError> {
        if self.frames.as_ref().is_some_and(|frames| frames.send(frame).is_ok()) {
            return Ok(());
        }
        self.finish()?;
        Err(NetError::Closed { doing: "sending" })
    }

    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Lets the thread send what is queued, waits for it, and returns its error the first time.
    fn finish(&mut self) -> Result<(), NetError> {
        self.frames = None;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let panicked = |_| Err(io::Error::other("the writer thread panicked"));
        thread.join().unwrap_or_else(panicked).map_err(|error| NetError::from_io("sending", error))
    }
}

/// Writes frames in order until the queue is closed.
fn write_frames(stream: &TcpStream, queue: &Receiver<Vec<u8>>) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, stream);
    loop {
        match queue.try_recv() {
            Ok(frame) => writer.write_all(&frame)?,
            Err(TryRecvError::Disconnected) => return writer.flush(),
            Err(TryRecvError::Empty) => {
                writer.flush()?;
                match queue.recv() {
                    Ok(frame) => writer.write_all(&frame)?,
                    Err(mpsc::RecvError) => return Ok(()),
                }
            }
        }
    }
}

/// Shuts a connection down; that the peer did so before is no error.
fn shut_down(stream: &TcpStream, which: Shutdown) {
    let _already_down = stream.shutdown(which);
}
