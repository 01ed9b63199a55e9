//! Random OT through the public interface: both parties, every message in its wire form.
//!
//! One body, `check_rot`, holds for the ideal functionality and for the protocols alike.

use heq_ot::base::{self, ReceiverChoices, SenderSetup};
use heq_ot::ideal::ideal_rot;
use heq_ot::softspoken::{Delta, ExtendMessage, GgmMessage, Receiver, Sender, SoftSpokenConfig};
use heq_ot::{
    Block, ChoiceBits, OtError, RotReceiverBatch, RotReceiverPool, RotSenderBatch, RotSenderPool,
    SessionId,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// Asserts that two batches are the two sides of `n` random OTs.
fn check_rot(name: &str, n: usize, sender: &RotSenderBatch, receiver: &RotReceiverBatch) {
    assert_eq!((sender.len(), receiver.len()), (n, n), "{name}");
    assert_eq!((sender.is_empty(), receiver.is_empty()), (n == 0, n == 0), "{name}");
    assert_eq!((sender.pads1().len(), receiver.choices().len()), (n, n), "{name}");
    let pads = sender.pads0().iter().zip(sender.pads1()).zip(receiver.pads());
    for (i, (((pad0, pad1), pad), choice)) in pads.zip(receiver.choices().iter()).enumerate() {
        let (chosen, other) = if choice { (pad1, pad0) } else { (pad0, pad1) };
        assert_eq!(pad, chosen, "{name} ot {i}");
        assert_ne!(pad, other, "{name} ot {i}");
    }
}

/// Where the base OTs of a set-up come from.
#[derive(Clone, Copy)]
enum BaseOts {
    Ideal,
    ChouOrlandi,
}

/// Pairs of keys, chosen keys, and the bytes of the two messages.
type BaseOutputs = (Vec<[Block; 2]>, Vec<Block>, [usize; 2]);

fn run_base_ots(
    session: SessionId,
    tag: u8,
    choices: &ChoiceBits,
    rng: &mut ChaCha20Rng,
) -> Result<BaseOutputs, OtError> {
    let (sender, setup) = base::Sender::new(&session, tag, rng);
    let setup = setup.encode();
    let (keys, message) = base::choose(&session, tag, &SenderSetup::decode(&setup)?, choices, rng);
    let message = message.encode();
    let pairs = sender.finish(&ReceiverChoices::decode(&message, choices.len())?);
    Ok((pairs.to_vec(), keys.to_vec(), [setup.len(), message.len()]))
}

fn ideal_base_ots(choices: &ChoiceBits, rng: &mut ChaCha20Rng) -> BaseOutputs {
    let pairs: Vec<_> = choices.iter().map(|_| [Block::random(rng), Block::random(rng)]).collect();
    let keys = pairs.iter().zip(choices.iter()).map(|(pair, c)| pair[usize::from(c)]).collect();
    (pairs, keys, [base::SENDER_SETUP_BYTES, base::receiver_choices_bytes(choices.len())])
}

/// Runs base OT and set-up; returns the parties and the bytes of the three messages.
fn set_up(
    base_ots: BaseOts,
    k: u8,
    session: SessionId,
    tag: u8,
    seed: u64,
) -> Result<(Sender, Receiver, [usize; 3]), OtError> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let config = SoftSpokenConfig::new(k)?;
    let delta = Delta::random(&mut rng);
    let (pairs, keys, [setup, choices]) = match base_ots {
        BaseOts::Ideal => ideal_base_ots(&delta.base_choices(), &mut rng),
        BaseOts::ChouOrlandi => run_base_ots(session, tag, &delta.base_choices(), &mut rng)?,
    };
    let (receiver, ggm) = Receiver::new(config, &session, tag, &pairs)?;
    let ggm = ggm.encode();
    let message = GgmMessage::decode(&ggm, config)?;
    let sender = Sender::new(config, &session, tag, delta, &keys, &message)?;
    Ok((sender, receiver, [setup, choices, ggm.len()]))
}

