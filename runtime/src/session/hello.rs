//! The first message of either party: who it is and which plan it holds.
//!
//! `magic (8) | protocol version u32 | role u8 | modes u24 | plan digest (32) | nonce (32) | inferences u32`,
//! integers little endian. `modes` has a bit for each [`Mode`]: the client's own, all that a server accepts. Both send it at once; the hash of the two names the session.

use crate::error::RunError;
use crate::protocol::Role;
use heq_ir::plan::{HELLO_BYTES, PlanDigest};
use heq_net::Channel;
use heq_ot::SessionId;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use sha2::{Digest, Sha256};

/// Version of the wire protocol; parties of different versions do not talk.
pub const PROTOCOL_VERSION: u32 = 7;

/// Most inferences that a client may announce for one session.
pub const MAX_INFERENCES: u32 = 1_000_000;

const MAGIC: [u8; 8] = *b"HEQPEER\n";

/// What a session is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Mode {
    /// Inferences from beginning to end.
    #[default]
    Whole = 1,
    /// To prepare inferences.
    Prepare = 2,
    /// To run prepared ones.
    Prepared = 4,
}

impl Mode {
    /// Its name in documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Prepare => "prepare",
            Self::Prepared => "prepared",
        }
    }
}

/// The sessions that a server accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes(u32);

impl Modes {
    /// Inferences, prepared or not.
    pub const INFER: Self = Self(Mode::Whole as u32 | Mode::Prepared as u32);
    /// Those in which inferences are prepared.
    pub const PREPARE: Self = Self(Mode::Prepare as u32);

    /// The modes that are in both.
    fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The mode, if it is only one.
    fn single(self) -> Option<Mode> {
        [Mode::Whole, Mode::Prepare, Mode::Prepared].into_iter().find(|mode| *mode as u32 == self.0)
    }
}

impl From<Mode> for Modes {
    fn from(mode: Mode) -> Self {
        Self(mode as u32)
    }
}

/// One party's hello.
pub(super) struct Hello {
    role: Role,
    modes: Modes,
    plan: PlanDigest,
    nonce: [u8; 32],
    inferences: u32,
}

/// What both parties know after the hellos.
pub(super) struct Handshake {
    pub(super) session: SessionId,
    pub(super) mode: Mode,
    pub(super) client_nonce: [u8; 32],
    pub(super) server_nonce: [u8; 32],
    pub(super) inferences: u32,
}

impl Hello {
    pub(super) fn new(
        role: Role,
        modes: Modes,
        plan: PlanDigest,
        inferences: u32,
        rng: &mut ChaCha20Rng,
    ) -> Self {
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        Self { role, modes, plan, nonce, inferences }
    }

    /// Sends this hello, receives the peer's and checks that the two fit.
    pub(super) fn exchange(self, channel: &mut Channel) -> Result<Handshake, RunError> {
        let sent = self.encode();
        let received = channel.exchange(&sent, HELLO_BYTES)?;
        let peer = Self::decode(&received)?;
        let incompatible = |what: String| Err(RunError::PeerIncompatible { what });
        if peer.role == self.role {
            return incompatible(format!("is a {:?} too", self.role).to_lowercase());
        }
        if peer.plan != self.plan {
            return incompatible(format!("holds plan {}, this side plan {}", peer.plan, self.plan));
        }
        let (client, server, client_hello, server_hello) = match self.role {
            Role::Client => (&self, &peer, &sent, &received),
            Role::Server => (&peer, &self, &received, &sent),
        };
        let Some(mode) = client.modes.common(server.modes).single() else {
            let (what, remedy) = match (self.role, client.modes.single()) {
                (Role::Client, Some(Mode::Prepare)) => {
                    ("does not prepare inferences", "start heq-run prepare --role server there")
                }
                (Role::Client, _) => {
                    ("prepares inferences and runs none", "start heq-run --role server there")
                }
                (Role::Server, Some(Mode::Prepare)) => (
                    "wants to prepare inferences",
                    "start heq-run prepare --role server here for that",
                ),
                (Role::Server, _) => {
                    ("wants to run inferences", "start heq-run --role server here for that")
                }
            };
            return Err(RunError::PeerWantsOther { what, remedy });
        };
        let inferences = match mode {
            Mode::Prepare => client.inferences.min(server.inferences),
            Mode::Whole | Mode::Prepared => client.inferences,
        };
        if !(1..=MAX_INFERENCES).contains(&inferences) {
            return incompatible(format!("wants {inferences} inferences"));
        }
        let session = Sha256::new()
            .chain_update(b"heq/1/session/")
            .chain_update(client_hello)
            .chain_update(server_hello);
        Ok(Handshake {
            session: SessionId(session.finalize().into()),
            mode,
            client_nonce: client.nonce,
            server_nonce: server.nonce,
            inferences,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let role = match self.role {
            Role::Client => 0_u32,
            Role::Server => 1,
        };
        let mut bytes = Vec::with_capacity(HELLO_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
        bytes.extend_from_slice(&(role | self.modes.0 << 8).to_le_bytes());
        bytes.extend_from_slice(&self.plan.0);
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(&self.inferences.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, RunError> {
        let malformed = || RunError::PeerMisbehaved {
            step: "the handshake".to_owned(),
            what: "the hello is malformed".to_owned(),
        };
        let incompatible = |what: String| RunError::PeerIncompatible { what };
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or_else(malformed)?;
        if *magic != MAGIC {
            return Err(incompatible("does not speak this protocol".to_owned()));
        }
        let (version, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
        let version = u32::from_le_bytes(*version);
        if version != PROTOCOL_VERSION {
            let what = format!("speaks protocol version {version}, this side {PROTOCOL_VERSION}");
            return Err(incompatible(what));
        }
        let (role, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
        let role = u32::from_le_bytes(*role);
        let modes = Modes(role >> 8);
        let role = match role & 0xff {
            0 => Role::Client,
            1 => Role::Server,
            _ => return Err(malformed()),
        };
        let (plan, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
        let (nonce, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
        let inferences = u32::from_le_bytes(rest.try_into().map_err(|_| malformed())?);
        Ok(Self { role, modes, plan: PlanDigest(*plan), nonce: *nonce, inferences })
    }
}
