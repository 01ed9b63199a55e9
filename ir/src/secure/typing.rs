//! The typing rule: which step may read which values, and what comes out.

mod range;

use super::{CombineOp, CombineTerm, Domain, LinearOp, MAX_FIELDS, Packing, SecureOp, ValueType};
use crate::geometry::{Chw, Window};
use crate::integer::{IntRange, ScaledTerm, View};
use crate::protocol::requantize::RequantizeWidths;
use crate::protocol::table::TableWidths;
use crate::protocol::top;
use crate::rounding::EarlyRounding;
use heq_mutation::broken;
use range::{highest, sum_range, union, with_zero};

/// Widest share that words of 64 bits leave room for, guard bits included.
pub const MAX_SHARE_BITS: u32 = 48;

/// Widest weight in bits, signed: 8-bit weights without their zero point.
pub const MAX_WEIGHT_BITS: u32 = 9;

/// Widest multiplier in bits.
pub const MAX_MULTIPLIER_BITS: u32 = 12;

/// Public factors are below `2^this` in magnitude.
pub const MAX_FACTOR_BITS: u32 = 40;

/// Most operands of one step.
pub const MAX_TERMS: usize = 1 << 10;

/// Most elements of one tensor.
pub const MAX_ELEMENTS: usize = 1 << 28;

/// Most weights of one layer.
const MAX_WEIGHTS: usize = 1 << 28;

/// Most guard bits.
const MAX_GUARD_BITS: u32 = 3;

/// Largest magnitude of the value that all-zero bits stand for.
const MAX_LOW: u64 = 1 << 16;

/// Guard bits that a sum of `accumulators` needs: each adds up to one unit of `delta`, so g is the
/// smallest with `2^g > accumulators`.
#[must_use]
pub fn guard_bits(accumulators: usize) -> u32 {
    usize::BITS - accumulators.leading_zeros()
}

/// Why a step cannot follow another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypeError {
    /// A step reads a value of a domain that it must not read.
    #[error("{step} cannot read a value that lives as {domain}")]
    Domain {
        /// The step.
        step: &'static str,
        /// Domain of the value.
        domain: Domain,
    },
    /// Shapes do not fit.
    #[error("{step} of another shape reads {shape}")]
    Shape {
        /// The step.
        step: &'static str,
        /// Shape of the value.
        shape: Chw,
    },
    /// A parameter is outside what the protocols allow, or missing.
    #[error("{step}: {what}")]
    Parameter {
        /// The step.
        step: &'static str,
        /// Which parameter.
        what: &'static str,
    },
}

/// The rules of one step.
#[derive(Clone, Copy)]
struct Rules {
    step: &'static str,
}

impl SecureOp {
    /// The type of the result on `operands`; this function is the typing rule.
    ///
    /// # Errors
    /// [`TypeError`] if the step cannot read the operands. In particular an accumulator is read by
    /// [`SecureOp::Requantize`] and [`SecureOp::Open`], which remove its `delta`, and by steps whose
    /// result is an accumulator again; one that is to be rounded is not opened.
    pub fn result_type(&self, operands: &[ValueType]) -> Result<ValueType, TypeError> {
        let rules = Rules { step: self.name() };
        let expected = match self {
            Self::Input { .. } => 0..=0,
            Self::Combine(op) => op.terms.len().max(1)..=op.terms.len().min(MAX_TERMS),
            Self::Concat { .. } => 1..=MAX_TERMS,
            Self::Table { .. } => 1..=2,
            Self::Linear(_)
            | Self::Requantize { .. }
            | Self::MaxPool { .. }
            | Self::View(_)
            | Self::Reshape(_)
            | Self::ToArithmetic { .. }
            | Self::ToBoolean { .. }
            | Self::Open
            | Self::Top { .. } => 1..=1,
        };
        rules.require(expected.contains(&operands.len()), "has another number of operands")?;
        let result = match (self, operands) {
            (&Self::Input { shape, range }, _) => {
                ValueType { shape, domain: Domain::Client { range } }
            }
            (Self::Combine(op), _) => rules.combine(op, operands)?,
            (&Self::Concat { batch }, _) => rules.concat(batch, operands)?,
            (&Self::Table { widths, lo }, _) => rules.table(widths, lo, operands)?,
            (_, &[operand, ..]) => rules.unary(self, operand)?,
            (_, []) => return Err(rules.parameter("the operand is missing")),
        };
        match result.shape.checked_len() {
            Some(1..=MAX_ELEMENTS) => Ok(result),
            _ => Err(rules.shape(result.shape)),
        }
    }
}