fn extend(
    k: u8,
    n: usize,
    sender: &mut Sender,
    receiver: &mut Receiver,
) -> Result<(RotSenderBatch, RotReceiverBatch), OtError> {
    let config = SoftSpokenConfig::new(k)?;
    let (received, message) = receiver.extend(n);
    let bytes = message.encode();
    assert_eq!(bytes.len(), config.extend_message_bytes(n), "k={k} n={n}");
    let message = ExtendMessage::decode(bytes, config, n)?;
    Ok((sender.extend(n, &message)?, received))
}

/// Number of positions where two sequences of bits agree.
fn agreements(a: &ChoiceBits, b: &ChoiceBits) -> usize {
    a.iter().zip(b.iter()).filter(|(a, b)| a == b).count()
}

#[test]
fn ideal_is_random_ot() {
    let mut rng = ChaCha20Rng::seed_from_u64(20);
    for n in [0, 1, 64, 1000] {
        let (sender, receiver) = ideal_rot(n, &mut rng);
        check_rot(&format!("ideal n={n}"), n, &sender, &receiver);
    }
}

#[test]
fn softspoken_is_random_ot() {
    for k in [1, 2, 4, 8] {
        let (mut sender, mut receiver, bytes) =
            set_up(BaseOts::ChouOrlandi, k, SessionId([k; 32]), 0, 21).unwrap();
        let config = SoftSpokenConfig::new(k).unwrap();
        let expected = [
            base::SENDER_SETUP_BYTES,
            base::receiver_choices_bytes(128),
            config.ggm_message_bytes(),
        ];
        assert_eq!(bytes, expected, "k={k}");
        let mut seen = Vec::new();
        for n in [0, 1, 127, 128, 129, 1000, 5000, 1] {
            let (sent, received) = extend(k, n, &mut sender, &mut receiver).unwrap();
            check_rot(&format!("softspoken k={k} n={n}"), n, &sent, &received);
            seen.extend(sent.pads0().iter().chain(sent.pads1()).map(|pad| pad.to_u128()));
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count, "k={k}: a pad came twice");
    }
}

/// Number of bits in the statistical tests.
const SAMPLE: usize = 10_000;

/// Whether `count` is within six standard deviations of the mean of [`SAMPLE`] fair coins.
fn is_fair(count: usize) -> bool {
    count.abs_diff(SAMPLE / 2) < 300
}

#[test]
fn choices_are_balanced() {
    for k in [1, 2, 4, 8] {
        let (mut sender, mut receiver, _) =
            set_up(BaseOts::Ideal, k, SessionId([3; 32]), 0, 30).unwrap();
        let (_, received) = extend(k, SAMPLE, &mut sender, &mut receiver).unwrap();
        assert!(is_fair(received.choices().iter().filter(|c| *c).count()), "k={k}");
    }
}

#[test]
fn choices_differ_between_sessions_and_between_seeds() {
    let choices = [(1, 31), (2, 31), (2, 32)].map(|(session, seed)| {
        let (mut sender, mut receiver, _) =
            set_up(BaseOts::ChouOrlandi, 4, SessionId([session; 32]), 0, seed).unwrap();
        extend(4, SAMPLE, &mut sender, &mut receiver).unwrap().1
    });
    for (i, a) in choices.iter().enumerate() {
        for b in &choices[..i] {
            assert!(is_fair(agreements(a.choices(), b.choices())), "session {i}");
        }
    }
}

#[test]
fn parties_of_different_sessions_or_tags_do_not_match() {
    let (mut sender, _, _) = set_up(BaseOts::Ideal, 2, SessionId([5; 32]), 0, 40).unwrap();
    for (session, tag) in [(6, 0), (5, 1)] {
        let (_, mut receiver, _) =
            set_up(BaseOts::Ideal, 2, SessionId([session; 32]), tag, 40).unwrap();
        let (sent, received) = extend(2, 50, &mut sender, &mut receiver).unwrap();
        let pads = sent.pads0().iter().zip(sent.pads1()).zip(received.pads());
        for ((pad0, pad1), pad) in pads {
            assert!(pad != pad0 && pad != pad1);
        }
    }
}

