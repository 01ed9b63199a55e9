//! Which packings a linear layer may use, and why not others.
//!
//! The typing rule decides; its operand is taken to be as wide as the packing wants it, since shares
//! are made for their readers.

use heq_ir::geometry::Chw;
use heq_ir::integer::{IntRange, LinearTerm};
use heq_ir::layout::{ConvLayout, ConvTile, GroupPlacement, WeightPlacer, group_planes};
use heq_ir::secure::{Domain, LinearOp, MAX_FIELDS, Packing, SecureOp, TypeError, ValueType};

/// What the user says about packing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PackingRule {
    /// Where it is cheaper.
    #[default]
    Auto,
    /// Within channels, wherever it fits.
    WithinChannel,
    /// Across channels, wherever it fits.
    CrossChannel,
    /// Nowhere.
    None,
}

impl PackingRule {
    /// What it packs, in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "any packing",
            Self::WithinChannel => "packing within channels",
            Self::CrossChannel => "packing across channels",
            Self::None => "no packing",
        }
    }
}

/// Signed widths of the sums that lie in fields.
#[derive(Clone, Copy, Debug)]
pub struct FieldSums {
    /// Of all products.
    pub product_bits: u32,
    /// Of those in the lowest field across channels.
    pub low_bits: u32,
}

/// The packings of `op` that `rule` lets the search try on a value of `operand`, but for one element
/// a coefficient; or why there are none.
///
/// # Errors
/// What does not fit.
pub fn packings(
    op: &LinearOp,
    operand: ValueType,
    sums: FieldSums,
    rule: PackingRule,
) -> Result<Vec<Packing>, String> {
    // Shares are lifted from values that leave the top bit of a field free.
    let value_bits = match operand.domain {
        Domain::Arithmetic { range, .. } => range_bits(range),
        Domain::Client { .. }
        | Domain::Accumulator { .. }
        | Domain::Boolean { .. }
        | Domain::Revealed => 0,
    };
    let within = || {
        let output = op.geometry.output().unwrap_or(Chw::new(0, 0, 0));
        if output.height * output.width * op.geometry.batch < 2 {
            return Err("it has one position only".to_owned());
        }
        let fields = (2..).take(MAX_FIELDS - 1);
        let field_bits = op.acc_bits.max(sums.product_bits).max(value_bits) + 1;
        let packings = fields.map(|fields| Packing::WithinChannel { fields, field_bits });
        first_or_all(packings.map(|packing| typed(op, operand, packing)).collect())
    };
    let cross = || {
        if group_planes(&op.geometry, Packing::None).unwrap_or(0) < 2 {
            return Err("it has one plane a group only".to_owned());
        }
        let field_bits = op.acc_bits.max(sums.low_bits + 1).max(value_bits + 1);
        typed(op, operand, Packing::CrossChannel { field_bits }).map(|packing| vec![packing])
    };
    match rule {
        PackingRule::None => Ok(Vec::new()),
        PackingRule::WithinChannel => within(),
        PackingRule::CrossChannel => cross(),
        PackingRule::Auto => {
            let mut all = within().unwrap_or_default();
            all.extend(cross().unwrap_or_default());
            Ok(all)
        }
    }
}

/// The packings that type, or why the first does not.
fn first_or_all(found: Vec<Result<Packing, String>>) -> Result<Vec<Packing>, String> {
    let typed: Vec<Packing> =
        found.iter().filter_map(|packing| packing.as_ref().ok().copied()).collect();
    match found.into_iter().next() {
        Some(Err(why)) if typed.is_empty() => Err(why),
        _ => Ok(typed),
    }
}

/// `packing`, if the layer types with it on shares that are wide enough.
fn typed(op: &LinearOp, operand: ValueType, packing: Packing) -> Result<Packing, String> {
    let op = LinearOp { packing, ..*op };
    let mut operand = operand;
    if let Domain::Arithmetic { bits, .. } = &mut operand.domain {
        *bits = (*bits).max(op.operand_bits());
    }
    let result = SecureOp::Linear(op).result_type(&[operand]);
    result.map(|_| packing).map_err(|error| {
        if let TypeError::Parameter { what, .. } = error {
            what.to_owned()
        } else {
            error.to_string()
        }
    })
}

/// Smallest width with `hi - lo < 2^width`.
fn range_bits(range: IntRange) -> u32 {
    u64::BITS - range.hi.abs_diff(range.lo).leading_zeros()
}

