//! Plans over the network: they are public, so a client that is admitted can have them.
//!
//! After the hellos the server sends the number of bytes (u64, little endian), then the plan's file, or the
//! list of all plans as JSON. The client checks what it gets as it checks a file.

use super::catalogue::{Catalogue, LIST, Listed, name_key};
use crate::error::RunError;
use crate::session::{Caller, Refusal, Wish, ask_for_plan};
use heq_ir::plan::codec::{self, MAX_PLAN_BYTES};
use heq_ir::plan::{Plan, PlanDigest};
use heq_net::Channel;

/// Most bytes of the list.
const MAX_LIST_BYTES: usize = 1 << 20;

/// The server's side.
///
/// **Security**: the client learns plans, which are public to clients; the server learns which it asks for.
///
/// # Errors
/// [`RunError::RefusedClient`] if there is no such plan; others if the client goes away.
pub(crate) fn serve(caller: Caller, catalogue: &Catalogue) -> Result<(), RunError> {
    let Wish::Plan(key) = caller.wish() else {
        return Err(RunError::Internal { what: "a session is no wish for a plan" });
    };
    let Some(bytes) = catalogue.fetch(key) else {
        return Err(caller.refuse(Refusal::UnknownPlan));
    };
    let mut channel = caller.give_plan()?;
    channel.send(&(bytes.len() as u64).to_le_bytes())?;
    channel.send(&bytes)?;
    Ok(channel.close()?)
}

/// What a client asks for a plan by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanKey {
    /// Its name at the server.
    Name(String),
    /// Its digest.
    Digest(PlanDigest),
}

impl std::str::FromStr for PlanKey {
    type Err = std::convert::Infallible;

    /// 64 hexadecimal digits are a digest, anything else is a name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        let digest = bytes.filter(|_| is_hex && rest.is_empty());
        Ok(match digest.and_then(|bytes| bytes.try_into().ok()) {
            Some(digest) => Self::Digest(PlanDigest(digest)),
            None => Self::Name(text.to_owned()),
        })
    }
}

/// The client's side: the plan and its file.
///
/// **Security**: a plan is the server's description of what will be computed. It is checked as a file is, and
/// cannot lower the security of the parameters.
///
/// # Errors
/// [`RunError::Refused`] if the server has no such plan, [`RunError::PeerMisbehaved`] if it sends another or
/// none; others if it goes away.
pub fn plan(channel: Channel, key: &PlanKey) -> Result<(Plan, Vec<u8>), RunError> {
    let wanted = match key {
        PlanKey::Name(name) => name_key(name),
        PlanKey::Digest(digest) => *digest,
    };
    let bytes = receive(channel, wanted, MAX_PLAN_BYTES + codec::HEADER_BYTES)?;
    let plan = codec::decode_plan(&bytes).map_err(|error| {
        let found = error.into_diagnostic("the server's plan");
        misbehaved(found.to_string())
    })?;
    if matches!(key, PlanKey::Digest(digest) if *digest != plan.digest()) {
        return Err(misbehaved(format!("sends plan {}", plan.digest())));
    }
    Ok((plan, bytes))
}

/// The client's side: which plans the server has.
///
/// # Errors
/// As [`plan`].
pub fn list(channel: Channel) -> Result<Vec<Listed>, RunError> {
    let bytes = receive(channel, LIST, MAX_LIST_BYTES)?;
    let malformed = |_| misbehaved("its list of plans is malformed".to_owned());
    let listed: Vec<Listed> = serde_json::from_slice(&bytes).map_err(malformed)?;
    let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !listed.iter().all(|plan| is_digest(&plan.digest)) {
        return Err(misbehaved("its list has what is no digest".to_owned()));
    }
    Ok(listed)
}

fn receive(mut channel: Channel, key: PlanDigest, limit: usize) -> Result<Vec<u8>, RunError> {
    ask_for_plan(&mut channel, key)?;
    let length = channel.recv(size_of::<u64>())?;
    let length = length.try_into().map_or(u64::MAX, u64::from_le_bytes);
    let length = usize::try_from(length).ok().filter(|&length| length <= limit);
    let length = length.ok_or_else(|| misbehaved(format!("announces more than {limit} bytes")))?;
    let bytes = channel.recv(length)?;
    // Nothing follows; how the connection ends does not matter any more.
    let _ended = channel.close();
    Ok(bytes)
}

fn misbehaved(what: String) -> RunError {
    RunError::PeerMisbehaved { step: "fetching a plan".to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_told_from_names() {
        let digest = "0f".repeat(32);
        assert_eq!(digest.parse(), Ok(PlanKey::Digest(PlanDigest([0x0f; 32]))));
        for name in
            ["lenet", "", &digest[1..], &digest.replace('f', "g"), &digest.replace("0f", "+f")]
        {
            assert_eq!(name.parse(), Ok(PlanKey::Name(name.to_owned())));
        }
    }
}
