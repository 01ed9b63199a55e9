//! Batches of random OTs as bit planes, what the upper layers consume.
//!
//! A random OT gives the sender two random pads and the receiver a random choice bit with the pad
//! it selects. Upper layers work on all elements of a tensor at once, one bit of each in a plane;
//! so a batch has a [`RotShape`] of planes, and of every pad exactly as many bits as it is used for.
//! Bit `e mod 64` of word `e/64` of a plane belongs to element e; bits beyond the elements are zero.
//!
//! Invariants: batches change hands whole and are zeroized on drop; a random OT is in one batch.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::block::Block;
use crate::error::{OtError, check_length};
use crate::tiles::Stretch;

/// Rows of the extension that are transposed and hashed together; a plane starts with a new tile.
pub const TILE_ROWS: usize = Block::BITS;

/// Words of a plane that a tile fills.
pub(crate) const TILE_WORDS: usize = TILE_ROWS / u64::BITS as usize;

/// How many random OTs a batch holds, and how much of their pads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RotShape {
    /// Planes: random OTs an element.
    pub planes: usize,
    /// Elements of a plane.
    pub elements: usize,
    /// Width of every pad in bits.
    pub bits: usize,
}

impl RotShape {
    /// Words of a plane.
    #[must_use]
    pub const fn words(self) -> usize {
        self.elements.div_ceil(u64::BITS as usize)
    }

    /// Tiles of a plane.
    #[must_use]
    pub const fn tiles(self) -> usize {
        self.elements.div_ceil(TILE_ROWS)
    }

    /// Rows of the extension that the batch takes: planes are filled up to whole tiles.
    #[must_use]
    pub const fn rows(self) -> usize {
        self.planes.saturating_mul(self.tiles()).saturating_mul(TILE_ROWS)
    }
}

/// A side of a batch.
pub trait RotBatch: Sized + Send + 'static {
    /// Its shape.
    fn shape(&self) -> RotShape;

    /// Bytes that a batch of `shape` is stored in.
    fn stored_bytes(shape: RotShape) -> usize;

    /// Appends the batch to `bytes`, words little endian. They are as secret as the batch.
    fn store(&self, bytes: &mut Vec<u8>);

    /// The batch of `shape` that was stored in `bytes`.
    ///
    /// # Errors
    /// [`OtError::MessageLength`] if there are not [`RotBatch::stored_bytes`] of them.
    fn restore(shape: RotShape, bytes: &[u8]) -> Result<Self, OtError>;
}

/// Planes of pads, `[planes][bits][words]`.
#[derive(Zeroize, ZeroizeOnDrop)]
struct PadPlanes(Vec<u64>);

impl PadPlanes {
    fn zeros(shape: RotShape) -> Self {
        Self(vec![0; shape.planes * shape.bits * shape.words()])
    }

    fn plane(&self, shape: RotShape, plane: usize, bit: usize) -> &[u64] {
        let start = (plane * shape.bits + bit) * shape.words();
        &self.0[start..start + shape.words()]
    }

    /// Bytes of the pads of a shape.
    fn bytes(shape: RotShape) -> usize {
        shape.planes * shape.bits * shape.words() * size_of::<u64>()
    }

    /// The words of every bit of every plane, in order.
    fn planes_mut(&mut self, shape: RotShape) -> impl Iterator<Item = &mut [u64]> {
        self.0.chunks_exact_mut(shape.words().max(1))
    }

    fn plane_mut(&mut self, shape: RotShape, plane: usize, bit: usize) -> &mut [u64] {
        let start = (plane * shape.bits + bit) * shape.words();
        &mut self.0[start..start + shape.words()]
    }
}

/// The sender's side of random OTs.
///
/// **Security**: nobody else knows both pads of an OT.
#[derive(ZeroizeOnDrop)]
pub struct RotSenderBatch {
    #[zeroize(skip)]
    shape: RotShape,
    pads: [PadPlanes; 2],
}

impl RotSenderBatch {
    /// A batch whose pads are zero, to be filled.
    pub(crate) fn zeros(shape: RotShape) -> Self {
        Self { shape, pads: [PadPlanes::zeros(shape), PadPlanes::zeros(shape)] }
    }

    /// Bit `bit` of the pads of plane `plane` that choice 0 selects.
    #[must_use]
    pub fn pads0(&self, plane: usize, bit: usize) -> &[u64] {
        self.pads[0].plane(self.shape, plane, bit)
    }

    /// Bit `bit` of the pads of plane `plane` that choice 1 selects.
    #[must_use]
    pub fn pads1(&self, plane: usize, bit: usize) -> &[u64] {
        self.pads[1].plane(self.shape, plane, bit)
    }

    /// Its planes, to be filled tile by tile.
    pub(crate) fn stretches(&mut self) -> impl Iterator<Item = Stretch<'_>> {
        let RotShape { planes, elements, bits } = self.shape;
        let [mut zeros, mut ones] = self.pads.each_mut().map(|pads| pads.planes_mut(self.shape));
        (0..planes).map(move |_| {
            let pads = zeros.by_ref().take(bits).chain(ones.by_ref().take(bits)).collect();
            Stretch { elements, bits, choices: &mut [], pads }
        })
    }

    /// The words of bit `bit` of the pads of plane `plane` that `choice` selects, to be filled; bits
    /// beyond the elements stay zero.
    pub(crate) fn pads_mut(&mut self, choice: usize, plane: usize, bit: usize) -> &mut [u64] {
        self.pads[choice].plane_mut(self.shape, plane, bit)
    }
}

