//! Streams by the cipher of the `aes` crate, summed up a binary tree of which one path is held.

use core::ops::Range;

use aes::Aes128Enc;
use aes::cipher::consts::U16;
use aes::cipher::generic_array::GenericArray;
use aes::cipher::inout::InOut;
use aes::cipher::{BlockEncrypt, KeyInit};

use super::{CHUNK_TILES, ChunkBlocks, ChunkColumns};
use crate::block::Block;
use crate::transpose::QUAD;

/// Expanded keys.
pub(super) struct Keys(Vec<Aes128Enc>);

/// Counters of the tiles of a chunk.
type Counters = GenericArray<aes::Block, U16>;

impl Keys {
    pub(super) fn new(seeds: &[Block]) -> Self {
        Self(seeds.iter().map(|seed| Aes128Enc::new(&(*seed).into())).collect())
    }

    /// As [`super::Streams::sums`], of the streams `streams` but for the first `first`.
    pub(super) fn sums(
        &self,
        streams: Range<usize>,
        first: usize,
        tile: u64,
        quads: usize,
        columns: &mut ChunkColumns,
    ) -> ChunkBlocks {
        let width = QUAD * quads;
        let mut counters = Counters::default();
        for (lane, counter) in counters.iter_mut().zip(u128::from(tile)..) {
            *lane = Block::new(counter).into();
        }
        let levels = streams.len().trailing_zeros() as usize;
        let column = streams.start / streams.len() * levels;
        let (pairs, _) = self.0[streams].as_chunks::<2>();
        match levels {
            1 => sums::<1, 2>(pairs, first, &counters, width, columns, column),
            2 => sums::<2, 3>(pairs, first, &counters, width, columns, column),
            4 => sums::<4, 5>(pairs, first, &counters, width, columns, column),
            _ => sums::<8, 9>(pairs, first, &counters, width, columns, column),
        }
    }
}

/// The sums of a tree of `K` levels at `width` tiles; `SUBTREES = K + 1`.
fn sums<const K: usize, const SUBTREES: usize>(
    pairs: &[[Aes128Enc; 2]],
    first: usize,
    counters: &Counters,
    width: usize,
    columns: &mut ChunkColumns,
    column: usize,
) -> ChunkBlocks {
    let zero = [Block::ZERO; CHUNK_TILES];
    // Sums over the streams with bit j set, and of the last finished subtree of 2^j streams.
    let (mut with_bit, mut subtrees) = ([zero; K], [zero; SUBTREES]);
    for (x, [even, odd]) in pairs.iter().enumerate() {
        let (mut sum, mut odd_blocks) = (zero, zero);
        if x >= first {
            fill(even, counters, &mut sum[..width]);
        }
        fill(odd, counters, &mut odd_blocks[..width]);
        add(&mut with_bit[0], &odd_blocks);
        add(&mut sum, &odd_blocks);
        let finished = x.trailing_ones() as usize;
        for (with_bit, subtree) in with_bit[1..].iter_mut().zip(&subtrees[1..]).take(finished) {
            add(with_bit, &sum);
            add(&mut sum, subtree);
        }
        subtrees[finished + 1] = sum;
    }
    for (column, sums) in (column..).zip(&with_bit) {
        for (quad, sums) in columns.iter_mut().zip(sums.as_chunks::<QUAD>().0) {
            quad[column] = *sums;
        }
    }
    subtrees[K]
}

fn add(a: &mut ChunkBlocks, b: &ChunkBlocks) {
    for (a, b) in a.iter_mut().zip(b) {
        *a ^= *b;
    }
}

/// Overwrites `out`, of at most 16 blocks, with those of the stream of `key` at `counters`.
///
/// One call for all blocks is twice the number that the AES-NI code of the `aes` crate interleaves, so
/// that a block is read well after it was written.
fn fill(key: &Aes128Enc, counters: &Counters, out: &mut [Block]) {
    let mut lanes = GenericArray::default();
    let (used, _) = InOut::from((counters, &mut lanes)).into_buf().split_at(out.len());
    key.encrypt_blocks_inout(used);
    for (block, lane) in out.iter_mut().zip(&lanes) {
        *block = (*lane).into();
    }
}
