//! Exact traffic: messages, flights and random OTs, counted from the plan alone.
//!
//! A *flight* is one sequential message step. Each party has a depth, the length of the longest
//! chain of messages that led to its state; a message has the sender's depth plus one. What both
//! send at the same time is one flight. The channel measures in the same way, so that the two agree.

use std::ops::AddAssign;

/// Bytes of the header of a frame on the wire.
pub const FRAME_HEADER_BYTES: u64 = 8;

/// Largest payload of one frame in bytes; longer messages are split.
pub const FRAME_MAX_PAYLOAD_BYTES: u64 = 16 << 20;

/// Bytes on the wire of a message, headers included; an empty one is a frame of its own.
#[must_use]
pub fn wire_bytes(payload_bytes: u64) -> u64 {
    payload_bytes + FRAME_HEADER_BYTES * payload_bytes.div_ceil(FRAME_MAX_PAYLOAD_BYTES).max(1)
}

/// One step of a protocol with the payload bytes of its messages. Up is client to server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The client sends messages of equal size.
    Up {
        /// Number of messages.
        count: u64,
        /// Payload bytes of each.
        bytes: u64,
    },
    /// The server sends messages of equal size.
    Down {
        /// Number of messages.
        count: u64,
        /// Payload bytes of each.
        bytes: u64,
    },
    /// Both send one message at the same time.
    Exchange {
        /// Payload bytes of the client's message.
        up: u64,
        /// Payload bytes of the server's message.
        down: u64,
    },
}

/// The two parties, as senders of random OTs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RotSender {
    /// The server holds both pads, the client one.
    Server,
    /// The client holds both pads, the server one.
    Client,
}

impl RotSender {
    /// Both parties.
    pub const ALL: [Self; 2] = [Self::Server, Self::Client];

    /// The other party.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }
}

/// Rows of the OT extension that are made together: a plane of random OTs starts with new ones.
pub const ROT_TILE_ROWS: u64 = 128;

/// Random OTs that a step takes at once, in planes of one an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RotRun {
    /// Who holds both pads.
    pub sender: RotSender,
    /// Random OTs an element.
    pub planes: u64,
    /// Elements of a plane.
    pub elements: u64,
    /// Bits of every pad that are used.
    pub bits: u64,
}

impl RotRun {
    /// Number of random OTs.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.planes.saturating_mul(self.elements)
    }

    /// Bytes of both pads, in words of 64 elements.
    #[must_use]
    pub fn pad_bytes(&self) -> u64 {
        let plane = self.elements.div_ceil(64) * 8;
        self.planes.saturating_mul(2 * self.bits).saturating_mul(plane)
    }

    /// Rows of the OT extension that they take: planes are filled up to [`ROT_TILE_ROWS`].
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.planes.saturating_mul(self.elements.div_ceil(ROT_TILE_ROWS) * ROT_TILE_ROWS)
    }
}

/// Numbers of random OTs, by who sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RotCounts {
    /// The server holds both pads, the client one.
    pub server_sends: u64,
    /// The client holds both pads, the server one.
    pub client_sends: u64,
}

impl RotCounts {
    /// Sums a number of every run of `runs`.
    pub fn sum<'a>(
        runs: impl IntoIterator<Item = &'a RotRun>,
        number: impl Fn(&RotRun) -> u64,
    ) -> Self {
        let mut counts = Self::default();
        for run in runs {
            let sum = match run.sender {
                RotSender::Server => &mut counts.server_sends,
                RotSender::Client => &mut counts.client_sends,
            };
            *sum = sum.saturating_add(number(run));
        }
        counts
    }

    /// Both directions together.
    #[must_use]
    pub fn total(self) -> u64 {
        self.server_sends.saturating_add(self.client_sends)
    }
}

impl AddAssign for RotCounts {
    fn add_assign(&mut self, other: Self) {
        self.server_sends += other.server_sends;
        self.client_sends += other.client_sends;
    }
}

/// What a part of the protocol sends and consumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Steps in order.
    pub steps: Vec<Step>,
    /// Random OTs consumed, in the order in which they are taken.
    pub rots: Vec<RotRun>,
}

impl Traffic {
    /// Traffic of `steps` that consume `rots`.
    #[must_use]
    pub fn new(steps: Vec<Step>, rots: Vec<RotRun>) -> Self {
        Self { steps, rots }
    }

    /// Number of random OTs consumed.
    #[must_use]
    pub fn rot_counts(&self) -> RotCounts {
        RotCounts::sum(&self.rots, RotRun::count)
    }

    /// Bytes of both pads of all random OTs consumed.
    #[must_use]
    pub fn pad_bytes(&self) -> u64 {
        self.rots.iter().fold(0, |sum, run| sum.saturating_add(run.pad_bytes()))
    }

    /// Payload bytes of the largest message.
    #[must_use]
    pub fn largest_message(&self) -> u64 {
        let sizes = self.steps.iter().map(|step| match *step {
            Step::Up { bytes, .. } | Step::Down { bytes, .. } => bytes,
            Step::Exchange { up, down } => up.max(down),
        });
        sizes.max().unwrap_or(0)
    }

    /// Payload bytes up and down, without frame headers.
    #[must_use]
    pub fn payload_bytes(&self) -> (u64, u64) {
        self.sum(|bytes| bytes)
    }

