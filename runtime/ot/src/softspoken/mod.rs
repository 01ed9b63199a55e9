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
//! Invariants: all rows of an instance have distinct hash tweaks, and the tag is part of them. With
//! `k = 1` this is the extension of [IKNP03, section 3] with random choices. Semi-honest: the
//! consistency check against a malicious receiver is left out.
//!
//! Source: [Roy22, sections 3.1 and 3.2], with the hash of [GKWY20, construction TMMO].

mod config;
mod fold;
mod msg;
mod receiver;
mod sender;
#[cfg(test)]
mod tests;

pub use config::SoftSpokenConfig;
pub use msg::{ExtendMessage, GgmMessage};
pub use receiver::Receiver;
pub use sender::{Delta, Sender};

use crate::block::Block;
use crate::prg::LANES;

/// Number of base OTs behind an extension: kappa.
pub const BASE_OTS: usize = crate::COMPUTATIONAL_SECURITY_BITS;

/// Rows of the matrix that are transposed and hashed together.
const TILE_ROWS: usize = Block::BITS;

/// Tiles made at once: they fill the lanes of the block cipher, and the 128 columns of a chunk
/// (32 KiB) fit the first-level cache.
const CHUNK_TILES: usize = LANES;

/// The tweak of the first row of tile `tile`: the tag in the top byte, then the row number.
fn tile_tweak(tag: u8, tile: u64) -> u128 {
    (u128::from(tag) << 120) | (u128::from(tile) * TILE_ROWS as u128)
}

/// The columns of tile `index` in a chunk of `tiles` tiles, as the rows of a square matrix.
///
/// **Shapes**: `columns: [128][tiles]`.
fn tile(columns: &[Block], tiles: usize, index: usize) -> [Block; TILE_ROWS] {
    core::array::from_fn(|column| columns[column * tiles + index])
}
