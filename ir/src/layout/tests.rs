//! Tiles against the convolution that they compute, on polynomials with integer coefficients.

use super::*;
use crate::eval::convolve;
use crate::geometry::Window;
use proptest::prelude::*;

/// Field width of the packed cases: far above every sum of the tests.
const FIELD_BITS: u32 = 20;

/// A coefficient outside the window of a request: no output may read it.
const GARBAGE: i128 = 1 << 70;

fn geometry(input: [usize; 3], k: usize, window: Window, groups: usize) -> ConvGeometry {
    let [c, height, width] = input;
    ConvGeometry { input: Chw::new(c, height, width), out_channels: k, window, groups, batch: 1 }
}

fn dense(kernel: usize, stride: usize, pad: usize) -> Window {
    Window::dense([kernel; 2], [stride; 2], [pad; 4])
}

fn dilated(window: Window, dilation: usize) -> Window {
    Window { dilations: [dilation; 2], ..window }
}

/// `a * X^places`, negacyclic.
fn times_monomial(a: &[i128], places: usize) -> Vec<i128> {
    let n = a.len();
    let at = |i: usize| if i >= places { a[i - places] } else { -a[i + n - places] };
    (0..n).map(at).collect()
}

/// `a(X^g)` for `g = N/h + 1`.
fn automorphism(a: &[i128], spacing: usize) -> Vec<i128> {
    let n = a.len();
    let mut image = vec![0; n];
    for (i, &value) in a.iter().enumerate() {
        let place = i * (n / spacing + 1) % (2 * n);
        image[place % n] = if place >= n { -value } else { value };
    }
    image
}

/// Merges leaves as the server does, but for the factor of 2^m that it takes out before.
fn merge(leaves: &[Option<Vec<i128>>], spacing: usize) -> Option<Vec<i128>> {
    if let [leaf] = leaves {
        return leaf.clone();
    }
    let every_second =
        |first: usize| -> Vec<_> { leaves.iter().skip(first).step_by(2).cloned().collect() };
    let even = merge(&every_second(0), 2 * spacing)?;
    let Some(odd) = merge(&every_second(1), 2 * spacing) else {
        return Some(even.iter().map(|e| 2 * e).collect());
    };
    let odd = times_monomial(&odd, spacing);
    let sum = even.iter().zip(&odd).map(|(e, o)| e + o);
    let difference: Vec<i128> = even.iter().zip(&odd).map(|(e, o)| e - o).collect();
    Some(sum.zip(automorphism(&difference, spacing)).map(|(s, d)| s + d).collect())
}

/// The signed fields of a coefficient, from the lowest.
fn fields(mut value: i128) -> [i64; 4] {
    [(); 4].map(|()| {
        let field = (value << (128 - FIELD_BITS)) >> (128 - FIELD_BITS);
        value = (value - field) >> FIELD_BITS;
        i64::try_from(field).unwrap()
    })
}

/// Multiplies the polynomials of `layout` in a ring of degree `n`; every output is written once.
fn by_polynomials(layout: &ConvLayout, n: usize, x: &[i64], w: &[i64]) -> Vec<i64> {
    let counts = layout.counts();
    let (first, length) = layout.request_window();
    let request = |request: usize| -> Vec<i128> {
        let mut polynomial = vec![0; n];
        (length..n).for_each(|i| polynomial[(first + i) % n] = GARBAGE);
        for run in layout.request_runs(request) {
            for (coefficient, index) in run.elements() {
                let c = &mut polynomial[coefficient];
                assert!(*c < GARBAGE, "an element lies outside the window");
                *c += i128::from(x[index]) << (FIELD_BITS as usize * run.field);
            }
        }
        polynomial
    };
    let requests: Vec<Vec<i128>> = (0..counts.requests()).map(request).collect();
    let placer = WeightPlacer::new(layout);
    let leaf = |leaf: usize| -> Vec<i128> {
        let mut sum = vec![0_i128; n];
        for (tile, request) in counts.requests_of(leaf).enumerate() {
            for placed in placer.elements(counts.row_of(leaf), tile) {
                let weight = i128::from(w[placed.index]) << (FIELD_BITS as usize * placed.field);
                let weight = if placed.is_negated { -weight } else { weight };
                let product = times_monomial(&requests[request], placed.coefficient);
                sum.iter_mut().zip(product).for_each(|(s, p)| *s += weight * p);
            }
        }
        sum
    };
    let mut y = vec![None; layout.output.len()];
    for response in 0..counts.responses() {
        let mut leaves: Vec<_> = counts.leaves_of(response).map(|i| Some(leaf(i))).collect();
        leaves.resize(1 << counts.merge_levels, None);
        let spacing = layout.merge_spacings().last().unwrap_or(1);
        let merged = merge(&leaves, spacing).expect("a response has a leaf");
        for run in layout.response_runs(response) {
            for (i, coefficient) in run.coefficients().enumerate() {
                let values = fields(merged[coefficient] >> counts.merge_levels);
                for (field, output) in run.outputs.iter().enumerate() {
                    let Some(first) = *output else { continue };
                    let field =
                        if layout.packing.planes_per_coefficient() == 2 { 1 } else { field };
                    assert_eq!(y[first + i].replace(values[field]), None, "output {first} + {i}");
                }
            }
        }
    }
    y.into_iter().map(|value| value.expect("every output is written")).collect()
}

