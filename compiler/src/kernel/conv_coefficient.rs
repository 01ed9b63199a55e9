//! Candidates of a linear layer under coefficient packing: tiles, packings and parameters.
//!
//! A `LinearProblem` is one layer; `LinearProblem::offers` are its best candidates with one
//! parameter set, one for every set of Galois keys that is worth having. All are exact in bytes and
//! operations.

use super::conv_tiles::{PlacedTile, Spacings, Tiles};
use super::parameters::{
    allowed_moduli, dropped_bits, moduli, nominal_kept_bits, parameter_sets, rounded,
};
use super::price::{Price, Resources, linear_resources};
use crate::select::options::{ModulusRule, Restriction};
use heq_ir::layout::{ConvTile, LayoutCounts};
use heq_ir::params::{RING_DEGREES, RlweParams, RlweSpec};
use heq_ir::predict::work::LinearCosts;
use heq_ir::protocol::plane_bytes;
use heq_ir::protocol::to_arithmetic::bit_product_rots;
use heq_ir::secure::{Domain, LinearOp, Packing};
use heq_ir::traffic::{Step, Traffic, wire_bytes};
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
    /// Elements whose shares are lifted.
    pub lifted: usize,
    /// Numbers of polynomials.
    pub counts: LayoutCounts,
    /// The spacings of the Galois keys that it needs: bit i stands for `2^i`.
    pub spacings: u32,
    /// What the step takes.
    pub resources: Resources,
    /// What it makes other steps take: wider shares of its operand.
    pub elsewhere: Resources,
}

impl Candidate {
    /// What it takes in all.
    #[must_use]
    pub fn total(&self) -> Resources {
        let mut total = self.resources;
        total += self.elsewhere;
        total
    }
}

/// What a candidate takes. There are many, so it only says which one it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// The Galois keys that it needs.
    pub(crate) spacings: Spacings,
    /// Its price beside the keys.
    pub(crate) price: f64,
    /// Index of the packing and of its tile.
    place: [u32; 2],
    dropped: [u32; 2],
}

impl Offer {
    /// Index of its task.
    pub(crate) fn task(&self) -> usize {
        self.place[0] as usize
    }
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
    /// Which tiles and parameters may be used.
    pub restriction: Restriction,
}

/// The low bits that may be dropped with one parameter set: the same for many tiles of many layers.
#[derive(Debug, Default)]
pub(crate) struct DroppedBits(BTreeMap<NoiseKey, Vec<[u32; 2]>>);

/// What they depend on beside the parameters: rule, precise bits, margin, norm and levels of merging.
type NoiseKey = (ModulusRule, u32, u64, u32, u32);

impl DroppedBits {
    fn of(
        &mut self,
        task: &LinearTask<'_>,
        placed: &PlacedTile,
        params: &RlweParams,
    ) -> &[[u32; 2]] {
        let (rule, bits) = (task.restriction.moduli, task.op.precise_bits());
        let (norm_log2, levels) = (placed.norm_log2, placed.tile.merge_levels);
        let key = (rule, bits, task.margin.to_bits(), norm_log2, levels);
        let dropped = || dropped_bits(rule, params, bits, task.margin, norm_log2, levels);
        self.0.entry(key).or_insert_with(dropped)
    }
}

/// What a packing takes beside the layer, by the number of lifted elements.
type Sides = BTreeMap<usize, [Resources; 2]>;

/// A linear layer as the search sees it: the tiles of every packing that may be used.
#[derive(Debug)]
pub(crate) struct LinearProblem<'a> {
    price: &'a Price<'a>,
    tasks: Vec<(LinearTask<'a>, Vec<(usize, PlacedTile)>)>,
}

