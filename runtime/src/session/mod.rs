//! A session: handshake, base OT, keys; then any number of inferences on one connection, or of their
//! preparation. One that runs what was prepared needs the handshake alone.
//!
//! Set-up: hello both ways, base OT and OT extension both ways, the client's public keys. After it a
//! session holds everything that the steps of a plan need, and every secret in it is its own; two threads
//! make random OTs ahead, each on a lane of its own.

pub mod extension;
mod hello;
mod producer;
mod refusal;

pub use hello::{Caller, MAX_INFERENCES, Mode, Modes, PROTOCOL_VERSION, Wish, ask_for_plan};
pub use heq_ir::predict::WEIGHT_CACHE_BYTES;

use crate::error::RunError;
use crate::offline::PreparedLayer;
use crate::protocol::keys::{self, KeySet};
use crate::protocol::linear::{PreparedWeights, RequestSeeds};
use crate::protocol::{Link, Role};
use crate::random::fresh_rng;
use crate::stats::{Measured, RotStats};
use crate::stock::Stock;
use extension::Extension;
use hello::Handshake;
use heq_he::Ring;
use heq_he::client::SecretKey;
use heq_he::server::ServerKeys;
use heq_ir::plan::weights::{ServerWeights, TableEntries};
use heq_ir::plan::{AHEAD_BYTES, Plan};
use heq_ir::traffic::RotSender;
use heq_net::Channel;
use heq_ot::{RotReceiverBatch, RotSenderBatch, SessionId};
use producer::{Lanes, Producer};
use rand_chacha::ChaCha20Rng;
pub use refusal::Refusal;
use sha2::{Digest, Sha256};
use std::sync::OnceLock;

/// A plan with the tables that both parties need for it. The tables count what is computed with them:
/// for counts of one party, give it its own.
pub struct PreparedPlan {
    plan: Plan,
    rings: Vec<Ring>,
    ahead_bytes: u64,
    observer: Option<Observer>,
}

/// Is told how far a run is, before every step, on the thread that runs it.
pub type Observer = Box<dyn Fn(Progress) + Send + Sync>;

/// How far the inferences of a session are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Number of the inference, from 0.
    pub inference: u32,
    /// Inferences of the session.
    pub inferences: u32,
    /// Index of the step that begins.
    pub step: usize,
    /// Bytes on the wire both ways so far, those of making random OTs left out.
    pub bytes: u64,
}

impl PreparedPlan {
    /// Builds the tables of a plan.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let rings = plan.rlwe().iter().map(|&params| Ring::new(params)).collect();
        Self { plan, rings, ahead_bytes: AHEAD_BYTES, observer: None }
    }

    /// Bounds the random OTs of either sender that are made ahead by `ahead_bytes` of their pads, or by what
    /// a step takes and one message makes if that is more.
    #[must_use]
    pub fn with_ahead_bytes(self, ahead_bytes: u64) -> Self {
        Self { ahead_bytes, ..self }
    }

    /// Lets `observer` know how far runs are.
    #[must_use]
    pub fn with_observer(self, observer: Observer) -> Self {
        Self { observer: Some(observer), ..self }
    }

    pub(crate) fn observe(&self, progress: Progress) {
        if let Some(observer) = &self.observer {
            observer(progress);
        }
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Makes the keys of every parameter set, or receives what the server needs of them.
    fn establish_keys(
        &self,
        role: Role,
        nonce: &[u8; 32],
        channel: &mut Channel,
        rng: &mut ChaCha20Rng,
    ) -> Result<Keys, RunError> {
        let mut keys = match role {
            Role::Client => Keys::Client(Vec::with_capacity(self.rings.len())),
            Role::Server => Keys::Server(Vec::with_capacity(self.rings.len())),
        };
        for (index, ring) in self.rings.iter().enumerate() {
            let spacings = self.plan.galois_spacings(index);
            let set = KeySet { index, spacings: &spacings, nonce };
            match &mut keys {
                Keys::Client(keys) => keys.push(keys::client(channel, ring, set, rng)?),
                Keys::Server(keys) => keys.push(keys::server(channel, ring, set, rng)?),
            }
        }
        Ok(keys)
    }

    /// The ring of parameter set `index`.
    ///
    /// # Errors
    /// [`RunError::Internal`] if there is none, which a checked plan rules out.
    pub fn ring(&self, index: usize) -> Result<&Ring, RunError> {
        self.rings.get(index).ok_or(RunError::Internal { what: "a parameter set is missing" })
    }
}

/// The server's weights, placed and, as far as memory allows, transformed once for all sessions.
pub struct PreparedServer {
    layers: Vec<PreparedWeights>,
    tables: Vec<TableEntries>,
    digest: OnceLock<[u8; 32]>,
}

