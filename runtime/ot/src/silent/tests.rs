//! Tests of silent OT that look below the hash: the correlation and the noise on raw rows.
//!
//! The tests through the public interface alone are in `tests/silent.rs`.

use std::collections::HashSet;
use std::sync::Mutex;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::code::Code;
use super::*;
use crate::OtError;
use crate::bits::ChoiceBits;
use crate::rot::{RotSenderBatch, RotShape, TILE_ROWS};
use crate::simd::Path;
use crate::softspoken::Delta;

const SESSION: SessionId = SessionId([1; 32]);

/// Both parties after ideal correlated OTs with Delta.
fn set_up(config: SilentConfig, seed: u64) -> (Sender, Receiver, Block) {
    set_up_on(Path::fastest(), config, seed)
}

fn set_up_on(path: Path, config: SilentConfig, seed: u64) -> (Sender, Receiver, Block) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let delta = Delta::random_odd(&mut rng);
    let shift = delta.block();
    let choices = ChoiceBits::random(config.bootstrap_rows(), &mut rng);
    let q: Vec<_> = choices.iter().map(|_| Block::random(&mut rng)).collect();
    let t = choices.iter().zip(&q).map(|(c, q)| if c { *q ^ shift } else { *q }).collect();
    let sender = Sender::on(path, config, &SESSION, 0, delta, Zeroizing::new(q)).unwrap();
    let receiver = Receiver::on(path, config, &SESSION, 0, &choices, Zeroizing::new(t)).unwrap();
    (sender, receiver, shift)
}

fn iterate(sender: &mut Sender, receiver: &mut Receiver) {
    let mut message = SilentMessage::zero(sender.stock.config, 1);
    message.parts_mut().for_each(|sums| sender.iterate(sums));
    message.parts().for_each(|sums| receiver.iterate(sums));
}

#[test]
fn rows_satisfy_the_correlation_in_every_iteration() {
    for config in SilentConfig::SIZES {
        let (mut sender, mut receiver, delta) = set_up(config, 1);
        for iteration in 0..3 {
            let name = format!("{config:?} iteration {iteration}");
            iterate(&mut sender, &mut receiver);
            let mut ones = 0;
            for (q, t) in sender.stock.rows.iter().zip(&*receiver.stock.rows) {
                assert_eq!(choice(*q), 0, "{name}");
                assert_eq!(*t, if choice(*t) == 1 { *q ^ delta } else { *q }, "{name}");
                ones += choice(*t);
            }
            let rows = config.rows() as u64;
            assert!(ones.abs_diff(rows / 2) < 3 * rows.isqrt(), "{name}: {ones} ones");
        }
    }
}

#[test]
fn noise_is_one_uniform_place_a_tree() {
    let code = Code::new(Path::fastest(), derive_key(&SESSION, 0, KeyUse::Code));
    for config in SilentConfig::SIZES {
        let (mut sender, mut receiver, _) = set_up(config, 2);
        let (depth, size) = (config.tree_depth(), 1 << config.tree_depth());
        let mut at_bit = vec![0_usize; depth];
        let mut places = HashSet::new();
        for _ in 0..2 {
            let state = receiver.stock.state.clone();
            iterate(&mut sender, &mut receiver);
            let mut noise = receiver.stock.rows.clone();
            code.add(0, &state[..config.secret_rows()], &mut noise);
            let tree_rows = state[config.secret_rows()..].chunks_exact(depth);
            for (tree, rows) in noise.chunks_exact(size).zip(tree_rows) {
                let noisy: Vec<_> = (0..size).filter(|&x| choice(tree[x]) == 1).collect();
                let path =
                    rows.iter().rev().fold(0, |x, row| (x << 1) | usize::from(choice(*row) == 0));
                assert_eq!(noisy, [path], "{config:?}");
                places.insert(path);
                for (bit, count) in at_bit.iter_mut().enumerate() {
                    *count += (path >> bit) & 1;
                }
            }
        }
        let trees = 2 * config.noise_weight();
        for count in at_bit {
            assert!(
                count.abs_diff(trees / 2) < 3 * trees.isqrt(),
                "{config:?}: {count} of {trees}"
            );
        }
        // So many of `size` places are met by that many draws.
        let expected = size as f64 * (1.0 - (-(trees as f64) / size as f64).exp());
        let met = places.len() as f64;
        assert!((met - expected).abs() < 0.05 * expected, "{config:?}: {met} of {expected}");
    }
}

