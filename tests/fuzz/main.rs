//! A bounded run of all fuzz targets on stable Rust: their seeds, and random changes of them.
//!
//! libFuzzer goes on where this ends: [README](README.md).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

use heq_tests::fuzz::{TARGETS, Target, mutate, seed_folder};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use zip::ZipArchive;

/// The seconds that each target is run for.
const SECONDS: &str = "HEQ_FUZZ_SECONDS";

/// Where that is not given.
const FEW_SECONDS: f64 = 1.0;

/// A folder that the seeds of all targets are written to, for libFuzzer to begin with.
const SEEDS: &str = "HEQ_FUZZ_SEEDS";

/// Longest time for one input, many times what any takes.
const MOST_TIME: Duration = Duration::from_secs(10);

/// Of the folder of a target, the archive of what libFuzzer found: inputs that together reach all that was
/// ever reached.
const FOUND: &str = "found.zip";

/// What a target starts from: what honest parties write, the files of its folder, what was found.
fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let mut seeds = (target.seeds)();
    let folder = std::fs::read_dir(seed_folder(target.name)).unwrap();
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        if file.ends_with(FOUND) {
            seeds.extend(found(&file));
        } else {
            seeds.push(std::fs::read(file).unwrap());
        }
    }
    seeds
}

fn found(archive: &Path) -> Vec<Vec<u8>> {
    let mut archive = ZipArchive::new(File::open(archive).unwrap()).unwrap();
    let count = archive.len();
    let read = |index| {
        let mut bytes = Vec::new();
        archive.by_index(index).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    (0..count).map(read).collect()
}

/// Runs a target on one input; `which` reproduces it.
fn check(target: &Target, bytes: &[u8], which: &str) {
    let start = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes)));
    let fault = match outcome {
        Ok(Ok(())) if start.elapsed() > MOST_TIME => format!("takes {:?}", start.elapsed()),
        Ok(Ok(())) => return,
        Ok(Err(fault)) => fault,
        Err(_) => "panics".to_owned(),
    };
    let path = std::env::temp_dir().join(format!("heq-fuzz-{}", target.name));
    std::fs::write(&path, bytes).unwrap();
    panic!("{}, {which}: {fault}; the input is in {}", target.name, path.display());
}

#[test]
fn targets_survive_what_they_start_from_and_changes_of_it() {
    let seconds = std::env::var(SECONDS).map_or(FEW_SECONDS, |text| text.parse().unwrap());
    for target in TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        if let Some(folder) = std::env::var_os(SEEDS) {
            let folder = PathBuf::from(folder).join(target.name);
            std::fs::create_dir_all(&folder).unwrap();
            for (index, seed) in seeds.iter().enumerate() {
                std::fs::write(folder.join(format!("seed-{index}")), seed).unwrap();
            }
        }
        for (index, seed) in seeds.iter().enumerate() {
            check(target, seed, &format!("seed {index}"));
        }
        let start = Instant::now();
        let mut inputs = 0;
        while start.elapsed().as_secs_f64() < seconds {
            let mut rng = ChaCha20Rng::seed_from_u64(inputs);
            let mut pick = || &seeds[(rng.next_u64() % seeds.len() as u64) as usize];
            let (seed, other) = (pick().clone(), pick());
            let bytes = mutate(&mut rng, seed, other);
            check(target, &bytes, &format!("input {inputs}"));
            inputs += 1;
        }
        println!("{}: {} seeds, {inputs} inputs", target.name, seeds.len());
    }
}
