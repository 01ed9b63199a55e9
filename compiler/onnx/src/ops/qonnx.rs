//! `Quant` of QONNX: one node that quantizes and dequantizes, in the three domains that tools use.
//!
//! Source: [QONNX, operator Quant].

use super::{Loaded, OperatorEntry};
use crate::fault::Fault;
use crate::node::NodeReader;
use heq_ir::graph::op::Op;
use heq_ir::integer::{IntRange, Quantization};

const FORMS: &str = "rounding_mode ROUND, 1 to 8 bits, one constant scale and zero point a tensor";

const REMEDY: &str = "export with one scale a tensor, an integer zero point and at most 8 bits";

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry {
        domain: "finn.custom_op.general",
        operator: "Quant",
        forms: FORMS,
        load: quant,
    },
    OperatorEntry { domain: "onnx.brevitas", operator: "Quant", forms: FORMS, load: quant },
    OperatorEntry {
        domain: "qonnx.custom_op.general",
        operator: "Quant",
        forms: FORMS,
        load: quant,
    },
];

fn quant(node: &mut NodeReader<'_>) -> Result<Loaded, Fault> {
    let x = node.input(0)?;
    let scale = scalar(node, 1, "scale")?;
    let zero_point = integer(node, 2, "zero point", i64::from(i16::MIN)..=i64::from(i16::MAX))?;
    let bits = integer(node, 3, "bit width", 1..=8)?;
    let signed = node.int("signed", 1)?;
    let narrow = node.int("narrow", 0)?;
    let mode = node.text("rounding_mode")?.unwrap_or_else(|| "ROUND".to_owned());
    if mode != "ROUND" {
        let what = format!("attribute rounding_mode={mode} is not supported, only ROUND");
        return Err(Fault::form(what, "train and export with rounding to nearest"));
    }
    if ![0, 1].contains(&signed) || ![0, 1].contains(&narrow) {
        return Err(Fault::malformed("attributes signed and narrow are 0 or 1"));
    }
    if scale <= 0.0 {
        return Err(Fault::malformed("a scale is not positive"));
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
    // Rounding comes before the zero point is added, so it vanishes into the range.
    let range = IntRange { lo: range.lo - zero_point, hi: range.hi - zero_point };
    let quantization = Quantization { scale: f64::from(scale), range };
    Ok(Loaded::Op(Op::Quantize(quantization), vec![x]))
}

/// A constant of one element.
fn scalar(node: &mut NodeReader<'_>, slot: usize, role: &str) -> Result<f32, Fault> {
    match node.floats(slot, role)? {
        [value] => Ok(*value),
        values => Err(Fault::form(format!("its {role} has {} values", values.len()), REMEDY)),
    }
}

/// A constant of one element that is an integer in `range`, held as a real.
fn integer(
    node: &mut NodeReader<'_>,
    slot: usize,
    role: &str,
    range: std::ops::RangeInclusive<i64>,
) -> Result<i64, Fault> {
    let value = scalar(node, slot, role)?;
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