#[test]
fn rows_are_handed_out_once_and_under_numbers_of_their_own() {
    let config = SilentConfig::SIZES[0];
    let (mut sender, mut receiver, _) = set_up(config, 3);
    let (mut rows, mut tiles) = (HashSet::new(), Vec::new());
    for _ in 0..3 {
        iterate(&mut sender, &mut receiver);
        for elements in [1, 1000, 128, 100_000, 200_000] {
            let wanted = RotShape { planes: 1, elements, bits: 1 };
            let mut batch = RotSenderBatch::zeros(wanted);
            let mut jobs = sender.stock.split(batch.stretches());
            let seen = Mutex::new(Vec::new());
            let mut left = wanted.tiles();
            sender.stock.hand_out(&mut left, &mut jobs, |tile, rows, _| {
                seen.lock().unwrap().push((tile, *rows));
            });
            for (tile, taken) in seen.into_inner().unwrap() {
                tiles.push(tile);
                taken
                    .iter()
                    .for_each(|row| assert!(rows.insert(row.to_u128()), "a row came twice"));
            }
        }
        assert_eq!(sender.rows_left(), 0);
        for kept in &*sender.stock.state {
            assert!(!rows.contains(&kept.to_u128()), "a row was handed out and kept");
        }
    }
    let count = 3 * config.output_rows() / TILE_ROWS;
    tiles.sort_unstable();
    assert_eq!(tiles, (0..count as u64).collect::<Vec<_>>());
}

#[test]
fn keys_of_silent_ot_are_separated() {
    let other = SessionId([2; 32]);
    let keys = [(SESSION, 0, KeyUse::Code), (other, 0, KeyUse::Code), (SESSION, 1, KeyUse::Code)];
    let mut keys = keys.map(|(session, tag, usage)| derive_key(&session, tag, usage)).to_vec();
    keys.push(derive_key(&SESSION, 0, KeyUse::Trees));
    for (index, key) in keys.iter().enumerate() {
        assert!(!keys[..index].contains(key), "{index}");
    }
}

/// The same secret rows and rows of trees make other rows in the next iteration: its trees have keys of
/// their own.
#[test]
fn keys_of_trees_serve_one_iteration() {
    let config = SilentConfig::SIZES[0];
    let (mut sender, _, _) = set_up(config, 8);
    let state = sender.stock.state.clone();
    let rows = [(); 2].map(|()| {
        sender.stock.state.copy_from_slice(&state);
        let mut message = SilentMessage::zero(config, 1);
        message.parts_mut().for_each(|sums| sender.iterate(sums));
        sender.stock.rows.clone()
    });
    let equal = rows[0].iter().zip(&*rows[1]).filter(|(a, b)| a == b).count();
    assert_eq!(equal, 0);
}

/// Digest of the second message and of the rows of both parties after it.
fn digest(path: Path, config: SilentConfig) -> String {
    let (mut sender, mut receiver, _) = set_up_on(path, config, 6);
    iterate(&mut sender, &mut receiver);
    let mut message = SilentMessage::zero(config, 1);
    message.parts_mut().for_each(|sums| sender.iterate(sums));
    message.parts().for_each(|sums| receiver.iterate(sums));
    let mut digest = Sha256::new_with_prefix(message.encode());
    for rows in [&sender.stock.rows, &receiver.stock.rows] {
        rows.iter().for_each(|row| digest.update(row.to_bytes()));
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn rows_are_fixed_by_what_they_begin_with() {
    let expected = [
        "69331369698d8ab5",
        "a8c4f100779bd88a",
        "51576cf093054865",
        "fe92e03ba05f21f3",
        "16cd1c18dd2fbbec",
    ];
    for path in Path::all() {
        assert_eq!(SilentConfig::SIZES.map(|config| digest(path, config)), expected, "{path:?}");
    }
}

#[test]
fn rows_are_the_same_on_any_number_of_threads() {
    let config = SilentConfig::SIZES[0];
    let rows = [1, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (mut sender, mut receiver, _) = set_up(config, 4);
        pool.install(|| iterate(&mut sender, &mut receiver));
        (sender.stock.rows, receiver.stock.rows)
    });
    assert!(rows[0] == rows[1]);
}

#[test]
fn wrong_beginnings_are_refused() {
    let config = SilentConfig::SIZES[0];
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let expected = config.bootstrap_rows();
    let rows = |count| Zeroizing::new(vec![Block::ZERO; count]);
    for found in [0, expected - 1, expected + 1] {
        let error = Some(OtError::BootstrapRows { expected, found });
        let delta = Delta::random_odd(&mut rng);
        assert_eq!(Sender::new(config, &SESSION, 0, delta, rows(found)).err(), error);
        let choices = ChoiceBits::from_words(Vec::new(), found);
        assert_eq!(Receiver::new(config, &SESSION, 0, &choices, rows(found)).err(), error);
        let error = Some(OtError::BootstrapRows { expected, found });
        assert_eq!(Receiver::new(config, &SESSION, 0, &choices, rows(expected)).err(), error);
    }
    let mut even = Delta::random(&mut rng);
    while even.is_odd() {
        even = Delta::random(&mut rng);
    }
    let error = Sender::new(config, &SESSION, 0, even, rows(expected)).err();
    assert_eq!(error, Some(OtError::EvenDelta));
}
