//! Ranges of all values, accumulator widths of all sums, weight norms of all linear terms.
//!
//! With `x` in `[x_min, x_max]` (zero included where a window may pad) a linear term lies in
//! `[sum min(w*x_min, w*x_max), sum max(w*x_min, w*x_max)]` and a scaled term in `factor*area` times
//! the range; the final accumulator adds them, the bias, and the offset that the requantization adds
//! before its shift. Only the final sum must fit `l` bits: partial sums may wrap. See
//! docs/integer-network.md.

use super::extremes::{Extremes, SignedSums};
use crate::kernel::packing::{FieldSums, visit_low_weights};
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::geometry::Chw;
use heq_ir::integer::{
    IntRange, IntegerLayer, IntegerNetwork, IntegerOp, LinearTerm, ScaledTerm, SumOp, Term, ValueId,
};
use heq_ir::plan::AccStrategy;
use heq_ir::rounding::AccRounding;
use heq_ir::secure::{MAX_SHARE_BITS, guard_bits, max_multiplier, max_weight};

/// What the planner knows of a network beside its shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkFacts {
    /// The values that every value takes: 0 is the input, `i + 1` the output of layer `i`.
    pub ranges: Vec<IntRange>,
    /// Shapes of all values.
    pub shapes: Vec<Chw>,
    /// Facts of every layer, `None` where it is no sum.
    pub sums: Vec<Option<SumFacts>>,
}

impl NetworkFacts {
    /// Accumulator width of layer `index` in bits; 0 if it is no sum.
    #[must_use]
    pub fn acc_bits(&self, index: usize) -> u32 {
        self.sums.get(index).and_then(Option::as_ref).map_or(0, |facts| facts.acc_bits)
    }

    /// Bits that are rounded off the words of layer `index`, if it is a sum.
    #[must_use]
    pub fn rounded_bits(&self, index: usize) -> u32 {
        self.sums.get(index).and_then(Option::as_ref).map_or(0, |facts| facts.rounded_bits)
    }
}

/// What the planner knows of a sum.
#[derive(Clone, Debug, PartialEq)]
pub struct SumFacts {
    /// Accumulator width l in bits.
    pub acc_bits: u32,
    /// Low bits d of the words of the accumulator that its requantization drops; 0 if it is exact.
    pub rounded_bits: u32,
    /// The least width that the steps behind the sum can do with, whatever the sums are; at most
    /// `acc_bits`.
    pub least_bits: u32,
    /// For every term an upper bound of the squared norm of every kernel's folded weights, `[K]`;
    /// empty where the term is not linear.
    pub kernel_norms_squared: Vec<Vec<f64>>,
}

impl SumFacts {
    /// Widens the accumulator to `bits`, or as far as the protocols allow.
    fn widen(&mut self, bits: u32) {
        let linear = self.kernel_norms_squared.iter().filter(|norms| !norms.is_empty());
        let widest = MAX_SHARE_BITS - guard_bits(linear.count());
        self.acc_bits = self.acc_bits.max(bits.min(widest));
    }

    /// Narrows the accumulator to what sums of `used_bits` bits and a margin need.
    fn narrow(&mut self, used_bits: u32, margin_bits: u32) {
        let wanted = used_bits.saturating_add(margin_bits);
        self.acc_bits = self.acc_bits.min(wanted.max(self.least_bits));
    }
}

impl NetworkFacts {
    /// Narrows the accumulator of every layer by as many of `fewer_bits` as the steps behind it can do
    /// without; as [`NetworkFacts::narrow`].
    pub fn narrow_by(&mut self, fewer_bits: &[u32]) {
        for (facts, fewer_bits) in self.sums.iter_mut().zip(fewer_bits) {
            if let Some(facts) = facts {
                facts.narrow(facts.acc_bits.saturating_sub(*fewer_bits), 0);
            }
        }
    }

