//! OT extension of a session, both ways: base OTs, set-up, and chunks of random OTs.

use crate::error::RunError;
use crate::protocol::Role;
use heq_ir::plan::OtExtension;
use heq_net::Channel;
use heq_ot::base::{self, ReceiverChoices, SENDER_SETUP_BYTES, SenderSetup};
use heq_ot::silent::{self, SilentConfig, SilentMessage};
use heq_ot::softspoken::{self, BASE_OTS, Delta, ExtendMessage, GgmMessage, SoftSpokenConfig};
use heq_ot::{RotReceiverBatch, RotSenderBatch, RotShape, SessionId};
use rand_chacha::ChaCha20Rng;

/// Names the extension in which the server sends.
const SERVER_SENDS: u8 = 0;
/// Names the extension in which the client sends.
const CLIENT_SENDS: u8 = 1;

/// Field of the extension that silent OT starts with, in bits.
const BOOTSTRAP_FIELD_BITS: u8 = 8;

/// Random OTs of one exchange, in the order in which steps take them.
#[derive(Clone, Debug)]
pub struct Shapes {
    /// Those in which this party holds both pads.
    pub sends: Vec<RotShape>,
    /// Those in which it holds one.
    pub receives: Vec<RotShape>,
}

/// A party's two extensions: as sender of random OTs and as receiver.
pub struct Extension(Ends);

#[expect(clippy::large_enum_variant, reason = "a session has one")]
enum Ends {
    SoftSpoken(SoftSpoken),
    Silent { config: SilentConfig, sender: silent::Sender, receiver: silent::Receiver },
}

struct SoftSpoken {
    config: SoftSpokenConfig,
    sender: softspoken::Sender,
    receiver: softspoken::Receiver,
}

impl Extension {
    /// Base OTs and set-up, both ways at once: three exchanges, and a fourth for silent OT.
    ///
    /// # Errors
    /// [`RunError`] if the peer goes away or sends a malformed message.
    pub fn establish(
        role: Role,
        session: &SessionId,
        extension: OtExtension,
        channel: &mut Channel,
        rng: &mut ChaCha20Rng,
    ) -> Result<Self, RunError> {
        let narrow = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
        match extension {
            OtExtension::SoftSpoken { field_bits } => {
                let config = SoftSpokenConfig::new(narrow(field_bits))?;
                let delta = Delta::random(rng);
                let ends = SoftSpoken::establish(role, session, config, delta, channel, rng)?;
                Ok(Self(Ends::SoftSpoken(ends)))
            }
            OtExtension::Silent { log_rows } => {
                let config = SilentConfig::new(narrow(log_rows))?;
                let bootstrap = SoftSpokenConfig::new(BOOTSTRAP_FIELD_BITS)?;
                let delta = Delta::random_odd(rng);
                let ends = SoftSpoken::establish(role, session, bootstrap, delta, channel, rng)?;
                let SoftSpoken { mut sender, mut receiver, .. } = ends;
                let rows = config.bootstrap_rows();
                let (choices, received_rows, message) = receiver.correlate(rows);
                let length = bootstrap.extend_message_bytes(rows);
                let received = channel.exchange(&message.encode(), length)?;
                let message = ExtendMessage::decode(received, bootstrap, rows)?;
                let sent_rows = sender.correlate(rows, &message)?;
                let [send, receive] = tags(role);
                let delta = sender.into_delta();
                let sender = silent::Sender::new(config, session, send, delta, sent_rows)?;
                let receiver =
                    silent::Receiver::new(config, session, receive, &choices, received_rows)?;
                Ok(Self(Ends::Silent { config, sender, receiver }))
            }
        }
    }

    /// Makes random OTs both ways in one exchange.
    ///
    /// # Errors
    /// [`RunError`] if the peer goes away or sends a malformed message.
    pub fn extend(
        &mut self,
        shapes: &Shapes,
        channel: &mut Channel,
    ) -> Result<(Vec<RotSenderBatch>, Vec<RotReceiverBatch>), RunError> {
        let Shapes { sends, receives } = shapes;
        match &mut self.0 {
            Ends::SoftSpoken(SoftSpoken { config, sender, receiver }) => {
                let rows = rows(sends);
                let (received, message) = receiver.extend(receives);
                let length = config.extend_message_bytes(rows);
                let message = channel.exchange(&message.encode(), length)?;
                let message = ExtendMessage::decode(message, *config, rows)?;
                Ok((sender.extend(sends, &message)?, received))
            }
            Ends::Silent { config, sender, receiver } => {
                let (sent, message) = sender.extend(sends);
                let iterations = config.iterations(receiver.rows_left(), rows(receives));
                let length = config.iteration_bytes().saturating_mul(iterations);
                let message = channel.exchange(&message.encode(), length)?;
                let message = SilentMessage::decode(&message, *config, iterations)?;
                Ok((sent, receiver.extend(receives, &message)?))
            }
        }
    }
}

impl SoftSpoken {
    fn establish(
        role: Role,
        session: &SessionId,
        config: SoftSpokenConfig,
        delta: Delta,
        channel: &mut Channel,
        rng: &mut ChaCha20Rng,
    ) -> Result<Self, RunError> {
        let [send, receive] = tags(role);
        let (base_sender, setup) = base::Sender::new(session, receive, rng);
        let received = channel.exchange(&setup.encode(), SENDER_SETUP_BYTES)?;
        let peer_setup = SenderSetup::decode(&received)?;

        let (base_keys, choices) =
            base::choose(session, send, &peer_setup, &delta.base_choices(), rng);
        let length = base::receiver_choices_bytes(BASE_OTS);
        let received = channel.exchange(&choices.encode(), length)?;
        let pairs = base_sender.finish(&ReceiverChoices::decode(&received, BASE_OTS)?);

        let (receiver, tree) = softspoken::Receiver::new(config, session, receive, &pairs)?;
        let received = channel.exchange(&tree.encode(), config.ggm_message_bytes())?;
        let peer_tree = GgmMessage::decode(&received, config)?;
        let sender = softspoken::Sender::new(config, session, send, delta, &base_keys, &peer_tree)?;
        Ok(Self { config, sender, receiver })
    }
}

/// Names of a party's extensions, as sender and as receiver.
fn tags(role: Role) -> [u8; 2] {
    match role {
        Role::Server => [SERVER_SENDS, CLIENT_SENDS],
        Role::Client => [CLIENT_SENDS, SERVER_SENDS],
    }
}

fn rows(shapes: &[RotShape]) -> usize {
    shapes.iter().map(|shape| shape.rows()).sum()
}
