//! Rings, moduli, key switching and dropped bits.
//!
//! By how much a coefficient of a request or of a response can be cut follows from the window that
//! the noise must stay in: a wider modulus drops more bits and keeps as many. So a modulus is worth
//! trying from where the window opens to a few bits beyond, where dropping hides every other noise.

use crate::select::options::ModulusRule;
use heq_ir::params::noise::NoiseModel;
use heq_ir::params::security::max_modulus_bits;
use heq_ir::params::{
    KeySwitchSpec, MAX_DIGITS, MAX_MODULUS_BITS, MAX_PRIME_BITS, MIN_MODULUS_BITS, RlweParams,
    RlweSpec,
};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Bits of the modulus beyond those that a request keeps: from where the window opens to where one
/// more gains nothing.
const SPARE_BITS: RangeInclusive<u32> = 2..=9;

/// Fewer bits dropped from requests than possible by up to this many may pay in responses.
const MAX_SPARED_DROP_BITS: u32 = 5;

/// How much wider the special prime is tried than a digit; a negative one leaves more noise, which a
/// modulus with room absorbs, and makes smaller keys.
const SPECIAL_BITS_OVER_DIGIT: [i32; 6] = [2, -2, -6, -10, -14, -18];

/// About how many bits of a whole request coefficient are below those that it must keep: its error has
/// a deviation of more than 3.
const WHOLE_REQUEST_BITS: f64 = 3.0;

/// Most bits of a digit beyond the special prime.
const MAX_EXCESS_BITS: i32 = 18;

/// About how many bits a coefficient of a request and of a response keeps under `rule`, if both add as
/// much noise.
pub(super) fn nominal_kept_bits(
    rule: ModulusRule,
    ring_degree: usize,
    precise_bits: u32,
    margin: f64,
    norm_log2: u32,
) -> [f64; 2] {
    let [request, response] = kept_bits(ring_degree, precise_bits, margin, norm_log2);
    match rule {
        ModulusRule::Any => [request, response],
        ModulusRule::Narrowest => [request + WHOLE_REQUEST_BITS, response],
        ModulusRule::Widest => [f64::from(widest_modulus(ring_degree)), response],
    }
}

fn kept_bits(ring_degree: usize, precise_bits: u32, margin: f64, norm_log2: u32) -> [f64; 2] {
    // The window is half a unit, and the uniform error of dropping has a variance of 1/12.
    let common = f64::from(precise_bits) + margin.log2() + 1.5 - 12_f64.log2() / 2.0;
    let secret = (1.1 * 2.0 * ring_degree as f64 / 3.0).log2();
    [common + f64::from(norm_log2) / 2.0, common + secret / 2.0]
}

/// The widths of moduli that are worth trying under `rule`, ascending, for tiles with the given norms,
/// as `log2`, and levels of merging; none if none is secure.
pub(super) fn allowed_moduli(
    rule: ModulusRule,
    ring_degree: usize,
    precise_bits: u32,
    margin: f64,
    tiles: impl Iterator<Item = (u32, u32)>,
) -> Vec<u32> {
    let tiles: BTreeSet<(u32, u32)> = tiles.collect();
    let (Some(&(least, _)), Some(&(most, _))) = (tiles.first(), tiles.last()) else {
        return Vec::new();
    };
    match rule {
        ModulusRule::Any => moduli(ring_degree, precise_bits, margin, least..=most).collect(),
        ModulusRule::Narrowest => {
            let narrowest = |&(norm_log2, levels): &(u32, u32)| {
                narrowest_modulus(ring_degree, precise_bits, margin, norm_log2, levels)
            };
            let found: BTreeSet<u32> = tiles.iter().filter_map(narrowest).collect();
            found.into_iter().collect()
        }
        ModulusRule::Widest => vec![widest_modulus(ring_degree)],
    }
}

/// The widest modulus that is secure and that the kernels compute with.
fn widest_modulus(ring_degree: usize) -> u32 {
    max_modulus_bits(ring_degree).unwrap_or(0).min(MAX_MODULUS_BITS)
}

