//! Writes files: whole, or not at all.

use crate::array::Array;
use crate::error::{DataError, DataFault};
use crate::npy;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes `array` to `path` as an npy file, little-endian and in row-major order; a file that is
/// there is replaced.
///
/// # Errors
///
/// [`DataFault::Access`] if the file cannot be written.
pub fn write_npy(path: &Path, array: &Array) -> Result<(), DataError> {
    replace(path, &npy::encode(array.shape(), array.data())).map_err(|source| {
        DataError::new(path.display().to_string(), DataFault::Access { doing: "writing", source })
    })
}

/// Makes `bytes` the content of `path`. Under its name a file is whole: it is written beside and then
/// renamed, with the permissions of the one that it replaces. What is no regular file is written in
/// place, since a pipe or a device cannot be replaced, and a link should stay one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Threads may write the same file at the same time.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let permissions = match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => return fs::write(path, bytes),
        Ok(found) => {
            // One that may not be written is not replaced either.
            OpenOptions::new().write(true).open(path)?;
            Some(found.permissions())
        }
        Err(_) => None,
    };
    let mut partial = path.as_os_str().to_owned();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    partial.push(format!(".{}-{number}.partial", std::process::id()));
    // Nobody else has this number: what is there, a process left that died.
    let _ = fs::remove_file(&partial);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&partial)?;
        if let Some(permissions) = permissions {
            file.set_permissions(permissions)?;
        }
        file.write_all(bytes)?;
        fs::rename(&partial, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&partial);
    })
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
    }
}
