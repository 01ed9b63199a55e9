//! Why a server does not serve a client.

use crate::error::RunError;

/// Why a server does not serve a client, as it tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It has as many sessions as it takes.
    Busy {
        /// After how many seconds to ask again.
        retry_after_s: u32,
    },
    /// It is about to stop.
    Stopping {
        /// After how many seconds another may be in its place.
        retry_after_s: u32,
    },
    /// The client has had its inferences of the day.
    QuotaUsedUp {
        /// After how many seconds it may have more.
        retry_after_s: u32,
    },
    /// The plan takes more memory than the server may take at all.
    TooLarge,
    /// The client is not on its list any more.
    NotAdmitted,
    /// It does not have the plan.
    UnknownPlan,
    /// It runs inferences and prepares none.
    OnlyRuns,
    /// It prepares inferences and runs none.
    OnlyPrepares,
    /// It speaks another version of the protocol.
    OtherVersion,
}

impl Refusal {
    /// Its name in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Busy { .. } => "busy",
            Self::Stopping { .. } => "stopping",
            Self::QuotaUsedUp { .. } => "quota",
            Self::TooLarge => "too_large",
            Self::NotAdmitted => "not_admitted",
            Self::UnknownPlan => "unknown_plan",
            Self::OnlyRuns => "only_runs",
            Self::OnlyPrepares => "only_prepares",
            Self::OtherVersion => "other_version",
        }
    }

    /// After how many seconds the same may be served.
    #[must_use]
    pub fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::Busy { retry_after_s }
            | Self::Stopping { retry_after_s }
            | Self::QuotaUsedUp { retry_after_s } => Some(retry_after_s),
            Self::TooLarge
            | Self::NotAdmitted
            | Self::UnknownPlan
            | Self::OnlyRuns
            | Self::OnlyPrepares
            | Self::OtherVersion => None,
        }
    }

    /// Verdict and seconds on the wire; the verdict 0 is none.
    pub(super) fn encode(self) -> (u32, u32) {
        let verdict = match self {
            Self::Busy { .. } => 1,
            Self::Stopping { .. } => 2,
            Self::QuotaUsedUp { .. } => 3,
            Self::TooLarge => 4,
            Self::UnknownPlan => 5,
            Self::OnlyRuns => 6,
            Self::OnlyPrepares => 7,
            Self::OtherVersion => 8,
            Self::NotAdmitted => 9,
        };
        (verdict, self.retry_after_s().unwrap_or(0))
    }

    pub(super) fn decode(verdict: u32, retry_after_s: u32) -> Result<Option<Self>, RunError> {
        Ok(Some(match verdict {
            0 => return Ok(None),
            1 => Self::Busy { retry_after_s },
            2 => Self::Stopping { retry_after_s },
            3 => Self::QuotaUsedUp { retry_after_s },
            4 => Self::TooLarge,
            5 => Self::UnknownPlan,
            6 => Self::OnlyRuns,
            7 => Self::OnlyPrepares,
            8 => Self::OtherVersion,
            9 => Self::NotAdmitted,
            _ => {
                return Err(RunError::PeerMisbehaved {
                    step: "the handshake".to_owned(),
                    what: "the server's verdict is of no known kind".to_owned(),
                });
            }
        }))
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy { retry_after_s } => write!(f, "busy, try again in {retry_after_s} s"),
            Self::Stopping { retry_after_s } => {
                write!(f, "about to stop, try again in {retry_after_s} s")
            }
            Self::QuotaUsedUp { retry_after_s } => write!(
                f,
                "the client may not have so many outputs today, more in {} h {} min",
                retry_after_s / 3600,
                retry_after_s / 60 % 60
            ),
            Self::TooLarge => f.write_str("the plan takes more memory than the server may take"),
            Self::NotAdmitted => f.write_str("the client is not on the server's list any more"),
            Self::UnknownPlan => f.write_str("the server does not have the plan"),
            Self::OnlyRuns => f.write_str("the server runs inferences and prepares none"),
            Self::OnlyPrepares => f.write_str("the server prepares inferences and runs none"),
            Self::OtherVersion => f.write_str("the server speaks another version of the protocol"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_told_apart() {
        let mut seen = std::collections::BTreeSet::new();
        for verdict in 1..=9 {
            let refusal = Refusal::decode(verdict, 7).unwrap().unwrap();
            assert_eq!(refusal.encode().0, verdict);
            assert!(seen.insert(refusal.name()) && !refusal.to_string().is_empty());
        }
        assert_eq!(Refusal::decode(0, 7).unwrap(), None);
        assert!(Refusal::decode(10, 0).is_err());
    }
}
