//! `cargo xtask sbom`: what each program is made of, as a CycloneDX 1.5 document.
//!
//! Components are the packages of `cargo tree -e normal` for this machine's target: what is linked into the
//! program, and the macros that wrote parts of it. Checksums are those of `Cargo.lock`. The same lock file
//! gives the same bytes: there is no time and no serial number in a document.
//! Source: CycloneDX 1.5, <https://cyclonedx.org/docs/1.5/json/>.

use crate::error::TaskError;
use crate::run::{cargo, describe, root, target_folder};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

/// The programs and their packages.
const PROGRAMS: [(&str, &str); 2] = [("heqc", "heq-compiler"), ("heq-run", "heq-runtime")];

/// A package in a tree of dependencies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
}

/// Of each package its licence and what it depends on.
type Graph = BTreeMap<Package, (String, BTreeSet<Package>)>;

/// Writes a document for each program into `folder`.
///
/// # Errors
/// [`TaskError`] if cargo fails, or a file cannot be read or written.
pub(crate) fn sbom(folder: Option<&str>, out: &mut dyn Write) -> Result<(), TaskError> {
    let folder = match folder {
        Some(folder) => PathBuf::from(folder),
        None => target_folder()?.join("sbom"),
    };
    std::fs::create_dir_all(&folder)
        .map_err(|source| TaskError::File { path: folder.clone(), source })?;
    for (program, package) in PROGRAMS {
        let document = document(program, package)?;
        let path = folder.join(format!("{program}.cdx.json"));
        std::fs::write(&path, format!("{document:#}\n"))
            .map_err(|source| TaskError::File { path: path.clone(), source })?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}

/// The document of a program.
fn document(program: &str, package: &str) -> Result<Value, TaskError> {
    let graph = graph(package)?;
    let lock = root().join("Cargo.lock");
    let text = std::fs::read_to_string(&lock)
        .map_err(|source| TaskError::File { path: lock.clone(), source })?;
    let checksums = checksums(&text);
    let own = |found: &&Package| found.name == package;
    let main = graph.keys().find(own).ok_or_else(|| malformed("does not name the program"))?;
    let components: Vec<Value> = graph
        .iter()
        .filter(|(found, _)| *found != main)
        .map(|(found, (licence, _))| component(found, licence, checksums.get(found)))
        .collect();
    let dependencies: Vec<Value> = graph
        .iter()
        .map(|(found, (_, on))| json!({"ref": purl(found), "dependsOn": on.iter().map(purl).collect::<Vec<_>>()}))
        .collect();
    let licence = graph.get(main).map_or("", |(licence, _)| licence);
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {
            "type": "application",
            "bom-ref": purl(main),
            "name": program,
            "version": main.version,
            "purl": purl(main),
            "licenses": [{"expression": licence}],
        }},
        "components": components,
        "dependencies": dependencies,
    }))
}

fn component(package: &Package, licence: &str, checksum: Option<&String>) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(package),
        "name": package.name,
        "version": package.version,
        "purl": purl(package),
        // Written with a slash before SPDX had expressions.
        "licenses": [{"expression": licence.replace('/', " OR ")}],
    });
    if let Some(checksum) = checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    component
}

fn purl(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version.replace('+', "%2B"))
}

/// The packages that a package's programs are built from.
fn graph(package: &str) -> Result<Graph, TaskError> {
    let text = tree(package, &["--prefix", "depth", "--format", "\t{p}\t{l}"])?;
    let mut graph = Graph::new();
    let mut path: Vec<Package> = Vec::new();
    for line in text.lines() {
        let (depth, found, licence) =
            entry(line).ok_or_else(|| malformed(&format!("has the line `{line}`")))?;
        path.truncate(depth);
        if let Some(user) = path.last() {
            graph.entry(user.clone()).or_default().1.insert(found.clone());
        }
        licence.clone_into(&mut graph.entry(found.clone()).or_default().0);
        path.push(found);
    }
    Ok(graph)
}

