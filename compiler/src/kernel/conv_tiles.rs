//! Tiles of a linear layer that are worth pricing.
//!
//! A tile costs its requests, its responses, its products, and the noise of the weights that feed one
//! response. Only tiles that no other tile of the ring beats in all four are kept: whatever the
//! parameters, the fewest bytes are among them.

use super::conv_coefficient::ceil_log2;
use heq_ir::geometry::ConvGeometry;
use heq_ir::layout::{ConvLayout, ConvTile, max_groups, tile_area};
use std::collections::HashMap;

/// Sizes that cut rows, columns, channels or kernels into at most this many tiles are tried.
const MAX_CUTS: usize = 32;

/// A tile with what its price depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlacedTile {
    pub(super) tile: ConvTile,
    pub(super) layout: ConvLayout,
    /// Largest squared norm of the weights that feed one response.
    pub(super) norm_squared: f64,
}

impl PlacedTile {
    fn price(&self) -> [usize; 4] {
        let counts = self.layout.counts();
        let norm = ceil_log2(self.norm_squared) as usize;
        [counts.requests(), counts.responses(), norm, counts.products()]
    }
}

/// The tiles of one layer, ring by ring.
pub(super) struct Tiles<'a> {
    geometry: ConvGeometry,
    kernel_norms_squared: &'a [f64],
    /// Output tiles `[oh, ow]` with their areas.
    output_tiles: Vec<([usize; 2], usize)>,
    /// Norms that were computed before, by groups and kernels of a tile.
    norms: HashMap<[usize; 2], f64>,
}

impl<'a> Tiles<'a> {
    /// The tiles of a layer whose kernels have these squared norms.
    pub(super) fn new(geometry: ConvGeometry, kernel_norms_squared: &'a [f64]) -> Self {
        Self {
            geometry,
            kernel_norms_squared,
            output_tiles: output_tiles(&geometry),
            norms: HashMap::new(),
        }
    }

    /// The unbeaten tiles in a ring of degree `ring_degree`.
    pub(super) fn of_ring(&mut self, ring_degree: usize) -> Vec<PlacedTile> {
        let mut placed = Vec::new();
        for (output, area) in self.output_tiles.clone() {
            for [groups, in_channels, out_channels] in
                channel_tiles(&self.geometry, area, ring_degree)
            {
                let tile = ConvTile { output, groups, in_channels, out_channels };
                let Ok(layout) = ConvLayout::new(self.geometry, tile, ring_degree) else {
                    continue;
                };
                let norms = self.kernel_norms_squared;
                let norm = self.norms.entry([groups, out_channels]);
                let norm_squared = *norm.or_insert_with(|| layout.largest_norm_squared(norms));
                let placed_tile = PlacedTile { tile, layout, norm_squared };
                placed.push((placed_tile.price(), placed_tile));
            }
        }
        unbeaten(placed)
    }
}

/// The items whose price no other item is at or below in every entry; of equal prices the first.
fn unbeaten<const D: usize, T>(mut items: Vec<([usize; D], T)>) -> Vec<T> {
    items.sort_by_key(|(price, _)| *price);
    let mut kept: Vec<([usize; D], T)> = Vec::new();
    for (price, item) in items {
        let beats = |other: &[usize; D]| other.iter().zip(&price).all(|(a, b)| a <= b);
        if !kept.iter().any(|(other, _)| beats(other)) {
            kept.push((price, item));
        }
    }
    kept.into_iter().map(|(_, item)| item).collect()
}

/// Sizes that cut `total` into n equal parts, n = 1, 2, ...; each size once.
fn cuts(total: usize) -> Vec<usize> {
    let mut sizes: Vec<usize> = (1..=total.min(MAX_CUTS)).map(|n| total.div_ceil(n)).collect();
    sizes.extend([1]);
    sizes.dedup();
    sizes
}

/// Sizes up to `most`, `most/2`, `most/4`, ... that cut `total` evenly; none if `most` is 0.
fn halvings(total: usize, most: usize) -> impl Iterator<Item = usize> {
    let sizes = std::iter::successors(Some(most.min(total)), |size| Some(size / 2));
    sizes.take_while(|&size| size > 0).map(move |size| total.div_ceil(total.div_ceil(size)))
}

/// Output tiles with their areas, without those that another beats in number and area.
fn output_tiles(geometry: &ConvGeometry) -> Vec<([usize; 2], usize)> {
    let Some(output) = geometry.output() else { return Vec::new() };
    let mut tiles = Vec::new();
    for height in cuts(output.height) {
        for width in cuts(output.width) {
            let Some(area) = tile_area(&geometry.window, [height, width]) else { continue };
            let count = output.height.div_ceil(height) * output.width.div_ceil(width);
            tiles.push(([count, area], ([height, width], area)));
        }
    }
    unbeaten(tiles)
}

