//! The description of the file format changes together with the code that implements it.

use super::Violation;
use super::tree::Tree;
use sha2::{Digest, Sha256};

const DESCRIPTION: &str = "docs/plan-format.md";
const CODEC: &str = "ir/src/plan/codec.rs";

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let (Some(description), Some(codec)) = (tree.text(DESCRIPTION), tree.text(CODEC)) else {
        return vec![Violation::new(DESCRIPTION, format!("it or {CODEC} is missing"))];
    };
    let digest = sha256(codec);
    if description.contains(&digest) {
        return Vec::new();
    }
    let what = format!(
        "does not name the SHA-256 of {CODEC}: bring the two in line, then write {digest} into it"
    );
    vec![Violation::new(DESCRIPTION, what)]
}

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_codec_is_reported() {
        // FIPS 180-2, appendix B.1.
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256("abc"), digest);
        let check_description =
            |text: &str| check(&Tree::of(&[(CODEC, "abc"), (DESCRIPTION, text)]));
        assert_eq!(check_description(&format!("SHA-256: `{digest}`")), []);
        assert_eq!(check_description("SHA-256: `00`").len(), 1);
    }
}
