//! What can go wrong in a run, by blame.

pub use crate::random::NoRandomness;
use crate::session::Refusal;
use heq_he::HeError;
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::packing::LengthError;
use heq_ir::plan::PlanDigest;
use heq_net::NetError;
use heq_net::error::Blame;
use heq_ot::OtError;
use std::time::Duration;

/// Why a run ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The user's input, plan or weights cannot be used.
    #[error(transparent)]
    User(#[from] Diagnostic),
    /// The connection could not be made or was lost.
    #[error("{0}")]
    Network(NetError),
    /// Who the peer is, or that nobody is between, could not be made sure of.
    #[error("{what}")]
    Authentication {
        /// What is wrong.
        what: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The server does not serve this client.
    #[error("the server refuses: {refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// The plan that was asked for.
        plan: PlanDigest,
    },
    /// This server does not serve a client.
    #[error("a client was refused: {refusal}")]
    RefusedClient {
        /// Why.
        refusal: Refusal,
        /// The plan that it asked for.
        plan: PlanDigest,
    },
    /// The peer runs something else.
    #[error("the peer {what}")]
    PeerIncompatible {
        /// In what it differs.
        what: String,
    },
    /// The peer sent something that the protocol does not allow.
    #[error("in {step}: {what}")]
    PeerMisbehaved {
        /// The step in which it did.
        step: String,
        /// What it sent.
        what: String,
    },
    /// The operating system gives no randomness.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The operating system gives no thread.
    #[error("the system has no thread left")]
    NoThread,
    /// Another thread of the session failed, and has the error that tells why.
    #[error("another part of the session failed")]
    Stopped,
    /// A rule of this program did not hold.
    #[error("internal fault: {what}")]
    Internal {
        /// The rule.
        what: &'static str,
    },
}

impl RunError {
    /// After how long the server may serve the client that it refused, if it said.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let Self::Refused { refusal, .. } = self else { return None };
        refusal.retry_after_s().map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// The error as a diagnostic.
    #[must_use]
    pub fn into_diagnostic(self) -> Diagnostic {
        self.describe()
    }

    /// The error as a diagnostic, for one that is still needed.
    #[must_use]
    pub fn describe(&self) -> Diagnostic {
        let what = self.to_string();
        match self {
            Self::User(diagnostic) => diagnostic.clone(),
            Self::Network(_) => Diagnostic::new(
                Code::Connection,
                "connection",
                what,
                "check that the peer runs, that HOST:PORT is right and that nothing between blocks it",
            ),
            Self::PeerIncompatible { .. } => Diagnostic::new(
                Code::PeerIncompatible,
                "handshake",
                what,
                "give both parties the same plan file and the same version of heq-run",
            ),
            Self::Authentication { remedy, .. } => {
                Diagnostic::new(Code::Authentication, "connection", what, *remedy)
            }
            Self::Refused { refusal, plan } | Self::RefusedClient { refusal, plan } => {
                let (code, remedy) = remedy(*refusal);
                let is_unknown = *refusal == Refusal::UnknownPlan;
                let place =
                    if is_unknown { format!("plan {plan}") } else { "handshake".to_owned() };
                Diagnostic::new(code, place, what, remedy)
            }
            Self::PeerMisbehaved { .. } => Diagnostic::new(
                Code::PeerMisbehaved,
                "peer",
                what,
                "the result was discarded; connect again, and do not trust this peer if it recurs",
            ),
            Self::Randomness(error) => error.describe(),
            Self::NoThread => Diagnostic::new(
                Code::SystemResources,
                "heq-run",
                what,
                "raise the limits of processes and memory, or serve fewer sessions at a time",
            ),
            Self::Stopped | Self::Internal { .. } => Diagnostic::new(
                Code::Internal,
                "heq-run",
                what,
                "this is a fault of heq-run; please report it",
            ),
        }
    }
}

/// What a client can do about a refusal.
fn remedy(refusal: Refusal) -> (Code, &'static str) {
    match refusal {
        Refusal::Busy { .. } | Refusal::Stopping { .. } => {
            (Code::Refused, "try again then, or let --retry do it")
        }
        Refusal::QuotaUsedUp { .. } => {
            (Code::Refused, "wait, or ask who runs the server for a larger --quota")
        }
        Refusal::TooLarge => (Code::Refused, "ask who runs the server for a larger --max-memory"),
        Refusal::NotAdmitted => {
            (Code::Authentication, "ask who runs the server to put the key on the list again")
        }
        Refusal::UnknownPlan => (
            Code::PeerIncompatible,
            "give both parties the same plan file: heq-run fetch-plan gets the server's",
        ),
        Refusal::OnlyRuns => {
            (Code::PeerIncompatible, "start heq-run prepare --role server for that")
        }
        Refusal::OnlyPrepares => (Code::PeerIncompatible, "start heq-run --role server for that"),
        Refusal::OtherVersion => {
            (Code::PeerIncompatible, "give both parties the same version of heq-run")
        }
    }
}

impl From<NetError> for RunError {
    fn from(error: NetError) -> Self {
        let blame = error.blame();
        if let NetError::Authentication { what, remedy } = error {
            return Self::Authentication { what, remedy };
        }
        match blame {
            Blame::Authentication => Self::Authentication {
                what: error.to_string(),
                remedy: "give both sides --identity; --insecure-loopback is for one machine alone",
            },
            Blame::Peer => {
                Self::PeerMisbehaved { step: "a message".to_owned(), what: error.to_string() }
            }
            Blame::Network => Self::Network(error),
            Blame::OtherLane => Self::Stopped,
            Blame::Caller => Self::Internal { what: "a channel was used after it had failed" },
        }
    }
}

impl From<HeError> for RunError {
    fn from(error: HeError) -> Self {
        if matches!(error, HeError::MessageLength(_) | HeError::Residue { .. }) {
            let step = "a ciphertext".to_owned();
            return Self::PeerMisbehaved { step, what: error.to_string() };
        }
        Self::Internal { what: "responses are merged in another way than planned" }
    }
}

impl From<LengthError> for RunError {
    fn from(error: LengthError) -> Self {
        Self::PeerMisbehaved { step: "a message".to_owned(), what: error.to_string() }
    }
}

impl From<OtError> for RunError {
    fn from(error: OtError) -> Self {
        if matches!(error, OtError::MessageLength { .. } | OtError::InvalidPoint { .. }) {
            let step = "oblivious transfer".to_owned();
            return Self::PeerMisbehaved { step, what: error.to_string() };
        }
        Self::Internal { what: "random OTs were used in another way than planned" }
    }
}
