//! From the integer network to a plan: samples that are computed at once, then domains, then the planner's
//! choices.

pub mod assign_domains;
pub mod batch;
mod demand;
pub mod plan;
