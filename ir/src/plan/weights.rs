//! The server's file: weights, multipliers and biases of the linear steps of one plan, and its tables.
//!
//! A [`WeightsSpec`] is what a file says; [`ServerWeights`] are weights that were checked against
//! their plan, and nothing computes with others. Both are wiped when dropped.

use super::{LayerKind, LinearStep, Plan, PlanDigest};
use crate::diagnostic::{Code, Diagnostic};
use crate::integer::IntRange;
use crate::layout::{LayoutCounts, WeightPlacer};
use crate::secure::{Domain, Packing, max_multiplier, max_weight};
use heq_mutation::broken;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Where the weights of the plan at `plan` are kept by default: `x.server.heq` beside `x.heq`.
#[must_use]
pub fn default_path(plan: &Path) -> PathBuf {
    plan.with_extension("server.heq")
}

/// Unchecked weights of all linear steps of a plan. Secret to the server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsSpec {
    /// The plan that they belong to.
    pub plan: PlanDigest,
    /// One entry for each linear step, in order.
    pub layers: Vec<LinearWeights>,
    /// One entry for each table step, in order.
    pub tables: Vec<TableEntries>,
}

/// The table of one step. Secret to the server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct TableEntries {
    /// An entry for every index: one table for all channels, or one after the other for each.
    pub entries: Vec<u8>,
}

/// Weights that belong to a plan and keep every bound that its parameters rest on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerWeights(WeightsSpec);

/// The weights of one linear step. Secret to the server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct LinearWeights {
    /// Weights `[K, C/G, R, S]`.
    pub weights: Vec<i32>,
    /// Multipliers `[K]`.
    pub multipliers: Vec<i64>,
    /// Biases `[K]` at the scale of `acc*m`; they count mod `2^l`, so any is allowed.
    pub bias: Vec<i64>,
}

impl std::fmt::Debug for WeightsSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WeightsSpec({} layers of plan {})", self.layers.len(), self.plan)
    }
}

impl std::fmt::Debug for TableEntries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TableEntries({} entries)", self.entries.len())
    }
}

impl std::fmt::Debug for LinearWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LinearWeights({} weights)", self.weights.len())
    }
}

impl LinearWeights {
    /// Folded weights `m[k]*w[k, ...]`, in the order of [`LinearWeights::weights`].
    ///
    /// On weights that passed [`ServerWeights::check`] nothing wraps.
    pub fn folded(&self) -> impl Iterator<Item = i64> {
        let per_channel = self.weights.len() / self.multipliers.len().max(1);
        let kernels = self.weights.chunks(per_channel.max(1)).zip(&self.multipliers);
        kernels.flat_map(|(weights, &m)| weights.iter().map(move |&w| i64::from(w).wrapping_mul(m)))
    }
}

impl ServerWeights {
    /// Checks that weights belong to `plan` and keep every bound that its parameters rest on; `file`
    /// names them in diagnostics.
    ///
    /// # Errors
    /// A diagnostic with [`Code::WeightsOfAnotherPlan`] if the digest differs, and with
    /// [`Code::PlanRejected`] if a number, width or norm is not what the plan says.
    pub fn check(spec: WeightsSpec, plan: &Plan, file: &str) -> Result<Self, Diagnostic> {
        let is_other = spec.plan != plan.digest();
        if is_other
            && !broken!(
                "weights of any plan are taken",
                "heq-tests adversarial weights_of_another_plan"
            )
        {
            return Err(Diagnostic::new(
                Code::WeightsOfAnotherPlan,
                file,
                format!("the weights belong to plan {}, not to {}", spec.plan, plan.digest()),
                "pass the .server.heq file that heqc compile wrote together with this plan",
            ));
        }
        let reject = |place: String, what: &str| {
            let remedy = "do not use this file; compile the model again with heqc";
            Err(Diagnostic::new(Code::PlanRejected, place, what, remedy))
        };
        if plan.linear_steps().count() != spec.layers.len() {
            return reject(file.to_owned(), "the number of weight tensors differs from the plan's");
        }
        for ((index, step), weights) in plan.linear_steps().zip(&spec.layers) {
            let operand = plan.operands(index).first().map(|operand| operand.domain);
            if let Err(what) = weights.check(&step, operand) {
                return reject(format!("{file}: {}", plan.layers()[index].name), what);
            }
        }
        let steps = plan.layers().iter().enumerate();
        let tables: Vec<usize> = steps
            .filter(|(_, layer)| matches!(layer.kind, LayerKind::Table { .. }))
            .map(|(index, _)| index)
            .collect();
        if tables.len() != spec.tables.len() {
            return reject(file.to_owned(), "the number of tables differs from the plan's");
        }
        for (index, table) in tables.into_iter().zip(&spec.tables) {
            if !table.fits(plan, index) {
                let place = format!("{file}: {}", plan.layers()[index].name);
                return reject(
                    place,
                    "the table has another size or wider entries than the plan's",
                );
            }
        }
        Ok(Self(spec))
    }

    /// What the file says.
    #[must_use]
    pub fn spec(&self) -> &WeightsSpec {
        &self.0
    }

    /// The plan that they belong to.
    #[must_use]
    pub fn plan(&self) -> PlanDigest {
        self.0.plan
    }

