//! Tests of the extension that look below the hash: the correlated OT equation on raw rows.
//!
//! The tests through the public interface alone are in `tests/`.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::{OtError, SessionId};

const SESSION: SessionId = SessionId([1; 32]);

/// Both parties after a set-up from ideal base OTs.
fn set_up(k: u8, rng: &mut ChaCha20Rng) -> (Sender, Receiver) {
    let config = SoftSpokenConfig::new(k).unwrap();
    let base: Vec<_> = (0..BASE_OTS).map(|_| [Block::random(rng), Block::random(rng)]).collect();
    let delta = Delta::random(rng);
    let choices = delta.base_choices();
    let keys: Vec<_> =
        base.iter().zip(choices.iter()).map(|(pair, c)| pair[usize::from(c)]).collect();
    let (receiver, message) = Receiver::new(config, &SESSION, 0, &base).unwrap();
    let message = GgmMessage::decode(&message.encode(), config).unwrap();
    let sender = Sender::new(config, &SESSION, 0, delta, &keys, &message).unwrap();
    (sender, receiver)
}

#[test]
fn rows_satisfy_the_correlation() {
    let mut rng = ChaCha20Rng::seed_from_u64(10);
    for k in [1, 2, 4, 8] {
        let (mut sender, mut receiver) = set_up(k, &mut rng);
        let delta = Block::new(u128::from_le_bytes(core::array::from_fn(|byte| {
            let bit = |i: usize| !sender.delta.base_choices().get(8 * byte + i).unwrap();
            (0..8).fold(0, |sum, i| sum | (u8::from(bit(i)) << i))
        })));
        for n in [0, 1, 127, 128, 129, 5000] {
            let (mut t, mut q) = (Vec::new(), Vec::new());
            let (choices, message) = receiver.matrix.extend(n, |_, rows| t.extend(*rows));
            sender.matrix.extend(&message, |_, rows| q.extend(*rows)).unwrap();
            assert_eq!((t.len(), q.len()), (n.next_multiple_of(128), n.next_multiple_of(128)));
            assert_eq!(choices.len(), n);
            for (j, c) in choices.iter().enumerate() {
                let shift = if c { delta } else { Block::ZERO };
                assert_eq!(t[j], q[j] ^ shift, "k={k} n={n} j={j}");
            }
        }
    }
}

#[test]
fn tiles_are_numbered_once() {
    let (_, mut receiver) = set_up(1, &mut ChaCha20Rng::seed_from_u64(11));
    let mut numbers = Vec::new();
    for n in [1, 0, 300, 5000, 128] {
        let _ = receiver.matrix.extend(n, |number, _| numbers.push(number));
    }
    assert_eq!(numbers, (0..1 + 3 + 40 + 1).collect::<Vec<_>>());
}

#[test]
fn tweaks_separate_tags_and_rows() {
    assert_eq!(tile_tweak(0, 0) + 127, tile_tweak(0, 1) - 1);
    assert!(tile_tweak(0, u64::MAX) + 127 < tile_tweak(1, 0));
    assert!(tile_tweak(255, u64::MAX).checked_add(127).is_some());
}

#[test]
fn messages_for_other_parameters_are_refused() {
    let mut rng = ChaCha20Rng::seed_from_u64(12);
    let (mut sender, mut receiver) = set_up(2, &mut rng);
    let (_, message) = receiver.extend(100);
    assert_eq!(
        sender.extend(99, &message).err(),
        Some(OtError::OtCount { expected: 99, found: 100 })
    );
    let (_, other) = set_up(4, &mut rng).1.extend(100);
    let mismatch = OtError::FieldBitsMismatch { expected: 2, found: 4 };
    assert_eq!(sender.extend(100, &other).err(), Some(mismatch.clone()));
    assert!(sender.extend(100, &message).is_ok());

    let keys = [Block::ZERO; BASE_OTS];
    let four = SoftSpokenConfig::new(4).unwrap();
    let sums = GgmMessage::decode(&vec![0; four.ggm_message_bytes()], four).unwrap();
    let new = |keys: &[Block], k| {
        let config = SoftSpokenConfig::new(k).unwrap();
        Sender::new(
            config,
            &SESSION,
            0,
            Delta::random(&mut ChaCha20Rng::seed_from_u64(0)),
            keys,
            &sums,
        )
    };
    assert_eq!(new(&keys, 2).err(), Some(mismatch));
    assert_eq!(new(&keys[1..], 4).err(), Some(OtError::BaseOtCount { expected: 128, found: 127 }));
    assert_eq!(
        Receiver::new(four, &SESSION, 0, &[]).err(),
        Some(OtError::BaseOtCount { expected: 128, found: 0 })
    );
}
