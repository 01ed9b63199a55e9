//! What would make a plan cheaper: changes to the model, each planned like the model itself.
//!
//! A change is applied to the integer network, as a model that was trained and exported with it would
//! be lowered, and the result is planned with the same options. The weights of such a model are not
//! known; those of the present one stand for them. Of changes to single layers there are many, so a
//! cheap estimate picks the ones that are planned.

mod activation_bits;
mod coarser;
mod power_of_two;

use crate::analysis::range::{NetworkFacts, network_facts};
use crate::choices::Advice;
use crate::compile::plan_narrower;
use crate::lower::plan::PlanOptions;
use crate::select::limits::InferenceCost;
use crate::select::options::{Effort, Objective, SearchOptions};
use crate::select::ot::OtRule;
use activation_bits::SharedQuantizer;
use heq_ir::integer::{IntegerLayer, IntegerNetwork, IntegerOp, SumOp, ValueId};
use heq_ir::plan::{AccStrategy, Plan};
use heq_ir::rounding::AccRounding;
use rayon::prelude::*;
use std::borrow::Cow;
use std::cmp::Reverse;

/// Activation quantizers, and accumulators of single layers, that are planned with a bit less.
const PLANNED: [usize; 2] = [3, 2];

/// Those of a network of more than [`LARGE_NETWORK`] layers, which takes longer to plan.
const PLANNED_OF_LARGE: [usize; 2] = [2, 1];

/// Layers of a large network.
const LARGE_NETWORK: usize = 50;

/// A layer stands for the whole model if it alone makes this much of its savings.
const MOST_OF_ALL: f64 = 0.9;

/// The early rounding that is considered, as `within:2^-K`.
const EARLY_ROUNDING_LOG2: u32 = 8;

/// The changes to the model that improve the objective of `options` most: at most `most`, the best
/// first. What options of the compiler would save follows.
///
/// `plan` is that of `network`, and `without_branch_quantizers` the network of the same model without
/// quantizers on the branches of additions. Savings are differences between two plans with the OT
/// extension of `plan`; calibrated widths are taken for those that follow the weights.
#[must_use]
pub fn advise(
    network: &IntegerNetwork,
    without_branch_quantizers: Option<&IntegerNetwork>,
    options: &PlanOptions,
    plan: &Plan,
    most: usize,
) -> Vec<Advice> {
    let acc_strategy = match options.acc_strategy {
        AccStrategy::Calibrated { .. } => AccStrategy::WeightAware,
        other @ (AccStrategy::WeightAware | AccStrategy::WorstCase) => other,
    };
    let ot = OtRule::Fixed(plan.spec().ot);
    let is_calibrated = acc_strategy != options.acc_strategy;
    let search = SearchOptions { effort: Effort::Quick, ..options.search.clone() };
    let adviser = Adviser {
        network,
        without_branch_quantizers: without_branch_quantizers.filter(|&other| other != network),
        options: PlanOptions { acc_strategy, ot, search, ..options.clone() },
        is_calibrated,
    };
    adviser.advise(most)
}

/// A change, of one layer or all.
#[derive(Clone, Debug, PartialEq)]
enum Change {
    /// None.
    Nothing,
    /// Scales that are powers of two.
    PowerOfTwo(Option<usize>),
    /// One activation bit less.
    ActivationBit(SharedQuantizer),
    /// No quantizers on the branches of additions.
    NoBranchQuantizers,
    /// Accumulators one bit narrower.
    NarrowerSums(Option<usize>),
    /// Early rounding.
    EarlyRounding,
}

impl Change {
    /// Whether it is an option of the compiler rather than a change to the model.
    fn is_option(&self) -> bool {
        matches!(self, Self::NarrowerSums(None) | Self::EarlyRounding)
    }
}

/// A change that was planned.
struct Saving<'a> {
    change: &'a Change,
    bytes: i64,
    seconds: f64,
    /// In the unit of the objective.
    worth: f64,
}

struct Adviser<'a> {
    network: &'a IntegerNetwork,
    without_branch_quantizers: Option<&'a IntegerNetwork>,
    options: PlanOptions,
    is_calibrated: bool,
}

