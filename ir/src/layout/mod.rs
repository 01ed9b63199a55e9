//! Where the elements of a convolution sit: coefficient packing with tiles.
//!
//! Every kernel of the linear layers is this one: general, pointwise, depthwise and grouped
//! convolution, and matrix products as convolutions of 1x1 planes. The compiler counts and prices
//! the layout, the runtime executes it.
//!
//! **Planes.** A convolution of any stride is one of stride 1 over *planes*: a plane is one input
//! channel at one phase of the strides (`axis.rs`). Padding takes one shared gap an axis.
//!
//! **One product** computes a tile of `oh x ow` outputs of `Kt` kernels over `Ct` planes. With the
//! pitches `Ph`, `Pw` of the tile and the *stride* `S >= Ct` of a kernel's slot,
//!
//! - request: element (v, y, x) of plane v at `(y*Pw + x)*Kt*S + v`;
//! - weights: (k, v, y', x') at `k*S - v - (y'*Pw + x')*Kt*S`, where a tap reads the element y' rows
//!   and x' columns from its output; negative places wrap with the sign of `X^N = -1`;
//! - outputs: (k, y, x) at `(y*Pw + x)*Kt*S + k*S`.
//!
//! An output reads its own planes, and zeros: other kernels' weights meet slots that hold no plane,
//! and the gaps catch what lies outside the tile. It takes `U = Ph*Pw*Kt*S <= N` coefficients.
//!
//! **Samples.** The planes of Bt samples follow each other as those of one plane of `Bt*Ph` rows: with
//! `(b*Ph + y)` in the place of `y`, for sample b of the tile. Weights have no sample, so that one
//! product serves all, and the gap of the rows lies between samples: `U = Bt*Ph*Pw*Kt*S`.
//!
//! **Groups** of a convolution share a tile in one of two ways ([`GroupPlacement`]). *Dense*: their
//! planes lie beside each other in a slot, `Gt*Ct <= S`, and every product is of one group's kernels.
//! *Spread*: one product serves all of them. Group g sits `p(g)*U` further in request and weights and
//! `2*p(g)*U` further in the outputs, where `p(g)` are the binary digits of g read in base 3: 0, 1, 3,
//! 4, 9, ... No three of these are in arithmetic progression, so the inputs of one group and the
//! weights of another never meet at an output; `(2*p(Gt-1) + 1)*U <= N`.
//!
//! **Merging.** The sum of products over all input tiles is a *leaf*; its outputs sit at multiples of
//! S. If S is a power of two, `2^m <= S` leaves merge into one response: leaf r moves by `r*S/2^m`.
//!
//! **Fields.** A coefficient may hold several elements ([`Packing`]): within a channel, those of p
//! spatial tiles; across channels, those of two planes, of whose weights the product's middle field
//! is the wanted sum. docs/protocols/packing.md.
//!
//! **Window of a request.** Outputs read a range of coefficients, negative ones wrapping; no other
//! coefficient of a request travels.
//!
//! Source: [HLHD22, Section 3.2]; tiles over Kt: [XLW24, Section 4]; merging: [CDKS21, Section 3.2].

mod axis;
mod counts;
mod placement;

pub use counts::{LayoutCounts, PartyOperations};
pub use placement::{InputRun, OutputRun, PlacedWeight, WeightPlacer};

use crate::geometry::{Chw, ConvGeometry};
use crate::secure::Packing;
use axis::{Axis, Cut};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Most levels of merging: `2^m` leaves a response.
pub const MAX_MERGE_LEVELS: u32 = 13;

/// Longest axis of an input or output.
const MAX_EXTENT: usize = 1 << 16;

