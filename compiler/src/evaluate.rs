//! How accurate a plan is, and how much of its accumulators it uses.
//!
//! An accumulator counts mod `2^l`. The sum that it stands for, with the offset of the requantization
//! that reads it, must lie in `l` signed bits; one that does not has overflowed. Partial sums may wrap.

use comfy_table::{CellAlignment, Table, presets};
use heq_data::Sample;
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics, cell, printable};
use heq_ir::eval::{evaluate_observed, wrap};
use heq_ir::plan::reveal::Reveal;
use heq_ir::plan::weights::ServerWeights;
use heq_ir::plan::{AccStrategy, LayerKind, Plan, RoundedStep};
use heq_ir::protocol::requantize::RequantizeWidths;
use heq_ir::rounding::AccRounding;
use heq_ir::secure::CombineTerm;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write as _;

/// Samples between two reports of progress.
const CHUNK: usize = 16;

/// Number of classes from which the five largest outputs count as well.
const TOP5_CLASSES: usize = 100;

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    /// Number of samples.
    pub samples: usize,
    /// Samples whose largest output is their label, if there are labels.
    pub top1: Option<usize>,
    /// Samples whose label is among the five largest outputs, from 100 classes on.
    pub top5: Option<usize>,
    /// One entry for each accumulator, in the order of the plan.
    pub accumulators: Vec<Headroom>,
}

/// How much of an accumulator is used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Headroom {
    /// Index of the step in the plan.
    pub step: usize,
    /// Width in bits, signed.
    pub acc_bits: u32,
    /// Bits that the largest value took, signed.
    pub used_bits: u32,
    /// Values that left the width.
    pub overflows: u64,
    /// How early rounding changes the elements requantized from it, if it does.
    pub rounded: Option<Rounded>,
}

/// What early rounding of an accumulator does to the elements requantized from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounded {
    /// Low bits d of the accumulator's words that are dropped.
    pub dropped_bits: u32,
    /// Elements of one sample.
    pub elements: usize,
    /// The plan's probability that an element differs: of uniform accumulators, none clamped.
    pub predicted: f64,
    /// Elements of all samples that are expected to differ, with the accumulators that the data led to,
    /// noise left aside.
    pub expected: f64,
}

impl Headroom {
    /// Bits that no value took; below 0 where one overflowed.
    #[must_use]
    pub fn free_bits(&self) -> i64 {
        i64::from(self.acc_bits) - i64::from(self.used_bits)
    }
}

/// Evaluates a plan on `samples`; `labels` has one class for each, or more. `progress` hears how many
/// are done, and may end it. A sample is quantized when its turn comes, and what it led to is not kept.
///
/// # Errors
/// If there is no sample, if there are fewer labels than samples, if the inputs are not the plan's, or the
/// error of `progress`.
pub fn evaluate(
    plan: &Plan,
    weights: &ServerWeights,
    samples: &[Sample],
    labels: Option<&[i64]>,
    progress: &mut dyn FnMut(usize) -> Result<(), Diagnostic>,
) -> Result<Evaluated, Diagnostics> {
    let refuse = |what: String, remedy: &str| {
        Err(Diagnostic::new(Code::WrongInput, "the data", what, remedy).into())
    };
    if samples.is_empty() {
        return refuse("there is no sample".into(), "give at least one, and a --limit above 0");
    }
    if let Some(labels) = labels
        && labels.len() < samples.len()
    {
        let what = format!("there are {} labels for {} samples", labels.len(), samples.len());
        return refuse(what, "give one label for every sample");
    }
    let probes = probes(plan);
    let headroom = |probe: &Probe| Headroom {
        step: probe.step,
        acc_bits: probe.acc_bits,
        used_bits: 1,
        overflows: 0,
        rounded: probe.rounded.map(|(_, step)| Rounded {
            dropped_bits: step.rounding.dropped_bits(),
            elements: step.elements / plan.batch(),
            predicted: step.probability,
            expected: 0.0,
        }),
    };
    let ranked = match plan.reveal() {
        Reveal::Logits => plan.output_len(),
        Reveal::Top { k } => k as usize,
    };
    let top5 = plan.classes() >= TOP5_CLASSES && ranked >= 5;
    let start = Evaluated {
        samples: 0,
        top1: labels.map(|_| 0),
        top5: labels.filter(|_| top5).map(|_| 0),
        accumulators: probes.iter().filter(|probe| probe.judged).map(headroom).collect(),
    };
    let mut found = start.clone();
    for (chunk, first) in samples.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
        let part = chunk.par_iter().enumerate().map(|(index, sample)| {
            let label = labels.and_then(|labels| labels.get(first + index)).copied();
            let input = sample.quantized(&plan.spec().input);
            one(plan, weights, &input, label, &probes, &start)
        });
        let part: Result<Vec<Evaluated>, Diagnostics> = part.collect();
        part?.iter().for_each(|one| found.add(one));
        progress(found.samples)?;
    }
    Ok(found)
}

