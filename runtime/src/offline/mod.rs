//! What does not depend on the input, made beforehand: prepared inferences, each of which serves once.
//!
//! `Made` is what a party makes for one: for every linear layer shares of its output on a random mask,
//! and all random OTs. [`store`] keeps them on disk, `agree` finds out which both parties hold.
//! docs/protocols/offline.md.

pub(crate) mod agree;
pub(crate) mod entry;
mod linear;
mod segments;
pub mod store;

pub use store::Store;

use crate::error::RunError;
use crate::executor::Contribution;
use crate::protocol::Role;
use crate::session::{Progress, Session};
use crate::share::Words;
use crate::stats::Measured;
use crate::stock::{Ahead, Stock};
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::plan::{LinearStep, MASK_SEED_BYTES, MAX_MESSAGE_BYTES, Plan};
use heq_ir::traffic::{RotRun, RotSender};
use heq_mutation::broken;
use heq_ot::{RotReceiverBatch, RotSenderBatch, RotShape};
use rand_core::Rng;
use std::sync::Arc;
use std::time::Instant;
use zeroize::Zeroizing;

pub(crate) use linear::{client as linear_client, server as linear_server};

/// The seed of the client's mask of a linear layer's operand.
pub(crate) type MaskSeed = Box<Zeroizing<[u8; MASK_SEED_BYTES]>>;

/// What a party made of one inference, to be stored.
pub(crate) struct Made {
    /// Of every linear layer, in the order of the plan.
    pub(crate) layers: Vec<PreparedLayer>,
    /// Random OTs in which this party holds both pads, in the order in which steps take them.
    pub(crate) sender: Vec<RotSenderBatch>,
    /// Those in which it holds one pad.
    pub(crate) receiver: Vec<RotReceiverBatch>,
}

/// What a party holds of one inference that was stored.
pub(crate) struct Prepared {
    /// Of every linear layer, in the order of the plan.
    pub(crate) layers: Vec<PreparedLayer>,
    /// Random OTs in which this party holds both pads, as they are read.
    pub(crate) sender: Stock<RotSenderBatch>,
    /// Those in which it holds one pad.
    pub(crate) receiver: Stock<RotReceiverBatch>,
    /// What was taken of both.
    pub(crate) taken: [Arc<Ahead>; 2],
}

/// What a party holds of a linear layer.
pub(crate) struct PreparedLayer {
    /// The client's mask.
    pub(crate) mask: Option<MaskSeed>,
    /// Its share mod `2^(l+g)` of the layer's output on the mask, `[K, OH, OW]`; the server's with bias.
    pub(crate) shares: Words,
}

/// Most bytes of an entry: a party holds all of it in memory while it is prepared.
const MAX_ENTRY_BYTES: u64 = 4 << 30;

/// Checks that inferences of `plan` can be prepared.
///
/// # Errors
/// [`Code::PlanRejected`] if a layer holds several elements in a coefficient, [`Code::TooLarge`] if an entry
/// or a message would be too large.
pub(crate) fn check_plan(plan: &Plan) -> Result<(), Diagnostic> {
    let packed: Vec<&str> = plan.packed_layers().collect();
    if let Some(first) = packed.first() {
        let what = format!(
            "{} layer(s) hold several elements in a coefficient, where a mask has no room: {first:?}",
            packed.len()
        );
        let remedy = "compile with --objective online-latency or --packing none";
        return Err(Diagnostic::new(Code::PlanRejected, "plan", what, remedy));
    }
    let entry = plan.prepared_contents().into_iter().max().unwrap_or(0);
    let messages = (0..plan.layers().len()).filter_map(|index| plan.masked_bytes(index));
    if entry > MAX_ENTRY_BYTES || messages.max() > Some(MAX_MESSAGE_BYTES) {
        let what = format!("a prepared inference takes {entry} bytes, or a message above 2^30");
        let remedy = "run it in one phase";
        return Err(Diagnostic::new(Code::TooLarge, "plan", what, remedy));
    }
    Ok(())
}