    /// Narrows the accumulators of layers to what calibration data took of them, in bits, and a
    /// margin. A sum that is neither requantized nor made by linear layers keeps its width: its
    /// readers take it for exact.
    pub fn narrow(&mut self, used_bits: &[Option<u32>], margin_bits: u32) {
        for (facts, used_bits) in self.sums.iter_mut().zip(used_bits) {
            if let (Some(facts), &Some(used_bits)) = (facts, used_bits) {
                facts.narrow(used_bits, margin_bits);
            }
        }
    }
}

impl NetworkFacts {
    /// Widens accumulators to a ring of `ring_bits` bits, at most to what the protocols allow; sums that
    /// are wider already stay so.
    pub fn widen(&mut self, ring_bits: u32) {
        self.sums.iter_mut().flatten().for_each(|facts| facts.widen(ring_bits));
    }
}

/// Facts of a network whose accumulators are rounded as `rounding` says; widths to be calibrated are
/// those of [`AccStrategy::WeightAware`] at first.
///
/// # Errors
/// [`Code::BiasTooLarge`] if worst-case widths are asked for and a bias exceeds the product terms;
/// [`Code::NoParameters`] if an accumulator is wider than the protocols allow. All layers concerned
/// are reported.
pub fn network_facts(
    network: &IntegerNetwork,
    strategy: AccStrategy,
    rounding: AccRounding,
) -> Result<NetworkFacts, Diagnostics> {
    let mut ranges = vec![network.input.quantization.range];
    let shapes = value_shapes(network);
    let mut sums = Vec::with_capacity(network.layers.len());
    let mut found = Vec::new();
    for layer in &network.layers {
        let inputs: Vec<IntRange> = layer.inputs.iter().map(|&id| range_of(&ranges, id)).collect();
        let first = inputs.first().copied().unwrap_or(ZERO);
        let (fact, output) = match &layer.op {
            IntegerOp::Sum(op) => match sum_facts(layer, op, &inputs, strategy, rounding) {
                Ok((fact, range)) => (Some(fact), range),
                Err(error) => {
                    found.push(error);
                    (None, ZERO)
                }
            },
            IntegerOp::MaxPool(_) | IntegerOp::Reshape(_) => (None, first),
            IntegerOp::Table(table) => (None, table.output),
            IntegerOp::View(view) => {
                let input = layer.inputs.first().and_then(|id| shapes.get(id.0).copied());
                let pads = input.and_then(|input| view.pads(input)).unwrap_or(true);
                (None, if pads { union(first, ZERO) } else { first })
            }
            IntegerOp::Concat { .. } => {
                (None, inputs.iter().copied().reduce(union).unwrap_or(ZERO))
            }
        };
        ranges.push(output);
        sums.push(fact);
    }
    match Diagnostics::from_found(found) {
        Some(found) => Err(found),
        None => Ok(NetworkFacts { ranges, shapes, sums }),
    }
}

/// Shapes of all values. Where a layer does not fit its input the typing rule says so later.
fn value_shapes(network: &IntegerNetwork) -> Vec<Chw> {
    let mut shapes = vec![network.input_shape()];
    for layer in &network.layers {
        let inputs = layer.inputs.iter().filter_map(|id| shapes.get(id.0).copied());
        let first = inputs.clone().next().unwrap_or(network.input_shape());
        shapes.push(match &layer.op {
            IntegerOp::Sum(op) => op.output,
            IntegerOp::MaxPool(op) => {
                let [height, width] =
                    op.window.output(op.input.height, op.input.width).unwrap_or_default();
                Chw::new(op.input.channels, height, width)
            }
            IntegerOp::Table(_) => first,
            IntegerOp::View(view) => view.output,
            IntegerOp::Reshape(shape) => *shape,
            IntegerOp::Concat { .. } => {
                let channels = inputs.map(|shape| shape.channels).fold(0, usize::saturating_add);
                Chw { channels, ..first }
            }
        });
    }
    shapes
}

const ZERO: IntRange = IntRange { lo: 0, hi: 0 };

fn range_of(ranges: &[IntRange], value: ValueId) -> IntRange {
    ranges.get(value.0).copied().unwrap_or(ZERO)
}

fn union(a: IntRange, b: IntRange) -> IntRange {
    IntRange { lo: a.lo.min(b.lo), hi: a.hi.max(b.hi) }
}

