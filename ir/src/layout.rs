//! Where the elements of a convolution sit: coefficient packing with tiles.
//!
//! One polynomial product computes a tile of `oh x ow` outputs of `Kt` kernels over `Ct` input
//! channels, for each of `Gt` groups of the convolution. Input tile `Ht = (oh-1)*stride + span` with
//! `span = (R-1)*dilation + 1`, `Wt` likewise, `A = Ht*Wt`. Within a group's unit of `U = Ct*Kt*A`:
//!
//! - request: input `(c, y, x)` of the tile at coefficient `c*A + y*Wt + x`;
//! - weights: `(k, c, i, j)` at
//!   `k*Ct*A + (Ct-1-c)*A + (R-1-i)*dilation*Wt + (S-1-j)*dilation`;
//! - response: output `(k, y, x)` at
//!   `k*Ct*A + (Ct-1)*A + (y*stride + span_r-1)*Wt + x*stride + span_s-1`.
//!
//! `U <= N` keeps wrapped products below every wanted coefficient. Where windows do not overlap, only
//! what they read is packed, tap after tap: stride R, dilation 1.
//!
//! **Groups.** The g-th group of a tile sits at `p(g)*U` in request and weights and at `2*p(g)*U` in
//! the response, where `p(g)` are the binary digits of g read in base 3: 0, 1, 3, 4, 9, 10, ... No
//! three of these numbers are in arithmetic progression, so the product of inputs and weights of two
//! different groups misses every wanted unit, and `(2*p(Gt-1) + 1)*U <= N` suffices. Depthwise tiles
//! hold so many channels at N = 2048, 4096, 8192:
//!
//! | A | 2048 | 4096 | 8192 |
//! |---|---|---|---|
//! | 9x9 | 7 | 8 | 16 |
//! | 16x16 | 3 | 4 | 8 |
//! | 30x30 | 1 | 2 | 4 |
//!
//! The compiler counts this layout, the runtime executes it. Source: [HLHD22, Section 3.2]; tiles over
//! `Kt`: [XLW24, Section 4].

use crate::geometry::{Chw, ConvGeometry, Window};
use serde::{Deserialize, Serialize};
use std::ops::Range;

#[cfg(test)]
mod tests;

/// The tile that one polynomial product computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvTile {
    /// Output rows and columns of a tile, `[oh, ow]`.
    pub output: [usize; 2],
    /// Groups of a tile, Gt.
    pub groups: usize,
    /// Input channels of each group in a tile, Ct.
    pub in_channels: usize,
    /// Kernels of each group in a tile, Kt.
    pub out_channels: usize,
}

/// Why a tile is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The window does not fit the padded input.
    #[error("the window does not fit its input")]
    Window,
    /// An extent of the tile is zero or exceeds the layer's.
    #[error("a tile of {tile:?} does not lie within the layer")]
    Tile {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvLayout {
    geometry: ConvGeometry,
    output: Chw,
    tile: ConvTile,
    /// Rows and columns of the input tile.
    axes: [Axis; 2],
}

/// One axis of the input tile, all in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    /// Distance of neighbouring windows in the tile.
    step: usize,
    /// Distance of neighbouring kernel elements in the tile.
    tap: usize,
    /// Distance in the input of neighbouring positions of one step.
    gap: usize,
    /// What a window covers of the tile.
    span: usize,
    /// Extent of the tile, Ht or Wt.
    extent: usize,
}

impl Axis {
    /// The tile of `outputs` windows, or `None` if it overflows.
    fn new(window: &Window, axis: usize, outputs: usize) -> Option<Self> {
        let (kernel, stride) = (window.kernel[axis], window.strides[axis]);
        let (dilation, reach) = (window.dilations[axis], window.span()?[axis]);
        let (step, tap, gap, span) = if reach <= stride {
            (kernel, 1, dilation, kernel)
        } else {
            (stride, dilation, 1, reach)
        };
        let extent = outputs.checked_sub(1)?.checked_mul(step)?.checked_add(span)?;
        Some(Self { step, tap, gap, span, extent })
    }
}

/// Numbers of polynomials that a layout handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutCounts {
    /// Tiles over the output plane.
    pub spatial: usize,
    /// Tiles over the groups.
    pub group_tiles: usize,
    /// Tiles over the input channels of a group.
    pub input_tiles: usize,
    /// Tiles over the kernels of a group.
    pub kernel_tiles: usize,
}

impl LayoutCounts {
    /// Request polynomials.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.spatial * self.group_tiles * self.input_tiles
    }

    /// Response polynomials.
    #[must_use]
    pub fn responses(&self) -> usize {
        self.spatial * self.group_tiles * self.kernel_tiles
    }

    /// Weight polynomials.
    #[must_use]
    pub fn weights(&self) -> usize {
        self.group_tiles * self.input_tiles * self.kernel_tiles
    }

    /// Polynomial products.
    #[must_use]
    pub fn products(&self) -> usize {
        self.spatial * self.weights()
    }

    /// The products that response `response` sums, as `(request, weight polynomial)`.
    pub fn products_of(&self, response: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Self { group_tiles, input_tiles, kernel_tiles, .. } = *self;
        let (block, kernels) = (response / kernel_tiles, response % kernel_tiles);
        let groups = block % group_tiles;
        (0..input_tiles).map(move |inputs| {
            (block * input_tiles + inputs, (groups * input_tiles + inputs) * kernel_tiles + kernels)
        })
    }
}

