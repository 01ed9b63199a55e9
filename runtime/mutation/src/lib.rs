//! Rules of the protocol that tests break on purpose, to see that another test notices.
//!
//! `broken!(RULE, NOTICED_BY)` stands where a rule is kept, and says whether it is to be broken. `RULE` says
//! what the protocol then does wrong, and is the name of the mutation; `NOTICED_BY` are the tests that must
//! fail: package, test target (`lib` for unit tests) and name of each, and `, ` between them. `cargo xtask
//! mutate` reads all of them from the source, breaks one rule after the other and runs its tests.
//!
//! Invariant: without the feature `mutations` it is the constant `false`, whatever the environment says. With
//! it [`RULE_VARIABLE`] names the rule that is broken, in all threads, from the first look on.

/// Whether rules can be broken in this build.
pub const ENABLED: bool = cfg!(feature = "mutations");

/// The environment variable that names the rule to break.
pub const RULE_VARIABLE: &str = "HEQ_MUTATION";

/// Whether the rule is broken: never, in this build.
#[cfg(not(feature = "mutations"))]
#[macro_export]
macro_rules! broken {
    ($rule:literal, $noticed_by:literal) => {
        false
    };
}

/// Whether the rule is broken.
#[cfg(feature = "mutations")]
#[macro_export]
macro_rules! broken {
    ($rule:literal, $noticed_by:literal) => {{
        static IS_BROKEN: ::std::sync::LazyLock<bool> =
            ::std::sync::LazyLock::new(|| $crate::is_selected($rule));
        *IS_BROKEN
    }};
}

/// Whether the environment names `rule`.
#[cfg(feature = "mutations")]
#[must_use]
pub fn is_selected(rule: &str) -> bool {
    std::env::var_os(RULE_VARIABLE).is_some_and(|selected| selected == rule)
}

#[cfg(not(feature = "mutations"))]
const _: () = assert!(!ENABLED && !broken!("nothing is kept", "no test"), "a constant, and false");
