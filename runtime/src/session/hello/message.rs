//! The hello as it travels.
//!
//! `magic (8) | protocol version u32 | role u8 | modes u24 | plan digest (32) | nonce (32) | inferences u32 |
//! binding (32) | verdict u32 | retry after u32`, integers little endian, both ways. `modes` has the bit of the
//! client's [`Mode`](super::Mode), or one that asks for a plan itself; a server that serves it repeats them.

use crate::error::RunError;
use crate::protocol::Role;
use heq_ir::plan::{HELLO_BYTES, PlanDigest};
use heq_mutation::broken;
use heq_net::Channel;
use heq_net::tls::BINDING_BYTES;
use sha2::{Digest, Sha256};

/// Version of the wire protocol; parties of different versions do not talk.
pub const PROTOCOL_VERSION: u32 = 8;

const MAGIC: [u8; 8] = *b"HEQPEER\n";

/// One party's hello.
pub(super) struct Hello {
    pub(super) role: Role,
    pub(super) modes: u32,
    pub(super) plan: PlanDigest,
    pub(super) nonce: [u8; 32],
    pub(super) inferences: u32,
    pub(super) binding: [u8; 32],
    pub(super) verdict: u32,
    pub(super) retry_after_s: u32,
}

/// What a party shows of the secret of its connection: equal to what the peer expects if both are ends of the
/// same one.
pub(super) fn binding_of(role: Role, binding: &[u8; BINDING_BYTES]) -> [u8; 32] {
    let role: &[u8] = match role {
        Role::Client => b"client",
        Role::Server => b"server",
    };
    Sha256::new()
        .chain_update(b"heq/1/binding/")
        .chain_update(role)
        .chain_update(binding)
        .finalize()
        .into()
}

pub(super) fn malformed(what: &str) -> RunError {
    RunError::PeerMisbehaved { step: "the handshake".to_owned(), what: what.to_owned() }
}

impl Hello {
    /// Checks that the peer is `role`, at the other end of this very connection.
    pub(super) fn check_peer(&self, role: Role, channel: &Channel) -> Result<(), RunError> {
        if self.role != role
            && !broken!(
                "the peer may be of any role",
                "heq-runtime lib hellos_of_others_are_refused"
            )
        {
            let what = format!("is a {:?} too", self.role).to_lowercase();
            return Err(RunError::PeerIncompatible { what });
        }
        let is_other = self.binding != binding_of(role, channel.binding());
        if is_other
            && !broken!(
                "the peer may be at the end of another connection",
                "heq-runtime lib hellos_of_others_are_refused"
            )
        {
            return Err(RunError::Authentication {
                what: "the peer is at the end of another connection: somebody is between"
                    .to_owned(),
                remedy: "let nothing on the way end TLS; a load balancer must pass TCP through",
            });
        }
        Ok(())
    }

    /// Checks what every hello has that refuses nothing.
    pub(super) fn check_content(&self) -> Result<(), RunError> {
        if (self.verdict, self.retry_after_s) != (0, 0) {
            return Err(malformed("a hello refuses and does not"));
        }
        if self.nonce == [0; 32] {
            return Err(malformed("a hello has no nonce"));
        }
        Ok(())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let role = match self.role {
            Role::Client => 0_u32,
            Role::Server => 1,
        };
        let mut bytes = Vec::with_capacity(HELLO_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
        bytes.extend_from_slice(&(role | self.modes << 8).to_le_bytes());
        bytes.extend_from_slice(&self.plan.0);
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(&self.inferences.to_le_bytes());
        bytes.extend_from_slice(&self.binding);
        bytes.extend_from_slice(&self.verdict.to_le_bytes());
        bytes.extend_from_slice(&self.retry_after_s.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RunError> {
        let incompatible = |what: String| RunError::PeerIncompatible { what };
        let mut fields = Fields(bytes);
        if fields.take()? != MAGIC {
            return Err(incompatible("does not speak this protocol".to_owned()));
        }
        let version = u32::from_le_bytes(fields.take()?);
        if version != PROTOCOL_VERSION
            && !broken!(
                "the peer may speak any version",
                "heq-runtime lib hellos_of_others_are_refused"
            )
        {
            let what = format!("speaks protocol version {version}, this side {PROTOCOL_VERSION}");
            return Err(incompatible(what));
        }
        let role = u32::from_le_bytes(fields.take()?);
        let modes = role >> 8;
        let role = match role & 0xff {
            0 => Role::Client,
            1 => Role::Server,
            _ => return Err(malformed("a hello is of no known role")),
        };
        Ok(Self {
            role,
            modes,
            plan: PlanDigest(fields.take()?),
            nonce: fields.take()?,
            inferences: u32::from_le_bytes(fields.take()?),
            binding: fields.take()?,
            verdict: u32::from_le_bytes(fields.take()?),
            retry_after_s: u32::from_le_bytes(fields.take()?),
        })
    }
}

/// What is left of a message.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], RunError> {
        let (field, rest) =
            self.0.split_first_chunk().ok_or_else(|| malformed("a hello is too short"))?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heq_net::memory;

    fn hello() -> Hello {
        let (plan, nonce) = (PlanDigest([7; 32]), [1; 32]);
        let binding = binding_of(Role::Client, &[0; BINDING_BYTES]);
        let role = Role::Client;
        Hello { role, modes: 1, plan, nonce, inferences: 1, binding, verdict: 0, retry_after_s: 0 }
    }

    #[test]
    fn hellos_of_others_are_refused() {
        let (channel, _other) = memory::pair();
        let check = |bytes: &[u8]| {
            let hello = Hello::decode(bytes)?;
            hello.check_peer(Role::Client, &channel)?;
            hello.check_content()
        };
        let honest = hello().encode();
        assert_eq!(honest.len(), HELLO_BYTES);
        check(&honest).unwrap();
        let with = |change: fn(&mut Hello)| {
            let mut changed = hello();
            change(&mut changed);
            changed.encode()
        };
        let mut other_version = honest.clone();
        other_version[MAGIC.len()] += 1;
        for (name, bytes) in [
            ("a server", with(|hello| hello.role = Role::Server)),
            ("of another connection", with(|hello| hello.binding[0] ^= 1)),
            ("of another version", other_version),
            ("without a nonce", with(|hello| hello.nonce = [0; 32])),
            ("that refuses", with(|hello| hello.verdict = 1)),
            ("that is cut", honest[..HELLO_BYTES - 1].to_vec()),
        ] {
            assert!(check(&bytes).is_err(), "a hello {name}");
        }
    }
}
