//! `unsafe` is in the files of a list, and crates that need none forbid it.
//!
//! That every block says why it is sound is clippy's to see: `undocumented_unsafe_blocks`.

use super::Violation;
use super::tree::Tree;

/// Files with `unsafe`: vector code, the declaration of one function of the C library, and the allocators
/// of tests that watch memory.
const FILES: &[&str] = &[
    "runtime/he/src/ifma.rs",
    "runtime/he/src/ntt/fma.rs",
    "runtime/he/src/ntt/ifma.rs",
    "runtime/he/src/product/ifma.rs",
    "runtime/he/src/simd.rs",
    "runtime/ot/src/aes128/avx512.rs",
    "runtime/ot/src/hash/avx512.rs",
    "runtime/ot/src/simd/avx512.rs",
    "runtime/ot/src/softspoken/streams/avx512.rs",
    "runtime/ot/src/transpose/avx512.rs",
    "runtime/src/service/memory.rs",
    "tests/onnx_import/memory.rs",
    "tests/secrets/freed.rs",
];

/// Roots of crates without any.
const FORBIDDING: &[&str] = &[
    "compiler/onnx/src/lib.rs",
    "compiler/src/lib.rs",
    "compiler/src/main.rs",
    "ir/data/src/lib.rs",
    "ir/src/lib.rs",
    "runtime/net/src/lib.rs",
    "runtime/src/main.rs",
    "tests/support/lib.rs",
    "xtask/src/main.rs",
];

/// The word itself. Written apart, so that this file keeps its own rule.
const WORD: &str = concat!("un", "safe");

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (path, text) in tree.with_extension("rs").filter(|(path, _)| !FILES.contains(path)) {
        let mut lines = text.lines().enumerate();
        if let Some((number, _)) = lines.find(|(_, line)| has_word(line)) {
            let what = format!("has `{WORD}` code and is not in the list of files that may");
            violations.push(Violation::new(format!("{path}:{}", number + 1), what));
        }
    }
    for &path in FILES {
        if tree.text(path).is_none_or(|text| !text.lines().any(has_word)) {
            let what = format!("has no `{WORD}` code: update the list");
            violations.push(Violation::new(path, what));
        }
    }
    for &path in FORBIDDING {
        let attribute = format!("#![forbid({WORD}_code)]");
        if tree.text(path).is_none_or(|text| !text.lines().any(|line| line == attribute)) {
            violations.push(Violation::new(path, format!("does not say {attribute}")));
        }
    }
    violations
}

/// Whether a line of code has the keyword, outside a comment.
fn has_word(line: &str) -> bool {
    let code = line.split_once("//").map_or(line, |(code, _)| code);
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyword_is_found_in_code_alone() {
        for (line, expected) in [
            (format!("    {WORD} {{ load(x) }}"), true),
            (format!("{WORD}{{load(x)}} // comment"), true),
            (format!("// {WORD} code"), false),
            (format!("#![expect({WORD}_code)]"), false),
        ] {
            assert_eq!(has_word(&line), expected, "{line}");
        }
    }

    #[test]
    fn every_rule_is_reported() {
        let code = format!("//! A file.\n{WORD} {{}}\n");
        let tree = Tree::of(&[("a.rs", &code), (FILES[0], "//! None.\n"), (FORBIDDING[0], &code)]);
        let places: Vec<String> = check(&tree).into_iter().map(|found| found.place).collect();
        for place in ["a.rs:2", FILES[0], FORBIDDING[0]] {
            assert!(places.iter().any(|found| found == place), "{place}: {places:?}");
        }
    }
}
