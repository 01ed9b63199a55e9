//! Which linear layers may share requests: those that read the same value and can be joined.

use super::LinearStep;
use crate::analysis::range::NetworkFacts;
use crate::kernel::shared_requests::{joined_op, offset};
use heq_ir::integer::{IntegerNetwork, IntegerOp};
use heq_ir::secure::{Packing, SecureOp};

/// Linear layers that may share requests.
#[derive(Default)]
pub(super) struct Sharing<'a> {
    /// For every set of layers the step that computes them all.
    pub(super) steps: Vec<LinearStep<'a>>,
    /// The layers of every set, by their numbers ascending.
    pub(super) layers: Vec<Vec<usize>>,
    /// Layers that read what another does and share nothing with it: number, what there is not, and why.
    pub(super) rejected: Vec<(usize, String, String)>,
}

impl<'a> Sharing<'a> {
    /// Those of the linear layers `alone`: every pair, and everything that one window holds.
    pub(super) fn new(
        network: &IntegerNetwork,
        facts: &NetworkFacts,
        alone: &[LinearStep<'a>],
    ) -> Self {
        let mut sharing = Self::default();
        for (first, step) in alone.iter().enumerate() {
            let others = (first + 1..alone.len()).filter(|&other| alone[other].read == step.read);
            for other in others {
                match why_not(network, step, &alone[other]) {
                    None => sharing.layers.push(vec![first, other]),
                    Some(why) => {
                        let name = |of: usize| {
                            format!("requests shared with {}", alone[of].node.origin.name)
                        };
                        sharing.rejected.push((first, name(other), why.to_owned()));
                        sharing.rejected.push((other, name(first), why.to_owned()));
                    }
                }
            }
            let is_part = |other: &usize| {
                let other = &alone[*other];
                let geometries = (&step.op.geometry, &other.op.geometry);
                other.read == step.read
                    && why_not(network, step, other).is_none()
                    && offset(geometries.0, geometries.1).is_some()
            };
            let held: Vec<usize> = (0..alone.len()).filter(is_part).collect();
            if held.len() > 2 && !sharing.layers.contains(&held) {
                sharing.layers.push(held);
            }
        }
        let joined = |layers: &Vec<usize>| {
            let parts = layers.iter().map(|&layer| &alone[layer]);
            let first = parts.clone().next()?;
            let terms: Vec<_> = parts.clone().flat_map(|part| part.terms.clone()).collect();
            let op = joined_op(network, facts, &terms, Packing::None)?;
            SecureOp::Linear(op).result_type(&[first.operand]).ok()?;
            Some(LinearStep {
                node: first.node,
                op,
                read: first.read,
                operand: first.operand,
                norms: parts.flat_map(|part| part.norms.iter().copied()).collect(),
                terms,
            })
        };
        let found = std::mem::take(&mut sharing.layers).into_iter();
        let found = found.filter_map(|layers| Some((joined(&layers)?, layers)));
        (sharing.steps, sharing.layers) = found.unzip();
        sharing
    }
}

/// Why two layers that read the same value cannot share requests.
fn why_not(
    network: &IntegerNetwork,
    a: &LinearStep<'_>,
    b: &LinearStep<'_>,
) -> Option<&'static str> {
    let is_opened = |step: &LinearStep<'_>| {
        step.terms.iter().any(|&(layer, _)| {
            !matches!(&network.layers[layer].op, IntegerOp::Sum(op) if op.requantize.is_some())
        })
    };
    let [of_a, of_b] = [&a.op.geometry, &b.op.geometry];
    if of_a.groups.max(of_b.groups) > 1 {
        Some("its channels are in groups")
    } else if a.op.rounded_bits.max(b.op.rounded_bits) > 0 {
        Some("its accumulators are rounded early")
    } else if is_opened(a) || is_opened(b) {
        Some("a sum that is not quantized is opened as it is")
    } else if offset(of_a, of_b).or(offset(of_b, of_a)).is_none() {
        Some("no window of one holds that of the other")
    } else {
        None
    }
}
