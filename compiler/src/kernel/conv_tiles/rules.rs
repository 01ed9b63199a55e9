//! The tiles that a rule leaves: one a ring, and one more if responses are merged.
//!
//! All rules but [`TileRule::Any`] cut planes as little as the ring makes them; what they differ in is
//! how a polynomial is divided among input planes and kernels.

use super::OutputTile;
use crate::select::options::TileRule;
use heq_ir::geometry::ConvGeometry;
use heq_ir::layout::{ConvTile, GroupPlacement};

/// The output tiles of `rule` among `all`, which are ordered by their number. A tile fits a ring if one
/// plane does.
pub(super) fn output_tiles(
    rule: TileRule,
    all: &[OutputTile],
    ring_degree: usize,
) -> &[OutputTile] {
    if rule == TileRule::Any {
        return all;
    }
    let first = all.iter().position(|tile| tile.area <= ring_degree);
    first.map_or(&[], |first| &all[first..=first])
}

/// The tiles of `rule` among `all`, which compute the same outputs: of those that merge and of those
/// that do not, the one that suits it best.
pub(super) fn channel_tiles(
    rule: TileRule,
    geometry: &ConvGeometry,
    planes: usize,
    all: Vec<ConvTile>,
) -> Vec<ConvTile> {
    if rule == TileRule::Any {
        return all;
    }
    let best = |merges: bool| {
        let tiles = all.iter().filter(|tile| (tile.merge_levels > 0) == merges);
        let rated = tiles.filter_map(|tile| Some((rating(rule, geometry, planes, tile)?, *tile)));
        // Of equals the first.
        rated.reduce(|best, other| if other.0 > best.0 { other } else { best })
    };
    [best(false), best(true)].into_iter().flatten().map(|(_, tile)| tile).collect()
}

/// How well `tile` suits `rule` in a layer of `all_planes` planes a group; `None` if it is none of its
/// tiles.
fn rating(
    rule: TileRule,
    geometry: &ConvGeometry,
    all_planes: usize,
    tile: &ConvTile,
) -> Option<[usize; 3]> {
    let ConvTile { groups, placement, planes, kernels, merge_levels, .. } = *tile;
    // One product serves spread groups; planes of dense ones fill a slot for merging.
    let shares_groups = groups == 1 || (placement == GroupPlacement::Spread) == (merge_levels == 0);
    let is_matrix = geometry.input.height * geometry.input.width == 1;
    match rule {
        TileRule::Any => None,
        TileRule::WholePlanes if is_matrix => {
            let requests = all_planes.div_ceil(planes);
            let products = geometry.group_outputs().div_ceil(kernels);
            (groups == 1).then_some([usize::MAX - requests - products, planes, 0])
        }
        TileRule::WholePlanes => (groups == 1 && kernels == 1).then_some([planes, 0, 0]),
        TileRule::OneChannel => (planes == 1 && shares_groups).then_some([kernels, groups, 0]),
        TileRule::Square => {
            let side = planes.min(kernels);
            shares_groups.then_some([side, planes * kernels, groups])
        }
    }
}
