//! The server's weights of one layer: rows of transformed polynomials, as far as memory allows.

use crate::error::RunError;
use crate::share::Words;
use heq_he::Ring;
use heq_he::product::WeightRow;
use heq_he::simd::vectorised;
use heq_ir::eval::linear::{Products, Word};
use heq_ir::layout::WeightPlacer;
use heq_ir::plan::LinearStep;
use heq_ir::plan::weights::LinearWeights;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::sync::{Mutex, PoisonError};
use zeroize::{Zeroize, Zeroizing};

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

    /// `sum(w*x)` of the layer's outputs `[K, OH, OW]` on the values `x` of `[C, H, W]`, in the clear: exact mod
    /// `2^l` if accumulators have at most 32 bits, else mod `2^64`.
    ///
    /// # Errors
    /// [`RunError::Internal`] if there are more or fewer values than the layer reads.
    pub(crate) fn products(&self, step: &LinearStep<'_>, x: &[u64]) -> Result<Words, RunError> {
        if step.op.acc_bits > u32::BITS {
            let w: Vec<u64> = self.folded.iter().map(|&w| i64::from(w).cast_unsigned()).collect();
            return products(step, &Zeroizing::new(w), x);
        }
        // Half as wide words are more than twice as fast.
        let w: Vec<u32> = self.folded.iter().map(|w| w.cast_unsigned()).collect();
        #[expect(clippy::cast_possible_truncation, reason = "takes the low half on purpose")]
        let x = x.iter().map(|&x| x as u32).collect::<Vec<u32>>();
        let products = products::<u32>(step, &Zeroizing::new(w), &Zeroizing::new(x))?;
        Ok(Zeroizing::new(products.iter().map(|&sum| u64::from(sum)).collect()))
    }

    /// Adds everything that the layer's results depend on to a digest.
    pub(crate) fn absorb_into(&self, digest: &mut Sha256) {
        digest.update((self.folded.len() as u64).to_le_bytes());
        self.folded.iter().for_each(|weight| digest.update(weight.to_le_bytes()));
        self.bias.iter().for_each(|bias| digest.update(bias.to_le_bytes()));
    }

    /// The rows of `step`, those that are kept and those that are not.
    pub(super) fn rows<'a>(&'a self, ring: &'a Ring, step: &'a LinearStep<'_>) -> Rows<'a> {
        let placer = WeightPlacer::new(&step.layout);
        Rows { weights: self, ring, step, placer, spare: Mutex::new(Vec::new()) }
    }
}

/// The sums of products of a layer, blocks in parallel.
fn products<W: Word + Zeroize>(
    step: &LinearStep<'_>,
    w: &[W],
    x: &[W],
) -> Result<Zeroizing<Vec<W>>, RunError> {
    const WRONG_LENGTH: RunError = RunError::Internal { what: "values of another shape" };
    let products = Products::new(&step.op.geometry, w, x).ok_or(WRONG_LENGTH)?;
    let of_block = |block| (block, Zeroizing::new(vectorised(|| products.of_block(&block))));
    let blocks: Vec<_> = products.blocks().into_par_iter().map(of_block).collect();
    let mut sums = Zeroizing::new(vec![W::default(); products.outputs()]);
    blocks.iter().for_each(|(block, of_block)| products.place(block, of_block, &mut sums));
    Ok(sums)
}

/// The rows of one layer, with what making them takes.
pub(super) struct Rows<'a> {
    weights: &'a PreparedWeights,
    ring: &'a Ring,
    step: &'a LinearStep<'a>,
    placer: WeightPlacer<'a>,
    /// Room for rows that are not kept, used again: at most one a thread.
    spare: Mutex<Vec<WeightRow>>,
}

impl Rows<'_> {
    /// What `of` makes of row `index`: of the kept one, or of one that is made for it.
    pub(super) fn with_row<T>(&self, index: usize, of: impl FnOnce(&WeightRow) -> T) -> T {
        if let Some(row) = self.weights.rows.get(index) {
            return of(row);
        }
        let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let row = spare().pop();
        let mut row = row.unwrap_or_else(|| empty_row(self.ring, self.step));
        row.clear();
        self.fill(index, &mut row);
        let made = of(&row);
        spare().push(row);
        made
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
