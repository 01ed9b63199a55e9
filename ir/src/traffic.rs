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

/// Numbers of random OTs, by who sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RotCounts {
    /// The server holds both pads, the client one.
    pub server_sends: u64,
    /// The client holds both pads, the server one.
    pub client_sends: u64,
}

impl RotCounts {
    /// Both directions together.
    #[must_use]
    pub fn total(self) -> u64 {
        self.server_sends + self.client_sends
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
    /// Random OTs consumed.
    pub rots: RotCounts,
}

impl Traffic {
    /// Traffic of `steps` that consume `rots`.
    #[must_use]
    pub fn new(steps: Vec<Step>, rots: RotCounts) -> Self {
        Self { steps, rots }
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
            let traffic = Traffic::new(steps, RotCounts::default());
            assert_eq!(FlightClock::default().advance(&traffic), expected, "{traffic:?}");
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