impl Rules {
    fn parameter(self, what: &'static str) -> TypeError {
        TypeError::Parameter { step: self.step, what }
    }

    fn shape(self, shape: Chw) -> TypeError {
        TypeError::Shape { step: self.step, shape }
    }

    fn domain(self, domain: Domain) -> TypeError {
        TypeError::Domain { step: self.step, domain }
    }

    fn require(self, holds: bool, what: &'static str) -> Result<(), TypeError> {
        if holds { Ok(()) } else { Err(self.parameter(what)) }
    }

    fn unary(self, op: &SecureOp, operand: ValueType) -> Result<ValueType, TypeError> {
        let ValueType { shape, domain } = operand;
        let low = |lo: i64| self.low(lo);
        match (op, domain) {
            (SecureOp::Linear(op), Domain::Client { .. } | Domain::Arithmetic { .. }) => {
                self.linear(op, operand)
            }
            (
                SecureOp::Requantize { widths, range },
                Domain::Accumulator { .. } | Domain::Arithmetic { .. },
            ) => {
                low(range.lo)?;
                self.requantize(widths, *range, operand)
            }
            (SecureOp::MaxPool { window }, Domain::Boolean { .. } | Domain::Client { .. }) => {
                Ok(ValueType { shape: self.windows(window, shape)?, domain })
            }
            (SecureOp::View(view), _) => self.view(view, operand),
            (&SecureOp::Reshape(new), domain) if domain != Domain::Revealed => {
                if new.checked_len() != shape.checked_len() {
                    return Err(self.shape(shape));
                }
                Ok(ValueType { shape: new, domain })
            }
            (&SecureOp::ToArithmetic { bits }, Domain::Boolean { bits: value_bits, lo }) => {
                self.require(
                    bits > value_bits && bits <= MAX_SHARE_BITS,
                    "shares are too narrow or too wide",
                )?;
                let range = IntRange { lo, hi: highest(value_bits, lo) };
                Ok(ValueType { shape, domain: Domain::Arithmetic { bits, range } })
            }
            (&SecureOp::ToBoolean { bits, lo }, Domain::Client { range }) => {
                low(lo)?;
                self.require(
                    (1..=8).contains(&bits) && lo <= range.lo && range.hi <= highest(bits, lo),
                    "bits do not hold the client's values",
                )?;
                Ok(ValueType { shape, domain: Domain::Boolean { bits, lo } })
            }
            (
                SecureOp::Open | SecureOp::Top { .. },
                Domain::Accumulator { rounded_bits: 0, .. }
                | Domain::Arithmetic { .. }
                | Domain::Boolean { .. },
            ) => {
                let &SecureOp::Top { k } = op else {
                    return Ok(ValueType { shape, domain: Domain::Revealed });
                };
                self.top(k, shape)
            }
            (SecureOp::MaxPool { .. }, _)
                if broken!(
                    "any step may read accumulators",
                    "heq-ir lib what_must_not_be_read_is_refused"
                ) =>
            {
                Ok(ValueType { shape, domain })
            }
            (SecureOp::Open, _)
                if broken!(
                    "rounded accumulators may be opened",
                    "heq-ir lib what_must_not_be_read_is_refused"
                ) =>
            {
                Ok(ValueType { shape, domain: Domain::Revealed })
            }
            _ => Err(self.domain(domain)),
        }
    }

    fn low(self, lo: i64) -> Result<(), TypeError> {
        self.require(lo.unsigned_abs() <= MAX_LOW, "its lowest value is too far")
    }

