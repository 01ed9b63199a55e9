//! What a certificate says.

use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};

/// Longest name that is shown of a certificate, in characters.
const NAME_CHARS: usize = 64;

/// The SHA-256 digest of a public key as certificates hold it (`SubjectPublicKeyInfo`, DER).
///
/// Written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPin(pub [u8; 32]);

impl fmt::Display for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The text is not a pin.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("a pin is sha256: and 64 hexadecimal digits, as heq-run cert show prints it")]
pub struct ParsePinError;

impl FromStr for KeyPin {
    type Err = ParsePinError;

    fn from_str(text: &str) -> Result<Self, ParsePinError> {
        let digits = text.strip_prefix("sha256:").ok_or(ParsePinError)?;
        let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return Err(ParsePinError) };
        let byte = |pair: &[u8; 2]| {
            let digits = std::str::from_utf8(pair).ok().filter(|_| pair[0] != b'+')?;
            u8::from_str_radix(digits, 16).ok()
        };
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(ParsePinError)
    }
}

/// What a certificate says; whether it is true is another matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The name of whom it was issued to.
    pub subject: String,
    /// The name of who issued it.
    pub issuer: String,
    /// Host names and addresses that it is for.
    pub hosts: Vec<String>,
    /// The digest of its key.
    pub pin: KeyPin,
    /// From when it is valid.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
    /// Whether it may issue others.
    pub is_authority: bool,
    /// Whether it was issued by itself.
    pub is_self_issued: bool,
}

impl Certificate {
    /// Reads a certificate; none if it is malformed.
    pub(crate) fn parse(der: &[u8]) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let names = parsed.subject_alternative_name().ok().flatten();
        let hosts = names.iter().flat_map(|names| &names.value.general_names);
        let time =
            |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        Some(Self {
            subject: shown_name(parsed.subject()),
            issuer: shown_name(parsed.issuer()),
            hosts: hosts.filter_map(host).collect(),
            pin: KeyPin(Sha256::digest(parsed.public_key().raw).into()),
            not_before: time(parsed.validity().not_before.timestamp()),
            not_after: time(parsed.validity().not_after.timestamp()),
            is_authority: parsed.is_ca(),
            is_self_issued: parsed.subject().as_raw() == parsed.issuer().as_raw(),
        })
    }

    /// Whether it is valid at `time`, as far as its dates go.
    #[must_use]
    pub fn is_valid_at(&self, time: SystemTime) -> bool {
        (self.not_before..=self.not_after).contains(&time)
    }
}

/// The common name, or else all of the name.
fn shown_name(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().next().and_then(|name| name.as_str().ok());
    printable(&common.map_or_else(|| name.to_string(), str::to_owned))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "other kinds of names are for nobody here")]
fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(printable(name)),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(bytes) => Some(std::net::Ipv4Addr::from(bytes).to_string()),
            Err(_) => {
                let bytes = <[u8; 16]>::try_from(*bytes).ok()?;
                Some(std::net::Ipv6Addr::from(bytes).to_string())
            }
        },
        _ => None,
    }
}

/// What the peer calls itself, without what could deceive a reader of a log.
fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(NAME_CHARS).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_have_one_form() {
        let text = format!("sha256:{}", "0f".repeat(32));
        let pin: KeyPin = text.parse().unwrap();
        assert_eq!((pin, pin.to_string()), (KeyPin([0x0f; 32]), text.clone()));
        for wrong in [&text[1..], &text[..text.len() - 2], &text.replace("0f", "+f"), "", "sha256:"]
        {
            assert_eq!(wrong.parse::<KeyPin>(), Err(ParsePinError), "{wrong}");
        }
    }

    #[test]
    fn names_are_printable() {
        assert_eq!(printable("al\u{1b}[2Jice\n\u{202e}"), "al?[2Jice??");
        assert_eq!(printable(&"a".repeat(1000)).len(), NAME_CHARS);
    }
}
