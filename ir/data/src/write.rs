//! Writes arrays.

use crate::array::Array;
use crate::error::{DataError, DataFault};
use crate::npy;
use std::path::Path;

/// Writes `array` to `path` as an npy file, little-endian and in row-major order; a file that is
/// there is replaced.
///
/// # Errors
///
/// [`DataFault::Access`] if the file cannot be written.
pub fn write_npy(path: &Path, array: &Array) -> Result<(), DataError> {
    std::fs::write(path, npy::encode(array.shape(), array.data())).map_err(|source| {
        DataError::new(path.display().to_string(), DataFault::Access { doing: "writing", source })
    })
}
