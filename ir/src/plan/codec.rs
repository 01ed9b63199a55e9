//! The file format of plans and weights. The one place that knows bincode.
//!
//! `magic (8) | version u32 LE | payload length u64 LE | SHA-256 of all that precedes and of the
//! payload (32) | payload`. Plans are untrusted: the length is checked against the limit before
//! anything is allocated, decoding has a limit of its own, and trailing bytes are refused.
//! See docs/plan-format.md.

use super::weights::WeightsSpec;
use super::{Plan, PlanDigest, PlanError, PlanSpec};
use crate::diagnostic::{Code, Diagnostic};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// Version of both formats; files of another version are refused.
pub const FORMAT_VERSION: u32 = 5;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 8 + 4 + 8 + 32;

/// Largest plan file in bytes.
pub const MAX_PLAN_BYTES: usize = 64 << 20;

/// Largest weights file in bytes.
pub const MAX_WEIGHTS_BYTES: usize = 2 << 30;

const PLAN_MAGIC: [u8; 8] = *b"HEQPLAN\n";
const WEIGHTS_MAGIC: [u8; 8] = *b"HEQWGTS\n";

/// Why a file is not a plan or a weights file of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The file is shorter than its header says, or longer.
    #[error("the file has {found} bytes where its header announces {expected}")]
    Length {
        /// Bytes that the header announces.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The file starts with other bytes.
    #[error("the file does not start with {expected:?}")]
    Magic {
        /// The bytes expected.
        expected: String,
    },
    /// The file was written by another version.
    #[error("the file has format version {found}, this program reads {FORMAT_VERSION}")]
    Version {
        /// The file's version.
        found: u32,
    },
    /// The contents do not match the checksum.
    #[error("the contents do not match their checksum")]
    Checksum,
    /// The file exceeds its size limit.
    #[error("the file has {found} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Size of the file.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The payload is not an encoding.
    #[error("the contents cannot be decoded: {0}")]
    Payload(String),
    /// The plan breaks a rule.
    #[error(transparent)]
    Rejected(#[from] PlanError),
}

impl CodecError {
    /// The error as a diagnostic on `file`.
    #[must_use]
    pub fn into_diagnostic(self, file: &str) -> Diagnostic {
        let (code, remedy) = match &self {
            Self::Version { .. } => {
                (Code::PlanVersion, "compile the model again with this version of heqc")
            }
            Self::TooLarge { .. } => (Code::TooLarge, "split the model"),
            Self::Rejected(_) => {
                (Code::PlanRejected, "do not trust this file; compile the model again with heqc")
            }
            Self::Length { .. } | Self::Magic { .. } | Self::Checksum | Self::Payload(_) => {
                (Code::NotAPlan, "copy the file again, or write it anew with heqc compile")
            }
        };
        Diagnostic::new(code, file, self.to_string(), remedy)
    }
}

/// Encodes and checks a plan: what is written is what the runtime will accept.
///
/// # Errors
/// [`CodecError::Rejected`] if the specification breaks a rule, [`CodecError::TooLarge`] if it
/// exceeds the limit.
pub fn encode_plan(spec: PlanSpec) -> Result<(Plan, Vec<u8>), CodecError> {
    let (bytes, digest) = encode::<_, MAX_PLAN_BYTES>(PLAN_MAGIC, &spec)?;
    Ok((Plan::check(spec, digest)?, bytes))
}

/// Decodes and checks a plan.
///
/// # Errors
/// [`CodecError`]: not a plan, of another version, damaged, too large, or one that breaks a rule.
pub fn decode_plan(bytes: &[u8]) -> Result<Plan, CodecError> {
    let (spec, digest) = decode::<_, MAX_PLAN_BYTES>(PLAN_MAGIC, bytes)?;
    Ok(Plan::check(spec, digest)?)
}

/// Encodes the weights of a plan.
///
/// # Errors
/// [`CodecError::TooLarge`] if they exceed the limit.
pub fn encode_weights(weights: &WeightsSpec) -> Result<Vec<u8>, CodecError> {
    Ok(encode::<_, MAX_WEIGHTS_BYTES>(WEIGHTS_MAGIC, weights)?.0)
}

/// Decodes weights; whether they belong to a plan is checked by
/// [`ServerWeights::check`](super::weights::ServerWeights::check).
///
/// # Errors
/// [`CodecError`]: not a weights file, of another version, damaged or too large.
pub fn decode_weights(bytes: &[u8]) -> Result<WeightsSpec, CodecError> {
    Ok(decode::<_, MAX_WEIGHTS_BYTES>(WEIGHTS_MAGIC, bytes)?.0)
}

fn encode<T: Serialize, const LIMIT: usize>(
    magic: [u8; 8],
    value: &T,
) -> Result<(Vec<u8>, PlanDigest), CodecError> {
    // The header is filled in last: a payload of weights is too large to be moved behind one.
    let mut bytes = vec![0; HEADER_BYTES];
    bincode::serde::encode_into_std_write(value, &mut bytes, bincode::config::standard())
        .map_err(|error| CodecError::Payload(error.to_string()))?;
    let length = bytes.len() - HEADER_BYTES;
    if length > LIMIT {
        return Err(CodecError::TooLarge { found: length as u64, limit: LIMIT as u64 });
    }
    let mut head = magic.to_vec();
    head.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    head.extend_from_slice(&(length as u64).to_le_bytes());
    let digest = digest(&head, &bytes[HEADER_BYTES..]);
    head.extend_from_slice(&digest.0);
    bytes[..HEADER_BYTES].copy_from_slice(&head);
    Ok((bytes, digest))
}

fn decode<T: DeserializeOwned, const LIMIT: usize>(
    magic: [u8; 8],
    bytes: &[u8],
) -> Result<(T, PlanDigest), CodecError> {
    let short = |expected: usize| CodecError::Length {
        expected: expected as u64,
        found: bytes.len() as u64,
    };
    let not_magic =
        || CodecError::Magic { expected: String::from_utf8_lossy(&magic).trim_end().to_owned() };
    let (found_magic, rest) = bytes.split_first_chunk::<8>().ok_or_else(not_magic)?;
    if *found_magic != magic {
        return Err(not_magic());
    }
    let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(|| short(HEADER_BYTES))?;
    let version = u32::from_le_bytes(*version);
    if version != FORMAT_VERSION {
        return Err(CodecError::Version { found: version });
    }
    let (length, rest) = rest.split_first_chunk::<8>().ok_or_else(|| short(HEADER_BYTES))?;
    let length = u64::from_le_bytes(*length);
    if length > LIMIT as u64 {
        return Err(CodecError::TooLarge { found: length, limit: LIMIT as u64 });
    }
    let (checksum, payload) = rest.split_first_chunk::<32>().ok_or_else(|| short(HEADER_BYTES))?;
    if payload.len() as u64 != length {
        let expected = length + HEADER_BYTES as u64;
        return Err(CodecError::Length { expected, found: bytes.len() as u64 });
    }
    let digest = digest(&bytes[..HEADER_BYTES - 32], payload);
    if digest.0 != *checksum {
        return Err(CodecError::Checksum);
    }
    let config = bincode::config::standard().with_limit::<LIMIT>();
    let (value, read) = bincode::serde::decode_from_slice(payload, config)
        .map_err(|error| CodecError::Payload(error.to_string()))?;
    if read != payload.len() {
        return Err(CodecError::Payload(format!("{} bytes are left over", payload.len() - read)));
    }
    Ok((value, digest))
}

fn digest(head: &[u8], payload: &[u8]) -> PlanDigest {
    PlanDigest(Sha256::new().chain_update(head).chain_update(payload).finalize().into())
}
