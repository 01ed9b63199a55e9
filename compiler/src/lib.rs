//! Compiles a quantized ONNX model into a secure two-party plan.
//!
//! The pipeline, each stage a module: [`pipeline`] (ONNX to integer network, by [`pass`]es),
//! [`analysis`] (accumulator widths and norms), [`lower`] (integer network to secure program, and
//! with the choices of [`select`] among the candidates of [`kernel`] to a plan), [`report`] (what it
//! will cost) and [`cli`] (the program `heqc`). Beside it: [`check`] and [`support`] say what can be
//! imported, [`evaluate`](mod@evaluate) and [`compare`] what a plan is worth.

pub mod analysis;
pub mod check;
pub mod cli;
pub mod compare;
pub mod compile;
pub mod evaluate;
pub mod kernel;
pub mod lower;
pub mod pass;
pub mod pipeline;
pub mod report;
pub mod select;
pub mod support;
