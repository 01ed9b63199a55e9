//! The candidates of the linear layers for the integer program, and the keys that they share.
//!
//! A parameter set is a key of its own, and every spacing of merging one more; once they are there,
//! any layer may use them. There are hundreds of sets and a hundred thousand candidates, so the program
//! gets a short list of the keys. In every view of the candidates ([`Price`]) a local search finds keys
//! that make all layers together cheap: given keys, every layer takes its cheapest candidate by itself;
//! from no keys at all the search adds a set, drops one or puts one in another's place, each with the
//! spacings that pay, as long as the whole gets cheaper. The list has these, and the sets that most
//! layers would take if keys were free.

use crate::kernel::conv_coefficient::{
    Candidate, DroppedBits, LinearProblem, LinearTask, Offer, all_parameter_sets,
};
use crate::kernel::conv_tiles::Spacings;
use crate::kernel::price::{Price, Resources};
use heq_ir::params::{RING_DEGREES, RlweParams, RlweSpec};
use heq_ir::secure::Packing;
use heq_ir::traffic::wire_bytes;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashSet};

/// Spacings are below `2^this`.
const SPACING_BITS: u32 = 13;

/// Most parameter sets that are on the list for what single layers would take.
const MAX_WANTED_SETS: usize = 24;

/// Stands for the price of a layer that no open set can compute: above that of any that can.
const NO_OFFER: f64 = 1e18;

/// The candidates of all linear layers.
#[derive(Clone, Debug, Default)]
pub struct LinearFronts {
    /// The parameter sets that candidates use, each with the spacings that they need; ascending.
    pub sets: Vec<(RlweParams, u32)>,
    /// Candidates of every layer that no other beats in everything; empty if no parameters satisfy the
    /// security table and the margin.
    pub layers: Vec<LinearFront>,
    /// Those of several layers at once, by the layers' numbers ascending.
    pub shared: Vec<(Vec<usize>, LinearFront)>,
}

/// The candidates of one linear layer.
#[derive(Clone, Debug, Default)]
pub struct LinearFront {
    /// The candidates; the first is that of the local search.
    pub candidates: Vec<Candidate>,
    /// How many there were before beaten ones were left out, of all parameter sets.
    pub considered: usize,
    /// Kinds of candidates that there are none of, and why.
    pub rejected: Vec<(String, String)>,
}

/// A parameter set that keys are made for.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Open {
    set: usize,
    spacings: Spacings,
}

/// What a key of a parameter set costs an inference.
struct KeyPrice {
    zero: f64,
    /// Of one Galois key, if there are any.
    galois: Option<f64>,
}

struct Search {
    /// By parameter set and layer.
    offers: Vec<Vec<Vec<Offer>>>,
    keys: Vec<KeyPrice>,
}

/// The candidates of all layers in one view.
struct View<'a> {
    problems: Vec<LinearProblem<'a>>,
    sets: &'a [RlweParams],
    search: Search,
    open: Vec<Open>,
}

