//! Random OT through the public interface: both parties, every message in its wire form.
//!
//! One body, `check_rot`, holds for the ideal functionality and for the protocols alike.

mod common;

use common::{agreements, check_rot, rows, shape};
use heq_ot::base::{self, ReceiverChoices, SenderSetup};
use heq_ot::ideal::ideal_rot;
use heq_ot::softspoken::{Delta, ExtendMessage, GgmMessage, Receiver, Sender, SoftSpokenConfig};
use heq_ot::{Block, ChoiceBits, OtError, RotReceiverBatch, RotSenderBatch, RotShape, SessionId};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// Shapes of batches: whole and cut words and tiles, nothing, pads of more than a block.
const SHAPES: [RotShape; 7] = [
    shape(1, 0, 3),
    shape(1, 1, 1),
    shape(3, 127, 2),
    shape(2, 128, 0),
    shape(1, 129, 130),
    shape(2, 1000, 8),
    shape(1, 5000, 60),
];

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
    shapes: &[RotShape],
    sender: &mut Sender,
    receiver: &mut Receiver,
) -> Result<(Vec<RotSenderBatch>, Vec<RotReceiverBatch>), OtError> {
    let config = SoftSpokenConfig::new(k)?;
    let rows = rows(shapes);
    let (received, message) = receiver.extend(shapes);
    let bytes = message.encode();
    assert_eq!(bytes.len(), config.extend_message_bytes(rows), "k={k} {shapes:?}");
    let message = ExtendMessage::decode(bytes, config, rows)?;
    Ok((sender.extend(shapes, &message)?, received))
}

#[test]
fn ideal_is_random_ot() {
    let mut rng = ChaCha20Rng::seed_from_u64(20);
    for shape in SHAPES {
        let (sender, receiver) = ideal_rot(shape, &mut rng);
        check_rot("ideal", shape, &sender, &receiver);
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
        for shapes in [&SHAPES[..], &SHAPES[3..4], &SHAPES[1..]] {
            let (sent, received) = extend(k, shapes, &mut sender, &mut receiver).unwrap();
            for ((shape, sent), received) in shapes.iter().zip(&sent).zip(&received) {
                check_rot(&format!("softspoken k={k}"), *shape, sent, received);
            }
        }
    }
}

/// Number of bits in the statistical tests.
const SAMPLE: usize = 10_240;

/// One plane of them.
const SAMPLES: [RotShape; 1] = [shape(1, SAMPLE, 1)];

/// Whether `count` is within six standard deviations of the mean of [`SAMPLE`] fair coins.
fn is_fair(count: usize) -> bool {
    count.abs_diff(SAMPLE / 2) < 300
}

#[test]
fn choices_and_pads_are_balanced_and_independent() {
    for k in [1, 2, 4, 8] {
        let (mut sender, mut receiver, _) =
            set_up(BaseOts::Ideal, k, SessionId([3; 32]), 0, 30).unwrap();
        let shapes = [shape(2, SAMPLE, 3)];
        let (sent, received) = extend(k, &shapes, &mut sender, &mut receiver).unwrap();
        let zeros = vec![0; SAMPLE / 64];
        let mut planes = vec![&zeros[..]];
        for plane in 0..2 {
            planes.push(received[0].choices(plane));
            for bit in 0..3 {
                planes.extend([sent[0].pads0(plane, bit), sent[0].pads1(plane, bit)]);
            }
        }
        for (index, a) in planes.iter().enumerate() {
            for (other, b) in planes[..index].iter().enumerate() {
                assert!(is_fair(agreements(a, b)), "k={k} planes {index} and {other}");
            }
        }
    }
}

/// The pads of every element, of 64 bits.
fn words_of_pads(pads: impl Fn(usize) -> Vec<u64>, elements: usize) -> Vec<u64> {
    let planes: Vec<_> = (0..64).map(pads).collect();
    let bit = |e: usize, plane: &[u64]| plane[e / 64] >> (e % 64) & 1;
    let word = |e| planes.iter().rev().fold(0, |sum, plane| sum << 1 | bit(e, plane));
    (0..elements).map(word).collect()
}

#[test]
fn no_pad_comes_twice() {
    for k in [1, 2, 4, 8] {
        let (mut sender, mut receiver, _) =
            set_up(BaseOts::Ideal, k, SessionId([8; 32]), 0, 35).unwrap();
        let mut seen = Vec::new();
        for (planes, elements) in [(1, 9000), (3, 700), (1, 9000)] {
            let shapes = [shape(planes, elements, 64)];
            let (sent, _) = extend(k, &shapes, &mut sender, &mut receiver).unwrap();
            for plane in 0..planes {
                let pads0 = |bit| sent[0].pads0(plane, bit).to_vec();
                let pads1 = |bit| sent[0].pads1(plane, bit).to_vec();
                seen.extend(words_of_pads(pads0, elements));
                seen.extend(words_of_pads(pads1, elements));
            }
        }
        let count = seen.len();
        assert_eq!(count, 2 * (9000 + 3 * 700 + 9000));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count, "k={k}");
    }
}

#[test]
fn choices_differ_between_sessions_and_between_seeds() {
    let choices = [(1, 31), (2, 31), (2, 32)].map(|(session, seed)| {
        let (mut sender, mut receiver, _) =
            set_up(BaseOts::ChouOrlandi, 4, SessionId([session; 32]), 0, seed).unwrap();
        extend(4, &SAMPLES, &mut sender, &mut receiver).unwrap().1.remove(0)
    });
    for (i, a) in choices.iter().enumerate() {
        for b in &choices[..i] {
            assert!(is_fair(agreements(a.choices(0), b.choices(0))), "session {i}");
        }
    }
}

#[test]
fn parties_of_different_sessions_or_tags_do_not_match() {
    let (mut sender, _, _) = set_up(BaseOts::Ideal, 2, SessionId([5; 32]), 0, 40).unwrap();
    for (session, tag) in [(6, 0), (5, 1)] {
        let (_, mut receiver, _) =
            set_up(BaseOts::Ideal, 2, SessionId([session; 32]), tag, 40).unwrap();
        let (sent, received) = extend(2, &SAMPLES, &mut sender, &mut receiver).unwrap();
        let pads = received[0].pads(0, 0);
        for own in [sent[0].pads0(0, 0), sent[0].pads1(0, 0)] {
            assert!(is_fair(agreements(own, pads)));
        }
    }
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
        let shapes = [shape(1, 77, 2)];
        let bytes = vec![byte; config.extend_message_bytes(rows(&shapes))];
        let message = ExtendMessage::decode(bytes, config, rows(&shapes)).unwrap();
        assert_eq!(sender.extend(&shapes, &message).unwrap().len(), 1);
    }
}

#[test]
fn debug_shows_shapes_alone() {
    let (sender, receiver) = ideal_rot(shape(1, 3, 2), &mut ChaCha20Rng::seed_from_u64(70));
    let shape = "RotShape { planes: 1, elements: 3, bits: 2 }";
    assert_eq!(format!("{sender:?}"), format!("RotSenderBatch {{ shape: {shape}, .. }}"));
    assert_eq!(format!("{receiver:?}"), format!("RotReceiverBatch {{ shape: {shape}, .. }}"));
    let choices = ChoiceBits::from_words(vec![5], 3);
    assert_eq!(format!("{choices:?}"), "ChoiceBits { len: 3, .. }");
    assert_eq!(format!("{:?}", Delta::random(&mut ChaCha20Rng::seed_from_u64(71))), "Delta(..)");
}