/// The tile that one polynomial product computes, and how products become responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvTile {
    /// Samples of a tile, Bt.
    pub samples: usize,
    /// Output rows and columns of a tile, `[oh, ow]`.
    pub output: [usize; 2],
    /// Groups of a tile, Gt.
    pub groups: usize,
    /// How they share it.
    pub placement: GroupPlacement,
    /// Planes of each group in a tile, Ct; pairs of planes if the packing is across channels.
    pub planes: usize,
    /// Kernels of each group in a tile, Kt.
    pub kernels: usize,
    /// Levels m of merging: `2^m` leaves a response.
    pub merge_levels: u32,
}

/// How several groups of a convolution share a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GroupPlacement {
    /// Planes beside each other; a product a group.
    Dense,
    /// Apart from each other so that one product serves all.
    Spread,
}

/// Why a tile is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The window does not fit the padded input, is too large, or reads nothing but padding.
    #[error("the window does not fit its input")]
    Window,
    /// An extent of the tile is zero or exceeds the layer's.
    #[error("a tile of {tile:?} does not lie within the layer")]
    Tile {
        /// The tile.
        tile: ConvTile,
    },
    /// Tiles that share coefficients differ in their columns, or those of several samples in their rows.
    #[error("tiles of {tile:?} share coefficients and are not equally large")]
    Ragged {
        /// The tile.
        tile: ConvTile,
    },
    /// More leaves are to be merged than a slot has room for.
    #[error("a tile of {tile:?} has no room for so many leaves")]
    Merge {
        /// The tile.
        tile: ConvTile,
    },
    /// The tile needs more coefficients than the ring has.
    #[error("a tile of {tile:?} needs more than N = {ring_degree} coefficients")]
    RingDegree {
        /// The tile.
        tile: ConvTile,
        /// Ring degree N.
        ring_degree: usize,
    },
}

/// A checked placement of one convolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvLayout {
    geometry: ConvGeometry,
    packing: Packing,
    output: Chw,
    tile: ConvTile,
    ring_degree: usize,
    axes: Arc<[Axis; 2]>,
    cuts: [Cut; 2],
    /// Stride S of a kernel's slot.
    stride: usize,
}

/// Where the `index`-th of spread groups sits, in units: its binary digits read in base 3.
#[must_use]
fn group_place(index: usize) -> usize {
    (0..usize::BITS - index.leading_zeros())
        .rev()
        .fold(0_usize, |place, bit| place.saturating_mul(3).saturating_add(index >> bit & 1))
}

/// Most spread groups that fit beside each other if one takes `unit` of `ring_degree` coefficients.
#[must_use]
pub fn max_spread_groups(unit: usize, ring_degree: usize) -> usize {
    let units = ring_degree / unit.max(1);
    (0..units).take_while(|&last| 2 * group_place(last) < units).count()
}

/// Planes of one group: channels times the phases of both axes that are read, in pairs if the packing
/// is across channels; `None` if no window reads any input.
#[must_use]
pub fn group_planes(geometry: &ConvGeometry, packing: Packing) -> Option<usize> {
    Some(planes(&axes(geometry)?, geometry).div_ceil(packing.planes_per_coefficient()))
}

fn axes(geometry: &ConvGeometry) -> Option<[Axis; 2]> {
    let output = geometry.output()?;
    let Chw { height, width, .. } = geometry.input;
    let extents = [(height, output.height), (width, output.width)];
    let window = &geometry.window;
    let axis = |index: usize| {
        let (input, output) = extents[index];
        let fits = [input, output, window.kernel[index]].iter().all(|&size| size <= MAX_EXTENT);
        fits.then(|| Axis::new(window, index, input, output)).flatten()
    };
    Some([axis(0)?, axis(1)?])
}

fn planes(axes: &[Axis; 2], geometry: &ConvGeometry) -> usize {
    let phases = axes.each_ref().map(|axis| axis.phases.len());
    geometry.group_inputs().saturating_mul(phases[0] * phases[1])
}