    /// Bytes on the wire up and down, frame headers included.
    #[must_use]
    pub fn wire_bytes(&self) -> (u64, u64) {
        self.sum(wire_bytes)
    }

    fn sum(&self, size: impl Fn(u64) -> u64) -> (u64, u64) {
        self.steps.iter().fold((0, 0), |(up, down), step| match step {
            Step::Up { count, bytes } => (up + count * size(*bytes), down),
            Step::Down { count, bytes } => (up, down + count * size(*bytes)),
            Step::Exchange { up: u, down: d } => (up + size(*u), down + size(*d)),
        })
    }
}

/// Most bytes on the wire, up and down, that can wait for their receiver while the parties run
/// `steps`.
///
/// A party receives all that is due before it sends the next time. So what can wait for it are the
/// messages between two that it sends, until the peer must wait for the second; one that crosses
/// either of the two is among them.
pub fn window_bytes<'a>(steps: impl IntoIterator<Item = &'a Step>) -> (u64, u64) {
    let mut windows = [Window::default(); 2];
    for step in steps {
        let [up, down] = &mut windows;
        match *step {
            Step::Up { count: 0, .. } | Step::Down { count: 0, .. } => {}
            Step::Up { count, bytes } => {
                up.arrives(count.saturating_mul(wire_bytes(bytes)));
                down.receiver_sends(0);
            }
            Step::Down { count, bytes } => {
                down.arrives(count.saturating_mul(wire_bytes(bytes)));
                up.receiver_sends(0);
            }
            Step::Exchange { up: bytes_up, down: bytes_down } => {
                for (window, bytes) in [(up, bytes_up), (down, bytes_down)] {
                    window.arrives(wire_bytes(bytes));
                    window.receiver_sends(wire_bytes(bytes));
                }
            }
        }
    }
    let [up, down] = windows;
    (up.most, down.most)
}

/// What can wait in one direction.
#[derive(Clone, Copy, Default)]
struct Window {
    waiting: u64,
    most: u64,
}

impl Window {
    fn arrives(&mut self, bytes: u64) {
        self.waiting = self.waiting.saturating_add(bytes);
        self.most = self.most.max(self.waiting);
    }

    /// The receiver sends; `crossing` bytes may not have arrived before.
    fn receiver_sends(&mut self, crossing: u64) {
        self.waiting = crossing;
    }
}

/// Follows both parties' depths through the steps of a protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlightClock {
    client: u64,
    server: u64,
}

impl FlightClock {
    /// Flights so far.
    #[must_use]
    pub fn flights(&self) -> u64 {
        self.client.max(self.server)
    }

    /// Advances over a part of the protocol and returns how many flights it added.
    pub fn advance(&mut self, traffic: &Traffic) -> u64 {
        let before = self.flights();
        for step in &traffic.steps {
            let (client, server) = (self.client, self.server);
            match step {
                Step::Up { count: 0, .. } | Step::Down { count: 0, .. } => {}
                Step::Up { .. } => self.server = server.max(client + 1),
                Step::Down { .. } => self.client = client.max(server + 1),
                Step::Exchange { .. } => {
                    self.server = server.max(client + 1);
                    self.client = client.max(server + 1);
                }
            }
        }
        self.flights() - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flights_count_sequential_steps() {
        let up = || Step::Up { count: 1, bytes: 1 };
        let down = || Step::Down { count: 1, bytes: 1 };
        let exchange = || Step::Exchange { up: 1, down: 1 };
        for (steps, expected) in [
            (vec![up(), down(), up()], 3),
            (vec![up(), up()], 1),
            (vec![exchange(), exchange()], 2),
            (vec![up(), exchange()], 2),
            (vec![exchange(), up(), down()], 3),
            (vec![Step::Up { count: 0, bytes: 1 }], 0),
        ] {
            let traffic = Traffic::new(steps, Vec::new());
            assert_eq!(FlightClock::default().advance(&traffic), expected, "{traffic:?}");
        }
    }

    #[test]
    fn what_waits_lies_between_two_messages_of_the_receiver() {
        let up = |count, bytes| Step::Up { count, bytes };
        let down = |bytes| Step::Down { count: 1, bytes };
        let exchange = |up, down| Step::Exchange { up, down };
        for (steps, expected) in [
            (vec![], (0, 0)),
            (vec![up(3, 2), up(1, 12)], (50, 0)),
            (vec![up(1, 2), down(2), up(1, 12)], (20, 10)),
            (vec![up(1, 2), up(0, 90), down(0), down(0)], (10, 16)),
            (vec![exchange(2, 12)], (10, 20)),
            (vec![exchange(2, 12), exchange(32, 2)], (50, 30)),
            (vec![exchange(2, 2), down(12), up(1, 2)], (10, 30)),
            (vec![up(1, 2), exchange(12, 2), up(1, 22), down(2)], (50, 10)),
        ] {
            assert_eq!(window_bytes(&steps), expected, "{steps:?}");
        }
    }

    #[test]
    fn messages_pay_for_their_frames() {
        assert_eq!(wire_bytes(0), 8);
        assert_eq!(wire_bytes(5), 13);
        assert_eq!(wire_bytes(FRAME_MAX_PAYLOAD_BYTES), FRAME_MAX_PAYLOAD_BYTES + 8);
        assert_eq!(wire_bytes(FRAME_MAX_PAYLOAD_BYTES + 1), FRAME_MAX_PAYLOAD_BYTES + 17);
    }
}
