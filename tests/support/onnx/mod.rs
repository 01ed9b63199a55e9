//! ONNX models made by tests: a builder, random quantized networks, and what importing must survive.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::wildcard_enum_match_arm,
    reason = "test support: numbers are small, and new types need no new cases"
)]

pub mod builder;
pub mod exercise;
mod forms;
pub mod generate;
mod join;
mod layers;
pub mod scale;