fn sum_facts(
    layer: &IntegerLayer,
    op: &SumOp,
    inputs: &[IntRange],
    strategy: AccStrategy,
    rounding: AccRounding,
) -> Result<(SumFacts, IntRange), Diagnostic> {
    let inputs =
        inputs.iter().copied().map(Extremes::of).chain(std::iter::repeat(Extremes::default()));
    let terms: Vec<(&Term, Extremes)> = op.terms.iter().zip(inputs).collect();
    let scaled = terms.iter().filter_map(|(term, x)| match term {
        Term::Scaled(term) => Some(scaled_extremes(term, *x)),
        Term::Linear(_) => None,
    });
    let scaled = scaled.fold(Extremes::default(), Extremes::plus);
    let linear = || {
        terms.iter().filter_map(|(term, x)| match term {
            Term::Linear(term) => Some((term, x.with_zero())),
            Term::Scaled(_) => None,
        })
    };
    let count = linear().count();
    let sum = match strategy {
        AccStrategy::WorstCase if count > 0 => {
            let products = linear().map(|(term, x)| largest_product_sum(term, x)).sum::<i128>();
            check_bias(layer, op, products)?;
            scaled.plus(Extremes::symmetric(2 * products))
        }
        AccStrategy::WeightAware | AccStrategy::Calibrated { .. } | AccStrategy::WorstCase => {
            let channel = |(k, &bias): (usize, &i64)| {
                let start = scaled.plus(Extremes::constant(i128::from(bias)));
                linear().map(|(term, x)| kernel_extremes(term, k, x)).fold(start, Extremes::plus)
            };
            op.bias.iter().enumerate().map(channel).reduce(Extremes::union).unwrap_or(scaled)
        }
    };
    let (offset, least_bits) = match op.requantize {
        Some(requantize) => {
            let half = if requantize.shift >= 1 { 1_i128 << (requantize.shift - 1) } else { 0 };
            let low = i128::from(requantize.range.lo) << requantize.shift;
            (half - low, requantize.shift + requantize.range.bits() + 1)
        }
        // So wide that the result can be turned into bits.
        None if count == 0 => (0, sum.range().bits() + 1),
        None => (0, 2),
    };
    let rounded_bits = match op.requantize {
        Some(requantize) if count > 0 => rounding.dropped_bits(requantize.shift, guard_bits(count)),
        _ => 0,
    };
    // What rounding and noise may add must not wrap either.
    let rounded = match rounded_bits.checked_sub(guard_bits(count)) {
        Some(bits) => Extremes::symmetric((count as i128) << bits),
        None => Extremes::default(),
    };
    let acc_bits = sum.plus(Extremes::constant(offset)).plus(rounded).signed_bits();
    let acc_bits = acc_bits.max(least_bits).max(2);
    let is_exact = count == 0 && op.requantize.is_none();
    let least_bits = if is_exact { acc_bits } else { least_bits };
    let widest = MAX_SHARE_BITS - guard_bits(count);
    if acc_bits > widest {
        return Err(Diagnostic::new(
            Code::NoParameters,
            &layer.name,
            format!("needs an accumulator of {acc_bits} bits, more than {widest}"),
            "use fewer bits for weights, activations or --multiplier-bits, or --acc-bits weight-aware",
        ));
    }
    let norms = op.terms.iter().map(|term| match (term, strategy) {
        (Term::Scaled(_), _) => Vec::new(),
        (Term::Linear(term), AccStrategy::WeightAware | AccStrategy::Calibrated { .. }) => {
            kernel_norms(term)
        }
        (Term::Linear(term), AccStrategy::WorstCase) => {
            let norm = term.geometry.fan_in() as f64 * (max_folded(term) as f64).powi(2);
            vec![norm; term.geometry.out_channels]
        }
    });
    let facts =
        SumFacts { acc_bits, rounded_bits, least_bits, kernel_norms_squared: norms.collect() };
    Ok((facts, op.requantize.map_or(sum.range(), |requantize| requantize.range)))
}

