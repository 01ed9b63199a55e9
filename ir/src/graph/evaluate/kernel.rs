//! Sums of products: convolutions by patches, and matrix times vector.
//!
//! Generic over the numbers, so that integers and reals are summed by the same code. A convolution
//! gathers the inputs of a block of outputs into a matrix of patches `[F, N]`, F the fan-in; all
//! arithmetic on positions happens there. The products are then made in tiles of [`ROWS`] output
//! channels by [`LANES`] positions, whose sums stay in registers.

use super::value::real;
use crate::geometry::{Chw, ConvGeometry};
use std::ops::{Add, Mul, Range};

/// Output channels of a tile.
const ROWS: usize = 4;
/// Output positions of a tile.
const LANES: usize = 8;
/// Elements of a matrix of patches, so that it stays in the second-level cache.
const PATCH_ELEMENTS: usize = 1 << 16;
/// Most positions of a block.
const MAX_POSITIONS: usize = 1024;

/// What can be summed.
pub(super) trait Number: Copy + Default + Add<Output = Self> + Mul<Output = Self> {
    /// The number as a real.
    fn to_real(self) -> f64;
}

impl Number for f64 {
    fn to_real(self) -> f64 {
        self
    }
}

impl Number for f32 {
    fn to_real(self) -> f64 {
        f64::from(self)
    }
}

impl Number for i64 {
    fn to_real(self) -> f64 {
        real(self)
    }
}

/// The sums `y: [K, OH, OW]` of a convolution of `x: [C, H, W]` with `weights: [K, C/G, R, S]`,
/// without overflow checks. `output` is the geometry's; nothing is 0.
pub(super) fn convolve<T: Number>(
    geometry: &ConvGeometry,
    output: Chw,
    x: &[T],
    weights: &[T],
) -> Vec<T> {
    let fan_in = geometry.fan_in();
    let group_outputs = geometry.group_outputs();
    let positions = (PATCH_ELEMENTS / fan_in).clamp(LANES, MAX_POSITIONS);
    let columns = output.width.min(positions);
    let rows = (positions / columns).min(output.height);
    // The extra lanes keep rows of patches from falling into few sets of the cache.
    let stride = (rows * columns).next_multiple_of(LANES) + LANES;
    let mut patches = vec![T::default(); fan_in * stride];
    let mut y = vec![T::default(); output.len()];
    let group_inputs = geometry.group_inputs() * geometry.input.height * geometry.input.width;
    let groups = x.chunks_exact(group_inputs).zip(weights.chunks_exact(fan_in * group_outputs));
    let plane = output.height * output.width;
    for ((x, weights), y) in groups.zip(y.chunks_exact_mut(group_outputs * plane)) {
        let panels = pack(weights, fan_in);
        for top in (0..output.height).step_by(rows) {
            for left in (0..output.width).step_by(columns) {
                let block = Block {
                    rows: top..(top + rows).min(output.height),
                    columns: left..(left + columns).min(output.width),
                };
                block.gather(geometry, output, x, &mut patches, stride);
                block.multiply(&panels, fan_in, &patches, stride, output, y);
            }
        }
    }
    y
}

/// Weights `[K, F]` as panels of [`ROWS`] output channels `[F, ROWS]`, then single rows for the
/// rest.
fn pack<T: Number>(weights: &[T], fan_in: usize) -> Vec<T> {
    let mut panels = Vec::with_capacity(weights.len());
    let full = weights.chunks_exact(fan_in * ROWS);
    let rest = full.remainder();
    for rows in full {
        for tap in 0..fan_in {
            panels.extend(rows.iter().skip(tap).step_by(fan_in));
        }
    }
    panels.extend_from_slice(rest);
    panels
}

