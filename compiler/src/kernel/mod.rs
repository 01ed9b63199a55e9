//! The candidates of each kernel: ways to compute one step, with their exact counts.

pub mod conv_coefficient;
pub mod requantize;
