//! Writes files: whole, or not at all, and several together likewise.
//!
//! What was there stays until all that replaces it has reached the disk: there a write may fail that seemed to
//! be done.

use crate::array::Array;
use crate::error::{DataError, DataFault};
use crate::npy;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// `array` as an npy file, little-endian and in row-major order.
#[must_use]
pub fn encode_npy(array: &Array) -> Vec<u8> {
    npy::encode(array.shape(), array.data())
}

/// Writes `array` to `path` as an npy file, little-endian and in row-major order; a file that is
/// there is replaced.
///
/// # Errors
///
/// [`DataFault::Access`] if the file cannot be written.
pub fn write_npy(path: &Path, array: &Array) -> Result<(), DataError> {
    replace(path, &encode_npy(array)).map_err(|source| {
        DataError::new(path.display().to_string(), DataFault::Access { doing: "writing", source })
    })
}

/// Lets a write beyond the process's limit of file sizes fail, as one to a full disk does: by default such a
/// limit ends the process without a word. For programs, at their start.
pub fn outlive_file_size_limit() {
    #[cfg(unix)]
    {
        // A process without the handler runs as before.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    }
}

/// Makes `bytes` the content of `path`. Under its name a file is whole: it is written beside and then
/// renamed, with the permissions of the one that it replaces. What is no regular file is written in
/// place, since a pipe or a device cannot be replaced; a link stays one, to the file that is new.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match Beside::write(path, bytes)? {
        Some(beside) => beside.rename(),
        None => fs::write(path, bytes),
    }
}

/// Replaces files as [`replace`] does, none of them before all are written. Only if the last step fails for
/// one, which needs no room, those before it are new. In an error the index tells of which file it is.
pub(crate) fn replace_all(files: &[(&Path, &[u8])]) -> Result<(), (usize, io::Error)> {
    let mut written = Vec::new();
    for (index, (path, bytes)) in files.iter().enumerate() {
        written.push(Beside::write(path, bytes).map_err(|error| (index, error))?);
    }
    for (index, ((path, bytes), beside)) in files.iter().zip(written).enumerate() {
        let done = match beside {
            Some(beside) => beside.rename(),
            None => fs::write(path, bytes),
        };
        done.map_err(|error| (index, error))?;
    }
    Ok(())
}

/// A file that is on disk beside the one whose name it will have; it is removed if it never gets that.
struct Beside {
    partial: PathBuf,
    path: PathBuf,
}

impl Beside {
    /// Writes `bytes` beside `path`; none if there is something that is no regular file.
    fn write(path: &Path, bytes: &[u8]) -> io::Result<Option<Self>> {
        // Threads may write the same file at the same time.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let (path, permissions) = match fs::metadata(path) {
            Ok(found) if found.is_file() => {
                // One that may not be written is not replaced either.
                OpenOptions::new().write(true).open(path)?;
                (fs::canonicalize(path)?, Some(found.permissions()))
            }
            Ok(_) => return Ok(None),
            // A link to a file that is not there yet.
            Err(_) if fs::symlink_metadata(path).is_ok() => return Ok(None),
            Err(_) => (path.to_path_buf(), None),
        };
        let mut partial = path.as_os_str().to_owned();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        partial.push(format!(".{}-{number}.partial", std::process::id()));
        let beside = Self { partial: partial.into(), path };
        // Nobody else has this number: what is there, a process left that died.
        let _ = fs::remove_file(&beside.partial);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&beside.partial)?;
        if let Some(permissions) = permissions {
            file.set_permissions(permissions)?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(Some(beside))
    }

    fn rename(self) -> io::Result<()> {
        fs::rename(&self.partial, &self.path)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Not there any more if it was renamed.
        let _ = fs::remove_file(&self.partial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_and_nothing_stays_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for bytes in [&b"first"[..], b"2"] {
            replace(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        assert!(replace(folder.path(), b"no file").is_err());
        assert!(replace(&folder.path().join("no/folder"), b"").is_err());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_and_links_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&path, b"old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        symlink(&path, &link).unwrap();
        replace(&link, b"by the link").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"by the link");
        fs::remove_file(&path).unwrap();
        replace(&link, b"new by the link").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new by the link");
    }

    #[test]
    fn of_several_files_none_is_replaced_if_one_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        replace_all(&[(&first, b"old"), (&second, b"old")]).unwrap();
        let nowhere = folder.path().join("no/folder");
        let (index, _) =
            replace_all(&[(&first, b"new"), (&second, b"new"), (&nowhere, b"new")]).unwrap_err();
        assert_eq!(index, 2);
        for path in [&first, &second] {
            assert_eq!(fs::read(path).unwrap(), b"old");
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        replace_all(&[(&first, b"new"), (&second, b"new")]).unwrap();
        assert_eq!(fs::read(&second).unwrap(), b"new");
    }
}
