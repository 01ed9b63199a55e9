//! The linear layers together: which parameter sets and Galois keys pay for all of them.
//!
//! A parameter set is a key of its own, and every spacing of merging one more; once they are there,
//! any layer may use them. So what is searched is the *keys*: given those, every layer takes its
//! cheapest candidate by itself. From no keys at all the search adds a set, drops one or puts one in
//! another's place, each with the spacings that pay, as long as the whole gets cheaper.

use crate::kernel::conv_coefficient::{
    Candidate, LinearProblem, LinearTask, Offer, all_parameter_sets,
};
use crate::kernel::conv_tiles::Spacings;
use crate::kernel::price::Objective;
use heq_ir::params::RlweParams;
use heq_ir::traffic::wire_bytes;
use rayon::prelude::*;

/// Spacings are below `2^this`.
const SPACING_BITS: u32 = 13;

/// Stands for the price of a layer that no open set can compute: above that of any that can.
const NO_OFFER: f64 = 1e18;

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

/// Chooses a candidate for every layer; the tasks of a layer are its packings. `None` where no
/// parameters satisfy the security table and the margin.
#[must_use]
pub fn choose_linear(
    layers: Vec<Vec<LinearTask<'_>>>,
    objective: Objective,
) -> Vec<Option<Candidate>> {
    let problems: Vec<LinearProblem<'_>> =
        layers.into_par_iter().map(|tasks| LinearProblem::new(tasks, objective)).collect();
    let sets = all_parameter_sets(&problems);
    let offers = sets
        .par_iter()
        .map(|params| problems.iter().map(|problem| problem.offers(params)).collect::<Vec<_>>());
    let price = |params: &RlweParams| KeyPrice {
        zero: objective.share(wire_bytes(params.polynomial_bytes(0)) as f64),
        galois: params
            .key_switch()
            .map(|_| objective.share(wire_bytes(params.galois_key_bytes()) as f64)),
    };
    let search = Search { offers: offers.collect(), keys: sets.iter().map(price).collect() };
    let open = search.open_sets(problems.len());
    let candidate = |(layer, problem): (usize, &LinearProblem<'_>)| {
        let (set, offer) = search.best(layer, &open)?;
        problem.candidate(offer, &sets[set])
    };
    problems.iter().enumerate().map(candidate).collect()
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
