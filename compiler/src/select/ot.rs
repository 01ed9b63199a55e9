//! Chooses how random OTs are made: the extension of the least price for what a plan takes.

use super::SearchOptions;
use heq_ir::plan::{OtExtension, Plan};
use heq_ir::traffic::{RotCounts, RotRun};

/// Which OT extension a plan names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtRule {
    /// The one of the least price.
    Auto,
    /// This one.
    Fixed(OtExtension),
}

impl OtRule {
    /// The extension that other choices count on: while it is open, the one that most plans take.
    #[must_use]
    pub fn assumed(self) -> OtExtension {
        match self {
            Self::Auto => OtExtension::Silent { log_rows: 20 },
            Self::Fixed(extension) => extension,
        }
    }
}

/// The extension of the least price for the random OTs of `plan`; the first of equals.
#[must_use]
pub fn cheapest_extension(plan: &Plan, search: &SearchOptions) -> OtExtension {
    let rows = RotCounts::sum(plan.rot_runs(), RotRun::rows);
    let assumed = OtRule::Auto.assumed();
    let objective = search.objective(assumed);
    let price = |extension: &OtExtension| objective.extension(*extension, rows);
    OtExtension::all().min_by(|a, b| price(a).total_cmp(&price(b))).unwrap_or(assumed)
}
