//! Arrays as npy files in memory, or in files.

use crate::error::Outcome;
use heq_data::output::outputs_array;
use heq_data::{Array, decode_array, encode_npy, read_array};
use heq_ir::diagnostic::Diagnostic;
use heq_ir::plan::Plan;
use pyo3::prelude::*;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// An array: the bytes of an npy file, or the path of a file that `heq-run --input` takes.
#[derive(FromPyObject)]
pub(crate) enum Source {
    Bytes(Vec<u8>),
    Path(PathBuf),
}

impl Source {
    /// The array, which errors call `name` if it is in memory.
    pub(crate) fn read(self, name: &str) -> Outcome<Array> {
        let array = match self {
            Self::Bytes(bytes) => {
                let bytes = Zeroizing::new(bytes);
                decode_array(Cursor::new(bytes.as_slice()), name, None)
            }
            Self::Path(path) => read_array(&path, None),
        };
        Ok(array.map_err(Diagnostic::from)?)
    }
}

/// Integer outputs as the npy file that `--output` writes.
pub(crate) fn to_npy(outputs: &[Vec<i64>], plan: &Plan) -> Outcome<Vec<u8>> {
    let array = outputs_array(Path::new("outputs"), outputs, plan).map_err(Diagnostic::from)?;
    Ok(encode_npy(&array))
}
