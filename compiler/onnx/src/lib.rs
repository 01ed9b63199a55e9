//! ONNX files to the graph of `heq-ir`; the only crate that knows protobuf.
//!
//! Files are decoded with the protobuf types of `tract-onnx` and lowered here, operator by operator,
//! from a register that knows domains ([`ops`]). tract's own typed model is not used: it folds
//! integer weights into floats, rejects 4-bit types and finds custom operators by name alone.
//! Nothing in a file makes this crate panic, and every node that cannot be imported is reported.

mod fault;
mod import;
mod model;
mod node;
pub mod ops;
mod tensor;

pub use import::import;
pub use model::MAX_MODEL_BYTES;
