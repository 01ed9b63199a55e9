//! Decision records are numbered from 1 without gaps, and each number is used once.

use super::Violation;
use super::tree::Tree;

/// Where the records are kept, as `NNNN-title.md`.
const FOLDER: &str = "docs/adr/";

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut expected = 1;
    for (path, text) in tree.with_extension("md") {
        let Some(name) = path.strip_prefix(FOLDER).filter(|&name| name != "README.md") else {
            continue;
        };
        let Some(number) = number(name) else {
            violations.push(Violation::new(path, "is not named NNNN-title.md"));
            continue;
        };
        if number != expected {
            let what = format!("has number {number} where {expected} is next");
            violations.push(Violation::new(path, what));
        }
        expected = number + 1;
        for heading in ["## Context", "## Decision", "## Consequences"] {
            if !text.lines().any(|line| line == heading) {
                violations.push(Violation::new(path, format!("has no `{heading}`")));
            }
        }
    }
    violations
}

/// The number of a record from its file name.
fn number(name: &str) -> Option<u32> {
    let (digits, title) = name.split_once('-')?;
    let numeric = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    (numeric && !title.is_empty()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_from_file_names() {
        assert_eq!(number("0012-plan.md"), Some(12));
        for name in ["12-plan.md", "0012.md", "plan-0012.md", "+012-plan.md"] {
            assert_eq!(number(name), None, "{name}");
        }
    }

    #[test]
    fn gaps_and_repetitions_are_reported() {
        let text = "## Context\n## Decision\n## Consequences\n";
        let tree = Tree::of(&[
            ("docs/adr/0001-a.md", text),
            ("docs/adr/0003-b.md", text),
            ("docs/adr/0003-c.md", "## Context\n## Decision\n"),
            ("docs/adr/d.md", text),
        ]);
        let places: Vec<String> = check(&tree).into_iter().map(|found| found.place).collect();
        assert_eq!(
            places,
            ["docs/adr/0003-b.md", "docs/adr/0003-c.md", "docs/adr/0003-c.md", "docs/adr/d.md"]
        );
    }
}
