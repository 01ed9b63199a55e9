//! What can be wrong with keys and certificates, and what a failed handshake means.

use crate::error::NetError;
use rustls::{AlertDescription as Alert, CertificateError, Error, InvalidMessage};

/// Why a file of keys or certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFileError {
    /// A PEM block is damaged.
    #[error("is not PEM, or is damaged")]
    NotPem,
    /// There is no private key.
    #[error("has no private key")]
    NoKey,
    /// There is no certificate.
    #[error("has no certificate")]
    NoCertificate,
    /// A certificate is malformed.
    #[error("has a certificate that cannot be read")]
    BadCertificate,
    /// Key and certificate do not belong together, or are of a kind that is not supported.
    #[error("has a key and a certificate that cannot be used together: {0}")]
    Unusable(String),
    /// Nobody would be trusted.
    #[error("names no authority that the peer's certificate could come from")]
    NobodyTrusted,
    /// The authority cannot issue.
    #[error("cannot issue certificates: {0}")]
    Authority(String),
    /// A key or a signature could not be made, which for keys of our own means no randomness.
    #[error("cannot be made: the operating system gives no random numbers")]
    NoRandomness,
}

const RENEW: &str = "issue a new certificate with heq-run cert, and check the clocks of both sides";
const SAME_AUTHORITY: &str = "give both sides certificates of one authority (heq-run cert init, cert client), or name the peer's \
     with --ca";
const GIVE_IDENTITY: &str =
    "start the client with --identity and a file that heq-run cert client wrote";
const BOTH_TLS: &str = "give both sides --identity, or, on one machine, both --insecure-loopback";
const REFUSED: &str = "ask who runs the server: the certificate may be of another authority, expired, or not on its list of \
     clients (heq-run cert show FILE prints the key's pin)";

/// What is wrong with the peer's key; found by our own rules.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refused {
    /// It is not one of the pins.
    Pin,
    /// The list of clients does not have it.
    List,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pin => "its key is none of the pinned ones",
            Self::List => "its key is not on the list of clients",
        })
    }
}

impl std::error::Error for Refused {}

/// What an error of TLS means for a user.
#[expect(clippy::wildcard_enum_match_arm, reason = "an enum of another crate, which may grow")]
pub(super) fn explain(error: &Error) -> NetError {
    let (what, remedy) = match error {
        Error::InvalidCertificate(certificate) => of_certificate(certificate),
        Error::NoCertificatesPresented => {
            ("the client presented no certificate".to_owned(), GIVE_IDENTITY)
        }
        Error::AlertReceived(Alert::CertificateRequired | Alert::NoCertificate) => {
            ("the server asks for a client certificate".to_owned(), GIVE_IDENTITY)
        }
        Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError,
        ) => (format!("the peer refuses this side's certificate ({error})"), REFUSED),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => ("the peer does not speak TLS".to_owned(), BOTH_TLS),
        Error::PeerIncompatible(_) | Error::AlertReceived(Alert::ProtocolVersion) => (
            format!("the peer's TLS does not fit: {error}"),
            "use heq-run on both sides: it speaks TLS 1.3 alone",
        ),
        _ => (
            format!("the TLS connection failed: {error}"),
            "check that nothing between the parties changes their traffic, and connect again",
        ),
    };
    NetError::Authentication { what, remedy }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "an enum of another crate, which may grow")]
fn of_certificate(error: &CertificateError) -> (String, &'static str) {
    use CertificateError as Wrong;
    match error {
        Wrong::Expired | Wrong::ExpiredContext { .. } => {
            ("the peer's certificate has expired".to_owned(), RENEW)
        }
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
            ("the peer's certificate is not valid yet".to_owned(), RENEW)
        }
        Wrong::UnknownIssuer | Wrong::BadSignature => (
            "the peer's certificate comes from an authority that is not trusted here".to_owned(),
            SAME_AUTHORITY,
        ),
        Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => (
            format!("the server's certificate is for another host: {error}"),
            "connect by a name that it is for, or say with --server-name which one you mean",
        ),
        Wrong::Other(other) => match other.0.downcast_ref::<Refused>() {
            Some(refused) => (
                format!("the peer is not admitted: {refused}"),
                "compare with heq-run cert show FILE of the peer's file, and name its key with --pin, or in \
                 --clients",
            ),
            None => (format!("the peer's certificate is not accepted: {error}"), SAME_AUTHORITY),
        },
        _ => (format!("the peer's certificate is not accepted: {error}"), SAME_AUTHORITY),
    }
}
