//! A session: handshake, base OT, keys; then any number of inferences on one connection.
//!
//! Set-up: hello both ways, base OT and trees both ways, the client's public keys. After it a
//! session holds everything that the steps of a plan need, and every secret in it is its own.

mod correlations;
mod hello;

pub use hello::{MAX_INFERENCES, PROTOCOL_VERSION};

use correlations::Correlations;

use crate::error::RunError;
use crate::protocol::keys::{self, KeySet};
use crate::protocol::linear::{PreparedWeights, RequestSeeds};
use crate::protocol::{Link, Role};
use crate::random::fresh_rng;
use hello::Hello;
use heq_he::Ring;
use heq_he::client::SecretKey;
use heq_he::server::ServerKeys;
use heq_ir::plan::Plan;
use heq_ir::plan::weights::{ServerWeights, TableEntries};
use heq_net::Channel;
use rand_chacha::ChaCha20Rng;

/// Memory for transformed weights that a server takes unless told otherwise, in bytes.
pub const WEIGHT_CACHE_BYTES: usize = 256_000_000;

/// A plan with the tables that both parties need for it. The tables count what is computed with them:
/// for counts of one party, give it its own.
pub struct PreparedPlan {
    plan: Plan,
    rings: Vec<Ring>,
}

impl PreparedPlan {
    /// Builds the tables of a plan.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let rings = plan.rlwe().iter().map(|&params| Ring::new(params)).collect();
        Self { plan, rings }
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
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
        Ok(Self { layers, tables: weights.tables().to_vec() })
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
    pub(crate) channel: Channel,
    pub(crate) correlations: Correlations,
    pub(crate) keys: Keys,
    pub(crate) seeds: RequestSeeds,
    pub(crate) rng: ChaCha20Rng,
    /// Number of inferences that the client announced.
    pub(crate) inferences: u32,
}

impl<'a> Session<'a> {
    /// Runs the set-up with the peer at the other end of `channel`.
    ///
    /// A client announces its number of `inferences`; a server's argument is ignored.
    ///
    /// # Errors
    /// [`RunError::PeerIncompatible`] if the peer has another plan, version or the same role; other
    /// variants if it goes away or breaks the protocol.
    pub fn establish(
        plan: &'a PreparedPlan,
        role: Role,
        mut channel: Channel,
        inferences: u32,
    ) -> Result<Self, RunError> {
        let mut rng = fresh_rng()?;
        let mine = Hello::new(role, plan.plan.digest(), inferences, &mut rng);
        let handshake = mine.exchange(&mut channel)?;
        let correlations = Correlations::establish(
            role,
            &handshake.session,
            plan.plan.spec().ot_field_bits,
            &mut channel,
            &mut rng,
        )?;
        let nonce = &handshake.server_nonce;
        let mut keys = match role {
            Role::Client => Keys::Client(Vec::with_capacity(plan.rings.len())),
            Role::Server => Keys::Server(Vec::with_capacity(plan.rings.len())),
        };
        for (index, ring) in plan.rings.iter().enumerate() {
            let spacings = plan.plan.galois_spacings(index);
            let set = KeySet { index, spacings: &spacings, nonce };
            match &mut keys {
                Keys::Client(keys) => keys.push(keys::client(&mut channel, ring, set, &mut rng)?),
                Keys::Server(keys) => keys.push(keys::server(&mut channel, ring, set, &mut rng)?),
            }
        }
        Ok(Self {
            plan,
            role,
            channel,
            correlations,
            keys,
            seeds: RequestSeeds::new(handshake.client_nonce),
            rng,
            inferences: handshake.inferences,
        })
    }

    /// The parts that steps on shared bits need.
    pub(crate) fn link(&mut self) -> Link<'_> {
        Link {
            role: self.role,
            channel: &mut self.channel,
            sender: &mut self.correlations.sender_pool,
            receiver: &mut self.correlations.receiver_pool,
        }
    }

    /// Makes the random OTs of one inference.
    ///
    /// # Errors
    /// [`RunError`] if the peer goes away or sends a malformed message.
    pub fn prepare_inference(&mut self) -> Result<(), RunError> {
        let rots = self.plan.plan.rots();
        self.correlations.extend(self.role, rots, &mut self.channel)
    }

    /// Traffic of the session so far.
    #[must_use]
    pub fn meter(&self) -> heq_net::Meter {
        self.channel.snapshot()
    }

    /// Waits until everything is sent, and closes the connection.
    ///
    /// # Errors
    /// [`RunError`] if a message could not be sent.
    pub fn close(self) -> Result<(), RunError> {
        Ok(self.channel.close()?)
    }
}
