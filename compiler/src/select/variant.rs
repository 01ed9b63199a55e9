//! The variants of the program that are solved: how far steps and what runs beside them overlap, and which
//! circuits there are.

use super::options::{FormRule, SearchOptions};
use crate::ilp::{Amounts, Pace, Resource};

/// How far what runs beside the steps really does: the program's time is a sum of each, a run is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overlap {
    /// By what processors and link are slower than by themselves.
    pub slower: f64,
    /// By what making random OTs is slower than on one thread; less if steps leave it several.
    pub making: f64,
    /// The part of making random OTs that no step runs beside.
    pub waits: f64,
}

/// One of the programs that are solved, of which the plan that is predicted best is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variant {
    /// How far steps and what runs beside them overlap.
    pub overlap: Overlap,
    /// Circuits of which kind.
    pub forms: FormRule,
    /// Whether responses are merged.
    pub merges: bool,
}

/// As the model says.
pub(super) const FULL_OVERLAP: Overlap = Overlap { slower: 1.0, making: 1.0, waits: 0.0 };

impl Variant {
    /// That of the model.
    pub const MODEL: Self = Self { overlap: FULL_OVERLAP, forms: FormRule::Any, merges: true };

    /// All: what runs beside the steps overlaps less or more, circuits are of one kind, no response is
    /// merged.
    pub const ALL: [Self; 7] = [
        Self::MODEL,
        Self { overlap: Overlap { slower: 1.5, ..FULL_OVERLAP }, ..Self::MODEL },
        Self { overlap: Overlap { making: 0.6, ..FULL_OVERLAP }, ..Self::MODEL },
        Self { overlap: Overlap { slower: 1.2, making: 1.0, waits: 0.4 }, ..Self::MODEL },
        Self { forms: FormRule::FewestBytes, ..Self::MODEL },
        Self { forms: FormRule::FewestFlights, ..Self::MODEL },
        Self { forms: FormRule::FewestBytes, merges: false, ..Self::MODEL },
    ];
}

/// What the time of an inference is at least.
pub(super) fn paces(search: &SearchOptions, overlap: Overlap) -> Vec<Pace> {
    let Overlap { slower, making, waits } = overlap;
    let threads = search.threads.max(1) as f64;
    let transmission = search.situation().transmission_us(1.0);
    let pace = |name, resource, unit| Pace { name, per: Amounts::of([(resource, unit)]) };
    if search.is_prepared() {
        // Nothing runs beside the steps.
        return vec![
            pace("steps one after another", Resource::Path, 1.0),
            pace("bandwidth to the server", Resource::Up, slower * transmission),
            pace("bandwidth to the client", Resource::Down, slower * transmission),
        ];
    }
    let path = Amounts::of([(Resource::Path, 1.0), (Resource::Production, waits)]);
    vec![
        Pace { name: "steps one after another", per: path },
        pace("making random OTs", Resource::Production, making),
        pace("the client's processor", Resource::ClientCpu, slower / threads),
        pace("the server's processor", Resource::ServerCpu, slower / threads),
        pace("bandwidth to the server", Resource::Up, slower * transmission),
        pace("bandwidth to the client", Resource::Down, slower * transmission),
    ]
}
