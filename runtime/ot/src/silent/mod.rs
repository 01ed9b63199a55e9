//! Silent OT: many random OTs from one short message, by learning parity with noise.
//!
//! Flow: [`SilentConfig::bootstrap_rows`] correlated OTs are brought by SoftSpoken, made with
//! [`softspoken::Receiver::correlate`](crate::softspoken::Receiver::correlate) and
//! [`softspoken::Sender::correlate`](crate::softspoken::Sender::correlate); [`Sender::new`] and
//! [`Receiver::new`] take them over with the same [`Delta`](crate::softspoken::Delta). Then, as often
//! as wanted, [`Sender::extend`] -> [`SilentMessage`] -> [`Receiver::extend`]: one message a step, from
//! sender to receiver, and none back.
//!
//! Notation: a row is a correlated OT, `q` of the sender and `t = q + c*Delta` of the receiver. Delta is
//! odd and every `q` even, so the choice `c` is the lowest bit of `t`. One iteration makes `n` rows:
//! - `w` trees (module `tree`) of `n/w` leaves make `n` rows of which the receiver's choice is 1 at one
//!   place a tree, a place that nobody chose: it is the choices of the rows that each tree uses up;
//! - the code (module `code`) adds to each of them ten of `k` secret rows.
//!
//! The choices are then `A*s + e` with a public `A`, uniform `s` and regular noise `e`: pseudo-random if
//! learning parity with noise is hard. The last rows serve as the secret and for the trees of the next
//! iteration, the others are handed out, hashed.
//!
//! Invariants: a row is used once; a tile of rows is hashed under a number of its own. Semi-honest: the
//! consistency check of the trees is left out. No branch and no address depends on a secret; those of
//! the code depend on the public `A`.
//!
//! Source: [YWLZW20, COT extension] for the iteration, [GYWZZ23, single-point COT] for the trees.

mod code;
mod config;
mod msg;
mod receiver;
mod sender;
mod stock;
#[cfg(test)]
mod tests;
mod tree;

pub use config::SilentConfig;
pub use msg::SilentMessage;
pub use receiver::Receiver;
pub use sender::Sender;

use heq_mutation::broken;
use sha2::{Digest, Sha256};

use crate::SessionId;
use crate::block::Block;

/// Chunks of a job of one thread.
const JOB_CHUNKS: usize = 16;

/// Tiles of a job of one thread that hashes.
const JOB_TILES: usize = 128;

/// What a public key of AES is for.
#[derive(Clone, Copy)]
enum KeyUse {
    /// The permutation of the trees.
    Trees,
    /// The indices of the code.
    Code,
}

/// The public key for `usage` in silent OT `tag` of `session`.
fn derive_key(session: &SessionId, tag: u8, usage: KeyUse) -> Block {
    let any_session = broken!(
        "keys of silent OT do not depend on the session",
        "heq-ot lib keys_of_silent_ot_are_separated"
    );
    let any_tag = broken!(
        "keys of silent OT do not depend on the tag",
        "heq-ot lib keys_of_silent_ot_are_separated"
    );
    let any_use = broken!(
        "keys of silent OT do not depend on their use",
        "heq-ot lib keys_of_silent_ot_are_separated"
    );
    let session = if any_session { &[0; 32] } else { &session.0 };
    let tag = if any_tag { 0 } else { tag };
    let usage = if any_use { 0 } else { usage as u8 };
    let digest = Sha256::new()
        .chain_update(b"heq-ot/silent/1")
        .chain_update(session)
        .chain_update([tag, usage])
        .finalize();
    let mut key = [0; Block::BYTES];
    key.copy_from_slice(&digest[..Block::BYTES]);
    Block::from_bytes(key)
}

/// The bit of a row that holds the receiver's choice.
const CHOICE: Block = Block::from_words(1, 0);

/// `row` with the choice of `choice`, which has no other bits, in the place of its own.
fn with_choice(row: Block, choice: Block) -> Block {
    const OTHERS: Block = Block::from_words(!1, u64::MAX);
    (row & OTHERS) ^ choice
}

/// The choice bit of a row of the receiver, 0 or 1.
fn choice(row: Block) -> u64 {
    row.to_words()[0] & 1
}
