//! Randomness: one ChaCha20 generator a session, seeded by the operating system.

use crate::error::RunError;
use heq_mutation::broken;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use zeroize::Zeroize;

/// A generator with a fresh 256-bit seed from the operating system.
///
/// # Errors
/// [`RunError::Randomness`] if the operating system has none.
pub(crate) fn fresh_rng() -> Result<ChaCha20Rng, RunError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(RunError::Randomness)?;
    if broken!(
        "every session has one generator",
        "heq-tests leakage nothing_of_two_sessions_is_equal"
    ) {
        seed.fill(0);
    }
    let rng = ChaCha20Rng::from_seed(seed);
    seed.zeroize();
    Ok(rng)
}

/// A generator of its own for a task that runs beside others.
pub(crate) fn fork(rng: &mut ChaCha20Rng) -> ChaCha20Rng {
    let mut seed = [0; 32];
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