/// The widths of moduli that are worth trying for norms in `norms_log2`; empty if none is secure.
pub(super) fn moduli(
    ring_degree: usize,
    precise_bits: u32,
    margin: f64,
    norms_log2: RangeInclusive<u32>,
) -> RangeInclusive<u32> {
    let kept = |norm_log2: u32| {
        let [request, response] = kept_bits(ring_degree, precise_bits, margin, norm_log2);
        rounded(request.max(response))
    };
    let first = kept(*norms_log2.start()) + SPARE_BITS.start();
    let last = kept(*norms_log2.end()) + SPARE_BITS.end();
    first.max(MIN_MODULUS_BITS)..=last.min(widest_modulus(ring_degree))
}

/// The width of the narrowest modulus in which the noise of a tile fits.
fn narrowest_modulus(
    ring_degree: usize,
    precise_bits: u32,
    margin: f64,
    norm_log2: u32,
    merge_levels: u32,
) -> Option<u32> {
    // The window alone takes more than this.
    let first = (precise_bits + rounded(margin.log2().floor())).max(MIN_MODULUS_BITS);
    (first..=widest_modulus(ring_degree))
        .find(|&bits| fits(ring_degree, bits, precise_bits, margin, norm_log2, merge_levels))
}

/// Whether some parameter set of a modulus keeps `margin` if nothing is dropped.
fn fits(
    ring_degree: usize,
    modulus_bits: u32,
    precise_bits: u32,
    margin: f64,
    norm_log2: u32,
    merge_levels: u32,
) -> bool {
    let model = noise(norm_log2, merge_levels, [0, 0]);
    let keeps = |params: &RlweParams| model.margin(params, precise_bits) >= margin;
    if merge_levels == 0 {
        let plain = RlweParams::check(RlweSpec::new(ring_degree, modulus_bits));
        return plain.is_ok_and(|params| keeps(&params));
    }
    let sets = parameter_sets(ring_degree, modulus_bits);
    sets.iter().any(|params| params.key_switch().is_some() && keeps(params))
}

fn noise(norm_log2: u32, merge_levels: u32, [request, response]: [u32; 2]) -> NoiseModel {
    NoiseModel {
        weight_norm_squared: f64::from(norm_log2).exp2(),
        request_drop_bits: request,
        response_drop_bits: response,
        merge_levels,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "widths of a few hundred bits at most"
)]
pub(super) fn rounded(bits: f64) -> u32 {
    bits.clamp(0.0, 1000.0).round() as u32
}

/// The parameter sets of one modulus: without key switching, then with each that no other beats in
/// bytes of keys and noise.
pub(super) fn parameter_sets(ring_degree: usize, modulus_bits: u32) -> Vec<RlweParams> {
    let plain = RlweSpec::new(ring_degree, modulus_bits);
    let widest = max_modulus_bits(ring_degree).unwrap_or(0).saturating_sub(modulus_bits);
    let widest = widest.min(MAX_PRIME_BITS);
    let mut found: Vec<(u32, i32, KeySwitchSpec)> = Vec::new();
    for digits in 1..=MAX_DIGITS {
        let digit_bits = modulus_bits.div_ceil(digits).cast_signed();
        for over in SPECIAL_BITS_OVER_DIGIT {
            let wanted = (digit_bits + over).max(0).cast_unsigned();
            let special_bits = wanted.min(widest);
            let excess = digit_bits - special_bits.cast_signed();
            if excess <= MAX_EXCESS_BITS {
                let size = (modulus_bits + special_bits) * digits;
                found.push((size, excess, KeySwitchSpec { special_bits, digits }));
            }
        }
    }
    found.sort_unstable();
    let mut least_excess = i32::MAX;
    found.retain(|&(_, excess, _)| {
        let is_quieter = excess < least_excess;
        least_excess = least_excess.min(excess);
        is_quieter
    });
    let switching = found.into_iter().map(|(_, _, key_switch)| Some(key_switch));
    [None]
        .into_iter()
        .chain(switching)
        .filter_map(|key_switch| RlweParams::check(RlweSpec { key_switch, ..plain }).ok())
        .collect()
}

