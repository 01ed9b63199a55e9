//! The typing rule, row by row.

use super::*;
use crate::geometry::ConvGeometry;
use crate::integer::ViewAxis;
use crate::protocol::table::TableWidths;

const SHAPE: Chw = Chw::new(4, 3, 3);

fn value(domain: Domain) -> ValueType {
    ValueType { shape: SHAPE, domain }
}

fn accumulator(guard_bits: u32) -> ValueType {
    value(Domain::Accumulator { acc_bits: 16, guard_bits, max_delta: 1, rounded_bits: 0 })
}

fn sum(guard_bits: u32, max_delta: u32) -> ValueType {
    value(Domain::Accumulator { acc_bits: 16, guard_bits, max_delta, rounded_bits: 0 })
}

/// An accumulator of another width than the sums of [`combine`].
fn wide(acc_bits: u32, guard_bits: u32) -> ValueType {
    value(Domain::Accumulator { acc_bits, guard_bits, max_delta: 1, rounded_bits: 0 })
}

fn rounded(guard_bits: u32, max_delta: u32) -> ValueType {
    value(Domain::Accumulator { acc_bits: 16, guard_bits, max_delta, rounded_bits: 4 })
}

fn arithmetic(bits: u32) -> ValueType {
    shares(bits, 0, 15)
}

fn shares(bits: u32, lo: i64, hi: i64) -> ValueType {
    value(Domain::Arithmetic { bits, range: IntRange { lo, hi } })
}

fn within(fields: u32) -> Packing {
    Packing::WithinChannel { fields, field_bits: 17 }
}

fn cross(field_bits: u32) -> Packing {
    Packing::CrossChannel { field_bits }
}

fn packed(guard_bits: u32, packing: Packing) -> SecureOp {
    let SecureOp::Linear(op) = linear() else { unreachable!() };
    SecureOp::Linear(LinearOp { guard_bits, packing, ..op })
}

fn rounding(rounded_bits: u32) -> SecureOp {
    let SecureOp::Linear(op) = linear() else { unreachable!() };
    SecureOp::Linear(LinearOp { rounded_bits, ..op })
}

fn requantize_rounded(acc_bits: u32, guard_bits: u32, shift: u32) -> SecureOp {
    let widths = RequantizeWidths { acc_bits, guard_bits, shift, result_bits: 4, limit: 15 };
    SecureOp::Requantize { widths, range: IntRange { lo: 0, hi: 15 } }
}

fn bits(bits: u32, lo: i64) -> ValueType {
    value(Domain::Boolean { bits, lo })
}

fn client(lo: i64, hi: i64) -> ValueType {
    value(Domain::Client { range: IntRange { lo, hi } })
}

fn linear() -> SecureOp {
    SecureOp::Linear(LinearOp {
        geometry: ConvGeometry {
            input: SHAPE,
            out_channels: 2,
            window: Window::POINT,
            groups: 1,
            batch: 1,
        },
        weight_bits: 4,
        multiplier_bits: 0,
        acc_bits: 16,
        guard_bits: 1,
        rounded_bits: 0,
        packing: Packing::None,
    })
}

/// `of` with one row and column.
fn channels(of: ValueType, channels: usize) -> ValueType {
    ValueType { shape: Chw::new(channels, 1, 1), ..of }
}

fn combine(accumulators: usize, scaled: usize, guard_bits: u32) -> SecureOp {
    let term = ScaledTerm { input: SHAPE, window: Window::POINT, factor: -3 };
    let mut terms = vec![CombineTerm::Accumulator; accumulators];
    terms.extend(vec![CombineTerm::Scaled(term); scaled]);
    SecureOp::Combine(CombineOp { acc_bits: 16, guard_bits, constant: 1, terms })
}

/// A window of one element that reads padding at the border.
fn padded_sum() -> SecureOp {
    let window = Window::dense([1; 2], [3; 2], [1, 1, 2, 2]);
    let terms = vec![CombineTerm::Scaled(ScaledTerm { input: SHAPE, window, factor: 1 })];
    SecureOp::Combine(CombineOp { acc_bits: 16, guard_bits: 0, constant: 0, terms })
}

fn requantize(guard_bits: u32, limit: u32, lo: i64) -> SecureOp {
    let result_bits = u32::BITS - limit.leading_zeros();
    let widths = RequantizeWidths { acc_bits: 16, guard_bits, shift: 3, result_bits, limit };
    SecureOp::Requantize { widths, range: IntRange { lo, hi: lo + i64::from(limit) } }
}

/// Rows in reverse order, and one more beyond the last if it pads.
fn view(pads: bool) -> SecureOp {
    let axis = |source| ViewAxis { source, start: 0, step: 1 };
    let axes = [axis(0), ViewAxis { source: 1, start: 2, step: -1 }, axis(2)];
    SecureOp::View(View { axes, output: Chw::new(4, 3 + usize::from(pads), 3), batch: 1 })
}

