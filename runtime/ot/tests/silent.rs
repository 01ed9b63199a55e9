//! Silent OT through the public interface: begun from SoftSpoken, every message in its wire form.

mod common;

use common::{agreements, check_rot, rows, shape};
use heq_ot::silent::{Receiver, Sender, SilentConfig, SilentMessage};
use heq_ot::softspoken::{self, Delta, ExtendMessage, GgmMessage, SoftSpokenConfig};
use heq_ot::{Block, OtError, RotReceiverBatch, RotSenderBatch, RotShape, SessionId};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const SESSION: SessionId = SessionId([4; 32]);

/// The smallest iterations.
const SMALL: SilentConfig = SilentConfig::SIZES[0];

/// Ideal base OTs, SoftSpoken with `k = 8`, and both parties of silent OT, of a session and tag each.
fn set_up(
    config: SilentConfig,
    [sender, receiver]: [(SessionId, u8); 2],
    seed: u64,
) -> Result<(Sender, Receiver), OtError> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let field = SoftSpokenConfig::new(8)?;
    let delta = Delta::random_odd(&mut rng);
    let choices = delta.base_choices();
    let pairs: Vec<_> =
        choices.iter().map(|_| [Block::random(&mut rng), Block::random(&mut rng)]).collect();
    let keys: Vec<_> = pairs.iter().zip(choices.iter()).map(|(p, c)| p[usize::from(c)]).collect();
    let (mut first_receiver, message) = softspoken::Receiver::new(field, &SESSION, 0, &pairs)?;
    let message = GgmMessage::decode(&message.encode(), field)?;
    let mut first_sender = softspoken::Sender::new(field, &SESSION, 0, delta, &keys, &message)?;
    let count = config.bootstrap_rows();
    let (choices, t, message) = first_receiver.correlate(count);
    let message = ExtendMessage::decode(message.encode(), field, count)?;
    let q = first_sender.correlate(count, &message)?;
    let (session, tag) = sender;
    let sender = Sender::new(config, &session, tag, first_sender.into_delta(), q)?;
    let (session, tag) = receiver;
    Ok((sender, Receiver::new(config, &session, tag, &choices, t)?))
}

fn extend(
    config: SilentConfig,
    shapes: &[RotShape],
    sender: &mut Sender,
    receiver: &mut Receiver,
) -> Result<(Vec<RotSenderBatch>, Vec<RotReceiverBatch>), OtError> {
    let iterations = config.iterations(sender.rows_left(), rows(shapes));
    assert_eq!(sender.rows_left(), receiver.rows_left());
    let (sent, message) = sender.extend(shapes);
    let bytes = message.encode();
    assert_eq!(bytes.len(), iterations * config.iteration_bytes(), "{shapes:?}");
    let message = SilentMessage::decode(&bytes, config, iterations)?;
    let received = receiver.extend(shapes, &message)?;
    assert_eq!(sender.rows_left(), receiver.rows_left());
    Ok((sent, received))
}

#[test]
fn silent_is_random_ot() {
    for config in SilentConfig::SIZES {
        let output = config.output_rows();
        let (mut sender, mut receiver) = set_up(config, [(SESSION, 1); 2], 1).unwrap();
        let calls: [&[RotShape]; 6] = [
            &[],
            &[shape(1, 0, 3), shape(1, 1, 1), shape(3, 127, 2), shape(2, 128, 0)],
            &[shape(1, 129, 130), shape(2, 1000, 8), shape(1, 5000, 60)],
            &[shape(1, output, 2)],
            &[shape(7, output / 5, 3), shape(1, 77, 1)],
            &[shape(1, 128, 1)],
        ];
        let (mut made, mut used, mut seen) = (0, 0, Vec::new());
        for shapes in calls {
            made += config.iterations(sender.rows_left(), rows(shapes)) * output;
            used += rows(shapes);
            let (sent, received) = extend(config, shapes, &mut sender, &mut receiver).unwrap();
            assert_eq!(sender.rows_left(), made - used, "{config:?} {shapes:?}");
            assert_eq!((sent.len(), received.len()), (shapes.len(), shapes.len()));
            for ((shape, sent), received) in shapes.iter().zip(&sent).zip(&received) {
                check_rot(&format!("{config:?}"), *shape, sent, received);
                if shape.elements >= 64 {
                    for plane in 0..shape.planes {
                        let pads = (0..shape.bits)
                            .map(|bit| [sent.pads0(plane, bit)[0], sent.pads1(plane, bit)[0]]);
                        seen.extend(pads.flatten());
                    }
                }
            }
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count, "{config:?}: a pad came twice");
    }
}

