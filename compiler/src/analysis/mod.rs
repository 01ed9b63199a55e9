//! Facts about the integer network; nothing here changes it.

mod extremes;
pub mod range;
