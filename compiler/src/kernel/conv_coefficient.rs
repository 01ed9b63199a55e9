//! Candidates of a linear layer under coefficient packing: tiles, packings and parameters.
//!
//! A `LinearProblem` is one layer; `LinearProblem::offers` are its best candidates with one
//! parameter set, one for every set of Galois keys that is worth having. All are exact in bytes and
//! operations.

use super::conv_tiles::{PlacedTile, Spacings, Tiles};
use super::parameters::{dropped_bits, moduli, nominal_kept_bits, parameter_sets};
use super::price::Objective;
use heq_ir::layout::{ConvTile, LayoutCounts};
use heq_ir::params::{RING_DEGREES, RlweParams, RlweSpec};
use heq_ir::protocol::plane_bytes;
use heq_ir::secure::{Domain, LinearOp, Packing};
use heq_ir::traffic::wire_bytes;
use std::collections::BTreeMap;

/// One way to compute a linear layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// How many elements a coefficient holds.
    pub packing: Packing,
    /// The tile.
    pub tile: ConvTile,
    /// Parameter set.
    pub rlwe: RlweSpec,
    /// Low bits dropped from every request coefficient.
    pub request_drop_bits: u32,
    /// Low bits dropped from every response coefficient.
    pub response_drop_bits: u32,
    /// The bound on the weights' squared norm that the noise rests on.
    pub weight_norm_squared_log2: u32,
    /// Bytes on the wire, client to server.
    pub bytes_up: u64,
    /// Bytes on the wire, server to client.
    pub bytes_down: u64,
    /// Elements whose shares are lifted.
    pub lifted: usize,
    /// Numbers of polynomials.
    pub counts: LayoutCounts,
}

/// What a candidate takes. There are many, so it only says which one it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// The Galois keys that it needs.
    pub(crate) spacings: Spacings,
    /// Its price beside the keys, in bytes.
    pub(crate) price: f64,
    /// Index of the packing and of its tile.
    place: [u32; 2],
    dropped: [u32; 2],
}

/// A linear layer with one packing, and what its price depends on.
#[derive(Clone, Copy, Debug)]
pub struct LinearTask<'a> {
    /// What is computed, with its packing.
    pub op: LinearOp,
    /// Where its operand lives before anything was widened for the packing.
    pub operand: Domain,
    /// An upper bound of every kernel's squared norm of folded weights, `[K]`.
    pub kernel_norms_squared: &'a [f64],
    /// The margin that the error budget asks for.
    pub margin: f64,
    /// Whether responses may be merged.
    pub merges: bool,
}

/// A linear layer as the search sees it: the tiles of every packing that may be used.
#[derive(Debug)]
pub(crate) struct LinearProblem<'a> {
    objective: Objective,
    tasks: Vec<(LinearTask<'a>, Vec<(usize, PlacedTile)>)>,
}

