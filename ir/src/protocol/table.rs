//! Traffic of looking up shared bits in the server's secret tables; `docs/protocols/table.md`.
//!
//! One 1-of-2^k OT an element, made of k random OTs in which the server sends: k choice bits up,
//! `2^k - 1` messages of v bits down, since the server takes the pad of message 0 as its mask.

use super::{packed_bytes, plane_bytes};
use crate::traffic::{RotCounts, Step, Traffic};
use serde::{Deserialize, Serialize};

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
        let up = choices * plane_bytes(elements);
        let down = packed_bytes(elements, self.message_bits());
        let steps = vec![Step::Up { count: 1, bytes: up }, Step::Down { count: 1, bytes: down }];
        Traffic::new(steps, RotCounts { server_sends: choices * elements as u64, client_sends: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(traffic.rots, rots, "{widths:?}");
        }
        for (input_bits, result_bits) in [(0, 4), (4, 0), (9, 4), (4, 9)] {
            assert!(!TableWidths { input_bits, result_bits }.is_valid());
        }
    }
}