/// A rectangle of output positions.
struct Block {
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Block {
    /// Writes the patches `[F, N]` of one group's input `x: [C/G, H, W]`, rows `stride` apart.
    fn gather<T: Number>(
        &self,
        geometry: &ConvGeometry,
        output: Chw,
        x: &[T],
        patches: &mut [T],
        stride: usize,
    ) {
        let Chw { height, width, .. } = geometry.input;
        let window = &geometry.window;
        let [kernel_rows, kernel_columns] = window.kernel;
        let mut rows = patches.chunks_exact_mut(stride);
        for plane in x.chunks_exact(height * width) {
            for i in 0..kernel_rows {
                let down = i * window.dilations[0];
                let inside_rows =
                    inside(down, window.pads[0], window.strides[0], output.height, height);
                for j in 0..kernel_columns {
                    let right = j * window.dilations[1];
                    let [step, pad] = [window.strides[1], window.pads[1]];
                    let valid = inside(right, pad, step, output.width, width);
                    let valid = valid.start.clamp(self.columns.start, self.columns.end)
                        ..valid.end.clamp(self.columns.start, self.columns.end);
                    let Some(patch) = rows.next() else { return };
                    for (line, oy) in
                        patch.chunks_exact_mut(self.columns.len()).zip(self.rows.clone())
                    {
                        if !inside_rows.contains(&oy) || valid.is_empty() {
                            line.fill(T::default());
                            continue;
                        }
                        let from = (oy * window.strides[0] + down - window.pads[0]) * width
                            + (valid.start * step + right - pad);
                        let (before, line) = line.split_at_mut(valid.start - self.columns.start);
                        let (line, after) = line.split_at_mut(valid.len());
                        before.fill(T::default());
                        after.fill(T::default());
                        if step == 1 {
                            line.copy_from_slice(&plane[from..from + valid.len()]);
                        } else {
                            for (to, &from) in
                                line.iter_mut().zip(plane[from..].iter().step_by(step))
                            {
                                *to = from;
                            }
                        }
                    }
                }
            }
        }
    }

    /// Writes the block's part of one group's output `y: [K/G, OH, OW]`.
    fn multiply<T: Number>(
        &self,
        panels: &[T],
        fan_in: usize,
        patches: &[T],
        stride: usize,
        output: Chw,
        y: &mut [T],
    ) {
        let positions: Vec<usize> = self
            .rows
            .clone()
            .flat_map(|oy| self.columns.clone().map(move |ox| oy * output.width + ox))
            .collect();
        let plane = output.height * output.width;
        let full = panels.chunks_exact(fan_in * ROWS);
        let single = full.remainder().chunks_exact(fan_in);
        let mut channels = y.chunks_exact_mut(plane);
        for panel in full {
            let mut rows: [&mut [T]; ROWS] =
                std::array::from_fn(|_| channels.next().unwrap_or_default());
            for (index, positions) in positions.chunks(LANES).enumerate() {
                let sums = tile::<T, ROWS>(panel, patches, stride, index * LANES);
                for (row, sums) in rows.iter_mut().zip(sums) {
                    for (&position, sum) in positions.iter().zip(sums) {
                        row[position] = sum;
                    }
                }
            }
        }
        for (panel, row) in single.zip(channels) {
            for (index, positions) in positions.chunks(LANES).enumerate() {
                let [sums] = tile::<T, 1>(panel, patches, stride, index * LANES);
                for (&position, sum) in positions.iter().zip(sums) {
                    row[position] = sum;
                }
            }
        }
    }
}

/// The sums over all taps for R output channels and [`LANES`] positions from `column` on.
fn tile<T: Number, const R: usize>(
    panel: &[T],
    patches: &[T],
    stride: usize,
    column: usize,
) -> [[T; LANES]; R] {
    let mut sums = [[T::default(); LANES]; R];
    for (weights, patch) in panel.chunks_exact(R).zip(patches.chunks_exact(stride)) {
        let Some(patch) = patch[column..].first_chunk::<LANES>() else { break };
        for (sums, &weight) in sums.iter_mut().zip(weights) {
            for (sum, &x) in sums.iter_mut().zip(patch) {
                *sum = *sum + weight * x;
            }
        }
    }
    sums
}

/// The sums `y[k] = sum(w[k][f]*x[f])` with `weights: [K, F]`.
pub(super) fn multiply_rows<T: Number>(weights: &[T], x: &[T]) -> Vec<T> {
    let dot = |row: &[T]| {
        let mut sums = [T::default(); LANES];
        for (row, x) in row.chunks(LANES).zip(x.chunks(LANES)) {
            for ((sum, &weight), &x) in sums.iter_mut().zip(row).zip(x) {
                *sum = *sum + weight * x;
            }
        }
        sums.into_iter().fold(T::default(), |sum, part| sum + part)
    };
    weights.chunks_exact(x.len()).map(dot).collect()
}

/// The sums `y[k] = sum(w[f][k]*x[f])` with `weights: [F, K]`.
pub(super) fn multiply_columns<T: Number>(weights: &[T], x: &[T], outputs: usize) -> Vec<T> {
    let mut y = vec![T::default(); outputs];
    for (row, &x) in weights.chunks_exact(outputs).zip(x) {
        for (sum, &weight) in y.iter_mut().zip(row) {
            *sum = *sum + weight * x;
        }
    }
    y
}

/// The indices `n < count` for which `offset + n*step` lies in `pad..pad + size`: those that read
/// no padding. `step` is positive, and `pad + size` does not overflow.
pub(super) fn inside(
    offset: usize,
    pad: usize,
    step: usize,
    count: usize,
    size: usize,
) -> Range<usize> {
    let first = |bound: usize| bound.saturating_sub(offset).div_ceil(step).min(count);
    first(pad)..first(pad + size)
}
