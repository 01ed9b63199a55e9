//! Streams by VAES: two streams at a time, summed up a binary tree of which one path is held.
#![expect(unsafe_code, reason = "the processor's features are known at run time alone")]

use core::arch::x86_64::*;
use core::ops::Range;

use zeroize::Zeroizing;

use super::{CHUNK_TILES, ChunkBlocks, ChunkColumns, QUADS};
use crate::aes128::avx512::{ROUND_KEYS, Schedule};
use crate::block::Block;
use crate::simd::avx512::{Avx512, LANES, load, splat, store};

/// Round keys of the streams. Exist only if the processor has the vectors.
pub(super) struct Keys(Zeroizing<Vec<[Block; ROUND_KEYS]>>);

impl Keys {
    pub(super) fn new(avx512: Avx512, seeds: &[Block]) -> Self {
        let mut keys = Zeroizing::new(Vec::with_capacity(seeds.len()));
        let (quads, rest) = seeds.as_chunks::<LANES>();
        for seeds in quads {
            keys.extend(
                Schedule::new_four(avx512, seeds).each_ref().map(|schedule| *schedule.keys()),
            );
        }
        keys.extend(rest.iter().map(|seed| *Schedule::new(avx512, *seed).keys()));
        Self(keys)
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
        let levels = streams.len().trailing_zeros() as usize;
        let mut at =
            Place { tile: tile.into(), quad: 0, column: streams.start / streams.len() * levels };
        let (pairs, _) = self.0[streams].as_chunks::<2>();
        let mut total = [Block::ZERO; CHUNK_TILES];
        if quads == QUADS {
            // SAFETY: the keys exist, so the processor has the features.
            unsafe { sums_of_group::<QUADS>(pairs, first, at, columns, &mut total) };
        } else {
            for quad in 0..quads {
                at.quad = quad;
                // SAFETY: the keys exist, so the processor has the features.
                unsafe { sums_of_group::<1>(pairs, first, at, columns, &mut total) };
            }
        }
        total
    }
}

/// The round keys of streams `2*x` and `2*x + 1`.
type Pair = [[Block; ROUND_KEYS]; 2];

/// Where sums belong.
#[derive(Clone, Copy)]
struct Place {
    /// Number of the first tile of the chunk.
    tile: u128,
    /// The first four tiles of it that are meant.
    quad: usize,
    /// The first column of the group.
    column: usize,
}

/// The sums of the streams of a tree at `N` fours of tiles.
#[target_feature(enable = "avx512f,vaes")]
fn sums_of_group<const N: usize>(
    pairs: &[Pair],
    first: usize,
    at: Place,
    columns: &mut ChunkColumns,
    total: &mut ChunkBlocks,
) {
    match pairs.len() {
        1 => sums::<N, 1, 2>(pairs, first, at, columns, total),
        2 => sums::<N, 2, 3>(pairs, first, at, columns, total),
        8 => sums::<N, 4, 5>(pairs, first, at, columns, total),
        _ => sums::<N, 8, 9>(pairs, first, at, columns, total),
    }
}

/// The sums of a tree of `K` levels; `SUBTREES = K + 1`.
#[target_feature(enable = "avx512f,vaes")]
#[inline]
fn sums<const N: usize, const K: usize, const SUBTREES: usize>(
    pairs: &[Pair],
    first: usize,
    at: Place,
    columns: &mut ChunkColumns,
    total: &mut ChunkBlocks,
) {
    let zero = [_mm512_setzero_si512(); N];
    let mut counters = zero;
    let tiles = at.tile + (LANES * at.quad) as u128;
    for (counters, tile) in counters.iter_mut().zip((tiles..).step_by(LANES)) {
        *counters = load(&core::array::from_fn(|lane| Block::new(tile + lane as u128)));
    }
    // Sums over the streams with bit j set, and of the last finished subtree of 2^j streams.
    let (mut with_bit, mut subtrees) = ([zero; K], [zero; SUBTREES]);
    for (x, [even, odd]) in pairs.iter().enumerate() {
        let [even, odd] = if x < first {
            [zero, encrypt_pair([odd, odd], &counters)[1]]
        } else {
            encrypt_pair([even, odd], &counters)
        };
        with_bit[0] = add(with_bit[0], odd);
        let mut sum = add(even, odd);
        let finished = x.trailing_ones() as usize;
        for (with_bit, subtree) in with_bit[1..].iter_mut().zip(&subtrees[1..]).take(finished) {
            *with_bit = add(*with_bit, sum);
            sum = add(sum, *subtree);
        }
        subtrees[finished + 1] = sum;
    }
    let (total, _) = total.as_chunks_mut::<LANES>();
    for quad in 0..N {
        for (level, sums) in with_bit.iter().enumerate() {
            store(&mut columns[at.quad + quad][at.column + level], sums[quad]);
        }
        store(&mut total[at.quad + quad], subtrees[K][quad]);
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn add<const N: usize>(mut a: [__m512i; N], b: [__m512i; N]) -> [__m512i; N] {
    for (a, b) in a.iter_mut().zip(b) {
        *a = _mm512_xor_si512(*a, b);
    }
    a
}

/// The blocks of two streams at `counters`, all in flight at once.
#[target_feature(enable = "avx512f,vaes")]
#[inline]
fn encrypt_pair<const N: usize>(
    keys: [&[Block; ROUND_KEYS]; 2],
    counters: &[__m512i; N],
) -> [[__m512i; N]; 2] {
    let mut states = [*counters; 2];
    for (state, keys) in states.iter_mut().zip(keys) {
        let key = splat(&keys[0]);
        for block in state {
            *block = _mm512_xor_si512(*block, key);
        }
    }
    for round in 1..ROUND_KEYS - 1 {
        for (state, keys) in states.iter_mut().zip(keys) {
            let key = splat(&keys[round]);
            for block in state {
                *block = _mm512_aesenc_epi128(*block, key);
            }
        }
    }
    for (state, keys) in states.iter_mut().zip(keys) {
        let key = splat(&keys[ROUND_KEYS - 1]);
        for block in state {
            *block = _mm512_aesenclast_epi128(*block, key);
        }
    }
    states
}
