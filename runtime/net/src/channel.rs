//! The channel: sends and receives whole messages, and meters them.
//!
//! It sits between a protocol driver, which knows the length of every message from the plan, and a
//! connection, which moves frames in order. Checks happen here and in the connection, so that all
//! transports share them: a header that does not announce the length that is due, or a stamp that
//! cannot be, ends the connection before anything is allocated.

use crate::connection::{Connection, Due, Incoming, Outgoing};
use crate::error::NetError;
use crate::flight::FlightClock;
use crate::frame;
use crate::meter::Meter;
use crate::tls::{BINDING_BYTES, Peer};
use heq_mutation::broken;
use std::sync::{Arc, Weak};

/// A two-party channel of messages whose lengths both parties know.
///
/// A channel is one lane of a connection; [`Channel::add_lane`] opens more, each for a thread of its
/// own, with its own order, meter and flights. The first failure of a lane ends all of them.
///
/// Dropping the last lane of a connection that has not failed waits until everything queued is handed
/// to the operating system; [`Channel::close`] does the same and reports errors.
pub struct Channel {
    connection: Arc<Connection>,
    lane: u8,
    clock: FlightClock,
    meter: Meter,
    failed: bool,
}

impl Channel {
    pub(crate) fn new(
        outgoing: impl Outgoing + 'static,
        incoming: impl Incoming + 'static,
    ) -> Self {
        Self::over(Connection::new(Box::new(outgoing), Box::new(incoming)))
    }

    pub(crate) fn over(connection: Connection) -> Self {
        Self::of(Arc::new(connection), 0)
    }

    fn of(connection: Arc<Connection>, lane: u8) -> Self {
        let (clock, meter) = (FlightClock::default(), Meter::default());
        Self { connection, lane, clock, meter, failed: false }
    }

    /// Opens another lane of the connection. The peer opens its own before it uses it; both number
    /// lanes in the order in which they open them.
    ///
    /// A lane that waits for the peer puts aside what comes for the others. Of this lane that is at
    /// most `own_limit_bytes` from now on, of the new one `limit_bytes`, both on the wire with headers:
    /// what the protocol lets the peer send before it must wait for this party.
    ///
    /// # Errors
    ///
    /// [`NetError::LanesExhausted`] if the connection has [`frame::MAX_LANES`] lanes.
    pub fn add_lane(&self, own_limit_bytes: u64, limit_bytes: u64) -> Result<Self, NetError> {
        let lane = self.connection.add_lane(self.lane, [own_limit_bytes, limit_bytes])?;
        Ok(Self::of(Arc::clone(&self.connection), lane))
    }

    /// Whom the channel leads to; none without encryption.
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        self.connection.peer.as_ref()
    }

    /// What both ends of an encrypted connection know and nobody else does [RFC8446, 7.5]; zeros without
    /// encryption.
    #[must_use]
    pub fn binding(&self) -> &[u8; BINDING_BYTES] {
        &self.connection.binding
    }

    /// A handle by which another thread can end the connection.
    #[must_use]
    pub fn lifeline(&self) -> Lifeline {
        Lifeline(Arc::downgrade(&self.connection))
    }

    /// From now on at most `limit_bytes` wait for a peer that does not read, beyond what the operating
    /// system holds: what the protocol lets this party send before it must wait. More ends the connection
    /// with [`NetError::NotReading`].
    pub fn limit_queue(&self, limit_bytes: u64) {
        self.connection.limit_queue(limit_bytes);
    }

    /// Sends one message. Returns as soon as it is queued: two parties may send messages of any
    /// size to each other at the same time.
    ///
    /// # Errors
    ///
    /// [`NetError::Closed`], [`NetError::Timeout`] or [`NetError::Io`] of this or an earlier
    /// message; [`NetError::Failed`] after any earlier error, [`NetError::OtherLane`] after one of
    /// another lane; [`NetError::FlightsExhausted`].
    pub fn send(&mut self, payload: &[u8]) -> Result<(), NetError> {
        self.fail_once(|channel| {
            let stamp = channel.clock.sent().map_err(|error| channel.connection.fail(error))?;
            let is_odd = payload.last().is_some_and(|last| last & 1 == 1);
            if is_odd
                && broken!(
                    "frames depend on what they hold",
                    "heq-tests leakage frames_are_those_of_the_plan_whatever_it_computes"
                )
            {
                channel.connection.send(frame::heartbeat())?;
            }
            let mut rest = payload;
            for length in frame::payload_lengths(payload.len()) {
                let (part, tail) = rest.split_at(length);
                channel.connection.send(frame::encode(channel.lane, part, stamp))?;
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
    /// [`NetError::UnexpectedLength`], [`NetError::BadStamp`], [`NetError::NoLane`] or
    /// [`NetError::Flooded`] if the peer breaks the frame format; [`NetError::Closed`],
    /// [`NetError::Timeout`] or [`NetError::Io`] of the connection, also if it is an earlier message
    /// that could not be sent; [`NetError::Failed`] after any earlier error, [`NetError::OtherLane`]
    /// after one of another lane.
    pub fn recv(&mut self, expected_bytes: usize) -> Result<Vec<u8>, NetError> {
        self.fail_once(|channel| {
            let mut message = Vec::new();
            let mut message_stamp = None;
            let Self { connection, lane, clock, meter, .. } = channel;
            for length in frame::payload_lengths(expected_bytes) {
                let due = Due { lane: *lane, length, message_bytes: expected_bytes };
                connection.recv(due, &mut message, |header| {
                    let found = header.stamp;
                    match message_stamp.replace(found) {
                        // The frames of one message share a stamp.
                        Some(stamp) if stamp != found => {
                            Err(NetError::BadStamp { found, least: stamp, most: stamp })
                        }
                        Some(_) => Ok(()),
                        None => clock.received(found),
                    }
                })?;
            }
            meter.count_received(expected_bytes);
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

    /// Waits until everything queued is handed to the operating system, and closes the connection:
    /// no lane can send any more. A peer that does the same loses nothing of what is on its way.
    ///
    /// # Errors
    ///
    /// [`NetError::Closed`], [`NetError::Timeout`] or [`NetError::Io`] if a message could not be
    /// sent; [`NetError::Failed`] after an earlier error, [`NetError::OtherLane`] after one of
    /// another lane.
    pub fn close(&mut self) -> Result<(), NetError> {
        self.fail_once(|channel| channel.connection.finish())
    }

    /// Gives the connection up at once: the peer finds it closed, and no lane waits any more.
    pub fn abort(&mut self) {
        self.failed = true;
        // Nobody asked for an error.
        let _ended = self.connection.fail(NetError::Failed);
    }

    /// Runs `step` unless an earlier one failed, and gives the connection up if it fails.
    fn fail_once<T>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, NetError>,
    ) -> Result<T, NetError> {
        if self.failed {
            return Err(NetError::Failed);
        }
        step(self).inspect_err(|_| self.failed = true)
    }
}

/// Ends a connection from outside its lanes. It does not keep it.
#[derive(Clone)]
pub struct Lifeline(Weak<Connection>);

impl Lifeline {
    /// Ends the connection, unless it has ended: no lane waits any more, and the first to notice has `error`.
    pub fn end(&self, error: NetError) {
        if let Some(connection) = self.0.upgrade() {
            connection.end(error);
        }
    }
}

impl std::fmt::Debug for Lifeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lifeline").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("lane", &self.lane)
            .field("snapshot", &self.snapshot())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
