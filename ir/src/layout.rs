//! Where the elements of a convolution sit: coefficient packing with tiles.
//!
//! One polynomial product computes a tile of `oh x ow` outputs of `Kt` kernels over `Ct` input
//! channels. With input tile `Ht = (oh-1)*stride + R`, `Wt` likewise and `A = Ht*Wt`:
//!
//! - request: input `(c, y, x)` of the tile at coefficient `c*A + y*Wt + x`;
//! - weights: `(k, c, i, j)` at `k*Ct*A + (Ct-1-c)*A + (R-1-i)*Wt + (S-1-j)`;
//! - response: output `(k, y, x)` at `k*Ct*A + (Ct-1)*A + (y*stride + R-1)*Wt + x*stride + S-1`.
//!
//! `Ct*Kt*A <= N` keeps wrapped products below every wanted coefficient. The compiler counts this
//! layout, the runtime executes it. Source: [HLHD22, Section 3.2]; tiles over `Kt`: [XLW24, Section 4].

use crate::geometry::{Chw, ConvGeometry};
use serde::{Deserialize, Serialize};

/// The tile that one polynomial product computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvTile {
    /// Output rows and columns of a tile, `[oh, ow]`.
    pub output: [usize; 2],
    /// Input channels of a tile, Ct.
    pub in_channels: usize,
    /// Kernels of a tile, Kt.
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
    /// `[Ht, Wt]`
    input_tile: [usize; 2],
}

/// Numbers of polynomials that a layout handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutCounts {
    /// Tiles over the output plane.
    pub spatial: usize,
    /// Groups of input channels.
    pub input_groups: usize,
    /// Groups of kernels.
    pub kernel_groups: usize,
}

impl LayoutCounts {
    /// Request polynomials.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.spatial * self.input_groups
    }

    /// Response polynomials.
    #[must_use]
    pub fn responses(&self) -> usize {
        self.spatial * self.kernel_groups
    }

    /// Weight polynomials.
    #[must_use]
    pub fn weights(&self) -> usize {
        self.input_groups * self.kernel_groups
    }

    /// Polynomial products.
    #[must_use]
    pub fn products(&self) -> usize {
        self.spatial * self.input_groups * self.kernel_groups
    }
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
            && within(tile.in_channels, geometry.input.channels)
            && within(tile.out_channels, geometry.out_channels))
        {
            return Err(LayoutError::Tile { tile });
        }
        let window = geometry.window;
        let extent = |axis: usize| {
            (tile.output[axis] - 1)
                .checked_mul(window.strides[axis])?
                .checked_add(window.kernel[axis])
        };
        let fits = || {
            let input_tile = [extent(0)?, extent(1)?];
            let needed = Chw::new(
                tile.in_channels.checked_mul(tile.out_channels)?,
                input_tile[0],
                input_tile[1],
            )
            .checked_len()?;
            (needed <= ring_degree).then_some(input_tile)
        };
        let input_tile = fits().ok_or(LayoutError::RingDegree { tile, ring_degree })?;
        Ok(Self { geometry, output, tile, input_tile })
    }

    /// How many polynomials the layout handles.
    #[must_use]
    pub fn counts(&self) -> LayoutCounts {
        LayoutCounts {
            spatial: self.output.height.div_ceil(self.tile.output[0]) * self.spatial_columns(),
            input_groups: self.geometry.input.channels.div_ceil(self.tile.in_channels),
            kernel_groups: self.geometry.out_channels.div_ceil(self.tile.out_channels),
        }
    }

    /// The input elements of request `(spatial, input_group)` as `(coefficient, input index)`;
    /// coefficients that are not listed are zero.
    pub fn request_elements(
        &self,
        spatial: usize,
        input_group: usize,
    ) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Self { geometry, tile, input_tile: [tile_height, tile_width], .. } = *self;
        let [oy, ox] = self.spatial_origin(spatial);
        let channels = group(input_group, tile.in_channels, geometry.input.channels);
        let extents = [geometry.input.height, geometry.input.width];
        channels.enumerate().flat_map(move |(slot, c)| {
            (0..tile_height).flat_map(move |y| {
                (0..tile_width).filter_map(move |x| {
                    let [in_y, in_x] = geometry.window.source([oy, ox], [y, x], extents)?;
                    let coefficient = (slot * tile_height + y) * tile_width + x;
                    Some((coefficient, geometry.input.index(c, in_y, in_x)))
                })
            })
        })
    }

    /// The weights of polynomial `(input_group, kernel_group)` as `(coefficient, weight index)` with
    /// weight indices into `[K, C, R, S]`.
    pub fn weight_elements(
        &self,
        input_group: usize,
        kernel_group: usize,
    ) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Self { geometry, tile, input_tile: [tile_height, tile_width], .. } = *self;
        let [r, s] = geometry.window.kernel;
        let area = tile_height * tile_width;
        let kernels = group(kernel_group, tile.out_channels, geometry.out_channels);
        kernels.enumerate().flat_map(move |(k_slot, k)| {
            let channels = group(input_group, tile.in_channels, geometry.input.channels);
            channels.enumerate().flat_map(move |(c_slot, c)| {
                (0..r * s).map(move |tap| {
                    let (i, j) = (tap / s, tap % s);
                    let block = k_slot * tile.in_channels + (tile.in_channels - 1 - c_slot);
                    let coefficient = block * area + (r - 1 - i) * tile_width + (s - 1 - j);
                    let index = ((k * geometry.input.channels + c) * r + i) * s + j;
                    (coefficient, index)
                })
            })
        })
    }

    /// The outputs of response `(spatial, kernel_group)` as `(coefficient, output index)`.
    pub fn response_elements(
        &self,
        spatial: usize,
        kernel_group: usize,
    ) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Self { geometry, output, tile, input_tile: [tile_height, tile_width] } = *self;
        let [oy, ox] = self.spatial_origin(spatial);
        let [r, s] = geometry.window.kernel;
        let [down, across] = geometry.window.strides;
        let kernels = group(kernel_group, tile.out_channels, geometry.out_channels);
        let rows = oy..(oy + tile.output[0]).min(output.height);
        kernels.enumerate().flat_map(move |(slot, k)| {
            let last = (slot * tile.in_channels + tile.in_channels - 1) * tile_height;
            rows.clone().flat_map(move |y| {
                (ox..(ox + tile.output[1]).min(output.width)).map(move |x| {
                    let row = last + (y - oy) * down + r - 1;
                    let coefficient = row * tile_width + (x - ox) * across + s - 1;
                    (coefficient, output.index(k, y, x))
                })
            })
        })
    }

    fn spatial_columns(&self) -> usize {
        self.output.width.div_ceil(self.tile.output[1])
    }

    /// First output position of a spatial tile.
    fn spatial_origin(&self, spatial: usize) -> [usize; 2] {
        let columns = self.spatial_columns();
        [spatial / columns * self.tile.output[0], spatial % columns * self.tile.output[1]]
    }
}