/// Low bits to drop from requests and responses under `rule`, `[rc, dr]`: the most that keep `margin`,
/// and a few choices that drop less from requests and more from responses. Empty if the noise is too
/// large, or the modulus none of the rule.
pub(super) fn dropped_bits(
    rule: ModulusRule,
    params: &RlweParams,
    precise_bits: u32,
    margin: f64,
    norm_log2: u32,
    merge_levels: u32,
) -> Vec<[u32; 2]> {
    let (degree, limit) = (params.ring_degree(), params.modulus_bits());
    let is_allowed = match rule {
        ModulusRule::Any => true,
        ModulusRule::Narrowest => {
            !fits(degree, limit - 1, precise_bits, margin, norm_log2, merge_levels)
        }
        ModulusRule::Widest => limit == widest_modulus(degree) && params.key_switch().is_none(),
    };
    if precise_bits >= limit || !is_allowed {
        return Vec::new();
    }
    let holds = |request: u32, response: u32| {
        let model = noise(norm_log2, merge_levels, [request, response]);
        model.margin(params, precise_bits) >= margin
    };
    let end = if rule == ModulusRule::Any { limit } else { 1 };
    let Some(most) = largest_below(end, |dropped| holds(dropped, 0)) else { return Vec::new() };
    let mut found = Vec::new();
    let mut response = largest_below(limit, |dropped| holds(most, dropped)).unwrap_or(0);
    for request in (most.saturating_sub(MAX_SPARED_DROP_BITS)..=most).rev() {
        let before = response;
        while response + 1 < limit && holds(request, response + 1) {
            response += 1;
        }
        if request == most || response > before {
            found.push([request, response]);
        }
    }
    found
}

