//! The plan: everything both parties must agree on to run one model, and nothing about its weights.
//!
//! A [`PlanSpec`] is what a file says; a [`Plan`] is a specification that passed the rules of `check.rs` and
//! knows the type of every value. The runtime takes a [`Plan`] only, so it never meets an unchecked
//! one. The weights are a file of their own, see [`weights`].

mod check;
pub mod codec;
pub mod cost;
mod lanes;
mod offline;
mod ot;
pub mod reveal;
mod rounding;
mod traffic;
pub mod weights;

pub use check::{
    MAX_CIPHERTEXT_COEFFICIENTS, MAX_COEFFICIENTS, MAX_MESSAGE_BYTES, MAX_WEIGHT_NORM_LOG2,
    PlanError,
};
pub use lanes::{AHEAD_BYTES, LANE_WINDOW, RotChunk};
pub use offline::{
    MASK_SEED_BYTES, MAX_OFFERS, OFFER_ANSWER_BYTES, OFFER_BYTES, PREPARED_HEADER_BYTES,
    PREPARED_NONCE_BYTES, PREPARED_SEGMENT_BYTES, PREPARED_TAG_BYTES,
};
pub use ot::OtExtension;
pub use rounding::RoundedStep;
pub use traffic::{HELLO_BYTES, fixed_traffic, open_bytes};

use crate::geometry::{Chw, Window};
use crate::integer::{IntRange, NetworkInput, ValueId, View};
use crate::layout::{ConvLayout, ConvTile};
use crate::params::{RlweParams, RlweSpec};
use crate::preparation::InputPreparation;
use crate::protocol::max_pool::ComparisonForm;
use crate::protocol::requantize::{RequantizeForm, RequantizeWidths};
use crate::protocol::table::TableWidths;
use crate::protocol::to_arithmetic::ToArithmeticForm;
use crate::rounding::AccRounding;
use crate::secure::{CombineOp, LinearOp, SecureOp, ValueType};
use crate::traffic::Traffic;
use serde::{Deserialize, Serialize};

/// How accumulator widths were derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AccStrategy {
    /// From the actual weights: never overflows; widths and parameters bound the weights' norms.
    WeightAware,
    /// From the weights' widths alone: the plan does not depend on any weight or bias value.
    WorstCase,
    /// From the sums that calibration data led to: empirical, so other data may overflow. Widths and
    /// parameters bound these sums and the weights' norms.
    Calibrated {
        /// Bits beyond what the data took: 0 to [`MAX_MARGIN_BITS`].
        margin_bits: u32,
    },
}

/// Widest margin of a calibration in bits.
pub const MAX_MARGIN_BITS: u32 = 16;

impl std::fmt::Display for AccStrategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::WeightAware => "weight-aware",
            Self::WorstCase => "worst-case",
            Self::Calibrated { .. } => "calibrated",
        })
    }
}

/// An unchecked plan, as it stands in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanSpec {
    /// Name of the model.
    pub model: String,
    /// How accumulator widths were derived.
    pub acc_strategy: AccStrategy,
    /// What calibrated widths rest on; of other widths nothing.
    pub calibration: Option<Calibration>,
    /// The inference fails with probability at most `2^-error_budget_log2`.
    pub error_budget_log2: u32,
    /// Whether accumulators are rounded before they are requantized.
    pub rounding: AccRounding,
    /// Samples that an inference computes at once. All values hold so many, one after the other along
    /// the channels.
    pub batch: usize,
    /// The tensor that the client brings for each sample.
    pub input: NetworkInput,
    /// How raw pixels become the model's input.
    pub preparation: InputPreparation,
    /// ONNX name of the output.
    pub output_name: String,
    /// Real value of one step of the integer output; 1 if it is indices.
    pub output_scale: f64,
    /// RLWE parameter sets; each is a key of its own.
    pub rlwe: Vec<RlweSpec>,
    /// How random OTs are made.
    pub ot: OtExtension,
    /// Steps in the order in which they run.
    pub layers: Vec<Layer>,
}

/// What calibrated widths rest on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    /// Number of samples that were evaluated, at least 1.
    pub samples: u64,
    /// The accumulators whose width was calibrated, in the order of the plan.
    pub observed: Vec<ObservedSum>,
}

