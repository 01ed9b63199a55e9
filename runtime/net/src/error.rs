//! What can go wrong on a channel, and whose fault it is.
//!
//! Every variant belongs to one [`Blame`], so that a caller can choose its exit status without
//! naming the variants.

use std::io;

/// Who is to blame for a [`NetError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Who the peer is, or that nobody is between, could not be made sure of.
    Authentication,
    /// The link, the address, or a peer that went away.
    Network,
    /// The peer sent something that the frame format does not allow.
    Peer,
    /// The caller, which used a channel beyond its limits or after it had failed.
    Caller,
    /// Whoever the error of the other lane blames.
    OtherLane,
}

/// Why a channel could not be made or a message could not be moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The peer is not who it must be, or nothing tells.
    #[error("{what}")]
    Authentication {
        /// What is wrong.
        what: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A frame carries a flight stamp that the peer cannot have reached.
    #[error("the peer sent flight stamp {found}, but only {least} to {most} is possible")]
    BadStamp {
        /// The stamp in the header.
        found: u32,
        /// The smallest possible stamp.
        least: u32,
        /// The largest possible stamp.
        most: u32,
    },
    /// The peer closed or reset the connection.
    #[error("the peer closed the connection while {doing}")]
    Closed {
        /// What was being done, for example "receiving".
        doing: &'static str,
    },
    /// No connection could be made before the deadline.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address as it was given.
        address: String,
        /// The last attempt's error.
        source: io::Error,
    },
    /// The connection was given more time than it may take.
    #[error("the session took longer than its {seconds} s")]
    Deadline {
        /// The time it had.
        seconds: u64,
    },
    /// The peer sent more on a lane than the protocol lets it send ahead.
    #[error("the peer sent more than {limit_bytes} bytes ahead on lane {lane}")]
    Flooded {
        /// Number of the lane.
        lane: u8,
        /// Bytes that may wait on it, frame headers included.
        limit_bytes: u64,
    },
    /// An earlier call on this channel failed, so both ends no longer agree on the position.
    #[error("the channel cannot be used after an error")]
    Failed,
    /// More flights than a stamp can count.
    #[error("the channel has used all of its {} flights", u32::MAX)]
    FlightsExhausted,
    /// The operating system refused an operation.
    #[error("input/output error while {doing}: {source}")]
    Io {
        /// What was being done, for example "receiving".
        doing: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
    /// All numbers of lanes are taken.
    #[error("the connection has no room for another lane")]
    LanesExhausted,
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address as it was given.
        address: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// A frame belongs to a lane that neither party opened.
    #[error("the peer sent a frame on lane {found}, which is not open")]
    NoLane {
        /// Number of the lane in the header.
        found: u8,
    },
    /// The peer takes nothing of what it asks for.
    #[error("the peer does not read: more than {limit_bytes} bytes wait for it")]
    NotReading {
        /// Bytes that may wait.
        limit_bytes: u64,
    },
    /// Another lane of the connection failed, or was given up; what was wrong is told there.
    #[error("another lane of the connection failed")]
    OtherLane,
    /// A connection without encryption would leave this machine.
    #[error("{address} is not on this machine, and the connection would not be encrypted")]
    Plaintext {
        /// The other end.
        address: String,
    },
    /// The connection made no progress for the idle timeout.
    #[error("the connection made no progress within its timeout while {doing}")]
    Timeout {
        /// What was being done, for example "receiving".
        doing: &'static str,
    },
    /// A frame announces another length than the one that both parties know.
    #[error("the peer announced a frame of {found} bytes where {expected} are due")]
    UnexpectedLength {
        /// The payload length that is due, in bytes.
        expected: usize,
        /// The payload length in the header, in bytes.
        found: usize,
    },
}

impl NetError {
    /// Whose fault this is.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Authentication { .. } | Self::Plaintext { .. } => Blame::Authentication,
            Self::BadStamp { .. }
            | Self::Flooded { .. }
            | Self::NoLane { .. }
            | Self::NotReading { .. }
            | Self::UnexpectedLength { .. } => Blame::Peer,
            Self::Failed | Self::FlightsExhausted | Self::LanesExhausted => Blame::Caller,
            Self::OtherLane => Blame::OtherLane,
            Self::Closed { .. }
            | Self::Connect { .. }
            | Self::Deadline { .. }
            | Self::Io { .. }
            | Self::Listen { .. }
            | Self::Timeout { .. } => Blame::Network,
        }
    }

    /// Sorts the error of a read or write into closed, timed out, or anything else.
    pub(crate) fn from_io(doing: &'static str, source: io::Error) -> Self {
        use io::ErrorKind as Kind;
        let kind = source.kind();
        if matches!(
            kind,
            Kind::UnexpectedEof
                | Kind::ConnectionReset
                | Kind::ConnectionAborted
                | Kind::BrokenPipe
                | Kind::NotConnected
                | Kind::WriteZero
        ) {
            Self::Closed { doing }
        } else if matches!(kind, Kind::WouldBlock | Kind::TimedOut) {
            Self::Timeout { doing }
        } else {
            Self::Io { doing, source }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_errors_are_sorted() {
        let sorted = |kind: io::ErrorKind| NetError::from_io("receiving", kind.into());
        assert!(matches!(sorted(io::ErrorKind::UnexpectedEof), NetError::Closed { .. }));
        assert!(matches!(sorted(io::ErrorKind::WouldBlock), NetError::Timeout { .. }));
        assert!(matches!(sorted(io::ErrorKind::OutOfMemory), NetError::Io { .. }));
    }

    #[test]
    fn the_peer_is_blamed_for_frames_only() {
        let length = NetError::UnexpectedLength { expected: 4, found: 5 };
        assert_eq!(length.blame(), Blame::Peer);
        assert_eq!(NetError::Closed { doing: "receiving" }.blame(), Blame::Network);
        assert_eq!(NetError::Failed.blame(), Blame::Caller);
    }
}