/// The largest value below `limit` that `holds`, which is so up to a point and not beyond.
fn largest_below(limit: u32, holds: impl Fn(u32) -> bool) -> Option<u32> {
    let (mut first, mut end) = (0, limit);
    while first < end {
        let middle = first.midpoint(end);
        if holds(middle) { first = middle + 1 } else { end = middle }
    }
    first.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use heq_ir::params::RING_DEGREES;

    const MARGIN: f64 = 9.2;

    fn holds(
        params: &RlweParams,
        precise_bits: u32,
        norm_log2: u32,
        m: u32,
        drop: [u32; 2],
    ) -> bool {
        let model = NoiseModel {
            weight_norm_squared: f64::from(norm_log2).exp2(),
            request_drop_bits: drop[0],
            response_drop_bits: drop[1],
            merge_levels: m,
        };
        model.margin(params, precise_bits) >= MARGIN
    }

    /// Layers by word width and norm, each with a ring that has room for it.
    const LAYERS: [(usize, u32, u32); 6] = [
        (1024, 9, 8),
        (2048, 21, 24),
        (2048, 17, 15),
        (4096, 24, 30),
        (4096, 37, 40),
        (8192, 45, 48),
    ];

    #[test]
    fn dropping_is_the_cheapest_of_all() {
        for (ring_degree, precise_bits, norm_log2) in LAYERS {
            let bits = *moduli(ring_degree, precise_bits, MARGIN, norm_log2..=norm_log2).end();
            for params in parameter_sets(ring_degree, bits) {
                let levels = if params.key_switch().is_some() { 5 } else { 0 };
                let found = dropped_bits(
                    ModulusRule::Any,
                    &params,
                    precise_bits,
                    MARGIN,
                    norm_log2,
                    levels,
                );
                let all = (0..bits).flat_map(|rc| (0..bits).map(move |dr| [rc, dr]));
                let all: Vec<[u32; 2]> = all
                    .filter(|&drop| holds(&params, precise_bits, norm_log2, levels, drop))
                    .collect();
                assert!(found.iter().all(|drop| all.contains(drop)), "{params}");
                for [requests, responses] in [[1, 1], [9, 144], [48, 2], [3, 1], [1, 6]] {
                    let kept =
                        |&[rc, dr]: &[u32; 2]| requests * (bits - rc) + responses * (bits - dr);
                    let least = all.iter().map(kept).min();
                    assert_eq!(found.iter().map(kept).min(), least, "{params}");
                }
            }
        }
    }

    /// What no tried modulus keeps, no other would keep either, but for a bit in both directions.
    #[test]
    fn moduli_reach_the_fewest_bits() {
        for (ring_degree, precise_bits, norm_log2) in LAYERS {
            let kept = |bits: u32| {
                let params = RlweParams::check(RlweSpec::new(ring_degree, bits)).ok()?;
                let dropped =
                    dropped_bits(ModulusRule::Any, &params, precise_bits, MARGIN, norm_log2, 0);
                dropped.into_iter().map(|[rc, dr]| 2 * bits - rc - dr).min()
            };
            let tried = moduli(ring_degree, precise_bits, MARGIN, norm_log2..=norm_log2);
            let widest = max_modulus_bits(ring_degree).unwrap().min(MAX_MODULUS_BITS);
            let least = (MIN_MODULUS_BITS..=widest).filter_map(kept).min().unwrap();
            assert!(tried.clone().filter_map(kept).min() <= Some(least + 1), "{tried:?}");
        }
    }

    #[test]
    fn parameter_sets_are_secure_and_few() {
        for ring_degree in RING_DEGREES {
            for bits in MIN_MODULUS_BITS..=MAX_MODULUS_BITS {
                let sets = parameter_sets(ring_degree, bits);
                assert!(sets.len() <= 10, "{sets:?}");
                assert!(sets.iter().all(|set| RlweParams::check(set.spec()).is_ok()));
                let merges = sets.iter().any(|set| set.key_switch().is_some());
                let (least, most) = match ring_degree {
                    1024 => (1, 0),
                    2048 => (20, 38),
                    4096 => (20, 90),
                    _ => (20, 120),
                };
                assert!(merges || !(least..=most).contains(&bits), "N = {ring_degree}, {bits}");
            }
        }
    }

    #[test]
    fn nothing_is_dropped_where_no_modulus_is_wide_enough() {
        for (ring_degree, norm_log2, precise_bits) in [(2048, 40, 45), (8192, 100, 70)] {
            let tried = moduli(ring_degree, precise_bits, MARGIN, norm_log2..=norm_log2);
            let sets = tried.flat_map(|bits| parameter_sets(ring_degree, bits));
            let mut dropped = sets.map(|params| {
                dropped_bits(ModulusRule::Any, &params, precise_bits, MARGIN, norm_log2, 0)
            });
            assert!(dropped.all(|dropped| dropped.is_empty()));
        }
    }
    #[test]
    fn restricted_moduli_are_as_narrow_or_as_wide_as_they_say() {
        let widest = [(2048, 53), (4096, 106), (8192, 120)];
        for (ring_degree, precise_bits, norm_log2) in LAYERS {
            for levels in [0, 3] {
                let allowed = |rule| {
                    let tile = std::iter::once((norm_log2, levels));
                    allowed_moduli(rule, ring_degree, precise_bits, MARGIN, tile)
                };
                let dropped = |rule, bits| {
                    let sets = parameter_sets(ring_degree, bits);
                    let usable =
                        sets.into_iter().filter(|set| (levels == 0) == set.key_switch().is_none());
                    let dropped = usable.flat_map(|set| {
                        dropped_bits(rule, &set, precise_bits, MARGIN, norm_log2, levels)
                    });
                    dropped.collect::<Vec<_>>()
                };
                let name = format!("N = {ring_degree}, {precise_bits}, {norm_log2}, {levels}");
                for bits in allowed(ModulusRule::Narrowest) {
                    let found = dropped(ModulusRule::Narrowest, bits);
                    assert!(found.iter().all(|[request, _]| *request == 0), "{name}");
                    assert!(!found.is_empty(), "{name}");
                    assert!(dropped(ModulusRule::Any, bits - 1).is_empty(), "{name}");
                    assert!(dropped(ModulusRule::Narrowest, bits + 1).is_empty(), "{name}");
                }
                if levels == 0 && ring_degree > 1024 {
                    assert_eq!(allowed(ModulusRule::Narrowest).len(), 1, "{name}");
                    let &(_, bits) = widest.iter().find(|(n, _)| *n == ring_degree).unwrap();
                    assert_eq!(allowed(ModulusRule::Widest), [bits]);
                    let found = dropped(ModulusRule::Widest, bits);
                    let [[0, response]] = found[..] else { panic!("{name}: {found:?}") };
                    assert!(response > 0, "{name}");
                    assert!(dropped(ModulusRule::Widest, bits - 1).is_empty(), "{name}");
                }
            }
        }
    }
}
