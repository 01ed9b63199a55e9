//! The convolution of the reference evaluator.
//!
//! Outputs are computed in strips: what some taps read at the positions of a strip is gathered once,
//! and every kernel of the group then runs over it, innermost along the positions. All arithmetic is
//! exact mod `2^64`, so an accumulator mod `2^l` is the result wrapped once.

use crate::geometry::ConvGeometry;

/// Most values gathered at once; they stay in a core's cache while all kernels read them.
const MAX_GATHERED: usize = 1 << 16;

/// Most taps gathered at once.
const MAX_TAPS: usize = 1 << 10;

/// Taps that are summed in one pass over a strip.
const TAPS: usize = 4;

/// Words of which products and sums are exact mod a power of two.
pub trait Word: Copy + Default + Send + Sync {
    /// `self + a*b`.
    #[must_use]
    fn add_product(self, a: Self, b: Self) -> Self;
}

macro_rules! impl_word {
    ($($word:ty),*) => {$(
        impl Word for $word {
            #[inline(always)]
            fn add_product(self, a: Self, b: Self) -> Self {
                self.wrapping_add(a.wrapping_mul(b))
            }
        }
    )*};
}

impl_word!(i64, u32, u64);

/// `y[k] = sum(w[k]*x) + bias[k]` mod `2^64` of every sample, with `w: [K, C/G, R, S]`, `x: [B*C, H, W]`,
/// `y: [B*K, OH, OW]`; empty if the geometry has no output or a length is not the geometry's.
#[must_use]
pub fn convolve(geometry: &ConvGeometry, w: &[i64], bias: &[i64], x: &[i64]) -> Vec<i64> {
    let (Some(products), true) =
        (Products::new(geometry, w, x), bias.len() == geometry.out_channels)
    else {
        return Vec::new();
    };
    let mut y = vec![0; products.outputs()];
    for block in products.blocks() {
        products.place(&block, &products.of_block(&block), &mut y);
    }
    for (plane, bias) in y.chunks_mut(products.plane).zip(bias.iter().cycle()) {
        plane.iter_mut().for_each(|y| *y = y.wrapping_add(*bias));
    }
    y
}

/// The sums `sum(w[k]*x)` of a convolution, block by block: blocks do not depend on each other.
pub struct Products<'a, W> {
    geometry: &'a ConvGeometry,
    w: &'a [W],
    x: &'a [W],
    /// Width of an output plane.
    width: usize,
    /// Positions of an output plane.
    plane: usize,
    fan_in: usize,
}

/// The outputs of a group's kernels at consecutive positions.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    group: usize,
    start: usize,
    end: usize,
}

impl<'a, W: Word> Products<'a, W> {
    /// Those of `w: [K, C/G, R, S]` and `x: [B*C, H, W]`; none if the geometry has no output or a length
    /// is not the geometry's.
    #[must_use]
    pub fn new(geometry: &'a ConvGeometry, w: &'a [W], x: &'a [W]) -> Option<Self> {
        let output = geometry.output()?;
        let fan_in = geometry.fan_in();
        let weights = fan_in.checked_mul(geometry.out_channels);
        let fits = !w.is_empty() && weights == Some(w.len()) && x.len() == geometry.input.len();
        let (width, plane) = (output.width, output.height * output.width);
        fits.then_some(Self { geometry, w, x, width, plane, fan_in })
    }

    /// Number of outputs.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.geometry.out_channels * self.geometry.batch * self.plane
    }

    /// All blocks.
    #[must_use]
    pub fn blocks(&self) -> Vec<Block> {
        let groups = self.geometry.groups * self.geometry.batch;
        let strip = (MAX_GATHERED / self.fan_in.clamp(1, MAX_TAPS)).clamp(1, self.plane.max(1));
        let strips =
            |group| cut(self.plane, strip).map(move |(start, end)| Block { group, start, end });
        (0..groups).flat_map(strips).collect()
    }

    /// The sums of a block, kernel by kernel. Inlined, so that callers choose the vectors it is made of.
    #[must_use]
    #[inline(always)]
    pub fn of_block(&self, block: &Block) -> Vec<W> {
        let &Block { group, start, end } = block;
        let (kernels, length) = (self.geometry.group_outputs(), end - start);
        let of_group = kernels * self.fan_in;
        let first = group % self.geometry.groups * of_group;
        let w = &self.w[first..first + of_group];
        let mut y = vec![W::default(); kernels * length];
        let mut gathered = vec![W::default(); self.fan_in.min(MAX_TAPS) * length];
        for (first, last) in cut(self.fan_in, MAX_TAPS) {
            let rows = &mut gathered[..(last - first) * length];
            for (tap, row) in (first..last).zip(rows.chunks_mut(length)) {
                gather(self.geometry, self.width, group, tap, start, self.x, row);
            }
            for (y, w) in y.chunks_mut(length).zip(w.chunks(self.fan_in)) {
                accumulate(y, &w[first..last], rows);
            }
        }
        y
    }

    /// Puts the sums of a block where they belong in `y: [B*K, OH, OW]`.
    pub fn place(&self, block: &Block, sums: &[W], y: &mut [W]) {
        let &Block { group, start, end } = block;
        let planes = y.chunks_mut(self.plane).skip(group * self.geometry.group_outputs());
        for (plane, sums) in planes.zip(sums.chunks(end - start)) {
            plane[start..end].copy_from_slice(sums);
        }
    }
}

