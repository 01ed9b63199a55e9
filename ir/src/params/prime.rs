//! Search for NTT primes: deterministic, so that a plan names primes by the width of their product alone.

/// The largest prime below `limit` that is 1 mod `2N`.
pub(super) fn largest_ntt_prime(limit: u64, ring_degree: usize) -> Option<u64> {
    let step = 2 * ring_degree as u64;
    let top = limit.checked_sub(2)? / step * step + 1;
    (1..=top).rev().step_by(ring_degree * 2).find(|&candidate| is_prime_vt(candidate))
}

/// Whether `n` is prime: Miller-Rabin with the bases that decide every 64-bit integer.
///
/// Time depends on `n`, which is public. Source: [SW17, Section 1].
fn is_prime_vt(n: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if n < 2 {
        return false;
    }
    if let Some(&base) = BASES.iter().find(|&&base| n.is_multiple_of(base)) {
        return n == base;
    }
    let twos = (n - 1).trailing_zeros();
    let odd = (n - 1) >> twos;
    BASES.iter().all(|&base| {
        let mut x = pow_mod_vt(base, odd, n);
        if x == 1 || x == n - 1 {
            return true;
        }
        (1..twos).any(|_| {
            x = mul_mod(x, x, n);
            x == n - 1
        })
    })
}

#[expect(clippy::cast_possible_truncation, reason = "a residue mod a u64 fits u64")]
fn mul_mod(a: u64, b: u64, n: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(n)) as u64
}

fn pow_mod_vt(mut base: u64, mut exponent: u64, n: u64) -> u64 {
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = mul_mod(result, base, n);
        }
        base = mul_mod(base, base, n);
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_trial_division() {
        let trial =
            |n: u64| n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
        for n in 0..5_000 {
            assert_eq!(is_prime_vt(n), trial(n), "{n}");
        }
        assert!(is_prime_vt((1 << 61) - 1));
        assert!(!is_prime_vt(3_215_031_751), "strong pseudoprime to bases 2, 3, 5, 7");
    }
}
