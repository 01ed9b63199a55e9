//! The tiles that are kept against all there are, and their number on large layers.

use super::*;
use heq_ir::geometry::{Chw, Window};
use heq_ir::layout::MAX_MERGE_LEVELS;

#[test]
fn cuts_divide_evenly() {
    assert_eq!(cuts(10), [10, 5, 4, 3, 2, 1]);
    assert_eq!(cuts(1), [1]);
    for (total, most, expected) in
        [(10, 0, &[][..]), (10, 4, &[4, 2, 1]), (10, 20, &[10, 5, 2, 1]), (9, 8, &[5, 3, 2, 1])]
    {
        assert_eq!(halvings(total, most).collect::<Vec<_>>(), expected);
    }
    for (total, most, expected) in [(192, 128, 96), (5, 8, 5), (9, 8, 5), (7, 1, 1), (3, 0, 1)] {
        assert_eq!(even(total, most), expected);
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
        batch: 1,
    }
}

/// Coefficients on the wire, with a little for every product.
fn price(counts: &LayoutCounts, window: usize, ring_degree: usize) -> f64 {
    let coefficients = counts.requests() * window + counts.responses() * ring_degree;
    coefficients as f64 + counts.products() as f64 / 4.0
}

#[test]
fn no_tile_is_cheaper_than_those_that_are_kept() {
    let within = Packing::WithinChannel { fields: 2, field_bits: 9 };
    for (layer, ring_degree, packing) in [
        ([4, 6, 5, 3, 1, 1], 128, Packing::None),
        ([4, 6, 5, 3, 1, 1], 128, within),
        ([4, 6, 5, 3, 1, 1], 128, Packing::CrossChannel { field_bits: 9 }),
        ([4, 6, 5, 3, 2, 2], 256, Packing::None),
        ([6, 6, 4, 3, 1, 6], 256, Packing::None),
        ([5, 4, 6, 1, 2, 1], 32, Packing::None),
        ([16, 20, 1, 1, 1, 1], 64, Packing::None),
    ] {
        let geometry = geometry(layer);
        let norms = vec![9.0; geometry.out_channels];
        let rank = |placed: &PlacedTile| price(&placed.counts, placed.window, ring_degree);
        let kept =
            Tiles::new(geometry, packing, &norms).of_ring(ring_degree, TileRule::Any, true, rank);
        let least = kept.iter().map(rank).fold(f64::INFINITY, f64::min);
        let output = geometry.output().unwrap();
        let extents = [
            output.height,
            output.width,
            geometry.groups,
            group_planes(&geometry, packing).unwrap(),
            geometry.group_outputs(),
            MAX_MERGE_LEVELS as usize,
            2,
        ];
        for index in 0..extents.iter().product() {
            let mut index: usize = index;
            let [height, width, groups, planes, kernels, levels, dense] = extents.map(|extent| {
                let size = index % extent + 1;
                index /= extent;
                size
            });
            let placement = [GroupPlacement::Dense, GroupPlacement::Spread][dense - 1];
            let merge_levels = u32::try_from(levels - 1).unwrap();
            let output = [height, width];
            let tile =
                ConvTile { output, groups, placement, planes, kernels, merge_levels, samples: 1 };
            let Ok(layout) = ConvLayout::new(geometry, packing, tile, ring_degree) else {
                continue;
            };
            let price = price(&layout.counts(), layout.request_window().1, ring_degree);
            assert!(least <= price, "{layer:?} {packing} {tile:?}: {price} below {least}");
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
        let mut tiles = Tiles::new(geometry, Packing::None, &norms);
        for ring_degree in [1024, 2048, 4096, 8192] {
            let rank = |placed: &PlacedTile| {
                let requests = (placed.counts.requests() * placed.window) as f64;
                let of_norm = requests * f64::from(placed.norm_log2) / 40.0;
                price(&placed.counts, placed.window, ring_degree) + of_norm
            };
            let count = tiles.of_ring(ring_degree, TileRule::Any, true, rank).len();
            assert!((1..=300).contains(&count), "{layer:?}: {count} tiles at N={ring_degree}");
        }
    }
}

#[test]
fn lifted_elements_are_counted_by_their_pattern() {
    for (layer, packing) in [
        ([3, 2, 7, 3, 1, 1], Packing::WithinChannel { fields: 2, field_bits: 9 }),
        ([4, 4, 9, 3, 2, 2], Packing::WithinChannel { fields: 4, field_bits: 9 }),
        ([5, 2, 6, 3, 2, 1], Packing::CrossChannel { field_bits: 8 }),
        ([6, 4, 6, 1, 2, 2], Packing::CrossChannel { field_bits: 8 }),
    ] {
        let geometry = geometry(layer);
        for OutputTile { layout, lifted, .. } in output_tiles(&geometry, packing) {
            assert_eq!(lifted, layout.lifted_elements().len(), "{layer:?} {packing}");
        }
    }
}

/// Every tile that is tried.
fn tried(tiles: &mut Tiles<'_>, ring_degree: usize, rule: TileRule, merges: bool) -> Vec<ConvTile> {
    let mut found = Vec::new();
    tiles.each(ring_degree, rule, merges, |placed| found.push(placed.tile));
    found
}

/// Layers of all kinds.
const SHAPES: [[usize; 6]; 9] = [
    [16, 32, 32, 3, 1, 1],
    [32, 64, 16, 3, 2, 1],
    [192, 64, 28, 1, 1, 1],
    [64, 128, 56, 1, 2, 1],
    [144, 144, 56, 3, 1, 144],
    [96, 96, 112, 3, 2, 96],
    [3, 32, 224, 3, 2, 1],
    [64, 64, 224, 3, 1, 1],
    [1280, 1000, 1, 1, 1, 1],
];

#[test]
fn every_rule_has_a_tile_of_every_layer() {
    for layer in SHAPES {
        let geometry = geometry(layer);
        let norms = vec![3e4; geometry.out_channels];
        for (ring_degree, merges) in [(1024, true), (2048, false), (4096, true), (8192, false)] {
            let mut tiles = Tiles::new(geometry, Packing::None, &norms);
            let all = tried(&mut tiles, ring_degree, TileRule::Any, merges);
            for rule in [TileRule::WholePlanes, TileRule::OneChannel, TileRule::Square] {
                let found = tried(&mut tiles, ring_degree, rule, merges);
                let name = format!("{layer:?} N={ring_degree} {rule:?}");
                let plain = found.iter().filter(|tile| tile.merge_levels == 0).count();
                assert_eq!(plain, 1, "{name}");
                assert!(found.iter().all(|tile| all.contains(tile)), "{name}");
                assert!(merges || found.len() == 1, "{name}");
            }
        }
    }
}

#[test]
fn rules_divide_a_ring_as_they_say() {
    use GroupPlacement::{Dense, Spread};
    for (layer, rule, output, groups, placement, planes, kernels) in [
        ([16, 32, 32, 3, 1, 1], TileRule::WholePlanes, [32, 32], 1, Dense, 3, 1),
        ([16, 32, 32, 3, 1, 1], TileRule::OneChannel, [32, 32], 1, Dense, 1, 3),
        ([16, 32, 32, 3, 1, 1], TileRule::Square, [32, 32], 1, Dense, 3, 1),
        ([64, 64, 8, 3, 1, 1], TileRule::WholePlanes, [8, 8], 1, Dense, 32, 1),
        ([64, 64, 8, 3, 1, 1], TileRule::OneChannel, [8, 8], 1, Dense, 1, 32),
        ([64, 64, 8, 3, 1, 1], TileRule::Square, [8, 8], 1, Dense, 7, 7),
        ([64, 64, 56, 3, 1, 1], TileRule::WholePlanes, [56, 56], 1, Dense, 1, 1),
        ([64, 64, 56, 3, 1, 1], TileRule::Square, [56, 56], 1, Dense, 1, 1),
        ([64, 64, 16, 3, 1, 64], TileRule::WholePlanes, [16, 16], 1, Dense, 1, 1),
        ([64, 64, 16, 3, 1, 64], TileRule::OneChannel, [16, 16], 4, Spread, 1, 1),
        ([64, 64, 16, 3, 1, 64], TileRule::Square, [16, 16], 4, Spread, 1, 1),
        // 16 requests and 20 products: no fewer fit.
        ([1280, 1000, 1, 1, 1, 1], TileRule::WholePlanes, [1, 1], 1, Dense, 80, 50),
        ([1280, 1000, 1, 1, 1, 1], TileRule::OneChannel, [1, 1], 1, Dense, 1, 1000),
        ([1280, 1000, 1, 1, 1, 1], TileRule::Square, [1, 1], 1, Dense, 64, 63),
    ] {
        let geometry = geometry(layer);
        let norms = vec![3e4; geometry.out_channels];
        let mut tiles = Tiles::new(geometry, Packing::None, &norms);
        let expected =
            ConvTile { output, groups, placement, planes, kernels, merge_levels: 0, samples: 1 };
        assert_eq!(tried(&mut tiles, 4096, rule, false), [expected], "{layer:?} {rule:?}");
    }
}