/// Consecutive ranges `(start, end)` of at most `size` out of `total`.
fn cut(total: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..total).step_by(size).map(move |start| (start, total.min(start + size)))
}

/// Fills `row` with what `tap` of `group` reads at the output positions from `at` on, of planes that
/// are `width` wide; zero where it reads padding.
fn gather<W: Word>(
    geometry: &ConvGeometry,
    width: usize,
    group: usize,
    tap: usize,
    mut at: usize,
    x: &[W],
    mut row: &mut [W],
) {
    let (input, window) = (geometry.input, geometry.window);
    let [r, s] = window.kernel;
    let channel = group * geometry.group_inputs() + tap / (r * s);
    let (i, j) = (tap / s % r, tap % s);
    while !row.is_empty() {
        let (oy, ox) = (at / width, at % width);
        let (segment, rest) = row.split_at_mut((width - ox).min(row.len()));
        let y = (oy * window.strides[0] + i * window.dilations[0]).wrapping_sub(window.pads[0]);
        let source =
            if y < input.height { &x[input.index(channel, y, 0)..][..input.width] } else { &[] };
        let from = ox * window.strides[1] + j * window.dilations[1];
        for (step, value) in segment.iter_mut().enumerate() {
            let x = (from + step * window.strides[1]).wrapping_sub(window.pads[1]);
            *value = source.get(x).copied().unwrap_or_default();
        }
        (at, row) = (at + segment.len(), rest);
    }
}

/// `y += sum(w[tap]*rows[tap])`.
#[inline(always)]
fn accumulate<W: Word>(y: &mut [W], w: &[W], rows: &[W]) {
    let length = y.len();
    let mut rows = rows.chunks(TAPS * length);
    let mut taps = w.chunks_exact(TAPS);
    for (w, rows) in taps.by_ref().zip(rows.by_ref()) {
        let (a, rows) = rows.split_at(length);
        let (b, rows) = rows.split_at(length);
        let (c, d) = rows.split_at(length);
        for ((((y, a), b), c), d) in y.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            let left = y.add_product(w[0], *a).add_product(w[1], *b);
            *y = left.add_product(w[2], *c).add_product(w[3], *d);
        }
    }
    let rest = rows.next().unwrap_or(&[]).chunks(length);
    for (&w, row) in taps.remainder().iter().zip(rest) {
        for (y, x) in y.iter_mut().zip(row) {
            *y = y.add_product(w, *x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Chw, Window};
    use proptest::prelude::*;

    fn naive(g: &ConvGeometry, w: &[i64], bias: &[i64], x: &[i64]) -> Vec<i64> {
        let output = g.output().unwrap();
        let (plane, [r, s]) = (output.height * output.width, g.window.kernel);
        (0..output.len())
            .map(|index| {
                let (k, at) = (
                    index / plane % g.out_channels,
                    [index / output.width % output.height, index % output.width],
                );
                (0..g.fan_in()).fold(bias[k], |sum, tap| {
                    let channel =
                        index / plane / g.group_outputs() * g.group_inputs() + tap / (r * s);
                    let position = [tap / s % r, tap % s];
                    match g.window.source(at, position, [g.input.height, g.input.width]) {
                        Some([y, x_]) => sum.wrapping_add(
                            w[k * g.fan_in() + tap].wrapping_mul(x[g.input.index(channel, y, x_)]),
                        ),
                        None => sum,
                    }
                })
            })
            .collect()
    }

    proptest! {
        #[test]
        fn convolve_is_the_sum_over_all_taps(
            (groups, inputs, outputs, batch) in (1..4_usize, 1..4_usize, 1..4_usize, 1..4_usize),
            (height, width) in (1..12_usize, 1..12_usize),
            kernel in [1..4_usize, 1..4],
            strides in [1..4_usize, 1..4],
            dilations in [1..4_usize, 1..4],
            pads in [0..3_usize, 0..3, 0..3, 0..3],
            seed: i64,
        ) {
            let g = ConvGeometry {
                input: Chw::new(batch * groups * inputs, height, width),
                out_channels: groups * outputs,
                window: Window { kernel, strides, pads, dilations },
                groups,
                batch,
            };
            prop_assume!(g.output().is_some());
            let values = |count: usize, salt: i64| -> Vec<i64> {
                let step = seed.wrapping_mul(2).wrapping_add(salt);
                (1..=count as i64).map(|i| i.wrapping_mul(i).wrapping_mul(step)).collect()
            };
            let x = values(g.input.len(), 1);
            let w = values(g.fan_in() * g.out_channels, 3);
            let bias = values(g.out_channels, 5);
            prop_assert_eq!(convolve(&g, &w, &bias, &x), naive(&g, &w, &bias, &x));
        }
    }

    #[test]
    fn long_planes_are_cut_into_strips() {
        let g = ConvGeometry {
            input: Chw::new(250, 40, 37),
            out_channels: 2,
            window: Window::dense([3, 3], [1, 1], [1; 4]),
            groups: 1,
            batch: 1,
        };
        let values =
            |count: usize| -> Vec<i64> { (0..count as i64).map(|i| i * i % 251 - 125).collect() };
        let (x, w) = (values(g.input.len()), values(g.fan_in() * 2));
        assert!(g.fan_in() > 2 * MAX_TAPS && 40 * 37 > MAX_GATHERED / MAX_TAPS);
        assert_eq!(convolve(&g, &w, &[3, -4], &x), naive(&g, &w, &[3, -4], &x));
    }
}
