//! The connection that the lanes of two parties share: who sends, who reads, and for whom.
//!
//! A lane is a stream of messages of its own within one connection. There is no thread that reads:
//! a lane that waits for a frame reads the connection itself, and puts aside what belongs to other
//! lanes, whose own waiting ends then. What is put aside for a lane is bounded: a peer that sends
//! more than the lane's limit ahead of what the protocol lets it send ends the connection.
//!
//! Invariants: at most one lane reads at a time, and holds no lock while it waits for the peer; the
//! first failure of any lane ends the connection, which wakes all others.

use crate::error::{Blame, NetError};
use crate::frame::{FrameHeader, HEADER_BYTES, HEARTBEAT_LANE, MAX_LANES, MAX_PAYLOAD_BYTES};
use crate::tls::{BINDING_BYTES, Peer};
use heq_mutation::broken;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The half of a transport that moves bytes to the peer, in order.
pub(crate) trait Outgoing: Send {
    /// Queues one frame without waiting for the peer.
    fn send(&mut self, frame: Vec<u8>) -> Result<(), NetError>;

    /// Lets nothing more be queued; what is returned waits until everything that was is handed over.
    fn finish(&mut self) -> Finish;

    /// What gives the connection up at once, whatever else is being done with it: the peer finds it closed,
    /// and neither half waits any more.
    fn aborter(&self) -> Abort;

    /// From now on at most this many bytes wait for a peer that does not read.
    fn limit_queue(&mut self, limit_bytes: u64);

    /// Why frames that were queued could not be handed over, told once: a failure to receive may
    /// only follow from that.
    fn failure(&mut self) -> Option<NetError>;
}

/// Waits until everything is handed over.
pub(crate) type Finish = Box<dyn FnOnce() -> Result<(), NetError> + Send>;

/// Gives a connection up.
pub(crate) type Abort = Box<dyn Fn() + Send + Sync>;

/// The half of a transport that moves bytes from the peer, in order.
pub(crate) trait Incoming: Send {
    /// Fills `buffer`, waiting for the peer as long as it takes.
    fn recv_exact(&mut self, buffer: &mut [u8]) -> Result<(), NetError>;

    /// Waits for the peer to close the connection, which may go on for a moment with what says nothing.
    fn await_end(&mut self);
}

/// Both halves of a transport with the frames that were put aside.
pub(crate) struct Connection {
    outgoing: Mutex<Box<dyn Outgoing>>,
    abort: Abort,
    inbox: Mutex<Inbox>,
    /// The inbox changed: a frame came, the turn to read is free, or the connection failed.
    changed: Condvar,
    /// Whom the connection leads to, if that is known.
    pub(crate) peer: Option<Peer>,
    /// What both ends know and nobody else; zeros without encryption.
    pub(crate) binding: [u8; BINDING_BYTES],
}

struct Inbox {
    /// Away while a lane reads.
    incoming: Option<Box<dyn Incoming>>,
    lanes: Vec<PutAside>,
    has_failed: bool,
    /// Why it was ended from outside, until a lane takes notice.
    ended_by: Option<NetError>,
}

/// Payloads from this length on are put aside as they are; shorter ones together, so that what is kept of
/// them is little more than they are.
const LARGE_BYTES: usize = 1 << 10;

/// Frames of a lane that another lane has read.
struct PutAside {
    headers_and_small: VecDeque<u8>,
    large: VecDeque<Vec<u8>>,
    /// Bytes of all frames, headers included.
    bytes: u64,
    limit_bytes: u64,
}

impl PutAside {
    fn new(limit_bytes: u64) -> Self {
        Self { headers_and_small: VecDeque::new(), large: VecDeque::new(), bytes: 0, limit_bytes }
    }

    fn put(&mut self, header: [u8; HEADER_BYTES], payload: Vec<u8>) {
        self.bytes += (HEADER_BYTES + payload.len()) as u64;
        self.headers_and_small.extend(header);
        if payload.len() < LARGE_BYTES {
            self.headers_and_small.extend(payload);
        } else {
            self.large.push_back(payload);
        }
    }

    fn take(&mut self) -> Option<(FrameHeader, Vec<u8>)> {
        let bytes: Vec<u8> = self.take_bytes(HEADER_BYTES)?;
        let header = FrameHeader::decode(bytes.try_into().ok()?);
        let length = header.payload_bytes as usize;
        let payload =
            if length < LARGE_BYTES { self.take_bytes(length)? } else { self.large.pop_front()? };
        self.bytes -= frame_bytes(header);
        Some((header, payload))
    }

