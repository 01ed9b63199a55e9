//! Random OTs of a session: base OT and extension both ways, and the stock of either kind.

use crate::error::RunError;
use crate::protocol::Role;
use heq_ir::traffic::RotCounts;
use heq_net::Channel;
use heq_ot::base::{self, ReceiverChoices, SENDER_SETUP_BYTES, SenderSetup};
use heq_ot::softspoken::{self, BASE_OTS, Delta, ExtendMessage, GgmMessage, SoftSpokenConfig};
use heq_ot::{RotReceiverPool, RotSenderPool, SessionId};
use rand_chacha::ChaCha20Rng;

/// Names the extension in which the server sends.
const SERVER_SENDS: u8 = 0;
/// Names the extension in which the client sends.
const CLIENT_SENDS: u8 = 1;

/// Both extensions of a session with their stock.
pub(crate) struct Correlations {
    config: SoftSpokenConfig,
    sender: softspoken::Sender,
    receiver: softspoken::Receiver,
    pub(crate) sender_pool: RotSenderPool,
    pub(crate) receiver_pool: RotReceiverPool,
}

impl Correlations {
    /// Base OTs and trees, both ways at once: three exchanges.
    ///
    /// # Errors
    /// [`RunError`] if the peer goes away or sends a malformed message.
    pub(super) fn establish(
        role: Role,
        session: &SessionId,
        field_bits: u32,
        channel: &mut Channel,
        rng: &mut ChaCha20Rng,
    ) -> Result<Self, RunError> {
        let config = SoftSpokenConfig::new(u8::try_from(field_bits).unwrap_or(u8::MAX))?;
        let (send_tag, receive_tag) = match role {
            Role::Server => (SERVER_SENDS, CLIENT_SENDS),
            Role::Client => (CLIENT_SENDS, SERVER_SENDS),
        };
        let (base_sender, setup) = base::Sender::new(session, receive_tag, rng);
        let received = channel.exchange(&setup.encode(), SENDER_SETUP_BYTES)?;
        let peer_setup = SenderSetup::decode(&received)?;

        let delta = Delta::random(rng);
        let (base_keys, choices) =
            base::choose(session, send_tag, &peer_setup, &delta.base_choices(), rng);
        let length = base::receiver_choices_bytes(BASE_OTS);
        let received = channel.exchange(&choices.encode(), length)?;
        let pairs = base_sender.finish(&ReceiverChoices::decode(&received, BASE_OTS)?);

        let (receiver, tree) = softspoken::Receiver::new(config, session, receive_tag, &pairs)?;
        let received = channel.exchange(&tree.encode(), config.ggm_message_bytes())?;
        let peer_tree = GgmMessage::decode(&received, config)?;
        let sender =
            softspoken::Sender::new(config, session, send_tag, delta, &base_keys, &peer_tree)?;
        Ok(Self {
            config,
            sender,
            receiver,
            sender_pool: RotSenderPool::new(),
            receiver_pool: RotReceiverPool::new(),
        })
    }

    /// Makes `rots` more random OTs, both ways in one exchange.
    ///
    /// # Errors
    /// [`RunError`] if the peer goes away or sends a malformed message.
    pub(super) fn extend(
        &mut self,
        role: Role,
        rots: RotCounts,
        channel: &mut Channel,
    ) -> Result<(), RunError> {
        let (sends, receives) = match role {
            Role::Server => (rots.server_sends, rots.client_sends),
            Role::Client => (rots.client_sends, rots.server_sends),
        };
        let count = |rots: u64| {
            usize::try_from(rots).map_err(|_| RunError::Internal { what: "too many random OTs" })
        };
        let (sends, receives) = (count(sends)?, count(receives)?);
        let (batch, message) = self.receiver.extend(receives);
        self.receiver_pool.push(batch);
        let length = self.config.extend_message_bytes(sends);
        let received = channel.exchange(&message.encode(), length)?;
        let message = ExtendMessage::decode(received, self.config, sends)?;
        self.sender_pool.push(self.sender.extend(sends, &message)?);
        Ok(())
    }
}
