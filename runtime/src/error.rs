//! What can go wrong in a run, by blame.

use heq_he::HeError;
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::packing::LengthError;
use heq_net::NetError;
use heq_net::error::Blame;
use heq_ot::OtError;

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
    /// The peer runs something else.
    #[error("the peer {what}")]
    PeerIncompatible {
        /// In what it differs.
        what: String,
    },
    /// The peer is there for another kind of session.
    #[error("the peer {what}")]
    PeerWantsOther {
        /// What it is there for.
        what: &'static str,
        /// What to do about it.
        remedy: &'static str,
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
    #[error("the operating system's random number generator failed: {0}")]
    Randomness(getrandom::Error),
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
    /// The error as a diagnostic.
    #[must_use]
    pub fn into_diagnostic(self) -> Diagnostic {
        let what = self.to_string();
        match self {
            Self::User(diagnostic) => diagnostic,
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
            Self::PeerWantsOther { remedy, .. } => {
                Diagnostic::new(Code::PeerIncompatible, "handshake", what, remedy)
            }
            Self::PeerMisbehaved { .. } => Diagnostic::new(
                Code::PeerMisbehaved,
                "peer",
                what,
                "the result was discarded; connect again, and do not trust this peer if it recurs",
            ),
            Self::Randomness(_) | Self::Stopped | Self::Internal { .. } => Diagnostic::new(
                Code::Internal,
                "heq-run",
                what,
                "this is a fault of heq-run; please report it",
            ),
        }
    }
}

impl From<NetError> for RunError {
    fn from(error: NetError) -> Self {
        match error.blame() {
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
