//! The server's file: weights, multipliers and biases of the linear steps of one plan.

use super::{LinearStep, Plan, PlanDigest};
use crate::diagnostic::{Code, Diagnostic};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where the weights of the plan at `plan` are kept by default: `x.server.heq` beside `x.heq`.
#[must_use]
pub fn default_path(plan: &Path) -> PathBuf {
    plan.with_extension("server.heq")
}

/// The weights of all linear steps of a plan. Secret to the server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerWeights {
    /// The plan that they belong to.
    pub plan: PlanDigest,
    /// One entry for each linear step, in order.
    pub layers: Vec<LinearWeights>,
}

/// The weights of one linear step. Secret to the server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinearWeights {
    /// Weights `[K, C, R, S]`.
    pub weights: Vec<i32>,
    /// Multipliers `[K]`.
    pub multipliers: Vec<i64>,
    /// Biases `[K]` at the scale of `acc*m`.
    pub bias: Vec<i64>,
}

impl std::fmt::Debug for ServerWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerWeights({} layers of plan {})", self.layers.len(), self.plan)
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
        self.weights
            .iter()
            .enumerate()
            .map(move |(i, &w)| i64::from(w).wrapping_mul(self.multipliers[i / per_channel]))
    }
}

impl ServerWeights {
    /// Checks that the weights belong to `plan` and keep every bound that its parameters rest on.
    ///
    /// # Errors
    /// A diagnostic with [`Code::WeightsOfAnotherPlan`] if the digest differs, and with
    /// [`Code::PlanRejected`] if a number, width or norm is not what the plan says.
    pub fn check(&self, plan: &Plan, file: &str) -> Result<(), Diagnostic> {
        if self.plan != plan.digest() {
            return Err(Diagnostic::new(
                Code::WeightsOfAnotherPlan,
                file,
                format!("the weights belong to plan {}, not to {}", self.plan, plan.digest()),
                "pass the .server.heq file that heqc compile wrote together with this plan",
            ));
        }
        let reject = |place: String, what: &str| {
            let remedy = "do not use this file; compile the model again with heqc";
            Err(Diagnostic::new(Code::PlanRejected, place, what, remedy))
        };
        if plan.linear_steps().count() != self.layers.len() {
            return reject(file.to_owned(), "the number of weight tensors differs from the plan's");
        }
        for ((index, step), weights) in plan.linear_steps().zip(&self.layers) {
            if let Err(what) = weights.check(&step) {
                return reject(format!("{file}: {}", plan.layers()[index].name), what);
            }
        }
        Ok(())
    }
}

impl LinearWeights {
    fn check(&self, step: &LinearStep<'_>) -> Result<(), &'static str> {
        let kernels = step.op.geometry.out_channels;
        let expected = step.op.geometry.fan_in() * kernels;
        if self.weights.len() != expected
            || self.multipliers.len() != kernels
            || self.bias.len() != kernels
        {
            return Err("the tensors have other shapes than the plan's");
        }
        let half = 1_i32 << (step.op.weight_bits - 1);
        let multiplier = ((1_u64 << step.op.multiplier_bits) - 1).max(1);
        if !self.weights.iter().all(|w| (-half..half).contains(w))
            || !self.multipliers.iter().all(|m| m.unsigned_abs() <= multiplier)
            || !self.bias.iter().all(|b| b.unsigned_abs() >> (step.op.acc_bits - 1) == 0)
        {
            return Err("a weight, multiplier or bias exceeds the width in the plan");
        }
        if self.norm_squared(step) > f64::from(step.choice.weight_norm_squared_log2).exp2() {
            return Err("the weights' norm exceeds the bound that the plan's noise rests on");
        }
        Ok(())
    }

    /// Largest squared norm of the folded weights that feed one response.
    #[must_use]
    pub fn norm_squared(&self, step: &LinearStep<'_>) -> f64 {
        let per_kernel = step.op.geometry.fan_in().max(1);
        let folded: Vec<f64> = self.folded().map(|w| w as f64 * w as f64).collect();
        let norms: Vec<f64> = folded.chunks(per_kernel).map(|kernel| kernel.iter().sum()).collect();
        largest_group_norm(&norms, step.choice.tile.out_channels)
    }
}

/// Largest sum over groups of `group` consecutive kernels, given each kernel's squared norm.
#[must_use]
pub fn largest_group_norm(kernel_norms_squared: &[f64], group: usize) -> f64 {
    kernel_norms_squared.chunks(group.max(1)).map(|g| g.iter().sum()).fold(0.0, f64::max)
}