/// The `index`-th group of `size` out of `total` channels; the last one may be smaller.
fn group(index: usize, size: usize, total: usize) -> std::ops::Range<usize> {
    index * size..((index + 1) * size).min(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Window;

    fn geometry(
        input: [usize; 3],
        k: usize,
        kernel: usize,
        stride: usize,
        pad: usize,
    ) -> ConvGeometry {
        ConvGeometry {
            input: Chw::new(input[0], input[1], input[2]),
            out_channels: k,
            window: Window { kernel: [kernel; 2], strides: [stride; 2], pads: [pad; 4] },
        }
    }

    fn naive(g: &ConvGeometry, x: &[i64], w: &[i64]) -> Vec<i64> {
        let (out, [r, s]) = (g.output().unwrap(), g.window.kernel);
        let mut y = vec![0; out.len()];
        for (k, oy, ox) in (0..out.len())
            .map(|i| (i / (out.height * out.width), i / out.width % out.height, i % out.width))
        {
            for tap in 0..g.fan_in() {
                let (c, i, j) = (tap / (r * s), tap / s % r, tap % s);
                let extents = [g.input.height, g.input.width];
                if let Some([iy, ix]) = g.window.source([oy, ox], [i, j], extents) {
                    y[out.index(k, oy, ox)] +=
                        x[g.input.index(c, iy, ix)] * w[k * g.fan_in() + tap];
                }
            }
        }
        y
    }

    fn by_polynomials(
        layout: &ConvLayout,
        n: usize,
        x: &[i64],
        w: &[i64],
        outputs: usize,
    ) -> Vec<i64> {
        let counts = layout.counts();
        let mut y = vec![i64::MIN; outputs];
        for spatial in 0..counts.spatial {
            for kernels in 0..counts.kernel_groups {
                let mut sum = vec![0_i64; n];
                for channels in 0..counts.input_groups {
                    for (a, xi) in layout.request_elements(spatial, channels) {
                        for (b, wi) in layout.weight_elements(channels, kernels) {
                            let sign = if a + b >= n { -1 } else { 1 };
                            sum[(a + b) % n] += sign * x[xi] * w[wi];
                        }
                    }
                }
                for (coefficient, index) in layout.response_elements(spatial, kernels) {
                    assert_eq!(y[index], i64::MIN, "output {index} is written twice");
                    y[index] = sum[coefficient];
                }
            }
        }
        y
    }

    #[test]
    fn tiles_compute_the_convolution() {
        let cases = [
            (geometry([3, 6, 5], 4, 3, 1, 1), [6, 5], 2, 2, 256),
            (geometry([3, 6, 5], 4, 3, 1, 1), [4, 2], 3, 1, 72),
            (geometry([2, 9, 9], 3, 3, 2, 1), [2, 3], 1, 3, 105),
            (geometry([2, 5, 5], 2, 5, 1, 0), [1, 1], 2, 1, 50),
            (ConvGeometry::fully_connected(10, 7), [1, 1], 4, 3, 12),
        ];
        for (g, output, in_channels, out_channels, n) in cases {
            let tile = ConvTile { output, in_channels, out_channels };
            let layout = ConvLayout::new(g, tile, n).unwrap();
            let value = |i: usize| (i as i64 * 7 + 3) % 19 - 9;
            let x: Vec<i64> = (0..g.input.len()).map(value).collect();
            let w: Vec<i64> = (0..g.fan_in() * g.out_channels).map(|i| value(i + 5)).collect();
            let expected = naive(&g, &x, &w);
            assert_eq!(
                by_polynomials(&layout, n, &x, &w, expected.len()),
                expected,
                "{g:?} {tile:?} N={n}"
            );
            if n > 1 {
                assert!(ConvLayout::new(g, tile, n - 1).is_err() || n > 200, "{tile:?} N={n}");
            }
        }
    }

    #[test]
    fn tiles_outside_the_layer_are_refused() {
        let g = geometry([3, 6, 6], 4, 3, 1, 1);
        for (output, in_channels, out_channels) in
            [([0, 6], 1, 1), ([7, 6], 1, 1), ([6, 6], 4, 1), ([6, 6], 1, 5), ([6, 6], 0, 1)]
        {
            let tile = ConvTile { output, in_channels, out_channels };
            assert_eq!(ConvLayout::new(g, tile, 1 << 20), Err(LayoutError::Tile { tile }));
        }
    }
}
