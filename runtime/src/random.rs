//! Randomness: one ChaCha20 generator a session, seeded by the operating system.
//!
//! Invariant: whatever this program draws comes from here, but for the keys and handshakes of TLS, which ring
//! draws. Without randomness there is an error, and no other source; `cargo xtask tidy` looks for one.

use heq_ir::diagnostic::{Code, Diagnostic};
use heq_mutation::broken;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use zeroize::{Zeroize, Zeroizing};

const SEED_BYTES: usize = 32;

pub(crate) const NO_RANDOMNESS_REMEDY: &str =
    "run where the operating system has random numbers: a sandbox may forbid getrandom";

/// Why there is no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRandomness {
    /// The operating system says so.
    #[error("the operating system's random number generator failed: {0}")]
    Failed(getrandom::Error),
    /// It gave the same twice, which by chance happens with probability `2^-256`.
    #[error("the operating system's random number generator repeats itself")]
    Repeats,
}

impl NoRandomness {
    /// The error as a diagnostic.
    pub(crate) fn describe(self) -> Diagnostic {
        let what = self.to_string();
        Diagnostic::new(Code::SystemResources, "random numbers", what, NO_RANDOMNESS_REMEDY)
    }
}

/// A generator with a fresh 256-bit seed from the operating system.
///
/// # Errors
/// [`NoRandomness`] if the operating system has none.
pub(crate) fn fresh_rng() -> Result<ChaCha20Rng, NoRandomness> {
    rng_from(getrandom::fill)
}

/// Fills `bytes` with randomness of the operating system.
///
/// # Errors
/// [`NoRandomness`] if it has none; what `bytes` then hold must not be used.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    fresh_rng()?.fill_bytes(bytes);
    Ok(())
}

/// A generator with a seed from `source`, of which the first two draws must differ.
fn rng_from(
    mut source: impl FnMut(&mut [u8]) -> Result<(), getrandom::Error>,
) -> Result<ChaCha20Rng, NoRandomness> {
    let mut draws = Zeroizing::new([[0; SEED_BYTES]; 2]);
    for draw in draws.iter_mut() {
        source(draw).map_err(NoRandomness::Failed)?;
    }
    let [first, second] = &*draws;
    if first == second {
        return Err(NoRandomness::Repeats);
    }
    let is_one = broken!(
        "every session has one generator",
        "heq-tests leakage nothing_of_two_sessions_is_equal"
    );
    Ok(ChaCha20Rng::from_seed(if is_one { [0; SEED_BYTES] } else { *first }))
}

/// A generator of its own for a task that runs beside others.
pub(crate) fn fork(rng: &mut ChaCha20Rng) -> ChaCha20Rng {
    let mut seed = [0; SEED_BYTES];
    rng.fill_bytes(&mut seed);
    if broken!(
        "tasks beside each other share a generator",
        "heq-tests leakage masks_and_seeds_of_a_run_are_distinct"
    ) {
        seed.fill(0);
    }
    let child = ChaCha20Rng::from_seed(seed);
    seed.zeroize();
    child
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::RunError;

    #[test]
    fn a_source_that_fails_or_repeats_itself_gives_no_generator() {
        let failed = getrandom::Error::UNEXPECTED;
        let mut calls = 0;
        let later = |bytes: &mut [u8]| {
            calls += 1;
            bytes.fill(calls);
            if calls > 1 { Err(failed) } else { Ok(()) }
        };
        let zeros = |_: &mut [u8]| Ok(());
        let stuck = |bytes: &mut [u8]| {
            bytes.fill(0xa5);
            Ok(())
        };
        let outcomes = [
            (rng_from(|_| Err(failed)), NoRandomness::Failed(failed)),
            (rng_from(later), NoRandomness::Failed(failed)),
            (rng_from(zeros), NoRandomness::Repeats),
            (rng_from(stuck), NoRandomness::Repeats),
        ];
        for (outcome, expected) in outcomes {
            let error = outcome.unwrap_err();
            assert_eq!(error, expected);
            let diagnostic = RunError::from(error).into_diagnostic();
            assert_eq!(diagnostic.code, Code::SystemResources);
        }
    }

    #[test]
    fn every_generator_is_another() {
        let mut draws: Vec<[u8; SEED_BYTES]> = Vec::new();
        let mut parent = fresh_rng().unwrap();
        for mut rng in [fork(&mut parent), fork(&mut parent), parent, fresh_rng().unwrap()] {
            let mut draw = [0; SEED_BYTES];
            rng.fill_bytes(&mut draw);
            draws.push(draw);
        }
        let mut filled = [0; SEED_BYTES];
        fill(&mut filled).unwrap();
        draws.push(filled);
        draws.sort_unstable();
        draws.dedup();
        assert_eq!(draws.len(), 5);
    }
}