    fn take_bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        let is_there = self.headers_and_small.len() >= count;
        is_there.then(|| self.headers_and_small.drain(..count).collect())
    }
}

/// How a lane comes to its next frame.
enum Next {
    /// It was put aside.
    Frame(FrameHeader, Vec<u8>),
    /// It is this lane's turn to read.
    Read(Box<dyn Incoming>),
}

/// What is due on a lane.
#[derive(Clone, Copy)]
pub(crate) struct Due {
    /// Number of the lane.
    pub(crate) lane: u8,
    /// Payload bytes of the frame.
    pub(crate) length: usize,
    /// Bytes of the message that the frame begins, or continues.
    pub(crate) message_bytes: usize,
}

impl Connection {
    /// A connection with one lane, number 0.
    pub(crate) fn new(outgoing: Box<dyn Outgoing>, incoming: Box<dyn Incoming>) -> Self {
        let inbox = Inbox {
            incoming: Some(incoming),
            lanes: vec![PutAside::new(u64::MAX)],
            has_failed: false,
            ended_by: None,
        };
        Self {
            abort: outgoing.aborter(),
            outgoing: Mutex::new(outgoing),
            inbox: Mutex::new(inbox),
            changed: Condvar::new(),
            peer: None,
            binding: [0; BINDING_BYTES],
        }
    }

    /// The same connection, to a peer that is known.
    pub(crate) fn secured(self, peer: Peer, binding: [u8; BINDING_BYTES]) -> Self {
        Self { peer: Some(peer), binding, ..self }
    }

    /// From now on at most this many bytes wait for a peer that does not read.
    pub(crate) fn limit_queue(&self, limit_bytes: u64) {
        self.outgoing().limit_queue(limit_bytes);
    }

    /// Opens a lane and returns its number; from now on at most `limits` bytes of lane `existing` and
    /// of the new one are put aside.
    pub(crate) fn add_lane(&self, existing: u8, limits: [u64; 2]) -> Result<u8, NetError> {
        let mut inbox = self.inbox();
        let number = u8::try_from(inbox.lanes.len()).unwrap_or(u8::MAX);
        if number >= MAX_LANES {
            return Err(NetError::LanesExhausted);
        }
        if let Some(lane) = inbox.lanes.get_mut(usize::from(existing)) {
            lane.limit_bytes = limits[0];
        }
        inbox.lanes.push(PutAside::new(limits[1]));
        Ok(number)
    }

    /// Queues one frame.
    pub(crate) fn send(&self, frame: Vec<u8>) -> Result<(), NetError> {
        let sent = self.outgoing().send(frame);
        sent.map_err(|error| self.fail(error))
    }

    /// Waits for the next frame of a lane and appends its payload to `message`, once `admit` has
    /// accepted its header.
    pub(crate) fn recv(
        &self,
        due: Due,
        message: &mut Vec<u8>,
        admit: impl FnOnce(FrameHeader) -> Result<(), NetError>,
    ) -> Result<(), NetError> {
        let (incoming, result) = match self.next(due.lane)? {
            Next::Frame(header, payload) => {
                let result = check_length(header, due.length).and_then(|()| admit(header));
                if message.is_empty() && due.message_bytes == payload.len() {
                    *message = payload;
                } else {
                    message.reserve_exact(due.message_bytes.saturating_sub(message.len()));
                    message.extend_from_slice(&payload);
                }
                (None, result)
            }
            Next::Read(mut incoming) => {
                let result = self.read(&mut *incoming, due, message, admit);
                (Some(incoming), result)
            }
        };
        // A failed connection is marked before another lane may read on, from the wrong position.
        let result = result.map_err(|error| self.fail(error));
        if let Some(incoming) = incoming {
            self.inbox().incoming = Some(incoming);
            self.changed.notify_all();
        }
        result
    }

    /// Waits until everything queued is handed over and the peer has closed its side, too, and lets nothing
    /// more be sent.
    pub(crate) fn finish(&self) -> Result<(), NetError> {
        // Nobody waits for the lock as long as this may take.
        let finish = self.outgoing().finish();
        finish().map_err(|error| self.fail(error))?;
        // A socket that is closed with bytes unread takes back what it sent and the peer has not read.
        let incoming = self.inbox().incoming.take();
        if let Some(mut incoming) = incoming {
            incoming.await_end();
        }
        // Nothing more is read: what came last is gone.
        self.inbox().has_failed = true;
        self.changed.notify_all();
        Ok(())
    }

