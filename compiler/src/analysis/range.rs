//! Accumulator widths and weight norms of every linear layer.
//!
//! With `x` in `[x_min, x_max]` (zero included, since padding is zero) the final accumulator lies in
//! `[N_k, P_k]`, `P_k = sum max(w*x_min, w*x_max) + bias_k + offset`, `N_k` the same with min; the
//! offset is what the requantization adds before its shift. Only the final sum must fit `l` bits:
//! partial sums may wrap. See docs/integer-network.md.

use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::integer::{IntRange, IntegerLayer, IntegerNetwork, IntegerOp, LinearOp, ValueId};
use heq_ir::plan::AccStrategy;
use heq_ir::secure::{MAX_SHARE_BITS, max_multiplier, max_weight};

/// What the planner knows of a linear layer beside its shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearFacts {
    /// Accumulator width l in bits.
    pub acc_bits: u32,
    /// Upper bound of the squared norm of every kernel's folded weights, `[K]`.
    pub kernel_norms_squared: Vec<f64>,
}

/// Facts of every layer, `None` where it is not linear.
///
/// # Errors
/// [`Code::BiasTooLarge`] if worst-case widths are asked for and a bias exceeds the product term;
/// [`Code::NoParameters`] if an accumulator is wider than the protocols allow. All layers concerned
/// are reported.
pub fn linear_facts(
    network: &IntegerNetwork,
    strategy: AccStrategy,
) -> Result<Vec<Option<LinearFacts>>, Diagnostics> {
    let mut ranges = vec![network.input.quantization.range];
    let mut facts = Vec::with_capacity(network.layers.len());
    let mut found = Vec::new();
    for layer in &network.layers {
        let input = range_of(&ranges, layer.input);
        let (fact, output) = match &layer.op {
            IntegerOp::Linear(op) => {
                let fact = match strategy {
                    AccStrategy::WeightAware => Ok(weight_aware(op, input)),
                    AccStrategy::WorstCase => worst_case(layer, op, input),
                };
                let fact = fact.and_then(|fact| check_width(layer, fact));
                (Some(fact), op.requantize.map_or(input, |requantize| requantize.range))
            }
            IntegerOp::MaxPool(_) | IntegerOp::Flatten => (None, input),
        };
        ranges.push(output);
        facts.push(fact.and_then(|fact| fact.map_err(|error| found.push(error)).ok()));
    }
    match Diagnostics::from_found(found) {
        Some(found) => Err(found),
        None => Ok(facts),
    }
}

fn range_of(ranges: &[IntRange], value: ValueId) -> IntRange {
    ranges.get(value.0).copied().unwrap_or(IntRange { lo: 0, hi: 0 })
}

fn check_width(layer: &IntegerLayer, fact: LinearFacts) -> Result<LinearFacts, Diagnostic> {
    if fact.acc_bits < MAX_SHARE_BITS {
        return Ok(fact);
    }
    Err(Diagnostic::new(
        Code::NoParameters,
        &layer.name,
        format!("needs an accumulator of {} bits, more than {}", fact.acc_bits, MAX_SHARE_BITS - 1),
        "use fewer bits for weights, activations or --multiplier-bits, or --acc-bits weight-aware",
    ))
}

/// What the requantization adds before its shift, and the width that it needs in any case.
fn requantize_terms(op: &LinearOp) -> (i128, u32) {
    op.requantize.map_or((0, 2), |requantize| {
        let half = if requantize.shift >= 1 { 1_i128 << (requantize.shift - 1) } else { 0 };
        let offset = half - (i128::from(requantize.range.lo) << requantize.shift);
        (offset, requantize.shift + requantize.range.bits() + 1)
    })
}

/// Smallest width whose signed range holds `[lowest, highest]`.
fn signed_bits(lowest: i128, highest: i128) -> u32 {
    let magnitude = highest.max(-1 - lowest).max(0);
    i128::BITS - magnitude.leading_zeros() + 1
}

