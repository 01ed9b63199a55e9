//! Attributes that convolution and pooling share.

use crate::fault::Fault;
use crate::node::NodeReader;

/// Strides and padding of a windowed operator over two dimensions.
pub(super) struct WindowAttributes {
    /// Kernel extents, if stated.
    pub(super) kernel: Option<[usize; 2]>,
    /// Strides `[vertical, horizontal]`.
    pub(super) strides: [usize; 2],
    /// Padding `[top, left, bottom, right]`.
    pub(super) pads: [usize; 4],
}

impl WindowAttributes {
    /// Reads `kernel_shape`, `strides`, `pads`, `auto_pad` and `dilations`.
    pub(super) fn read(node: &mut NodeReader<'_>) -> Result<Self, Fault> {
        let pads = match node.text("auto_pad")?.as_deref() {
            None | Some("NOTSET") => node.naturals("pads")?.unwrap_or([0; 4]),
            Some("VALID") => {
                node.ignore("pads");
                [0; 4]
            }
            Some(other) => {
                return Err(Fault::form(
                    format!("attribute auto_pad={other} is not supported"),
                    "export with explicit pads",
                ));
            }
        };
        let dilations = node.ints("dilations")?.unwrap_or(&[]);
        if dilations.iter().any(|&dilation| dilation != 1) {
            return Err(Fault::form(
                format!("attribute dilations={dilations:?} is not supported, only 1"),
                "replace the layer by one without dilation",
            ));
        }
        let kernel = node.naturals("kernel_shape")?;
        let strides = node.naturals("strides")?.unwrap_or([1, 1]);
        if strides.contains(&0) || kernel.is_some_and(|kernel: [usize; 2]| kernel.contains(&0)) {
            return Err(Fault::malformed("a stride or kernel extent is 0"));
        }
        Ok(Self { kernel, strides, pads })
    }
}
