//! The import of ONNX models: generated networks mean what the ONNX specification says, and mutated
//! files do no harm.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "clippy exempts test functions, not their helpers"
)]

mod agreement;
mod memory;
mod mutations;

mod semantics;
