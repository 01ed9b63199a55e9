//! Tiles of a linear layer that are worth pricing.
//!
//! There are thousands of tiles a ring. What differs between two parameter sets is by how much the
//! weights' norm costs and which Galois keys there are; the bits that a coefficient keeps hardly
//! change. So the tiles are ranked at nominal widths, and one stays only if no cheaper one has at
//! most its norm and needs no key beside its keys.

use super::conv_coefficient::ceil_log2;
use crate::select::options::TileRule;
use heq_ir::geometry::ConvGeometry;
use heq_ir::layout::{
    ConvLayout, ConvTile, GroupPlacement, LayoutCounts, group_planes, max_spread_groups,
};
use heq_ir::plan::{MAX_CIPHERTEXT_COEFFICIENTS, MAX_COEFFICIENTS, MAX_WEIGHT_NORM_LOG2};
use heq_ir::secure::Packing;
use std::collections::BTreeMap;

mod rules;

/// Sizes that cut rows, columns, planes or kernels into at most this many tiles are tried.
const MAX_CUTS: usize = 32;

/// The spacings of a merge's automorphisms: bit i stands for `h = 2^i`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spacings(u32);

impl Spacings {
    /// Those of `layout`.
    fn of(layout: &ConvLayout) -> Self {
        Self(layout.merge_spacings().fold(0, |set, spacing| set | 1 << spacing.trailing_zeros()))
    }

    /// The spacings below `2^count`.
    pub(crate) fn lowest(count: u32) -> Self {
        Self((1 << count.min(31)) - 1)
    }

    /// Bit i stands for `2^i`.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// Those of either.
    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// How many there are.
    pub(crate) fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether all of them are among `others`.
    pub(crate) fn within(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }

    /// The set with spacing `2^bit` put in or taken out.
    pub(crate) fn toggled(self, bit: u32) -> Self {
        Self(self.0 ^ 1 << bit)
    }
}

/// A tile with what its price depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlacedTile {
    pub(super) tile: ConvTile,
    pub(super) counts: LayoutCounts,
    /// Coefficients of a request that travel.
    pub(super) window: usize,
    /// Galois keys that merging takes.
    pub(super) spacings: Spacings,
    /// `log2` of the largest squared norm of the weights that feed one leaf, rounded up.
    pub(super) norm_log2: u32,
    /// Elements that lie in a field below the top one.
    pub(super) lifted: usize,
}

/// Tiles of one layer that compute the same part of an output plane, of as many samples.
struct OutputTile {
    layout: ConvLayout,
    area: usize,
    lifted: usize,
}

/// The tiles of one layer, ring by ring.
pub(super) struct Tiles<'a> {
    geometry: ConvGeometry,
    kernel_norms_squared: &'a [f64],
    planes: usize,
    output_tiles: Vec<OutputTile>,
    /// Norms that were computed before, by groups and kernels of a product.
    norms: BTreeMap<[usize; 2], u32>,
}

impl<'a> Tiles<'a> {
    /// The tiles of a layer whose kernels have these squared norms; none if it has no layout.
    pub(super) fn new(
        geometry: ConvGeometry,
        packing: Packing,
        kernel_norms_squared: &'a [f64],
    ) -> Self {
        Self {
            geometry,
            kernel_norms_squared,
            planes: group_planes(&geometry, packing).unwrap_or(0),
            output_tiles: output_tiles(&geometry, packing),
            norms: BTreeMap::new(),
        }
    }

    /// The tiles of `rule` in a ring of degree `ring_degree` that no other beats at the price `rank`;
    /// without merging unless `merges`.
    pub(super) fn of_ring(
        &mut self,
        ring_degree: usize,
        rule: TileRule,
        merges: bool,
        mut rank: impl FnMut(&PlacedTile) -> f64,
    ) -> Vec<PlacedTile> {
        let mut best: BTreeMap<(Spacings, u32), (f64, PlacedTile)> = BTreeMap::new();
        self.each(ring_degree, rule, merges, |placed| {
            let price = rank(&placed);
            let entry = best.entry((placed.spacings, placed.norm_log2)).or_insert((price, placed));
            if price < entry.0 {
                *entry = (price, placed);
            }
        });
        let mut found: Vec<(f64, PlacedTile)> = best.into_values().collect();
        found.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let mut kept: Vec<PlacedTile> = Vec::new();
        for (_, placed) in found {
            let beats = |other: &PlacedTile| {
                other.norm_log2 <= placed.norm_log2 && other.spacings.within(placed.spacings)
            };
            if !kept.iter().any(beats) {
                kept.push(placed);
            }
        }
        kept
    }