/// A line such as `2<tab>name v1.2.3 (proc-macro)<tab>MIT (*)`.
fn entry(line: &str) -> Option<(usize, Package, &str)> {
    let mut parts = line.split('\t');
    let depth = parts.next()?.parse().ok()?;
    let mut words = parts.next()?.split_whitespace();
    let (name, version) = (words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned());
    let licence = parts.next()?;
    let licence = licence.strip_suffix(" (*)").unwrap_or(licence);
    Some((depth, Package { name, version }, licence))
}

/// What `cargo tree` says of a package.
fn tree(package: &str, arguments: &[&str]) -> Result<String, TaskError> {
    let mut command = cargo(["tree", "--locked", "--edges", "normal", "--package", package]);
    let output = command.args(arguments).stderr(std::process::Stdio::inherit()).output();
    let name = describe(&command);
    let output = output.map_err(|source| TaskError::Command { command: name.clone(), source })?;
    if !output.status.success() {
        return Err(TaskError::Status { command: name, status: output.status });
    }
    String::from_utf8(output.stdout).map_err(|_| malformed("is not text"))
}

/// The checksum of every package of a lock file that has one.
fn checksums(lock: &str) -> BTreeMap<Package, String> {
    let mut checksums = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let field = |key: &str| {
            let start = format!("{key} = \"");
            let line = package.lines().find_map(|line| line.strip_prefix(start.as_str()));
            line.and_then(|rest| rest.strip_suffix('"')).map(str::to_owned)
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (field("name"), field("version"), field("checksum"))
        {
            checksums.insert(Package { name, version }, checksum);
        }
    }
    checksums
}

fn malformed(what: &str) -> TaskError {
    TaskError::Malformed { place: "cargo tree".to_owned(), what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings<'a>(values: &'a Value, key: &str) -> BTreeSet<&'a str> {
        values.as_array().unwrap().iter().map(|value| value[key].as_str().unwrap()).collect()
    }

    /// The list is compared with that of cargo without a tree, the graph with itself: everything is
    /// reached from the program, and nothing is outside the list.
    #[test]
    fn documents_list_what_cargo_builds() {
        for (program, package) in PROGRAMS {
            let document = document(program, package).unwrap();
            let listed = tree(package, &["--prefix", "none", "--no-dedupe"]).unwrap();
            let expected: BTreeSet<String> = listed
                .lines()
                .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join("@"))
                .map(|line| format!("pkg:cargo/{}", line.replace("@v", "@").replace('+', "%2B")))
                .collect();
            let own = document["metadata"]["component"]["purl"].as_str().unwrap();
            let mut found = strings(&document["components"], "purl");
            assert!(found.insert(own), "{program} is a part of itself");
            assert_eq!(found, expected.iter().map(String::as_str).collect(), "{program}");
            assert_eq!(found, strings(&document["dependencies"], "ref"), "{program}");

            let mut reached = BTreeSet::from([own]);
            let mut next = vec![own];
            while let Some(at) = next.pop() {
                let all = document["dependencies"].as_array().unwrap();
                let entry = all.iter().find(|entry| entry["ref"] == at).unwrap();
                let on = entry["dependsOn"].as_array().unwrap().iter().filter_map(Value::as_str);
                next.extend(on.filter(|on| reached.insert(on)));
            }
            assert_eq!(found, reached, "{program}");
        }
    }

    #[test]
    fn what_comes_from_elsewhere_has_checksum_and_licence() {
        let document = document("heq-run", "heq-runtime").unwrap();
        for component in document["components"].as_array().unwrap() {
            let own = component["name"].as_str().unwrap().starts_with("heq-");
            let hash = component["hashes"][0]["content"].as_str().unwrap_or("");
            assert_eq!(hash.len(), if own { 0 } else { 64 }, "{component}");
            assert!(!component["licenses"][0]["expression"].as_str().unwrap().is_empty());
        }
    }

    #[test]
    fn lines_of_a_tree_are_read() {
        let package =
            |name: &str, version: &str| Package { name: name.into(), version: version.into() };
        assert_eq!(
            entry("2\ta-b v1.2.3+x (proc-macro)\tMIT OR Apache-2.0 (*)"),
            Some((2, package("a-b", "1.2.3+x"), "MIT OR Apache-2.0"))
        );
        for line in ["", "x\ta v1\tMIT", "1\ta 1\tMIT", "1\ta v1"] {
            assert_eq!(entry(line), None, "{line}");
        }
    }
}
