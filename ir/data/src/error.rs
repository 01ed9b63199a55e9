//! What can be wrong with a user's data, and what the user can do about it.

use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::geometry::Chw;
use heq_ir::preparation::PreparationError;
use heq_ir::tensor::IntType;
use std::io;

/// A file or array that cannot be used: where, and why.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct DataError {
    place: String,
    #[source]
    fault: Box<DataFault>,
}

/// What is wrong with a file or array.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataFault {
    /// The operating system refused an operation.
    #[error("error while {doing}: {source}")]
    Access {
        /// What was being done, for example "reading".
        doing: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
    /// A picture has an alpha channel.
    #[error("the picture has an alpha channel, which is not part of a model's input")]
    Alpha,
    /// The shape of an array does not account for its elements.
    #[error("the shape {shape:?} does not describe {elements} elements")]
    Inconsistent {
        /// The shape.
        shape: Vec<usize>,
        /// Number of elements.
        elements: usize,
    },
    /// Integers of an unexpected type are given where a model's input is due.
    #[error(
        "the input holds integers that are neither pixels nor of the model's type, so it is unclear \
         what they stand for"
    )]
    IntegerInput,
    /// An unsigned integer exceeds the largest signed one.
    #[error("element {index} is {value}, which exceeds the largest 64-bit signed integer")]
    IntegerTooLarge {
        /// Position of the element in the file.
        index: usize,
        /// The element.
        value: u64,
    },
    /// Labels are no list of integers.
    #[error("the labels are no list of integers, but an array of shape {shape:?}")]
    Labels {
        /// The array's shape.
        shape: Vec<usize>,
    },
    /// The file breaks its format.
    #[error("not a valid {format} file: {what}")]
    Malformed {
        /// The format, by the first bytes of the file.
        format: &'static str,
        /// What breaks it.
        what: String,
    },
    /// The archive has no entry of that name, or several and none was named.
    #[error("{}", describe_missing(wanted.as_deref(), entries))]
    NoSuchEntry {
        /// The name that was asked for.
        wanted: Option<String>,
        /// The arrays in the archive.
        entries: Vec<String>,
    },
    /// An entry of an archive was named, but the file is none.
    #[error("the entry `{entry}` was asked for, but the file is not an npz archive")]
    NotAnArchive {
        /// The name that was asked for.
        entry: String,
    },
    /// An element of a model's input is not a finite `f32`.
    #[error("element {index:?} of the input is {value}, not a finite 32-bit number")]
    NotFinite {
        /// Index of the element along each dimension.
        index: Vec<usize>,
        /// The element.
        value: f64,
    },
    /// An element is no integer of the model's type.
    #[error("element {index:?} of the input is {value}, which the model's type {ty} does not have")]
    OutOfType {
        /// Index of the element along each dimension.
        index: Vec<usize>,
        /// The element.
        value: i64,
        /// The type.
        ty: IntType,
    },
    /// The model's input preparation does not fit the model's input.
    #[error("the pixels cannot be prepared: {0}")]
    Preparation(#[from] PreparationError),
    /// The file or its content exceeds a limit.
    #[error("{what} is {found}, more than the limit of {limit}")]
    TooLarge {
        /// The quantity, with its unit.
        what: &'static str,
        /// The largest value.
        limit: u64,
        /// The value, or the largest number if it is even beyond that.
        found: u64,
    },
    /// The file is in no known format.
    #[error("the file is neither npy, npz, PNG nor JPEG")]
    UnknownFormat,
    /// The elements have a type that is not supported.
    #[error("elements of type {name} are not supported")]
    UnsupportedType {
        /// The type in the words of the format.
        name: String,
    },
    /// The array does not have the shape of a model's input.
    #[error(
        "the input has shape {found:?}, but the model takes {expected} (channels x height x \
         width): accepted are {accepted}"
    )]
    WrongShape {
        /// The shape of one sample.
        expected: Chw,
        /// The array's shape.
        found: Vec<usize>,
        /// The shapes that would be accepted.
        accepted: String,
    },
}

fn describe_missing(wanted: Option<&str>, entries: &[String]) -> String {
    let entries = if entries.is_empty() { "no array".to_owned() } else { entries.join(", ") };
    match wanted {
        Some(wanted) => format!("there is no array `{wanted}` in the archive; it holds {entries}"),
        None => format!("it is unclear which array of the archive is meant; it holds {entries}"),
    }
}

