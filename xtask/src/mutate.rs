//! `cargo xtask mutate`: breaks every rule of the protocol that can be broken, one after the other, and sees
//! that the test that is named beside it fails.
//!
//! The tests are built once, with rules that the environment can break, and run in processes of their own.
//! Without a broken rule each must pass. A rule that none notices fails the task.

use crate::error::TaskError;
use crate::run::{Reaped, cargo, describe, metadata};
use crate::tidy::mutation_sites;
use crate::tidy::mutations::{CRATE, FEATURE, Site};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Names the rule to break; see `runtime/mutation`.
const RULE_VARIABLE: &str = "HEQ_MUTATION";

/// How long a test may take: a broken rule may leave two parties waiting for each other.
const LIMIT: Duration = Duration::from_secs(120);

/// Programs that the tests' build replaces by ones that refuse to run.
const PROGRAM: &str = "heq-run";

/// Test executables by package and target.
type Executables = BTreeMap<(String, String), Executable>;

struct Executable {
    path: PathBuf,
    folder: PathBuf,
}

/// How a test ended.
enum Verdict {
    Passed,
    /// These failed.
    Failed(Vec<String>),
    /// It gave no verdict of its own.
    Ended(String),
}

/// Breaks the rules whose statement has one of `parts` in it, all without, and prints which test noticed.
///
/// # Errors
/// [`TaskError::Failed`] if a rule is broken and its test passes, or the test fails without; others if the
/// tests cannot be built or run.
pub(crate) fn mutate(parts: &[&str], out: &mut dyn Write) -> Result<(), TaskError> {
    let all = mutation_sites()?;
    let mut sites = all.clone();
    sites.retain(|site| parts.is_empty() || parts.iter().any(|part| site.rule.contains(part)));
    if sites.is_empty() {
        let what = format!("no rule has {} in it", parts.join(" or "));
        return Err(TaskError::Failed { what });
    }
    let executables = build(&all, out)?;
    let outcome = break_all(&sites, &executables, out);
    let mut restore = cargo(["build", "--quiet", "--release", "--bin", PROGRAM]);
    writeln!(out, "$ {}", describe(&restore))?;
    Reaped::spawn(&mut restore)?.finish()?;
    outcome
}

fn break_all(
    sites: &[Site],
    executables: &Executables,
    out: &mut dyn Write,
) -> Result<(), TaskError> {
    let start = Instant::now();
    let mut wrong = Vec::new();
    let tests: BTreeSet<_> = sites.iter().map(test_of).collect();
    for (package, target, test) in &tests {
        let verdict = run(executables, [package, target, test], None)?;
        if !matches!(verdict, Verdict::Passed) {
            wrong.push(format!("{package} {target} {test}: does not pass with all rules kept"));
        }
    }
    let width = sites.iter().map(|site| site.rule.len()).max().unwrap_or(0);
    let places = sites.iter().map(|site| site.place.len()).max().unwrap_or(0);
    for site in sites {
        let (package, target, test) = test_of(site);
        let begun = Instant::now();
        let noticed = match run(executables, [package, target, test], Some(&site.rule))? {
            Verdict::Failed(failed) => format!("{package} {target} {}", failed.join(", ")),
            Verdict::Passed => {
                wrong.push(format!("{}: {test} does not notice: {}", site.place, site.rule));
                "NOT NOTICED".to_owned()
            }
            Verdict::Ended(how) => {
                wrong.push(format!("{}: {test} {how}: {}", site.place, site.rule));
                format!("NO VERDICT: {how}")
            }
        };
        let (rule, place, seconds) = (&site.rule, &site.place, begun.elapsed().as_secs_f64());
        writeln!(out, "{rule:<width$}  {place:<places$}  {seconds:>5.1} s  {noticed}")?;
    }
    let rules: BTreeSet<&str> = sites.iter().map(|site| &*site.rule).collect();
    let (count, tests, seconds) = (rules.len(), tests.len(), start.elapsed().as_secs_f64());
    writeln!(out, "{count} rules broken, {tests} tests, {seconds:.0} s")?;
    wrong.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    if wrong.is_empty() {
        return Ok(());
    }
    Err(TaskError::Failed {
        what: format!("{} rules or tests are not as they should be", wrong.len()),
    })
}

fn test_of(site: &Site) -> (&str, &str, &str) {
    (&site.package, &site.target, &site.test)
}