/// Where the `index`-th group of a tile sits, in units: its binary digits read in base 3.
#[must_use]
fn group_place(index: usize) -> usize {
    (0..usize::BITS)
        .rev()
        .fold(0_usize, |place, bit| place.saturating_mul(3).saturating_add(index >> bit & 1))
}

/// Most groups that fit beside each other if one takes `unit` of `ring_degree` coefficients.
#[must_use]
pub fn max_groups(unit: usize, ring_degree: usize) -> usize {
    let units = ring_degree / unit.max(1);
    (0..units).take_while(|&last| 2 * group_place(last) < units).count()
}

/// Coefficients that the input tile of one channel takes under windows of `output` positions, A, or
/// `None` if it overflows.
#[must_use]
pub fn tile_area(window: &Window, output: [usize; 2]) -> Option<usize> {
    let rows = Axis::new(window, 0, output[0])?;
    rows.extent.checked_mul(Axis::new(window, 1, output[1])?.extent)
}

impl ConvLayout {
    /// Checks that `tile` lies within the layer and fits a ring of degree `ring_degree`.
    ///
    /// # Errors
    /// [`LayoutError`] says which of the two does not hold.
    pub fn new(
        geometry: ConvGeometry,
        tile: ConvTile,
        ring_degree: usize,
    ) -> Result<Self, LayoutError> {
        let output = geometry.output().ok_or(LayoutError::Window)?;
        let within = |size: usize, limit: usize| size >= 1 && size <= limit;
        if !(within(tile.output[0], output.height)
            && within(tile.output[1], output.width)
            && within(tile.groups, geometry.groups)
            && within(tile.in_channels, geometry.group_inputs())
            && within(tile.out_channels, geometry.group_outputs()))
        {
            return Err(LayoutError::Tile { tile });
        }
        let axis = |axis| Axis::new(&geometry.window, axis, tile.output[axis]);
        let fits = || {
            let axes = [axis(0)?, axis(1)?];
            let unit = axes[0]
                .extent
                .checked_mul(axes[1].extent)?
                .checked_mul(tile.in_channels)?
                .checked_mul(tile.out_channels)?;
            (tile.groups <= max_groups(unit, ring_degree)).then_some(axes)
        };
        let axes = fits().ok_or(LayoutError::RingDegree { tile, ring_degree })?;
        Ok(Self { geometry, output, tile, axes })
    }

    /// How many polynomials the layout handles. Each kind has one order; the methods below take an
    /// index into it.
    #[must_use]
    pub fn counts(&self) -> LayoutCounts {
        let Self { geometry, output, tile, .. } = self;
        LayoutCounts {
            spatial: output.height.div_ceil(tile.output[0]) * self.spatial_columns(),
            group_tiles: geometry.groups.div_ceil(tile.groups),
            input_tiles: geometry.group_inputs().div_ceil(tile.in_channels),
            kernel_tiles: geometry.group_outputs().div_ceil(tile.out_channels),
        }
    }

    /// The input elements of a request as `(coefficient, input index)`; coefficients that are not
    /// listed are zero.
    pub fn request_elements(&self, request: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let layout = *self;
        let counts = self.counts();
        let (block, inputs) = (request / counts.input_tiles, request % counts.input_tiles);
        let [rows, columns] = self.spatial_outputs(block / counts.group_tiles);
        let (area, width) = (self.area(), self.axes[1].extent);
        self.groups(block % counts.group_tiles).flat_map(move |(place, group)| {
            let first = group * layout.geometry.group_inputs();
            let (rows, columns) = (rows.clone(), columns.clone());
            layout.inputs(inputs).enumerate().flat_map(move |(slot, c)| {
                let columns = columns.clone();
                layout.sources(0, &rows).flat_map(move |(y, in_y)| {
                    layout.sources(1, &columns).map(move |(x, in_x)| {
                        let coefficient = place + slot * area + y * width + x;
                        (coefficient, layout.geometry.input.index(first + c, in_y, in_x))
                    })
                })
            })
        })
    }

