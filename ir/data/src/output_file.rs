//! The file that outputs go to: an array, a document or text, by the ending of its name.

use crate::output::{OutputDocument, describe, outputs_array};
use crate::plan_files::write_file;
use crate::{Labels, write_npy};
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::plan::Plan;
use std::path::PathBuf;

/// A file for outputs, whose name says what it will hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFile {
    path: PathBuf,
    format: OutputFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutputFormat {
    /// Values as float32, or indices as int64.
    Npy,
    /// A `heq-output/1` document.
    Json,
    /// A line for every sample.
    Text,
}

impl OutputFile {
    /// The file at `path`; nothing is opened.
    ///
    /// # Errors
    /// A sentence that names the endings that there are, if the path has another.
    pub fn new(path: PathBuf) -> Result<Self, String> {
        let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
        let format = match ending.as_ref().and_then(|ending| ending.to_str()) {
            Some("npy") => OutputFormat::Npy,
            Some("json") => OutputFormat::Json,
            Some("txt") => OutputFormat::Text,
            _ => return Err("give a name that ends in .npy, .json or .txt".to_owned()),
        };
        Ok(Self { path, format })
    }

    /// Writes the outputs `[B][n]` of `plan`; a file that is there is replaced. Arrays have no place for
    /// the names of classes.
    ///
    /// # Errors
    /// [`Code::FileAccess`] if the file cannot be written.
    pub fn write(
        &self,
        outputs: &[Vec<i64>],
        plan: &Plan,
        labels: Option<&Labels>,
    ) -> Result<(), Diagnostic> {
        match self.format {
            OutputFormat::Npy => {
                let array = outputs_array(&self.path, outputs, plan)?;
                write_npy(&self.path, &array).map_err(Diagnostic::from)
            }
            OutputFormat::Json => {
                let document = OutputDocument::new(outputs, plan, labels);
                let mut bytes = serde_json::to_vec(&document).map_err(|error| {
                    let place = self.path.display().to_string();
                    let remedy = "this is a fault of the program; please report it";
                    Diagnostic::new(Code::Internal, place, error.to_string(), remedy)
                })?;
                bytes.push(b'\n');
                write_file(&self.path, &bytes)
            }
            OutputFormat::Text => {
                let (reveal, scale) = (plan.reveal(), plan.spec().output_scale);
                let text = describe(outputs, usize::MAX, reveal, scale, labels);
                write_file(&self.path, text.as_bytes())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_decides() {
        for (path, expected) in [
            ("out.npy", Some(OutputFormat::Npy)),
            ("a.b/out.json", Some(OutputFormat::Json)),
            ("out.old.TXT", Some(OutputFormat::Text)),
            ("out.npz", None),
            ("out", None),
            (".json", None),
            ("out.json/", Some(OutputFormat::Json)),
            ("", None),
        ] {
            let found = OutputFile::new(path.into());
            assert_eq!(found.as_ref().ok().map(|file| file.format), expected, "{path}");
            let names_all =
                |error: &String| [".npy", ".json", ".txt"].iter().all(|one| error.contains(one));
            assert!(found.as_ref().err().is_none_or(names_all), "{found:?}");
        }
    }
}