/// The candidates of every layer; the tasks of a layer are its packings. The best in the first of
/// `views` matter most. Behind the tasks of the layers are those of several layers at once, whose numbers
/// are `shared`: the local search leaves them alone.
#[must_use]
pub fn linear_fronts(
    tasks: &[Vec<LinearTask<'_>>],
    shared: &[Vec<usize>],
    views: &[Price<'_>],
) -> LinearFronts {
    let alone = tasks.len() - shared.len();
    let problems: Vec<Vec<LinearProblem<'_>>> = views
        .iter()
        .map(|price| tasks.par_iter().map(|tasks| LinearProblem::new(tasks, price)).collect())
        .collect();
    let sets = all_parameter_sets(problems.iter().flatten());
    let offers: Vec<Vec<Vec<Vec<Offer>>>> = sets
        .par_iter()
        .map(|params| {
            let mut known = DroppedBits::default();
            let mut of_view = |problems: &Vec<LinearProblem<'_>>| {
                problems.iter().map(|problem| problem.offers(params, &mut known)).collect()
            };
            problems.iter().map(&mut of_view).collect()
        })
        .collect();
    let mut of_views = vec![Vec::with_capacity(sets.len()); views.len()];
    for offers in offers {
        of_views.iter_mut().zip(offers).for_each(|(all, offers)| all.push(offers));
    }
    let views: Vec<View<'_>> = problems
        .into_iter()
        .zip(views)
        .zip(of_views)
        .map(|((problems, price), offers)| View::new(problems, alone, price, &sets, offers))
        .collect();
    let mut listed: BTreeMap<RlweSpec, (RlweParams, Spacings)> = BTreeMap::new();
    for view in &views {
        for (params, spacings) in view.listed(tasks.len()) {
            let entry = listed.entry(params.spec()).or_insert((params, Spacings::default()));
            entry.1 = entry.1.union(spacings);
        }
    }
    let front = |layer: usize| {
        let first = views.first().and_then(|view| view.best(layer));
        let mut found: Vec<Candidate> = first.into_iter().collect();
        let considered = views.iter().map(|view| view.considered(layer)).sum();
        for view in &views {
            found.extend(listed.values().flat_map(|listed| view.candidates(layer, listed)));
        }
        let rejected = no_room(&views, &tasks[layer], layer);
        LinearFront { candidates: unbeaten(found), considered, rejected }
    };
    let mut layers: Vec<LinearFront> = (0..tasks.len()).into_par_iter().map(front).collect();
    let mut sets: BTreeMap<RlweSpec, u32> = BTreeMap::new();
    for candidate in layers.iter().flat_map(|front| &front.candidates) {
        *sets.entry(candidate.rlwe).or_default() |= candidate.spacings;
    }
    let set = |(spec, spacings): (RlweSpec, u32)| Some((listed.get(&spec)?.0, spacings));
    let sets = sets.into_iter().filter_map(set).collect();
    let shared = shared.iter().cloned().zip(layers.split_off(alone)).collect();
    LinearFronts { sets, layers, shared }
}

/// Whether a layer has any candidate.
#[must_use]
pub fn has_candidate(task: &LinearTask<'_>, price: &Price<'_>) -> bool {
    let problem = [LinearProblem::new(std::slice::from_ref(task), price)];
    let sets = all_parameter_sets(&problem);
    sets.iter().any(|params| !problem[0].offers(params, &mut DroppedBits::default()).is_empty())
}

/// The packings and rings that a layer has no candidate of, though they were tried.
fn no_room(views: &[View<'_>], tasks: &[LinearTask<'_>], layer: usize) -> Vec<(String, String)> {
    let why = || "no modulus that is secure leaves room for its noise".to_owned();
    let offers = |view: &View<'_>| -> Vec<(usize, Packing)> {
        let of_set = view.sets.iter().zip(&view.search.offers);
        let found = of_set.flat_map(|(params, offers)| {
            let packing = |offer: &Offer| Some(tasks.get(offer.task())?.op.packing);
            let packings = offers[layer].iter().filter_map(packing);
            packings.map(|packing| (params.ring_degree(), packing)).collect::<Vec<_>>()
        });
        found.collect()
    };
    let found: HashSet<(usize, Packing)> = views.iter().flat_map(offers).collect();
    let packings = tasks.iter().map(|task| task.op.packing);
    let missing = packings.filter(|packing| found.iter().all(|(_, other)| other != packing));
    let rings = RING_DEGREES.into_iter();
    let small = rings.filter(|degree| found.iter().all(|(other, _)| other != degree));
    let missing = missing.map(|packing| (packing.to_string(), why()));
    missing.chain(small.map(|degree| (format!("N = {degree}"), why()))).collect()
}

/// The candidates that no other with at most their keys is at or below in everything, and of every
/// packing the first, so that it can be told what it lacks; of equal ones the first.
fn unbeaten(found: Vec<Candidate>) -> Vec<Candidate> {
    let totals: Vec<Resources> = found.iter().map(Candidate::total).collect();
    let beats = |a: usize, b: usize| {
        let (x, y) = (&found[a], &found[b]);
        let is_below = totals[a].within(&totals[b]);
        let needs_less = x.rlwe == y.rlwe && x.spacings & !y.spacings == 0;
        is_below && needs_less && (a < b || !totals[b].within(&totals[a]))
    };
    let is_kept = |b: &usize| {
        let is_first = found[..*b].iter().all(|other| other.packing != found[*b].packing);
        is_first || !(0..found.len()).any(|a| a != *b && beats(a, *b))
    };
    (0..found.len()).filter(is_kept).map(|index| found[index]).collect()
}

impl<'a> View<'a> {
    fn new(
        problems: Vec<LinearProblem<'a>>,
        alone: usize,
        price: &Price<'_>,
        sets: &'a [RlweParams],
        offers: Vec<Vec<Vec<Offer>>>,
    ) -> Self {
        let key_price = |params: &RlweParams| {
            let times_us = price.situation.profile.key_us(params);
            KeyPrice {
                zero: price.key(wire_bytes(params.polynomial_bytes(0)), times_us),
                galois: params
                    .key_switch()
                    .map(|_| price.key(wire_bytes(params.galois_key_bytes()), times_us)),
            }
        };
        let search = Search { offers, keys: sets.iter().map(key_price).collect() };
        let open = search.open_sets(alone);
        Self { problems, sets, search, open }
    }

    /// The keys that the local search found, and the sets that most layers want.
    fn listed(&self, layers: usize) -> Vec<(RlweParams, Spacings)> {
        let found = self.open.iter().map(|open| (self.sets[open.set], open.spacings));
        let mut wanted: BTreeMap<usize, (usize, Spacings)> = BTreeMap::new();
        for layer in 0..layers {
            let best = self.search.offers.iter().enumerate().filter_map(|(set, offers)| {
                // Cheapest first.
                Some((set, offers[layer].first()?))
            });
            if let Some((set, offer)) = best.min_by(|(_, a), (_, b)| a.price.total_cmp(&b.price)) {
                let (count, spacings) = wanted.entry(set).or_default();
                *count += 1;
                *spacings = spacings.union(offer.spacings);
            }
        }
        let mut wanted: Vec<_> = wanted.into_iter().collect();
        wanted.sort_by_key(|(set, (count, _))| (usize::MAX - count, *set));
        let wanted = wanted.into_iter().take(MAX_WANTED_SETS);
        found.chain(wanted.map(|(set, (_, spacings))| (self.sets[set], spacings))).collect()
    }