impl<'a> LinearProblem<'a> {
    /// Enumerates the tiles of `tasks`, which are one layer with different packings.
    pub(crate) fn new(tasks: Vec<LinearTask<'a>>, objective: Objective) -> Self {
        let tiles = |task: LinearTask<'a>| {
            let found = task.tiles(&objective);
            (task, found)
        };
        Self { objective, tasks: tasks.into_iter().map(tiles).collect() }
    }

    /// Ring degrees and widths of the moduli that are worth trying.
    pub(crate) fn moduli(&self) -> Vec<(usize, u32)> {
        let mut found = Vec::new();
        for ((task, tiles), degree) in
            self.tasks.iter().flat_map(|task| RING_DEGREES.map(|degree| (task, degree)))
        {
            let of_degree = tiles.iter().filter(|(other, _)| *other == degree);
            let norms = || of_degree.clone().map(|(_, tile)| tile.norm_log2);
            if let Some((least, most)) = norms().min().zip(norms().max()) {
                let bits = moduli(degree, task.op.precise_bits(), task.margin, least..=most);
                found.extend(bits.map(|bits| (degree, bits)));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The cheapest candidate with parameter set `params` for every set of Galois keys.
    pub(crate) fn offers(&self, params: &RlweParams) -> Vec<Offer> {
        let mut found: Vec<Offer> = Vec::new();
        for (packing, (task, tiles)) in (0..).zip(&self.tasks) {
            if u128::from(task.op.max_weight_coefficient()) >= params.modulus()
                || task.op.word_bits() >= params.modulus_bits()
            {
                continue;
            }
            let mut known: BTreeMap<(u32, u32), Vec<[u32; 2]>> = BTreeMap::new();
            let usable = (0..).zip(tiles).filter(|(_, (degree, placed))| {
                *degree == params.ring_degree()
                    && (placed.tile.merge_levels == 0 || params.key_switch().is_some())
            });
            for (tile, (_, placed)) in usable {
                let levels = placed.tile.merge_levels;
                let dropped = known.entry((placed.norm_log2, levels)).or_insert_with(|| {
                    let precise_bits = task.op.precise_bits();
                    dropped_bits(params, precise_bits, task.margin, placed.norm_log2, levels)
                });
                let fixed = self.objective.operations(&placed.counts, params)
                    + task.side_price(placed, &self.objective);
                let candidates = dropped.iter().map(|&dropped| {
                    let candidate = task.candidate(placed, params, dropped);
                    let price = fixed + (candidate.bytes_up + candidate.bytes_down) as f64;
                    Offer { spacings: placed.spacings, price, place: [packing, tile], dropped }
                });
                found.extend(candidates.min_by(|a, b| a.price.total_cmp(&b.price)));
            }
        }
        found.sort_by(|a, b| a.price.total_cmp(&b.price));
        let mut kept: Vec<Offer> = Vec::new();
        for offer in found {
            if !kept.iter().any(|other| other.spacings.within(offer.spacings)) {
                kept.push(offer);
            }
        }
        kept
    }

    /// The candidate of an offer for parameter set `params`.
    pub(crate) fn candidate(&self, offer: &Offer, params: &RlweParams) -> Option<Candidate> {
        let [packing, tile] = offer.place.map(|index| index as usize);
        let (task, tiles) = self.tasks.get(packing)?;
        let (_, placed) = tiles.get(tile)?;
        Some(task.candidate(placed, params, offer.dropped))
    }
}

/// The parameter sets of all problems' moduli, ascending.
pub(crate) fn all_parameter_sets(problems: &[LinearProblem<'_>]) -> Vec<RlweParams> {
    let mut moduli: Vec<(usize, u32)> = problems.iter().flat_map(LinearProblem::moduli).collect();
    moduli.sort_unstable();
    moduli.dedup();
    moduli.into_iter().flat_map(|(degree, bits)| parameter_sets(degree, bits)).collect()
}

impl LinearTask<'_> {
    /// The tiles worth pricing, each with its ring degree.
    fn tiles(&self, objective: &Objective) -> Vec<(usize, PlacedTile)> {
        let mut tiles = Tiles::new(self.op.geometry, self.op.packing, self.kernel_norms_squared);
        let precise_bits = self.op.precise_bits();
        let mut found = Vec::new();
        for degree in RING_DEGREES {
            let moduli = moduli(degree, precise_bits, self.margin, 0..=u32::BITS);
            // Any set will do to rank the tiles of a ring, with key switching if there is room for it.
            let middle = moduli.start().midpoint(*moduli.end());
            let sets = (*moduli.start()..=middle).rev().map(|bits| parameter_sets(degree, bits));
            let with_keys = sets.clone().find_map(|sets| sets.get(1).copied());
            let Some(params) = &with_keys.or_else(|| sets.flatten().next()) else { continue };
            let merges = self.merges && params.key_switch().is_some();
            let rank = |placed: &PlacedTile| {
                let kept = nominal_kept_bits(degree, precise_bits, self.margin, placed.norm_log2);
                let sent = (placed.counts.requests() * placed.window) as f64 * kept[0]
                    + (placed.counts.responses() * degree) as f64 * kept[1];
                let fixed = self.side_price(placed, objective);
                sent / 8.0 + fixed + objective.operations(&placed.counts, params)
            };
            let of_ring = tiles.of_ring(degree, merges, rank);
            found.extend(of_ring.into_iter().map(|placed| (degree, placed)));
        }
        found
    }

    /// Payload bytes of the lift, up and down.
    fn lift_bytes(&self, placed: &PlacedTile) -> Option<(u64, u64)> {
        let is_shared = matches!(self.operand, Domain::Arithmetic { .. });
        (is_shared && placed.lifted > 0).then(|| {
            let op = &self.op;
            let bits = op.plain_bits() - op.packing.field_bits();
            (plane_bytes(placed.lifted), u64::from(bits) * plane_bytes(placed.lifted))
        })
    }

    /// Price of a packing beside the layer's own messages and operations: random OTs of the lift, and
    /// the wider shares of its operand.
    fn side_price(&self, placed: &PlacedTile, objective: &Objective) -> f64 {
        let Domain::Arithmetic { bits, range } = self.operand else { return 0.0 };
        let wider = self.op.operand_bits().saturating_sub(bits);
        let elements = self.op.geometry.input.len() as f64;
        let lifted = self.lift_bytes(placed).map_or(0, |_| placed.lifted);
        elements * f64::from(range.bits()) * f64::from(wider) / 8.0
            + lifted as f64 * objective.ot_bytes
    }

    fn candidate(
        &self,
        placed: &PlacedTile,
        params: &RlweParams,
        [request_drop_bits, response_drop_bits]: [u32; 2],
    ) -> Candidate {
        let &PlacedTile { tile, counts, window, norm_log2, .. } = placed;
        let request = params.coefficient_bytes(window, request_drop_bits);
        let response = params.polynomial_bytes(response_drop_bits);
        let lift = self.lift_bytes(placed);
        let (lift_up, lift_down) =
            lift.map_or((0, 0), |(up, down)| (wire_bytes(up), wire_bytes(down)));
        Candidate {
            packing: self.op.packing,
            tile,
            rlwe: params.spec(),
            request_drop_bits,
            response_drop_bits,
            weight_norm_squared_log2: norm_log2,
            bytes_up: lift_up + counts.requests() as u64 * wire_bytes(request),
            bytes_down: lift_down + counts.responses() as u64 * wire_bytes(response),
            lifted: lift.map_or(0, |_| placed.lifted),
            counts,
        }
    }
}

/// Smallest `e` with `value <= 2^e`.
pub(super) fn ceil_log2(value: f64) -> u32 {
    (0..=127).find(|&e| value <= f64::from(e).exp2()).unwrap_or(127)
}
