//! Pooling over windows of an image, channel by channel.

use super::kernel::inside;
use super::value::{Elements, Grid, Value, real};
use crate::geometry::Window;
use crate::graph::op::AveragePool;
use crate::tensor::Shape;

/// The largest element of every window; on a grid, the largest integer.
pub(super) fn max(x: &Value, window: &Window, shape: &Shape) -> Value {
    match &x.elements {
        Elements::Grid(Grid { steps, scale, axis: axis @ (None | Some(0 | 1)) }) => {
            let steps = windows(x, steps, window, shape, |_, taps| {
                taps.iter().copied().max().unwrap_or_default()
            });
            Value::grid(shape.clone(), steps, scale.clone(), *axis)
        }
        Elements::Real(_) | Elements::Integer(_) | Elements::Grid(_) => {
            let largest = |taps: &[f64]| taps.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let reals = windows(x, &x.reals(), window, shape, |_, taps| largest(taps));
            Value::real(shape.clone(), reals)
        }
    }
}

/// The mean of every window; on a grid, of exact sums of integers.
pub(super) fn average(x: &Value, pool: &AveragePool, shape: &Shape) -> Value {
    let [rows, columns] = pool.window.kernel;
    #[expect(clippy::cast_precision_loss, reason = "an extent above 2^53 has no tensor")]
    let all = rows as f64 * columns as f64;
    #[expect(clippy::cast_precision_loss, reason = "an extent above 2^53 has no tensor")]
    let count = |taps: usize| if pool.count_pads { all } else { taps as f64 };
    let means = match &x.elements {
        Elements::Grid(Grid { steps, scale, axis: None | Some(1) }) => {
            windows(x, steps, &pool.window, shape, |channel, taps| {
                let scale = if scale.len() == 1 { scale[0] } else { scale[channel] };
                match taps.iter().try_fold(0_i64, |sum, &step| sum.checked_add(step)) {
                    Some(sum) => real(sum) * scale / count(taps.len()),
                    None => {
                        taps.iter().map(|&step| real(step) * scale).sum::<f64>() / count(taps.len())
                    }
                }
            })
        }
        Elements::Real(_) | Elements::Integer(_) | Elements::Grid(_) => {
            windows(x, &x.reals(), &pool.window, shape, |_, taps| {
                taps.iter().sum::<f64>() / count(taps.len())
            })
        }
    };
    Value::real(shape.clone(), means)
}

/// A function of the channel and the elements of every window, padding left out, of images
/// `values: [B, C, H, W]` or `[B, C, W]`.
fn windows<T: Copy, R>(
    x: &Value,
    values: &[T],
    window: &Window,
    output: &Shape,
    mut function: impl FnMut(usize, &[T]) -> R,
) -> Vec<R> {
    let [channels, height, width] = image(&x.shape);
    let [_, out_height, out_width] = image(output);
    let valid = |axis: usize, at: usize, size: usize| {
        let offset = at * window.strides[axis];
        let taps =
            inside(offset, window.pads[axis], window.dilations[axis], window.kernel[axis], size);
        let position = move |tap: usize| {
            (offset + tap * window.dilations[axis]).saturating_sub(window.pads[axis])
        };
        taps.map(position)
    };
    let mut result = Vec::with_capacity(output.element_count());
    let mut taps = Vec::new();
    for (index, plane) in values.chunks_exact(height * width).enumerate() {
        for oy in 0..out_height {
            for ox in 0..out_width {
                taps.clear();
                for row in valid(0, oy, height) {
                    taps.extend(valid(1, ox, width).map(|column| plane[row * width + column]));
                }
                result.push(function(index % channels, &taps));
            }
        }
    }
    result
}

/// Channels, height and width.
pub(super) fn image(shape: &Shape) -> [usize; 3] {
    match *shape.dims() {
        [_, channels, height, width] => [channels, height, width],
        [_, channels, width] => [channels, 1, width],
        _ => [shape.element_count(), 1, 1],
    }
}