impl DataError {
    pub(crate) fn new(place: impl Into<String>, fault: DataFault) -> Self {
        Self { place: place.into(), fault: Box::new(fault) }
    }

    /// The file, with the entry's name if it is an archive.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What is wrong.
    #[must_use]
    pub fn fault(&self) -> &DataFault {
        &self.fault
    }
}

impl DataFault {
    /// The diagnostic code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Access { .. } => Code::FileAccess,
            Self::TooLarge { .. } => Code::TooLarge,
            Self::Alpha
            | Self::Inconsistent { .. }
            | Self::IntegerInput
            | Self::IntegerTooLarge { .. }
            | Self::Labels { .. }
            | Self::Malformed { .. }
            | Self::NoSuchEntry { .. }
            | Self::NotAnArchive { .. }
            | Self::NotFinite { .. }
            | Self::OutOfType { .. }
            | Self::Preparation(_)
            | Self::UnknownFormat
            | Self::UnsupportedType { .. }
            | Self::WrongShape { .. } => Code::WrongInput,
        }
    }

    /// What the user can do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Access { .. } => "check the path, its permissions and the space on the disk",
            Self::Alpha => "flatten the picture onto a background and save it without alpha",
            Self::Inconsistent { .. } => "give a shape whose product is the number of elements",
            Self::IntegerInput => {
                "save raw pixels as uint8, prepared values as float32, or the integers that a \
                 quantized model takes in its own type"
            }
            Self::IntegerTooLarge { .. } => "save the array as int64 or float32",
            Self::Labels { .. } => "save one class index a sample, as int64",
            Self::Malformed { .. } => "write the file again; it may be damaged or cut off",
            Self::NoSuchEntry { .. } => {
                "name one of these arrays, or call the one that is meant `input`"
            }
            Self::NotAnArchive { .. } => "leave out the entry's name, or give an npz file",
            Self::NotFinite { .. } => "replace or remove the sample",
            Self::OutOfType { .. } => "save the integers that the model takes, or real values",
            Self::Preparation(_) => "compile the model again with one mean and std per channel",
            Self::TooLarge { .. } => "split the data into several smaller files",
            Self::UnknownFormat => "save arrays with numpy.save or numpy.savez, pictures as PNG",
            Self::UnsupportedType { .. } => {
                "save arrays as float32, float64, int64 or uint8, pictures with 8 bits per channel"
            }
            Self::WrongShape { .. } => "reshape or resize the input to one of the accepted shapes",
        }
    }

    /// Sorts the error of reading a file in `format`: a damaged file, or a failure of the system.
    pub(crate) fn from_io(format: &'static str, source: io::Error) -> Self {
        use io::ErrorKind as Kind;
        let kind = source.kind();
        if kind == Kind::UnexpectedEof {
            Self::Malformed { format, what: "it ends too early".to_owned() }
        } else if matches!(kind, Kind::InvalidData | Kind::InvalidInput | Kind::Other) {
            Self::Malformed { format, what: source.to_string() }
        } else {
            Self::Access { doing: "reading", source }
        }
    }
}

impl From<DataError> for Diagnostic {
    fn from(error: DataError) -> Self {
        let fault = error.fault;
        Self::new(fault.code(), error.place, fault.to_string(), fault.remedy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_names_file_fault_and_remedy() {
        let fault = DataFault::NoSuchEntry {
            wanted: Some("x".to_owned()),
            entries: vec!["a".to_owned(), "b".to_owned()],
        };
        let diagnostic = Diagnostic::from(DataError::new("digits.npz", fault));
        assert_eq!(
            diagnostic.to_string(),
            "error[HEQ-2002]: digits.npz: there is no array `x` in the archive; it holds a, b\n  \
             help: name one of these arrays, or call the one that is meant `input`"
        );
    }

    #[test]
    fn codes_follow_the_cause() {
        let access = DataFault::Access { doing: "opening", source: io::ErrorKind::NotFound.into() };
        assert_eq!(access.code(), Code::FileAccess);
        let large = DataFault::TooLarge { what: "the width in pixels", limit: 1, found: 2 };
        assert_eq!(large.code(), Code::TooLarge);
        assert_eq!(DataFault::UnknownFormat.code(), Code::WrongInput);
    }
}
