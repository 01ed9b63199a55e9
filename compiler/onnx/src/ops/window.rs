//! Attributes that convolution and pooling share.

use crate::fault::Fault;
use crate::node::NodeReader;
use heq_ir::geometry::Window;

const REMEDY: &str = "only images [1, C, H, W] and signals [1, C, W] are supported";

/// Kernel, strides, dilations and padding of a windowed operator. One spatial dimension is the
/// second of two, of which the first has extent 1.
pub(super) struct WindowAttributes {
    /// Number of spatial dimensions, if an attribute shows it.
    dimensions: Option<usize>,
    /// Kernel extents, if stated.
    pub(super) kernel: Option<[usize; 2]>,
    /// Strides `[vertical, horizontal]`.
    strides: [usize; 2],
    /// Distances of kernel elements `[vertical, horizontal]`.
    dilations: [usize; 2],
    padding: Padding,
}

enum Padding {
    /// `[top, left, bottom, right]`.
    Explicit([usize; 4]),
    /// As many as make the output as large as the input, divided by the stride; an odd one at the
    /// end, or else at the beginning.
    Same { odd_at_end: bool },
}

impl WindowAttributes {
    /// Reads `kernel_shape`, `strides`, `pads`, `auto_pad` and `dilations`.
    pub(super) fn read(node: &mut NodeReader<'_>) -> Result<Self, Fault> {
        let mut dimensions = None;
        let kernel = pair(node, "kernel_shape", &mut dimensions)?;
        let strides = pair(node, "strides", &mut dimensions)?.unwrap_or([1, 1]);
        let dilations = pair(node, "dilations", &mut dimensions)?.unwrap_or([1, 1]);
        let padding = match node.text("auto_pad")?.as_deref() {
            None | Some("NOTSET") => Padding::Explicit(pads(node, &mut dimensions)?),
            Some(auto) => {
                node.ignore("pads");
                match auto {
                    "VALID" => Padding::Explicit([0; 4]),
                    "SAME_UPPER" => Padding::Same { odd_at_end: true },
                    "SAME_LOWER" => Padding::Same { odd_at_end: false },
                    other => {
                        let what = format!("attribute auto_pad={other:?} is not defined");
                        return Err(Fault::malformed(what));
                    }
                }
            }
        };
        let zero = |pair: [usize; 2]| pair.contains(&0);
        if zero(strides) || zero(dilations) || kernel.is_some_and(zero) {
            return Err(Fault::malformed("a stride, dilation or kernel extent is 0"));
        }
        Ok(Self { dimensions, kernel, strides, dilations, padding })
    }

    /// The window of a kernel on the tensor in `slot`.
    pub(super) fn window(
        &self,
        node: &mut NodeReader<'_>,
        slot: usize,
        kernel: [usize; 2],
    ) -> Result<Window, Fault> {
        let (dimensions, extents) = plane(node, slot)?;
        if self.dimensions.is_some_and(|stated| stated != dimensions) {
            let what = format!("its attributes are not for {dimensions} spatial dimensions");
            return Err(Fault::malformed(what));
        }
        let Self { strides, dilations, .. } = *self;
        let window = Window { kernel, strides, pads: [0; 4], dilations };
        let pads = match self.padding {
            Padding::Explicit(pads) => pads,
            Padding::Same { odd_at_end } => same_pads(&window, extents, odd_at_end)
                .ok_or_else(|| Fault::malformed("its window is too large"))?,
        };
        Ok(Window { pads, ..window })
    }
}

/// Number of spatial dimensions, height and width of the tensor in `slot`.
pub(super) fn plane(node: &mut NodeReader<'_>, slot: usize) -> Result<(usize, [usize; 2]), Fault> {
    let shape = node.ty(slot)?.shape;
    match *shape.dims() {
        [_, _, height, width] => Ok((2, [height, width])),
        [_, _, width] => Ok((1, [1, width])),
        _ => Err(Fault::form(format!("it reads a tensor of shape {shape}"), REMEDY)),
    }
}

/// Padding that keeps `extents`, up to the strides.
fn same_pads(window: &Window, extents: [usize; 2], odd_at_end: bool) -> Option<[usize; 4]> {
    let span = window.span()?;
    let mut pads = [0; 4];
    for axis in 0..2 {
        let steps = extents[axis].div_ceil(window.strides[axis]).checked_sub(1)?;
        let covered = steps.checked_mul(window.strides[axis])?.checked_add(span[axis])?;
        let total = covered.saturating_sub(extents[axis]);
        let (small, large) = (total / 2, total.div_ceil(2));
        [pads[axis], pads[axis + 2]] = if odd_at_end { [small, large] } else { [large, small] };
    }
    Some(pads)
}

/// An attribute with one number a spatial dimension.
fn pair(
    node: &mut NodeReader<'_>,
    name: &'static str,
    dimensions: &mut Option<usize>,
) -> Result<Option<[usize; 2]>, Fault> {
    let Some(list) = node.naturals(name)? else { return Ok(None) };
    agree(dimensions, list.len())?;
    match list[..] {
        [horizontal] => Ok(Some([1, horizontal])),
        [vertical, horizontal] => Ok(Some([vertical, horizontal])),
        _ => Err(too_many(name)),
    }
}

fn pads(node: &mut NodeReader<'_>, dimensions: &mut Option<usize>) -> Result<[usize; 4], Fault> {
    let Some(list) = node.naturals("pads")? else { return Ok([0; 4]) };
    agree(dimensions, list.len() / 2)?;
    match list[..] {
        [left, right] => Ok([0, left, 0, right]),
        [top, left, bottom, right] => Ok([top, left, bottom, right]),
        _ => Err(too_many("pads")),
    }
}

fn agree(dimensions: &mut Option<usize>, found: usize) -> Result<(), Fault> {
    if *dimensions.get_or_insert(found) == found {
        return Ok(());
    }
    Err(Fault::malformed("its attributes are for different numbers of dimensions"))
}

fn too_many(name: &str) -> Fault {
    Fault::form(format!("attribute {name} is not for one or two spatial dimensions"), REMEDY)
}