    /// Ends the connection because of `error`; returns [`NetError::OtherLane`] instead if it has
    /// ended before, since the error then follows from that.
    pub(crate) fn fail(&self, error: NetError) -> NetError {
        {
            let mut inbox = self.inbox();
            if std::mem::replace(&mut inbox.has_failed, true) {
                return inbox.ended_by.take().unwrap_or(NetError::OtherLane);
            }
        }
        let cause = self.outgoing().failure();
        (self.abort)();
        self.changed.notify_all();
        if error.blame() == Blame::Network { cause.unwrap_or(error) } else { error }
    }

    /// Ends the connection from outside, unless it has ended: the first lane to notice has `error`.
    pub(crate) fn end(&self, error: NetError) {
        {
            let mut inbox = self.inbox();
            if std::mem::replace(&mut inbox.has_failed, true) {
                return;
            }
            inbox.ended_by = Some(error);
        }
        (self.abort)();
        self.changed.notify_all();
    }

    /// Waits for a frame that was put aside for `lane`, or for the turn to read.
    fn next(&self, lane: u8) -> Result<Next, NetError> {
        let mut inbox = self.inbox();
        loop {
            if inbox.has_failed {
                return Err(inbox.ended_by.take().unwrap_or(NetError::OtherLane));
            }
            let lane = inbox.lanes.get_mut(usize::from(lane));
            if let Some((header, payload)) = lane.and_then(PutAside::take) {
                return Ok(Next::Frame(header, payload));
            }
            if let Some(incoming) = inbox.incoming.take() {
                return Ok(Next::Read(incoming));
            }
            inbox = self.changed.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Reads frames until one of the lane that is due has come.
    fn read(
        &self,
        incoming: &mut dyn Incoming,
        due: Due,
        message: &mut Vec<u8>,
        admit: impl FnOnce(FrameHeader) -> Result<(), NetError>,
    ) -> Result<(), NetError> {
        loop {
            let mut bytes = [0; HEADER_BYTES];
            incoming.recv_exact(&mut bytes)?;
            let header = FrameHeader::decode(bytes);
            if header.lane == HEARTBEAT_LANE && header.payload_bytes == 0 {
                continue;
            }
            if header.lane == due.lane {
                check_length(header, due.length)?;
                admit(header)?;
                if message.is_empty() {
                    message.reserve_exact(due.message_bytes);
                }
                let start = message.len();
                message.resize(start + due.length, 0);
                return incoming.recv_exact(&mut message[start..]);
            }
            self.check_room(header)?;
            let mut payload = vec![0; header.payload_bytes as usize];
            incoming.recv_exact(&mut payload)?;
            if let Some(lane) = self.inbox().lanes.get_mut(usize::from(header.lane)) {
                lane.put(bytes, payload);
            }
            self.changed.notify_all();
        }
    }

    /// Refuses a frame for another lane that does not exist or holds as much as it may.
    fn check_room(&self, header: FrameHeader) -> Result<(), NetError> {
        let inbox = self.inbox();
        let lane = inbox.lanes.get(usize::from(header.lane));
        let lane = lane.ok_or(NetError::NoLane { found: header.lane })?;
        let found = header.payload_bytes as usize;
        if found > MAX_PAYLOAD_BYTES {
            return Err(NetError::UnexpectedLength { expected: MAX_PAYLOAD_BYTES, found });
        }
        let is_flood = lane.bytes.saturating_add(frame_bytes(header)) > lane.limit_bytes;
        if is_flood
            && !broken!(
                "lanes put aside any number of frames",
                "heq-net malformed lanes_that_are_flooded"
            )
        {
            let limit_bytes = lane.limit_bytes;
            return Err(NetError::Flooded { lane: header.lane, limit_bytes });
        }
        Ok(())
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outgoing(&self) -> MutexGuard<'_, Box<dyn Outgoing>> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn frame_bytes(header: FrameHeader) -> u64 {
    HEADER_BYTES as u64 + u64::from(header.payload_bytes)
}

fn check_length(header: FrameHeader, expected: usize) -> Result<(), NetError> {
    let found = header.payload_bytes as usize;
    let is_any = broken!(
        "frames may have any length",
        "heq-net malformed lengths_other_than_the_expected_one"
    );
    if found == expected || is_any {
        Ok(())
    } else {
        Err(NetError::UnexpectedLength { expected, found })
    }
}
