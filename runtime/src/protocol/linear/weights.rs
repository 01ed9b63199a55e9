//! The server's weights of one layer: rows of transformed polynomials, as far as memory allows.

use crate::error::RunError;
use heq_he::Ring;
use heq_he::product::WeightRow;
use heq_ir::layout::WeightPlacer;
use heq_ir::plan::LinearStep;
use heq_ir::plan::weights::LinearWeights;
use rayon::prelude::*;
use zeroize::Zeroizing;

/// The server's weights of one layer, ready to multiply.
pub struct PreparedWeights {
    /// Multipliers folded in; they have at most 21 bits.
    folded: Zeroizing<Vec<i32>>,
    /// The first rows of the layout; those behind are transformed when they are used.
    rows: Vec<WeightRow>,
    pub(super) bias: Zeroizing<Vec<i64>>,
}

impl std::fmt::Debug for PreparedWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PreparedWeights(..)")
    }
}

impl PreparedWeights {
    /// Places and transforms the rows of `step` that fit `memory` bytes, and takes off what they use.
    ///
    /// # Errors
    /// [`RunError::Internal`] if the weights are wider or fewer than those that were checked against
    /// the plan of `step`.
    pub fn new(
        ring: &Ring,
        step: &LinearStep<'_>,
        weights: &LinearWeights,
        memory: &mut usize,
    ) -> Result<Self, RunError> {
        let geometry = &step.op.geometry;
        let count = geometry.fan_in() * geometry.out_channels;
        if [weights.weights.len(), weights.multipliers.len()] != [count, geometry.out_channels] {
            return Err(RunError::Internal { what: "weights of another shape" });
        }
        let mut folded = Zeroizing::new(Vec::with_capacity(count));
        for weight in weights.folded() {
            let wide = |_| RunError::Internal { what: "a folded weight is too wide" };
            folded.push(i32::try_from(weight).map_err(wide)?);
        }
        let bias = Zeroizing::new(weights.bias.clone());
        let mut prepared = Self { folded, rows: Vec::new(), bias };
        let row_bytes = empty_row(ring, step).bytes().max(1);
        let kept = step.layout.counts().rows.min(*memory / row_bytes);
        *memory -= kept * row_bytes;
        let rows = prepared.rows(ring, step);
        let make = |index| {
            let mut row = empty_row(ring, step);
            rows.fill(index, &mut row);
            row
        };
        prepared.rows = (0..kept).into_par_iter().map(make).collect();
        Ok(prepared)
    }

    /// The rows of `step`, those that are kept and those that are not.
    pub(super) fn rows<'a>(&'a self, ring: &'a Ring, step: &'a LinearStep<'_>) -> Rows<'a> {
        Rows { weights: self, ring, step, placer: WeightPlacer::new(&step.layout) }
    }
}

/// The rows of one layer, with what making them takes.
pub(super) struct Rows<'a> {
    weights: &'a PreparedWeights,
    ring: &'a Ring,
    step: &'a LinearStep<'a>,
    placer: WeightPlacer<'a>,
}

impl Rows<'_> {
    /// Row `index`: the kept one, or one that is made in `scratch`.
    pub(super) fn row<'a>(
        &'a self,
        index: usize,
        scratch: &'a mut Option<WeightRow>,
    ) -> &'a WeightRow {
        if let Some(row) = self.weights.rows.get(index) {
            return row;
        }
        let row = scratch.get_or_insert_with(|| empty_row(self.ring, self.step));
        row.clear();
        self.fill(index, row);
        row
    }

    fn fill(&self, index: usize, row: &mut WeightRow) {
        let field_bits = self.step.op.packing.field_bits() as usize;
        let folded = &self.weights.folded;
        let polynomial = |tile| {
            self.placer.elements(index, tile).map(|placed| {
                let weight = i64::from(folded[placed.index]) << (placed.field * field_bits);
                (placed.coefficient, if placed.is_negated { weight.wrapping_neg() } else { weight })
            })
        };
        row.extend(self.ring.basis(), (0..self.placer.counts().input_tiles).map(polynomial));
    }
}

fn empty_row(ring: &Ring, step: &LinearStep<'_>) -> WeightRow {
    let counts = step.layout.counts();
    WeightRow::halved(ring.basis(), counts.input_tiles, counts.merge_levels)
}
