//! Quantizers of QONNX: one node that quantizes and dequantizes, in the three domains that tools use.
//!
//! On constants the result is computed here, in the 32-bit arithmetic of the source. On activations
//! the rounding comes before the zero point is added, so that it vanishes into the range; the source
//! adds it first, which differs where a value lies exactly between two steps and the zero point is
//! odd.
//!
//! Source: [QONNX, operators Quant, BipolarQuant and Trunc].

use super::linear::scaled;
use super::quantize::only_dimension;
use super::{Loaded, OperatorEntry};
use crate::fault::Fault;
use crate::fold::{Along, floats};
use crate::node::{NodeReader, float_values};
use crate::scope::Value;
use heq_ir::graph::op::{BinaryOp, Op, QuantizedTensor, Quantizer, Rounding};
use heq_ir::integer::{IntRange, Quantization};
use heq_ir::tensor::Shape;
use std::ops::RangeInclusive;

const QUANT: &str = "constant integer zero point and bit width; activations: 1 to 8 bits, one scale, \
                     ROUND, HALF_EVEN or FLOOR; constants: up to 32 bits, one scale or one a \
                     channel, any rounding";
const BIPOLAR: &str = "one constant scale; on constants also one a channel";
const TRUNC: &str = "one constant scale, zero point 0, rounding ROUND, HALF_EVEN or FLOOR";

const REMEDY: &str = "export with one scale a tensor, an integer zero point and at most 8 bits";

macro_rules! entries {
    ($($domain:literal),+) => {
        pub(super) const OPERATORS: &[OperatorEntry] = &[$(
            OperatorEntry { domain: $domain, operator: "BipolarQuant", forms: BIPOLAR, load: bipolar },
            OperatorEntry { domain: $domain, operator: "Quant", forms: QUANT, load: quant },
            OperatorEntry { domain: $domain, operator: "Trunc", forms: TRUNC, load: trunc },
        )+];
    };
}

entries!["finn.custom_op.general", "onnx.brevitas", "qonnx.custom_op.general"];

fn quant(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let scale = Parameter::scale(node)?;
    let zero = Parameter::read(node, 2, "zero point")?;
    let constant = node.value(0)?;
    let bits = integer(node, 3, "bit width", if constant.is_some() { 1..=32 } else { 1..=8 })?;
    let signed = node.int("signed", 1)?;
    let narrow = node.int("narrow", 0)?;
    let mode = rounding_mode(node, "ROUND")?;
    if ![0, 1].contains(&signed) || ![0, 1].contains(&narrow) {
        return Err(Fault::malformed("attributes signed and narrow are 0 or 1"));
    }
    let range = if signed == 1 {
        let half = 1 << (bits - 1);
        IntRange { lo: narrow - half, hi: half - 1 }
    } else {
        IntRange { lo: 0, hi: (1 << bits) - 1 - narrow }
    };
    if range.lo >= range.hi {
        return Err(Fault::form("its range holds a single value", REMEDY));
    }
    let zeros: Result<Vec<i64>, Fault> = zero
        .values
        .iter()
        .map(|&zero| whole(zero, "zero point", i64::from(i16::MIN)..=i64::from(i16::MAX)))
        .collect();
    let zeros = zeros?;
    let lowest = zeros.iter().copied().min().unwrap_or(0);
    let highest = zeros.iter().copied().max().unwrap_or(0);
    let without_zero = IntRange { lo: range.lo - highest, hi: range.hi - lowest };
    let Some(x) = constant else {
        if lowest != highest {
            return Err(Fault::form("it has several zero points", REMEDY));
        }
        let rounding = activation_rounding(&mode)?;
        let quantization = Quantization { scale: f64::from(scale.only()?), range: without_zero };
        let quantizer = Quantizer { quantization, rounding };
        return Ok(Value::op(Op::Quantize(quantizer), [node.input(0)?]).into());
    };
    let round = constant_rounding(&mode)?;
    let (scale_at, zero_at) = (scale.places(&x.shape)?, zero.places(&x.shape)?);
    let reals = float_values(x, "operand")?.iter().enumerate();
    let integers = reals.map(|(at, x)| {
        let zero_index = zero_at.index(at);
        let steps = x / scale.values[scale_at.index(at)] + zero.values[zero_index];
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and is clamped")]
        let integer = (round(steps) as i64).clamp(range.lo, range.hi);
        integer - zeros[zero_index]
    });
    let integers = integers.collect();
    scale.on_constant(x.shape.clone(), integers, without_zero)
}

fn bipolar(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let scale = Parameter::scale(node)?;
    if let Some(x) = node.value(0)? {
        let signs = float_values(x, "operand")?.iter().map(|&x| if x >= 0.0 { 1 } else { -1 });
        return scale.on_constant(x.shape.clone(), signs.collect(), IntRange { lo: -1, hi: 1 });
    }
    // Below 0 a step of -1, else 0; twice that and one more are -1 and 1.
    let step = scale.only()?;
    let quantizer = Quantizer {
        quantization: Quantization { scale: f64::from(step), range: IntRange { lo: -1, hi: 0 } },
        rounding: Rounding::Floor,
    };
    let below = Value::op(Op::Quantize(quantizer), [node.input(0)?]);
    let offset = Value::Constant(floats(Shape::scalar(), vec![step]));
    Ok(Value::op(Op::Binary(BinaryOp::Add), [scaled(below, 2.0), offset]).into())
}

