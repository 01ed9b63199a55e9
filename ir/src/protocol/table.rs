//! Traffic of looking up shared bits in the server's secret tables; `docs/protocols/table.md`.
//!
//! One 1-of-2^k OT an element, made of k random OTs in which the server sends: k choice bits up,
//! `2^k - 1` messages of v bits down, since the server takes the pad of message 0 as its mask. Pads of
//! wide tables are long, so elements go in [`chunks`]: a message each way and random OTs for each.

use super::{one_of_many_pad_bits, plane_bytes};
use crate::traffic::{RotRun, RotSender, Step, Traffic};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Elements of a chunk; a multiple of [`ROT_TILE_ROWS`](crate::traffic::ROT_TILE_ROWS).
const CHUNK_ELEMENTS: usize = 8192;

/// The chunks of `elements` elements: all of the same size but the last, which may be smaller.
pub fn chunks(elements: usize) -> impl Iterator<Item = Range<usize>> {
    let starts = (0..elements).step_by(CHUNK_ELEMENTS);
    starts.map(move |start| start..elements.min(start.saturating_add(CHUNK_ELEMENTS)))
}

/// Widths of a table look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableWidths {
    /// Width k of the index in bits, 1 to [`TableWidths::MAX_BITS`].
    pub input_bits: u32,
    /// Width v of an entry in bits, 1 to [`TableWidths::MAX_BITS`].
    pub result_bits: u32,
}

impl TableWidths {
    /// Widest index and widest entry.
    pub const MAX_BITS: u32 = 8;

    /// Whether index and entries have 1 to [`TableWidths::MAX_BITS`] bits.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let range = 1..=Self::MAX_BITS;
        range.contains(&self.input_bits) && range.contains(&self.result_bits)
    }

    /// Entries `2^k` of one table.
    #[must_use]
    pub fn entries(&self) -> usize {
        1 << self.input_bits.min(Self::MAX_BITS)
    }

    /// Bits that the server sends an element: a message for each client share but zero.
    #[must_use]
    pub fn message_bits(&self) -> u32 {
        ((1 << self.input_bits.min(Self::MAX_BITS)) - 1) * self.result_bits.min(Self::MAX_BITS)
    }

    /// Messages and random OTs over `elements` elements.
    #[must_use]
    pub fn traffic(&self, elements: usize) -> Traffic {
        let choices = u64::from(self.input_bits);
        let (mut up, mut down, mut rots) = (Vec::new(), Vec::new(), Vec::new());
        for chunk in chunks(elements) {
            let plane = plane_bytes(chunk.len());
            up.push(Step::Up { count: 1, bytes: choices * plane });
            down.push(Step::Down { count: 1, bytes: u64::from(self.message_bits()) * plane });
            rots.push(RotRun {
                sender: RotSender::Server,
                planes: choices,
                elements: chunk.len() as u64,
                bits: one_of_many_pad_bits(self.input_bits, self.result_bits),
            });
        }
        up.extend(down);
        Traffic::new(up, rots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::{FlightClock, RotCounts};

    #[test]
    fn bits_and_random_ots_of_a_table() {
        for (input_bits, result_bits, up, down) in
            [(4, 4, 4, 60), (1, 1, 1, 1), (8, 8, 8, 2040), (3, 5, 3, 35)]
        {
            let widths = TableWidths { input_bits, result_bits };
            assert!(widths.is_valid());
            let traffic = widths.traffic(8);
            assert_eq!(traffic.payload_bytes(), (up, down), "{widths:?}");
            let rots = RotCounts { server_sends: 8 * u64::from(input_bits), client_sends: 0 };
            assert_eq!(traffic.rot_counts(), rots, "{widths:?}");
        }
        let widths = TableWidths { input_bits: 8, result_bits: 8 };
        let traffic = widths.traffic(2 * CHUNK_ELEMENTS + 1);
        assert_eq!((traffic.steps.len(), traffic.rots.len()), (6, 3));
        assert_eq!(FlightClock::default().advance(&traffic), 2);
        assert_eq!(traffic.largest_message(), 2040 * CHUNK_ELEMENTS as u64 / 8);
        for (input_bits, result_bits) in [(0, 4), (4, 0), (9, 4), (4, 9)] {
            assert!(!TableWidths { input_bits, result_bits }.is_valid());
        }
    }
}