    fn table(
        self,
        widths: TableWidths,
        lo: i64,
        operands: &[ValueType],
    ) -> Result<ValueType, TypeError> {
        self.low(lo)?;
        let first = operands.first().ok_or(self.parameter("the operand is missing"))?;
        let mut input_bits = 0_u32;
        for operand in operands {
            let Domain::Boolean { bits, .. } = operand.domain else {
                return Err(self.domain(operand.domain));
            };
            if operand.shape != first.shape {
                return Err(self.shape(operand.shape));
            }
            input_bits = input_bits.saturating_add(bits);
        }
        self.require(
            widths.input_bits == input_bits && widths.is_valid(),
            "a table has entries of 1 to 8 bits for values of 1 to 8 bits in all",
        )?;
        let domain = Domain::Boolean { bits: widths.result_bits, lo };
        Ok(ValueType { shape: first.shape, domain })
    }

    fn linear(self, op: &LinearOp, operand: ValueType) -> Result<ValueType, TypeError> {
        self.require(
            (1..=MAX_WEIGHT_BITS).contains(&op.weight_bits)
                && op.multiplier_bits <= MAX_MULTIPLIER_BITS,
            "weights have 1 to 9 bits and multipliers at most 12",
        )?;
        self.require(
            op.geometry.weight_count().is_some_and(|count| (1..=MAX_WEIGHTS).contains(&count)),
            "there are too many weights, or none",
        )?;
        self.require(
            (1..=MAX_GUARD_BITS).contains(&op.guard_bits),
            "an accumulator has 1 to 3 guard bits",
        )?;
        self.require(
            op.rounded_bits == 0
                || (op.rounded_bits > op.guard_bits && op.rounded_bits < op.acc_bits),
            "rounding drops no bit of the accumulator, or all",
        )?;
        let domain = self.accumulator(op.acc_bits, op.guard_bits, 1, op.rounded_bits)?;
        self.packing(op)?;
        if let Domain::Arithmetic { bits, range } = operand.domain {
            self.require(bits >= op.operand_bits(), "shares are narrower than the accumulator")?;
            let field_bits = op.packing.field_bits();
            self.require(
                op.packing == Packing::None || range.hi.abs_diff(range.lo) < 1 << (field_bits - 1),
                "the values do not fit a field",
            )?;
        }
        let output = (op.geometry.input == operand.shape).then(|| op.geometry.output()).flatten();
        Ok(ValueType { shape: output.ok_or(self.shape(operand.shape))?, domain })
    }

    /// Fields need room for the accumulator, in words of at most 64 bits, and one guard bit.
    fn packing(self, op: &LinearOp) -> Result<(), TypeError> {
        let holds = match op.packing {
            Packing::None => return Ok(()),
            Packing::WithinChannel { fields, field_bits } => {
                (2..=MAX_FIELDS).contains(&(fields as usize)) && field_bits > op.acc_bits
            }
            Packing::CrossChannel { field_bits } => field_bits >= op.acc_bits,
        };
        self.require(
            holds && op.operand_bits() <= MAX_SHARE_BITS && op.word_bits() < u64::BITS,
            "fields are too narrow, too wide or too many",
        )?;
        self.require(op.guard_bits == 1, "fields have one guard bit")
    }

    /// Shares of width l with g guard bits, which hold deltas up to `max_delta`; exact ones if there is
    /// none.
    fn accumulator(
        self,
        acc_bits: u32,
        guard_bits: u32,
        max_delta: u32,
        rounded_bits: u32,
    ) -> Result<Domain, TypeError> {
        let word_bits = acc_bits.checked_add(guard_bits);
        self.require(acc_bits >= 2, "an accumulator has at least 2 bits")?;
        self.require(
            guard_bits <= MAX_GUARD_BITS && word_bits.is_some_and(|bits| bits <= MAX_SHARE_BITS),
            "the accumulator is too wide",
        )?;
        let has_room = (max_delta == 0) == (guard_bits == 0) && max_delta < 1 << guard_bits;
        self.require(
            has_room
                || broken!(
                    "guard bits need no room for delta",
                    "heq-ir lib what_must_not_be_read_is_refused"
                ),
            "guard bits do not fit the number of accumulators",
        )?;
        Ok(match guard_bits {
            0 => Domain::Arithmetic {
                bits: acc_bits,
                range: IntRange { lo: i64::MIN, hi: i64::MAX },
            },
            _ => Domain::Accumulator { acc_bits, guard_bits, max_delta, rounded_bits },
        })
    }

