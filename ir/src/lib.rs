//! What the compiler and the runtime of heq must agree on. No I/O, no cryptography.
//!
//! Four forms, each lower than the one before:
//! - [`graph::Graph`]: the ONNX operators, in the clear;
//! - [`integer::IntegerNetwork`]: the exact integer arithmetic that they stand for;
//! - [`secure::SecureProgram`]: protocol steps on values tagged by where they live;
//! - [`plan::Plan`]: the steps with parameters and layouts, as both parties run them.
//!
//! Beside them: the geometry and placement of kernels ([`geometry`], [`layout`]), the circuits of the
//! interactive steps ([`protocol`]), rounding before them ([`rounding`]), the security table and noise bound ([`params`]), exact traffic
//! ([`traffic`]), time and memory ([`predict`]) over a link ([`link`]), words as bytes ([`packing`]) the reference evaluator ([`eval`]), and how work is stopped ([`stop`]).
#![forbid(unsafe_code)]

pub mod diagnostic;
pub mod eval;
pub mod geometry;
pub mod graph;
pub mod integer;
pub mod layout;
pub mod link;
pub mod packing;
pub mod params;
pub mod plan;
pub mod predict;
pub mod preparation;
pub mod protocol;
pub mod rounding;
pub mod secure;
pub mod stop;
pub mod tensor;
pub mod traffic;
