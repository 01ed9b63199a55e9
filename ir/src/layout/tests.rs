//! Tiles against the convolution that they compute.

use super::*;
use crate::eval::convolve;
use proptest::prelude::*;

fn geometry(input: [usize; 3], k: usize, window: Window, groups: usize) -> ConvGeometry {
    let [c, height, width] = input;
    ConvGeometry { input: Chw::new(c, height, width), out_channels: k, window, groups }
}

fn dense(kernel: usize, stride: usize, pad: usize) -> Window {
    Window::dense([kernel; 2], [stride; 2], [pad; 4])
}

fn dilated(window: Window, dilation: usize) -> Window {
    Window { dilations: [dilation; 2], ..window }
}

/// Multiplies the polynomials of `layout` in a ring of degree `n`; every output is written once, and
/// no coefficient holds two elements.
fn by_polynomials(layout: &ConvLayout, n: usize, x: &[i64], w: &[i64]) -> Vec<i64> {
    let counts = layout.counts();
    let mut y = vec![None; layout.output.len()];
    for response in 0..counts.responses() {
        let mut sum = vec![0_i64; n];
        for (request, weight) in counts.products_of(response) {
            for (a, xi) in layout.request_elements(request) {
                for (b, wi) in layout.weight_elements(weight) {
                    let sign = if a + b >= n { -1 } else { 1 };
                    sum[(a + b) % n] += sign * x[xi] * w[wi];
                }
            }
        }
        for (coefficient, index) in layout.response_elements(response) {
            assert_eq!(y[index].replace(sum[coefficient]), None, "output {index}");
        }
    }
    y.into_iter().map(|value| value.expect("every output is written")).collect()
}

fn distinct(elements: impl Iterator<Item = (usize, usize)>, n: usize) -> Vec<usize> {
    let (mut positions, indices): (Vec<_>, Vec<_>) = elements.unzip();
    assert!(positions.iter().all(|&position| position < n));
    let count = positions.len();
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions.len(), count, "a coefficient is used twice");
    indices
}

/// How often each of `total` elements is placed by `polynomials`.
fn uses(total: usize, polynomials: impl Iterator<Item = Vec<usize>>) -> Vec<usize> {
    let mut uses = vec![0; total];
    polynomials.flatten().for_each(|index| uses[index] += 1);
    uses
}

fn check(g: ConvGeometry, tile: ConvTile, n: usize) {
    let layout = ConvLayout::new(g, tile, n).unwrap();
    let counts = layout.counts();
    let value = |i: usize| (i as i64 * 7 + 3) % 19 - 9;
    let x: Vec<i64> = (0..g.input.len()).map(value).collect();
    let w: Vec<i64> = (0..g.fan_in() * g.out_channels).map(|i| value(i + 5)).collect();
    let expected = convolve(&g, &w, &vec![0; g.out_channels], &x);
    assert_eq!(by_polynomials(&layout, n, &x, &w), expected, "{g:?} {tile:?} N={n}");
    let weights = (0..counts.weights()).map(|i| distinct(layout.weight_elements(i), n));
    assert!(uses(w.len(), weights).iter().all(|&uses| uses == 1), "{tile:?}");
    let requests = (0..counts.requests()).map(|i| distinct(layout.request_elements(i), n));
    let sent = uses(x.len(), requests);
    let Some(span) = g.window.span() else { panic!("no span") };
    if (0..2).all(|axis| span[axis] <= g.window.strides[axis]) {
        // Every weight is 1, so the gradient of the outputs' sum counts the outputs that read x[i].
        let ones = vec![1; w.len()];
        let sum = |x: &[i64]| convolve(&g, &ones, &vec![0; g.out_channels], x).iter().sum::<i64>();
        for (i, &sent) in sent.iter().enumerate() {
            let mut unit = vec![0; x.len()];
            unit[i] = 1;
            assert_eq!(sent > 0, sum(&unit) > 0, "{g:?} {tile:?}: element {i}");
            assert!(sent <= 1, "windows do not overlap");
        }
    }
    let responses = (0..counts.responses()).map(|i| distinct(layout.response_elements(i), n));
    assert!(uses(expected.len(), responses).iter().all(|&uses| uses == 1), "{tile:?}");
    let products: usize = (0..counts.responses()).map(|i| counts.products_of(i).count()).sum();
    assert_eq!(products, counts.products());
}