fn check_bias(layer: &IntegerLayer, op: &SumOp, products: i128) -> Result<(), Diagnostic> {
    let largest_bias = op.bias.iter().map(|b| b.unsigned_abs()).max().unwrap_or(0);
    if i128::from(largest_bias) <= products {
        return Ok(());
    }
    Err(Diagnostic::new(
        Code::BiasTooLarge,
        &layer.name,
        format!(
            "a bias of magnitude {largest_bias} exceeds the largest sum of products {products}"
        ),
        "compile with --acc-bits weight-aware, which derives the width from the weights",
    ))
}

fn scaled_extremes(term: &ScaledTerm, x: Extremes) -> Extremes {
    let x = if term.window.pads == [0; 4] { x } else { x.with_zero() };
    let area = term.window.kernel[0].saturating_mul(term.window.kernel[1]);
    x.times(area as i128).times(i128::from(term.factor))
}

/// What the sum of products with kernel `k` lies in.
fn kernel_extremes(term: &LinearTerm, k: usize, x: Extremes) -> Extremes {
    let (weights, multiplier) = kernel(term, k);
    let mut sums = SignedSums::default();
    weights.iter().for_each(|&weight| sums.add(weight));
    sums.extremes(multiplier, x)
}

/// Signed widths of the sums of a term that lie in the fields of coefficients, for values in `range` and
/// zeros.
#[must_use]
pub fn field_sums(term: &LinearTerm, range: IntRange, strategy: AccStrategy) -> FieldSums {
    let x = Extremes::of(range).with_zero();
    FieldSums {
        product_bits: product_extremes(term, x, strategy).signed_bits(),
        low_bits: low_extremes(term, x, strategy).signed_bits(),
    }
}

/// What the sums of products of a term lie in.
fn product_extremes(term: &LinearTerm, x: Extremes, strategy: AccStrategy) -> Extremes {
    match strategy {
        AccStrategy::WorstCase => Extremes::symmetric(largest_product_sum(term, x)),
        AccStrategy::WeightAware | AccStrategy::Calibrated { .. } => {
            let kernels = 0..term.geometry.out_channels;
            let sums = kernels.map(|k| kernel_extremes(term, k, x));
            sums.fold(Extremes::default(), Extremes::union)
        }
    }
}

/// The weights of kernel `k` and their multiplier.
fn kernel(term: &LinearTerm, k: usize) -> (&[i32], i64) {
    let weights = term.weights.chunks(term.geometry.fan_in().max(1)).nth(k).unwrap_or(&[]);
    (weights, term.multipliers.get(k).copied().unwrap_or(1))
}

/// What the sums in the lowest field of a product across channels lie in.
fn low_extremes(term: &LinearTerm, x: Extremes, strategy: AccStrategy) -> Extremes {
    let widest = max_folded(term) * x.highest.max(-x.lowest);
    let mut kernels = vec![(0_i128, SignedSums::default()); term.geometry.out_channels];
    visit_low_weights(term, |kernel, index| {
        let (Some((count, sums)), Some(&weight)) =
            (kernels.get_mut(kernel), term.weights.get(index))
        else {
            return;
        };
        *count += 1;
        sums.add(weight);
    });
    let sum = |(kernel, (count, sums)): (usize, (i128, SignedSums))| match strategy {
        AccStrategy::WorstCase => Extremes::symmetric(widest * count),
        AccStrategy::WeightAware | AccStrategy::Calibrated { .. } => {
            sums.extremes(term.multipliers.get(kernel).copied().unwrap_or(1), x)
        }
    };
    let sums = kernels.into_iter().enumerate().map(sum);
    sums.fold(Extremes::default(), Extremes::union)
}

