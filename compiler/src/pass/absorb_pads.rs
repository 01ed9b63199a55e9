//! Makes zero padding before a window part of the window.
//!
//! `Pad` with zeros before a convolution, or before an average over all elements of its windows, is
//! the padding of that operator. It then costs nothing.

use super::PassContext;
use heq_ir::graph::infer::TypeError;
use heq_ir::graph::op::{AveragePool, ConvParams, Op};
use heq_ir::graph::{Graph, NodeIndex};

/// Absorbs spatial padding into the windows that read it.
///
/// # Errors
/// If a window does not fit its padded input, which is a fault of this pass.
pub fn absorb_pads(graph: &mut Graph, _: &mut PassContext) -> Result<(), TypeError> {
    for id in graph.topological() {
        let mut inputs = graph.inputs(id);
        let Some(pads) = inputs.first().and_then(|&x| spatial_pads(graph, x)) else { continue };
        let widened = |old: [usize; 4]| {
            let mut sums = old;
            sums.iter_mut().zip(pads).for_each(|(sum, pad)| *sum += pad);
            sums
        };
        let node = graph.node(id);
        let op = match node.op {
            Op::Conv(params) => Op::Conv(ConvParams { pads: widened(params.pads), ..params }),
            Op::AveragePool(mut pool) if pool.count_pads || pool.window.pads == [0; 4] => {
                pool.window.pads = widened(pool.window.pads);
                let pool = AveragePool { count_pads: true, ..pool };
                let [rows, columns] = pool.window.kernel;
                let [top, left, bottom, right] = pool.window.pads;
                if top.max(bottom) >= rows || left.max(right) >= columns {
                    continue;
                }
                Op::AveragePool(pool)
            }
            _ => continue,
        };
        inputs[0] = graph.inputs(inputs[0])[0];
        graph.replace(id, node.origin.clone(), op, &inputs)?;
    }
    graph.remove_dead();
    Ok(())
}

/// Padding `[top, left, bottom, right]` that `id` adds to an image, if that is all that it does.
fn spatial_pads(graph: &Graph, id: NodeIndex) -> Option<[usize; 4]> {
    let Op::Pad(pads) = &graph.node(id).op else { return None };
    match pads[..] {
        [[0, 0], [0, 0], [top, bottom], [left, right]] => Some([top, left, bottom, right]),
        [[0, 0], [0, 0], [left, right]] => Some([0, left, 0, right]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::pass::tests::check_golden;

    #[test]
    fn golden() {
        check_golden("absorb_pads", super::absorb_pads);
    }
}