    /// Shows every tile of `rule` that is tried to `visit`.
    fn each(
        &mut self,
        ring_degree: usize,
        rule: TileRule,
        merges: bool,
        mut visit: impl FnMut(PlacedTile),
    ) {
        let Self { geometry, kernel_norms_squared, planes, ref output_tiles, .. } = *self;
        let norms = &mut self.norms;
        for OutputTile { layout: base, area, lifted } in
            rules::output_tiles(rule, output_tiles, ring_degree)
        {
            let tiles = channel_tiles(&geometry, planes, *area, ring_degree, merges);
            for tile in rules::channel_tiles(rule, &geometry, planes, tiles) {
                let merges = tile.merge_levels > 0;
                let ConvTile { samples, output, .. } = *base.tile();
                let tile = ConvTile { samples, output, ..tile };
                let Ok(layout) = base.with_tile(tile, ring_degree) else { continue };
                let counts = layout.counts();
                let ciphertexts = counts.requests().max(counts.leaves());
                if ciphertexts > MAX_CIPHERTEXT_COEFFICIENTS / ring_degree
                    || counts.weights() > MAX_COEFFICIENTS / ring_degree
                {
                    continue;
                }
                let norm = norms.entry([tile.spread_groups(), tile.kernels]);
                let norm_log2 = *norm.or_insert_with(|| {
                    ceil_log2(layout.largest_norm_squared(kernel_norms_squared))
                });
                if norm_log2 > MAX_WEIGHT_NORM_LOG2 {
                    continue;
                }
                let (_, window) = layout.request_window();
                // All levels have the same window, and none has more leaves than there are.
                let used = tile.planes * tile.dense_groups();
                let room = used.next_power_of_two().trailing_zeros();
                let last = usize::BITS - counts.leaves().saturating_sub(1).leading_zeros();
                let levels = if merges { 1..=room.min(last) } else { 0..=0 };
                for merge_levels in levels {
                    let tile = ConvTile { merge_levels, ..tile };
                    let Ok(layout) = base.with_tile(tile, ring_degree) else { continue };
                    visit(PlacedTile {
                        tile,
                        counts: layout.counts(),
                        window,
                        spacings: Spacings::of(&layout),
                        norm_log2,
                        lifted: *lifted,
                    });
                }
            }
        }
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

/// The size that cuts `total` evenly into as many parts as `most` does.
fn even(total: usize, most: usize) -> usize {
    total.div_ceil(total.div_ceil(most.clamp(1, total.max(1))).max(1))
}

/// Sizes up to `most`, `most/2`, `most/4`, ... that cut `total` evenly; none if `most` is 0.
fn halvings(total: usize, most: usize) -> impl Iterator<Item = usize> {
    let sizes = std::iter::successors(Some(most.min(total)), |size| Some(size / 2));
    sizes.take_while(|&size| size > 0).map(move |size| even(total, size))
}

/// Output tiles that use every field, without those that another beats in number, area and what
/// is read of it.
fn output_tiles(geometry: &ConvGeometry, packing: Packing) -> Vec<OutputTile> {
    let point = ConvTile {
        output: [1, 1],
        groups: 1,
        placement: GroupPlacement::Dense,
        planes: 1,
        kernels: 1,
        merge_levels: 0,
        samples: 1,
    };
    let (Some(output), Ok(base)) =
        (geometry.output(), ConvLayout::new(*geometry, packing, point, usize::MAX))
    else {
        return Vec::new();
    };
    let mut tiles = Vec::new();
    let mut add = |tile: ConvTile| {
        let Ok(layout) = base.with_tile(tile, usize::MAX) else { return };
        let area = tile.samples * layout.pitches().iter().product::<usize>();
        let [height, width] = tile.output;
        let of_a_sample = output.height.div_ceil(height) * output.width.div_ceil(width);
        let count = geometry.batch.div_ceil(tile.samples) * of_a_sample;
        if count < packing.tile_fields() {
            return;
        }
        let (_, window) = layout.request_window();
        let count = count.div_ceil(packing.tile_fields());
        tiles.push(([count, area, window], (layout, area)));
    };
    for height in cuts(output.height) {
        for width in cuts(output.width) {
            add(ConvTile { output: [height, width], ..point });
        }
    }
    // Samples share a tile where their whole planes do.
    for samples in cuts(geometry.batch).into_iter().filter(|&samples| samples > 1) {
        add(ConvTile { samples, output: [output.height, output.width], ..point });
    }
    let unbeaten = unbeaten(tiles).into_iter();
    unbeaten
        .map(|(layout, area)| {
            let lifted = lifted(geometry, packing, &layout);
            OutputTile { layout, area, lifted }
        })
        .collect()
}

/// Elements of a layer with tiles as `layout` that lie below the top field of a coefficient. Of all samples,
/// all channels are alike within a channel, and all pairs of channels across channels.
fn lifted(geometry: &ConvGeometry, packing: Packing, layout: &ConvLayout) -> usize {
    let elements = |channels: usize| {
        let mut part = ConvGeometry { groups: 1, out_channels: 1, ..*geometry };
        part.input.channels = channels * geometry.batch;
        let tile = *layout.tile();
        let layout = ConvLayout::new(part, packing, tile, usize::MAX >> 8);
        layout.map_or(0, |layout| layout.lifted_elements().len())
    };
    match packing {
        Packing::None => 0,
        Packing::WithinChannel { .. } => geometry.sample_channels() * elements(1),
        Packing::CrossChannel { .. } => {
            let channels = geometry.group_inputs();
            geometry.groups
                * (channels / 2 * elements(2.min(channels)) + channels % 2 * elements(1))
        }
    }
}

/// Tiles that fit a ring with planes of `area` positions, but for their output; those that merge
/// come with one level. Fewer kernels and groups than fit are tried too: they keep the weights' norm,
/// and with it the noise, down.
fn channel_tiles(
    geometry: &ConvGeometry,
    planes: usize,
    area: usize,
    ring_degree: usize,
    merges: bool,
) -> Vec<ConvTile> {
    let mut tiles = Vec::new();
    if planes == 0 {
        return tiles;
    }
    let mut add = |planes: usize, dense: usize, stride: usize, merge_levels: u32| {
        let most = ring_degree / area.saturating_mul(stride).max(1);
        for kernels in halvings(geometry.group_outputs(), most) {
            let tile = ConvTile {
                output: [1, 1],
                groups: dense,
                placement: GroupPlacement::Dense,
                planes,
                kernels,
                merge_levels,
                samples: 1,
            };
            tiles.push(tile);
            if dense == 1 && geometry.groups > 1 {
                let most = max_spread_groups(area * stride * kernels, ring_degree);
                let placement = GroupPlacement::Spread;
                let spread = halvings(geometry.groups, most).filter(|&groups| groups > 1);
                tiles.extend(spread.map(|groups| ConvTile { groups, placement, ..tile }));
            }
        }
    };
    let mut parts = cuts(planes);
    parts.push(even(planes, ring_degree / area.max(1)));
    parts.sort_unstable_by(|a, b| b.cmp(a));
    parts.dedup();
    for part in parts {
        add(part, 1, part, 0);
    }
    let most = ring_degree / area.saturating_mul(planes).max(1);
    for groups in halvings(geometry.groups, most).filter(|&groups| groups > 1) {
        add(planes, groups, planes * groups, 0);
    }
    let strides = std::iter::successors(Some(2_usize), |stride| stride.checked_mul(2));
    let all = planes.saturating_mul(geometry.groups);
    for stride in strides.take_while(|&stride| merges && stride / 2 < all && stride <= ring_degree)
    {
        if stride / 2 < planes {
            add(even(planes, stride), 1, stride, 1);
        } else {
            add(planes, even(geometry.groups, stride / planes), stride, 1);
        }
    }
    tiles
}

#[cfg(test)]
mod tests;
