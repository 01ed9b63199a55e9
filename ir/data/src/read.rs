//! Reads a file into an array, whatever its format.

use crate::array::Array;
use crate::error::{DataError, DataFault};
use crate::{npy, npz, picture};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Largest file in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Largest array in bytes once it is decoded.
pub const MAX_DECODED_BYTES: u64 = 1 << 30;

/// Reads the array in the file at `path`; the file's content tells its format.
///
/// - npy: as it is; other integers than bytes, and booleans, become `I64`.
/// - npz: the array called `entry`; without it the only array, or else the first of `input`,
///   `images`, `x`, `data` and `inputs`, or else the only one that is not called like labels or
///   outputs.
/// - PNG, JPEG: `U8` of shape `[C, H, W]`, one channel for grey and three for colour.
///
/// # Errors
///
/// [`DataFault::Access`] if the file cannot be read; [`DataFault::TooLarge`] beyond the limits of
/// this module; else the [`DataFault`] that names what is wrong with the file.
pub fn read_array(path: &Path, entry: Option<&str>) -> Result<Array, DataError> {
    let place = path.display().to_string();
    decode_array(open(path)?, &place, entry)
}

/// Names of the arrays in the npz file at `path`; none if the file is in another format.
///
/// # Errors
///
/// As [`read_array`].
pub fn array_names(path: &Path) -> Result<Vec<String>, DataError> {
    let place = path.display().to_string();
    let mut file = open(path)?;
    let names = match file.fill_buf() {
        Ok(start) if npz::MAGICS.iter().any(|magic| start.starts_with(magic)) => npz::names(file),
        Ok(_) => Ok(Vec::new()),
        Err(source) => Err(DataFault::Access { doing: "reading", source }),
    };
    names.map_err(|fault| DataError::new(place, fault))
}

/// Opens a file of bounded size.
fn open(path: &Path) -> Result<BufReader<File>, DataError> {
    let place = path.display().to_string();
    let access = |source| DataFault::Access { doing: "opening", source };
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) =
        opened.map_err(|source| DataError::new(place.as_str(), access(source)))?;
    let fault = if !metadata.is_file() {
        Some(access(std::io::Error::other("it is not a regular file")))
    } else if metadata.len() > MAX_FILE_BYTES {
        let (limit, found) = (MAX_FILE_BYTES, metadata.len());
        Some(DataFault::TooLarge { what: "the size of the file in bytes", limit, found })
    } else {
        None
    };
    match fault {
        Some(fault) => Err(DataError::new(place, fault)),
        None => Ok(BufReader::new(file)),
    }
}

/// Reads an array as [`read_array`] does, from the start of `reader`; errors name `place`.
///
/// # Errors
///
/// As [`read_array`].
pub fn decode_array(
    reader: impl BufRead + Seek,
    place: &str,
    entry: Option<&str>,
) -> Result<Array, DataError> {
    match decode(reader, entry) {
        Ok((None, shape, data)) => Array::new(place, shape, data),
        Ok((Some(name), shape, data)) => Array::new(format!("{place}[{name}]"), shape, data),
        Err(fault) => Err(DataError::new(place, fault)),
    }
}

/// Name in the archive, shape and elements.
type Decoded = (Option<String>, Vec<usize>, crate::array::ArrayData);

fn decode(mut reader: impl BufRead + Seek, entry: Option<&str>) -> Result<Decoded, DataFault> {
    let access = |source| DataFault::Access { doing: "reading", source };
    let mut start = Vec::new();
    reader.by_ref().take(8).read_to_end(&mut start).map_err(access)?;
    reader.seek(SeekFrom::Start(0)).map_err(access)?;

    if npz::MAGICS.iter().any(|magic| start.starts_with(magic)) {
        let npz::Entry { name, shape, data } = npz::decode(reader, entry)?;
        return Ok((Some(name), shape, data));
    }
    let picture = picture::MAGICS.iter().find(|(magic, _)| start.starts_with(magic));
    let is_npy = start.starts_with(npy::MAGIC);
    if let Some(entry) = entry.filter(|_| is_npy || picture.is_some()) {
        return Err(DataFault::NotAnArchive { entry: entry.to_owned() });
    }
    let (shape, data) = match picture {
        Some(&(_, format)) => picture::decode(reader, format)?,
        None if is_npy => npy::decode(&mut reader)?,
        None => return Err(DataFault::UnknownFormat),
    };
    Ok((None, shape, data))
}