impl Adviser<'_> {
    fn advise(&self, most: usize) -> Vec<Advice> {
        let changes = self.changes();
        // In one pool, so that no thread waits for the first plan.
        let costs: Vec<Option<InferenceCost>> =
            changes.par_iter().map(|change| self.cost(change)).collect();
        let Some((Some(present), costs)) = costs.split_first() else { return Vec::new() };
        let changed = changes.iter().skip(1).zip(costs);
        let savings =
            changed.filter_map(|(change, cost)| Some(self.saving(change, present, (*cost)?)));
        let mut savings: Vec<Saving<'_>> = savings.filter(|saving| saving.worth > 0.0).collect();
        savings.sort_by(|a, b| b.worth.total_cmp(&a.worth));
        without_repetitions(&mut savings);
        let (options, model): (Vec<_>, Vec<_>) =
            savings.iter().partition(|saving| saving.change.is_option());
        let best = model.into_iter().take(most).chain(options);
        best.map(|saving| self.advice(saving)).collect()
    }

    /// The changes to plan; the first is none.
    fn changes(&self) -> Vec<Change> {
        let strategy = self.options.acc_strategy;
        let Ok(facts) = network_facts(self.network, strategy, self.options.rounding) else {
            return vec![Change::Nothing];
        };
        let mut changes = vec![Change::Nothing, Change::PowerOfTwo(None)];
        changes.extend(self.without_branch_quantizers.map(|_| Change::NoBranchQuantizers));
        changes.extend((!self.is_calibrated).then_some(Change::NarrowerSums(None)));
        let is_exact = self.options.rounding == AccRounding::Exact;
        changes.extend(is_exact.then_some(Change::EarlyRounding));
        let is_large = self.network.layers.len() > LARGE_NETWORK;
        let [quantizers, sums] = if is_large { PLANNED_OF_LARGE } else { PLANNED };
        changes.extend(most_concerned(self.scaled_layers(&facts), 1));
        changes.extend(most_concerned(self.quantizers(&facts), quantizers));
        changes.extend(most_concerned(self.sums(&facts), sums));
        changes
    }

    /// Power-of-two scales at one layer, where that may make most of their savings at all.
    fn scaled_layers(&self, facts: &NetworkFacts) -> Vec<(usize, Change)> {
        let layers = self.linear_sums().map(|(index, layer, op)| {
            let bits = op.linear_terms().map(|(_, term)| term.multiplier_bits).max();
            let concerned =
                concerned(facts, index, layer).saturating_mul(bits.unwrap_or(0) as usize);
            (concerned, Change::PowerOfTwo(Some(index)))
        });
        let layers: Vec<_> = layers.collect();
        let all = layers.iter().map(|(concerned, _)| *concerned).fold(0, usize::saturating_add);
        layers.into_iter().filter(|&(concerned, _)| concerned > all / 2).collect()
    }

    fn quantizers(&self, facts: &NetworkFacts) -> Vec<(usize, Change)> {
        let quantizers = SharedQuantizer::all(self.network).into_iter().map(|quantizer| {
            let made = quantizer.layers.iter().chain(&quantizer.readers);
            let concerned = made.map(|&index| elements(facts, ValueId(index + 1))).sum();
            (concerned, Change::ActivationBit(quantizer))
        });
        quantizers.collect()
    }

    fn sums(&self, facts: &NetworkFacts) -> Vec<(usize, Change)> {
        let can_narrow = |index: &usize| {
            let sum = facts.sums.get(*index).and_then(Option::as_ref);
            sum.is_some_and(|sum| sum.acc_bits > sum.least_bits)
        };
        let sums = self.linear_sums().filter(|(index, ..)| can_narrow(index));
        sums.map(|(index, layer, _)| {
            (concerned(facts, index, layer), Change::NarrowerSums(Some(index)))
        })
        .collect()
    }

    /// The layers with weights.
    fn linear_sums(&self) -> impl Iterator<Item = (usize, &IntegerLayer, &SumOp)> {
        self.network.layers.iter().enumerate().filter_map(|(index, layer)| {
            let IntegerOp::Sum(op) = &layer.op else { return None };
            op.linear_terms().next().is_some().then_some((index, layer, op))
        })
    }

    /// What an inference costs after a change; `None` if the change does not apply, or no plan is
    /// found.
    fn cost(&self, change: &Change) -> Option<InferenceCost> {
        let mut options = Cow::Borrowed(&self.options);
        let mut fewer_bits = vec![0; self.network.layers.len()];
        let network = match change {
            Change::Nothing => Cow::Borrowed(self.network),
            Change::PowerOfTwo(layer) => Cow::Owned(power_of_two::apply(self.network, *layer)?),
            Change::ActivationBit(quantizer) => Cow::Owned(quantizer.halved(self.network)?),
            Change::NoBranchQuantizers => Cow::Borrowed(self.without_branch_quantizers?),
            Change::NarrowerSums(layer) => {
                match layer {
                    Some(layer) => *fewer_bits.get_mut(*layer)? = 1,
                    None => fewer_bits.fill(1),
                }
                Cow::Borrowed(self.network)
            }
            Change::EarlyRounding => {
                let rounding = AccRounding::Within { bound_log2: EARLY_ROUNDING_LOG2 };
                options.to_mut().rounding = rounding;
                Cow::Borrowed(self.network)
            }
        };
        let plan = plan_narrower(&network, &options, &fewer_bits).ok()?;
        Some(InferenceCost::of(&plan, &options.search))
    }

    fn saving<'a>(
        &self,
        change: &'a Change,
        present: &InferenceCost,
        changed: InferenceCost,
    ) -> Saving<'a> {
        let bytes = i64::try_from(i128::from(present.bytes) - i128::from(changed.bytes));
        let bytes = bytes.unwrap_or(0);
        let seconds = present.seconds - changed.seconds;
        let worth = match self.options.search.objective {
            Objective::Latency | Objective::OnlineLatency => seconds,
            Objective::Bytes => bytes as f64,
            Objective::Weighted { seconds_per_mb } => seconds + seconds_per_mb * bytes as f64 / 1e6,
        };
        Saving { change, bytes, seconds, worth }
    }

    fn advice(&self, saving: &Saving<'_>) -> Advice {
        let (change, layer) = self.words(saving.change);
        Advice { change, layer, bytes: saving.bytes, seconds: saving.seconds }
    }

    /// A change in words, and the layer that it concerns.
    fn words(&self, change: &Change) -> (String, String) {
        let name = |index: &usize| self.network.layers.get(*index).map_or("", |layer| &layer.name);
        match change {
            Change::Nothing => (String::new(), String::new()),
            Change::PowerOfTwo(None) => {
                let text = "use power-of-two scales, one a tensor, with normalization folded into the \
                            weights before they are quantized";
                (text.to_owned(), String::new())
            }
            Change::PowerOfTwo(Some(layer)) => {
                let name = name(layer);
                let text =
                    format!("use power-of-two scales at {name}, one for all of its channels");
                (text, name.to_owned())
            }
            Change::ActivationBit(quantizer) => {
                let names: Vec<&str> = quantizer.layers.iter().map(name).collect();
                let bits = quantizer.bits - 1;
                let first = names.first().copied().unwrap_or_default().to_owned();
                let plural = if names.len() == 1 { "" } else { "s" };
                let names = names.join(", ");
                (format!("quantize the output{plural} of {names} to {bits} bits"), first)
            }
            Change::NoBranchQuantizers => {
                let bits = self.branch_bits().map_or(String::new(), |bits| format!("{bits}-bit "));
                let text = format!("leave out the {bits}quantizers on the branches of additions");
                (text, String::new())
            }
            Change::NarrowerSums(Some(layer)) => {
                let name = name(layer);
                let text = format!("make the sums of {name} one bit narrower, by smaller weights");
                (text, name.to_owned())
            }
            Change::NarrowerSums(None) => {
                let text = "compile with --acc-bits calibrated: if the samples leave one bit of every \
                            accumulator free; sums may then overflow on other data";
                (text.to_owned(), String::new())
            }
            Change::EarlyRounding => {
                let text = format!(
                    "compile with --rounding within:2^-{EARLY_ROUNDING_LOG2}: about one element of \
                     {} is then off by one step",
                    1_u32 << EARLY_ROUNDING_LOG2
                );
                (text, String::new())
            }
        }
    }

    /// The width of the quantizers that the other network goes without, if they have one.
    fn branch_bits(&self) -> Option<u32> {
        let other = self.without_branch_quantizers?;
        let is_left_out =
            |layer: &&IntegerLayer| !other.layers.iter().any(|kept| kept.tensor == layer.tensor);
        let bits = |layer: &IntegerLayer| {
            let IntegerOp::Sum(op) = &layer.op else { return None };
            op.requantize.map(|requantize| requantize.range.bits())
        };
        let mut found = self.network.layers.iter().filter(is_left_out).filter_map(bits);
        let first = found.next()?;
        found.all(|bits| bits == first).then_some(first)
    }
}

