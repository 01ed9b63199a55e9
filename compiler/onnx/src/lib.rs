//! ONNX files to the graph of `heq-ir`; the only crate that knows protobuf.
//!
//! Files are decoded with the protobuf types of `tract-onnx` and lowered here, operator by operator,
//! from a register that knows domains ([`ops`]). tract's own typed model is not used: it folds
//! integer weights into floats, rejects 4-bit types and finds custom operators by name alone. What can
//! be computed without the input, such as target shapes, is computed here.
//! Nothing in a file makes this crate panic, and every node that cannot be imported is reported.
#![forbid(unsafe_code)]

mod external;
mod fault;
mod fold;
mod import;
mod model;
mod node;
pub mod ops;
mod scope;
mod tensor;

pub use external::{ExternalData, MAX_EXTERNAL_BYTES};
pub use import::import;
pub use model::MAX_MODEL_BYTES;
