//! Cost profiles as files.

use crate::plan_files::read_file;
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::predict::CostProfile;
use std::path::Path;

/// Largest file in bytes; one that was measured has some 20 kB.
const MAX_COSTS_BYTES: usize = 1 << 20;

/// Reads and checks a cost profile, as `heq-run calibrate` writes it.
///
/// # Errors
/// A diagnostic that names the file and what is wrong with it.
pub fn read_costs(path: &Path) -> Result<CostProfile, Diagnostic> {
    let bytes = read_file(path, MAX_COSTS_BYTES)?;
    let refuse = |what: String| {
        let what = format!("is no cost profile: {what}");
        let remedy = "make one with heq-run calibrate -o COSTS.json, of this version";
        Diagnostic::new(Code::BadOption, path.display().to_string(), what, remedy)
    };
    let costs: CostProfile =
        serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
    costs.check().map_err(|error| refuse(error.to_string()))?;
    Ok(costs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use heq_ir::predict::profile::SCHEMA;

    fn read(text: &str) -> Result<CostProfile, Diagnostic> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("costs.json");
        std::fs::write(&path, text).unwrap();
        read_costs(&path)
    }

    #[test]
    fn what_is_written_is_read() {
        let costs = CostProfile::default();
        assert_eq!(read(&serde_json::to_string(&costs).unwrap()).unwrap(), costs);
    }

    #[test]
    fn damaged_profiles_are_refused() {
        let whole = serde_json::to_string(&CostProfile::default()).unwrap();
        let other_version = whole.replace(SCHEMA, "heq-costs/9");
        let wake = whole.find("\"wake_us\":").unwrap() + "\"wake_us\":".len();
        let with_wake = |number: &str| {
            let end = wake + whole[wake..].find(',').unwrap();
            format!("{}{number}{}", &whole[..wake], &whole[end..])
        };
        for (text, expected) in [
            (String::new(), "EOF"),
            (whole[..whole.len() / 2].to_owned(), "EOF"),
            ("[".repeat(100_000), "invalid type"),
            ("{}".to_owned(), "missing field"),
            (other_version, "heq-costs/9"),
            (with_wake("-1.0"), "wake_us"),
            (with_wake("1e300"), "wake_us"),
            (with_wake("1e999"), "out of range"),
            (with_wake("NaN"), "expected value"),
            (with_wake("null"), "invalid type"),
            (" ".repeat(MAX_COSTS_BYTES + 1), "larger than"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        assert!(read_costs(Path::new("no-such-file.json")).is_err());
    }
}
