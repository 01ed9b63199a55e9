//! A model's file, read whole.

use crate::pipeline::ExternalData;
use heq_data::plan_files::read_file;
use heq_ir::diagnostic::Diagnostic;
use std::path::{Path, PathBuf};

/// Largest model file in bytes: protobuf's own limit.
const MAX_MODEL_BYTES: usize = 2 << 30;

/// A model's bytes, with the folder that its external data lies in.
#[derive(Clone, Debug)]
pub struct Model {
    /// What diagnostics call it.
    pub name: String,
    /// The ONNX file.
    pub bytes: Vec<u8>,
    /// Where its external data is, if it may have any.
    pub folder: Option<PathBuf>,
}

impl Model {
    /// Reads a file; external data is beside it.
    ///
    /// # Errors
    /// A diagnostic that names the file.
    pub fn read(path: &Path) -> Result<Self, Diagnostic> {
        let bytes = read_file(path, MAX_MODEL_BYTES)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = Some(parent.unwrap_or(Path::new(".")).to_owned());
        Ok(Self { name: path.display().to_string(), bytes, folder })
    }

    /// Where its external data is.
    #[must_use]
    pub fn external(&self) -> ExternalData<'_> {
        self.folder.as_deref().map_or(ExternalData::None, ExternalData::Beside)
    }
}