/// Whether no two of `places` are equal.
fn are_distinct(mut places: Vec<(usize, usize)>) -> bool {
    let count = places.len();
    places.sort_unstable();
    places.dedup();
    places.len() == count
}

fn check(g: ConvGeometry, packing: Packing, tile: ConvTile, n: usize) {
    let layout = ConvLayout::new(g, packing, tile, n).unwrap();
    let counts = layout.counts();
    let context = format!("{g:?} {packing} {tile:?} N={n}");
    let value = |i: usize| (i as i64 * 7 + 3) % 19 - 9;
    let x: Vec<i64> = (0..g.input.len()).map(value).collect();
    let w: Vec<i64> = (0..g.fan_in() * g.out_channels).map(|i| value(i + 5)).collect();
    let expected = convolve(&g, &w, &vec![0; g.out_channels], &x);
    assert_eq!(by_polynomials(&layout, n, &x, &w), expected, "{context}");
    let placer = WeightPlacer::new(&layout);
    for row in 0..counts.rows {
        for tile in 0..counts.input_tiles {
            let places = placer.elements(row, tile).map(|w| (w.coefficient, w.field));
            assert!(are_distinct(places.collect()), "{context}: weights collide");
        }
    }
    for request in 0..counts.requests() {
        let runs = layout.request_runs(request);
        let places = runs.flat_map(|run| run.elements().map(move |(place, _)| (place, run.field)));
        assert!(are_distinct(places.collect()), "{context}: elements collide");
    }
    let products: usize = (0..counts.leaves()).map(|leaf| counts.requests_of(leaf).len()).sum();
    assert_eq!(products, counts.products(), "{context}");
    assert!((0..counts.leaves()).all(|i| counts.requests_of(i).end <= counts.requests()));
    let lifted = layout.lifted_elements();
    let top = packing.input_fields() - 1;
    for request in 0..counts.requests() {
        for run in layout.request_runs(request).filter(|run| run.field < top) {
            assert!(run.elements().all(|(_, index)| lifted.binary_search(&index).is_ok()));
        }
    }
}

fn tile(
    output: [usize; 2],
    (groups, placement): (usize, GroupPlacement),
    [planes, kernels]: [usize; 2],
    merge_levels: u32,
) -> ConvTile {
    ConvTile { output, groups, placement, planes, kernels, merge_levels, samples: 1 }
}

