//! The server's view of a linear layer: requests.

use super::session::{Session, params};
use super::statistics::check_uniform;
use heq_he::Window;
use heq_he::sampling::Seed;
use heq_ir::packing::{unpack_bits, unpack_wide_bits};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

const SHARE_BITS: u32 = 12;

/// Coefficients of a test.
const COEFFICIENTS: usize = 1_000_000;

#[test]
fn requests_are_uniform_whatever_the_input_is() {
    for (ring, drop_bits, length) in
        [((2048, 36), 0, 2048), ((2048, 36), 7, 1500), ((1024, 26), 3, 1024)]
    {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let Session { client, key, .. } = Session::new(params(ring, None), &[], &mut rng);
        let window = Window::new(&client, (100, length));
        let (bits, last) = (ring.1 - drop_bits, ring.0 - 1);
        type Input<'a> = &'a dyn Fn(&mut ChaCha20Rng) -> u64;
        let inputs: [(&str, Input<'_>); 3] = [
            ("zero", &|_| 0),
            ("largest", &|_| (1 << SHARE_BITS) - 1),
            ("random", &|rng| rng.next_u64() & ((1 << SHARE_BITS) - 1)),
        ];
        for (name, input) in inputs {
            let mut words = Vec::new();
            for index in 0..COEFFICIENTS.div_ceil(length) {
                let values: Vec<(usize, u64)> =
                    (0..length).map(|i| ((100 + i) & last, input(&mut rng))).collect();
                let seed = Seed::derive(&[3; 32], "request", index as u64);
                let elements = values.into_iter();
                let message =
                    key.encrypt(&client, &seed, elements, SHARE_BITS, window, drop_bits, &mut rng);
                words.extend(unpack_bits(&message, bits, length).unwrap());
            }
            let range = client.params().modulus().div_ceil(1 << drop_bits);
            check_uniform(&format!("{ring:?}, input {name}"), &words, range);
        }
    }
}

/// A request holds the high bits of the coefficients of its window and nothing else: the same as one that
/// drops no bit, cut off.
#[test]
fn what_is_dropped_does_not_travel() {
    for ring in [(2048, 36), (4096, 72)] {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let Session { client, key, .. } = Session::new(params(ring, None), &[], &mut rng);
        let seed = Seed::derive(&[3; 32], "request", 0);
        let encrypt = |length: usize, drop_bits: u32, values: &[(usize, u64)]| {
            let window = Window::new(&client, (0, length));
            // The same errors, and the same coins.
            let rng = &mut ChaCha20Rng::seed_from_u64(3);
            let elements = values.iter().copied();
            let message = key.encrypt(&client, &seed, elements, SHARE_BITS, window, drop_bits, rng);
            let bits = ring.1 - drop_bits;
            assert_eq!(message.len(), (length * bits as usize).div_ceil(8));
            unpack_wide_bits(&message, bits, length).unwrap()
        };
        let values: Vec<_> = (0..300).map(|i| (i, (i as u64 * 13) & 0xfff)).collect();
        let (whole, cut) = (encrypt(300, 0, &values), encrypt(300, 9, &values));
        assert!(whole.iter().map(|word| word >> 9).eq(cut), "{ring:?}");
        let (wide, narrow) = (encrypt(ring.0, 0, &[]), encrypt(300, 0, &[]));
        assert_eq!(wide[..300], narrow, "{ring:?}");
    }
}
