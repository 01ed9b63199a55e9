//! One session of a client and a server, each with a ring of its own.
#![allow(dead_code, reason = "every test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "clippy exempts test functions, not their helpers")]

use heq_he::client::SecretKey;
use heq_he::sampling::Seed;
use heq_he::server::{ServerKeys, ZeroKey};
use heq_he::{GaloisKey, Ring};
use heq_ir::params::{KeySwitchSpec, RlweParams, RlweSpec};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

/// Parameters from `(N, bits of q)` and `(bits of P, digits)`.
pub(crate) fn params(
    (ring_degree, modulus_bits): (usize, u32),
    key_switch: Option<(u32, u32)>,
) -> RlweParams {
    let key_switch =
        key_switch.map(|(special_bits, digits)| KeySwitchSpec { special_bits, digits });
    RlweParams::check(RlweSpec { ring_degree, modulus_bits, key_switch }).unwrap()
}

/// The halves of a session.
pub(crate) struct Session {
    pub(crate) client: Ring,
    pub(crate) key: SecretKey,
    pub(crate) server: Ring,
    pub(crate) keys: ServerKeys,
}

impl Session {
    /// Draws keys; the server can merge at `spacings`.
    pub(crate) fn new(params: RlweParams, spacings: &[usize], rng: &mut ChaCha20Rng) -> Self {
        let (client, server) = (Ring::new(params), Ring::new(params));
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        let a_prime = Seed::derive(&nonce, "zero key", 0);
        let (key, message) = SecretKey::generate(&client, &a_prime, rng);
        assert_eq!(message.len() as u64, params.polynomial_bytes(0));
        let zero = ZeroKey::decode(&server, &a_prime, &message, rng).unwrap();
        let galois = spacings.iter().map(|&spacing| {
            let seed = Seed::derive(&nonce, "galois key", spacing as u64);
            let message = key.galois_key(&client, &seed, spacing, rng).unwrap();
            assert_eq!(message.len() as u64, params.galois_key_bytes());
            GaloisKey::decode(&server, &seed, spacing, &message).unwrap()
        });
        let keys = ServerKeys::new(zero, galois.collect());
        Self { client, key, server, keys }
    }
}
