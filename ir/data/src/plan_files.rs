//! Plans and weights as files, with their size limits.

use crate::write::{replace, replace_all};
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::plan::Plan;
use heq_ir::plan::codec::{self, MAX_PLAN_BYTES, MAX_WEIGHTS_BYTES};
use heq_ir::plan::weights::ServerWeights;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use zeroize::Zeroizing;

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// [`Code::FileAccess`] if it cannot be read, [`Code::TooLarge`] if it is longer.
pub fn read_file(path: &Path, limit: usize) -> Result<Vec<u8>, Diagnostic> {
    let place = path.display().to_string();
    let read = || {
        let file = File::open(path)?;
        // All at once: a vector that grows leaves copies behind, and the file may be a key.
        let length = file.metadata()?.len().min(limit as u64);
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(limit) + 1);
        file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error: std::io::Error| {
        let remedy = "check the path and its permissions";
        Diagnostic::new(Code::FileAccess, &place, format!("cannot be read: {error}"), remedy)
    })?;
    if bytes.len() > limit {
        let what = format!("is larger than the limit of {limit} bytes");
        return Err(Diagnostic::new(Code::TooLarge, place, what, "give the right file"));
    }
    Ok(bytes)
}

/// Writes a file, replacing one that is there; under its name it is whole at any time.
///
/// # Errors
/// [`Code::FileAccess`] if it cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Diagnostic> {
    replace(path, bytes).map_err(|error| cannot_write(path, &error))
}

/// Writes files that belong together as [`write_file`] does: none is replaced unless all could be written.
///
/// # Errors
/// [`Code::FileAccess`] if one cannot be written.
pub fn write_files(files: &[(&Path, &[u8])]) -> Result<(), Diagnostic> {
    replace_all(files).map_err(|(index, error)| {
        let path = files.get(index).map_or(Path::new(""), |(path, _)| path);
        cannot_write(path, &error)
    })
}

/// The diagnostic of a file that cannot be written.
#[must_use]
pub fn cannot_write(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::new(
        Code::FileAccess,
        path.display().to_string(),
        format!("cannot be written: {error}"),
        "check that the folder exists, is writable and has room",
    )
}

/// Reads and checks a plan.
///
/// # Errors
/// A diagnostic that names the file and what is wrong with it.
pub fn read_plan(path: &Path) -> Result<Plan, Diagnostic> {
    read_plan_bytes(path).map(|(plan, _)| plan)
}

/// Reads and checks a plan; returns the file's bytes, too.
///
/// # Errors
/// As [`read_plan`].
pub fn read_plan_bytes(path: &Path) -> Result<(Plan, Vec<u8>), Diagnostic> {
    let bytes = read_file(path, MAX_PLAN_BYTES + codec::HEADER_BYTES)?;
    let plan = codec::decode_plan(&bytes);
    let plan = plan.map_err(|error| error.into_diagnostic(&path.display().to_string()))?;
    Ok((plan, bytes))
}

/// Reads the weights of `plan` and checks that they belong to it.
///
/// # Errors
/// A diagnostic that names the file and what is wrong with it.
pub fn read_weights(path: &Path, plan: &Plan) -> Result<ServerWeights, Diagnostic> {
    let place = path.display().to_string();
    let bytes = Zeroizing::new(read_file(path, MAX_WEIGHTS_BYTES + codec::HEADER_BYTES)?);
    let weights = codec::decode_weights(&bytes).map_err(|error| error.into_diagnostic(&place))?;
    ServerWeights::check(weights, plan, &place)
}
