//! Rules about where randomness and the time of day come from: from few places, outside tests.
//!
//! Randomness that protects something is drawn in one file, which knows how it fails. The time of day can jump, so
//! that deadlines go by another clock; what goes by it is listed here.

use super::Violation;
use super::tree::Tree;

/// A name that may stand in code only under these paths, and what to use elsewhere.
struct Rule {
    names: &'static [&'static str],
    allowed: &'static [&'static str],
    instead: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        names: &["getrandom::fill", "getrandom::u32", "getrandom::u64", "/dev/urandom"],
        allowed: &["runtime/src/random.rs"],
        instead: "crate::random",
    },
    Rule {
        names: &["from_seed("],
        allowed: &["runtime/src/random.rs", "runtime/src/offline/linear.rs"],
        instead: "crate::random",
    },
    Rule {
        names: &["seed_from_u64"],
        allowed: &["runtime/src/calibrate/"],
        instead: "crate::random: it is no measurement",
    },
    Rule {
        names: &["from_os_rng", "from_rng(", "thread_rng", "OsRng", "SysRng", "rand::rng"],
        allowed: &[],
        instead: "crate::random",
    },
    Rule {
        names: &["SystemTime::now"],
        allowed: &[
            "runtime/net/src/tls/authority.rs",
            "runtime/src/calibrate/machine.rs",
            "runtime/src/cli/cert.rs",
            "runtime/src/cli/doctor.rs",
            "runtime/src/service/quota.rs",
        ],
        instead: "Instant, which does not jump",
    },
];

/// Where users' programs are; what is elsewhere is for tests and for developers.
const PROGRAMS: &[&str] = &["ir/", "compiler/", "runtime/"];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    let of_programs = |path: &str| {
        let folder = |name: &str| path.contains(&format!("/{name}/"));
        PROGRAMS.iter().any(|program| path.starts_with(program))
            && !folder("tests")
            && !folder("benches")
            && !path.ends_with("/tests.rs")
    };
    for (path, text) in tree.with_extension("rs").filter(|(path, _)| of_programs(path)) {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for Rule { names, allowed, instead } in RULES {
                let is_allowed = allowed.iter().any(|allowed| path.starts_with(allowed));
                let name = names.iter().find(|name| line.contains(**name));
                if let Some(name) = name.filter(|_| !is_allowed) {
                    let place = format!("{path}:{}", number + 1);
                    violations.push(Violation::new(place, format!("uses {name}: use {instead}")));
                }
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_origins_are_found_outside_tests() {
        let drawn = "//! A.\nlet a = getrandom::fill(&mut b);\n";
        let tested = "//! A.\n#[cfg(test)]\nmod tests { ChaCha20Rng::seed_from_u64(1) }\n";
        let tree = Tree::of(&[
            ("runtime/src/a.rs", drawn),
            ("runtime/src/random.rs", drawn),
            ("runtime/src/b.rs", "//! B.\nlet now = SystemTime::now();\n"),
            ("runtime/src/c.rs", tested),
            ("runtime/tests/d.rs", "//! D.\nChaCha20Rng::seed_from_u64(1)\n"),
            ("runtime/he/src/e.rs", "//! E.\n/// OsRng is not used.\nlet rng = OsRng;\n"),
        ]);
        let places: Vec<String> = check(&tree).into_iter().map(|found| found.place).collect();
        assert_eq!(places, ["runtime/he/src/e.rs:3", "runtime/src/a.rs:2", "runtime/src/b.rs:2"]);
    }
}