#[test]
fn results_live_where_the_rule_says() {
    let table = |input_bits| {
        let widths = TableWidths { input_bits, result_bits: 5 };
        SecureOp::Table { widths, lo: -7 }
    };
    for (op, operands, expected) in [
        (linear(), vec![client(0, 15)], accumulator(1)),
        (linear(), vec![arithmetic(16)], accumulator(1)),
        (combine(2, 1, 2), vec![accumulator(2), accumulator(2), arithmetic(20)], sum(2, 2)),
        (combine(2, 0, 2), vec![sum(2, 2), accumulator(2)], sum(2, 3)),
        (combine(1, 1, 1), vec![accumulator(1), client(0, 15)], accumulator(1)),
        (combine(1, 0, 1), vec![wide(20, 1)], accumulator(1)),
        (combine(1, 0, 1), vec![wide(16, 2)], accumulator(1)),
        (combine(2, 0, 2), vec![wide(18, 3), accumulator(2)], sum(2, 2)),
        (combine(1, 0, 2), vec![sum(3, 4)], sum(2, 3)),
        (combine(0, 2, 0), vec![client(0, 15), arithmetic(16)], shares(16, -89, 1)),
        (requantize(1, 20, -5), vec![accumulator(1)], bits(5, -5)),
        (requantize(0, 1, 0), vec![arithmetic(16)], bits(1, 0)),
        (rounding(4), vec![arithmetic(16)], rounded(1, 1)),
        (combine(2, 1, 2), vec![rounded(2, 1), rounded(2, 1), arithmetic(16)], rounded(2, 2)),
        (requantize_rounded(13, 0, 1), vec![rounded(1, 1)], bits(4, 0)),
        (requantize_rounded(14, 0, 5), vec![rounded(2, 3)], bits(4, 0)),
        (SecureOp::MaxPool { window: Window::POINT }, vec![bits(4, 3)], bits(4, 3)),
        (SecureOp::MaxPool { window: Window::POINT }, vec![client(2, 3)], client(2, 3)),
        (table(4), vec![bits(4, 0)], bits(5, -7)),
        (table(8), vec![bits(3, 0), bits(5, 9)], bits(5, -7)),
        (view(false), vec![accumulator(3)], accumulator(3)),
        (view(true), vec![bits(4, -2)], bits(4, -2)),
        (view(true), vec![client(2, 3)], client(0, 3)),
        (
            SecureOp::Concat { batch: 1 },
            vec![arithmetic(20), client(0, 3), arithmetic(16)],
            arithmetic(16),
        ),
        (SecureOp::Concat { batch: 1 }, vec![client(2, 3), client(-1, 0)], client(-1, 3)),
        (SecureOp::Concat { batch: 1 }, vec![bits(4, 1); 2], bits(4, 1)),
        (SecureOp::ToArithmetic { bits: 5 }, vec![bits(4, 1)], shares(5, 1, 16)),
        (padded_sum(), vec![client(5, 20)], shares(16, 0, 20)),
        (packed(1, within(3)), vec![shares(17, -7, 15)], accumulator(1)),
        (packed(1, cross(18)), vec![shares(18, -7, 15)], accumulator(1)),
        (packed(1, within(2)), vec![client(0, 15)], accumulator(1)),
        (SecureOp::ToBoolean { bits: 2, lo: 1 }, vec![client(1, 4)], bits(2, 1)),
        (SecureOp::Open, vec![accumulator(2)], value(Domain::Revealed)),
        (SecureOp::Open, vec![arithmetic(9)], value(Domain::Revealed)),
        (SecureOp::Open, vec![bits(4, 1)], value(Domain::Revealed)),
        (SecureOp::Top { k: 3 }, vec![channels(accumulator(2), 300)], bits(9, 0)),
        (SecureOp::Top { k: 1 }, vec![channels(arithmetic(9), 2)], bits(1, 0)),
        (SecureOp::Top { k: 1 }, vec![channels(bits(4, 1), 5)], bits(3, 0)),
    ] {
        let found = op.result_type(&operands).map(|found| found.domain);
        assert_eq!(found, Ok(expected.domain), "{op:?} on {operands:?}");
    }
}