impl PreparedServer {
    /// Prepares the weights of a plan. The rows of weight polynomials that fit `cache_bytes`, in the
    /// order of the plan, are transformed now; others whenever they are used.
    ///
    /// # Errors
    /// [`RunError::Internal`] if they were checked against another plan, or break what was checked.
    pub fn new(
        plan: &PreparedPlan,
        weights: &ServerWeights,
        mut cache_bytes: usize,
    ) -> Result<Self, RunError> {
        if weights.plan() != plan.plan.digest() {
            return Err(RunError::Internal { what: "weights of another plan" });
        }
        let mut layers = Vec::with_capacity(weights.layers().len());
        for ((_, step), weights) in plan.plan.linear_steps().zip(weights.layers()) {
            let ring = plan.ring(step.choice.rlwe)?;
            layers.push(PreparedWeights::new(ring, &step, weights, &mut cache_bytes)?);
        }
        Ok(Self { layers, tables: weights.tables().to_vec(), digest: OnceLock::new() })
    }

    /// A digest of weights, biases and tables, by which prepared inferences are told from those of others.
    pub(crate) fn digest(&self) -> &[u8; 32] {
        self.digest.get_or_init(|| {
            let mut all = Sha256::new();
            self.layers.iter().for_each(|layer| layer.absorb_into(&mut all));
            for table in &self.tables {
                all.update((table.entries.len() as u64).to_le_bytes());
                all.update(&table.entries);
            }
            all.finalize().into()
        })
    }

    /// The weights of the `index`-th linear step.
    ///
    /// # Errors
    /// [`RunError::Internal`] if there are none, which [`PreparedServer::new`] rules out.
    pub fn layer(&self, index: usize) -> Result<&PreparedWeights, RunError> {
        self.layers.get(index).ok_or(RunError::Internal { what: "weights are missing" })
    }

    /// The entries of the `index`-th table step.
    ///
    /// # Errors
    /// [`RunError::Internal`] if there are none, which [`PreparedServer::new`] rules out.
    pub fn table(&self, index: usize) -> Result<&[u8], RunError> {
        let table = self.tables.get(index);
        let table = table.ok_or(RunError::Internal { what: "a table is missing" })?;
        Ok(&table.entries)
    }
}

/// The keys of a party, one for each parameter set.
pub enum Keys {
    /// The client's secret keys.
    Client(Vec<SecretKey>),
    /// What the server needs to encrypt zeros and to merge responses.
    Server(Vec<ServerKeys>),
}

/// An established session.
pub struct Session<'a> {
    pub(crate) plan: &'a PreparedPlan,
    pub(crate) role: Role,
    pub(crate) mode: Mode,
    /// Name of the session, of what is prepared in it too.
    pub(crate) id: SessionId,
    pub(crate) channel: Channel,
    pub(crate) sender_stock: Stock<RotSenderBatch>,
    pub(crate) receiver_stock: Stock<RotReceiverBatch>,
    /// What is left of the linear layers of a prepared inference.
    pub(crate) layers: std::vec::IntoIter<PreparedLayer>,
    producer: Option<Producer>,
    /// None where everything was encrypted beforehand.
    pub(crate) keys: Option<Keys>,
    pub(crate) seeds: RequestSeeds,
    pub(crate) rng: ChaCha20Rng,
    /// Number of inferences that the client announced.
    pub(crate) inferences: u32,
    /// Number of inferences that were run.
    pub(crate) done: u32,
}

impl<'a> Session<'a> {
    /// The client's side: asks the server at the other end of `channel` for a session of `inferences`, and
    /// runs the set-up. A server may prepare fewer than it is asked for.
    ///
    /// # Errors
    /// [`RunError::Refused`] if the server does not serve this client, [`RunError::PeerIncompatible`] if it is
    /// of another version; other variants if it goes away or breaks the protocol.
    pub fn connect(
        plan: &'a PreparedPlan,
        mut channel: Channel,
        mode: Mode,
        inferences: u32,
    ) -> Result<Self, RunError> {
        let wish = Wish::Session { mode, plan: plan.plan.digest(), inferences };
        let handshake = hello::greet(&mut channel, wish)?;
        Self::begin(plan, Role::Client, channel, mode, handshake)
    }

    /// The server's side: serves `caller` if it wants one of `modes` with this plan, prepares at most `most`
    /// inferences, and runs the set-up.
    ///
    /// # Errors
    /// [`RunError::RefusedClient`] if the client wants something else; other variants if it goes away or breaks
    /// the protocol.
    pub fn accept(
        plan: &'a PreparedPlan,
        caller: Caller,
        modes: Modes,
        most: u32,
    ) -> Result<Self, RunError> {
        let (caller, mode) = caller.expect(plan.plan.digest(), modes)?;
        let (channel, handshake) = caller.admit(most)?;
        Self::begin(plan, Role::Server, channel, mode, handshake)
    }

