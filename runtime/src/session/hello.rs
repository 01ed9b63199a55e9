//! The first message of either party: what the client wants, and whether the server does it.
//!
//! The client is first, because the server decides by what it says. The hash of the two names the session; the
//! binding in them ties it to the encrypted connection that both parties see, so that nobody can be between.

mod message;

pub use message::PROTOCOL_VERSION;

use super::refusal::Refusal;
use crate::error::RunError;
use crate::protocol::Role;
use crate::random::fresh_rng;
use heq_ir::plan::{HELLO_BYTES, PlanDigest};
use heq_mutation::broken;
use heq_net::Channel;
use heq_net::tls::Peer;
use heq_ot::SessionId;
use message::{Hello, binding_of, malformed};
use rand_core::Rng;
use sha2::{Digest, Sha256};

/// Most inferences that a client may announce for one session.
pub const MAX_INFERENCES: u32 = 1_000_000;

/// The bit among those of modes of a client that asks for a plan.
const ASKS_FOR_PLAN: u32 = 8;

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
    const ALL: [Self; 3] = [Self::Whole, Self::Prepare, Self::Prepared];

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

    /// Whether `mode` is among them.
    #[must_use]
    pub fn contains(self, mode: Mode) -> bool {
        self.0 & mode as u32 != 0
    }
}

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A session with a plan that it holds.
    Session {
        /// What for.
        mode: Mode,
        /// The plan.
        plan: PlanDigest,
        /// How many inferences, 1 to [`MAX_INFERENCES`].
        inferences: u32,
    },
    /// A plan, by its digest or the digest of its name; with zeros the list of all.
    Plan(PlanDigest),
}

/// What both parties know after the hellos.
pub(super) struct Handshake {
    pub(super) session: SessionId,
    client_nonce: [u8; 32],
    server_nonce: [u8; 32],
    pub(super) inferences: u32,
}

impl Handshake {
    /// What keys take their uniform halves from: the server's nonce, because with a' = 0 of the client's
    /// choice a response would show weights.
    pub(super) fn of_keys(&self) -> [u8; 32] {
        if broken!(
            "the client chooses the polynomial that hides weights",
            "heq-runtime lib uniform_polynomials_are_of_whom_they_protect"
        ) {
            return self.client_nonce;
        }
        self.server_nonce
    }

    /// What requests take theirs from: the client's nonce.
    pub(super) fn of_requests(&self) -> [u8; 32] {
        if broken!(
            "the server chooses the polynomials that hide inputs",
            "heq-runtime lib uniform_polynomials_are_of_whom_they_protect"
        ) {
            return self.server_nonce;
        }
        self.client_nonce
    }
}

/// The client's side: says what it wants, and returns what both know if the server does it.
pub(super) fn greet(channel: &mut Channel, wish: Wish) -> Result<Handshake, RunError> {
    let (modes, plan, inferences) = match wish {
        Wish::Session { mode, plan, inferences } => (mode as u32, plan, inferences),
        Wish::Plan(plan) => (ASKS_FOR_PLAN, plan, 0),
    };
    let hello = Hello {
        role: Role::Client,
        modes,
        plan,
        nonce: nonce()?,
        inferences,
        binding: binding_of(Role::Client, channel.binding()),
        verdict: 0,
        retry_after_s: 0,
    };
    let sent = hello.encode();
    channel.send(&sent)?;
    let received = channel.recv(HELLO_BYTES)?;
    let answer = Hello::decode(&received)?;
    answer.check_peer(Role::Server, channel)?;
    if let Some(refusal) = Refusal::decode(answer.verdict, answer.retry_after_s)? {
        return Err(RunError::Refused { refusal, plan });
    }
    answer.check_content()?;
    if answer.nonce == hello.nonce {
        return Err(malformed("the server's nonce is the client's"));
    }
    if answer.modes != modes {
        return Err(malformed("the server answers for another kind of session"));
    }
    let is_other = answer.plan != plan && !matches!(wish, Wish::Plan(_));
    if is_other
        && !broken!(
            "the server may answer for any plan",
            "heq-tests leakage answers_for_something_else_are_refused"
        )
    {
        return Err(malformed("the server answers for another plan"));
    }
    let may_be_fewer = matches!(wish, Wish::Session { mode: Mode::Prepare, .. });
    let least = if may_be_fewer { 1 } else { inferences };
    let is_other = !(least..=inferences).contains(&answer.inferences);
    if is_other
        && !broken!(
            "the server may answer for any number",
            "heq-tests leakage answers_for_something_else_are_refused"
        )
    {
        return Err(malformed("the server answers for another number than was asked for"));
    }
    Ok(Handshake {
        session: session_id(&sent, &received),
        client_nonce: hello.nonce,
        server_nonce: answer.nonce,
        inferences: answer.inferences,
    })
}

