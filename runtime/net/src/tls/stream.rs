//! Bytes of a channel over an established TLS connection, in both directions at once.
//!
//! The state of TLS is one for both directions, so a lock guards it; no thread holds the lock while it waits
//! for the socket.

use super::error::explain;
use crate::connection::Incoming;
use crate::error::NetError;
use crate::tcp::{Shared, await_end};
use rustls::Connection;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes read from the socket at once.
const READ_BYTES: usize = 64 << 10;

/// Bytes encrypted at once: four records.
const WRITE_BYTES: usize = 64 << 10;

/// The state of TLS.
pub(crate) struct Session(Mutex<Connection>);

impl Session {
    pub(super) fn new(connection: Connection) -> Self {
        Self(Mutex::new(connection))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The receiving half.
pub(crate) struct TlsIncoming {
    stream: Shared,
    session: Arc<Session>,
    /// What came from the socket; of it `start..end` is not decrypted yet.
    raw: Vec<u8>,
    start: usize,
    end: usize,
}

impl TlsIncoming {
    pub(super) fn new(stream: Shared, session: Arc<Session>) -> Self {
        Self { stream, session, raw: Vec::new(), start: 0, end: 0 }
    }
}

impl Incoming for TlsIncoming {
    fn recv_exact(&mut self, buffer: &mut [u8]) -> Result<(), NetError> {
        const DOING: &str = "receiving";
        let io_error = |error| NetError::from_io(DOING, error);
        let mut filled = 0;
        while filled < buffer.len() {
            let mut connection = self.session.lock();
            match connection.reader().read(&mut buffer[filled..]) {
                Ok(0) => return Err(NetError::Closed { doing: DOING }),
                Ok(count) => {
                    filled += count;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(io_error(error)),
            }
            if self.start == self.end {
                drop(connection);
                self.raw.resize(READ_BYTES, 0);
                self.start = 0;
                self.end = 0;
                self.end = match self.stream.read(&mut self.raw) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    count => count.map_err(io_error)?,
                };
                connection = self.session.lock();
            }
            // Of nothing, too: that tells it of the end.
            let mut rest = &self.raw[self.start..self.end];
            self.start += connection.read_tls(&mut rest).map_err(io_error)?;
            connection.process_new_packets().map_err(|error| explain(&error))?;
        }
        Ok(())
    }

    fn await_end(&mut self) {
        await_end(&self.stream.0);
    }
}

/// The sending half, which writes to `W`.
pub(crate) struct TlsWriter<W> {
    out: W,
    session: Arc<Session>,
}

impl<W: Write> TlsWriter<W> {
    pub(crate) fn new(out: W, session: Arc<Session>) -> Self {
        Self { out, session }
    }

    pub(crate) fn out(&self) -> &W {
        &self.out
    }

    pub(crate) fn out_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Tells the peer that nothing follows.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.session.lock().send_close_notify();
        self.flush()
    }

    /// Takes what TLS has for the socket.
    fn take(connection: &mut Connection) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut out)?;
        }
        Ok(out)
    }
}

impl<W: Write> Write for TlsWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut connection = self.session.lock();
        let part = &bytes[..bytes.len().min(WRITE_BYTES)];
        let count = connection.writer().write(part)?;
        let out = Self::take(&mut connection)?;
        drop(connection);
        self.out.write_all(&out)?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut connection = self.session.lock();
        let out = Self::take(&mut connection)?;
        drop(connection);
        self.out.write_all(&out)?;
        self.out.flush()
    }
}