/// Number of bits in the statistical tests.
const SAMPLE: usize = 102_400;

/// One plane of them.
const SAMPLES: [RotShape; 1] = [shape(1, SAMPLE, 1)];

/// Whether `count` is within six standard deviations of the mean of [`SAMPLE`] fair coins.
fn is_fair(count: usize) -> bool {
    count.abs_diff(SAMPLE / 2) < 960
}

#[test]
fn choices_and_pads_are_balanced_and_unrelated() {
    let (mut sender, mut receiver) = set_up(SMALL, [(SESSION, 1); 2], 2).unwrap();
    let zeros = vec![0; SAMPLE / 64];
    let mut planes: Vec<Vec<u64>> = vec![zeros];
    for _ in 0..4 {
        let (sent, received) = extend(SMALL, &SAMPLES, &mut sender, &mut receiver).unwrap();
        let new = [received[0].choices(0), sent[0].pads0(0, 0), sent[0].pads1(0, 0)];
        for plane in new {
            for (index, other) in planes.iter().enumerate() {
                assert!(is_fair(agreements(plane, other)), "{index} of {}", planes.len());
            }
            planes.push(plane.to_vec());
        }
    }
}

#[test]
fn parties_of_different_sessions_or_tags_do_not_match() {
    for peer in [(SessionId([5; 32]), 1), (SESSION, 2)] {
        let (mut sender, mut receiver) = set_up(SMALL, [(SESSION, 1), peer], 4).unwrap();
        let (sent, received) = extend(SMALL, &SAMPLES, &mut sender, &mut receiver).unwrap();
        let pads = received[0].pads(0, 0);
        for own in [sent[0].pads0(0, 0), sent[0].pads1(0, 0)] {
            assert!(is_fair(agreements(own, pads)), "{peer:?}");
        }
    }
}

#[test]
fn truncated_and_padded_messages_are_refused() {
    for config in SilentConfig::SIZES {
        for iterations in [0, 1, 3] {
            let expected = iterations * config.iteration_bytes();
            for found in [expected + 1, expected + 16].into_iter().chain(expected.checked_sub(1)) {
                let length = OtError::MessageLength { message: "SilentMessage", expected, found };
                let decoded = SilentMessage::decode(&vec![0; found], config, iterations);
                assert_eq!(decoded.err(), Some(length));
            }
        }
        assert!(SilentMessage::decode(&[0; 16], config, usize::MAX).is_err());
    }
}

#[test]
fn messages_for_another_step_are_refused_and_consume_nothing() {
    let (mut sender, mut receiver) = set_up(SMALL, [(SESSION, 1); 2], 5).unwrap();
    let shapes = [shape(1, 1000, 1)];
    let (sent, message) = sender.extend(&shapes);
    let bytes = vec![0; 2 * SMALL.iteration_bytes()];
    let twice = SilentMessage::decode(&bytes, SMALL, 2).unwrap();
    let none = SilentMessage::decode(&[], SMALL, 0).unwrap();
    let larger = SilentConfig::new(19).unwrap();
    let other = SilentMessage::decode(&vec![0; larger.iteration_bytes()], larger, 1).unwrap();
    let expected = SMALL.output_rows();
    for (message, found) in [(twice, 2 * expected), (none, 0), (other, larger.output_rows())] {
        let error = Some(OtError::OtCount { expected, found });
        assert_eq!(receiver.extend(&shapes, &message).err(), error);
    }
    let received = receiver.extend(&shapes, &message).unwrap();
    check_rot("after refusals", shapes[0], &sent[0], &received[0]);
}

#[test]
fn any_message_of_the_right_length_is_read() {
    for byte in [0x00, 0xff] {
        let (_, mut receiver) = set_up(SMALL, [(SESSION, 1); 2], 6).unwrap();
        let bytes = vec![byte; SMALL.iteration_bytes()];
        let message = SilentMessage::decode(&bytes, SMALL, 1).unwrap();
        assert_eq!(receiver.extend(&SAMPLES, &message).unwrap().len(), 1);
    }
}
