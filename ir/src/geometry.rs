//! Geometry of windowed operators: which inputs a window reads, which outputs it writes.
//!
//! A tensor is `[C, H, W]` in row-major order without a batch dimension; a fully connected layer is
//! a 1x1 convolution on `[C, 1, 1]`. Padding is part of the geometry, so the tensors themselves are
//! never padded.

use serde::{Deserialize, Serialize};

/// Shape `[C, H, W]` of an activation tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Chw {
    /// Channels C.
    pub channels: usize,
    /// Height H in elements.
    pub height: usize,
    /// Width W in elements.
    pub width: usize,
}

impl Chw {
    /// A shape from its three extents.
    #[must_use]
    pub const fn new(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width }
    }

    /// Number of elements, or `None` if it overflows.
    #[must_use]
    pub fn checked_len(self) -> Option<usize> {
        self.channels.checked_mul(self.height)?.checked_mul(self.width)
    }

    /// Number of elements of a shape that was checked to fit in memory.
    #[must_use]
    pub fn len(self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Row-major index of element `(c, y, x)`.
    #[must_use]
    pub fn index(self, c: usize, y: usize, x: usize) -> usize {
        (c * self.height + y) * self.width + x
    }
}

impl std::fmt::Display for Chw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// A sliding window over `[H, W]`: kernel, stride, padding and dilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// Kernel extents `[R, S]` in elements.
    pub kernel: [usize; 2],
    /// Strides `[vertical, horizontal]` in elements.
    pub strides: [usize; 2],
    /// Padding `[top, left, bottom, right]` in elements.
    pub pads: [usize; 4],
    /// Distance between kernel elements `[vertical, horizontal]`; 1 without dilation.
    pub dilations: [usize; 2],
}

impl Window {
    /// The 1x1 window of a pointwise or fully connected layer.
    pub const POINT: Self = Self::dense([1, 1], [1, 1], [0; 4]);

    /// A window without dilation.
    #[must_use]
    pub const fn dense(kernel: [usize; 2], strides: [usize; 2], pads: [usize; 4]) -> Self {
        Self { kernel, strides, pads, dilations: [1, 1] }
    }

    /// Extents `[R, S]` that the dilated kernel covers, or `None` if a parameter is 0 or too large.
    #[must_use]
    pub fn span(&self) -> Option<[usize; 2]> {
        let span = |kernel: usize, dilation: usize| {
            (dilation > 0).then_some(())?;
            kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)
        };
        Some([span(self.kernel[0], self.dilations[0])?, span(self.kernel[1], self.dilations[1])?])
    }

    /// Output extents `[OH, OW]` on an input of `[H, W]`, or `None` if the window does not fit.
    #[must_use]
    pub fn output(&self, height: usize, width: usize) -> Option<[usize; 2]> {
        let span = self.span()?;
        let extent = |size: usize, axis: usize| {
            let padded = size.checked_add(self.pads[axis])?.checked_add(self.pads[axis + 2])?;
            Some(padded.checked_sub(span[axis])?.checked_div(self.strides[axis])? + 1)
        };
        Some([extent(height, 0)?, extent(width, 1)?])
    }

    /// The input position that window position `(i, j)` of output `(oy, ox)` reads, or `None` where
    /// it reads padding of an input of `[height, width]`.
    #[must_use]
    pub fn source(
        &self,
        [oy, ox]: [usize; 2],
        [i, j]: [usize; 2],
        [height, width]: [usize; 2],
    ) -> Option<[usize; 2]> {
        let y = (oy * self.strides[0] + i * self.dilations[0]).checked_sub(self.pads[0])?;
        let x = (ox * self.strides[1] + j * self.dilations[1]).checked_sub(self.pads[1])?;
        (y < height && x < width).then_some([y, x])
    }
}

/// A convolution in G groups of B samples: `x: [B*C, H, W]`, `w: [K, C/G, R, S]`, `y: [B*K, OH, OW]`.
///
/// Output channel k of a sample reads the input channels of group `k / (K/G)` of that sample, of which
/// there are `C/G`. All samples have the same weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvGeometry {
    /// Shape of the input, all samples one after the other along the channels.
    pub input: Chw,
    /// Output channels K of a sample.
    pub out_channels: usize,
    /// The window `[R, S]` with its strides, padding and dilation.
    pub window: Window,
    /// Groups G; divides C and K. 1 for an ordinary convolution, C for a depthwise one.
    pub groups: usize,
    /// Samples B that are computed at once.
    pub batch: usize,
}

impl ConvGeometry {
    /// A fully connected layer from `features` to `outputs` values.
    #[must_use]
    pub fn fully_connected(features: usize, outputs: usize) -> Self {
        Self {
            input: Chw::new(features, 1, 1),
            out_channels: outputs,
            window: Window::POINT,
            groups: 1,
            batch: 1,
        }
    }

    /// Shape `[B*K, OH, OW]` of the output, or `None` if the window does not fit the input, the
    /// groups do not divide the channels, or a size overflows.
    #[must_use]
    pub fn output(&self) -> Option<Chw> {
        let all_groups = self.groups.checked_mul(self.batch)?;
        let out_channels = self.out_channels.checked_mul(self.batch)?;
        let divides = |channels: usize| channels.checked_rem(all_groups) == Some(0);
        if !divides(self.input.channels) || !divides(out_channels) {
            return None;
        }
        let [height, width] = self.window.output(self.input.height, self.input.width)?;
        Some(Chw::new(out_channels, height, width))
    }

    /// Input channels of one sample, C, of a geometry that has an output.
    #[must_use]
    pub fn sample_channels(&self) -> usize {
        self.input.channels / self.batch.max(1)
    }

    /// Input channels of one group, `C/G`, of a geometry that has an output.
    #[must_use]
    pub fn group_inputs(&self) -> usize {
        self.input.channels / self.groups.saturating_mul(self.batch).max(1)
    }

    /// Output channels of one group, `K/G`, of a geometry that has an output.
    #[must_use]
    pub fn group_outputs(&self) -> usize {
        self.out_channels / self.groups.max(1)
    }

    /// Number of weights, `K*C/G*R*S`, or `None` if it overflows.
    #[must_use]
    pub fn weight_count(&self) -> Option<usize> {
        let [r, s] = self.window.kernel;
        self.group_inputs().checked_mul(r)?.checked_mul(s)?.checked_mul(self.out_channels)
    }

    /// Number of products summed in one output: `C/G*R*S`; it does not overflow where
    /// [`Self::weight_count`] does not.
    #[must_use]
    pub fn fan_in(&self) -> usize {
        self.group_inputs() * self.window.kernel[0] * self.window.kernel[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_extents() {
        for (size, kernel, stride, pads, expected) in [
            (28, 5, 1, [2, 2, 2, 2], Some([28, 28])),
            (14, 5, 1, [0; 4], Some([10, 10])),
            (10, 2, 2, [0; 4], Some([5, 5])),
            (7, 3, 2, [0, 0, 1, 1], Some([3, 3])),
            (2, 5, 1, [0; 4], None),
        ] {
            let window = Window::dense([kernel; 2], [stride; 2], pads);
            assert_eq!(window.output(size, size), expected, "{window:?} on {size}");
        }
    }

    #[test]
    fn padding_has_no_source() {
        let window = Window::dense([3, 3], [2, 2], [1; 4]);
        assert_eq!(window.source([0, 0], [0, 1], [4, 4]), None);
        assert_eq!(window.source([0, 0], [1, 1], [4, 4]), Some([0, 0]));
        assert_eq!(window.source([1, 1], [2, 2], [4, 4]), Some([3, 3]));
    }
}
