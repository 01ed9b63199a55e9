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

/// A sliding window over `[H, W]`: kernel, stride and padding, without dilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// Kernel extents `[R, S]` in elements.
    pub kernel: [usize; 2],
    /// Strides `[vertical, horizontal]` in elements.
    pub strides: [usize; 2],
    /// Padding `[top, left, bottom, right]` in elements.
    pub pads: [usize; 4],
}

impl Window {
    /// The 1x1 window of a pointwise or fully connected layer.
    pub const POINT: Self = Self { kernel: [1, 1], strides: [1, 1], pads: [0; 4] };

    /// Output extents `[OH, OW]` on an input of `[H, W]`, or `None` if the window does not fit.
    #[must_use]
    pub fn output(&self, height: usize, width: usize) -> Option<[usize; 2]> {
        let extent = |size: usize, before: usize, after: usize, kernel: usize, stride: usize| {
            let padded = size.checked_add(before)?.checked_add(after)?;
            if kernel == 0 || stride == 0 {
                None
            } else {
                Some(padded.checked_sub(kernel)? / stride + 1)
            }
        };
        Some([
            extent(height, self.pads[0], self.pads[2], self.kernel[0], self.strides[0])?,
            extent(width, self.pads[1], self.pads[3], self.kernel[1], self.strides[1])?,
        ])
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
        let y = (oy * self.strides[0] + i).checked_sub(self.pads[0])?;
        let x = (ox * self.strides[1] + j).checked_sub(self.pads[1])?;
        (y < height && x < width).then_some([y, x])
    }
}

/// A convolution without groups: `x: [C, H, W]`, `w: [K, C, R, S]`, `y: [K, OH, OW]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvGeometry {
    /// Shape of the input.
    pub input: Chw,
    /// Output channels K.
    pub out_channels: usize,
    /// The window `[R, S]` with its strides and padding.
    pub window: Window,
}

impl ConvGeometry {
    /// A fully connected layer from `features` to `outputs` values.
    #[must_use]
    pub fn fully_connected(features: usize, outputs: usize) -> Self {
        Self { input: Chw::new(features, 1, 1), out_channels: outputs, window: Window::POINT }
    }

    /// Shape `[K, OH, OW]` of the output, or `None` if the window does not fit the input.
    #[must_use]
    pub fn output(&self) -> Option<Chw> {
        let [height, width] = self.window.output(self.input.height, self.input.width)?;
        Some(Chw::new(self.out_channels, height, width))
    }

    /// Number of products summed in one output: `C*R*S`.
    #[must_use]
    pub fn fan_in(&self) -> usize {
        self.input.channels * self.window.kernel[0] * self.window.kernel[1]
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
            let window = Window { kernel: [kernel; 2], strides: [stride; 2], pads };
            assert_eq!(window.output(size, size), expected, "{window:?} on {size}");
        }
    }

    #[test]
    fn padding_has_no_source() {
        let window = Window { kernel: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] };
        assert_eq!(window.source([0, 0], [0, 1], [4, 4]), None);
        assert_eq!(window.source([0, 0], [1, 1], [4, 4]), Some([0, 0]));
        assert_eq!(window.source([1, 1], [2, 2], [4, 4]), Some([3, 3]));
    }
}
