//! Scales that are powers of two: no multipliers, and a shift that is as much shorter.
//!
//! With `s_x*s_w/s_y = 2^-s` for all channels a sum is its products, shifted by s. The scales that the
//! model would have are the nearest powers of two to the present ones, on the average of channels.

use super::coarser::shifted;
use heq_ir::integer::{IntegerNetwork, IntegerOp, LinearTerm, ScaledTerm, SumOp, Term};
use std::sync::Arc;

/// The network with scales that are powers of two, at one layer or at all; `None` if they are, or
/// nothing of the network depends on them.
pub(super) fn apply(network: &IntegerNetwork, layer: Option<usize>) -> Option<IntegerNetwork> {
    let mut changed = network.clone();
    let mut is_changed = false;
    let output = network.output.value.0;
    for (index, of_layer) in changed.layers.iter_mut().enumerate() {
        let IntegerOp::Sum(op) = &mut of_layer.op else { continue };
        if layer.is_some_and(|layer| layer != index) || is_power_of_two(op) {
            continue;
        }
        // Without a requantization only the scale of the output absorbs a factor.
        if op.requantize.is_none() && index + 1 != output {
            continue;
        }
        let exponent = exponent(op);
        if op.requantize.is_none() {
            changed.output.scale *= 2.0_f64.powi(i32::try_from(exponent).unwrap_or(0));
        }
        round_scales(op, exponent);
        is_changed = true;
    }
    is_changed.then_some(changed)
}

/// Whether there is nothing to gain: sums without weights have factors for free.
fn is_power_of_two(op: &SumOp) -> bool {
    op.linear_terms().all(|(_, term)| term.multiplier_bits == 0)
}

/// The exponent of the power of two nearest to the multipliers, in the geometric mean; one bit of a
/// shift is left to round.
fn exponent(op: &SumOp) -> u32 {
    let multipliers = op.linear_terms().flat_map(|(_, term)| &term.multipliers);
    let logs = multipliers.filter(|&&m| m != 0).map(|m| (m.unsigned_abs() as f64).log2());
    let (sum, count) = logs.fold((0.0, 0_usize), |(sum, count), log| (sum + log, count + 1));
    let mean = sum / count.max(1) as f64;
    let most = op.requantize.map_or(u32::MAX, |requantize| requantize.shift.saturating_sub(1));
    let nearest = (0..i64::BITS).find(|&exponent| f64::from(exponent) + 0.5 > mean);
    nearest.unwrap_or(0).min(most)
}

fn round_scales(op: &mut SumOp, exponent: u32) {
    for term in &mut op.terms {
        match term {
            Term::Linear(term) => drop_multipliers(term),
            Term::Scaled(term) => term.factor = nearest_factor(term, exponent),
        }
    }
    op.bias.iter_mut().for_each(|bias| *bias = shifted(*bias, exponent));
    if let Some(requantize) = &mut op.requantize {
        requantize.shift -= exponent.min(requantize.shift);
    }
}

/// Makes all multipliers 1; signs, and channels that are 0, move into the weights.
fn drop_multipliers(term: &mut LinearTerm) {
    let largest = (1_i32 << term.weight_bits.clamp(1, 31).saturating_sub(1)) - 1;
    if term.multipliers.iter().any(|&multiplier| multiplier <= 0) {
        let kernels = Arc::make_mut(&mut term.weights).chunks_mut(term.geometry.fan_in().max(1));
        for (weights, multiplier) in kernels.zip(&term.multipliers) {
            match multiplier.signum() {
                0 => weights.fill(0),
                -1 => weights.iter_mut().for_each(|weight| *weight = (-*weight).min(largest)),
                _ => {}
            }
        }
    }
    term.multipliers.fill(1);
    term.multiplier_bits = 0;
}

/// The power of two nearest to a factor beside multipliers of `2^exponent`; the nearest integer if a
/// mean is taken of windows whose area is none.
fn nearest_factor(term: &ScaledTerm, exponent: u32) -> i64 {
    let [rows, columns] = term.window.kernel;
    let quotient = term.factor.unsigned_abs() as f64 / 2.0_f64.powi(exponent.cast_signed());
    let magnitude = if rows.saturating_mul(columns).is_power_of_two() {
        let exponent = (0..i64::BITS - 2).find(|&at| quotient < 2.0_f64.powf(f64::from(at) + 0.5));
        1 << exponent.unwrap_or(0)
    } else {
        shifted(term.factor, exponent).abs().max(1)
    };
    magnitude * term.factor.signum()
}
