//! The keys of one parameter set: what the client sends before any request.
//!
//! First the key with which the server encrypts zeros; then, if responses are merged, one message for
//! every Galois element, in descending order of the spacings. The uniform halves of all of them are
//! expanded from seeds that the **server** chose. docs/protocols/linear.md.

use crate::error::RunError;
use heq_he::client::SecretKey;
use heq_he::sampling::Seed;
use heq_he::server::{ServerKeys, ZeroKey};
use heq_he::{GaloisKey, Ring};
use heq_net::Channel;
use rand_chacha::ChaCha20Rng;

/// The parameter set that keys are for.
#[derive(Clone, Copy, Debug)]
pub struct KeySet<'a> {
    /// Its index in the plan.
    pub index: usize,
    /// The spacings of the Galois elements that its layers merge responses with, in the order in which
    /// the keys travel: `Plan::galois_spacings`.
    pub spacings: &'a [usize],
    /// What the **server** drew for this session.
    pub nonce: &'a [u8; 32],
}

impl KeySet<'_> {
    fn zero_seed(&self) -> Seed {
        Seed::derive(self.nonce, "zero key", self.index as u64)
    }

    /// Spacings are below `2^32`, as ring degrees are.
    fn galois_seed(&self, spacing: usize) -> Seed {
        Seed::derive(self.nonce, "galois key", (self.index as u64) << 32 | spacing as u64)
    }
}

/// The client's side: draws a secret key and sends what the server needs.
///
/// **Security**: the server sees RLWE samples, of which the Galois keys hide images of the secret.
///
/// # Errors
/// [`RunError`] if the peer goes away, or the parameters have no keys for the spacings.
pub fn client(
    channel: &mut Channel,
    ring: &Ring,
    set: KeySet<'_>,
    rng: &mut ChaCha20Rng,
) -> Result<SecretKey, RunError> {
    let (key, message) = SecretKey::generate(ring, &set.zero_seed(), rng);
    channel.send(&message)?;
    for &spacing in set.spacings {
        channel.send(&key.galois_key(ring, &set.galois_seed(spacing), spacing, rng)?)?;
    }
    Ok(key)
}

/// The server's side.
///
/// # Errors
/// [`RunError`] if the peer goes away or sends a malformed key, or the parameters have no keys for the
/// spacings.
pub fn server(
    channel: &mut Channel,
    ring: &Ring,
    set: KeySet<'_>,
    rng: &mut ChaCha20Rng,
) -> Result<ServerKeys, RunError> {
    let length = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let message = channel.recv(length(ring.params().polynomial_bytes(0)))?;
    let zero = ZeroKey::decode(ring, &set.zero_seed(), &message, rng)?;
    let mut galois = Vec::with_capacity(set.spacings.len());
    for &spacing in set.spacings {
        let message = channel.recv(length(ring.params().galois_key_bytes()))?;
        galois.push(GaloisKey::decode(ring, &set.galois_seed(spacing), spacing, &message)?);
    }
    Ok(ServerKeys::new(zero, galois))
}
