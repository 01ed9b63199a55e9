//! The errors of the oblivious transfer layer.
//!
//! One enum for the whole crate: decoding errors blame the peer, the others the caller. No variant
//! carries a secret.

use heq_mutation::broken;

/// Why a protocol step or the decoding of a message was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OtError {
    /// A message has the wrong length for the public parameters; both lengths are in bytes.
    #[error("{message}: expected {expected} bytes, found {found}")]
    MessageLength {
        /// The type of the message.
        message: &'static str,
        /// Length that the public parameters call for, in bytes.
        expected: usize,
        /// Length received, in bytes.
        found: usize,
    },
    /// A group element is not a canonical Ristretto encoding, or is the identity.
    #[error("group element {index} is invalid or the identity")]
    InvalidPoint {
        /// Position of the element in its message.
        index: usize,
    },
    /// The number of bits `k` of the SoftSpoken field is not 1, 2, 4 or 8.
    #[error("SoftSpoken field of {found} bits: only 1, 2, 4 and 8 are supported")]
    UnsupportedFieldBits {
        /// The value of `k` refused.
        found: u8,
    },
    /// The number of base OTs handed to the extension is wrong.
    #[error("expected {expected} base OTs, found {found}")]
    BaseOtCount {
        /// Number of base OTs that the extension needs.
        expected: usize,
        /// Number of base OTs given.
        found: usize,
    },
    /// A message was made for another number of OTs than the step that reads it.
    #[error("message for {found} OTs in a step for {expected}")]
    OtCount {
        /// Number of OTs of this step.
        expected: usize,
        /// Number of OTs of the message.
        found: usize,
    },
    /// There is no set of parameters for iterations of silent OT with this number of rows.
    #[error("silent OT with iterations of 2^{found} rows: only 18 to 22 are supported")]
    UnsupportedSilentRows {
        /// The binary logarithm refused.
        found: u8,
    },
    /// The number of correlated OTs, or of their choices, that silent OT begins with is wrong.
    #[error("expected {expected} correlated OTs to begin with, found {found}")]
    BootstrapRows {
        /// Number needed.
        expected: usize,
        /// Number given.
        found: usize,
    },
    /// Silent OT keeps choices in the lowest bit of rows, where this Delta is zero.
    #[error("silent OT needs an odd Delta")]
    EvenDelta,
    /// A message was made for another SoftSpoken field than the one of this party.
    #[error("message for a field of {found} bits in an extension with {expected}")]
    FieldBitsMismatch {
        /// The `k` of this party.
        expected: u8,
        /// The `k` of the message.
        found: u8,
    },
}

/// Checks the length of a message against what the public parameters call for.
pub(crate) fn check_length(
    message: &'static str,
    expected: usize,
    found: usize,
) -> Result<(), OtError> {
    let is_any =
        broken!("messages of OT may have any length", "heq-ot lib wrong_lengths_are_refused");
    if expected == found || is_any {
        Ok(())
    } else {
        Err(OtError::MessageLength { message, expected, found })
    }
}
