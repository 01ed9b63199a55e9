//! Parameter sets: the security table, the primes, key switching.

use super::*;

fn check(ring_degree: usize, modulus_bits: u32) -> Result<RlweParams, ParamsError> {
    RlweParams::check(RlweSpec::new(ring_degree, modulus_bits))
}

fn check_with(
    ring_degree: usize,
    modulus_bits: u32,
    special_bits: u32,
    digits: u32,
) -> Result<RlweParams, ParamsError> {
    let key_switch = Some(KeySwitchSpec { special_bits, digits });
    RlweParams::check(RlweSpec { ring_degree, modulus_bits, key_switch })
}

#[test]
fn the_security_table_has_no_way_round() {
    for (ring_degree, widest) in [(1024, 26), (2048, 53), (4096, 106)] {
        assert!(check(ring_degree, widest).is_ok());
        for special_bits in [0, 1, 15, 20] {
            let modulus_bits = widest + 1 - special_bits;
            let found = match special_bits {
                0 => check(ring_degree, modulus_bits),
                _ => check_with(ring_degree, modulus_bits, special_bits, 2),
            };
            let expected =
                ParamsError::Insecure { ring_degree, modulus_bits: widest + 1, max_bits: widest };
            assert_eq!(found, Err(expected));
        }
    }
    assert!(matches!(check_with(2048, 40, u32::MAX, 2), Err(ParamsError::Insecure { .. })));
    assert!(matches!(check(8192, 121), Err(ParamsError::ModulusBits { .. })));
    assert!(matches!(check(2048, 4), Err(ParamsError::ModulusBits { .. })));
    assert!(matches!(check(2047, 40), Err(ParamsError::RingDegree { .. })));
}

#[test]
fn key_switching_needs_a_prime_and_digits() {
    for (modulus_bits, special_bits, digits, expected) in [
        (38, 15, 3, Some((12_289, 13))),
        (33, 20, 2, Some((1_032_193, 17))),
        (38, 12, 3, None),
        (38, 15, 0, None),
        (38, 15, 5, None),
    ] {
        let found = check_with(2048, modulus_bits, special_bits, digits);
        let params = found.as_ref().ok().and_then(|params| params.key_switch());
        let found_params = params.map(|params| (params.special_prime, params.digit_bits));
        assert_eq!(found_params, expected, "{found:?}");
    }
    // The special prime is none of q's.
    let params = check_with(4096, 40, 40, 1).unwrap();
    assert!(params.primes().all(|prime| prime != params.key_switch().unwrap().special_prime));
}

#[test]
fn every_width_has_its_primes() {
    for ring_degree in RING_DEGREES {
        let widest = max_modulus_bits(ring_degree).unwrap().min(MAX_MODULUS_BITS);
        for bits in MIN_MODULUS_BITS..=widest {
            let params = check(ring_degree, bits).unwrap();
            let q = params.modulus();
            assert_eq!(u128::BITS - q.leading_zeros(), bits, "{params}");
            let mut primes: Vec<u64> = params.primes().collect();
            assert_eq!(primes.len(), bits.div_ceil(50) as usize, "{params}");
            assert_eq!(primes.iter().map(|&p| u128::from(p)).product::<u128>(), q, "{params}");
            for &prime in &primes {
                assert!(prime >> MAX_PRIME_BITS == 0 && prime >> (bits / 4) > 0, "{params}");
                assert_eq!(prime % (2 * ring_degree as u64), 1, "{params}");
            }
            primes.sort_unstable();
            primes.dedup();
            assert_eq!(primes.len(), params.limbs(), "{params}");
        }
    }
}

#[test]
fn a_plan_always_names_the_same_primes() {
    for (ring_degree, bits, primes) in
        [(1024, 26, &[67_104_769][..]), (2048, 50, &[1_125_899_906_826_241])]
    {
        let params = check(ring_degree, bits).unwrap();
        assert_eq!(params.primes().collect::<Vec<_>>(), primes, "{params}");
    }
}
