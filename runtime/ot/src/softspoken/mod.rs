//! OT extension: any number of random OTs from 128 base OTs.
//!
//! Flow: the extension sender draws [`Delta`] and takes part as *receiver* in 128 base OTs with the
//! choices [`Delta::base_choices`]; [`Receiver::new`] -> [`GgmMessage`] -> [`Sender::new`]; then,
//! as often as wanted, [`Receiver::extend`] -> [`ExtendMessage`] -> [`Sender::extend`]. One message
//! a step, all from receiver to sender.
//!
//! Notation: `k` bits of field, `m = 128/k` groups, `n` OTs. Group `i` has `2^k` streams
//! `r_{i,x}` of `n` bits, all known to the receiver, all but `x = D_i` to the sender, where
//! `Delta = (D_0, .., D_{m-1})`.
//! - Receiver: `u_i = sum_x r_{i,x}` and `v_i = sum_x x*r_{i,x}` (`k` columns of `n` bits).
//! - Sender: `w_i = sum_x (x - D_i)*r_{i,x} = v_i - D_i*u_i`; the unknown stream has factor 0.
//! - Receiver sends `d_i = u_i - u_0` for `i >= 1`; the sender adds `D_i*d_i` to `w_i`.
//!
//! In characteristic 2 and with `c = u_0`, rows `q` of the sender and `t` of the receiver then
//! satisfy `t_j = q_j + c_j*Delta` (correlated OT). Pads are hashes of rows, choices are `c`.
//!
//! Invariant: all tiles of an instance have distinct hash keys, and the tag is part of them. With
//! `k = 1` this is the extension of [IKNP03, section 3] with random choices. Semi-honest: the
//! consistency check against a malicious receiver is left out.
//!
//! Source: [Roy22, sections 3.1 and 3.2], with the hash of [GKWY20, section 7.2].

mod config;
mod msg;
mod receiver;
mod sender;
mod streams;
#[cfg(test)]
mod tests;

pub use config::SoftSpokenConfig;
pub use msg::{ExtendMessage, GgmMessage};
pub use receiver::Receiver;
pub use sender::{Delta, Sender};

use heq_mutation::broken;
use rayon::prelude::*;

use crate::rot::{RotShape, TILE_ROWS};
use crate::transpose::QUAD;

/// Number of base OTs behind an extension: kappa.
pub const BASE_OTS: usize = crate::COMPUTATIONAL_SECURITY_BITS;

/// Tiles made at once: enough blocks of a stream to fill the vectors, while the 128 columns of a chunk
/// (32 KiB) stay in the first-level cache.
const CHUNK_TILES: usize = QUADS * QUAD;

/// Fours of tiles in a chunk.
const QUADS: usize = 4;

/// Tiles of a job of one thread, whole chunks.
const JOB_TILES: usize = 4 * CHUNK_TILES;

/// Tiles of the batches of `shapes`.
pub(crate) fn tiles(shapes: &[RotShape]) -> usize {
    shapes.iter().map(|shape| shape.rows() / TILE_ROWS).sum()
}

/// The number of the tile that follows `tiles` tiles from `tile` on: no number comes twice.
fn tile_after(tile: u64, tiles: usize) -> u64 {
    if broken!(
        "tiles are numbered from the beginning each time",
        "heq-ot lib tiles_are_numbered_once, heq-tests leakage pads_of_a_session_are_distinct"
    ) {
        return tile;
    }
    tile + tiles as u64
}

/// Does the jobs, on all threads if there are several; results do not depend on it.
pub(crate) fn for_each_job<J: Send>(jobs: Vec<J>, step: impl Fn(J) + Sync + Send) {
    if jobs.len() == 1 || rayon::current_num_threads() == 1 {
        jobs.into_iter().for_each(step);
    } else {
        jobs.into_par_iter().for_each(step);
    }
}
