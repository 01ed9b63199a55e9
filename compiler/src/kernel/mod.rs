//! The candidates of each kernel: ways to compute one step, with their exact counts.

pub mod conv_coefficient;
pub(crate) mod conv_tiles;
pub mod forms;
pub mod packing;
mod parameters;
pub mod price;
pub mod shared_requests;