/// The `most` changes of the most bits, all of one kind; each comes with the elements that have them.
fn most_concerned(mut changes: Vec<(usize, Change)>, most: usize) -> impl Iterator<Item = Change> {
    changes.sort_by_key(|(concerned, _)| Reverse(*concerned));
    changes.into_iter().take(most).map(|(_, change)| change)
}

/// Elements that a layer reads and makes.
fn concerned(facts: &NetworkFacts, index: usize, layer: &IntegerLayer) -> usize {
    let values = layer.inputs.iter().copied().chain([ValueId(index + 1)]);
    values.map(|value| elements(facts, value)).fold(0, usize::saturating_add)
}

fn elements(facts: &NetworkFacts, value: ValueId) -> usize {
    facts.shapes.get(value.0).and_then(|shape| shape.checked_len()).unwrap_or(0)
}

/// Names layers instead of the whole model where one makes most of its savings, else leaves them to
/// the whole.
fn without_repetitions(savings: &mut Vec<Saving<'_>>) {
    let worth = |is_whole: bool| {
        let found = savings.iter().find(|saving| is_scaled(saving.change, is_whole));
        found.map_or(0.0, |saving| saving.worth)
    };
    let (whole, layer) = (worth(true), worth(false));
    if whole > 0.0 {
        let names_layers = layer >= MOST_OF_ALL * whole;
        savings.retain(|saving| !is_scaled(saving.change, names_layers));
    }
}

/// Whether a change is to power-of-two scales, of the whole model or of one layer.
fn is_scaled(change: &Change, is_whole: bool) -> bool {
    matches!(change, Change::PowerOfTwo(layer) if layer.is_none() == is_whole)
}

#[cfg(test)]
mod tests;