#[test]
fn pools_hand_out_everything_once_and_in_order() {
    let mut rng = ChaCha20Rng::seed_from_u64(50);
    let (mut senders, mut receivers) = (RotSenderPool::new(), RotReceiverPool::new());
    let mut expected = Vec::new();
    for n in [5, 0, 130, 64, 1] {
        let (sent, received) = ideal_rot(n, &mut rng);
        expected.extend_from_slice(received.pads());
        senders.push(sent);
        receivers.push(received);
    }
    let mut pads = Vec::new();
    for n in [0, 3, 2, 65, 100, 0, 29] {
        let (sent, received) = (senders.take(n).unwrap(), receivers.take(n).unwrap());
        check_rot(&format!("pool n={n}"), n, &sent, &received);
        pads.extend_from_slice(received.pads());
        assert_eq!((senders.len(), receivers.len()), (200 - pads.len(), 200 - pads.len()));
        let exhausted = OtError::Exhausted { wanted: 201, left: 200 - pads.len() };
        assert_eq!(senders.take(201).err(), Some(exhausted.clone()));
        assert_eq!(receivers.take(201).err(), Some(exhausted));
    }
    assert!(pads.as_slice() == &expected[..199]);
    assert_eq!(senders.take(1).unwrap().len(), 1);
    assert!(senders.is_empty() && !receivers.is_empty());
}

#[test]
fn truncated_and_padded_messages_are_refused() {
    for k in [1, 2, 4, 8] {
        let config = SoftSpokenConfig::new(k).unwrap();
        let expected = config.ggm_message_bytes();
        for found in [1, expected + 1, expected + 32].into_iter().chain(expected.checked_sub(1)) {
            let length = OtError::MessageLength { message: "GgmMessage", expected, found };
            assert_eq!(GgmMessage::decode(&vec![0; found], config).err(), Some(length));
        }
        for n in [0, 1, 128, 1001] {
            let expected = config.extend_message_bytes(n);
            for found in [expected + 1].into_iter().chain(expected.checked_sub(1)) {
                let length = OtError::MessageLength { message: "ExtendMessage", expected, found };
                assert_eq!(ExtendMessage::decode(vec![0; found], config, n).err(), Some(length));
            }
        }
        assert!(ExtendMessage::decode([0_u8; 8], config, usize::MAX).is_err());
    }
}

#[test]
fn any_correction_of_the_right_length_is_read() {
    let (mut sender, _, _) = set_up(BaseOts::Ideal, 4, SessionId([9; 32]), 0, 60).unwrap();
    let config = SoftSpokenConfig::new(4).unwrap();
    for byte in [0x00, 0xff] {
        let bytes = vec![byte; config.extend_message_bytes(77)];
        let message = ExtendMessage::decode(bytes, config, 77).unwrap();
        assert_eq!(sender.extend(77, &message).unwrap().len(), 77);
    }
}

#[test]
fn debug_shows_lengths_alone() {
    let (sender, receiver) = ideal_rot(3, &mut ChaCha20Rng::seed_from_u64(70));
    assert_eq!(format!("{sender:?}"), "RotSenderBatch { len: 3, .. }");
    assert_eq!(format!("{receiver:?}"), "RotReceiverBatch { len: 3, .. }");
    assert_eq!(format!("{:?}", receiver.choices()), "ChoiceBits { len: 3, .. }");
    assert_eq!(format!("{:?}", RotSenderPool::default()), "RotSenderPool { len: 0, .. }");
    assert_eq!(format!("{:?}", Delta::random(&mut ChaCha20Rng::seed_from_u64(71))), "Delta(..)");
}
