//! The rules of the protocol that tests break on purpose: where they stand, which test notices each, and that
//! no build but that of `cargo xtask mutate` can break them.

use super::Violation;
use super::tree::Tree;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The crate whose feature lets rules be broken.
pub(crate) const CRATE: &str = "heq-mutation";
/// The feature.
pub(crate) const FEATURE: &str = "mutations";

/// What stands where a rule is kept.
const SITE: &str = "broken!(";
/// Where that is defined.
const DEFINITION: &str = "runtime/mutation/";
/// What a program refuses to start by if rules could be broken.
const REFUSAL: &str = "heq_mutation::ENABLED";

/// A rule that can be broken, and a test that notices it; a rule that several notice has a site each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    /// What is then wrong.
    pub(crate) rule: String,
    /// File and line.
    pub(crate) place: String,
    /// The package of the test that notices it.
    pub(crate) package: String,
    /// Its target: `lib`, or the name of a test target.
    pub(crate) target: String,
    /// Its name.
    pub(crate) test: String,
}

/// All sites in the order of their files, and what is no site and should be one.
pub(super) fn sites(tree: &Tree) -> (Vec<Site>, Vec<Violation>) {
    let (mut sites, mut violations) = (Vec::new(), Vec::new());
    let sources = tree.with_extension("rs");
    let sources = sources.filter(|(path, _)| {
        !path.starts_with(DEFINITION) && !path.starts_with("xtask/") && path.ends_with(".rs")
    });
    for (path, text) in sources {
        for (at, _) in text.match_indices(SITE) {
            let place = format!("{path}:{}", text[..at].lines().count().max(1));
            match of_rule(&text[at + SITE.len()..], &place) {
                Some(found) => sites.extend(found),
                None => violations.push(Violation::new(
                    place,
                    "is no rule with its tests: `broken!(\"rule\", \"package target test, ..\")`",
                )),
            }
        }
    }
    let mut seen = BTreeMap::new();
    for site in &sites {
        let first = *seen.entry(&site.rule).or_insert(&site.place);
        if *first != site.place {
            let what = format!("breaks the rule of {first}: one place a rule");
            violations.push(Violation::new(&site.place, what));
        }
    }
    (sites, violations)
}

/// The rule whose arguments `text` begins with, with each of its tests.
fn of_rule(text: &str, place: &str) -> Option<Vec<Site>> {
    let (rule, rest) = literal(text)?;
    let (noticed_by, _) = literal(rest.trim_start().strip_prefix(',')?)?;
    let site = |test: &str| {
        let words: Vec<_> = test.split(' ').map(str::to_owned).collect();
        let [package, target, test] = words.try_into().ok()?;
        Some(Site { rule: rule.to_owned(), place: place.to_owned(), package, target, test })
    };
    noticed_by.split(", ").map(site).collect()
}

/// The string literal that `text` begins with, and what follows it.
fn literal(text: &str) -> Option<(&str, &str)> {
    text.trim_start().strip_prefix('"')?.split_once('"')
}

pub(super) fn check(tree: &Tree, metadata: &Value) -> Vec<Violation> {
    let (sites, mut violations) = sites(tree);
    for site in &sites {
        if !has_test(tree, metadata, site) {
            let Site { package, target, test, .. } = site;
            let what = format!("no test {test} is in {target} of {package}");
            violations.push(Violation::new(&site.place, what));
        }
    }
    for package in elements(metadata, "packages") {
        let name = text(package, "name");
        let place = || format!("crate {name}");
        for dependency in elements(package, "dependencies") {
            let wants = elements(dependency, "features").next().is_some();
            if text(dependency, "name") == CRATE && wants {
                let what = format!("turns on features of {CRATE}");
                violations.push(Violation::new(place(), what));
            }
        }
        for (feature, turns_on) in
            package.get("features").and_then(Value::as_object).into_iter().flatten()
        {
            let is_it = name == CRATE && feature == FEATURE;
            if !is_it && turns_on.to_string().contains(FEATURE) {
                let what = format!("has a feature {feature} that turns on {FEATURE}");
                violations.push(Violation::new(place(), what));
            }
        }
    }
    for (path, source) in tree.texts().filter(|(path, _)| path.ends_with("src/main.rs")) {
        if !path.starts_with("xtask/") && !source.contains(REFUSAL) {
            let what = format!("does not refuse to run with {REFUSAL}");
            violations.push(Violation::new(path, what));
        }
    }
    violations
}

