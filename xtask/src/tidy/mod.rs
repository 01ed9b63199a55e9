//! `cargo xtask tidy`: rules about the whole tree that no compiler checks.
//!
//! Each file here checks one kind of rule and returns every violation; all are reported at once.
//! The same checks run as the test `tidy_holds`.

mod adr;
mod citations;
mod claims;
mod dependencies;
mod edges;
mod links;
pub(crate) mod mutations;
mod origins;
mod passes;
mod plan_format;
mod sources;
mod tree;
mod unsafe_code;

use crate::error::TaskError;
use crate::run::{metadata, root};
use std::io::Write;
use tree::Tree;

/// A rule that does not hold somewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    /// The file, with a line where there is one.
    place: String,
    what: String,
}

impl Violation {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Runs every check and prints what it finds.
///
/// # Errors
/// [`TaskError::Failed`] if a rule does not hold, other variants if the tree cannot be read.
pub(crate) fn tidy(out: &mut dyn Write) -> Result<(), TaskError> {
    let violations = check_all()?;
    for violation in &violations {
        writeln!(out, "{violation}")?;
    }
    if violations.is_empty() {
        return Ok(());
    }
    Err(TaskError::Failed { what: format!("{} structure rules are broken", violations.len()) })
}

/// The rules of the protocol that can be broken, in the order of their files.
///
/// # Errors
/// [`TaskError::Failed`] if one is not as it should be, other variants if the tree cannot be read.
pub(crate) fn mutation_sites() -> Result<Vec<mutations::Site>, TaskError> {
    let (sites, violations) = mutations::sites(&Tree::read(root())?);
    let what: Vec<String> = violations.iter().map(Violation::to_string).collect();
    if what.is_empty() { Ok(sites) } else { Err(TaskError::Failed { what: what.join("\n") }) }
}

fn check_all() -> Result<Vec<Violation>, TaskError> {
    let tree = Tree::read(root())?;
    let metadata = metadata()?;
    let mut violations = edges::check(&metadata);
    violations.extend(dependencies::check(&tree, &metadata));
    violations.extend(adr::check(&tree));
    violations.extend(citations::check(&tree));
    violations.extend(claims::check(&tree));
    violations.extend(links::check(&tree));
    violations.extend(mutations::check(&tree, &metadata));
    violations.extend(origins::check(&tree));
    violations.extend(passes::check(&tree));
    violations.extend(plan_format::check(&tree));
    violations.extend(sources::check(&tree));
    violations.extend(unsafe_code::check(&tree));
    violations.sort();
    Ok(violations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tidy_holds() {
        let violations = check_all().unwrap();
        let lines: Vec<String> = violations.iter().map(Violation::to_string).collect();
        assert!(lines.is_empty(), "\n{}", lines.join("\n"));
    }
}