/// Asks the server at the other end of `channel` for a plan; what follows is for the caller to receive.
///
/// # Errors
/// [`RunError::Refused`] if it has none such; others if it goes away or breaks the protocol.
pub fn ask_for_plan(channel: &mut Channel, key: PlanDigest) -> Result<(), RunError> {
    greet(channel, Wish::Plan(key)).map(|_| ())
}

/// A client that has said what it wants, and waits for an answer.
pub struct Caller {
    pub(super) channel: Channel,
    wish: Wish,
    hello: Hello,
    received: Vec<u8>,
}

impl Caller {
    /// Waits for the hello of the client at the other end of `channel`.
    ///
    /// # Errors
    /// [`RunError::PeerIncompatible`] if it is of another version or no client, [`RunError::Authentication`]
    /// if somebody is between, [`RunError::PeerMisbehaved`] if its hello is malformed; others if it goes away.
    pub fn receive(mut channel: Channel) -> Result<Self, RunError> {
        let received = channel.recv(HELLO_BYTES)?;
        let hello = match Hello::decode(&received) {
            Ok(hello) => hello,
            Err(error) => {
                // A client of another version can read so much of it.
                if matches!(error, RunError::PeerIncompatible { .. }) {
                    refuse(&mut channel, PlanDigest([0; 32]), Refusal::OtherVersion);
                }
                return Err(error);
            }
        };
        hello.check_peer(Role::Client, &channel)?;
        hello.check_content()?;
        let wish = if hello.modes == ASKS_FOR_PLAN {
            Wish::Plan(hello.plan)
        } else {
            let mode = Mode::ALL.into_iter().find(|mode| *mode as u32 == hello.modes);
            let mode = mode.ok_or(malformed("a client wants what is no session"))?;
            if !(1..=MAX_INFERENCES).contains(&hello.inferences) {
                let what = format!("wants {} inferences", hello.inferences);
                return Err(RunError::PeerIncompatible { what });
            }
            Wish::Session { mode, plan: hello.plan, inferences: hello.inferences }
        };
        Ok(Self { channel, wish, hello, received })
    }

    /// What the client wants.
    #[must_use]
    pub fn wish(&self) -> Wish {
        self.wish
    }