    /// The candidate of the local search.
    fn best(&self, layer: usize) -> Option<Candidate> {
        let (set, offer) = self.search.best(layer, &self.open)?;
        self.problems[layer].candidate(offer, &self.sets[set])
    }

    fn considered(&self, layer: usize) -> usize {
        self.search.offers.iter().map(|offers| offers[layer].len()).sum()
    }

    /// The candidates of a layer with a parameter set and at most these spacings.
    fn candidates(
        &self,
        layer: usize,
        (params, spacings): &(RlweParams, Spacings),
    ) -> Vec<Candidate> {
        let found = self.sets.iter().position(|set| set.spec() == params.spec());
        let offers = found.map_or(&[][..], |set| &self.search.offers[set][layer]);
        let usable = offers.iter().filter(|offer| offer.spacings.within(*spacings));
        usable.filter_map(|offer| self.problems[layer].candidate(offer, params)).collect()
    }
}

impl Search {
    /// The keys that make all layers together cheapest, as far as single changes find them.
    fn open_sets(&self, layers: usize) -> Vec<Open> {
        let mut open: Vec<Open> = Vec::new();
        let mut total = NO_OFFER * (layers + 1) as f64;
        loop {
            let mut best: Option<(f64, Vec<Open>)> = None;
            let mut consider = |price: f64, candidate: Vec<Open>| {
                let least = best.as_ref().map_or(total, |(price, _)| *price);
                if price < least - 1e-9 * least {
                    best = Some((price, candidate));
                }
            };
            for left_out in 0..=open.len() {
                let rest: Vec<Open> = open
                    .iter()
                    .enumerate()
                    .filter(|&(index, _)| index != left_out)
                    .map(|(_, open)| *open)
                    .collect();
                let kept: f64 = rest.iter().map(|open| self.key_price(*open)).sum();
                let prices: Vec<f64> = (0..layers)
                    .map(|layer| self.best(layer, &rest).map_or(NO_OFFER, |(_, offer)| offer.price))
                    .collect();
                if left_out < open.len() {
                    consider(kept + prices.iter().sum::<f64>(), rest.clone());
                }
                let others: Vec<usize> = (0..self.keys.len())
                    .filter(|&set| rest.iter().all(|open| open.set != set))
                    .collect();
                let found: Vec<(f64, Open)> =
                    others.into_par_iter().map(|set| self.best_spacings(set, &prices)).collect();
                for (price, added) in found {
                    let with = rest.iter().copied().chain([added]).collect();
                    consider(kept + price, with);
                }
            }
            match best {
                Some((price, found)) => (total, open) = (price, found),
                None => return open,
            }
        }
    }

    fn key_price(&self, open: Open) -> f64 {
        let KeyPrice { zero, galois } = self.keys[open.set];
        zero + galois.unwrap_or(0.0) * f64::from(open.spacings.count())
    }

    /// The spacings of `set` that pay where the layers otherwise have `prices`, with the price of
    /// everything.
    fn best_spacings(&self, set: usize, prices: &[f64]) -> (f64, Open) {
        let total = |spacings: Spacings| {
            let layers = self.offers[set].iter().zip(prices).map(|(offers, &price)| {
                let usable = offers.iter().find(|offer| offer.spacings.within(spacings));
                usable.map_or(price, |offer| offer.price.min(price))
            });
            layers.sum::<f64>() + self.key_price(Open { set, spacings })
        };
        let priced = |spacings: Spacings| (total(spacings), spacings);
        let cheapest = |found: &mut dyn Iterator<Item = Spacings>| {
            found.map(priced).min_by(|(a, _), (b, _)| a.total_cmp(b))
        };
        let mut best = priced(Spacings::default());
        if self.keys[set].galois.is_none() {
            return (best.0, Open { set, spacings: best.1 });
        }
        let mut changes = cheapest(&mut (1..=SPACING_BITS).map(Spacings::lowest));
        while let Some(found) = changes
            && found.0 < best.0
        {
            best = found;
            changes = cheapest(&mut (0..SPACING_BITS).map(|bit| best.1.toggled(bit)));
        }
        (best.0, Open { set, spacings: best.1 })
    }

    /// The cheapest offer for `layer` with the keys of `open`, and its parameter set.
    fn best(&self, layer: usize, open: &[Open]) -> Option<(usize, &Offer)> {
        let offers = open.iter().filter_map(|open| {
            let offers = &self.offers[open.set][layer];
            // Cheapest first.
            let usable = offers.iter().find(|offer| offer.spacings.within(open.spacings));
            usable.map(|offer| (open.set, offer))
        });
        offers.min_by(|(_, a), (_, b)| a.price.total_cmp(&b.price))
    }
}

#[cfg(test)]
mod tests;
