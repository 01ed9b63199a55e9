//! Tests of the extension that look below the hash: the correlated OT equation on raw rows.
//!
//! The tests through the public interface alone are in `tests/`.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

use super::*;
use crate::simd::Path;
use crate::{Block, OtError, RotShape, SessionId};

const SESSION: SessionId = SessionId([1; 32]);

/// Both parties after a set-up from ideal base OTs.
fn set_up(k: u8, rng: &mut ChaCha20Rng) -> (Sender, Receiver) {
    set_up_on(Path::fastest(), k, rng)
}

/// As [`set_up`], by a path.
fn set_up_on(path: Path, k: u8, rng: &mut ChaCha20Rng) -> (Sender, Receiver) {
    let config = SoftSpokenConfig::new(k).unwrap();
    let base: Vec<_> = (0..BASE_OTS).map(|_| [Block::random(rng), Block::random(rng)]).collect();
    let delta = Delta::random(rng);
    let choices = delta.base_choices();
    let keys: Vec<_> =
        base.iter().zip(choices.iter()).map(|(pair, c)| pair[usize::from(c)]).collect();
    let (receiver, message) = Receiver::on(path, config, &SESSION, 0, &base).unwrap();
    let message = GgmMessage::decode(&message.encode(), config).unwrap();
    let sender = Sender::on(path, config, &SESSION, 0, delta, &keys, &message).unwrap();
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
        for n in [0, 1, 2, 4, 5, 16, 17, 64, 65, 200].map(|tiles| tiles * TILE_ROWS) {
            let (choices, t, message) = receiver.correlate(n);
            let q = sender.correlate(n, &message).unwrap();
            assert_eq!((choices.len(), t.len(), q.len()), (n, n, n));
            for (j, c) in choices.iter().enumerate() {
                let shift = if c { delta } else { Block::ZERO };
                assert_eq!(t[j], q[j] ^ shift, "k={k} n={n} j={j}");
            }
        }
    }
}

/// Digests of two extensions from fixed seeds: choices and all pads, and the messages.
fn digests(path: Path, k: u8) -> [String; 2] {
    let shapes = [(3, 5000, 5), (1, 100, 1), (2, 129, 130)]
        .map(|(planes, elements, bits)| RotShape { planes, elements, bits });
    let (mut sender, mut receiver) = set_up_on(path, k, &mut ChaCha20Rng::seed_from_u64(77));
    let (mut outputs, mut messages) = (Sha256::new(), Sha256::new());
    for _ in 0..2 {
        let (received, message) = receiver.extend(&shapes);
        let sent = sender.extend(&shapes, &message).unwrap();
        messages.update(message.encode());
        for (shape, (sent, received)) in shapes.iter().zip(sent.iter().zip(&received)) {
            let mut update =
                |words: &[u64]| words.iter().for_each(|word| outputs.update(word.to_le_bytes()));
            for plane in 0..shape.planes {
                update(received.choices(plane));
                for bit in 0..shape.bits {
                    update(received.pads(plane, bit));
                    update(sent.pads0(plane, bit));
                    update(sent.pads1(plane, bit));
                }
            }
        }
    }
    [outputs, messages]
        .map(|digest| digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

#[test]
fn outputs_are_those_of_the_first_version_on_every_path_and_any_number_of_threads() {
    for (k, expected) in [
        (1, ["182fe286e738f768", "c10f96516e060774"]),
        (2, ["f30fcd3278800d32", "e9aa07f97c8cc9dd"]),
        (4, ["817ad6fa3f09f26e", "13fb75e14ad74eb0"]),
        (8, ["c580560c55fda70d", "8be23953d393b303"]),
    ] {
        for path in Path::all() {
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let found = pool.install(|| digests(path, k));
                assert_eq!(found, expected, "k={k} {path:?} {threads} threads");
            }
        }
    }
}

#[test]
fn tiles_are_numbered_once() {
    let (_, mut receiver) = set_up(1, &mut ChaCha20Rng::seed_from_u64(11));
    let mut numbers = Vec::new();
    for tiles in [1, 0, 3, 2 * JOB_TILES + 40, 1] {
        let jobs = std::iter::repeat_with(Vec::new).take(tiles.div_ceil(JOB_TILES));
        let mut jobs: Vec<_> = jobs.collect();
        let sinks = jobs.iter_mut().map(|job| |number, _, _: &_| job.push(number));
        let _ = receiver.matrix.extend(tiles, sinks);
        numbers.extend(jobs.concat());
    }
    assert_eq!(numbers, (0..1 + 3 + 168 + 1).collect::<Vec<_>>());
}

#[test]
fn messages_for_other_parameters_are_refused() {
    let mut rng = ChaCha20Rng::seed_from_u64(12);
    let (mut sender, mut receiver) = set_up(2, &mut rng);
    let shape = |elements| [RotShape { planes: 1, elements, bits: 3 }];
    let (_, message) = receiver.extend(&shape(100));
    assert_eq!(
        sender.extend(&shape(129), &message).err(),
        Some(OtError::OtCount { expected: 256, found: 128 })
    );
    let (_, other) = set_up(4, &mut rng).1.extend(&shape(100));
    let mismatch = OtError::FieldBitsMismatch { expected: 2, found: 4 };
    assert_eq!(sender.extend(&shape(100), &other).err(), Some(mismatch.clone()));
    assert!(sender.extend(&shape(100), &message).is_ok());

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
