//! Time of what the parties do to a polynomial besides sums of products, one core, fixed seed:
//! requests, key switches, responses.
//!
//! Run with `cargo bench -p heq-he --bench rlwe`, and a part of a name to run what has it.

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use heq_he::client::SecretKey;
use heq_he::sampling::Seed;
use heq_he::server::{Request, ServerKeys, ZeroKey};
use heq_he::{GaloisKey, HeError, Ring, Window};
use heq_ir::params::{KeySwitchSpec, RlweParams, RlweSpec};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// N, bits of q, bits of P, digits.
const RINGS: [(usize, u32, u32, u32); 3] =
    [(2048, 36, 17, 3), (4096, 50, 40, 2), (4096, 70, 36, 2)];

const SHARE_BITS: u32 = 16;
const REQUEST_DROP_BITS: u32 = 4;
const RESPONSE_DROP_BITS: u32 = 10;

fn bench(criterion: &mut Criterion, ring: &Ring, rng: &mut ChaCha20Rng) -> Result<(), HeError> {
    let n = ring.params().ring_degree();
    let seed = Seed::derive(&[1; 32], "bench", 0);
    let (key, message) = SecretKey::generate(ring, &seed, rng);
    let zero = ZeroKey::decode(ring, &seed, &message, rng)?;
    let mut galois = Vec::new();
    let spacings = [8, 4, 2, 1];
    for spacing in spacings {
        let message = key.galois_key(ring, &seed, spacing, rng)?;
        galois.push(GaloisKey::decode(ring, &seed, spacing, &message)?);
    }
    let keys = ServerKeys::new(zero, galois);
    let window = Window::whole(ring);
    let mut measure = |name: &str, kernel: &mut dyn FnMut()| {
        let id = format!("{name}/{}", ring.params());
        criterion.bench_function(&id, |bencher| bencher.iter(&mut *kernel));
    };
    let elements = || (0..n).map(|index| (index, index as u64 * 31 % (1 << SHARE_BITS)));
    let mut encrypt =
        || key.encrypt(ring, &seed, elements(), SHARE_BITS, window, REQUEST_DROP_BITS, rng);
    measure("request/encrypt", &mut || drop(black_box(encrypt())));
    let message = encrypt();
    let mut decode = || {
        let (bits, drop_bits) = (SHARE_BITS, REQUEST_DROP_BITS);
        Request::decode(ring, &seed, &message, elements(), bits, window, drop_bits, rng)
    };
    measure("request/decode", &mut || drop(black_box(decode())));
    let request = decode()?;
    let leaf = |_| request.parts().map(<[u64]>::to_vec);
    let mut respond = |leaves| {
        let spacings = if leaves == 1 { &[][..] } else { &spacings };
        let (bits, drop_bits) = (SHARE_BITS + 1, RESPONSE_DROP_BITS);
        keys.respond(ring, spacings, leaves, leaf, 0..n, bits, drop_bits, rng)
    };
    measure("response/respond", &mut || drop(black_box(respond(1))));
    measure("response/merge16", &mut || drop(black_box(respond(16))));
    let (message, _) = respond(1)?;
    let mut share =
        || key.share_response(ring, &message, RESPONSE_DROP_BITS, 0..n, SHARE_BITS + 1, rng);
    measure("response/share", &mut || drop(black_box(share())));
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(250))
        .without_plots()
        .configure_from_args();
    let mut rng = ChaCha20Rng::seed_from_u64(0);
    for (ring_degree, modulus_bits, special_bits, digits) in RINGS {
        let key_switch = Some(KeySwitchSpec { special_bits, digits });
        let spec = RlweSpec { ring_degree, modulus_bits, key_switch };
        bench(&mut criterion, &Ring::new(RlweParams::check(spec)?), &mut rng)?;
    }
    criterion.final_summary();
    Ok(())
}
