//! The dependency edges between the crates of the workspace are exactly those of the design.

use super::Violation;
use serde_json::Value;
use std::collections::BTreeSet;

/// Who depends on whom. See ARCHITECTURE.md.
const EDGES: &[(&str, &[&str])] = &[
    ("heq-mutation", &[]),
    ("heq-ir", &["heq-mutation"]),
    ("heq-data", &["heq-ir"]),
    ("heq-onnx", &["heq-ir"]),
    ("heq-compiler", &["heq-data", "heq-ir", "heq-mutation", "heq-onnx"]),
    ("heq-he", &["heq-ir", "heq-mutation"]),
    ("heq-net", &["heq-ir", "heq-mutation"]),
    ("heq-ot", &["heq-mutation"]),
    ("heq-python", &["heq-compiler", "heq-data", "heq-ir", "heq-mutation", "heq-runtime"]),
    ("heq-runtime", &["heq-data", "heq-he", "heq-ir", "heq-mutation", "heq-net", "heq-ot"]),
    ("xtask", &[]),
];

/// The crate that may depend on any of the crates named, and need not.
const TESTS: (&str, &[&str]) = (
    "heq-tests",
    &["heq-compiler", "heq-data", "heq-he", "heq-ir", "heq-net", "heq-ot", "heq-runtime"],
);

/// A crate of the workspace and the crates of the workspace that it depends on, in any way.
#[derive(Debug, PartialEq, Eq)]
struct Package<'a> {
    name: &'a str,
    dependencies: BTreeSet<&'a str>,
}

pub(super) fn check(metadata: &Value) -> Vec<Violation> {
    let Some(packages) = packages(metadata) else {
        return vec![Violation::new("cargo metadata", "has another form than expected")];
    };
    let mut violations = Vec::new();
    for Package { name, dependencies } in &packages {
        let found = |what| Violation::new(format!("crate {name}"), what);
        let required = EDGES.iter().find(|(of, _)| of == name).map(|(_, edges)| *edges);
        let Some(allowed) = required.or((*name == TESTS.0).then_some(TESTS.1)) else {
            violations.push(found("is not in the list of allowed dependencies".to_owned()));
            continue;
        };
        let unknown = dependencies.iter().filter(|edge| !allowed.contains(edge));
        violations.extend(unknown.map(|edge| found(format!("must not depend on {edge}"))));
        let missing = required.unwrap_or(&[]).iter().filter(|edge| !dependencies.contains(*edge));
        violations.extend(
            missing.map(|edge| found(format!("does not depend on {edge}: update the list"))),
        );
    }
    let gone = EDGES.iter().filter(|(of, _)| !packages.iter().any(|package| package.name == *of));
    violations.extend(
        gone.map(|(of, _)| Violation::new(format!("crate {of}"), "is gone: update the list")),
    );
    violations
}

/// The crates of the workspace in the answer of `cargo metadata --no-deps`.
fn packages(metadata: &Value) -> Option<Vec<Package<'_>>> {
    let packages = metadata.get("packages")?.as_array()?;
    packages
        .iter()
        .map(|package| {
            let dependencies = package.get("dependencies")?.as_array()?;
            let local = dependencies.iter().filter(|dependency| dependency.get("path").is_some());
            Some(Package {
                name: package.get("name")?.as_str()?,
                dependencies: local
                    .map(|local| local.get("name")?.as_str())
                    .collect::<Option<_>>()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workspace(edges: &[(&str, Vec<&str>)]) -> Value {
        let packages: Vec<Value> = edges
            .iter()
            .map(|(name, dependencies)| {
                let mut found: Vec<Value> =
                    dependencies.iter().map(|edge| json!({"name": edge, "path": "x"})).collect();
                found.push(json!({"name": "serde"}));
                json!({"name": name, "dependencies": found})
            })
            .collect();
        json!({ "packages": packages })
    }

    fn designed() -> Vec<(&'static str, Vec<&'static str>)> {
        EDGES.iter().map(|(name, edges)| (*name, edges.to_vec())).collect()
    }

    #[test]
    fn the_designed_edges_hold() {
        let mut edges = designed();
        edges.push(("heq-tests", vec!["heq-runtime"]));
        assert_eq!(check(&workspace(&edges)), []);
    }

    #[test]
    fn other_edges_are_reported() {
        let mut edges = designed();
        edges.retain(|(name, _)| *name != "heq-net");
        edges.push(("heq-new", vec![]));
        edges.push(("heq-tests", vec!["heq-onnx"]));
        for (name, dependencies) in &mut edges {
            if *name == "heq-compiler" {
                *dependencies = vec!["heq-ir", "heq-onnx", "heq-runtime"];
            }
        }
        let found: Vec<String> =
            check(&workspace(&edges)).iter().map(Violation::to_string).collect();
        assert_eq!(
            found,
            [
                "crate heq-compiler: must not depend on heq-runtime",
                "crate heq-compiler: does not depend on heq-data: update the list",
                "crate heq-compiler: does not depend on heq-mutation: update the list",
                "crate heq-new: is not in the list of allowed dependencies",
                "crate heq-tests: must not depend on heq-onnx",
                "crate heq-net: is gone: update the list",
            ]
        );
        assert_eq!(check(&json!({})).len(), 1);
    }
}
