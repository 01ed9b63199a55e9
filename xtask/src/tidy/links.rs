//! What documents name exists: links between files, and the crate paths of ARCHITECTURE.md.

use super::Violation;
use super::tree::Tree;

/// The document whose code spans name files and folders from the root.
const ARCHITECTURE: &str = "ARCHITECTURE.md";

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (path, text) in tree.with_extension("md") {
        for (number, line) in prose(text) {
            for target in targets(&line) {
                if resolve(path, target).is_none_or(|target| !tree.contains(&target)) {
                    let what = format!("links to {target}, which does not exist");
                    violations.push(Violation::new(format!("{path}:{number}"), what));
                }
            }
        }
    }
    let Some(architecture) = tree.text(ARCHITECTURE) else {
        violations.push(Violation::new(ARCHITECTURE, "is missing"));
        return violations;
    };
    for (line, number) in architecture.lines().zip(1..) {
        for named in paths_in_code(line).filter(|named| !tree.contains(named)) {
            let what = format!("names {named}, which does not exist");
            violations.push(Violation::new(format!("{ARCHITECTURE}:{number}"), what));
        }
    }
    violations
}

/// The lines of a Markdown text outside of fenced blocks, without code spans, with their numbers.
pub(super) fn prose(text: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push((number, line.split('`').step_by(2).collect::<Vec<_>>().join("`")));
        }
    }
    lines
}

/// The targets of the links in a line that lead to files of the workspace.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split_once(')')?.0;
        let file = target.split_once('#').map_or(target, |(file, _)| file);
        (!file.is_empty() && !file.contains("://") && !file.starts_with("mailto:")).then_some(file)
    })
}

/// The path from the root that `target` in the document `from` stands for; `None` if it lies outside.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut folders: Vec<&str> = from.split('/').collect();
    folders.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                folders.pop()?;
            }
            name => folders.push(name),
        }
    }
    Some(folders.join("/"))
}

/// The code spans of a line that are paths.
fn paths_in_code(line: &str) -> impl Iterator<Item = &str> {
    let is_path = |span: &&str| {
        span.contains('/')
            && span.starts_with(|c: char| c.is_ascii_lowercase() || c == '.')
            && span.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
    };
    line.split('`').skip(1).step_by(2).filter(is_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_and_paths_are_reported() {
        let tree = Tree::of(&[
            (ARCHITECTURE, "`ir/src/` `ir/gone.rs` `a::b` `cargo xtask` `N/2`\n"),
            (
                "docs/a.md",
                "[x](../ir/src/lib.rs#top) [y](https://a.example/) [z](b.md) `[q](r.md)`\n",
            ),
            ("ir/src/lib.rs", ""),
        ]);
        let found: Vec<String> = check(&tree).iter().map(Violation::to_string).collect();
        assert_eq!(
            found,
            [
                "docs/a.md:1: links to b.md, which does not exist",
                "ARCHITECTURE.md:1: names ir/gone.rs, which does not exist",
            ]
        );
    }

    #[test]
    fn links_resolve_from_their_document() {
        assert_eq!(resolve("docs/adr/1.md", "../a.md").as_deref(), Some("docs/a.md"));
        assert_eq!(resolve("a.md", "./docs/").as_deref(), Some("docs"));
        assert_eq!(resolve("a.md", "../b.md"), None);
    }
}
