//! The pseudo-random streams behind the columns of the matrix, and their sums.
//!
//! Every leaf of a tree is the key of a stream, AES-128 in counter mode: tile `c` of its bits is
//! `AES_leaf(c)` with `c` little-endian. Both parties weight each stream of a group by its index, the
//! receiver by `x`, the sender by `y = x ^ D`, so the same sums serve both.
//!
//! Invariants: the bits of a stream do not depend on the calls that produce them; time depends on
//! shapes alone; keys are zeroized on drop.
//!
//! Source: [Roy22, section 3.1], the sums computed with fewer than `2*2^k` additions.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use super::{CHUNK_TILES, QUADS};
use crate::block::Block;
use crate::simd::Path;
use crate::transpose::QuadColumns;

/// The columns of a chunk of tiles, four tiles together.
pub(super) type ChunkColumns = [QuadColumns; QUADS];

/// A block of a column for every tile of a chunk.
pub(super) type ChunkBlocks = [Block; CHUNK_TILES];

/// The streams of all groups.
pub(super) struct Streams {
    /// Streams of a group, `2^k`.
    leaves: usize,
    /// The first stream of a group that is known: 1 for the sender.
    first: usize,
    keys: Keys,
}

/// Expanded keys of the streams, `[128/k][2^k]`, in the form that one path takes.
enum Keys {
    Portable(portable::Keys),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Keys),
}

impl Streams {
    /// The streams of groups of `leaves` seeds each, of which the first `first`, 0 or 1, are not known
    /// and count as zero.
    pub(super) fn new(path: Path, leaves: usize, first: usize, seeds: &[Block]) -> Self {
        let keys = match path {
            Path::Portable => Keys::Portable(portable::Keys::new(seeds)),
            #[cfg(target_arch = "x86_64")]
            Path::Avx512(avx512) => Keys::Avx512(avx512::Keys::new(avx512, seeds)),
        };
        Self { leaves, first, keys }
    }

    /// The sums of the streams `x` of group `group` at the tiles from `tile` on, `4*quads` of them, over
    /// all `x`, returned, and over those with bit `j` set, in column `group*k + j`. Other tiles of the
    /// result are undefined.
    pub(super) fn sums(
        &self,
        group: usize,
        tile: u64,
        quads: usize,
        columns: &mut ChunkColumns,
    ) -> ChunkBlocks {
        let streams = group * self.leaves..(group + 1) * self.leaves;
        match &self.keys {
            Keys::Portable(keys) => keys.sums(streams, self.first, tile, quads, columns),
            #[cfg(target_arch = "x86_64")]
            Keys::Avx512(keys) => keys.sums(streams, self.first, tile, quads, columns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aes128::Aes128;
    use crate::softspoken::BASE_OTS;
    use crate::transpose::QUAD;

    #[test]
    fn sums_are_those_of_the_definition() {
        let tile = u64::MAX - 5;
        for (k, first, quads) in
            [(1, 0, 4), (1, 1, 3), (2, 0, 1), (2, 1, 2), (4, 0, 3), (4, 1, 4), (8, 0, 1), (8, 1, 4)]
        {
            let (groups, leaves) = (BASE_OTS / k, 1 << k);
            let seeds: Vec<_> =
                (0..groups * leaves).map(|i| Block::new(i as u128 * 77 + 3)).collect();
            let group = groups - 1;
            let stream = |x: usize, t: usize| {
                let mut block = [Block::new(u128::from(tile) + t as u128)];
                Aes128::on(Path::Portable, seeds[group * leaves + x]).encrypt(&mut block);
                block[0]
            };
            let sum = |t: usize, in_sum: &dyn Fn(usize) -> bool| {
                let leaves = (first..leaves).filter(|x| in_sum(*x));
                leaves.fold(Block::ZERO, |sum, x| sum ^ stream(x, t))
            };
            for path in Path::all() {
                let streams = Streams::new(path, leaves, first, &seeds);
                let mut columns = [[[Block::ZERO; QUAD]; BASE_OTS]; QUADS];
                let total = streams.sums(group, tile, quads, &mut columns);
                for t in [0, 1, QUAD * quads - 1] {
                    assert_eq!(total[t], sum(t, &|_| true), "{path:?} k={k} tile {t}");
                    for j in 0..k {
                        let column = columns[t / QUAD][group * k + j][t % QUAD];
                        assert_eq!(column, sum(t, &|x| x >> j & 1 == 1), "{path:?} k={k} {t} {j}");
                    }
                }
            }
        }
    }
}