#[test]
fn what_must_not_be_read_is_refused() {
    let other = ValueType { shape: Chw::new(4, 3, 4), ..bits(4, 0) };
    let large = ScaledTerm { input: SHAPE, window: Window::POINT, factor: 1 << MAX_FACTOR_BITS };
    let large = CombineOp {
        acc_bits: 16,
        guard_bits: 0,
        constant: 0,
        terms: vec![CombineTerm::Scaled(large)],
    };
    let table = SecureOp::Table { widths: TableWidths { input_bits: 4, result_bits: 9 }, lo: 0 };
    for (op, operands, what) in [
        // Traces of the noise leave an accumulator through exact steps alone.
        (linear(), vec![accumulator(1)], "lives as accumulator"),
        (SecureOp::MaxPool { window: Window::POINT }, vec![accumulator(1)], "lives as"),
        (SecureOp::ToArithmetic { bits: 16 }, vec![accumulator(1)], "lives as"),
        (SecureOp::Concat { batch: 1 }, vec![accumulator(1); 2], "lives as"),
        (SecureOp::Concat { batch: 1 }, vec![accumulator(1)], "lives as"),
        (view(true), vec![accumulator(1)], "lives as"),
        (combine(0, 1, 0), vec![accumulator(1)], "lives as"),
        (combine(1, 0, 1), vec![arithmetic(16)], "lives as"),
        (combine(2, 0, 1), vec![accumulator(1); 2], "guard bits"),
        (combine(2, 0, 2), vec![sum(2, 3), accumulator(2)], "guard bits"),
        (combine(3, 0, 2), vec![sum(2, 3); 3], "guard bits"),
        (combine(1, 0, 1), vec![wide(15, 1)], "lives as accumulator"),
        (combine(1, 0, 2), vec![accumulator(1)], "lives as accumulator"),
        (combine(1, 0, 1), vec![rounded(2, 1)], "lives as accumulator"),
        (combine(1, 0, 0), vec![accumulator(1)], "lives as accumulator"),
        (combine(1, 0, 1), vec![sum(2, 3)], "guard bits"),
        (combine(1, 1, 1), vec![accumulator(1)], "number of operands"),
        (combine(0, 1, 0), vec![arithmetic(15)], "narrower"),
        (combine(0, 1, 0), vec![bits(4, 0)], "lives as"),
        (SecureOp::Combine(large), vec![client(0, 1)], "factor"),
        (requantize(1, 256, 0), vec![accumulator(1)], "s + b + 1"),
        (requantize(1, 15, 0), vec![accumulator(2)], "differ"),
        (requantize(1, 15, 1 << 20), vec![accumulator(1)], "too far"),
        (rounding(1), vec![arithmetic(16)], "rounding drops no bit"),
        (rounding(16), vec![arithmetic(16)], "rounding drops no bit"),
        (SecureOp::Open, vec![rounded(1, 1)], "rounded by 4"),
        (combine(2, 0, 2), vec![rounded(2, 1), accumulator(2)], "lives as accumulator"),
        (requantize_rounded(16, 1, 4), vec![rounded(1, 1)], "differ"),
        (requantize_rounded(13, 1, 1), vec![rounded(1, 1)], "differ"),
        (requantize_rounded(13, 0, 0), vec![rounded(1, 1)], "no bit to shift out"),
        (table, vec![bits(4, 0)], "1 to 8 bits"),
        (view(true), vec![bits(4, 3)], "hold zero"),
        (view(true), vec![bits(4, -20)], "hold zero"),
        (SecureOp::Concat { batch: 1 }, vec![bits(4, 0), bits(4, 1)], "lives as"),
        (SecureOp::Concat { batch: 1 }, vec![bits(4, 0), other], "another shape"),
        (SecureOp::Concat { batch: 1 }, vec![], "number of operands"),
        (SecureOp::Reshape(Chw::new(4, 3, 4)), vec![bits(4, 0)], "another shape"),
        (SecureOp::ToBoolean { bits: 2, lo: 1 }, vec![client(1, 5)], "do not hold"),
        (SecureOp::ToArithmetic { bits: 4 }, vec![bits(4, 1)], "too narrow"),
        (packed(1, within(2)), vec![shares(16, 0, 15)], "narrower"),
        (packed(1, within(2)), vec![shares(20, 0, 1 << 16)], "do not fit a field"),
        (packed(2, within(2)), vec![shares(20, 0, 15)], "one guard bit"),
        (packed(1, within(1)), vec![shares(20, 0, 15)], "fields"),
        (packed(1, within(4)), vec![shares(20, 0, 15)], "fields"),
        (packed(1, cross(15)), vec![shares(20, 0, 15)], "fields"),
        (SecureOp::Open, vec![client(0, 1)], "lives as client"),
        (SecureOp::Open, vec![value(Domain::Revealed)], "lives as revealed"),
        (SecureOp::Top { k: 1 }, vec![channels(client(0, 1), 9)], "lives as client"),
        (SecureOp::Top { k: 1 }, vec![accumulator(1)], "only channels"),
        (SecureOp::Top { k: 0 }, vec![channels(accumulator(1), 9)], "1 to 16"),
        (SecureOp::Top { k: 9 }, vec![channels(accumulator(1), 9)], "fewer than there are"),
        (SecureOp::Top { k: 17 }, vec![channels(accumulator(1), 99)], "1 to 16"),
        (SecureOp::Top { k: 1 }, vec![channels(accumulator(1), 1 << 17)], "too many values"),
    ] {
        let found = op.result_type(&operands).unwrap_err().to_string();
        assert!(found.contains(what), "{op:?} on {operands:?}: {found}");
    }
}

#[test]
fn guard_bits_leave_room_for_every_delta() {
    for accumulators in 0..=7 {
        let bits = guard_bits(accumulators);
        assert!(1 << bits > accumulators && (bits == 0 || 1 << (bits - 1) <= accumulators));
    }
}
