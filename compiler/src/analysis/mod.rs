//! Facts about the integer network; nothing here changes it.

pub mod range;
