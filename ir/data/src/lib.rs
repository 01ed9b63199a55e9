//! Reads and writes the files users have: plans and weights, npy, npz, PNG and JPEG.
//!
//! Both programs use it: the compiler for calibration and test data, the runtime for inputs and
//! outputs, and both for completions and manuals ([`command_line`]). A file becomes an [`Array`] ([`read`]), an array becomes the samples of a model's input
//! ([`prepare`]), and a file with labels or outputs beside them is a [`DataSet`]. Outputs become text,
//! or an [`OutputFile`], with the names of classes ([`Labels`]).
//!
//! Invariants: a file that is read is recognised by its content, never by its name; nothing in a file
//! can cause a panic or an allocation beyond the limits in [`read`]; a file that is written is whole
//! when it has its name; every error names the file and what to do about it.
#![forbid(unsafe_code)]

pub mod array;
pub mod command_line;
pub mod costs;
pub mod data_set;
pub mod error;
mod labels;
mod npy;
mod npz;
pub mod output;
mod output_file;
mod picture;
pub mod plan_files;
pub mod prepare;
pub mod read;
mod size;
pub mod write;

pub use array::{Array, ArrayData};
pub use data_set::DataSet;
pub use error::DataError;
pub use labels::Labels;
pub use output_file::OutputFile;
pub use prepare::{Sample, to_inputs, to_samples};
pub use read::{decode_array, read_array};
pub use size::parse_size;
pub use write::{encode_npy, outlive_file_size_limit, write_npy};