    /// Who the client is; nobody without encryption.
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        self.channel.peer()
    }

    /// A handle to end the client's connection by.
    #[must_use]
    pub fn lifeline(&self) -> heq_net::channel::Lifeline {
        self.channel.lifeline()
    }

    /// The client, if it wants a session of one of `modes` with `plan`; otherwise it is refused.
    ///
    /// # Errors
    /// [`RunError::RefusedClient`] if it wants something else.
    pub fn expect(self, plan: PlanDigest, modes: Modes) -> Result<(Self, Mode), RunError> {
        match self.wish {
            Wish::Session { mode, plan: wanted, .. }
                if wanted == plan
                    || broken!(
                        "the client may want any plan",
                        "heq-tests adversarial parties_of_different_plans"
                    ) =>
            {
                if modes.contains(mode) {
                    return Ok((self, mode));
                }
                let prepares = modes.contains(Mode::Prepare);
                let refusal = if prepares { Refusal::OnlyPrepares } else { Refusal::OnlyRuns };
                Err(self.refuse(refusal))
            }
            Wish::Session { .. } | Wish::Plan(_) => Err(self.refuse(Refusal::UnknownPlan)),
        }
    }

    /// Tells the client why it is not served, and returns the same for the server's log.
    #[must_use]
    pub fn refuse(mut self, refusal: Refusal) -> RunError {
        refuse(&mut self.channel, self.hello.plan, refusal);
        RunError::RefusedClient { refusal, plan: self.hello.plan }
    }

    /// Tells a client that asks for a plan that it gets one, on the channel that is returned.
    ///
    /// # Errors
    /// [`RunError`] if it went away.
    pub fn give_plan(self) -> Result<Channel, RunError> {
        Ok(self.admit(0)?.0)
    }

    /// Tells the client that it is served, with so many inferences at most; the channel is for what it asked.
    pub(super) fn admit(mut self, most: u32) -> Result<(Channel, Handshake), RunError> {
        let inferences = self.hello.inferences.min(most);
        let answer = Hello {
            role: Role::Server,
            modes: self.hello.modes,
            plan: self.hello.plan,
            nonce: nonce()?,
            inferences,
            binding: binding_of(Role::Server, self.channel.binding()),
            verdict: 0,
            retry_after_s: 0,
        };
        let sent = answer.encode();
        self.channel.send(&sent)?;
        let handshake = Handshake {
            session: session_id(&self.received, &sent),
            client_nonce: self.hello.nonce,
            server_nonce: answer.nonce,
            inferences,
        };
        Ok((self.channel, handshake))
    }
}

/// Sends a refusal and ends the connection.
fn refuse(channel: &mut Channel, plan: PlanDigest, refusal: Refusal) {
    let (verdict, retry_after_s) = refusal.encode();
    let answer = Hello {
        role: Role::Server,
        modes: 0,
        plan,
        nonce: [0; 32],
        inferences: 0,
        binding: binding_of(Role::Server, channel.binding()),
        verdict,
        retry_after_s,
    };
    // A client that does not wait for its answer is none the worse.
    let _unsent = channel.send(&answer.encode()).and_then(|()| channel.close());
}

fn session_id(client_hello: &[u8], server_hello: &[u8]) -> SessionId {
    let any_client = broken!(
        "sessions have no name of the client's",
        "heq-runtime lib both_hellos_name_the_session"
    );
    let any_server = broken!(
        "sessions have no name of the server's",
        "heq-runtime lib both_hellos_name_the_session"
    );
    let client_hello = if any_client { &[] } else { client_hello };
    let server_hello = if any_server { &[] } else { server_hello };
    let session = Sha256::new()
        .chain_update(b"heq/1/session/")
        .chain_update(client_hello)
        .chain_update(server_hello);
    SessionId(session.finalize().into())
}

fn nonce() -> Result<[u8; 32], RunError> {
    let mut nonce = [0; 32];
    fresh_rng()?.fill_bytes(&mut nonce);
    if broken!("nonces are fixed", "heq-tests leakage nothing_of_two_sessions_is_equal") {
        nonce.fill(0);
    }
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_hellos_name_the_session() {
        let [a, b] = [[1; HELLO_BYTES], [2; HELLO_BYTES]];
        let names = [(a, a), (a, b), (b, a)].map(|(client, server)| session_id(&client, &server));
        assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2]);
    }

    #[test]
    fn uniform_polynomials_are_of_whom_they_protect() {
        let session = SessionId([0; 32]);
        let (client_nonce, server_nonce) = ([1; 32], [2; 32]);
        let handshake = Handshake { session, client_nonce, server_nonce, inferences: 1 };
        assert_eq!(handshake.of_keys(), server_nonce);
        assert_eq!(handshake.of_requests(), client_nonce);
    }
}
