//! OT extension of a session: base OTs, set-up, and a party's two ends, as sender of random OTs and as
//! receiver.

use crate::error::RunError;
use crate::protocol::Role;
use heq_ir::plan::OtExtension;
use heq_net::Channel;
use heq_ot::base::{self, ReceiverChoices, SENDER_SETUP_BYTES, SenderSetup};
use heq_ot::silent::{self, SilentConfig, SilentMessage};
use heq_ot::softspoken::{self, BASE_OTS, Delta, ExtendMessage, GgmMessage, SoftSpokenConfig};
use heq_ot::{RotBatch, RotReceiverBatch, RotSenderBatch, RotShape, SessionId};
use rand_chacha::ChaCha20Rng;

/// Names the extension in which the server sends.
const SERVER_SENDS: u8 = 0;
/// Names the extension in which the client sends.
const CLIENT_SENDS: u8 = 1;

/// Field of the extension that silent OT starts with, in bits.
const BOOTSTRAP_FIELD_BITS: u8 = 8;

/// A party's ends of both extensions.
pub struct Extension {
    /// As sender of random OTs.
    pub sender: SenderEnd,
    /// As their receiver.
    pub receiver: ReceiverEnd,
}

/// What makes a party's part of the random OTs of one sender.
pub trait End: Send + 'static {
    /// Random OTs of one shape.
    type Batch: RotBatch;

    /// Makes random OTs of `shapes`: sends the message for the peer if this end leads, else receives it.
    ///
    /// # Errors
    /// [`RunError`] if the peer goes away or sends a malformed message.
    fn extend(
        &mut self,
        shapes: &[RotShape],
        channel: &mut Channel,
    ) -> Result<Vec<Self::Batch>, RunError>;
}

/// The end of the sender of random OTs, who holds both pads.
pub struct SenderEnd(Ends<softspoken::Sender, silent::Sender>);

/// The end of their receiver, who holds one pad.
pub struct ReceiverEnd(Ends<softspoken::Receiver, silent::Receiver>);

enum Ends<S, T> {
    SoftSpoken(SoftSpokenConfig, S),
    Silent(SilentConfig, T),
}

impl End for SenderEnd {
    type Batch = RotSenderBatch;

    fn extend(
        &mut self,
        shapes: &[RotShape],
        channel: &mut Channel,
    ) -> Result<Vec<RotSenderBatch>, RunError> {
        match &mut self.0 {
            Ends::SoftSpoken(config, sender) => {
                let rows = rows(shapes);
                let message = channel.recv(config.extend_message_bytes(rows))?;
                Ok(sender.extend(shapes, &ExtendMessage::decode(message, *config, rows)?)?)
            }
            Ends::Silent(_, sender) => {
                let (batches, message) = sender.extend(shapes);
                channel.send(&message.encode())?;
                Ok(batches)
            }
        }
    }
}

impl End for ReceiverEnd {
    type Batch = RotReceiverBatch;

    fn extend(
        &mut self,
        shapes: &[RotShape],
        channel: &mut Channel,
    ) -> Result<Vec<RotReceiverBatch>, RunError> {
        match &mut self.0 {
            Ends::SoftSpoken(_, receiver) => {
                let (batches, message) = receiver.extend(shapes);
                channel.send(&message.encode())?;
                Ok(batches)
            }
            Ends::Silent(config, receiver) => {
                let iterations = config.iterations(receiver.rows_left(), rows(shapes));
                let message = channel.recv(config.iteration_bytes().saturating_mul(iterations))?;
                let message = SilentMessage::decode(&message, *config, iterations)?;
                Ok(receiver.extend(shapes, &message)?)
            }
        }
    }
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
                let (sender, receiver) = establish(role, session, config, delta, channel, rng)?;
                Ok(Self {
                    sender: SenderEnd(Ends::SoftSpoken(config, sender)),
                    receiver: ReceiverEnd(Ends::SoftSpoken(config, receiver)),
                })
            }
            OtExtension::Silent { log_rows } => {
                let config = SilentConfig::new(narrow(log_rows))?;
                let bootstrap = SoftSpokenConfig::new(BOOTSTRAP_FIELD_BITS)?;
                let delta = Delta::random_odd(rng);
                let (mut sender, mut receiver) =
                    establish(role, session, bootstrap, delta, channel, rng)?;
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
                Ok(Self {
                    sender: SenderEnd(Ends::Silent(config, sender)),
                    receiver: ReceiverEnd(Ends::Silent(config, receiver)),
                })
            }
        }
    }
}

/// Base OTs and both ends of SoftSpoken.
fn establish(
    role: Role,
    session: &SessionId,
    config: SoftSpokenConfig,
    delta: Delta,
    channel: &mut Channel,
    rng: &mut ChaCha20Rng,
) -> Result<(softspoken::Sender, softspoken::Receiver), RunError> {
    let [send, receive] = tags(role);
    let (base_sender, setup) = base::Sender::new(session, receive, rng);
    let received = channel.exchange(&setup.encode(), SENDER_SETUP_BYTES)?;
    let peer_setup = SenderSetup::decode(&received)?;

    let (base_keys, choices) = base::choose(session, send, &peer_setup, &delta.base_choices(), rng);
    let length = base::receiver_choices_bytes(BASE_OTS);
    let received = channel.exchange(&choices.encode(), length)?;
    let pairs = base_sender.finish(&ReceiverChoices::decode(&received, BASE_OTS)?);

    let (receiver, tree) = softspoken::Receiver::new(config, session, receive, &pairs)?;
    let received = channel.exchange(&tree.encode(), config.ggm_message_bytes())?;
    let peer_tree = GgmMessage::decode(&received, config)?;
    let sender = softspoken::Sender::new(config, session, send, delta, &base_keys, &peer_tree)?;
    Ok((sender, receiver))
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
