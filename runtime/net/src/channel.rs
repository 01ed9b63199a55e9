//! The channel: sends and receives whole messages, and meters them.
//!
//! It sits between a protocol driver, which knows the length of every message from the plan, and a
//! transport, which moves bytes in order. Checks happen here, so that all transports share them: a
//! header that does not announce the length that is due, or a stamp that cannot be, ends the
//! channel before anything is allocated.

use crate::error::NetError;
use crate::flight::FlightClock;
use crate::frame::{self, FrameHeader, HEADER_BYTES};
use crate::meter::Meter;

/// Moves bytes to and from the peer, in order.
pub(crate) trait Transport: Send {
    /// Queues one frame without waiting for the peer.
    fn send(&mut self, frame: Vec<u8>) -> Result<(), NetError>;

    /// Fills `buffer`, waiting for the peer as long as it takes.
    fn recv_exact(&mut self, buffer: &mut [u8]) -> Result<(), NetError>;

    /// Waits until everything that was queued is handed over.
    fn finish(&mut self) -> Result<(), NetError>;

    /// Gives the connection up at once: the peer finds it closed, and nothing waits any more.
    fn abort(&mut self);
}

/// A two-party channel of messages whose lengths both parties know.
///
/// Dropping a channel that has not failed waits until everything queued is handed to the operating
/// system; [`Channel::close`] does the same and reports errors.
pub struct Channel {
    transport: Box<dyn Transport>,
    clock: FlightClock,
    meter: Meter,
    failed: bool,
}

impl Channel {
    pub(crate) fn new(transport: impl Transport + 'static) -> Self {
        Self {
            transport: Box::new(transport),
            clock: FlightClock::default(),
            meter: Meter::default(),
            failed: false,
        }
    }

    /// Sends one message. Returns as soon as it is queued: two parties may send messages of any
    /// size to each other at the same time.
    ///
    /// # Errors
    ///
    /// [`NetError::Closed`], [`NetError::Timeout`] or [`NetError::Io`] of this or an earlier
    /// message; [`NetError::Failed`] after any earlier error; [`NetError::FlightsExhausted`].
    pub fn send(&mut self, payload: &[u8]) -> Result<(), NetError> {
        self.fail_once(|channel| {
            let stamp = channel.clock.sent()?;
            let mut rest = payload;
            for length in frame::payload_lengths(payload.len()) {
                let (part, tail) = rest.split_at(length);
                channel.transport.send(frame::encode(part, stamp))?;
                rest = tail;
            }
            channel.meter.count_sent(payload.len());
            Ok(())
        })
    }

    /// Receives one message of exactly `expected_bytes`, waiting for it.
    ///
    /// # Errors
    ///
    /// [`NetError::UnexpectedLength`] or [`NetError::BadStamp`] if the peer breaks the frame
    /// format; [`NetError::Closed`], [`NetError::Timeout`] or [`NetError::Io`] of the connection,
    /// also if it is an earlier message that could not be sent; [`NetError::Failed`] after any
    /// earlier error.
    pub fn recv(&mut self, expected_bytes: usize) -> Result<Vec<u8>, NetError> {
        self.fail_once(|channel| {
            let mut message = Vec::new();
            let mut message_stamp = None;
            for length in frame::payload_lengths(expected_bytes) {
                let stamp = channel.recv_header(length, message_stamp)?;
                if message_stamp.replace(stamp).is_none() {
                    message.reserve_exact(expected_bytes);
                }
                let start = message.len();
                message.resize(start + length, 0);
                channel.transport.recv_exact(&mut message[start..])?;
            }
            channel.meter.count_received(expected_bytes);
            Ok(message)
        })
    }

    /// Sends `payload` and receives `expected_bytes`; if the peer does the same, one flight.
    ///
    /// # Errors
    ///
    /// As [`Channel::send`] and [`Channel::recv`].
    pub fn exchange(&mut self, payload: &[u8], expected_bytes: usize) -> Result<Vec<u8>, NetError> {
        self.send(payload)?;
        self.recv(expected_bytes)
    }

    /// What was moved so far. Bytes count when they are queued and when they have arrived.
    #[must_use]
    pub fn snapshot(&self) -> Meter {
        Meter { horizon: self.clock.horizon(), ..self.meter }
    }

    /// Waits until everything queued is handed to the operating system, and closes the channel.
    ///
    /// # Errors
    ///
    /// [`NetError::Closed`], [`NetError::Timeout`] or [`NetError::Io`] if a message could not be
    /// sent; [`NetError::Failed`] after an earlier error.
    pub fn close(mut self) -> Result<(), NetError> {
        self.fail_once(|channel| channel.transport.finish())
    }

    /// Reads the header of a frame whose payload is `length` bytes; the frames of one message share
    /// `message_stamp`.
    fn recv_header(&mut self, length: usize, message_stamp: Option<u32>) -> Result<u32, NetError> {
        let mut bytes = [0; HEADER_BYTES];
        self.transport.recv_exact(&mut bytes)?;
        let header = FrameHeader::decode(bytes);
        let found = header.payload_bytes as usize;
        if found != length {
            return Err(NetError::UnexpectedLength { expected: length, found });
        }
        match message_stamp {
            Some(stamp) if stamp != header.stamp => {
                return Err(NetError::BadStamp { found: header.stamp, least: stamp, most: stamp });
            }
            Some(_) => {}
            None => self.clock.received(header.stamp)?,
        }
        Ok(header.stamp)
    }

    /// Runs `step` unless an earlier one failed, and gives the connection up if it fails.
    fn fail_once<T>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, NetError>,
    ) -> Result<T, NetError> {
        if self.failed {
            return Err(NetError::Failed);
        }
        let result = step(self);
        if result.is_err() {
            self.failed = true;
            self.transport.abort();
        }
        result
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("snapshot", &self.snapshot())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
