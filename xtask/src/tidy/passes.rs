//! Every pass of the compiler has golden cases, and a test that runs them.

use super::Violation;
use super::tree::Tree;

const PASSES: &str = "compiler/src/pass/";
const GOLDEN: &str = "compiler/fixtures/passes/";

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let sources: Vec<(&str, &str)> =
        tree.with_extension("rs").filter(|(path, _)| path.starts_with(PASSES)).collect();
    let mut violations = Vec::new();
    for (path, _) in &sources {
        let Some(name) = pass_name(path) else { continue };
        let golden = format!("{GOLDEN}{name}.txt");
        if tree.text(&golden).is_none() {
            violations.push(Violation::new(*path, format!("has no golden cases in {golden}")));
        }
        let calls = [format!("check_golden(\"{name}\""), format!("check_golden_text(\"{name}\"")];
        if !sources.iter().any(|(_, text)| calls.iter().any(|call| text.contains(call))) {
            violations.push(Violation::new(*path, "has no test that runs its golden cases"));
        }
    }
    violations
}

/// The name of the pass that a source file holds: the files directly in the folder of the passes.
fn pass_name(path: &str) -> Option<&str> {
    let name = path.strip_prefix(PASSES)?.strip_suffix(".rs")?;
    (!name.contains('/') && name != "mod" && name != "tests").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_without_golden_tests_are_reported() {
        let tree = Tree::of(&[
            ("compiler/src/pass/mod.rs", ""),
            ("compiler/src/pass/fold.rs", "check_golden(\"fold\", fold)"),
            ("compiler/src/pass/fold/part.rs", ""),
            ("compiler/src/pass/lower.rs", ""),
            ("compiler/fixtures/passes/fold.txt", ""),
        ]);
        let found = check(&tree);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|found| found.place == "compiler/src/pass/lower.rs"), "{found:?}");
    }
}
