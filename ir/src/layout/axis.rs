//! One axis of a tile: from windows to planes of stride 1, and how far apart rows must lie.
//!
//! **Phases.** Tap t of a window reads input `o*s + t*d - pad` for output o. With
//! `t*d - pad = tau*s + phi`, `0 <= phi < s`, that is element `o + tau` of plane `phi`, the inputs
//! `phi, phi + s, phi + 2s, ...`. So a strided convolution is one of stride 1 over one plane a phase
//! that is read; planes that no tap reads are never sent.
//!
//! **Pitch.** A tile of outputs `[o0, o0+n)` stores the elements of every plane that it reads, element
//! i at position `i - o0 - beta`, and reads position `o - o0 + tau - beta` for output o. Reads of the
//! padding must find zeros, also when they run over an end of the axis into what lies before or
//! behind: the pitch P is the smallest that puts nothing stored there. One gap serves both ends, so
//! that a 7x7 plane with padding of 1 takes 8x8 positions.

use crate::geometry::Window;

/// A tap that reads an input of some output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    /// Index of the kernel element.
    pub(super) index: usize,
    /// Index of its phase among those that are read.
    pub(super) phase: usize,
    /// Shift tau in elements of a plane.
    pub(super) shift: isize,
}

/// One axis of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    /// Extent of the input.
    input: usize,
    /// Extent of the output.
    pub(super) output: usize,
    stride: usize,
    /// The phases phi that are read, ascending.
    pub(super) phases: Vec<usize>,
    /// The taps that read anything, in the order of the kernel.
    pub(super) taps: Vec<Tap>,
    /// Smallest and largest shift of a tap.
    shifts: [isize; 2],
}

/// One axis of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Outputs of a tile; the last tile may have fewer.
    pub(super) outputs: usize,
    /// Tiles along the axis.
    pub(super) count: usize,
    /// Distance P of what lies before and behind.
    pub(super) pitch: usize,
    /// Smallest distance beta of an element's index from its tile's first output.
    beta: isize,
    /// Smallest and largest position that outputs read.
    pub(super) reads: [isize; 2],
}

impl Axis {
    /// Axis `axis` of `window` over an input of `input` elements with `output` windows; `None` if
    /// no window reads any input, or a size overflows.
    pub(super) fn new(window: &Window, axis: usize, input: usize, output: usize) -> Option<Self> {
        let (stride, dilation) = (window.strides[axis], window.dilations[axis]);
        let signed = |value: usize| isize::try_from(value).ok();
        let (pad, step) = (signed(window.pads[axis])?, signed(stride)?);
        let last = signed(output.checked_sub(1)?.checked_mul(stride)?)?;
        let end = signed(input)?;
        last.checked_add(end)?;
        let mut found = Vec::new();
        for index in 0..window.kernel[axis] {
            let offset = signed(index.checked_mul(dilation)?)?.checked_sub(pad)?;
            // Outputs read offset, offset + stride, ...: whether any lies within the input.
            let first = if offset < 0 { offset.rem_euclid(step) } else { offset };
            if first < end && first <= last.checked_add(offset)? {
                found.push((index, offset.rem_euclid(step), offset.div_euclid(step)));
            }
        }
        let mut phases: Vec<isize> = found.iter().map(|&(_, phase, _)| phase).collect();
        phases.sort_unstable();
        phases.dedup();
        let place = |phase| phases.binary_search(&phase).ok();
        let taps: Option<Vec<Tap>> = found
            .into_iter()
            .map(|(index, phase, shift)| Some(Tap { index, phase: place(phase)?, shift }))
            .collect();
        let taps = taps.filter(|taps| !taps.is_empty())?;
        let phases = phases.into_iter().map(isize::unsigned_abs).collect();
        let shifts = || taps.iter().map(|tap| tap.shift);
        let shifts = [shifts().min()?, shifts().max()?];
        Some(Self { input, output, stride, phases, taps, shifts })
    }

    /// Cuts the axis into tiles of `outputs` outputs; `outputs` is 1 to [`Self::output`].
    pub(super) fn cut(&self, outputs: usize) -> Cut {
        let count = self.output.div_ceil(outputs);
        let [least, most] = self.shifts;
        // Tiles that store nothing read zeros wherever they read.
        let tiles = || {
            let tiles = (0..count).map(|tile| self.tile(tile, outputs));
            tiles.filter(|&(first, last)| {
                let [start, end] = self.stored(first, last);
                start < end
            })
        };
        let starts = tiles().map(|(first, last)| self.stored(first, last)[0] - first);
        let beta = starts.min().unwrap_or(0);
        let pitch = tiles().map(|(first, last)| {
            let [start, end] = self.stored(first, last).map(|index| index - first - beta);
            let (low, high) = (least - beta, last - first + most - beta);
            let below = end - low.min(0);
            let above = if high >= end { high - start + 1 } else { end };
            below.max(above)
        });
        let pitch = pitch.max().unwrap_or(0).max(outputs.cast_signed());
        let reads = [least - beta, outputs.cast_signed() - 1 + most - beta];
        Cut { outputs, count, pitch: pitch.unsigned_abs(), beta, reads }
    }

    /// First and last output of a tile.
    fn tile(&self, tile: usize, outputs: usize) -> (isize, isize) {
        let last = ((tile + 1) * outputs).min(self.output) - 1;
        ((tile * outputs).cast_signed(), last.cast_signed())
    }

    /// Start and end of the elements of the longest plane that outputs `first` to `last` read.
    fn stored(&self, first: isize, last: isize) -> [isize; 2] {
        let [least, most] = self.shifts;
        let shortest_phase = self.phases.first().copied().unwrap_or(0);
        let elements = self.input.saturating_sub(shortest_phase).div_ceil(self.stride);
        let elements = elements.cast_signed();
        [first + least, last + most + 1].map(|index| index.clamp(0, elements))
    }

    /// What tile `tile` of `cut` stores of the plane of the `phase`-th phase: its first position, the
    /// input index there, and how many. Neighbours are a stride apart in the input.
    pub(super) fn run(&self, cut: &Cut, tile: usize, phase: usize) -> (usize, usize, usize) {
        let (first, last) = self.tile(tile, cut.outputs);
        let [start, end] = self.stored(first, last);
        let position = (start - first - cut.beta).unsigned_abs();
        let (start, end) = (start.unsigned_abs(), end.unsigned_abs());
        let offset = self.phases[phase];
        let elements = self.input.saturating_sub(offset).div_ceil(self.stride);
        (position, start * self.stride + offset, end.min(elements).saturating_sub(start))
    }

    /// Distance in the input of neighbours of a plane.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// The outputs of tile `tile` of `cut`.
    pub(super) fn outputs(&self, cut: &Cut, tile: usize) -> std::ops::Range<usize> {
        let first = tile * cut.outputs;
        first..(first + cut.outputs).min(self.output)
    }

    /// The taps, each with the distance of what it reads from its output, in positions of `cut`.
    pub(super) fn reads(&self, cut: &Cut) -> impl Iterator<Item = (Tap, isize)> + Clone {
        let beta = cut.beta;
        self.taps.iter().map(move |&tap| (tap, tap.shift - beta))
    }
}