/// Whether the package has the target, and somewhere the test.
fn has_test(tree: &Tree, metadata: &Value, site: &Site) -> bool {
    let packages = elements(metadata, "packages");
    let Some(package) = packages.into_iter().find(|package| text(package, "name") == site.package)
    else {
        return false;
    };
    let is_target = |target: &Value| {
        let of_kind = |kind: &str| elements(target, "kind").any(|found| found == kind);
        if site.target == "lib" {
            of_kind("lib")
        } else {
            of_kind("test") && text(target, "name") == site.target
        }
    };
    let root = Path::new(text(metadata, "workspace_root"));
    let manifest = Path::new(text(package, "manifest_path"));
    let folder = manifest.parent().and_then(|folder| folder.strip_prefix(root).ok());
    let Some(folder) = folder.and_then(Path::to_str) else { return false };
    let definition = format!("fn {}(", site.test);
    elements(package, "targets").any(is_target)
        && tree
            .with_extension("rs")
            .any(|(path, source)| path.starts_with(folder) && source.contains(&definition))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn elements<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metadata(features: &Value) -> Value {
        let targets = json!([{"name": "a", "kind": ["lib"]}, {"name": "t", "kind": ["test"]}]);
        let dependencies = json!([{"name": CRATE, "path": "x", "features": features}]);
        json!({"workspace_root": "/w", "packages": [
            {"name": "a", "manifest_path": "/w/a/Cargo.toml", "targets": targets,
             "dependencies": dependencies, "features": {}},
            {"name": CRATE, "manifest_path": "/w/m/Cargo.toml", "targets": [],
             "dependencies": [], "features": {"mutations": []}},
        ]})
    }

    #[test]
    fn sites_have_their_tests() {
        let source = "if broken!(\"no mask\", \"a t it_is_noticed\") {}\n\n\
                      if broken!(\n    \"no key\",\n    \"a lib it_is_noticed\"\n) {}\n";
        let tree = Tree::of(&[("a/src/x.rs", source), ("a/tests/t.rs", "fn it_is_noticed() {}")]);
        let (found, violations) = sites(&tree);
        assert!(violations.is_empty());
        let place: Vec<_> = found.iter().map(|site| (&site.rule[..], &site.place[..])).collect();
        assert_eq!(place, [("no mask", "a/src/x.rs:1"), ("no key", "a/src/x.rs:3")]);
        assert_eq!(check(&tree, &metadata(&json!([]))), []);
        let other = source.replace("it_is", "nothing_is").replace("a lib", "a other");
        let tree = Tree::of(&[("a/src/x.rs", &other), ("a/tests/t.rs", "fn it_is_noticed() {}")]);
        assert_eq!(check(&tree, &metadata(&json!([]))).len(), 2);
    }

    #[test]
    fn what_is_no_site_is_reported() {
        let source = "broken!(RULE, \"a t x\") broken!(\"a\", \"a t\") broken!(\"b\", \"a t x\")";
        let (found, violations) = sites(&Tree::of(&[("a/src/x.rs", source)]));
        assert_eq!((found.len(), violations.len()), (1, 2));
    }

    #[test]
    fn a_rule_stands_in_one_place() {
        let source = "broken!(\"a\", \"p lib x, p t y\")";
        let (found, violations) = sites(&Tree::of(&[("a.rs", source)]));
        assert_eq!((found.len(), violations), (2, Vec::new()));
        let (_, violations) = sites(&Tree::of(&[("a.rs", source), ("b.rs", source)]));
        assert_eq!(violations.len(), 2);
    }

    #[test]
    fn builds_that_could_break_rules_are_reported() {
        let tree = Tree::of(&[("a/src/main.rs", "//! x\n")]);
        assert_eq!(check(&tree, &metadata(&json!(["mutations"]))).len(), 2);
        let mut metadata = metadata(&json!([]));
        for (feature, turns_on) in [("default", "mutations"), ("fast", "heq-mutation/mutations")] {
            metadata["packages"][1]["features"][feature] = json!([turns_on]);
        }
        let tree = Tree::of(&[("a/src/main.rs", "//! x\nheq_mutation::ENABLED")]);
        assert_eq!(check(&tree, &metadata).len(), 2);
    }
}
