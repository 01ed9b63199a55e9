//! Several elements in one coefficient.
//!
//! Symbols: accumulator width l, field width D, guard bit g = 1. Source: [XLW24, Section 4]; exact
//! form and derivation: docs/protocols/packing.md.

use serde::{Deserialize, Serialize};

/// Most elements that one coefficient holds.
pub const MAX_FIELDS: usize = 4;

/// How many elements a coefficient of a linear layer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Packing {
    /// One.
    #[default]
    None,
    /// Those of several spatial tiles, which meet the same weights.
    WithinChannel {
        /// Number p of fields, 2 to [`MAX_FIELDS`].
        fields: u32,
        /// Field width D in bits: above l, and wide enough for the signed sums of products alone,
        /// before bias and residuals, and a bit.
        field_bits: u32,
    },
    /// Those of two planes, `x0 + 2^D*x1`, which meet `w1 + 2^D*w0`: the middle field of the product
    /// is `x0*w0 + x1*w1`.
    CrossChannel {
        /// Field width D in bits: at least l, and wide enough for the signed sums `x0*w1` of the
        /// lowest field and a bit.
        field_bits: u32,
    },
}

impl Packing {
    /// Planes of one coefficient.
    #[must_use]
    pub fn planes_per_coefficient(self) -> usize {
        if matches!(self, Self::CrossChannel { .. }) { 2 } else { 1 }
    }

    /// Spatial tiles of one request.
    #[must_use]
    pub fn tile_fields(self) -> usize {
        if let Self::WithinChannel { fields, .. } = self { (fields as usize).max(1) } else { 1 }
    }

    /// Input elements of one coefficient.
    #[must_use]
    pub fn input_fields(self) -> usize {
        self.tile_fields() * self.planes_per_coefficient()
    }

    /// Field width D in bits; 0 for one element a coefficient.
    #[must_use]
    pub fn field_bits(self) -> u32 {
        match self {
            Self::None => 0,
            Self::WithinChannel { field_bits, .. } | Self::CrossChannel { field_bits } => {
                field_bits
            }
        }
    }

    /// `log2 t` of the plaintext modulus for accumulators of `acc_bits` bits.
    #[must_use]
    pub fn plain_bits(self, acc_bits: u32) -> u32 {
        let lower = match self {
            Self::None => 0,
            Self::WithinChannel { fields, .. } => fields.saturating_sub(1),
            Self::CrossChannel { .. } => 1,
        };
        lower.saturating_mul(self.field_bits()).saturating_add(acc_bits)
    }

    /// Width of the shares that operands of accumulators of `acc_bits` bits need.
    #[must_use]
    pub fn operand_bits(self, acc_bits: u32) -> u32 {
        self.field_bits().max(acc_bits)
    }

    /// Bound of the squared norm of a weight polynomial over that of its weights:
    /// `(w1 + 2^D*w0)^2 <= (1 + 4^D)*(w0^2 + w1^2)`.
    #[must_use]
    pub fn norm_factor(self) -> f64 {
        match self {
            Self::None | Self::WithinChannel { .. } => 1.0,
            Self::CrossChannel { field_bits } => 1.0 + (2.0 * f64::from(field_bits)).exp2(),
        }
    }
}

impl std::fmt::Display for Packing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::WithinChannel { fields, .. } => write!(f, "within-channel {fields}"),
            Self::CrossChannel { .. } => f.write_str("cross-channel"),
        }
    }
}
