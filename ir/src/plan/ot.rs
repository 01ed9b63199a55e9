//! The protocols that make random OTs, and the sizes of their messages.

use crate::params::security::COMPUTATIONAL_SECURITY_BITS;
use crate::traffic::RotSender;
use serde::{Deserialize, Serialize};

/// Bytes of a 128-bit block.
const BLOCK_BYTES: u64 = 16;

/// Columns of the matrix of an extension.
const COLUMNS: u64 = COMPUTATIONAL_SECURITY_BITS as u64;

/// Rows with which a chunk ends, of an extension without iterations.
const CHUNK_ROWS: u64 = 1 << 17;

/// Bytes of the expanded key of a stream of SoftSpoken: eleven round keys of AES.
const STREAM_BYTES: u64 = 11 * BLOCK_BYTES;

/// A protocol that makes any number of random OTs from base OTs, see docs/protocols/ot.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OtExtension {
    /// A wider field takes fewer bytes and more computation.
    SoftSpoken {
        /// Width k of the field in bits: 1, 2, 4 or 8.
        field_bits: u32,
    },
    /// Few bytes from learning parity with noise, after a set-up of some 100 kB.
    Silent {
        /// An iteration makes `2^log_rows` rows: 18 to 22.
        log_rows: u32,
    },
}

/// The sizes of iterations of silent OT, see docs/protocols/ot.md.
const SILENT_SIZES: [SilentSize; 5] = [
    SilentSize { log_rows: 18, log_secret: 15, log_leaves: 8 },
    SilentSize { log_rows: 19, log_secret: 16, log_leaves: 9 },
    SilentSize { log_rows: 20, log_secret: 17, log_leaves: 10 },
    SilentSize { log_rows: 21, log_secret: 18, log_leaves: 11 },
    SilentSize { log_rows: 22, log_secret: 19, log_leaves: 12 },
];

/// An iteration of silent OT: rows that it makes, rows of the secret, leaves of a tree.
#[derive(Clone, Copy)]
struct SilentSize {
    log_rows: u32,
    log_secret: u32,
    log_leaves: u32,
}

impl SilentSize {
    fn trees(self) -> u64 {
        1 << (self.log_rows - self.log_leaves)
    }

    /// Rows that an iteration takes of the one before it, the first one of SoftSpoken.
    fn bootstrap_rows(self) -> u64 {
        (1 << self.log_secret) + self.trees() * u64::from(self.log_leaves)
    }

    /// Rows that an iteration leaves for random OTs.
    fn output_rows(self) -> u64 {
        (1 << self.log_rows) - self.bootstrap_rows()
    }

    /// Bytes of its message.
    fn message(self) -> u64 {
        self.trees() * u64::from(self.log_leaves - 1) * BLOCK_BYTES
    }
}

/// Width of the field of the extension that silent OT starts with, in bits.
const BOOTSTRAP_FIELD_BITS: u32 = 8;

impl std::fmt::Display for OtExtension {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SoftSpoken { field_bits } => write!(f, "softspoken:{field_bits}"),
            Self::Silent { log_rows } => write!(f, "silent:{log_rows}"),
        }
    }
}

impl OtExtension {
    /// All extensions.
    pub fn all() -> impl Iterator<Item = Self> {
        let fields = [1, 2, 4, 8].map(|field_bits| Self::SoftSpoken { field_bits });
        let sizes = SILENT_SIZES.map(|SilentSize { log_rows, .. }| Self::Silent { log_rows });
        fields.into_iter().chain(sizes)
    }

    /// Whether there is such an extension.
    #[must_use]
    pub fn is_supported(self) -> bool {
        Self::all().any(|extension| extension == self)
    }

    /// Payload bytes of every exchange of the set-up that follows the base OTs, alike both ways.
    #[must_use]
    pub fn setup_bytes(self) -> Vec<u64> {
        let trees = |field_bits| 2 * BLOCK_BYTES * (COLUMNS - COLUMNS / u64::from(field_bits));
        match self.parts() {
            Parts::SoftSpoken { field_bits } => vec![trees(field_bits)],
            Parts::Silent(size) => vec![
                trees(BOOTSTRAP_FIELD_BITS),
                correction_bytes(BOOTSTRAP_FIELD_BITS, size.bootstrap_rows()),
            ],
        }
    }

    /// Bytes of messages that a row takes, rows for the extension itself included.
    #[must_use]
    pub fn bytes_per_row(self) -> f64 {
        match self.parts() {
            Parts::SoftSpoken { field_bits } => correction_bytes(field_bits, 8) as f64 / 8.0,
            Parts::Silent(size) => size.message() as f64 / size.output_rows() as f64,
        }
    }

    /// Rows that are made together for random OTs, and payload bytes of the message that makes them;
    /// none if any number is made.
    #[must_use]
    pub fn iteration(self) -> Option<(u64, u64)> {
        match self.parts() {
            Parts::SoftSpoken { .. } => None,
            Parts::Silent(size) => Some((size.output_rows(), size.message())),
        }
    }