fn kernel_norms(term: &LinearTerm) -> Vec<f64> {
    /// Below it integers are exact in 64-bit floats, and so are their sums in any order.
    const EXACT: i128 = 1 << 53;
    let norm = |k| {
        let (weights, multiplier) = kernel(term, k);
        let square = |weight: &i32| i64::from(*weight).saturating_mul(i64::from(*weight));
        let squares = weights.iter().map(square).fold(0_i64, i64::saturating_add);
        let factor = i128::from(multiplier).pow(2);
        let norm = i128::from(squares).saturating_mul(factor);
        if norm < EXACT {
            return norm as f64;
        }
        let folded = weights.iter().map(|&weight| i128::from(weight) * i128::from(multiplier));
        folded.map(|folded| (folded * folded) as f64).sum()
    };
    (0..term.geometry.out_channels).map(norm).collect()
}

fn max_folded(term: &LinearTerm) -> i128 {
    i128::from(max_multiplier(term.multiplier_bits) * max_weight(term.weight_bits))
}

/// The largest sum of products that any weights of their widths make.
fn largest_product_sum(term: &LinearTerm, x: Extremes) -> i128 {
    max_folded(term) * x.highest.max(-x.lowest) * term.geometry.fan_in() as i128
}

#[cfg(test)]
mod tests {
    use super::*;
    use heq_ir::geometry::{ConvGeometry, Window};
    use heq_ir::integer::Requantize;

    const INPUT: IntRange = IntRange { lo: 0, hi: 15 };

    fn linear(weights: Vec<i32>) -> Term {
        Term::Linear(LinearTerm {
            geometry: ConvGeometry::fully_connected(weights.len(), 1),
            weights: weights.into(),
            weight_bits: 4,
            multipliers: vec![1],
            multiplier_bits: 0,
        })
    }

    fn scaled(factor: i64) -> Term {
        Term::Scaled(ScaledTerm { input: Chw::new(1, 1, 1), window: Window::POINT, factor })
    }

    fn facts(
        terms: Vec<Term>,
        bias: i64,
        requantize: Option<Requantize>,
        strategy: AccStrategy,
    ) -> Result<(SumFacts, IntRange), Diagnostic> {
        let inputs = vec![INPUT; terms.len()];
        let op = SumOp { output: Chw::new(1, 1, 1), terms, bias: vec![bias], requantize };
        let layer = IntegerLayer {
            name: "fc".to_owned(),
            operator: "Gemm".to_owned(),
            tensor: "y".to_owned(),
            inputs: vec![ValueId(0)],
            op: IntegerOp::Sum(op.clone()),
        };
        sum_facts(&layer, &op, &inputs, strategy, AccRounding::Exact)
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
            let found = Extremes { lowest, highest }.signed_bits();
            assert_eq!(found, bits, "[{lowest}, {highest}]");
        }
    }

    #[test]
    fn weight_aware_is_exact() {
        let requantize = Some(Requantize { shift: 3, range: IntRange { lo: -8, hi: 7 } });
        let weights = || linear(vec![5, -7]);
        for (terms, requantize, lowest, highest, least) in [
            // [-7*15 + 3, 5*15 + 3]
            (vec![weights()], None, -102, 78, 2),
            // plus 4 + 64, and at least s + b + 1
            (vec![weights()], requantize, -34, 146, 8),
            // plus -2*15
            (vec![weights(), scaled(-2)], requantize, -64, 146, 8),
            (vec![weights(), weights()], None, -207, 153, 2),
            (vec![scaled(3)], None, 3, 48, 7),
        ] {
            let name = format!("{terms:?}");
            let (found, _) = facts(terms, 3, requantize, AccStrategy::WeightAware).unwrap();
            let expected = Extremes { lowest, highest }.signed_bits().max(least);
            assert_eq!(found.acc_bits, expected, "{name}");
        }
        let (_, range) = facts(vec![scaled(3)], 3, None, AccStrategy::WorstCase).unwrap();
        assert_eq!(range, IntRange { lo: 3, hi: 48 });
    }

    #[test]
    fn worst_case_ignores_the_weights() {
        let of = |weights, bias| facts(vec![linear(weights)], bias, None, AccStrategy::WorstCase);
        assert_eq!(of(vec![1, 0], 0).unwrap(), of(vec![-8, 7], 100).unwrap());
        assert_eq!(of(vec![1, 1], 100_000).unwrap_err().code, Code::BiasTooLarge);
    }
}
