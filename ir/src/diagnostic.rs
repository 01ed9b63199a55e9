//! Diagnostics: what went wrong, where, and what to do about it.
//!
//! Every error that a user can see carries one [`Code`]. The code fixes whose fault it is, and with
//! that the exit status of both binaries; its text form is `HEQ-nnnn`. One type serves both
//! programs, so that a code means the same thing everywhere.

use std::fmt;

/// Exit status of `heqc` and `heq-run`, by blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// Everything asked for was done.
    Done = 0,
    /// A check that the user asked for did not hold.
    CheckFailed = 1,
    /// The command line, or a file or value named on it, cannot be used.
    Usage = 2,
    /// The model uses something that is not supported.
    UnsupportedModel = 3,
    /// No plan satisfies the constraints.
    Infeasible = 4,
    /// The network or the peer went away.
    Network = 5,
    /// The peer could not be authenticated.
    Authentication = 6,
    /// The peer broke the protocol.
    PeerViolation = 7,
    /// A resource limit was reached.
    ResourceLimit = 8,
    /// A fault of this program.
    Internal = 70,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal => $status:ident;)+) => {
        /// The diagnostics of both programs. Numbers are stable: they may be retired, never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $name,)+ }

        impl Code {
            /// Every code, in the order of its number.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The number in `HEQ-nnnn`.
            #[must_use]
            pub fn number(self) -> u16 {
                match self { $(Self::$name => $number,)+ }
            }

            /// The exit status that a program ending with this diagnostic returns.
            #[must_use]
            pub fn exit_status(self) -> ExitStatus {
                match self { $(Self::$name => ExitStatus::$status,)+ }
            }
        }
    };
}

codes! {
    /// The file is not an ONNX model.
    NotOnnx = 1001 => UnsupportedModel;
    /// An operator is not supported.
    UnsupportedOperator = 1002 => UnsupportedModel;
    /// An operator is supported, but not with these attributes or shapes.
    UnsupportedForm = 1003 => UnsupportedModel;
    /// A tensor that must be an integer has no quantizer.
    MissingQuantizer = 1004 => UnsupportedModel;
    /// A tensor has a dimension that is not known.
    DynamicShape = 1005 => UnsupportedModel;
    /// A value that must be constant is computed.
    NotConstant = 1006 => UnsupportedModel;
    /// The graph is inconsistent: a name without a producer, a cycle, a shape that does not fit.
    MalformedGraph = 1007 => UnsupportedModel;
    /// A file could not be read or written.
    FileAccess = 2001 => Usage;
    /// The input has the wrong shape, type or range.
    WrongInput = 2002 => Usage;
    /// A command-line option has a value that cannot be used.
    BadOption = 2003 => Usage;
    /// A JSON document is damaged, of another kind or version, or belongs to another plan.
    WrongDocument = 2004 => Usage;
    /// A store of prepared inferences is damaged, in use, or of another key.
    WrongStore = 2005 => Usage;
    /// The file is not a plan, or is truncated or damaged.
    NotAPlan = 3001 => Usage;
    /// The plan was written by another version.
    PlanVersion = 3002 => Usage;
    /// The plan breaks a rule that every plan must keep.
    PlanRejected = 3003 => Usage;
    /// The weights belong to another plan.
    WeightsOfAnotherPlan = 3004 => Usage;
    /// No HE parameters satisfy the security table and the error budget.
    NoParameters = 4001 => Infeasible;
    /// Worst-case accumulators were asked for, but a bias exceeds what the products bound.
    BiasTooLarge = 4002 => Infeasible;
    /// No plan keeps a limit that was given.
    LimitTooTight = 4003 => Infeasible;
    /// No plan keeps the error budget.
    BudgetTooTight = 4004 => Infeasible;
    /// An address could not be used, or the connection was lost.
    Connection = 5001 => Network;
    /// The peer is not who it must be, or nothing tells.
    Authentication = 6001 => Authentication;
    /// A file of keys, certificates or clients cannot be used.
    WrongIdentity = 6002 => Usage;
    /// The two parties hold different plans or versions.
    PeerIncompatible = 7001 => PeerViolation;
    /// The peer sent something that the protocol does not allow.
    PeerMisbehaved = 7002 => PeerViolation;
    /// A file or message is larger than its limit.
    TooLarge = 8001 => ResourceLimit;
    /// The server does not serve this client now.
    Refused = 8002 => ResourceLimit;
    /// The operating system does not give what a run needs: threads, random numbers.
    SystemResources = 8003 => ResourceLimit;
    /// Whoever asked for it wants it no more.
    Interrupted = 8004 => ResourceLimit;
    /// A rule that this program guarantees did not hold.
    Internal = 9001 => Internal;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HEQ-{:04}", self.number())
    }
}