/// A step that accumulates.
struct Probe {
    step: usize,
    acc_bits: u32,
    /// What is added before the value is used.
    offset: i64,
    /// Whether the value is used as it is, rather than summed up further.
    judged: bool,
    /// The requantization that rounds the value, if one does, with its widths.
    rounded: Option<(RequantizeWidths, RoundedStep)>,
    /// Operands that are accumulators themselves: the step that makes them, and the elements of its result
    /// that are theirs, if not all.
    parts: Vec<(usize, Option<Vec<usize>>)>,
}

fn probes(plan: &Plan) -> Vec<Probe> {
    let steps = plan.layers().iter().enumerate();
    let probes = steps.filter_map(|(step, layer)| {
        let acc_bits = layer.kind.acc_bits()?;
        let mut parts = Vec::new();
        if let LayerKind::Combine(op) = &layer.kind {
            let operands = layer.operands.iter().zip(&op.terms);
            let accumulators = operands.filter_map(|(operand, term)| match term {
                CombineTerm::Accumulator => part(plan, operand.0.checked_sub(1)?),
                CombineTerm::Scaled(_) => None,
            });
            parts.extend(accumulators);
        }
        let Reader { offset, judged, rounded } = reader(plan, step);
        Some(Probe { step, acc_bits, offset, judged, rounded, parts })
    });
    probes.collect()
}

/// The step behind an accumulator that `step` makes or picks from another, and what it picks.
fn part(plan: &Plan, step: usize) -> Option<(usize, Option<Vec<usize>>)> {
    let layer = plan.layers().get(step)?;
    let LayerKind::View(view) = &layer.kind else { return Some((step, None)) };
    let source = plan.operands(step).first()?.shape;
    let picked = view.sources(source)?.into_iter().collect::<Option<_>>()?;
    Some((layer.operands.first()?.0.checked_sub(1)?, Some(picked)))
}

/// What becomes of an accumulator.
struct Reader {
    /// What is added before it is used.
    offset: i64,
    /// Whether it is not summed up first.
    judged: bool,
    rounded: Option<(RequantizeWidths, RoundedStep)>,
}

/// What becomes of the result of `step`.
fn reader(plan: &Plan, step: usize) -> Reader {
    for (index, layer) in plan.layers().iter().enumerate() {
        for (slot, operand) in layer.operands.iter().enumerate() {
            if operand.0 != step + 1 {
                continue;
            }
            if let LayerKind::Requantize { widths, range, .. } = &layer.kind {
                let rounded = plan.rounded_step(index);
                let exact = rounded.map_or(*widths, |step| step.rounding.exact_widths(widths));
                let offset = exact.offset(range.lo).cast_signed() >> exact.guard_bits;
                let rounded = rounded.map(|step| (*widths, step));
                return Reader { offset, judged: true, rounded };
            }
            if let LayerKind::View(_) = &layer.kind {
                return reader(plan, index);
            }
            if let LayerKind::Combine(op) = &layer.kind
                && matches!(op.terms.get(slot), Some(CombineTerm::Accumulator))
            {
                return Reader { offset: 0, judged: false, rounded: None };
            }
        }
    }
    Reader { offset: 0, judged: true, rounded: None }
}