/// How much of an accumulator calibration data took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ObservedSum {
    /// Index of the linear step or sum whose result is requantized or opened.
    pub step: usize,
    /// Bits that hold every such result, signed, with what its requantization adds before the shift.
    pub used_bits: u32,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Name of the ONNX node it stems from.
    pub name: String,
    /// ONNX operator type of that node.
    pub operator: String,
    /// ONNX tensor whose integers the result holds, zero point removed; empty if those of none.
    pub tensor: String,
    /// The values that it reads: 0 is the input, `i + 1` the result of step `i`.
    pub operands: Vec<ValueId>,
    /// What it does and how.
    pub kind: LayerKind,
}

/// What a step does and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayerKind {
    /// Linear layer under homomorphic encryption.
    Linear {
        /// What it computes.
        op: LinearOp,
        /// How it is computed.
        choice: LinearChoice,
    },
    /// Sum of accumulators and scaled values; each party adds its own shares.
    Combine(CombineOp),
    /// Rounding shift and clamp.
    Requantize {
        /// Widths of the circuit.
        widths: RequantizeWidths,
        /// Range of the result.
        range: IntRange,
        /// Form of the circuit.
        form: RequantizeForm,
    },
    /// Maximum over windows.
    MaxPool {
        /// The window.
        window: Window,
        /// Form of the comparisons; without meaning on the client's own values.
        form: ComparisonForm,
    },
    /// The server's table, looked up for every element; of two operands the bits of the first are the
    /// lowest of the index.
    Table {
        /// Widths of the protocol.
        widths: TableWidths,
        /// The value that an entry of 0 stands for.
        lo: i64,
    },
    /// Elements picked, moved, or padded with zeros.
    View(View),
    /// The same elements as another shape.
    Reshape(Chw),
    /// Operands one after the other along the channels, sample by sample.
    Concat {
        /// Samples that each operand holds.
        batch: usize,
    },
    /// Bits to arithmetic shares.
    ToArithmetic {
        /// Width L of the shares in bits.
        bits: u32,
        /// Form of the conversion.
        form: ToArithmeticForm,
    },
    /// The client's values as shared bits.
    ToBoolean {
        /// Bits an element.
        bits: u32,
        /// The value that all-zero bits stand for.
        lo: i64,
    },
    /// Opens the result to the client.
    Open,
    /// Indices of the largest values over the channels, the best first.
    Top {
        /// Number of indices.
        k: u32,
    },
}

impl LayerKind {
    /// Width l of the accumulator that the step makes, in bits.
    #[must_use]
    pub fn acc_bits(&self) -> Option<u32> {
        match self {
            Self::Linear { op, .. } => Some(op.acc_bits),
            Self::Combine(op) => Some(op.acc_bits),
            Self::Requantize { .. }
            | Self::MaxPool { .. }
            | Self::Table { .. }
            | Self::View(_)
            | Self::Reshape(_)
            | Self::Concat { .. }
            | Self::ToArithmetic { .. }
            | Self::ToBoolean { .. }
            | Self::Open
            | Self::Top { .. } => None,
        }
    }

    /// What the step computes, without how.
    #[must_use]
    pub fn op(&self) -> SecureOp {
        match self {
            Self::Linear { op, .. } => SecureOp::Linear(*op),
            Self::Combine(op) => SecureOp::Combine(op.clone()),
            &Self::Requantize { widths, range, .. } => SecureOp::Requantize { widths, range },
            &Self::MaxPool { window, .. } => SecureOp::MaxPool { window },
            &Self::Table { widths, lo } => SecureOp::Table { widths, lo },
            &Self::View(view) => SecureOp::View(view),
            &Self::Reshape(shape) => SecureOp::Reshape(shape),
            &Self::Concat { batch } => SecureOp::Concat { batch },
            &Self::ToArithmetic { bits, .. } => SecureOp::ToArithmetic { bits },
            &Self::ToBoolean { bits, lo } => SecureOp::ToBoolean { bits, lo },
            Self::Open => SecureOp::Open,
            &Self::Top { k } => SecureOp::Top { k },
        }
    }
}

/// How a linear layer is computed: the planner's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LinearChoice {
    /// Index into the plan's parameter sets.
    pub rlwe: usize,
    /// The tile.
    pub tile: ConvTile,
    /// Low bits dropped from every request coefficient, rc.
    pub request_drop_bits: u32,
    /// Low bits dropped from every response coefficient, dr.
    pub response_drop_bits: u32,
    /// The squared norm of the folded weights that feed one response is at most `2^this`.
    pub weight_norm_squared_log2: u32,
}

