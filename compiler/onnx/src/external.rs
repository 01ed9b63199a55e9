//! Elements of tensors that lie in files beside the model.
//!
//! A model file names those files itself, so nothing of what it says is trusted: only plain names of
//! regular files in the model's own directory are opened, links are not followed, and lengths are
//! checked before anything is read.

use crate::fault::Fault;
use std::cell::Cell;
use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path};
use tract_onnx::pb::TensorProto;

/// Most bytes that are read from such files for one model.
pub const MAX_EXTERNAL_BYTES: u64 = 256 << 20;

/// Where the files that a model names may lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExternalData<'a> {
    /// Nowhere: the model must hold all its tensors.
    #[default]
    None,
    /// In this directory, the one of the model.
    Beside(&'a Path),
}

/// The files that one model may read.
pub(crate) struct External<'a> {
    place: ExternalData<'a>,
    remaining: Cell<u64>,
}

/// What a tensor says about its elements in another file.
struct Reference<'a> {
    location: &'a str,
    offset: u64,
    length: Option<u64>,
}

impl<'a> External<'a> {
    /// Access to the files at `place`.
    pub(crate) fn new(place: ExternalData<'a>) -> Self {
        Self { place, remaining: Cell::new(MAX_EXTERNAL_BYTES) }
    }

    /// The `expected` bytes that `proto` refers to.
    ///
    /// # Errors
    /// If the file is not one that may be read, or holds something else.
    pub(crate) fn read(&self, proto: &TensorProto, expected: usize) -> Result<Vec<u8>, Fault> {
        let reference = Reference::read(proto)?;
        let ExternalData::Beside(directory) = self.place else {
            return Err(Fault::form(
                format!("its elements are in another file ({:?})", reference.location),
                "give the model as a file with the other one beside it, or save it whole, e.g. \
                 onnx.save(onnx.load(file), file)",
            ));
        };
        let length = u64::try_from(expected).unwrap_or(u64::MAX);
        if reference.length.is_some_and(|stated| stated != length) {
            let what = format!("its length is not the {length} bytes of its shape and type");
            return Err(Fault::malformed(what));
        }
        let Some(remaining) = self.remaining.get().checked_sub(length) else {
            return Err(Fault::form(
                format!("the tensors in other files exceed {MAX_EXTERNAL_BYTES} bytes"),
                "export only the network that is to run; strip training state and duplicates",
            ));
        };
        self.remaining.set(remaining);
        let (mut file, size) = open(directory, reference.location)?;
        let end = reference.offset.checked_add(length);
        let whole = reference.length.is_none();
        if end.is_none_or(|end| end > size || (whole && end != size)) {
            return Err(Fault::malformed(format!(
                "it lies at byte {} with {length} bytes, but {:?} has {size}",
                reference.offset, reference.location
            )));
        }
        let mut bytes = Vec::with_capacity(expected);
        file.seek(SeekFrom::Start(reference.offset))
            .and_then(|_| file.take(length).read_to_end(&mut bytes))
            .map_err(|error| unreadable(reference.location, &error.to_string()))?;
        if bytes.len() != expected {
            return Err(unreadable(reference.location, "it changed while it was read"));
        }
        Ok(bytes)
    }
}

impl<'a> Reference<'a> {
    fn read(proto: &'a TensorProto) -> Result<Self, Fault> {
        let value = |key: &str| {
            let mut entries = proto.external_data.iter().filter(|entry| entry.key == key);
            let first = entries.next();
            match entries.next() {
                None => Ok(first.map(|entry| entry.value.as_str())),
                Some(_) => Err(Fault::malformed(format!("it states its {key} twice"))),
            }
        };
        let number = |key: &str| {
            let parse = |text: &str| {
                text.parse::<u64>()
                    .map_err(|_| Fault::malformed(format!("its {key} {text:?} is no byte count")))
            };
            value(key)?.map(parse).transpose()
        };
        let location = value("location")?
            .ok_or_else(|| Fault::malformed("it does not say in which file its elements are"))?;
        Ok(Self { location, offset: number("offset")?.unwrap_or(0), length: number("length")? })
    }
}

/// The regular file `name` in `directory`, and its size in bytes.
fn open(directory: &Path, name: &str) -> Result<(File, u64), Fault> {
    let mut components = Path::new(name).components();
    let plain = matches!(
        (components.next(), components.next()),
        (Some(Component::Normal(only)), None) if only.to_str() == Some(name)
    );
    if !plain || name.contains(['/', '\\', ':', '\0']) {
        return Err(Fault::form(
            format!("its elements are in {name:?}, which is not a plain file name"),
            "save the model again, with its data file in the same directory",
        ));
    }
    let path = directory.join(name);
    let fail = |error: std::io::Error| unreadable(name, &error.to_string());
    let before = path.symlink_metadata().map_err(fail)?;
    if !before.is_file() {
        return Err(unreadable(name, "it is a link or not a regular file"));
    }
    let file = File::open(&path).map_err(fail)?;
    let opened = file.metadata().map_err(fail)?;
    if !same_file(&before, &opened) {
        return Err(unreadable(name, "it was replaced while it was opened"));
    }
    Ok((file, opened.len()))
}

/// Whether both describe one regular file, so that no link came between.
fn same_file(before: &Metadata, opened: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        opened.is_file() && before.dev() == opened.dev() && before.ino() == opened.ino()
    }
    #[cfg(not(unix))]
    {
        opened.is_file() && before.len() == opened.len()
    }
}

fn unreadable(name: &str, reason: &str) -> Fault {
    Fault::form(
        format!("its elements are in {name:?}, which cannot be read: {reason}"),
        "keep the data file as a regular file in the directory of the model",
    )
}