/// The shape of a run of random OTs as batches have it.
pub(crate) fn shape(run: &RotRun) -> RotShape {
    // A number that is too large makes a shape that no step takes.
    let number = |number: u64| usize::try_from(number).unwrap_or(0);
    RotShape { planes: number(run.planes), elements: number(run.elements), bits: number(run.bits) }
}

/// Whether the party `role` holds both pads of a run.
pub(crate) fn is_sender(role: Role, run: &RotRun) -> bool {
    matches!(
        (role, run.sender),
        (Role::Server, RotSender::Server) | (Role::Client, RotSender::Client)
    )
}

impl Session<'_> {
    /// Prepares one inference. The client brings no input, the server its weights.
    ///
    /// `measured` has one entry a step, to which traffic and time are added.
    ///
    /// # Errors
    /// [`RunError`] if the peer goes away or breaks the protocol; the session cannot be used then.
    pub(crate) fn prepare(
        &mut self,
        contribution: &Contribution<'_>,
        measured: &mut [Measured],
    ) -> Result<Made, RunError> {
        let plan = self.plan.plan();
        let mut made = Made { layers: Vec::new(), sender: Vec::new(), receiver: Vec::new() };
        for (index, traffic) in plan.layer_traffic().iter().enumerate() {
            let start = (Instant::now(), self.meter());
            let bytes = start.1.bytes_sent + start.1.bytes_received;
            let (inference, inferences) = (self.done, self.inferences);
            self.plan.observe(Progress { inference, inferences, step: index, bytes });
            if let Some(step) = plan.linear_step(index) {
                let layer = self.prepare_layer(&step, made.layers.len(), contribution)?;
                made.layers.push(layer);
            }
            for run in &traffic.rots {
                if is_sender(self.role, run) {
                    made.sender.push(self.sender_stock.take(shape(run))?);
                } else {
                    made.receiver.push(self.receiver_stock.take(shape(run))?);
                }
            }
            if let Some(measured) = measured.get_mut(index) {
                measured.add(self.role, self.meter().since(start.1), start.0.elapsed());
            }
        }
        self.done += 1;
        Ok(made)
    }

    /// The layer on a mask: an operand of the client's own.
    fn prepare_layer(
        &mut self,
        step: &LinearStep<'_>,
        linear_index: usize,
        contribution: &Contribution<'_>,
    ) -> Result<PreparedLayer, RunError> {
        let elements = step.op.geometry.input.len();
        let (mask, operand) = match contribution {
            Contribution::Input(_) => {
                let mut seed: MaskSeed = Box::new(Zeroizing::new([0; MASK_SEED_BYTES]));
                if !broken!(
                    "prepared layers share a mask",
                    "heq-tests leakage masked_operands_are_uniform_and_no_mask_serves_twice"
                ) {
                    self.rng.fill_bytes(&mut seed[..]);
                }
                let operand = linear::mask_words(&seed, step.op.acc_bits, elements);
                (Some(seed), operand)
            }
            Contribution::Weights(_) => (None, Zeroizing::new(vec![0; elements])),
        };
        let shares = self.encrypted(step, linear::MASKED, linear_index, contribution, &operand)?;
        Ok(PreparedLayer { mask, shares })
    }

    /// Lets the next inference use `prepared`.
    pub(crate) fn load(&mut self, prepared: Prepared) {
        let Prepared { layers, sender, receiver, taken: _ } = prepared;
        (self.sender_stock, self.receiver_stock) = (sender, receiver);
        self.layers = layers.into_iter();
    }

    /// What was loaded of the next linear layer.
    pub(crate) fn next_layer(&mut self) -> Result<PreparedLayer, RunError> {
        let missing = RunError::Internal { what: "a prepared inference has too few layers" };
        self.layers.next().ok_or(missing)
    }
}