/// One sample.
fn one(
    plan: &Plan,
    weights: &ServerWeights,
    input: &[i64],
    label: Option<i64>,
    probes: &[Probe],
    start: &Evaluated,
) -> Result<Evaluated, Diagnostics> {
    let mut found = Evaluated { samples: 1, ..start.clone() };
    // Of accumulators that are summed up further: the multiples of 2^l that their elements lost.
    let mut lost: HashMap<usize, Vec<i64>> = HashMap::new();
    let mut observe = |step: usize, seen: &[i64]| {
        let Some(probe) = probes.iter().find(|probe| probe.step == step) else { return };
        let mut exact = seen.to_vec();
        for (part, picked) in &probe.parts {
            let Some(lost) = lost.get(part) else { continue };
            for (index, sum) in exact.iter_mut().enumerate() {
                let index = picked.as_ref().map_or(index, |picked| picked[index]);
                *sum = sum.wrapping_add(lost.get(index).copied().unwrap_or(0));
            }
        }
        if let Some(headroom) = found.accumulators.iter_mut().find(|one| one.step == step) {
            headroom.see(probe, &exact);
        } else {
            exact.iter_mut().for_each(|sum| *sum = sum.wrapping_sub(wrap(*sum, probe.acc_bits)));
            lost.insert(step, exact);
        }
    };
    let evaluation = evaluate_observed(plan, weights, input, &mut observe).map_err(|error| {
        let remedy = "this is a fault of heqc; please report it";
        Diagnostic::new(Code::Internal, &plan.spec().model, error.to_string(), remedy)
    })?;
    if let Some(label) = label {
        let output = evaluation.output();
        let index = usize::try_from(label).ok();
        let rank = match plan.reveal() {
            Reveal::Logits => index.and_then(|index| rank(output, index)),
            Reveal::Top { .. } => output.iter().position(|&class| class == label),
        };
        let first = |hit: bool, count: &mut Option<usize>| {
            if let Some(count) = count {
                *count += usize::from(hit);
            }
        };
        first(rank == Some(0), &mut found.top1);
        first(rank.is_some_and(|rank| rank < 5), &mut found.top5);
    }
    Ok(found)
}

/// How many outputs come before that of class `index`, if there is one.
fn rank(output: &[i64], index: usize) -> Option<usize> {
    let own = output.get(index)?;
    let earlier = |&(at, value): &(usize, &i64)| value > own || (value == own && at < index);
    Some(output.iter().enumerate().filter(earlier).count())
}

impl Headroom {
    /// Takes the exact sums of one sample into account.
    fn see(&mut self, probe: &Probe, sums: &[i64]) {
        for sum in sums {
            let value = sum.wrapping_add(probe.offset);
            let bits = i64::BITS + 1 - (value ^ (value >> 63)).leading_zeros();
            self.used_bits = self.used_bits.max(bits);
            self.overflows += u64::from(bits > self.acc_bits);
            if let (Some(found), Some((widths, step))) = (&mut self.rounded, &probe.rounded) {
                found.expected += step.rounding.probability_at(widths, value);
            }
        }
    }
}

impl Evaluated {
    fn add(&mut self, one: &Self) {
        let sum = |a: Option<usize>, b: Option<usize>| Some(a? + b?);
        self.samples += one.samples;
        self.top1 = sum(self.top1, one.top1);
        self.top5 = sum(self.top5, one.top5);
        for (total, one) in self.accumulators.iter_mut().zip(&one.accumulators) {
            total.used_bits = total.used_bits.max(one.used_bits);
            total.overflows += one.overflows;
            if let (Some(total), Some(one)) = (&mut total.rounded, &one.rounded) {
                total.expected += one.expected;
            }
        }
    }

    /// Values that left the width of their accumulator.
    #[must_use]
    pub fn overflows(&self) -> u64 {
        self.accumulators.iter().map(|accumulator| accumulator.overflows).sum()
    }

    /// Elements of a sample that early rounding is expected to change, step by step on exact operands.
    #[must_use]
    pub fn differing_elements(&self) -> f64 {
        let rounded = self.accumulators.iter().filter_map(|accumulator| accumulator.rounded);
        rounded.map(|rounded| rounded.expected).sum::<f64>() / self.samples.max(1) as f64
    }

