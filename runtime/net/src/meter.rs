//! What a channel has moved so far.
//!
//! A [`Meter`] is a snapshot; the difference of two attributes traffic to what happened between
//! them, for example to one layer of a plan.

use crate::frame::wire_bytes;

/// Traffic of one channel as one of its parties sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// Bytes sent on the wire, frame headers included.
    pub bytes_sent: u64,
    /// Bytes received on the wire, frame headers included.
    pub bytes_received: u64,
    /// Messages sent; a message that is split into frames counts once.
    pub messages_sent: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Flights: message steps that had to follow one another. Both parties agree on it once every
    /// message has arrived.
    pub horizon: u32,
}

impl Meter {
    /// What was moved since `earlier`, a snapshot of the same channel.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            bytes_sent: self.bytes_sent.saturating_sub(earlier.bytes_sent),
            bytes_received: self.bytes_received.saturating_sub(earlier.bytes_received),
            messages_sent: self.messages_sent.saturating_sub(earlier.messages_sent),
            messages_received: self.messages_received.saturating_sub(earlier.messages_received),
            horizon: self.horizon.saturating_sub(earlier.horizon),
        }
    }

    /// Bytes on the wire in both directions.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.bytes_sent + self.bytes_received
    }

    pub(crate) fn count_sent(&mut self, payload_bytes: usize) {
        self.bytes_sent += wire_bytes(payload_bytes as u64);
        self.messages_sent += 1;
    }

    pub(crate) fn count_received(&mut self, payload_bytes: usize) {
        self.bytes_received += wire_bytes(payload_bytes as u64);
        self.messages_received += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_covers_every_field() {
        let mut meter = Meter::default();
        meter.count_sent(10);
        let earlier = meter;
        meter.count_sent(0);
        meter.count_received(5);
        meter.horizon = 3;
        let expected = Meter {
            bytes_sent: 8,
            bytes_received: 13,
            messages_sent: 1,
            messages_received: 1,
            horizon: 3,
        };
        assert_eq!(meter.since(earlier), expected);
        assert_eq!(expected.bytes(), 21);
    }
}
