//! Rules about single files: module docs, length, no paths of one machine.

use super::Violation;
use super::tree::Tree;

/// Most lines of a source file.
const MAX_LINES: usize = 500;

/// Folders that exist on one machine only. Written apart, so that this file keeps its own rule.
const MACHINE_FOLDERS: &[&str] =
    &[concat!("/", "work/"), concat!("/", "tmp/"), concat!("/", "home/"), concat!("/", "root/")];

/// Patterns of this file are paths from the root of the workspace.
const GITIGNORE: &str = ".gitignore";

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (path, text) in tree.with_extension("rs") {
        if !text.starts_with("//!") {
            violations.push(Violation::new(path, "does not start with a `//!` line"));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            let what = format!("has {lines} lines, more than {MAX_LINES}: split it");
            violations.push(Violation::new(path, what));
        }
    }
    for (path, text) in tree.texts().filter(|&(path, _)| path != GITIGNORE) {
        for (number, line) in text.lines().enumerate() {
            if let Some(folder) = machine_folder(line) {
                let place = format!("{path}:{}", number + 1);
                violations.push(Violation::new(place, format!("names {folder}, which is local")));
            }
        }
    }
    violations
}

/// The first local folder that `line` names at the start of a path.
fn machine_folder(line: &str) -> Option<&'static str> {
    MACHINE_FOLDERS.iter().copied().find(|folder| {
        line.match_indices(folder).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || "._-*}".contains(c))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_folders_are_found_at_the_start_of_a_path() {
        let (work, tmp) = (MACHINE_FOLDERS[0], MACHINE_FOLDERS[1]);
        assert_eq!(machine_folder(&format!("see {work}notes")), Some(work));
        assert_eq!(machine_folder(&format!("\"{tmp}x\"")), Some(tmp));
        assert_eq!(machine_folder(&format!("docs{work}notes and {{}}{tmp}")), None);
    }

    #[test]
    fn every_rule_is_reported() {
        let long = "//! Long.\n".repeat(MAX_LINES + 1);
        let local = format!("//! {}x\n", MACHINE_FOLDERS[0]);
        let tree = Tree::of(&[("a.rs", "fn main() {}"), ("b.rs", &long), ("c.rs", &local)]);
        let places: Vec<String> = check(&tree).into_iter().map(|found| found.place).collect();
        assert_eq!(places, ["a.rs", "b.rs", "c.rs:1"]);
    }
}