impl ConvLayout {
    /// Checks that `tile` lies within the layer and fits a ring of degree `ring_degree`.
    ///
    /// # Errors
    /// [`LayoutError`] says what does not hold.
    pub fn new(
        geometry: ConvGeometry,
        packing: Packing,
        tile: ConvTile,
        ring_degree: usize,
    ) -> Result<Self, LayoutError> {
        let output = geometry.output().ok_or(LayoutError::Window)?;
        let axes = Arc::new(axes(&geometry).ok_or(LayoutError::Window)?);
        let cuts = axes.each_ref().map(|axis| axis.cut(axis.output.max(1)));
        let whole = ConvTile {
            samples: 1,
            output: [output.height, output.width],
            groups: 1,
            placement: GroupPlacement::Dense,
            planes: 1,
            kernels: 1,
            merge_levels: 0,
        };
        let layer =
            Self { geometry, packing, output, tile: whole, ring_degree, axes, cuts, stride: 1 };
        layer.with_tile(tile, ring_degree)
    }

    /// The same layer with another tile, in a ring of degree `ring_degree`: quicker than a new layout
    /// where many tiles are tried.
    ///
    /// # Errors
    /// As of [`Self::new`].
    pub fn with_tile(&self, tile: ConvTile, ring_degree: usize) -> Result<Self, LayoutError> {
        let Self { geometry, packing, output, ref axes, .. } = *self;
        let within = |size: usize, limit: usize| size >= 1 && size <= limit;
        if !(within(tile.samples, geometry.batch)
            && within(tile.output[0], output.height)
            && within(tile.output[1], output.width)
            && within(tile.groups, geometry.groups)
            && within(tile.planes, self.planes())
            && within(tile.kernels, geometry.group_outputs()))
        {
            return Err(LayoutError::Tile { tile });
        }
        // Behind the outputs of a narrower tile lie sums of any size, below fields that are wanted.
        let is_ragged = !output.width.is_multiple_of(tile.output[1])
            || (geometry.batch > 1 && !output.height.is_multiple_of(tile.output[0]));
        if self.packing.tile_fields() > 1 && is_ragged {
            return Err(LayoutError::Ragged { tile });
        }
        let too_large = LayoutError::RingDegree { tile, ring_degree };
        let cuts = if tile.output == self.tile.output {
            self.cuts
        } else {
            [axes[0].cut(tile.output[0]), axes[1].cut(tile.output[1])]
        };
        let used = tile.planes.checked_mul(tile.dense_groups()).ok_or(too_large)?;
        let stride = if tile.merge_levels == 0 {
            used
        } else {
            used.checked_next_power_of_two().ok_or(too_large)?
        };
        if tile.merge_levels > MAX_MERGE_LEVELS || stride >> tile.merge_levels == 0 {
            return Err(LayoutError::Merge { tile });
        }
        let unit = cuts[0]
            .pitch
            .checked_mul(cuts[1].pitch)
            .and_then(|area| {
                area.checked_mul(tile.samples)?.checked_mul(tile.kernels)?.checked_mul(stride)
            })
            .ok_or(too_large)?;
        let last = group_place(tile.spread_groups() - 1);
        let units = last.saturating_mul(2).saturating_add(1);
        if units.saturating_mul(unit) > ring_degree {
            return Err(too_large);
        }
        let axes = Arc::clone(axes);
        Ok(Self { geometry, packing, output, tile, ring_degree, axes, cuts, stride })
    }

    /// The tile.
    #[must_use]
    pub fn tile(&self) -> &ConvTile {
        &self.tile
    }

    /// The pitches `[Ph, Pw]`: a plane takes their product in slots.
    #[must_use]
    pub fn pitches(&self) -> [usize; 2] {
        self.cuts.map(|cut| cut.pitch)
    }