    /// One entry for each linear step, in order.
    #[must_use]
    pub fn layers(&self) -> &[LinearWeights] {
        &self.0.layers
    }

    /// One table for each table step, in order.
    #[must_use]
    pub fn tables(&self) -> &[TableEntries] {
        &self.0.tables
    }
}

impl TableEntries {
    /// The table of a channel that has `2^input_bits` entries.
    #[must_use]
    pub fn of_channel(&self, channel: usize, input_bits: u32) -> &[u8] {
        let size = 1_usize << input_bits.min(8);
        let start = if self.entries.len() > size { channel.saturating_mul(size) } else { 0 };
        self.entries.get(start..).and_then(|rest| rest.get(..size)).unwrap_or(&[])
    }

    /// Whether the table is one of step `index`.
    fn fits(&self, plan: &Plan, index: usize) -> bool {
        let (Some(LayerKind::Table { widths, .. }), Some(value)) =
            (plan.layers().get(index).map(|layer| &layer.kind), plan.values().get(index + 1))
        else {
            return false;
        };
        let size = 1_usize << widths.input_bits.min(8);
        let lengths = [size, size.saturating_mul(value.shape.channels)];
        lengths.contains(&self.entries.len())
            && self.entries.iter().all(|&entry| u32::from(entry) >> widths.result_bits.min(8) == 0)
    }
}

impl LinearWeights {
    fn check(&self, step: &LinearStep<'_>, operand: Option<Domain>) -> Result<(), &'static str> {
        let kernels = step.op.geometry.out_channels;
        let expected = step.op.geometry.weight_count().unwrap_or(usize::MAX);
        if self.weights.len() != expected
            || self.multipliers.len() != kernels
            || self.bias.len() != kernels
        {
            return Err("the tensors have other shapes than the plan's");
        }
        let weight = max_weight(step.op.weight_bits).cast_signed();
        let multiplier = max_multiplier(step.op.multiplier_bits);
        if !self.weights.iter().all(|&w| (-weight..weight).contains(&i64::from(w)))
            || !self.multipliers.iter().all(|m| m.unsigned_abs() <= multiplier)
        {
            return Err("a weight or multiplier exceeds the width in the plan");
        }
        let bound = f64::from(step.choice.weight_norm_squared_log2).exp2();
        let is_large = self.norm_squared(step) > bound;
        if is_large
            && !broken!(
                "weights may have any norm",
                "heq-tests leakage weights_above_the_bound_of_the_plan_are_refused"
            )
        {
            return Err("the weights' norm exceeds the bound that the plan's noise rests on");
        }
        let Some(Domain::Client { range } | Domain::Arithmetic { range, .. }) = operand else {
            return Err("the operand has no range");
        };
        let fits = self.fit_fields(step, range);
        if !fits
            && !broken!(
                "sums may leave their fields",
                "heq-runtime session weights_whose_sums_leave_their_fields_are_refused"
            )
        {
            return Err("sums of products exceed the fields of their coefficients");
        }
        Ok(())
    }

    /// Whether the sums of products below the top field of a coefficient stay within it, a bit to spare.
    fn fit_fields(&self, step: &LinearStep<'_>, range: IntRange) -> bool {
        let half = match step.op.packing {
            Packing::None => return true,
            Packing::WithinChannel { field_bits, .. } | Packing::CrossChannel { field_bits } => {
                1_i128 << field_bits.saturating_sub(2).min(100)
            }
        };
        let fan_in = step.op.geometry.fan_in().max(1);
        let ends = [range.lo.min(0), range.hi.max(0)].map(i128::from);
        let mut sums = vec![[0_i128; 2]; step.op.geometry.out_channels];
        let mut add = |index: usize| {
            let kernel = index / fan_in;
            let folded = i64::from(self.weights[index]).wrapping_mul(self.multipliers[kernel]);
            let products = ends.map(|x| x * i128::from(folded));
            let sum = &mut sums[kernel];
            sum[0] += products[0].min(products[1]);
            sum[1] += products[0].max(products[1]);
        };
        if step.op.packing.planes_per_coefficient() == 1 {
            (0..self.weights.len()).for_each(&mut add);
        } else {
            let placer = WeightPlacer::new(&step.layout);
            let LayoutCounts { rows, input_tiles, .. } = *placer.counts();
            for polynomial in 0..rows * input_tiles {
                let weights = placer.elements(polynomial / input_tiles, polynomial % input_tiles);
                weights.filter(|weight| weight.field == 0).for_each(|weight| add(weight.index));
            }
        }
        sums.iter().all(|sum| -half <= sum[0] && sum[1] < half)
    }

    /// Largest squared norm of the folded weights that feed one response.
    #[must_use]
    pub fn norm_squared(&self, step: &LinearStep<'_>) -> f64 {
        let per_kernel = step.op.geometry.fan_in().max(1);
        let norm = |(weights, &m): (&[i32], &i64)| -> f64 {
            let folded = weights.iter().map(|&w| i64::from(w).wrapping_mul(m) as f64);
            folded.map(|w| w * w).sum()
        };
        let kernels = self.weights.chunks(per_kernel).zip(&self.multipliers);
        let norms: Vec<f64> = kernels.map(norm).collect();
        step.layout.largest_norm_squared(&norms)
    }
}
