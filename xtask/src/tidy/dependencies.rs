//! Every dependency from elsewhere has its reason in the decision record.

use super::Violation;
use super::tree::Tree;
use serde_json::Value;
use std::collections::BTreeSet;

/// The record, which names crates in code spans.
const RECORD: &str = "docs/adr/0010-dependencies.md";

pub(super) fn check(tree: &Tree, metadata: &Value) -> Vec<Violation> {
    let Some(record) = tree.text(RECORD) else {
        return vec![Violation::new(RECORD, "is missing")];
    };
    external(metadata)
        .into_iter()
        .filter(|name| !record.contains(&format!("`{name}`")))
        .map(|name| Violation::new(RECORD, format!("does not say why `{name}` is used")))
        .collect()
}

/// The dependencies of the workspace that are not part of it.
fn external(metadata: &Value) -> BTreeSet<&str> {
    elements(metadata, "packages")
        .flat_map(|package| elements(package, "dependencies"))
        .filter(|dependency| dependency.get("path").is_none())
        .filter_map(|dependency| dependency.get("name")?.as_str())
        .collect()
}

fn elements<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dependencies_without_a_reason_are_reported() {
        let dependencies = json!([{"name": "heq-ir", "path": "x"}, {"name": "a"}, {"name": "b"}]);
        let metadata = json!({"packages": [{"name": "heq-he", "dependencies": dependencies}]});
        let found = check(&Tree::of(&[(RECORD, "| `a` | for a |")]), &metadata);
        assert_eq!(found, [Violation::new(RECORD, "does not say why `b` is used")]);
    }
}
