//! Between shares mod a power of two and residues mod q.
//!
//! Encoding maps `m` mod `2^l` to `q*m / 2^l`, rounded up or down at random so that the mean of the
//! error is zero whatever `m` is: in the first layer the client's share is the input itself, and a
//! fixed error of equal pixels would add up. A wrap of shares is a wrap mod q and costs no noise. The
//! way back is distributed decryption with local rounding: `C0 + C1*s` is already
//! a sharing mod q; with `T = 2^(l+g)` the client takes `floor(T*v/q)`, the server
//! `floor(T*(C0 + 3q/(2T))/q)`, and the two sum to `2^g*y + delta`, `delta` in `{0, 1}`, while the
//! noise stays within `q/(2T)`. That is so for every number `g` of guard bits: they make room for what
//! the deltas of several accumulators add up to. Source: [BKS19, Section 4]; proof: docs/protocols/linear.md.

use crate::Ring;
use crate::narrow::IntegerModulus;
use crate::sampling::Stream;
use heq_mutation::broken;

/// Adds `q*m / 2^bits`, rounded at random, to the residues of every coefficient in `elements`, which
/// are `(coefficient, m)` with `m < 2^bits`.
pub(crate) fn add_encoded(
    ring: &Ring,
    residues: &mut [u64],
    elements: impl Iterator<Item = (usize, u64)>,
    bits: u32,
    stream: &mut Stream,
) {
    if let Some(modulus) = &ring.narrow {
        for (index, m) in elements {
            let residue = &mut residues[index];
            *residue = modulus.normalise(*residue + encode(m, bits, modulus, stream.next_word()));
        }
        return;
    }
    for (index, m) in elements {
        let encoded = encode(m, bits, &ring.modulus, stream.next_word());
        for (modulus, limb) in ring.limbs() {
            let residue = &mut residues[limb.start + index];
            *residue = modulus.add(*residue, modulus.reduce(encoded));
        }
    }
}

/// Who rounds its part of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    /// Of `v = C1*s`, down.
    Client,
    /// Of `C0`, with the `3q/(2T)` that centres the sum.
    Server,
}

/// A party's shares mod `2^bits` of the coefficients at `positions`.
pub(crate) fn shares(
    ring: &Ring,
    residues: &[u64],
    positions: impl Iterator<Item = usize>,
    bits: u32,
    party: Party,
) -> Vec<u64> {
    match &ring.narrow {
        Some(modulus) => collect(ring, positions.map(|i| round(residues[i], bits, modulus, party))),
        None => collect(
            ring,
            positions.map(|i| round(ring.join(residues, i), bits, &ring.modulus, party)),
        ),
    }
}

/// The shares of distinct coefficients, in a buffer that holds all of them: one that grows leaves copies.
fn collect(ring: &Ring, shares: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut buffer = Vec::with_capacity(ring.params().ring_degree());
    buffer.extend(shares);
    buffer
}

/// `q*m / 2^bits mod q` for `m < 2^bits`, rounded up with the probability of its fractional part;
/// `random` is uniform. The error has mean zero and variance at most 1/4.
#[inline]
fn encode<M: IntegerModulus>(m: u64, bits: u32, modulus: &M, random: u64) -> M::Integer {
    let is_broken = broken!("shares are encoded rounded down", "heq-he lib encoding_has_no_bias");
    let random = if is_broken { 0 } else { random };
    modulus.scale(m, random & mask(bits), bits)
}

/// A party's share mod `2^bits` of a response coefficient: the client's is `floor(2^bits * v / q)`, the
/// server's `floor(2^bits * c0 / q + 3/2)`.
#[inline]
fn round<M: IntegerModulus>(value: M::Integer, bits: u32, modulus: &M, party: Party) -> u64 {
    let (quotient, has_half) = modulus.divide_shifted(value, bits);
    let is_broken = broken!(
        "the server rounds without the offset",
        "heq-he lib shares_of_a_noisy_value_sum_to_it"
    );
    let centre = match party {
        Party::Server if !is_broken => 1 + u64::from(has_half),
        Party::Client | Party::Server => 0,
    };
    quotient.wrapping_add(centre) & mask(bits)
}

fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wide::WideModulus;
    use num_bigint::BigUint;
    use proptest::prelude::*;

    /// One prime, two, and the widest.
    const MODULI: [u128; 4] = [(1 << 50) - 27, (1 << 61) - 1, (1 << 89) - 1, (1 << 120) - 119];

    proptest! {
        #[test]
        fn shares_of_a_noisy_value_sum_to_it(
            which in 0..MODULI.len(),
            g in 1_u32..=3,
            y: u64,
            v: u128,
            random: u64,
            noise in -0.499_f64..0.499,
        ) {
            let modulus = WideModulus::new(MODULI[which]);
            let l = if which == 0 { 20 } else { 44 };
            let y = y & mask(l);
            let window = modulus.value() as f64 / f64::from(l + g).exp2();
            #[expect(clippy::cast_possible_truncation, reason = "a test value")]
            let noise = (noise * window) as i128;
            let noise = noise.rem_euclid(modulus.value().cast_signed()).cast_unsigned();
            let v = v % modulus.value();
            let phase = modulus.add(encode(y, l, &modulus, random), noise);
            let c0 = modulus.sub(phase, v);
            let sum = round(v, l + g, &modulus, Party::Client) + round(c0, l + g, &modulus, Party::Server);
            let delta = sum.wrapping_sub(y << g) & mask(l + g);
            prop_assert!(delta <= 1, "delta = {}", delta);
        }

        #[test]
        fn encoding_has_no_bias(which in 0..MODULI.len(), m in 0_u64..1 << 6) {
            let modulus = WideModulus::new(MODULI[which]);
            let encoded = (0..1 << 6).map(|random| encode(m, 6, &modulus, random));
            // The mean over all random values is q*m / 2^6 exactly.
            prop_assert_eq!(encoded.sum::<u128>(), modulus.value() * u128::from(m));
        }

        #[test]
        fn the_server_rounds_as_the_formula_says(which in 0..MODULI.len(), c0: u128, bits in 1_u32..50) {
            let modulus = WideModulus::new(MODULI[which]);
            let q = BigUint::from(modulus.value());
            let c0 = c0 % modulus.value();
            let exact = ((BigUint::from(c0) << (bits + 1)) + &q * 3_u32) / (q * 2_u32);
            let share = round(c0, bits, &modulus, Party::Server);
            prop_assert_eq!(BigUint::from(share), exact % (1_u64 << bits));
        }
    }
}
