//! Mutated files, bytes and structure: no panic, no hang, no memory beyond the limit, no diagnostic
//! that blames the program. The fuzz target in tests/fuzz does the same without end.

mod bytes;
mod structure;

use crate::memory::take_peak;
use heq_tests::onnx::builder::encode;
use heq_tests::onnx::exercise::{Outcome, exercise};
use heq_tests::onnx::generate::{Limits, generate};
use prost::Message;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tract_onnx::pb::ModelProto;

/// Files: all of them in release builds, fewer where code is not optimized.
const FILES: u64 = if cfg!(debug_assertions) { 1_000 } else { 10_000 };

/// Models that are mutated.
const MODELS: u64 = 48;

/// Longest time that one file may take.
const MOST_TIME: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 3 });

/// Most memory that one file may take, with all other tests of this program, in bytes.
const MOST_MEMORY: usize = 512 << 20;

/// Time after which a file hangs.
const HANG: Duration = Duration::from_secs(60);

/// Random choices of a mutation.
struct Dice(ChaCha20Rng);

impl Dice {
    fn draw(&mut self, lo: i64, hi: i64) -> i64 {
        lo + (self.0.next_u64() % (hi - lo + 1).cast_unsigned()).cast_signed()
    }

    fn index(&mut self, count: usize) -> usize {
        self.draw(0, count.max(1) as i64 - 1) as usize
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.index(list.len())]
    }
}

fn models() -> Vec<ModelProto> {
    (0..MODELS).map(|seed| generate(seed, Limits { wide: false, steps: 3 }).model).collect()
}

/// The file of a seed: bytes mutated if it is even, structure if it is odd.
fn mutated(models: &[ModelProto], seed: u64) -> Vec<u8> {
    let mut dice = Dice(ChaCha20Rng::seed_from_u64(seed));
    let model = &models[dice.index(models.len())];
    if seed.is_multiple_of(2) {
        let other = encode(&models[dice.index(models.len())]);
        return bytes::mutate(&mut dice, encode(model), &other);
    }
    let mut model = model.clone();
    for _ in 0..dice.draw(1, 2) {
        structure::mutate(&mut dice, &mut model);
    }
    model.encode_to_vec()
}

#[test]
fn mutated_files_do_no_harm() {
    let models = models();
    static CURRENT: AtomicU64 = AtomicU64::new(0);
    std::thread::spawn(|| {
        let mut last = (u64::MAX, Instant::now());
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let current = CURRENT.load(Ordering::Relaxed);
            if current == FILES {
                return;
            }
            if current != last.0 {
                last = (current, Instant::now());
            } else if last.1.elapsed() > HANG {
                eprintln!("seed {current} hangs");
                std::process::exit(101);
            }
        }
    });
    let mut failed = Vec::new();
    let mut slowest = (Duration::ZERO, 0);
    let mut largest = (0, 0);
    let mut counts = [0; 3];
    for seed in 0..FILES {
        CURRENT.store(seed, Ordering::Relaxed);
        let bytes = mutated(&models, seed);
        take_peak();
        let (mut outcome, mut time) = timed(&bytes);
        if time > MOST_TIME {
            // Other work on the machine does not repeat itself.
            (outcome, time) = timed(&bytes);
        }
        let peak = take_peak();
        slowest = slowest.max((time, seed));
        largest = largest.max((peak, seed));
        let what = match outcome {
            Some(Ok(_)) if time > MOST_TIME => format!("takes {time:?}"),
            Some(Ok(_)) if peak > MOST_MEMORY => format!("takes {} MiB", peak >> 20),
            Some(Ok(outcome)) => {
                counts[outcome as usize] += 1;
                continue;
            }
            Some(Err(found)) => found,
            None => "panics".to_owned(),
        };
        eprintln!("seed {seed}: {what}");
        failed.push(seed);
    }
    CURRENT.store(FILES, Ordering::Relaxed);
    let [refused, imported, compiled] = counts;
    println!(
        "{FILES} files: {refused} refused, {imported} imported, {compiled} compiled; slowest {:?} \
         (seed {}), largest {} MiB (seed {})",
        slowest.0,
        slowest.1,
        largest.0 >> 20,
        largest.1
    );
    assert!(failed.is_empty(), "{} seeds: {failed:?}", failed.len());
    assert!(compiled > 0 && refused > FILES / 4, "mutations are too weak or too strong");
}

/// What a file comes to, `None` for a panic, and how long that takes.
fn timed(bytes: &[u8]) -> (Option<Result<Outcome, String>>, Duration) {
    let start = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| exercise(bytes)));
    let outcome = outcome.ok().map(|outcome| outcome.map_err(|found| found.to_string()));
    (outcome, start.elapsed())
}

#[test]
fn unmutated_models_compile() {
    for (seed, model) in models().iter().enumerate() {
        assert_eq!(exercise(&encode(model)).unwrap(), Outcome::Compiled, "seed {seed}");
    }
}

/// Models that the fuzz target starts from.
const SEEDS: u64 = 12;

fn seed_file(seed: u64) -> PathBuf {
    heq_tests::root().join(format!("tests/fuzz/seeds/onnx_import/{seed}.onnx"))
}

/// Every seed is a model that compiles; `HEQ_BLESS=1` writes them anew from the generator.
#[test]
fn seeds_of_the_fuzz_target_are_models() {
    if std::env::var_os("HEQ_BLESS").is_some() {
        let models = models();
        let small = models.iter().map(encode).filter(|bytes| bytes.len() < 4 << 10);
        for (seed, bytes) in (0..SEEDS).zip(small.collect::<Vec<_>>()) {
            std::fs::create_dir_all(seed_file(seed).parent().unwrap()).unwrap();
            std::fs::write(seed_file(seed), bytes).unwrap();
        }
    }
    for seed in 0..SEEDS {
        let bytes = std::fs::read(seed_file(seed)).unwrap();
        assert_eq!(exercise(&bytes).unwrap(), Outcome::Compiled, "seed {seed}");
    }
}