/// `[Gt, Ct, Kt]` that fit a ring with input tiles of `area`. Fewer kernels and groups than fit are
/// tried too: they keep the weights' norm, and with it the noise, down.
fn channel_tiles(geometry: &ConvGeometry, area: usize, ring_degree: usize) -> Vec<[usize; 3]> {
    let (inputs, outputs) = (geometry.group_inputs(), geometry.group_outputs());
    let mut tiles = Vec::new();
    for in_channels in cuts(inputs) {
        let most = ring_degree / area.saturating_mul(in_channels).max(1);
        for out_channels in halvings(outputs, most) {
            let most = max_groups(area * in_channels * out_channels, ring_degree);
            let groups = halvings(geometry.groups, most);
            tiles.extend(groups.map(|groups| [groups, in_channels, out_channels]));
        }
    }
    tiles
}

#[cfg(test)]
mod tests {
    use super::*;
    use heq_ir::geometry::{Chw, Window};

    #[test]
    fn cuts_divide_evenly() {
        assert_eq!(cuts(10), [10, 5, 4, 3, 2, 1]);
        assert_eq!(cuts(1), [1]);
        for (total, most, expected) in
            [(10, 0, &[][..]), (10, 4, &[4, 2, 1]), (10, 20, &[10, 5, 2, 1]), (9, 8, &[5, 3, 2, 1])]
        {
            assert_eq!(halvings(total, most).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn beaten_prices_go() {
        let items = [[2, 2], [1, 3], [2, 3], [3, 1], [1, 3]].map(|price| (price, price));
        assert_eq!(unbeaten(items.to_vec()), [[1, 3], [2, 2], [3, 1]]);
    }

    /// A square layer of `c` to `k` channels.
    fn geometry([c, k, size, kernel, stride, groups]: [usize; 6]) -> ConvGeometry {
        ConvGeometry {
            input: Chw::new(c, size, size),
            out_channels: k,
            window: Window::dense([kernel; 2], [stride; 2], [kernel / 2; 4]),
            groups,
        }
    }

    #[test]
    fn no_tile_needs_fewer_polynomials_than_those_that_are_kept() {
        for (layer, ring_degree) in [
            ([4, 6, 5, 3, 1, 1], 128),
            ([4, 6, 5, 3, 2, 2], 256),
            ([6, 6, 4, 3, 1, 6], 256),
            ([5, 4, 6, 1, 2, 1], 32),
        ] {
            let geometry = geometry(layer);
            let norms: Vec<f64> = (0..geometry.out_channels).map(|k| 9.0 * k as f64).collect();
            let kept = Tiles::new(geometry, &norms).of_ring(ring_degree);
            let output = geometry.output().unwrap();
            let extents = [
                output.height,
                output.width,
                geometry.groups,
                geometry.group_inputs(),
                geometry.group_outputs(),
            ];
            for index in 0..extents.iter().product() {
                let mut index: usize = index;
                let [height, width, groups, in_channels, out_channels] = extents.map(|extent| {
                    let size = index % extent + 1;
                    index /= extent;
                    size
                });
                let output = [height, width];
                let tile = ConvTile { output, groups, in_channels, out_channels };
                let Ok(layout) = ConvLayout::new(geometry, tile, ring_degree) else { continue };
                let counts = layout.counts();
                let price = [counts.requests(), counts.responses(), counts.products()];
                let at_most = |kept: &PlacedTile| {
                    let [requests, responses, _, products] = kept.price();
                    [requests, responses, products].iter().zip(price).all(|(a, b)| *a <= b)
                };
                assert!(kept.iter().any(at_most), "{layer:?} {tile:?} {price:?}");
            }
        }
    }

    #[test]
    fn large_layers_have_few_tiles() {
        for layer in [
            [3, 32, 224, 3, 2, 1],
            [32, 32, 112, 3, 1, 32],
            [16, 96, 112, 1, 1, 1],
            [96, 96, 112, 3, 2, 96],
            [256, 256, 56, 3, 1, 32],
            [960, 960, 7, 3, 1, 960],
            [320, 1280, 7, 1, 1, 1],
            [1280, 1000, 1, 1, 1, 1],
        ] {
            let geometry = geometry(layer);
            let norms = vec![3e4; geometry.out_channels];
            let mut tiles = Tiles::new(geometry, &norms);
            for ring_degree in [1024, 2048, 4096, 8192] {
                let count = tiles.of_ring(ring_degree).len();
                assert!((1..=40).contains(&count), "{layer:?}: {count} tiles at N={ring_degree}");
            }
        }
    }
}