    /// How many polynomials the layout handles. Each kind has one order; the methods below take an
    /// index into it.
    #[must_use]
    pub fn counts(&self) -> LayoutCounts {
        let Self { geometry, tile, .. } = self;
        let group_tiles = geometry.groups.div_ceil(tile.groups);
        let kernel_tiles = geometry.group_outputs().div_ceil(tile.kernels);
        let (row_groups, of_a_tile) = match tile.placement {
            GroupPlacement::Dense => (geometry.groups, tile.groups),
            GroupPlacement::Spread => (group_tiles, 1),
        };
        LayoutCounts {
            spatial: self.output_tiles().div_ceil(self.packing.tile_fields()),
            group_tiles,
            input_tiles: self.planes().div_ceil(tile.planes),
            rows: row_groups * kernel_tiles,
            rows_of_group_tile: of_a_tile * kernel_tiles,
            merge_levels: tile.merge_levels,
        }
    }

    /// The window of a request that travels: its first coefficient and how many follow, mod N.
    #[must_use]
    pub fn request_window(&self) -> (usize, usize) {
        let Self { tile, cuts: [rows, columns], .. } = self;
        let slots = |y: isize, x: isize| y * columns.pitch.cast_signed() + x;
        let slot = (tile.kernels * self.stride).cast_signed();
        let others = ((tile.kernels - 1) * self.stride).cast_signed();
        let place = (group_place(tile.spread_groups() - 1) * self.unit()).cast_signed();
        let least = slots(rows.reads[0], columns.reads[0]) * slot - others - place;
        let used = (tile.planes * tile.dense_groups()).cast_signed();
        let samples = ((tile.samples - 1) * rows.pitch).cast_signed();
        let last = slots(samples + rows.reads[1], columns.reads[1]);
        let most = last * slot + others + used - 1 + 2 * place;
        let n = self.ring_degree;
        let length = usize::try_from(most - least + 1).unwrap_or(n);
        if length >= n {
            return (0, n);
        }
        (least.rem_euclid(n.cast_signed()).unsigned_abs(), length)
    }

    /// The input elements that lie in a field below the top one of some coefficient, ascending: their
    /// shares must be lifted. Empty if coefficients hold one element.
    #[must_use]
    pub fn lifted_elements(&self) -> Vec<usize> {
        let top = self.packing.input_fields() - 1;
        if top == 0 {
            return Vec::new();
        }
        let mut is_lifted = vec![false; self.geometry.input.len()];
        for request in 0..self.counts().requests() {
            for run in self.request_runs(request).filter(|run| run.field < top) {
                run.elements().for_each(|(_, index)| is_lifted[index] = true);
            }
        }
        (0..is_lifted.len()).filter(|&index| is_lifted[index]).collect()
    }

    /// The spacings h of the automorphisms `X -> X^(N/h + 1)` that merge leaves: S/2, S/4, ...
    pub fn merge_spacings(&self) -> impl Iterator<Item = usize> + use<> {
        let stride = self.stride;
        (1..=self.tile.merge_levels).map(move |level| stride >> level)
    }

    /// Largest squared norm of the weights that feed one leaf, given each kernel's.
    #[must_use]
    pub fn largest_norm_squared(&self, kernel_norms_squared: &[f64]) -> f64 {
        let kernel_tiles = self.kernel_tiles();
        let norm = |row: usize| -> f64 {
            let of_group = |(_, _, group)| {
                let kernels = self.kernels(row % kernel_tiles);
                let first = group * self.geometry.group_outputs() + kernels.start;
                kernel_norms_squared.iter().skip(first).take(kernels.len())
            };
            self.row_groups(row / kernel_tiles).flat_map(of_group).sum()
        };
        (0..self.counts().rows).map(norm).fold(0.0, f64::max) * self.packing.norm_factor()
    }

    /// Planes of a group, or pairs of them.
    fn planes(&self) -> usize {
        planes(&self.axes, &self.geometry).div_ceil(self.packing.planes_per_coefficient())
    }

    /// Coefficients that one of several spread groups takes, U.
    fn unit(&self) -> usize {
        let samples = self.tile.samples * self.cuts[0].pitch * self.cuts[1].pitch;
        samples * self.tile.kernels * self.stride
    }