fn weight_aware(op: &LinearOp, input: IntRange) -> LinearFacts {
    let (lo, hi) = (i128::from(input.lo.min(0)), i128::from(input.hi.max(0)));
    let (offset, least_bits) = requantize_terms(op);
    let per_kernel = op.geometry.fan_in().max(1);
    let mut acc_bits = least_bits;
    let mut kernel_norms_squared = Vec::with_capacity(op.multipliers.len());
    for (k, kernel) in op.weights.chunks(per_kernel).enumerate() {
        let multiplier = i128::from(op.multipliers.get(k).copied().unwrap_or(1));
        let constant = i128::from(op.bias.get(k).copied().unwrap_or(0)) + offset;
        let (mut lowest, mut highest, mut norm) = (constant, constant, 0.0);
        for &weight in kernel {
            let folded = i128::from(weight) * multiplier;
            lowest += (folded * lo).min(folded * hi);
            highest += (folded * lo).max(folded * hi);
            norm += (folded * folded) as f64;
        }
        acc_bits = acc_bits.max(signed_bits(lowest, highest));
        kernel_norms_squared.push(norm);
    }
    LinearFacts { acc_bits, kernel_norms_squared }
}

fn worst_case(
    layer: &IntegerLayer,
    op: &LinearOp,
    input: IntRange,
) -> Result<LinearFacts, Diagnostic> {
    let folded = i128::from(max_multiplier(op.multiplier_bits) * max_weight(op.weight_bits));
    let activation = i128::from(input.lo.unsigned_abs().max(input.hi.unsigned_abs()));
    let fan_in = op.geometry.fan_in();
    let products = folded * activation * fan_in as i128;
    let largest_bias = op.bias.iter().map(|b| b.unsigned_abs()).max().unwrap_or(0);
    if i128::from(largest_bias) > products {
        return Err(Diagnostic::new(
            Code::BiasTooLarge,
            &layer.name,
            format!(
                "a bias of magnitude {largest_bias} exceeds the largest sum of products {products}"
            ),
            "compile with --acc-bits weight-aware, which derives the width from the weights",
        ));
    }
    let (offset, least_bits) = requantize_terms(op);
    let highest = 2 * products + offset.abs();
    let norm = fan_in as f64 * (folded as f64).powi(2);
    Ok(LinearFacts {
        acc_bits: least_bits.max(signed_bits(-highest, highest)),
        kernel_norms_squared: vec![norm; op.geometry.out_channels],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use heq_ir::geometry::ConvGeometry;
    use heq_ir::integer::Requantize;

    fn layer(weights: Vec<i32>, bias: i64, requantize: Option<Requantize>) -> LinearOp {
        LinearOp {
            geometry: ConvGeometry::fully_connected(weights.len(), 1),
            weights,
            weight_bits: 4,
            multipliers: vec![1],
            multiplier_bits: 0,
            bias: vec![bias],
            requantize,
        }
    }

    #[test]
    fn signed_widths() {
        for (lowest, highest, bits) in [
            (0, 0, 1),
            (-1, 0, 1),
            (0, 1, 2),
            (-2, 1, 2),
            (-128, 127, 8),
            (-129, 0, 9),
            (0, 128, 9),
        ] {
            assert_eq!(signed_bits(lowest, highest), bits, "[{lowest}, {highest}]");
        }
    }

    #[test]
    fn weight_aware_is_exact() {
        let input = IntRange { lo: 0, hi: 15 };
        // [-7*15 + 3, 5*15 + 3]
        let op = layer(vec![5, -7], 3, None);
        assert_eq!(weight_aware(&op, input).acc_bits, signed_bits(-102, 78));
        let requantize = Requantize { shift: 3, range: IntRange { lo: -8, hi: 7 } };
        let op = layer(vec![5, -7], 3, Some(requantize));
        // plus 4 + 64, and at least s + b + 1
        assert_eq!(weight_aware(&op, input).acc_bits, signed_bits(-34, 146).max(8));
    }

    #[test]
    fn worst_case_ignores_the_weights() {
        let input = IntRange { lo: 0, hi: 15 };
        let integer_layer = |op: &LinearOp| IntegerLayer {
            name: "fc".to_owned(),
            operator: "Gemm".to_owned(),
            input: ValueId(0),
            op: IntegerOp::Linear(op.clone()),
        };
        let (a, b) = (layer(vec![1, 0], 0, None), layer(vec![-8, 7], 100, None));
        let facts = |op: &LinearOp| worst_case(&integer_layer(op), op, input);
        assert_eq!(facts(&a), facts(&b));
        let too_large = layer(vec![1, 1], 100_000, None);
        assert_eq!(facts(&too_large).unwrap_err().code, Code::BiasTooLarge);
    }
}