/// One thing that went wrong, with its place and its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What kind of fault it is.
    pub code: Code,
    /// The ONNX node, the plan layer, or the file (with a byte offset where known).
    pub place: String,
    /// What is wrong there.
    pub what: String,
    /// What the user can do about it.
    pub remedy: String,
}

impl Diagnostic {
    /// Builds a diagnostic.
    pub fn new(
        code: Code,
        place: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { code, place: place.into(), what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [place, what, remedy] = [&self.place, &self.what, &self.remedy].map(|s| printable(s));
        write!(f, "error[{}]: {place}: {what}\n  help: {remedy}", self.code)
    }
}

impl std::error::Error for Diagnostic {}

/// Text from a file, made harmless for a terminal: control characters become U+FFFD.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Text from a file for a cell of a table: harmless as [`printable`] makes it, and at most
/// [`CELL_CHARS`] characters, of which the last say more than those in the middle.
#[must_use]
pub fn cell(text: &str) -> String {
    let chars: Vec<char> = printable(text).chars().collect();
    if chars.len() <= CELL_CHARS {
        return chars.into_iter().collect();
    }
    let kept = CELL_CHARS - 1;
    let (head, tail) = (kept / 3, kept - kept / 3);
    let (head, tail) = (chars.iter().take(head), chars.iter().skip(chars.len() - tail));
    head.chain(std::iter::once(&'\u{2026}')).chain(tail).collect()
}

/// Widest cell that holds a name, in characters.
pub const CELL_CHARS: usize = 48;

/// One or more diagnostics that were found in one go; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    first: Diagnostic,
    rest: Vec<Diagnostic>,
}

impl Diagnostics {
    /// All of `found`, or `None` if there is nothing to report.
    #[must_use]
    pub fn from_found(found: Vec<Diagnostic>) -> Option<Self> {
        let mut found = found.into_iter();
        let first = found.next()?;
        Some(Self { first, rest: found.collect() })
    }

    /// The diagnostics in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// The exit status of the first one.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        self.first.code.exit_status()
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(first: Diagnostic) -> Self {
        Self { first, rest: Vec::new() }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_ascending() {
        let numbers: Vec<u16> = Code::ALL.iter().map(|code| code.number()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    }

    #[test]
    fn text_names_code_place_and_remedy() {
        let text =
            Diagnostic::new(Code::NotAPlan, "a.heq", "too short", "compile again").to_string();
        assert_eq!(text, "error[HEQ-3001]: a.heq: too short\n  help: compile again");
        let hostile = Diagnostic::new(Code::NotAPlan, "\u{1b}[31mx", "y\u{7}", "z").to_string();
        assert_eq!(hostile, "error[HEQ-3001]: \u{fffd}[31mx: y\u{fffd}\n  help: z");
    }

    #[test]
    fn cells_keep_both_ends() {
        assert_eq!(cell("/layer1/Conv\u{7}"), "/layer1/Conv\u{fffd}");
        let long = format!("start{}end", "\u{e9}".repeat(100));
        let short = cell(&long);
        assert_eq!(short.chars().count(), CELL_CHARS);
        assert!(short.starts_with("start") && short.ends_with("end"), "{short}");
    }
}
