//! From the integer network to a plan: domains first, then the planner's choices.

pub mod assign_domains;
mod demand;
pub mod plan;
