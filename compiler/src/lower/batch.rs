//! Several samples at once: every value of an integer network holds those of B samples, one after the other
//! along the channels.
//!
//! Layers keep their numbers and their secrets: all samples meet the same weights, and a linear layer
//! says how many there are. Only tables of single channels are repeated.

use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::geometry::Chw;
use heq_ir::integer::{
    IntegerLayer, IntegerNetwork, IntegerOp, LinearTerm, MaxPoolOp, ScaledTerm, SumOp, TableOp,
    Term, View,
};
use heq_ir::plan::reveal::Reveal;

/// Most samples that an inference computes at once.
pub const MAX_BATCH: usize = 1024;

/// The network of one sample as that of `batch` of them, of whose outputs the client learns what `reveal`
/// says.
///
/// # Errors
/// [`Code::BadOption`] if `batch` is 0 or more than [`MAX_BATCH`], or outputs are to be ranked, which is
/// not done by sample.
pub fn batch(
    network: &IntegerNetwork,
    batch: usize,
    reveal: Reveal,
) -> Result<IntegerNetwork, Diagnostic> {
    if !(1..=MAX_BATCH).contains(&batch) {
        let what = format!("{batch} samples cannot be computed at once");
        let remedy = format!("give 1 to {MAX_BATCH}");
        return Err(Diagnostic::new(Code::BadOption, "--batch", what, remedy));
    }
    if batch > 1 && reveal != Reveal::Logits {
        let what = "the outputs of several samples are not ranked";
        let remedy = "leave --batch out, or give --reveal logits";
        return Err(Diagnostic::new(Code::BadOption, "--batch", what, remedy));
    }
    let mut network = network.clone();
    if batch > 1 {
        network.batch = batch;
        network.layers.iter_mut().for_each(|layer| repeat(layer, batch));
    }
    Ok(network)
}

fn repeat(layer: &mut IntegerLayer, samples: usize) {
    // What overflows here is too large for a plan, which is reported when its types are inferred.
    let repeat_shape = |shape: &mut Chw| shape.channels = shape.channels.saturating_mul(samples);
    match &mut layer.op {
        IntegerOp::Sum(SumOp { output, terms, .. }) => {
            repeat_shape(output);
            for term in terms {
                match term {
                    Term::Linear(LinearTerm { geometry, .. }) => {
                        repeat_shape(&mut geometry.input);
                        geometry.batch = samples;
                    }
                    Term::Scaled(ScaledTerm { input, .. }) => repeat_shape(input),
                }
            }
        }
        IntegerOp::MaxPool(MaxPoolOp { input, .. }) => repeat_shape(input),
        IntegerOp::Table(table) => repeat_tables(table, samples),
        IntegerOp::View(View { output, batch, .. }) => {
            repeat_shape(output);
            *batch = samples;
        }
        IntegerOp::Reshape(shape) => repeat_shape(shape),
        IntegerOp::Concat { batch } => *batch = samples,
    }
}

/// One table serves all channels, several those of a sample.
fn repeat_tables(table: &mut TableOp, samples: usize) {
    if table.size().is_some_and(|size| table.values.len() > size) {
        table.values = table.values.repeat(samples);
    }
}