#[test]
fn tiles_compute_the_convolution() {
    for (g, output, [groups, in_channels, out_channels], n) in [
        (geometry([3, 6, 5], 4, dense(3, 1, 1), 1), [6, 5], [1, 2, 2], 256),
        (geometry([3, 6, 5], 4, dense(3, 1, 1), 1), [4, 2], [1, 3, 1], 72),
        (geometry([2, 9, 9], 3, dense(3, 2, 1), 1), [2, 3], [1, 1, 3], 105),
        (geometry([2, 5, 5], 2, dense(5, 1, 0), 1), [1, 1], [1, 2, 1], 50),
        (ConvGeometry::fully_connected(10, 7), [1, 1], [1, 4, 3], 12),
        (geometry([3, 9, 9], 4, dense(1, 2, 0), 1), [3, 5], [1, 2, 2], 60),
        (geometry([2, 8, 8], 2, dense(2, 3, 1), 1), [2, 3], [1, 2, 1], 48),
        (geometry([2, 9, 8], 3, dilated(dense(3, 1, 2), 2), 1), [3, 4], [1, 2, 1], 112),
        (geometry([2, 9, 9], 2, dilated(dense(2, 4, 1), 3), 1), [2, 2], [1, 1, 2], 32),
        (geometry([6, 5, 5], 4, dense(3, 1, 1), 2), [5, 5], [1, 3, 2], 294),
        (geometry([6, 5, 5], 4, dense(3, 1, 1), 2), [5, 2], [2, 2, 1], 168),
        (geometry([7, 4, 4], 7, dense(3, 1, 1), 7), [4, 4], [4, 1, 1], 324),
        (geometry([8, 4, 4], 16, dense(3, 2, 1), 8), [2, 2], [5, 1, 2], 950),
        (geometry([9, 4, 4], 9, dilated(dense(3, 1, 2), 2), 9), [4, 4], [8, 1, 1], 1728),
    ] {
        let tile = ConvTile { output, groups, in_channels, out_channels };
        check(g, tile, n);
        if n != 256 {
            let refused = ConvLayout::new(g, tile, n - 1);
            assert!(matches!(refused, Err(LayoutError::RingDegree { .. })), "{tile:?} N={n}");
        }
    }
}

proptest! {
    #[test]
    fn any_tile_computes_the_convolution(
        [groups, inputs, outputs] in [1..6_usize, 1..4, 1..4],
        [height, width] in [1..9_usize, 1..9],
        kernel in [1..4_usize, 1..4],
        strides in [1..4_usize, 1..4],
        dilations in [1..4_usize, 1..4],
        pads in [0..3_usize, 0..3, 0..3, 0..3],
        part: [u8; 5],
        slack in 0..40_usize,
    ) {
        let window = Window { kernel, strides, pads, dilations };
        let g = geometry([groups * inputs, height, width], groups * outputs, window, groups);
        prop_assume!(g.output().is_some());
        let output = g.output().unwrap();
        let pick = |index: usize, most: usize| usize::from(part[index]) % most + 1;
        let tile = ConvTile {
            output: [pick(0, output.height), pick(1, output.width)],
            groups: pick(2, groups),
            in_channels: pick(3, inputs),
            out_channels: pick(4, outputs),
        };
        let unit = tile_area(&window, tile.output).unwrap() * tile.in_channels * tile.out_channels;
        check(g, tile, (2 * group_place(tile.groups - 1) + 1) * unit + slack);
    }
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
fn as_many_groups_as_the_module_says() {
    for (area, expected) in [(9 * 9, [7, 8, 16]), (16 * 16, [3, 4, 8]), (30 * 30, [1, 2, 4])] {
        assert_eq!([2048, 4096, 8192].map(|n| max_groups(area, n)), expected);
    }
    assert_eq!(max_groups(2049, 2048), 0);
}

#[test]
fn tiles_outside_the_layer_are_refused() {
    let g = geometry([6, 6, 6], 8, dense(3, 1, 1), 2);
    for (output, [groups, in_channels, out_channels]) in [
        ([0, 6], [1, 1, 1]),
        ([7, 6], [1, 1, 1]),
        ([6, 6], [1, 4, 1]),
        ([6, 6], [1, 1, 5]),
        ([6, 6], [1, 0, 1]),
        ([6, 6], [0, 1, 1]),
        ([6, 6], [3, 1, 1]),
    ] {
        let tile = ConvTile { output, groups, in_channels, out_channels };
        assert_eq!(ConvLayout::new(g, tile, 1 << 20), Err(LayoutError::Tile { tile }));
    }
}