impl<'a> LinearProblem<'a> {
    /// Enumerates the tiles of `tasks`, which are one layer with different packings.
    pub(crate) fn new(tasks: &[LinearTask<'a>], price: &'a Price<'a>) -> Self {
        let tiles = |task: &LinearTask<'a>| (*task, task.tiles(price));
        Self { price, tasks: tasks.iter().map(tiles).collect() }
    }

    /// Ring degrees and widths of the moduli that are worth trying.
    pub(crate) fn moduli(&self) -> Vec<(usize, u32)> {
        let mut found = Vec::new();
        for ((task, tiles), degree) in
            self.tasks.iter().flat_map(|task| RING_DEGREES.map(|degree| (task, degree)))
        {
            let of_degree = tiles.iter().filter(|(other, _)| *other == degree);
            let tiles = of_degree.map(|(_, tile)| (tile.norm_log2, tile.tile.merge_levels));
            let (rule, precise_bits) = (task.restriction.moduli, task.op.precise_bits());
            let bits = allowed_moduli(rule, degree, precise_bits, task.margin, tiles);
            found.extend(bits.into_iter().map(|bits| (degree, bits)));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The cheapest candidate with parameter set `params` for every set of Galois keys.
    /// What is `known` of these parameters is that of other layers.
    pub(crate) fn offers(&self, params: &RlweParams, known: &mut DroppedBits) -> Vec<Offer> {
        let mut found: Vec<Offer> = Vec::new();
        let costs = self.price.situation.profile.linear_costs(params);
        for (packing, (task, tiles)) in (0..).zip(&self.tasks) {
            let mut sides = Sides::new();
            if u128::from(task.op.max_weight_coefficient()) >= params.modulus()
                || task.op.word_bits() >= params.modulus_bits()
            {
                continue;
            }
            let usable = (0..).zip(tiles).filter(|(_, (degree, placed))| {
                *degree == params.ring_degree()
                    && (placed.tile.merge_levels == 0 || params.key_switch().is_some())
            });
            for (tile, (_, placed)) in usable {
                let dropped = known.of(task, placed, params);
                if dropped.is_empty() {
                    continue;
                }
                let [lift, elsewhere] = task.known_side(placed, self.price, &mut sides);
                let candidates = dropped.iter().map(|&dropped| {
                    let mut resources = task.resources(placed, params, &costs, dropped, self.price);
                    resources += lift;
                    resources += elsewhere;
                    let price = self.price.of(&resources);
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
        Some(task.candidate(placed, params, offer.dropped, self.price))
    }
}

/// The parameter sets of all problems' moduli, ascending.
pub(crate) fn all_parameter_sets<'a, 'b: 'a>(
    problems: impl IntoIterator<Item = &'a LinearProblem<'b>>,
) -> Vec<RlweParams> {
    let problems = problems.into_iter();
    let mut moduli: Vec<(usize, u32)> = problems.flat_map(LinearProblem::moduli).collect();
    moduli.sort_unstable();
    moduli.dedup();
    moduli.into_iter().flat_map(|(degree, bits)| parameter_sets(degree, bits)).collect()
}

impl LinearTask<'_> {
    /// The tiles worth pricing, each with its ring degree.
    fn tiles(&self, price: &Price<'_>) -> Vec<(usize, PlacedTile)> {
        let mut tiles = Tiles::new(self.op.geometry, self.op.packing, self.kernel_norms_squared);
        let precise_bits = self.op.precise_bits();
        let Restriction { ring_degree, tiles: tile_rule, moduli: rule, .. } = self.restriction;
        let mut sides = Sides::new();
        let mut found = Vec::new();
        for degree in RING_DEGREES {
            if ring_degree.is_some_and(|only| only != degree) {
                continue;
            }
            let moduli = moduli(degree, precise_bits, self.margin, 0..=u32::BITS);
            // Any set will do to rank the tiles of a ring, with key switching if there is room for it.
            let middle = moduli.start().midpoint(*moduli.end());
            let sets = (*moduli.start()..=middle).rev().map(|bits| parameter_sets(degree, bits));
            let with_keys = sets.clone().find_map(|sets| sets.get(1).copied());
            let Some(params) = &with_keys.or_else(|| sets.flatten().next()) else { continue };
            let merges = self.restriction.merges && params.key_switch().is_some();
            let costs = price.situation.profile.linear_costs(params);
            let rank = |placed: &PlacedTile| {
                let (margin, norm_log2) = (self.margin, placed.norm_log2);
                let kept = nominal_kept_bits(rule, degree, precise_bits, margin, norm_log2);
                let bits = params.modulus_bits();
                let dropped = kept.map(|kept| bits.saturating_sub(rounded(kept)));
                let mut resources = self.resources(placed, params, &costs, dropped, price);
                let side = self.known_side(placed, price, &mut sides);
                side.into_iter().for_each(|side| resources += side);
                price.of(&resources)
            };
            let of_ring = tiles.of_ring(degree, tile_rule, merges, rank);
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

    /// What a packing takes beside the layer's own messages and operations: the lift, and at the maker
    /// of its operand wider shares.
    fn side_resources(&self, placed: &PlacedTile, price: &Price<'_>) -> [Resources; 2] {
        let mut lift = Resources::default();
        let mut elsewhere = Resources::default();
        if let Some((up, down)) = self.lift_bytes(placed) {
            let bits = self.op.plain_bits() - self.op.packing.field_bits();
            let rots = vec![bit_product_rots(placed.lifted, bits)];
            let traffic = Traffic::new(vec![Step::Exchange { up, down }], rots);
            lift = Resources::of_traffic(&traffic, &price.situation);
        }
        if let Domain::Arithmetic { bits, range } = self.operand {
            let wider = self.op.operand_bits().saturating_sub(bits);
            let elements = self.op.geometry.input.len() as f64;
            let bytes = elements * f64::from(range.bits()) * f64::from(wider) / 8.0;
            elsewhere.bytes_up = bytes / 2.0;
            elsewhere.bytes_down = bytes / 2.0;
            elsewhere.path_us = price.situation.transmission_us(bytes / 2.0);
        }
        [lift, elsewhere]
    }

    /// As [`Self::side_resources`], which depend on the lift alone and are kept.
    fn known_side(
        &self,
        placed: &PlacedTile,
        price: &Price<'_>,
        known: &mut Sides,
    ) -> [Resources; 2] {
        *known.entry(placed.lifted).or_insert_with(|| self.side_resources(placed, price))
    }

    /// What the layer's own messages and operations take.
    fn resources(
        &self,
        placed: &PlacedTile,
        params: &RlweParams,
        costs: &LinearCosts,
        [request_drop_bits, response_drop_bits]: [u32; 2],
        price: &Price<'_>,
    ) -> Resources {
        let &PlacedTile { counts, window, .. } = placed;
        let request = wire_bytes(params.coefficient_bytes(window, request_drop_bits));
        let response = wire_bytes(params.polynomial_bytes(response_drop_bits));
        let bytes = [request, response];
        Resources {
            bytes_up: (counts.requests() as u64 * request) as f64,
            bytes_down: (counts.responses() as u64 * response) as f64,
            flights: 2,
            ..linear_resources(params, costs, &counts, window, bytes, &price.situation)
        }
    }

    fn candidate(
        &self,
        placed: &PlacedTile,
        params: &RlweParams,
        dropped: [u32; 2],
        price: &Price<'_>,
    ) -> Candidate {
        let &PlacedTile { tile, counts, norm_log2, .. } = placed;
        let [request_drop_bits, response_drop_bits] = dropped;
        let [lift, elsewhere] = self.side_resources(placed, price);
        let costs = price.situation.profile.linear_costs(params);
        let mut resources = self.resources(placed, params, &costs, dropped, price);
        resources += lift;
        Candidate {
            packing: self.op.packing,
            tile,
            rlwe: params.spec(),
            request_drop_bits,
            response_drop_bits,
            weight_norm_squared_log2: norm_log2,
            lifted: self.lift_bytes(placed).map_or(0, |_| placed.lifted),
            counts,
            spacings: placed.spacings.bits(),
            resources,
            elsewhere,
        }
    }
}

/// Smallest `e` with `value <= 2^e`.
pub(super) fn ceil_log2(value: f64) -> u32 {
    (0..=127).find(|&e| value <= f64::from(e).exp2()).unwrap_or(127)
}