fn trunc(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let x = node.input(0)?;
    let scale = Parameter::scale(node)?.only()?;
    integer(node, 2, "zero point", 0..=0)?;
    let from = integer(node, 3, "input bit width", 1..=32)?;
    let to = integer(node, 4, "output bit width", 1..=8)?;
    let rounding = activation_rounding(&rounding_mode(node, "FLOOR")?)?;
    if to > from {
        return Err(Fault::malformed(format!("it extends {from} bits to {to}")));
    }
    // A power of two, which scales exactly; the result keeps the scale of the operand.
    #[expect(clippy::cast_precision_loss, reason = "at most 2^32, a power of two")]
    let factor = (1_i64 << (from - to)) as f32;
    let quantizer = Quantizer {
        quantization: Quantization {
            scale: f64::from(scale) * f64::from(factor),
            // Whether the operand is signed is not stated; this holds both.
            range: IntRange { lo: -(1 << to), hi: (1 << to) - 1 },
        },
        rounding,
    };
    Ok(scaled(Value::op(Op::Quantize(quantizer), [x]), factor.recip()).into())
}

/// A real parameter, one a tensor or one for every index of a dimension.
struct Parameter<'a> {
    values: &'a [f32],
    shape: &'a Shape,
}

impl<'a> Parameter<'a> {
    fn read(node: &mut NodeReader<'a>, slot: usize, role: &str) -> Result<Self, Fault> {
        let tensor = node.constant(slot, role)?;
        Ok(Self { values: float_values(tensor, role)?, shape: &tensor.shape })
    }

    fn scale(node: &mut NodeReader<'a>) -> Result<Self, Fault> {
        let scale = Self::read(node, 1, "scale")?;
        if scale.values.iter().all(|&scale| scale > 0.0) {
            return Ok(scale);
        }
        Err(Fault::malformed("a scale is not positive"))
    }

    /// The one value of a parameter that does not vary.
    fn only(&self) -> Result<f32, Fault> {
        match *self.values {
            [first, ref rest @ ..] if rest.iter().all(|x| x.to_bits() == first.to_bits()) => {
                Ok(first)
            }
            _ => {
                let what = format!("its scale has {} values on an activation", self.values.len());
                Err(Fault::form(what, REMEDY))
            }
        }
    }

    /// The dimension of a tensor of `shape` along which it varies.
    fn axis(&self, shape: &Shape) -> Result<Option<usize>, Fault> {
        if self.values.len() == 1 {
            return Ok(None);
        }
        let axis = only_dimension(self.shape, shape.rank());
        axis.filter(|&axis| shape.dims().get(axis) == Some(&self.values.len()))
            .map(Some)
            .ok_or_else(|| {
                let own = self.shape;
                Fault::form(format!("parameters of shape {own} on a shape {shape}"), REMEDY)
            })
    }

    /// Constants on the grid of this scale.
    fn on_constant(
        &self,
        shape: Shape,
        values: Vec<i64>,
        range: IntRange,
    ) -> Result<Loaded, Fault> {
        let axis = self.axis(&shape)?;
        let scale = self.values.iter().map(|&scale| f64::from(scale)).collect();
        let tensor = QuantizedTensor { shape, values, range, scale, axis };
        Ok(Value::op(Op::QuantizedConstant(tensor), []).into())
    }

    fn places(&self, shape: &Shape) -> Result<Along, Fault> {
        let axis = self.axis(shape)?;
        Along::new(shape, axis, self.values.len())
            .ok_or_else(|| Fault::malformed("its parameters do not fit its operand"))
    }
}

fn rounding_mode(node: &mut NodeReader<'_>, default: &str) -> Result<String, Fault> {
    let mode = node.text("rounding_mode")?.unwrap_or_else(|| default.to_owned());
    Ok(mode.to_ascii_uppercase())
}

fn activation_rounding(mode: &str) -> Result<Rounding, Fault> {
    match mode {
        "ROUND" | "HALF_EVEN" => Ok(Rounding::HalfEven),
        "FLOOR" => Ok(Rounding::Floor),
        _ => Err(bad_rounding(mode, "on activations only ROUND, HALF_EVEN and FLOOR")),
    }
}

fn constant_rounding(mode: &str) -> Result<fn(f32) -> f32, Fault> {
    match mode {
        "ROUND" | "HALF_EVEN" => Ok(f32::round_ties_even),
        "FLOOR" => Ok(f32::floor),
        "CEIL" => Ok(f32::ceil),
        "UP" => Ok(|x| x.abs().ceil().copysign(x)),
        "DOWN" | "ROUND_TO_ZERO" => Ok(f32::trunc),
        "HALF_UP" => Ok(|x| (x.abs() + 0.5).floor().copysign(x)),
        "HALF_DOWN" => Ok(|x| (x.abs() - 0.5).ceil().copysign(x)),
        _ => Err(bad_rounding(mode, "the modes that QONNX defines")),
    }
}

fn bad_rounding(mode: &str, supported: &str) -> Fault {
    Fault::form(
        format!("attribute rounding_mode={mode} is not supported, {supported}"),
        "train and export with rounding to nearest",
    )
}

/// A constant of one element that is an integer in `range`, held as a real.
fn integer(
    node: &mut NodeReader<'_>,
    slot: usize,
    role: &str,
    range: RangeInclusive<i64>,
) -> Result<i64, Fault> {
    match node.floats(slot, role)? {
        [value] => whole(*value, role, range),
        values => Err(Fault::form(format!("its {role} has {} values", values.len()), REMEDY)),
    }
}

fn whole(value: f32, role: &str, range: RangeInclusive<i64>) -> Result<i64, Fault> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and is checked by its fraction"
    )]
    let integer = value as i64;
    if value.fract() != 0.0 || !range.contains(&integer) {
        let (lo, hi) = (range.start(), range.end());
        return Err(Fault::form(
            format!("its {role} {value} is not an integer from {lo} to {hi}"),
            REMEDY,
        ));
    }
    Ok(integer)
}
