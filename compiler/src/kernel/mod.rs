//! The candidates of each kernel: ways to compute one step, with their exact counts.

pub mod conv_coefficient;
mod conv_tiles;
mod parameters;
pub mod requantize;