    /// A `heq-evaluate/1` document; `plan` is the one that was evaluated.
    #[must_use]
    pub fn to_json(&self, plan: &Plan) -> Value {
        let accumulators = self.accumulators.iter().map(|accumulator| {
            let layer = plan.layers().get(accumulator.step);
            json!({
                "step": accumulator.step,
                "name": layer.map(|layer| &layer.name),
                "operator": layer.map(|layer| &layer.operator),
                "acc_bits": accumulator.acc_bits,
                "used_bits": accumulator.used_bits,
                "free_bits": accumulator.free_bits(),
                "overflows": accumulator.overflows,
                "rounding": accumulator.rounded.map(|rounded| json!({
                    "dropped_bits": rounded.dropped_bits,
                    "predicted_probability": rounded.predicted,
                    "expected_probability": rounded.expected_probability(self.samples),
                })),
            })
        });
        json!({
            "schema": "heq-evaluate/1",
            "model": plan.spec().model,
            "plan": plan.digest().to_string(),
            "samples": self.samples,
            "top1": self.top1,
            "top5": self.top5,
            "acc_strategy": plan.spec().acc_strategy.to_string(),
            "overflows": self.overflows(),
            "rounding": plan.spec().rounding.to_string(),
            "differing_elements": self.differing_elements(),
            "accumulators": accumulators.collect::<Vec<_>>(),
        })
    }

    /// Accuracy, and a row for every accumulator.
    #[must_use]
    pub fn to_table(&self, plan: &Plan) -> String {
        let mut text = format!("{} samples\n", self.samples);
        for (name, hits) in [("top-1", self.top1), ("top-5", self.top5)] {
            if let Some(hits) = hits {
                let percent = percent(hits, self.samples);
                let _ = writeln!(text, "{name}: {hits} of {} ({percent:.2} %)", self.samples);
            }
        }
        if self.top1.is_none() {
            text.push_str("accuracy: unknown, the data has no array `labels`\n");
        }
        let strategy = plan.spec().acc_strategy;
        let advice = if self.overflows() > 0 && matches!(strategy, AccStrategy::Calibrated { .. }) {
            "; calibrate with more data, or with a wider --margin"
        } else {
            ""
        };
        let _ = writeln!(text, "overflows: {} ({strategy} widths{advice})", self.overflows());
        if plan.spec().rounding != AccRounding::Exact {
            let _ = writeln!(
                text,
                "rounding {}: about {:.1} requantized elements a sample are off by one; all figures \
                 here are of the exact network",
                plan.spec().rounding,
                self.differing_elements()
            );
        }
        let mut table = Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY);
        let header =
            ["step", "operator", "name", "width", "used", "free", "overflows", "off by one"];
        table.set_header(header);
        for accumulator in &self.accumulators {
            let Headroom { step, acc_bits, used_bits, overflows, rounded } = *accumulator;
            let Some(layer) = plan.layers().get(step) else { continue };
            table.add_row([
                step.to_string(),
                printable(&layer.operator),
                cell(&layer.name),
                format!("{acc_bits} bits"),
                format!("{used_bits} bits"),
                accumulator.free_bits().to_string(),
                overflows.to_string(),
                rounded.map_or("never".to_owned(), |rounded| {
                    let found = rounded.expected_probability(self.samples);
                    let Rounded { dropped_bits, predicted, .. } = rounded;
                    format!("d{dropped_bits}: {found:.1e} of {predicted:.1e}")
                }),
            ]);
        }
        for column in table.column_iter_mut().skip(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let _ = writeln!(text, "{table}");
        text
    }
}

impl Rounded {
    /// The mean probability that an element differs, over `samples` samples.
    #[must_use]
    pub fn expected_probability(&self, samples: usize) -> f64 {
        self.expected / (samples * self.elements).max(1) as f64
    }
}

/// How much of `total` `part` is, in percent.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn percent(part: usize, total: usize) -> f64 {
    if total == 0 { 0.0 } else { 100.0 * part as f64 / total as f64 }
}

#[cfg(test)]
mod tests;