impl RotBatch for RotSenderBatch {
    fn shape(&self) -> RotShape {
        self.shape
    }

    fn stored_bytes(shape: RotShape) -> usize {
        2 * PadPlanes::bytes(shape)
    }

    fn store(&self, bytes: &mut Vec<u8>) {
        self.pads.iter().for_each(|pads| store_words(&pads.0, bytes));
    }

    fn restore(shape: RotShape, bytes: &[u8]) -> Result<Self, OtError> {
        check_stored::<Self>(shape, bytes)?;
        let (zeros, ones) = bytes.split_at(PadPlanes::bytes(shape));
        Ok(Self { shape, pads: [zeros, ones].map(|bytes| PadPlanes(words(bytes))) })
    }
}

/// The receiver's side of random OTs.
///
/// **Security**: the sender does not know the choices, the receiver does not know the pads it did
/// not choose.
#[derive(ZeroizeOnDrop)]
pub struct RotReceiverBatch {
    #[zeroize(skip)]
    shape: RotShape,
    choices: Vec<u64>,
    pads: PadPlanes,
}

impl RotReceiverBatch {
    /// A batch whose choices and pads are zero, to be filled.
    pub(crate) fn zeros(shape: RotShape) -> Self {
        let choices = vec![0; shape.planes * shape.words()];
        Self { shape, choices, pads: PadPlanes::zeros(shape) }
    }

    /// The choice bits of plane `plane`.
    #[must_use]
    pub fn choices(&self, plane: usize) -> &[u64] {
        let words = self.shape.words();
        &self.choices[plane * words..(plane + 1) * words]
    }

    /// Bit `bit` of the chosen pads of plane `plane`: of the sender's pad 0 or 1, as the choice is.
    #[must_use]
    pub fn pads(&self, plane: usize, bit: usize) -> &[u64] {
        self.pads.plane(self.shape, plane, bit)
    }

    /// Its planes, to be filled tile by tile.
    pub(crate) fn stretches(&mut self) -> impl Iterator<Item = Stretch<'_>> {
        let RotShape { planes, elements, bits } = self.shape;
        let mut choices = self.choices.chunks_exact_mut(self.shape.words().max(1));
        let mut pads = self.pads.planes_mut(self.shape);
        (0..planes).map(move |_| {
            let choices = choices.next().unwrap_or_default();
            Stretch { elements, bits, choices, pads: pads.by_ref().take(bits).collect() }
        })
    }

    /// The words of the choices of plane `plane`, to be filled; bits beyond the elements stay zero.
    pub(crate) fn choices_mut(&mut self, plane: usize) -> &mut [u64] {
        let words = self.shape.words();
        &mut self.choices[plane * words..(plane + 1) * words]
    }

    /// The words of bit `bit` of the pads of plane `plane`, to be filled; bits beyond the elements
    /// stay zero.
    pub(crate) fn pads_mut(&mut self, plane: usize, bit: usize) -> &mut [u64] {
        self.pads.plane_mut(self.shape, plane, bit)
    }
}

impl RotBatch for RotReceiverBatch {
    fn shape(&self) -> RotShape {
        self.shape
    }

    fn stored_bytes(shape: RotShape) -> usize {
        PadPlanes::bytes(shape) + shape.planes * shape.words() * size_of::<u64>()
    }

    fn store(&self, bytes: &mut Vec<u8>) {
        store_words(&self.choices, bytes);
        store_words(&self.pads.0, bytes);
    }

    fn restore(shape: RotShape, bytes: &[u8]) -> Result<Self, OtError> {
        check_stored::<Self>(shape, bytes)?;
        let (choices, pads) = bytes.split_at(bytes.len() - PadPlanes::bytes(shape));
        Ok(Self { shape, choices: words(choices), pads: PadPlanes(words(pads)) })
    }
}

fn check_stored<B: RotBatch>(shape: RotShape, bytes: &[u8]) -> Result<(), OtError> {
    check_length("a stored batch", B::stored_bytes(shape), bytes.len())
}

fn store_words(words: &[u64], bytes: &mut Vec<u8>) {
    words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
}

fn words(bytes: &[u8]) -> Vec<u64> {
    let (words, _) = bytes.as_chunks();
    words.iter().map(|&word| u64::from_le_bytes(word)).collect()
}

/// Writes 128 bits to tile `tile` of a plane of `elements` bits; those beyond the elements are dropped.
pub(crate) fn write_tile(plane: &mut [u64], elements: usize, tile: usize, bits: Block) {
    let start = tile * TILE_WORDS;
    for (index, (word, bits)) in plane[start..].iter_mut().zip(bits.to_words()).enumerate() {
        let left = elements - (start + index) * u64::BITS as usize;
        *word = if left < u64::BITS as usize { bits & ((1 << left) - 1) } else { bits };
    }
}

macro_rules! impl_debug {
    ($($batch:ident),*) => {$(
        impl fmt::Debug for $batch {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($batch)).field("shape", &self.shape).finish_non_exhaustive()
            }
        }
    )*};
}

impl_debug!(RotSenderBatch, RotReceiverBatch);