    /// The weights of a weight polynomial as `(coefficient, weight index)` with indices into
    /// `[K, C/G, R, S]`.
    pub fn weight_elements(&self, weight: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let layout = *self;
        let counts = self.counts();
        let (block, kernels) = (weight / counts.kernel_tiles, weight % counts.kernel_tiles);
        let (groups, inputs) = (block / counts.input_tiles, block % counts.input_tiles);
        let Self { geometry, tile, axes: [rows, columns], .. } = layout;
        let [r, s] = geometry.window.kernel;
        let area = self.area();
        self.groups(groups).flat_map(move |(place, group)| {
            let first = group * geometry.group_outputs();
            layout.kernels(kernels).enumerate().flat_map(move |(k_slot, k)| {
                layout.inputs(inputs).enumerate().flat_map(move |(c_slot, c)| {
                    let block = k_slot * tile.in_channels + (tile.in_channels - 1 - c_slot);
                    (0..r * s).map(move |tap| {
                        let (i, j) = (tap / s, tap % s);
                        let [y, x] = [(r - 1 - i) * rows.tap, (s - 1 - j) * columns.tap];
                        let coefficient = place + block * area + y * columns.extent + x;
                        (coefficient, (first + k) * geometry.fan_in() + c * r * s + tap)
                    })
                })
            })
        })
    }

    /// The outputs of a response as `(coefficient, output index)`.
    pub fn response_elements(
        &self,
        response: usize,
    ) -> impl Iterator<Item = (usize, usize)> + use<> {
        let layout = *self;
        let counts = self.counts();
        let (block, kernels) = (response / counts.kernel_tiles, response % counts.kernel_tiles);
        let [rows, columns] = self.spatial_outputs(block / counts.group_tiles);
        let Self { geometry, output, tile, axes: [down, across] } = layout;
        let area = self.area();
        self.groups(block % counts.group_tiles).flat_map(move |(place, group)| {
            let first = group * geometry.group_outputs();
            let (rows, columns) = (rows.clone(), columns.clone());
            layout.kernels(kernels).enumerate().flat_map(move |(slot, k)| {
                let last = 2 * place + (slot * tile.in_channels + tile.in_channels - 1) * area;
                let columns = columns.clone();
                rows.clone().enumerate().flat_map(move |(y, out_y)| {
                    let row = last + (y * down.step + down.span - 1) * across.extent;
                    columns.clone().enumerate().map(move |(x, out_x)| {
                        let coefficient = row + x * across.step + across.span - 1;
                        (coefficient, output.index(first + k, out_y, out_x))
                    })
                })
            })
        })
    }

    /// Largest squared norm of the weights that feed one response, given each kernel's.
    #[must_use]
    pub fn largest_norm_squared(&self, kernel_norms_squared: &[f64]) -> f64 {
        let counts = self.counts();
        let norm = |response: usize| -> f64 {
            let (groups, kernels) =
                (response / counts.kernel_tiles, response % counts.kernel_tiles);
            let of_group = |(_, group)| {
                let first = group * self.geometry.group_outputs();
                let kernels = self.kernels(kernels);
                kernel_norms_squared.iter().skip(first + kernels.start).take(kernels.len())
            };
            self.groups(groups).flat_map(of_group).sum()
        };
        (0..counts.group_tiles * counts.kernel_tiles).map(norm).fold(0.0, f64::max)
    }

    /// Coefficients of the input tile of one channel, A.
    fn area(&self) -> usize {
        self.axes[0].extent * self.axes[1].extent
    }

    fn spatial_columns(&self) -> usize {
        self.output.width.div_ceil(self.tile.output[1])
    }

    /// Output rows and columns of a spatial tile.
    fn spatial_outputs(&self, spatial: usize) -> [Range<usize>; 2] {
        let (columns, [height, width]) = (self.spatial_columns(), self.tile.output);
        let rows = part(spatial / columns, height, self.output.height);
        [rows, part(spatial % columns, width, self.output.width)]
    }

    /// The groups of a group tile, each with its first coefficient in request and weights.
    fn groups(&self, tile: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let unit = self.tile.in_channels * self.tile.out_channels * self.area();
        let groups = part(tile, self.tile.groups, self.geometry.groups);
        groups.enumerate().map(move |(index, group)| (group_place(index) * unit, group))
    }

    /// The input channels of an input tile, within their group.
    fn inputs(&self, tile: usize) -> Range<usize> {
        part(tile, self.tile.in_channels, self.geometry.group_inputs())
    }

    /// The kernels of a kernel tile, within their group.
    fn kernels(&self, tile: usize) -> Range<usize> {
        part(tile, self.tile.out_channels, self.geometry.group_outputs())
    }

    /// Positions of the input tile along `axis` that windows of `outputs` read, as
    /// `(position in the tile, position in the input)`.
    fn sources(
        &self,
        axis: usize,
        outputs: &Range<usize>,
    ) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Axis { step, gap, span, .. } = self.axes[axis];
        let window = self.geometry.window;
        let limit = [self.geometry.input.height, self.geometry.input.width][axis];
        let first = outputs.start * window.strides[axis];
        let extent = (outputs.len() - 1) * step + span;
        (0..extent).filter_map(move |position| {
            let offset = position / step * window.strides[axis] + position % step * gap;
            let source = (first + offset).checked_sub(window.pads[axis])?;
            (source < limit).then_some((position, source))
        })
    }
}

/// The `index`-th part of `size` out of `total`; the last one may be smaller.
fn part(index: usize, size: usize, total: usize) -> Range<usize> {
    index * size..((index + 1) * size).min(total)
}