/// Cases with the smallest ring degree that they fit.
#[test]
fn tiles_compute_the_convolution() {
    use GroupPlacement::{Dense, Spread};
    let cross = Packing::CrossChannel { field_bits: FIELD_BITS };
    let within = |fields| Packing::WithinChannel { fields, field_bits: FIELD_BITS };
    let cases: &[(ConvGeometry, Packing, ConvTile, usize)] = &[
        (
            geometry([2, 7, 7], 3, dense(3, 1, 1), 1),
            Packing::None,
            tile([7, 7], (1, Dense), [2, 1], 1),
            128,
        ),
        (
            geometry([3, 6, 5], 4, dense(3, 1, 1), 1),
            Packing::None,
            tile([6, 5], (1, Dense), [2, 2], 0),
            168,
        ),
        (
            geometry([3, 6, 5], 4, dense(3, 1, 1), 1),
            Packing::None,
            tile([4, 2], (1, Spread), [3, 1], 0),
            72,
        ),
        (
            geometry([2, 9, 9], 3, dense(3, 2, 1), 1),
            Packing::None,
            tile([5, 5], (1, Dense), [8, 1], 3),
            288,
        ),
        (
            geometry([2, 9, 9], 3, dense(1, 2, 0), 1),
            Packing::None,
            tile([5, 5], (1, Dense), [2, 3], 0),
            150,
        ),
        (
            geometry([2, 9, 8], 3, dilated(dense(3, 1, 2), 2), 1),
            Packing::None,
            tile([3, 4], (1, Dense), [2, 1], 0),
            96,
        ),
        (
            ConvGeometry::fully_connected(10, 7),
            Packing::None,
            tile([1, 1], (1, Dense), [4, 3], 0),
            12,
        ),
        (
            ConvGeometry::fully_connected(10, 7),
            Packing::None,
            tile([1, 1], (1, Dense), [10, 2], 2),
            32,
        ),
        (ConvGeometry::fully_connected(10, 7), cross, tile([1, 1], (1, Dense), [5, 2], 2), 16),
        (
            geometry([7, 4, 4], 7, dense(3, 1, 1), 7),
            Packing::None,
            tile([4, 4], (4, Spread), [1, 1], 0),
            225,
        ),
        (
            geometry([7, 4, 4], 7, dense(3, 1, 1), 7),
            Packing::None,
            tile([4, 4], (4, Dense), [1, 1], 2),
            100,
        ),
        (
            geometry([6, 5, 5], 4, dense(3, 1, 1), 2),
            Packing::None,
            tile([5, 2], (2, Dense), [2, 1], 1),
            96,
        ),
        (
            geometry([3, 8, 8], 2, dense(3, 1, 1), 1),
            within(2),
            tile([4, 8], (1, Dense), [2, 1], 1),
            108,
        ),
        (
            geometry([3, 8, 8], 2, dense(3, 1, 1), 1),
            within(3),
            tile([2, 8], (1, Dense), [3, 2], 0),
            216,
        ),
        (geometry([5, 4, 4], 2, dense(3, 1, 1), 1), cross, tile([4, 4], (1, Dense), [2, 1], 1), 50),
    ];
    for &(g, packing, tile, n) in cases {
        if !n.is_power_of_two() {
            let refused = ConvLayout::new(g, packing, tile, n - 1);
            assert!(matches!(refused, Err(LayoutError::RingDegree { .. })), "{tile:?} N={n}");
        }
        check(g, packing, tile, n.next_power_of_two());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 1 << 16, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn any_tile_computes_the_convolution(
        [groups, inputs, outputs] in [1..5_usize, 1..4, 1..4],
        batch in 1..5_usize,
        [height, width] in [1..9_usize, 1..9],
        kernel in [1..4_usize, 1..4],
        strides in [1..4_usize, 1..4],
        dilations in [1..4_usize, 1..4],
        pads in [0..3_usize, 0..3, 0..3, 0..3],
        part: [u8; 8],
        packing in 0..4_u32,
        slack in 0..2_u32,
    ) {
        let window = Window { kernel, strides, pads, dilations };
        let input = [batch * groups * inputs, height, width];
        let g = ConvGeometry { batch, ..geometry(input, groups * outputs, window, groups) };
        let packing = match packing {
            0 | 1 => Packing::None,
            2 => Packing::WithinChannel {
                fields: 2 + u32::from(part[6]) % 3,
                field_bits: FIELD_BITS,
            },
            _ => Packing::CrossChannel { field_bits: FIELD_BITS },
        };
        let planes = group_planes(&g, packing);
        prop_assume!(planes.is_some());
        let output = g.output().unwrap();
        let pick = |index: usize, most: usize| usize::from(part[index]) % most + 1;
        let placement =
            if part[5] % 2 == 0 { GroupPlacement::Dense } else { GroupPlacement::Spread };
        let [rows, columns] = [pick(0, output.height), pick(1, output.width)];
        let is_even = output.width.is_multiple_of(columns)
            && (batch == 1 || output.height.is_multiple_of(rows));
        prop_assume!(packing.tile_fields() == 1 || is_even);
        let mut tile = ConvTile {
            output: [rows, columns],
            groups: pick(2, groups),
            placement,
            planes: pick(3, planes.unwrap()),
            kernels: pick(4, outputs),
            merge_levels: 0,
            samples: pick(7, batch),
        };
        let used = (tile.planes * tile.dense_groups()).next_power_of_two();
        tile.merge_levels = u32::from(part[5] / 2) % (used.trailing_zeros() + 1);
        let stride = if tile.merge_levels == 0 { tile.planes * tile.dense_groups() } else { used };
        let unit = tile.samples * area(g, tile.output) * stride * tile.kernels;
        let least = (2 * group_place(tile.spread_groups() - 1) + 1) * unit;
        check(g, packing, tile, least.next_power_of_two() << slack);
    }
}

/// Positions that a tile takes of every plane, `Ph*Pw`.
fn area(g: ConvGeometry, output: [usize; 2]) -> usize {
    let tile = tile(output, (1, GroupPlacement::Dense), [1, 1], 0);
    let layout = ConvLayout::new(g, Packing::None, tile, usize::MAX).unwrap();
    layout.pitches().iter().product()
}

#[test]
fn no_three_places_are_in_progression() {
    let places: Vec<usize> = (0..64).map(group_place).collect();
    assert_eq!(places[..8], [0, 1, 3, 4, 9, 10, 12, 13]);
    for (i, a) in places.iter().enumerate() {
        for b in &places[..i] {
            assert!(places.iter().all(|c| a + b != 2 * c), "{a} {b}");
        }
    }
}

#[test]
fn planes_share_their_gaps() {
    for (input, window, output, expected) in [
        (7, dense(3, 1, 1), 7, 64),
        (14, dense(3, 1, 1), 14, 225),
        (28, dense(3, 1, 1), 28, 841),
        (28, dense(3, 2, 1), 14, 225),
        (28, dense(1, 1, 0), 28, 784),
        (56, dense(1, 2, 0), 28, 784),
        (56, dense(3, 1, 1), 28, 900),
        (5, dense(5, 1, 0), 1, 25),
    ] {
        let g = geometry([1, input, input], 1, window, 1);
        assert_eq!(area(g, [output; 2]), expected, "{input} {window:?}");
    }
    // Only the phases that are read count.
    for (window, expected) in
        [(dense(3, 1, 1), 3), (dense(3, 2, 1), 12), (dense(1, 2, 0), 3), (dense(2, 4, 0), 12)]
    {
        let g = geometry([3, 16, 16], 1, window, 1);
        assert_eq!(group_planes(&g, Packing::None), Some(expected), "{window:?}");
    }
}

#[test]
fn tiles_outside_the_layer_are_refused() {
    let g = geometry([6, 6, 6], 8, dense(3, 1, 1), 2);
    for (output, groups, planes, kernels) in [
        ([0, 6], 1, 1, 1),
        ([7, 6], 1, 1, 1),
        ([6, 6], 1, 4, 1),
        ([6, 6], 1, 1, 5),
        ([6, 6], 1, 0, 1),
        ([6, 6], 0, 1, 1),
        ([6, 6], 3, 1, 1),
    ] {
        let tile = tile(output, (groups, GroupPlacement::Dense), [planes, kernels], 0);
        let found = ConvLayout::new(g, Packing::None, tile, 1 << 20);
        assert_eq!(found, Err(LayoutError::Tile { tile }));
    }
    for (planes, merge_levels) in [(1, 1), (2, 2), (3, 3), (3, 40)] {
        let tile = tile([6, 6], (1, GroupPlacement::Dense), [planes, 1], merge_levels);
        let found = ConvLayout::new(g, Packing::None, tile, 1 << 20);
        assert_eq!(found, Err(LayoutError::Merge { tile }));
    }
}