    /// Whether the sender of random OTs sends the message that makes them, and not their receiver.
    #[must_use]
    pub fn sender_sends(self) -> bool {
        matches!(self, Self::Silent { .. })
    }

    /// Bytes that a party keeps for both directions. Of SoftSpoken the keys of all streams, of silent OT the
    /// rows of an iteration and those that the next one takes.
    #[must_use]
    pub fn state_bytes(self) -> u64 {
        2 * match self.parts() {
            Parts::SoftSpoken { field_bits } => {
                (COLUMNS / u64::from(field_bits)).saturating_mul(STREAM_BYTES) << field_bits.min(8)
            }
            Parts::Silent(size) => (size.bootstrap_rows() + (1 << size.log_rows)) * BLOCK_BYTES,
        }
    }

    /// Rows of one direction that are made in all when steps take `rows` of them.
    #[must_use]
    pub fn made_rows(self, rows: u64) -> u64 {
        match self.parts() {
            Parts::SoftSpoken { .. } => rows,
            Parts::Silent(size) => rows.div_ceil(size.output_rows()) << size.log_rows,
        }
    }

    /// Who sends the messages that make random OTs of `sender`.
    #[must_use]
    pub fn leader(self, sender: RotSender) -> RotSender {
        if self.sender_sends() { sender } else { sender.other() }
    }

    /// Rows with which a chunk ends: those of an iteration, so that no chunk waits for the
    /// link without need.
    #[must_use]
    pub fn chunk_rows(self) -> u64 {
        self.iteration().map_or(CHUNK_ROWS, |(rows, _)| rows)
    }

    /// Payload bytes of the largest message of a chunk whose last run takes `rows`.
    pub(super) fn largest_message(self, rows: u64) -> u64 {
        self.message(rows.saturating_add(self.chunk_rows()), &mut 0)
    }

    /// Payload bytes of the message that makes `rows` rows of one sender. `stock` holds the rows of that
    /// sender that were made before and are left.
    #[must_use]
    pub fn message(self, rows: u64, stock: &mut u64) -> u64 {
        match self.parts() {
            Parts::SoftSpoken { field_bits } => correction_bytes(field_bits, rows),
            Parts::Silent(size) => {
                let iterations = rows.saturating_sub(*stock).div_ceil(size.output_rows());
                let made = stock.saturating_add(iterations.saturating_mul(size.output_rows()));
                *stock = made.saturating_sub(rows);
                iterations.saturating_mul(size.message())
            }
        }
    }

    /// What the numbers of a plan stand for. Those of a checked plan are supported.
    fn parts(self) -> Parts {
        match self {
            Self::SoftSpoken { field_bits } => {
                Parts::SoftSpoken { field_bits: field_bits.clamp(1, COMPUTATIONAL_SECURITY_BITS) }
            }
            Self::Silent { log_rows } => {
                let size = SILENT_SIZES.into_iter().find(|size| size.log_rows == log_rows);
                Parts::Silent(size.unwrap_or(SILENT_SIZES[0]))
            }
        }
    }
}

/// An extension with its sizes.
enum Parts {
    SoftSpoken { field_bits: u32 },
    Silent(SilentSize),
}

/// Payload bytes of the corrections of SoftSpoken for `rows` rows: all columns but the first of a field.
fn correction_bytes(field_bits: u32, rows: u64) -> u64 {
    (COLUMNS / u64::from(field_bits) - 1).saturating_mul(rows.div_ceil(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_silent_ot_stay_in_stock() {
        let silent = OtExtension::Silent { log_rows: 18 };
        // 262144 rows, of which 32768 + 1024*8 serve the next iteration.
        let (output, message) = (221_184, 1024 * 7 * 16);
        let mut stock = 0;
        for (rows, iterations, left) in [
            (0, 0, 0),
            (1, 1, output - 1),
            (output - 1, 0, 0),
            (2 * output + 1, 3, output - 1),
            (output, 1, output - 1),
        ] {
            assert_eq!(silent.message(rows, &mut stock), iterations * message, "{rows} rows");
            assert_eq!(stock, left, "{rows} rows");
        }
        assert!((silent.bytes_per_row() - 0.5185).abs() < 1e-4);
    }

    #[test]
    fn only_extensions_that_there_are_are_supported() {
        let supported = |extension: fn(u32) -> OtExtension| -> Vec<u32> {
            (0..200).filter(|&number| extension(number).is_supported()).collect()
        };
        assert_eq!(supported(|field_bits| OtExtension::SoftSpoken { field_bits }), [1, 2, 4, 8]);
        assert_eq!(supported(|log_rows| OtExtension::Silent { log_rows }), [18, 19, 20, 21, 22]);
        for extension in OtExtension::all() {
            assert!(extension.bytes_per_row() > 0.0, "{extension}");
        }
    }
}
