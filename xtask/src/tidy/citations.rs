//! Every citation in docs and doc comments is a key of docs/references.md.
//!
//! A citation is `[KEY]`, `[KEY, locator]` or `[KEY, KEY]` outside of code and links. A key is an
//! upper-case initial and at least two more letters or digits, and either ends in a digit or has a
//! second upper-case letter. Shapes such as `[C, H, W]` are therefore no citations.

use super::tree::Tree;
use super::{Violation, links};

/// Where keys are defined, one at the start of a line: `**[KEY]**`.
const REFERENCES: &str = "docs/references.md";

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let Some(references) = tree.text(REFERENCES) else {
        return vec![Violation::new(REFERENCES, "is missing")];
    };
    let defined = definitions(references);
    let mut violations = Vec::new();
    for (index, (number, key)) in defined.iter().enumerate() {
        if defined[..index].iter().any(|(_, other)| other == key) {
            let place = format!("{REFERENCES}:{number}");
            violations.push(Violation::new(place, format!("[{key}] is defined twice")));
        }
    }
    let markdown = tree.with_extension("md").map(|(path, text)| (path, text.to_owned()));
    let comments = tree.with_extension("rs").map(|(path, text)| (path, doc_comments(text)));
    for (path, text) in markdown.chain(comments) {
        for (number, line) in links::prose(&text) {
            for key in citations(&line) {
                if !defined.iter().any(|(_, other)| *other == key) {
                    let what = format!("[{key}] is not defined in {REFERENCES}");
                    violations.push(Violation::new(format!("{path}:{number}"), what));
                }
            }
        }
    }
    violations
}

/// The keys that the text defines, with their line numbers.
fn definitions(text: &str) -> Vec<(usize, &str)> {
    let key = |line| str::strip_prefix(line, "**[")?.split_once("]**").map(|(key, _)| key);
    text.lines().zip(1..).filter_map(|(line, number)| Some((number, key(line)?))).collect()
}

/// The doc comments of a source file, at the same line numbers; other lines are empty.
fn doc_comments(source: &str) -> String {
    let comment = |line: &str| {
        let line = line.trim_start();
        let text = line.strip_prefix("//!").or_else(|| line.strip_prefix("///")).unwrap_or("");
        text.strip_prefix(' ').unwrap_or(text).to_owned() + "\n"
    };
    source.lines().map(comment).collect()
}

/// The keys that a line of prose cites.
fn citations(line: &str) -> Vec<&str> {
    let mut keys = Vec::new();
    for (start, _) in line.match_indices('[') {
        let Some((inside, after)) = line[start + 1..].split_once(']') else { continue };
        if after.starts_with(['(', '[', ':']) {
            continue;
        }
        // In doc comments a bare key is written `\[KEY\]`, or rustdoc takes it for a link.
        let mut parts = inside.trim_end_matches('\\').split(", ").peekable();
        if parts.peek().is_some_and(|first| is_key(first)) {
            keys.extend(parts.filter(|part| is_key(part)));
        }
    }
    keys
}

fn is_key(text: &str) -> bool {
    let upper = text.chars().filter(char::is_ascii_uppercase).count();
    text.len() >= 3
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_alphanumeric())
        && (upper >= 2 || text.ends_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn citations_are_told_from_shapes_and_links() {
        for (line, expected) in [
            ("as in [CO15, Figure 1] and [Roy22, IKNP03]", vec!["CO15", "Roy22", "IKNP03"]),
            (r"Source: \[War12\]; [CO15] of [C, HW2]", vec!["War12", "CO15"]),
            ("[SiRNN, Section 3.3]; [CrypTFlow2]", vec!["SiRNN", "CrypTFlow2"]),
            ("shapes [C, H, W] and [K, C, R, S], [B][n], [X]", vec![]),
            ("[ADR1](adr/0001.md), [Text22][target], [Plan2]: here", vec![]),
            ("## [Unreleased], [0.1.0]", vec![]),
            ("no end [CO15", vec![]),
        ] {
            assert_eq!(citations(line), expected, "{line}");
        }
    }

    #[test]
    fn undefined_and_repeated_keys_are_reported() {
        let tree = Tree::of(&[
            (REFERENCES, "**[CO15]** A.\n\n**[CO15]** B.\n"),
            ("a.md", "See [CO15] and `[Code99]`.\n\n```text\n[Block99]\n```\n\n[Gone99, page 1]\n"),
            ("b.rs", "//! [CO15].\nlet x = table[INDEX1];\n/// [Lost99]\n"),
        ]);
        let found: Vec<String> = check(&tree).iter().map(Violation::to_string).collect();
        assert_eq!(
            found,
            [
                "docs/references.md:3: [CO15] is defined twice",
                "a.md:7: [Gone99] is not defined in docs/references.md",
                "b.rs:3: [Lost99] is not defined in docs/references.md",
            ]
        );
    }
}