/// A plan that keeps every rule of `check.rs`: only [`codec`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    spec: PlanSpec,
    rlwe: Vec<RlweParams>,
    values: Vec<ValueType>,
    traffic: Vec<Traffic>,
    digest: PlanDigest,
}

/// SHA-256 of an encoded plan: what the two parties compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlanDigest(pub [u8; 32]);

impl std::fmt::Display for PlanDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A linear step with what its choice refers to.
#[derive(Clone, Debug)]
pub struct LinearStep<'a> {
    /// What it computes.
    pub op: &'a LinearOp,
    /// How.
    pub choice: &'a LinearChoice,
    /// The parameter set that the choice names.
    pub params: &'a RlweParams,
    /// The placement that the choice names.
    pub layout: ConvLayout,
}

impl Plan {
    /// What the file says.
    #[must_use]
    pub fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    /// Steps in the order in which they run.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.spec.layers
    }

    /// Bits that calibration data took of the accumulator that step `index` makes, if its width was
    /// calibrated.
    #[must_use]
    pub fn observed_bits(&self, index: usize) -> Option<u32> {
        let observed = &self.spec.calibration.as_ref()?.observed;
        let at = observed.binary_search_by_key(&index, |sum| sum.step).ok()?;
        Some(observed[at].used_bits)
    }

    /// The parameter sets.
    #[must_use]
    pub fn rlwe(&self) -> &[RlweParams] {
        &self.rlwe
    }

    /// SHA-256 of the encoded plan.
    #[must_use]
    pub fn digest(&self) -> PlanDigest {
        self.digest
    }

    /// Types of all values: 0 is the input, `i + 1` the result of step `i`.
    #[must_use]
    pub fn values(&self) -> &[ValueType] {
        &self.values
    }

    /// Types of the values that step `index` reads, in order; empty if there is no such step.
    #[must_use]
    pub fn operands(&self, index: usize) -> Vec<ValueType> {
        let operands = self.spec.layers.get(index).map_or(&[][..], |layer| &layer.operands);
        operands.iter().filter_map(|id| self.values.get(id.0).copied()).collect()
    }

    /// Samples that an inference computes at once.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.spec.batch.max(1)
    }

    /// Number of integer outputs of a sample.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.values.last().map_or(0, |value| value.shape.len()) / self.batch()
    }

    /// Number of integers that the client brings for all samples of an inference.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.values.first().map_or(0, |value| value.shape.len())
    }

    /// The input of an inference on `samples`, at most [`Self::batch`] of them: behind them the last is
    /// repeated.
    #[must_use]
    pub fn pass_input(&self, samples: &[Vec<i64>]) -> Vec<i64> {
        let repeated = samples.last().into_iter().cycle();
        samples.iter().chain(repeated).take(self.batch()).flatten().copied().collect()
    }

    /// The outputs of each sample of an inference that made `outputs`.
    pub fn sample_outputs(&self, outputs: &[i64]) -> impl Iterator<Item = Vec<i64>> {
        outputs.chunks(self.output_len().max(1)).map(<[i64]>::to_vec)
    }

    /// The linear steps in order: a weights file has one entry for each.
    pub fn linear_steps(&self) -> impl Iterator<Item = (usize, LinearStep<'_>)> {
        (0..self.spec.layers.len()).filter_map(|index| Some((index, self.linear_step(index)?)))
    }

    /// The spacings h, descending, of the Galois elements `N/h + 1` that steps of parameter set `set`
    /// merge responses with: a key for each.
    #[must_use]
    pub fn galois_spacings(&self, set: usize) -> Vec<usize> {
        let steps = self.linear_steps().filter(|(_, step)| step.choice.rlwe == set);
        let mut spacings: Vec<usize> =
            steps.flat_map(|(_, step)| step.layout.merge_spacings()).collect();
        spacings.sort_unstable_by(|a, b| b.cmp(a));
        spacings.dedup();
        spacings
    }

    /// Step `index` with its parameters and layout, if it is linear.
    #[must_use]
    pub fn linear_step(&self, index: usize) -> Option<LinearStep<'_>> {
        let LayerKind::Linear { op, choice } = &self.spec.layers.get(index)?.kind else {
            return None;
        };
        let params = self.rlwe.get(choice.rlwe)?;
        let layout =
            ConvLayout::new(op.geometry, op.packing, choice.tile, params.ring_degree()).ok()?;
        Some(LinearStep { op, choice, params, layout })
    }
}