/// Shows `visit` the weights that fall into the lowest field of a product across channels, kernel by
/// kernel: the kernel, and an index into `term.weights`.
pub fn visit_low_weights(term: &LinearTerm, mut visit: impl FnMut(usize, usize)) {
    let packing = Packing::CrossChannel { field_bits: 1 };
    let tile = ConvTile {
        output: [1, 1],
        groups: 1,
        placement: GroupPlacement::Dense,
        planes: group_planes(&term.geometry, packing).unwrap_or(0),
        kernels: 1,
        merge_levels: 0,
        samples: 1,
    };
    let Ok(layout) = ConvLayout::new(term.geometry, packing, tile, 1 << 40) else { return };
    let placer = WeightPlacer::new(&layout);
    for row in 0..placer.counts().rows {
        let low = placer.elements(row, 0).filter(|weight| weight.field == 0);
        low.for_each(|weight| visit(row, weight.index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heq_ir::geometry::{ConvGeometry, Window};

    fn op(channels: usize, size: usize, acc_bits: u32, guard_bits: u32) -> LinearOp {
        LinearOp {
            geometry: ConvGeometry {
                input: Chw::new(channels, size, size),
                out_channels: 2,
                window: Window::POINT,
                groups: 1,
                batch: 1,
            },
            weight_bits: 2,
            multiplier_bits: 0,
            acc_bits,
            guard_bits,
            rounded_bits: 0,
            packing: Packing::None,
        }
    }

    #[test]
    fn rules_say_what_fits() {
        use PackingRule::{Auto, CrossChannel, WithinChannel};
        let fields = |field_bits| {
            let packing = move |fields| Packing::WithinChannel { fields, field_bits };
            (2..=4).map(packing).collect::<Vec<_>>()
        };
        let cross = |field_bits| Packing::CrossChannel { field_bits };
        let one_guard = "fields have one guard bit";
        let sums = FieldSums { product_bits: 7, low_bits: 7 };
        let wide = "fields are too narrow, too wide or too many";
        let shared = |hi| Domain::Arithmetic { bits: 9, range: IntRange { lo: 0, hi } };
        let client = Domain::Client { range: IntRange { lo: -128, hi: 127 } };
        for (op, domain, rule, expected) in [
            (op(3, 2, 9, 1), shared(3), WithinChannel, Ok(fields(10))),
            (op(3, 2, 22, 1), shared(3), WithinChannel, Ok(fields(23)[..1].to_vec())),
            (op(3, 2, 31, 1), shared(3), WithinChannel, Err(wide)),
            (op(3, 1, 9, 1), shared(3), WithinChannel, Err("it has one position only")),
            (op(3, 2, 9, 2), shared(3), WithinChannel, Err(one_guard)),
            // Room for the values, and for sums of products alone.
            (op(3, 2, 2, 1), shared(255), WithinChannel, Ok(fields(9))),
            (op(3, 2, 2, 1), client, WithinChannel, Ok(fields(8))),
            (op(3, 2, 9, 1), shared(3), CrossChannel, Ok(vec![cross(9)])),
            // Room for the lowest field, and for the values themselves.
            (op(3, 2, 5, 1), shared(3), CrossChannel, Ok(vec![cross(8)])),
            (op(3, 2, 2, 1), shared(255), CrossChannel, Ok(vec![cross(9)])),
            (op(1, 2, 9, 1), shared(3), CrossChannel, Err("it has one plane a group only")),
            (op(3, 1, 9, 1), shared(3), Auto, Ok(vec![cross(9)])),
            (op(1, 1, 9, 1), shared(3), Auto, Ok(vec![])),
            (op(3, 2, 9, 1), shared(3), PackingRule::None, Ok(vec![])),
        ] {
            let operand = ValueType { shape: op.geometry.input, domain };
            let found = packings(&op, operand, sums, rule);
            assert_eq!(found, expected.map_err(str::to_owned), "{op:?} {rule:?}");
        }
    }

    #[test]
    fn the_lowest_field_meets_every_other_plane() {
        let term = |channels: usize, stride: usize, kernel: usize| LinearTerm {
            geometry: ConvGeometry {
                input: Chw::new(channels, 4, 4),
                out_channels: 2,
                window: Window::dense([kernel; 2], [stride; 2], [0; 4]),
                groups: 1,
                batch: 1,
            },
            weights: vec![1; 2 * channels * kernel * kernel].into(),
            weight_bits: 2,
            multipliers: vec![1; 2],
            multiplier_bits: 0,
        };
        for (term, expected) in [
            (term(3, 1, 1), [vec![1], vec![4]]),
            (term(4, 1, 1), [vec![1, 3], vec![5, 7]]),
            // Planes are a channel's phases.
            (term(1, 2, 2), [vec![1, 3], vec![5, 7]]),
        ] {
            let mut found = [Vec::new(), Vec::new()];
            visit_low_weights(&term, |kernel, index| found[kernel].push(index));
            found.iter_mut().for_each(|indices| indices.sort_unstable());
            assert_eq!(found, expected);
        }
    }
}
