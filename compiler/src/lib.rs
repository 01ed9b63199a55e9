//! Compiles a quantized ONNX model into a secure two-party plan.
//!
//! The pipeline, each stage a module: [`pipeline`] (ONNX to integer network, by [`pass`]es),
//! [`analysis`] (accumulator widths and norms), [`lower`] (integer network to secure program, and
//! with the choices of [`select`] among the candidates of [`kernel`] to a plan), [`choices`] (why it is
//! as it is), [`report`] (what it will cost), [`diff`](mod@diff) (what differs between two plans) and
//! [`cli`] (the program `heqc`). Beside it: [`check`] and [`support`] say what can be imported,
//! [`simulate`](mod@simulate), [`evaluate`](mod@evaluate) and [`compare`] what a plan is worth, [`fixed`] and [`advise`] what it
//! would cost with fewer choices or another model. [`ilp`] is the integer program that [`select`] solves; [`settings`] are what users
//! decide.
#![forbid(unsafe_code)]

pub mod advise;
pub mod analysis;
pub mod check;
pub mod choices;
pub mod cli;
pub mod compare;
pub mod compile;
pub mod diff;
pub mod evaluate;
pub mod fixed;
pub mod ilp;
pub mod kernel;
pub mod lower;
pub mod model;
pub mod pass;
pub mod pipeline;
pub mod report;
pub mod select;
pub mod settings;
pub mod simulate;
pub mod support;
