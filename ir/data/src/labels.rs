//! Names of classes: a text file, one name a line.

use crate::plan_files::read_file;
use heq_ir::diagnostic::{Code, Diagnostic};
use std::path::Path;

/// Largest file in bytes.
const MAX_BYTES: usize = 1_000_000;

/// Most names.
const MAX_LINES: usize = 100_000;

/// The names of all classes of an output. None is blank or holds a control character, so that each can
/// be printed on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels(Vec<String>);

impl Labels {
    /// Reads the names of an output of `classes` values; a blank line at the end is none.
    ///
    /// # Errors
    /// [`Code::FileAccess`] if the file cannot be read, [`Code::TooLarge`] if it exceeds a limit, and
    /// [`Code::WrongInput`] if it does not name each class on a line of its own.
    pub fn read(path: &Path, classes: usize) -> Result<Self, Diagnostic> {
        Self::parse(&read_file(path, MAX_BYTES)?, &path.display().to_string(), classes)
    }

    pub(crate) fn parse(bytes: &[u8], place: &str, classes: usize) -> Result<Self, Diagnostic> {
        let wrong = |place: String, what: String, remedy: &str| {
            Err(Diagnostic::new(Code::WrongInput, place, what, remedy))
        };
        let Ok(text) = str::from_utf8(bytes) else {
            let what = "is no UTF-8 text".to_owned();
            return wrong(place.to_owned(), what, "give a text file with one name a line");
        };
        // Some editors begin a file with a byte order mark.
        let mut lines: Vec<&str> = text.strip_prefix('\u{feff}').unwrap_or(text).lines().collect();
        lines.pop_if(|last| last.trim().is_empty());
        if lines.len() > MAX_LINES {
            let what = format!("has {} lines, more than the limit of {MAX_LINES}", lines.len());
            return Err(Diagnostic::new(Code::TooLarge, place, what, "give the right file"));
        }
        for (line, number) in lines.iter().zip(1..) {
            let place = format!("{place}, line {number}");
            if let Some(control) = line.chars().find(|character| character.is_control()) {
                let what = format!("holds the control character U+{:04X}", u32::from(control));
                return wrong(place, what, "remove it");
            }
            if line.trim().is_empty() {
                return wrong(place, "is blank".to_owned(), "give every class a name");
            }
        }
        if lines.len() != classes {
            let what = format!("has {} names, but the plan has {classes} classes", lines.len());
            let remedy = "give one name a line for every class, in their order";
            return wrong(place.to_owned(), what, remedy);
        }
        Ok(Self(lines.into_iter().map(|line| line.trim().to_owned()).collect()))
    }

    /// The name of a class, if there is such a class.
    #[must_use]
    pub fn name(&self, class: usize) -> Option<&str> {
        self.0.get(class).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_name() {
        for text in ["zero\none", "zero\none\n", "zero\none\n\n", "\u{feff} zero\r\none \r\n"] {
            let labels = Labels::parse(text.as_bytes(), "labels.txt", 2).unwrap();
            let names = [0, 1, 2].map(|class| labels.name(class));
            assert_eq!(names, [Some("zero"), Some("one"), None], "{text:?}");
        }
    }

    #[test]
    fn what_does_not_name_each_class_is_refused() {
        let many = "x\n".repeat(MAX_LINES + 1);
        for (bytes, code, expected) in [
            (&b"a"[..], Code::WrongInput, "labels.txt: has 1 names, but the plan has 2 classes"),
            (b"a\nb\nc\n", Code::WrongInput, "labels.txt: has 3 names"),
            (b"", Code::WrongInput, "labels.txt: has 0 names"),
            (b"a\nb\n\n\n", Code::WrongInput, "labels.txt, line 3: is blank"),
            (b"\n \n", Code::WrongInput, "labels.txt, line 1: is blank"),
            (
                b"a\n\x1b[31mb",
                Code::WrongInput,
                "labels.txt, line 2: holds the control character U+001B",
            ),
            (b"a\tb\nc", Code::WrongInput, "line 1: holds the control character U+0009"),
            ("a\u{85}\nb".as_bytes(), Code::WrongInput, "character U+0085"),
            (b"a\n\xff", Code::WrongInput, "labels.txt: is no UTF-8 text"),
            (many.as_bytes(), Code::TooLarge, "has 100001 lines, more than the limit of 100000"),
        ] {
            let error = Labels::parse(bytes, "labels.txt", 2).unwrap_err();
            assert_eq!(error.code, code, "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn files_have_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.txt");
        let refused = |path: &Path| Labels::read(path, 1).unwrap_err().code;
        assert_eq!(refused(&path), Code::FileAccess);
        std::fs::write(&path, "x".repeat(MAX_BYTES + 1)).unwrap();
        assert_eq!(refused(&path), Code::TooLarge);
        std::fs::write(&path, "x".repeat(MAX_BYTES)).unwrap();
        assert_eq!(Labels::read(&path, 1).unwrap().name(0).map(str::len), Some(MAX_BYTES));
    }
}
