//! Randomness: one ChaCha20 generator a session, seeded by the operating system.

use crate::error::RunError;
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
    let rng = ChaCha20Rng::from_seed(seed);
    seed.zeroize();
    Ok(rng)
}

/// A generator of its own for a task that runs beside others.
pub(crate) fn fork(rng: &mut ChaCha20Rng) -> ChaCha20Rng {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    let child = ChaCha20Rng::from_seed(seed);
    seed.zeroize();
    child
}
