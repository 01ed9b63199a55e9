//! One choice for a whole network: what a compiler without a search would have to settle for.
//!
//! A fixed choice is a ring degree, a rule for tiles, whether responses are merged, a packing and a
//! rule for circuits on shared bits, the same for all layers. Moduli, the bits that messages drop and
//! the OT extension still fit each network and layer. Each is planned like any other plan.

use crate::choices::FixedChoice;
use crate::compile::plan_narrower;
use crate::kernel::packing::PackingRule;
use crate::lower::plan::PlanOptions;
use crate::select::limits::InferenceCost;
use crate::select::options::{FormRule, Limits, Restriction, SearchOptions, TileRule};
use heq_ir::integer::IntegerNetwork;
use heq_ir::params::RING_DEGREES;
use heq_ir::plan::PlanDigest;
use rayon::prelude::*;
use std::collections::HashSet;

const TILES: [TileRule; 3] = [TileRule::WholePlanes, TileRule::OneChannel, TileRule::Square];
const PACKINGS: [PackingRule; 3] =
    [PackingRule::None, PackingRule::WithinChannel, PackingRule::CrossChannel];
const FORMS: [FormRule; 2] = [FormRule::FewestBytes, FormRule::FewestFlights];

/// Plans `network` with every fixed choice; the fastest first. A layer that cannot be packed as a
/// choice says is computed without packing. Choices that leave a layer without parameters, or break a
/// limit, are missing; of those that come to the same plan there is the plainest alone.
///
/// That is about a hundred plans.
#[must_use]
pub fn fixed_choices(network: &IntegerNetwork, options: &PlanOptions) -> Vec<FixedChoice> {
    let search = &options.search;
    let plan = |restrictions: Vec<Restriction>| -> Vec<(Restriction, Option<Fixed>)> {
        let restrictions = restrictions.into_par_iter();
        restrictions.map(|one| (one, Fixed::plan(network, options, one))).collect()
    };
    // Linear layers are chosen alike whatever the forms are: what came to the same plan once does so
    // again, and what no parameters were found for has none.
    let [first, second] = FORMS;
    let has_limits = search.limits != Limits::default();
    let mut found = plan(linear_restrictions(Restriction { forms: first, ..search.restriction }));
    let mut seen = HashSet::new();
    found.retain(|(_, fixed)| match fixed {
        Some(fixed) => seen.insert(fixed.digest),
        None => has_limits,
    });
    let others = found.iter().map(|(one, _)| Restriction { forms: second, ..*one }).collect();
    found.extend(plan(others));
    let mut seen = HashSet::new();
    let fixed = found.into_iter().filter_map(|(_, fixed)| fixed);
    let mut choices: Vec<FixedChoice> =
        fixed.filter(|fixed| seen.insert(fixed.digest)).map(|fixed| fixed.choice).collect();
    choices.sort_by(|a, b| a.latency_s.total_cmp(&b.latency_s).then(a.bytes.cmp(&b.bytes)));
    choices
}

/// A fixed choice that was planned.
struct Fixed {
    digest: PlanDigest,
    choice: FixedChoice,
}

impl Fixed {
    fn plan(
        network: &IntegerNetwork,
        options: &PlanOptions,
        restriction: Restriction,
    ) -> Option<Self> {
        let search = SearchOptions { restriction, ..options.search.clone() };
        let options = PlanOptions { search, ..options.clone() };
        let plan = plan_narrower(network, &options, &[]).ok()?;
        let InferenceCost { seconds, bytes } = InferenceCost::of(&plan, &options.search);
        let choice = FixedChoice { label: label(&restriction), latency_s: seconds, bytes };
        Some(Self { digest: plan.digest(), choice })
    }
}

/// All fixed choices for linear layers, the plainer ones first.
fn linear_restrictions(base: Restriction) -> Vec<Restriction> {
    let mut found = Vec::new();
    for packing in PACKINGS {
        for merges in [false, true] {
            for degree in RING_DEGREES {
                for tiles in TILES {
                    let ring_degree = Some(degree);
                    found.push(Restriction { packing, merges, ring_degree, tiles, ..base });
                }
            }
        }
    }
    found
}

/// A fixed choice in words: `N = 4096, whole planes, no packing, fewest flights`.
fn label(restriction: &Restriction) -> String {
    let degree =
        restriction.ring_degree.map_or("any N".to_owned(), |degree| format!("N = {degree}"));
    let tiles = match restriction.tiles {
        TileRule::Any => "any tiles",
        TileRule::WholePlanes => "whole planes",
        TileRule::OneChannel => "one channel a request",
        TileRule::Square => "square tiles",
    };
    let merged = if restriction.merges { ", merged responses" } else { "" };
    let packing = match restriction.packing {
        PackingRule::Auto => "any packing",
        PackingRule::None => "no packing",
        PackingRule::WithinChannel => "packing within channels",
        PackingRule::CrossChannel => "packing across channels",
    };
    let forms = match restriction.forms {
        FormRule::Any => "any forms",
        FormRule::FewestBytes => "fewest bytes",
        FormRule::FewestFlights => "fewest flights",
    };
    format!("{degree}, {tiles}{merged}, {packing}, {forms}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::compile_network;
    use crate::pipeline::{ImportOptions, import};
    use heq_ir::link::LinkProfile;

    const LENET: &[u8] = include_bytes!("../../examples/onnx/lenet_mnist/model.onnx");

    fn options(restriction: Restriction) -> PlanOptions {
        let search =
            SearchOptions { network: LinkProfile::LAN, restriction, ..SearchOptions::default() };
        PlanOptions { search, ..PlanOptions::default() }
    }

    /// What plans with restrictions cost is among the rows.
    #[test]
    fn fixed_choices_are_plans() {
        let network = import(LENET, "lenet.onnx", &ImportOptions::default()).unwrap().network;
        let threads = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| fixed_choices(&network, &options(Restriction::default())))
        };
        let found = threads(2);
        assert_eq!(found, threads(1));
        assert!(found.is_sorted_by(|a, b| a.latency_s <= b.latency_s));
        let mut planned = 0;
        for base in linear_restrictions(Restriction::default()).into_iter().step_by(5) {
            let forms = FORMS[planned % 2];
            let restriction = Restriction { forms, ..base };
            let options = options(restriction);
            let Ok(compiled) = compile_network(&network, &options) else { continue };
            planned += 1;
            let cost = InferenceCost::of(&compiled.plan, &options.search);
            let same = |row: &&FixedChoice| {
                row.bytes == cost.bytes && row.latency_s.to_bits() == cost.seconds.to_bits()
            };
            let row = found.iter().find(same);
            assert!(row.is_some(), "{} costs {cost:?}", label(&restriction));
        }
        assert!(found.len() > 1 && planned > 4);
    }

    #[test]
    fn labels_name_every_part() {
        for (restriction, expected) in [
            (
                Restriction {
                    packing: PackingRule::None,
                    merges: false,
                    ring_degree: Some(4096),
                    tiles: TileRule::WholePlanes,
                    forms: FormRule::FewestFlights,
                    ..Restriction::default()
                },
                "N = 4096, whole planes, no packing, fewest flights",
            ),
            (
                Restriction {
                    packing: PackingRule::CrossChannel,
                    ring_degree: Some(2048),
                    tiles: TileRule::Square,
                    forms: FormRule::FewestBytes,
                    ..Restriction::default()
                },
                "N = 2048, square tiles, merged responses, packing across channels, fewest bytes",
            ),
        ] {
            assert_eq!(label(&restriction), expected);
        }
    }
}