    fn combine(self, op: &CombineOp, operands: &[ValueType]) -> Result<ValueType, TypeError> {
        let mut sum_delta = 0_u32;
        let mut rounded: Option<u32> = None;
        let mut result: Option<Chw> = None;
        for (term, &operand) in op.terms.iter().zip(operands) {
            let shape = match (term, operand.domain) {
                (
                    CombineTerm::Accumulator,
                    domain @ Domain::Accumulator { max_delta, rounded_bits, .. },
                ) if rounded.is_none_or(|rounded| rounded == rounded_bits) => {
                    let dropped = op.dropped_guard_bits(domain).ok_or(self.domain(domain))?;
                    // Dropping bits of both shares loses a carry, which counts as one unit more.
                    let own = (max_delta >> dropped) + dropped.min(1);
                    sum_delta = sum_delta.saturating_add(own);
                    rounded = Some(rounded_bits);
                    operand.shape
                }
                (CombineTerm::Scaled(term), Domain::Client { .. }) => self.scaled(term, operand)?,
                (CombineTerm::Scaled(term), Domain::Arithmetic { bits, .. }) => {
                    self.require(bits >= op.acc_bits, "shares are narrower than the sum")?;
                    self.scaled(term, operand)?
                }
                (_, domain) => return Err(self.domain(domain)),
            };
            if result.is_some_and(|result| result != shape) {
                return Err(self.shape(operand.shape));
            }
            result = Some(shape);
        }
        let shape = result.ok_or(self.parameter("a sum has terms"))?;
        let mut domain =
            self.accumulator(op.acc_bits, op.guard_bits, sum_delta, rounded.unwrap_or(0))?;
        if let Domain::Arithmetic { range, .. } = &mut domain {
            *range = sum_range(op, operands);
        }
        Ok(ValueType { shape, domain })
    }

    fn scaled(self, term: &ScaledTerm, operand: ValueType) -> Result<Chw, TypeError> {
        let bounded = term.factor.unsigned_abs() < 1 << MAX_FACTOR_BITS;
        self.require(bounded, "a factor is too large")?;
        if term.input != operand.shape {
            return Err(self.shape(operand.shape));
        }
        self.windows(&term.window, operand.shape)
    }

    /// Shape of what windows over `shape` make, channel by channel.
    fn windows(self, window: &Window, shape: Chw) -> Result<Chw, TypeError> {
        let area = window.kernel[0].checked_mul(window.kernel[1]);
        self.require(area.is_some_and(|area| area <= MAX_ELEMENTS), "the window is too large")?;
        let [height, width] = window.output(shape.height, shape.width).ok_or(self.shape(shape))?;
        Ok(Chw::new(shape.channels, height, width))
    }

    fn requantize(
        self,
        widths: &RequantizeWidths,
        range: IntRange,
        operand: ValueType,
    ) -> Result<ValueType, TypeError> {
        let rounding = EarlyRounding::of(operand.domain);
        let (acc_bits, guard_bits) = match operand.domain {
            Domain::Accumulator { acc_bits, guard_bits, .. } => match rounding {
                Some(rounding) => (rounding.rounded_word_bits(), 0),
                None => (acc_bits, guard_bits),
            },
            Domain::Arithmetic { bits, .. } => (bits, 0),
            Domain::Client { .. } | Domain::Boolean { .. } | Domain::Revealed => {
                return Err(self.domain(operand.domain));
            }
        };
        self.require(
            widths.acc_bits == acc_bits && widths.guard_bits == guard_bits,
            "widths differ from the accumulator's",
        )?;
        self.require(
            rounding.is_none() || widths.shift >= 1,
            "rounding leaves no bit to shift out",
        )?;
        self.require(widths.is_valid(), "s + b + 1 exceeds l, or the limit is not 1 to 255")?;
        let limit = range.hi.abs_diff(range.lo);
        self.require(
            range.lo <= range.hi
                && (1..=255).contains(&limit)
                && u64::from(widths.limit) == limit
                && range.bits() == widths.result_bits,
            "the range is not one of 2 to 256 values",
        )?;
        let domain = Domain::Boolean { bits: widths.result_bits, lo: range.lo };
        Ok(ValueType { shape: operand.shape, domain })
    }

