//! Where the tiles of an extension go: its batches, cut into jobs of consecutive tiles.
//!
//! Jobs borrow disjoint words, so they can be filled in parallel. Invariant: tiles are handed out in
//! the order of batches and of planes within them, whatever the size of a job.

use core::{iter, mem};

use crate::block::Block;
use crate::rot::{TILE_ROWS, TILE_WORDS};

/// Bits of a word of a plane.
const WORD_BITS: usize = u64::BITS as usize;

/// Consecutive tiles of a plane, of one side of a batch.
pub(crate) struct Stretch<'a> {
    /// Elements from the first of these tiles to the end of the plane.
    pub(crate) elements: usize,
    /// Width of the pads.
    pub(crate) bits: usize,
    /// Words of the choices; the sender has none.
    pub(crate) choices: &'a mut [u64],
    /// Words of the pads, `[pads][bits]`.
    pub(crate) pads: Vec<&'a mut [u64]>,
}

impl<'a> Stretch<'a> {
    /// Takes the first `tiles` tiles away.
    fn split_off_front(&mut self, tiles: usize) -> Self {
        let cut = |words: &mut &'a mut [u64]| {
            let count = words.len().min(tiles * TILE_WORDS);
            let (front, rest) = mem::take(words).split_at_mut(count);
            *words = rest;
            front
        };
        let elements = self.elements.min(tiles * TILE_ROWS);
        self.elements -= elements;
        let (choices, pads) = (cut(&mut self.choices), self.pads.iter_mut().map(cut).collect());
        Self { elements, bits: self.bits, choices, pads }
    }

    fn tiles(&self) -> usize {
        self.elements.div_ceil(TILE_ROWS)
    }
}

/// The places of a job's tiles, in order.
#[derive(Default)]
pub(crate) struct Places<'a> {
    stretches: Vec<Stretch<'a>>,
    stretch: usize,
    tile: usize,
}

impl<'a> Places<'a> {
    /// The tiles of whole planes, cut into jobs of `job_tiles`; the last job may have fewer.
    pub(crate) fn split(
        planes: impl IntoIterator<Item = Stretch<'a>>,
        job_tiles: usize,
    ) -> Vec<Self> {
        Self::split_by(planes, iter::repeat(job_tiles))
    }

    /// As [`split`](Self::split), into jobs of `sizes` tiles, none of them zero.
    pub(crate) fn split_by(
        planes: impl IntoIterator<Item = Stretch<'a>>,
        mut sizes: impl Iterator<Item = usize>,
    ) -> Vec<Self> {
        let (mut jobs, mut room) = (Vec::<Self>::new(), 0);
        for mut plane in planes {
            while plane.tiles() > 0 {
                if room == 0 {
                    jobs.push(Self::default());
                    room = sizes.next().unwrap_or(usize::MAX);
                }
                let front = plane.split_off_front(room);
                room -= front.tiles();
                if let Some(job) = jobs.last_mut() {
                    job.stretches.push(front);
                }
            }
        }
        jobs
    }

    /// The place of the next tile.
    pub(crate) fn next_place<'p>(&'p mut self) -> Option<TilePlace<'p, 'a>> {
        if self.tile == self.stretches.get(self.stretch)?.tiles() {
            (self.stretch, self.tile) = (self.stretch + 1, 0);
        }
        let stretch = self.stretches.get_mut(self.stretch)?;
        self.tile += 1;
        Some(TilePlace { first_word: (self.tile - 1) * TILE_WORDS, stretch })
    }
}

/// The place of a tile in a batch.
pub(crate) struct TilePlace<'p, 'a> {
    stretch: &'p mut Stretch<'a>,
    first_word: usize,
}

impl TilePlace<'_, '_> {
    /// Width of the pads in bits.
    pub(crate) fn bits(&self) -> usize {
        self.stretch.bits
    }

    /// Writes the choices of the tile.
    pub(crate) fn write_choices(&mut self, bits: Block) {
        for (half, word) in bits.to_words().into_iter().enumerate() {
            let index = self.first_word + half;
            let mask = word_mask(self.stretch.elements, index);
            if let Some(place) = self.stretch.choices.get_mut(index) {
                *place = word & mask;
            }
        }
    }

    /// Writes bit `bit` of pads `pad` of 64 rows, the lower or upper half of the tile.
    #[inline]
    pub(crate) fn write_pads(&mut self, pad: usize, bit: usize, half: usize, word: u64) {
        let index = self.first_word + half;
        let mask = word_mask(self.stretch.elements, index);
        let plane = &mut self.stretch.pads[pad * self.stretch.bits + bit];
        if let Some(place) = plane.get_mut(index) {
            *place = word & mask;
        }
    }
}

/// The bits of word `index` that belong to one of `elements` elements.
fn word_mask(elements: usize, index: usize) -> u64 {
    match elements.saturating_sub(index * WORD_BITS) {
        0 => 0,
        left @ 1..WORD_BITS => u64::MAX >> (WORD_BITS - left),
        WORD_BITS.. => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rot::{RotReceiverBatch, RotShape};

    #[test]
    fn every_word_is_written_once_whatever_the_jobs() {
        let shapes = [(2, 0, 1), (3, 1, 2), (1, 128, 0), (2, 129, 1), (1, 1000, 3)]
            .map(|(planes, elements, bits)| RotShape { planes, elements, bits });
        let filled = |job_tiles| {
            let mut batches = shapes.map(RotReceiverBatch::zeros);
            let mut jobs =
                Places::split(batches.iter_mut().flat_map(RotReceiverBatch::stretches), job_tiles);
            let mut tile = 0_u64;
            for job in &mut jobs {
                while let Some(mut place) = job.next_place() {
                    tile += 1;
                    place.write_choices(Block::from_words(tile, u64::MAX));
                    for bit in 0..place.bits() {
                        place.write_pads(0, bit, 0, tile);
                        place.write_pads(0, bit, 1, u64::MAX << bit);
                    }
                }
            }
            let places = batches.iter().zip(shapes).flat_map(|(batch, shape)| {
                (0..shape.planes).flat_map(move |plane| {
                    let pads = (0..shape.bits).map(move |bit| batch.pads(plane, bit).to_vec());
                    [batch.choices(plane).to_vec()].into_iter().chain(pads)
                })
            });
            (tile, places.collect::<Vec<_>>())
        };
        let (tiles, whole) = filled(usize::MAX / TILE_ROWS);
        assert_eq!(tiles, 3 + 1 + 4 + 8);
        assert_eq!(whole[4], [1], "cut to the only element");
        let last = whole.last().unwrap();
        assert_eq!(last.len(), 16);
        assert_eq!((last[14], last[15]), (16, (1 << 40) - 4));
        for job_tiles in [1, 2, 3, 5] {
            assert!(filled(job_tiles) == (tiles, whole.clone()), "{job_tiles}");
        }
    }
}