/// Builds the test targets of `sites`, with rules that can be broken. Of all sites, whatever is run: what is
/// built together decides what dependencies are built with.
fn build(sites: &[Site], out: &mut dyn Write) -> Result<Executables, TaskError> {
    let packages: BTreeSet<&str> = sites.iter().map(|site| &*site.package).chain([CRATE]).collect();
    let targets: BTreeSet<&str> = sites.iter().map(|site| &*site.target).collect();
    let mut arguments =
        vec!["test", "--release", "--no-run", "--message-format=json-render-diagnostics"];
    let feature = format!("{CRATE}/{FEATURE}");
    arguments.extend(["--features", &feature]);
    packages.iter().for_each(|package| arguments.extend(["--package", package]));
    for target in targets {
        match target {
            "lib" => arguments.push("--lib"),
            target => arguments.extend(["--test", target]),
        }
    }
    let mut command = cargo(arguments);
    let name = describe(&command);
    writeln!(out, "$ {name}")?;
    out.flush()?;
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| TaskError::Command { command: name.clone(), source })?;
    if !output.status.success() {
        return Err(TaskError::Status { command: name, status: output.status });
    }
    let names = names_of_manifests(&metadata()?);
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(messages.lines().filter_map(|line| executable(line, &names)).collect())
}

/// The packages of the workspace by the paths of their manifests.
fn names_of_manifests(metadata: &Value) -> BTreeMap<String, String> {
    let packages = metadata.get("packages").and_then(Value::as_array);
    let text = |value: &Value, key: &str| Some(value.get(key)?.as_str()?.to_owned());
    let packages = packages.into_iter().flatten();
    packages
        .filter_map(|package| Some((text(package, "manifest_path")?, text(package, "name")?)))
        .collect()
}

/// The test executable that a message of cargo names.
fn executable(
    message: &str,
    names: &BTreeMap<String, String>,
) -> Option<((String, String), Executable)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let path = PathBuf::from(message.get("executable")?.as_str()?);
    let manifest = message.get("manifest_path")?.as_str()?;
    let target = message.get("target")?;
    let kind = target.get("kind")?.get(0)?.as_str()?;
    let is_test = message.get("profile")?.get("test")?.as_bool()?;
    let target = match kind {
        "lib" if is_test => "lib",
        "test" => target.get("name")?.as_str()?,
        _ => return None,
    };
    let folder = Path::new(manifest).parent()?.to_owned();
    Some(((names.get(manifest)?.clone(), target.to_owned()), Executable { path, folder }))
}

/// Runs a test, with a rule broken if one is given.
fn run(
    executables: &Executables,
    [package, target, test]: [&str; 3],
    rule: Option<&str>,
) -> Result<Verdict, TaskError> {
    let missing = || TaskError::Malformed {
        place: "cargo test".to_owned(),
        what: format!("has not built {target} of {package}"),
    };
    let key = (package.to_owned(), target.to_owned());
    let Executable { path, folder } = executables.get(&key).ok_or_else(missing)?;
    let mut command = Command::new(path);
    command.current_dir(folder).arg(test).stdout(Stdio::piped()).stderr(Stdio::null());
    command.env_remove(RULE_VARIABLE).envs(rule.map(|rule| (RULE_VARIABLE, rule)));
    let mut reaped = Reaped::spawn(&mut command)?;
    let mut stdout = reaped.child.stdout.take().ok_or_else(missing)?;
    let reading = std::thread::spawn(move || {
        let mut text = Vec::new();
        // What came before an error is all that there is.
        let _ = stdout.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        let waited = reaped.child.try_wait();
        let waited =
            waited.map_err(|source| TaskError::Command { command: describe(&command), source })?;
        if waited.is_some() || Instant::now() >= deadline {
            break waited;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let Some(status) = status else {
        drop(reaped);
        return Ok(Verdict::Ended(format!("has not ended after {} s", LIMIT.as_secs())));
    };
    let text = reading.join().unwrap_or_default();
    Ok(verdict(&text, status.success()).unwrap_or(Verdict::Ended(format!("ended by {status}"))))
}

/// What the harness says in `text`; nothing if no test ran.
fn verdict(text: &str, is_success: bool) -> Option<Verdict> {
    let lines = || text.lines().filter_map(|line| line.strip_prefix("test "));
    let of = |outcome: &str| {
        let names = lines().filter_map(|line| line.strip_suffix(outcome));
        names.map(|name| name.trim_end_matches(" ...").to_owned()).collect::<Vec<_>>()
    };
    let (passed, failed) = (of(" ok"), of(" FAILED"));
    match (is_success, failed.is_empty()) {
        (true, true) if !passed.is_empty() => Some(Verdict::Passed),
        (false, false) => Some(Verdict::Failed(failed)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_those_of_the_harness() {
        let passed = "running 1 test\ntest a::b ... ok\n\ntest result: ok. 1 passed\n";
        assert!(matches!(verdict(passed, true), Some(Verdict::Passed)));
        let text = "test a::b ... FAILED\ntest a::c ... ok\ntest result: FAILED. 1 passed\n";
        let Some(Verdict::Failed(names)) = verdict(text, false) else { panic!("{text}") };
        assert_eq!(names, ["a::b"]);
        for (text, is_success) in [("running 0 tests\n", true), (passed, false), (text, true)] {
            assert!(verdict(text, is_success).is_none(), "{text}");
        }
    }
}