    fn top(self, k: u32, shape: Chw) -> Result<ValueType, TypeError> {
        let values = shape.channels;
        self.require([shape.height, shape.width] == [1, 1], "only channels are ranked")?;
        self.require(values <= top::MAX_VALUES, "there are too many values")?;
        self.require(
            (1..=top::MAX_TOP).contains(&k) && (k as usize) < values,
            "it names 1 to 16 values, fewer than there are",
        )?;
        let domain = Domain::Boolean { bits: top::index_bits(values), lo: 0 };
        Ok(ValueType { shape: Chw::new(k as usize, 1, 1), domain })
    }

    fn view(self, view: &View, operand: ValueType) -> Result<ValueType, TypeError> {
        let pads = view.pads(operand.shape).ok_or(self.shape(operand.shape))?;
        let domain = match operand.domain {
            Domain::Revealed => return Err(self.domain(Domain::Revealed)),
            Domain::Accumulator { .. } if pads => return Err(self.domain(operand.domain)),
            Domain::Boolean { bits, lo } if pads => {
                self.require(lo <= 0 && highest(bits, lo) >= 0, "pads bits that do not hold zero")?;
                operand.domain
            }
            Domain::Client { range } if pads => Domain::Client { range: with_zero(range) },
            Domain::Arithmetic { bits, range } if pads => {
                Domain::Arithmetic { bits, range: with_zero(range) }
            }
            Domain::Client { .. }
            | Domain::Arithmetic { .. }
            | Domain::Accumulator { .. }
            | Domain::Boolean { .. } => operand.domain,
        };
        Ok(ValueType { shape: view.output, domain })
    }

    fn concat(self, batch: usize, operands: &[ValueType]) -> Result<ValueType, TypeError> {
        let is_whole = |operand: &ValueType| operand.shape.channels.checked_rem(batch) == Some(0);
        self.require(operands.iter().all(is_whole), "samples do not divide the channels")?;
        let mut operands = operands.iter();
        let first = operands.next().ok_or(self.parameter("the operand is missing"))?;
        let mut result = *first;
        for operand in operands {
            let shape = &mut result.shape;
            if [operand.shape.height, operand.shape.width] != [shape.height, shape.width] {
                return Err(self.shape(operand.shape));
            }
            let channels = shape.channels.checked_add(operand.shape.channels);
            shape.channels = channels.ok_or(self.shape(operand.shape))?;
            result.domain = match (result.domain, operand.domain) {
                (Domain::Client { range: a }, Domain::Client { range: b }) => {
                    Domain::Client { range: union(a, b) }
                }
                (
                    Domain::Arithmetic { bits: a, range: c },
                    Domain::Arithmetic { bits: b, range: d },
                ) => Domain::Arithmetic { bits: a.min(b), range: union(c, d) },
                (Domain::Arithmetic { bits, range: a }, Domain::Client { range: b })
                | (Domain::Client { range: a }, Domain::Arithmetic { bits, range: b }) => {
                    Domain::Arithmetic { bits, range: union(a, b) }
                }
                (a @ Domain::Boolean { .. }, b) if a == b => a,
                (_, domain) => return Err(self.domain(domain)),
            };
        }
        if let domain @ (Domain::Accumulator { .. } | Domain::Revealed) = result.domain {
            return Err(self.domain(domain));
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests;
