//! Between shares mod a power of two and residues mod q.
//!
//! Encoding maps `m` mod `2^l` to `q*m / 2^l`, rounded up or down at random so that the mean of the
//! error is zero whatever `m` is: in the first layer the client's share is the input itself, and a
//! fixed error of equal pixels would add up. A wrap of shares is a wrap mod q and costs no noise. The
//! way back is distributed decryption with local rounding: `C0 + C1*s` is already
//! a sharing mod q; with `T = 2^(l+g)` the client takes `floor(T*v/q)`, the server
//! `floor(T*(C0 + 3q/(2T))/q)`, and the two sum to `2^g*y + delta`, `delta` in `{0, 1}`, while the
//! noise stays within `q/(2T)`. Source: [BKS19, Section 4]; proof: docs/protocols/linear.md.

use crate::modulus::Modulus;

/// `q*m / 2^bits mod q` for `m < 2^bits`, rounded up with the probability of its fractional part;
/// `random` is uniform. The error has mean zero and variance at most 1/4.
pub(crate) fn encode(m: u64, bits: u32, modulus: &Modulus, random: u64) -> u64 {
    let scaled = u128::from(modulus.value()) * u128::from(m);
    modulus.reduce((scaled + u128::from(random & mask(bits))) >> bits)
}

/// The client's share mod `2^bits` of a response coefficient: `floor(2^bits * v / q)`.
pub(crate) fn round_client(v: u64, bits: u32, modulus: &Modulus) -> u64 {
    modulus.quotient(u128::from(v) << bits) & mask(bits)
}

/// The server's share mod `2^bits`: `floor(2^bits * c0 / q + 3/2)`.
pub(crate) fn round_server(c0: u64, bits: u32, modulus: &Modulus) -> u64 {
    let doubled = (u128::from(c0) << (bits + 1)) + 3 * u128::from(modulus.value());
    modulus.quotient(doubled / 2) & mask(bits)
}

fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shares_of_a_noisy_value_sum_to_it(
            y in 0_u64..1 << 20, v: u64, random: u64, noise in -0.499_f64..0.499, big in any::<bool>(),
        ) {
            let modulus = Modulus::new(if big { (1 << 61) - 1 } else { (1 << 50) - 27 });
            let (l, g) = (20, 1);
            let window = modulus.value() as f64 / f64::from(l + g).exp2();
            #[expect(clippy::cast_possible_truncation, reason = "a test value")]
            let noise = (noise * window) as i64;
            let v = v % modulus.value();
            let phase = modulus.add(encode(y, l, &modulus, random), modulus.from_signed(noise));
            let c0 = modulus.sub(phase, v);
            let sum = round_client(v, l + g, &modulus) + round_server(c0, l + g, &modulus);
            let delta = sum.wrapping_sub(y << g) & mask(l + g);
            prop_assert!(delta <= 1, "delta = {}", delta);
        }

        #[test]
        fn encoding_has_no_bias(m in 0_u64..1 << 10) {
            let modulus = Modulus::new((1 << 61) - 1);
            let encoded = (0..1 << 10).map(|random| u128::from(encode(m, 10, &modulus, random)));
            // The mean over all random values is q*m / 2^10 exactly.
            prop_assert_eq!(encoded.sum::<u128>(), u128::from(modulus.value()) * u128::from(m));
        }

        #[test]
        fn rounding_agrees_with_division(value: u64, bits in 1_u32..49) {
            let modulus = Modulus::new((1 << 61) - 1);
            let value = value % modulus.value();
            let exact = (u128::from(value) << bits) / u128::from(modulus.value());
            prop_assert_eq!(u128::from(round_client(value, bits, &modulus)), exact % (1 << bits));
        }
    }
}
