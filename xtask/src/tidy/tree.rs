//! The text files of the workspace, read once for all checks.
//!
//! Build output and plans are left out, as in `.gitignore`; so are files that are not text.

use crate::error::TaskError;
use std::collections::BTreeMap;
use std::path::Path;

/// Folders that are not part of the project.
const IGNORED: &[&str] = &[".git", "target"];

/// Every text file by its path from the root, with `/` between folders, and the paths of all others.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<String, Option<String>>,
}

impl Tree {
    /// Reads the files under `root`.
    pub(super) fn read(root: &Path) -> Result<Self, TaskError> {
        let mut tree = Self::default();
        tree.read_folder(root, "")?;
        Ok(tree)
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|&(path, text)| (path.to_owned(), Some(text.to_owned())));
        Self { files: files.collect() }
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) -> Result<(), TaskError> {
        let failed = |source| TaskError::File { path: folder.to_owned(), source };
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
            if kind.is_dir() && !IGNORED.contains(&name.as_str()) {
                self.read_folder(&path, &format!("{prefix}{name}/"))?;
            } else if kind.is_file() && path.extension().is_none_or(|extension| extension != "heq")
            {
                let bytes =
                    std::fs::read(&path).map_err(|source| TaskError::File { path, source })?;
                self.files.insert(format!("{prefix}{name}"), String::from_utf8(bytes).ok());
            }
        }
        Ok(())
    }

    /// Path and text of every text file.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    /// Path and text of every text file whose name ends with `.extension`.
    pub(super) fn with_extension(&self, extension: &str) -> impl Iterator<Item = (&str, &str)> {
        self.texts().filter(move |(path, _)| {
            path.rsplit_once('.').is_some_and(|(_, found)| found == extension)
        })
    }

    /// The text of a file, if there is one.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// Whether there is a file or folder of this path.
    pub(super) fn contains(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let folder = format!("{path}/");
        let inside = self.files.range(folder.clone()..).next();
        path.is_empty()
            || self.files.contains_key(path)
            || inside.is_some_and(|(found, _)| found.starts_with(&folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_are_found() {
        let tree = Tree::of(&[("a/b.rs", ""), ("a-b/c.md", "")]);
        for path in ["a", "a/", "a/b.rs", "a-b", ""] {
            assert!(tree.contains(path), "{path}");
        }
        for path in ["b.rs", "a/b", "a/c", "c"] {
            assert!(!tree.contains(path), "{path}");
        }
        assert_eq!(tree.with_extension("rs").count(), 1);
    }
}
