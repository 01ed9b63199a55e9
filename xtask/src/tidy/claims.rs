//! Every test that the page of claims names exists: `file.rs::function`, in code spans.

use super::Violation;
use super::tree::Tree;

const PAGE: &str = "docs/security-claims.md";

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let Some(page) = tree.text(PAGE) else {
        return vec![Violation::new(PAGE, "is missing")];
    };
    let mut violations = Vec::new();
    for (number, line) in page.lines().enumerate() {
        for (file, function) in line.split('`').skip(1).step_by(2).filter_map(test) {
            let has = |text: &str| text.contains(&format!("fn {function}("));
            let fault = match tree.text(file) {
                None => format!("there is no file {file}"),
                Some(text) if !has(text) => format!("{file} has no function {function}"),
                Some(_) => continue,
            };
            violations.push(Violation::new(format!("{PAGE}:{}", number + 1), fault));
        }
    }
    violations
}

/// The file and the function of a code span that names a test.
fn test(span: &str) -> Option<(&str, &str)> {
    span.split_once("::").filter(|(file, _)| file.ends_with(".rs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_are_not_there_are_reported() {
        let page = "| a | `t/a.rs::holds` |\n| b | `t/a.rs::gone` `Zeroizing::new` |\n| c | `t/b.rs::x` |\n";
        let tree = Tree::of(&[(PAGE, page), ("t/a.rs", "fn holds() {}")]);
        let places: Vec<String> = check(&tree).into_iter().map(|found| found.place).collect();
        assert_eq!(places, [format!("{PAGE}:2"), format!("{PAGE}:3")]);
        assert_eq!(check(&Tree::of(&[])).len(), 1);
    }
}
