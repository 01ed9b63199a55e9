//! A prepared inference as bytes: what a file of the store holds.
//!
//! Linear layers in the order of the plan, each the client's seed and the shares without gaps; then every run
//! of random OTs in the order in which steps take them. Lengths follow from the plan. Random OTs are read
//! beside the inference that uses them, by a thread of their own.

use super::segments::{SegmentReader, SegmentWriter};
use super::store::damaged;
use super::{MaskSeed, Prepared, PreparedLayer, is_sender, shape};
use crate::error::RunError;
use crate::protocol::Role;
use crate::stock::{Ahead, Stock};
use heq_ir::packing::{pack_bits, unpack_bits};
use heq_ir::plan::{MASK_SEED_BYTES, Plan};
use heq_ot::{RotBatch, RotReceiverBatch, RotSenderBatch, RotShape};
use std::io;
use std::sync::{Arc, mpsc};
use zeroize::Zeroizing;

const WRONG_SHAPE: RunError =
    RunError::Internal { what: "a prepared inference is of another plan" };

/// Writes what a party made.
pub(crate) fn write(
    plan: &Plan,
    role: Role,
    made: &super::Made,
    writer: &mut SegmentWriter,
) -> io::Result<()> {
    for ((_, step), layer) in plan.linear_steps().zip(&made.layers) {
        if let Some(seed) = &layer.mask {
            writer.write(&seed[..])?;
        }
        let bits = step.op.acc_bits + step.op.guard_bits;
        writer.write(&Zeroizing::new(pack_bits(layer.shares.iter().copied(), bits)))?;
    }
    let (mut sender, mut receiver) = (made.sender.iter(), made.receiver.iter());
    for run in plan.rot_runs() {
        let bytes = if is_sender(role, run) {
            sender.next().map(stored)
        } else {
            receiver.next().map(stored)
        };
        writer.write(&bytes.ok_or(io::ErrorKind::InvalidInput)?)?;
    }
    Ok(())
}

fn stored<B: RotBatch>(batch: &B) -> Zeroizing<Vec<u8>> {
    // It never grows, so that no copy is left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(B::stored_bytes(batch.shape())));
    batch.store(&mut bytes);
    bytes
}

/// Reads the layers of an inference, and lets a thread read its random OTs.
pub(crate) fn read(
    plan: &Plan,
    role: Role,
    mut reader: SegmentReader,
) -> Result<Prepared, RunError> {
    let mut layers = Vec::new();
    for (_, step) in plan.linear_steps() {
        let mask = match role {
            Role::Client => {
                let mut seed: MaskSeed = Box::new(Zeroizing::new([0; MASK_SEED_BYTES]));
                seed.copy_from_slice(&taken(&mut reader, MASK_SEED_BYTES)?);
                Some(seed)
            }
            Role::Server => None,
        };
        let outputs = step.op.geometry.output().ok_or(WRONG_SHAPE)?.len();
        let bits = step.op.acc_bits + step.op.guard_bits;
        let packed = taken(&mut reader, (outputs * bits as usize).div_ceil(8))?;
        let shares = Zeroizing::new(unpack_bits(&packed, bits, outputs)?);
        layers.push(PreparedLayer { mask, shares });
    }
    let runs = plan.rot_runs().map(|run| (is_sender(role, run), shape(run))).collect();
    let (sends, sender) = mpsc::channel();
    let (receives, receiver) = mpsc::channel();
    let task = ReadRots { reader, runs, sends, receives };
    std::thread::Builder::new()
        .name("heq-store".to_owned())
        .spawn(move || task.run())
        .map_err(|_| RunError::NoThread)?;
    let taken = [0, 1].map(|_| Arc::new(Ahead::default()));
    let [of_sender, of_receiver] = taken.clone();
    let (sender, receiver) = (Stock::new(sender, of_sender), Stock::new(receiver, of_receiver));
    Ok(Prepared { layers, sender, receiver, taken })
}

fn taken(reader: &mut SegmentReader, count: usize) -> Result<Zeroizing<Vec<u8>>, RunError> {
    reader.read(count).map_err(|_| damaged().into())
}

/// The random OTs of an inference, read ahead of the steps that take them.
struct ReadRots {
    reader: SegmentReader,
    /// Whether this party holds both pads of a run, and its shape.
    runs: Vec<(bool, RotShape)>,
    sends: mpsc::Sender<Result<RotSenderBatch, RunError>>,
    receives: mpsc::Sender<Result<RotReceiverBatch, RunError>>,
}

impl ReadRots {
    /// Reads until all are there, one fails or nobody wants them any more.
    fn run(mut self) {
        for (is_sender, shape) in std::mem::take(&mut self.runs) {
            let goes_on = if is_sender {
                handed_over(&mut self.reader, shape, &self.sends)
            } else {
                handed_over(&mut self.reader, shape, &self.receives)
            };
            if !goes_on {
                // Whoever waits for either kind hears why.
                let _ = self.sends.send(Err(damaged().into()));
                let _ = self.receives.send(Err(damaged().into()));
                return;
            }
        }
    }
}

fn handed_over<B: RotBatch>(
    reader: &mut SegmentReader,
    shape: RotShape,
    to: &mpsc::Sender<Result<B, RunError>>,
) -> bool {
    let batch = taken(reader, B::stored_bytes(shape))
        .and_then(|bytes| B::restore(shape, &bytes).map_err(RunError::from));
    batch.is_ok_and(|batch| to.send(Ok(batch)).is_ok())
}
