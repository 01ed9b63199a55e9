//! Compiles a quantized ONNX model into a secure two-party plan.
//!
//! The pipeline, each stage a module: [`pipeline`] (ONNX to integer network, by [`pass`]es),
//! [`analysis`] (accumulator widths and norms), [`lower`] (integer network to secure program, and
//! with the choices of [`select`] among the candidates of [`kernel`] to a plan), [`report`] (what it
//! will cost) and [`cli`] (the program `heqc`).

pub mod analysis;
pub mod cli;
pub mod compile;
pub mod kernel;
pub mod lower;
pub mod pass;
pub mod pipeline;
pub mod report;
pub mod select;