    fn begin(
        plan: &'a PreparedPlan,
        role: Role,
        channel: Channel,
        mode: Mode,
        handshake: Handshake,
    ) -> Result<Self, RunError> {
        let (server_nonce, client_nonce) = (handshake.of_keys(), handshake.of_requests());
        let Handshake { session, inferences, .. } = handshake;
        let mut made = Self {
            plan,
            role,
            mode,
            id: session,
            channel,
            sender_stock: Stock::from_iter([]),
            receiver_stock: Stock::from_iter([]),
            layers: Vec::new().into_iter(),
            producer: None,
            keys: None,
            seeds: RequestSeeds::new(client_nonce),
            rng: fresh_rng()?,
            inferences,
            done: 0,
        };
        made.limit_queue();
        if mode != Mode::Prepared {
            let done = made.set_up(&server_nonce);
            done.inspect_err(|_| made.channel.abort())?;
        }
        Ok(made)
    }

    /// Bounds what waits for a peer that does not read by what can wait for one that does.
    fn limit_queue(&self) {
        let plan = &self.plan.plan;
        let lanes = RotSender::ALL.map(|sender| plan.lane_window_bytes(sender));
        let windows = std::iter::once(plan.window_bytes()).chain(lanes);
        let leaving = windows.map(|(up, down)| if self.role == Role::Client { up } else { down });
        self.channel.limit_queue(leaving.fold(0, u64::saturating_add));
    }

    /// Base OTs, extension, keys, and the threads that make random OTs.
    fn set_up(&mut self, server_nonce: &[u8; 32]) -> Result<(), RunError> {
        let (plan, role) = (self.plan, self.role);
        let (channel, rng) = (&mut self.channel, &mut self.rng);
        // The peer may make random OTs before this party is done with the set-up, but not before it has what
        // follows here.
        let arriving = |(up, down)| if role == Role::Client { down } else { up };
        let own_limit = arriving(plan.plan.window_bytes());
        let lane =
            |sender| channel.add_lane(own_limit, arriving(plan.plan.lane_window_bytes(sender)));
        let [server_sends, client_sends] = [lane(RotSender::Server)?, lane(RotSender::Client)?];
        let lanes = match role {
            Role::Server => Lanes { sends: server_sends, receives: client_sends },
            Role::Client => Lanes { sends: client_sends, receives: server_sends },
        };
        let ot = plan.plan.spec().ot;
        let extension = Extension::establish(role, &self.id, ot, channel, rng)?;
        self.keys = Some(plan.establish_keys(role, server_nonce, channel, rng)?);
        let (inferences, ahead_bytes) = (self.inferences, plan.ahead_bytes);
        let (producer, (sender_stock, receiver_stock)) =
            Producer::start(role, &plan.plan, inferences, extension, lanes, ahead_bytes)
                .inspect_err(|_| channel.abort())?;
        self.producer = Some(producer);
        (self.sender_stock, self.receiver_stock) = (sender_stock, receiver_stock);
        Ok(())
    }

    /// The parts that steps on shared bits need.
    pub(crate) fn link(&mut self) -> Link<'_> {
        Link {
            role: self.role,
            channel: &mut self.channel,
            sender: &mut self.sender_stock,
            receiver: &mut self.receiver_stock,
        }
    }

    /// Traffic of the session so far, without that of making random OTs.
    #[must_use]
    pub fn meter(&self) -> heq_net::Meter {
        self.channel.snapshot()
    }

    /// Ends the session after all inferences, or after an error: waits for the threads that make random
    /// OTs and until everything is sent, and closes the connection. Returns what making them took.
    ///
    /// # Errors
    /// That of `outcome` or of a thread, whichever came first; [`RunError`] if a message could not be
    /// sent.
    pub fn end(mut self, outcome: Result<(), RunError>) -> Result<(Measured, RotStats), RunError> {
        let outcome = outcome.and_then(|()| match self.inferences - self.done {
            0 => Ok(()),
            _ => Err(RunError::Internal { what: "a session ended before its last inference" }),
        });
        if outcome.is_err() {
            self.channel.abort();
        }
        let joined = self.producer.as_mut().map_or(Ok(Default::default()), Producer::join);
        match (outcome, joined) {
            (Ok(()), Ok(made)) => {
                let closed = self.channel.close();
                // A client that has all that it asked for does not lose it by how the connection ends.
                if self.role == Role::Server {
                    closed?;
                }
                Ok(made)
            }
            (Err(RunError::Stopped) | Ok(()), Err(error)) | (Err(error), _) => Err(error),
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(producer) = self.producer.as_mut().filter(|producer| producer.is_running()) {
            self.channel.abort();
            // Whoever wants to know calls `Session::end`.
            let _unreported = producer.join();
        }
    }
}