    /// First coefficient of position (y, x) of a sample of a tile.
    fn slot(&self, sample: usize, y: usize, x: usize) -> usize {
        let row = sample * self.cuts[0].pitch + y;
        (row * self.cuts[1].pitch + x) * self.tile.kernels * self.stride
    }

    /// Tiles over samples, rows and columns.
    fn output_tiles(&self) -> usize {
        let samples = self.geometry.batch.div_ceil(self.tile.samples);
        samples * self.cuts[0].count * self.cuts[1].count
    }

    fn kernel_tiles(&self) -> usize {
        self.geometry.group_outputs().div_ceil(self.tile.kernels)
    }

    /// The groups of a request's tile, each with its first coefficient.
    fn input_groups(&self, tile: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let groups = part(tile, self.tile.groups, self.geometry.groups);
        let (placement, planes, unit) = (self.tile.placement, self.tile.planes, self.unit());
        groups.enumerate().map(move |(index, group)| match placement {
            GroupPlacement::Dense => (index * planes, group),
            GroupPlacement::Spread => (group_place(index) * unit, group),
        })
    }

    /// The groups whose kernels a row holds, each with how far its weights move up and down.
    fn row_groups(&self, row: usize) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let dense = self.tile.placement == GroupPlacement::Dense;
        let size = if dense { 1 } else { self.tile.groups };
        let (tile, unit) = (self.tile, self.unit());
        part(row, size, self.geometry.groups).enumerate().map(move |(index, group)| {
            if dense {
                (0, group % tile.groups * tile.planes, group)
            } else {
                (group_place(index) * unit, 0, group)
            }
        })
    }

    /// The planes of an input tile, as `(coefficient in the slot, plane, field)`.
    fn tile_planes(&self, tile: usize) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let fields = self.packing.planes_per_coefficient();
        let all = planes(&self.axes, &self.geometry);
        let slots = part(tile, self.tile.planes, self.planes());
        slots.enumerate().flat_map(move |(slot, pair)| {
            let planes = pair * fields..((pair + 1) * fields).min(all);
            planes.enumerate().map(move |(field, plane)| (slot, plane, field))
        })
    }

    /// Channel within its group and phases of a plane.
    fn plane(&self, plane: usize) -> [usize; 3] {
        let [rows, columns] = self.axes.each_ref().map(|axis| axis.phases.len());
        [plane / (rows * columns), plane / columns % rows, plane % columns]
    }

    /// The spatial tiles of a request, as `(field, [samples, row, column])`.
    fn fields(&self, spatial: usize) -> impl Iterator<Item = (usize, [usize; 3])> + use<> {
        let [rows, columns] = self.cuts.map(|cut| cut.count);
        let tiles = part(spatial, self.packing.tile_fields(), self.output_tiles());
        tiles.enumerate().map(move |(field, tile)| {
            (field, [tile / (rows * columns), tile / columns % rows, tile % columns])
        })
    }

    /// The samples of a tile over them.
    fn samples(&self, tile: usize) -> Range<usize> {
        part(tile, self.tile.samples, self.geometry.batch)
    }

    /// The kernels of a kernel tile, within their group.
    fn kernels(&self, tile: usize) -> Range<usize> {
        part(tile, self.tile.kernels, self.geometry.group_outputs())
    }
}

impl ConvTile {
    /// Groups whose planes lie beside each other in a slot.
    #[must_use]
    pub fn dense_groups(&self) -> usize {
        if self.placement == GroupPlacement::Dense { self.groups } else { 1 }
    }

    /// Groups that one product serves.
    #[must_use]
    pub fn spread_groups(&self) -> usize {
        if self.placement == GroupPlacement::Spread { self.groups } else { 1 }
    }
}

/// The `index`-th part of `size` out of `total`; the last one may be smaller.
fn part(index: usize, size: usize, total: usize) -> Range<usize> {
    index * size..((index + 1) * size).min(total)
}
