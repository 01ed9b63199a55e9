//! The npz format of numpy: a zip archive whose entries are npy files.

use crate::array::ArrayData;
use crate::error::DataFault;
use crate::npy;
use std::io::{Read, Seek};
use zip::ZipArchive;
use zip::result::ZipError;

/// Name of the format in errors.
const FORMAT: &str = "npz";

/// First bytes of a zip archive, and of one without entries.
pub(crate) const MAGICS: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];

/// Names that are looked for, in this order, if none is given.
const DEFAULT_ENTRIES: [&str; 5] = ["input", "images", "x", "data", "inputs"];

/// Names of arrays that hold labels, in the order in which they are looked for.
pub(crate) const LABELS: [&str; 4] = ["labels", "label", "y", "targets"];

/// Names of arrays that hold outputs, in the order in which they are looked for.
pub(crate) const OUTPUTS: [&str; 3] = ["output", "outputs", "logits"];

/// What follows an array's name in the name of its entry.
const SUFFIX: &str = ".npy";

/// An array of an archive, with its name.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: ArrayData,
}

/// Reads the array called `wanted`, or else the one that is meant most likely.
pub(crate) fn decode(reader: impl Read + Seek, wanted: Option<&str>) -> Result<Entry, DataFault> {
    let mut archive = ZipArchive::new(reader).map_err(from_zip)?;
    let entries = arrays(&archive);
    let Some(name) = choose(&entries, wanted).map(str::to_owned) else {
        return Err(DataFault::NoSuchEntry { wanted: wanted.map(str::to_owned), entries });
    };
    let mut entry = archive.by_name(&format!("{name}{SUFFIX}")).map_err(from_zip)?;
    let (shape, data) = npy::decode(&mut entry)?;
    Ok(Entry { name, shape, data })
}

/// Names of the arrays of an archive.
pub(crate) fn names(reader: impl Read + Seek) -> Result<Vec<String>, DataFault> {
    Ok(arrays(&ZipArchive::new(reader).map_err(from_zip)?))
}

fn arrays<R>(archive: &ZipArchive<R>) -> Vec<String>
where
    R: Read + Seek,
{
    archive.file_names().filter_map(|name| name.strip_suffix(SUFFIX)).map(str::to_owned).collect()
}

fn choose<'a>(entries: &'a [String], wanted: Option<&str>) -> Option<&'a str> {
    let find = |name: &str| entries.iter().find(|entry| *entry == name);
    match (wanted, entries) {
        (Some(name), _) => find(name.strip_suffix(SUFFIX).unwrap_or(name)),
        (None, [only]) => Some(only),
        (None, _) => DEFAULT_ENTRIES.into_iter().find_map(find).or_else(|| only_input(entries)),
    }
    .map(String::as_str)
}

/// The one array that by its name holds neither labels nor outputs.
fn only_input(entries: &[String]) -> Option<&String> {
    let is_input =
        |name: &&String| !LABELS.contains(&name.as_str()) && !OUTPUTS.contains(&name.as_str());
    let mut inputs = entries.iter().filter(is_input);
    inputs.next().filter(|_| inputs.next().is_none())
}

fn from_zip(error: ZipError) -> DataFault {
    let what = error.to_string();
    if let ZipError::Io(source) = error {
        DataFault::from_io(FORMAT, source)
    } else {
        DataFault::Malformed { format: FORMAT, what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_chosen_by_name_then_by_default() {
        let cases: [(&[&str], Option<&str>, Option<&str>); 13] = [
            (&["x"], None, Some("x")),
            (&["x", "input"], None, Some("input")),
            (&["images", "labels"], None, Some("images")),
            (&["images", "input"], None, Some("input")),
            (&["a", "b"], None, None),
            (&["x", "y"], None, Some("x")),
            (&["pictures", "labels", "logits"], None, Some("pictures")),
            (&["labels", "output"], None, None),
            (&[], None, None),
            (&["x", "input"], Some("x"), Some("x")),
            (&["x", "input"], Some("x.npy"), Some("x")),
            (&["x"], Some("y"), None),
            (&["input"], Some(""), None),
        ];
        for (entries, wanted, expected) in cases {
            let names: Vec<String> = entries.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(choose(&names, wanted), expected, "{entries:?}, {wanted:?}");
        }
    }
}
