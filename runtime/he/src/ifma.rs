//! Residues mod a prime below 2^50, eight to a vector, by the 52-bit multiply-add of AVX-512 IFMA.
//!
//! The instructions multiply the low 52 bits of each lane and add the low or high half of the product,
//! so a lane may carry anything above bit 52 where only its value mod 2^52 is used. Shoup quotients are
//! `floor(value * 2^52 / q)` here. Source: [Har14, Section 3] with words of 52 bits.
#![expect(unsafe_code, reason = "loads and stores of vectors")]

use crate::modulus::{Modulus, low};
use std::arch::x86_64::*;

/// Widest prime of this path: lazy values stay below four primes, `2^52`.
const MAX_PRIME_BITS: u32 = 50;

/// Bits of a word of the multiplier.
pub(crate) const WORD_BITS: u32 = 52;

/// A prime below 2^50. Exists only if the processor has AVX-512F, DQ and IFMA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IfmaModulus {
    q: u64,
    /// `floor(2^52 / q)`.
    ratio: u64,
}

/// The constants of a modulus in every lane.
#[derive(Clone, Copy)]
pub(crate) struct Lanes {
    pub(crate) q: __m512i,
    pub(crate) two_q: __m512i,
    /// `2^52 - q`.
    negative_q: __m512i,
    /// `floor(2^52 / q)`, the quotient of 1.
    ratio: __m512i,
    mask: __m512i,
}

/// A factor and its Shoup quotient in the lanes.
#[derive(Clone, Copy)]
pub(crate) struct Factor {
    pub(crate) value: __m512i,
    pub(crate) quotient: __m512i,
}

impl IfmaModulus {
    /// The modulus, if this processor and this prime can take the path.
    pub(crate) fn new(modulus: &Modulus) -> Option<Self> {
        let supported = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512ifma");
        let q = modulus.value();
        let ratio = (1 << WORD_BITS) / q;
        (supported && q >> MAX_PRIME_BITS == 0).then_some(Self { q, ratio })
    }

    /// The prime.
    pub(crate) fn value(&self) -> u64 {
        self.q
    }

    /// The quotient of a constant factor.
    pub(crate) fn quotient(&self, factor: u64) -> u64 {
        low((u128::from(factor) << WORD_BITS) / u128::from(self.q))
    }

    /// The constants in vectors.
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    #[inline]
    pub(crate) fn lanes(&self) -> Lanes {
        Lanes {
            q: splat(self.q),
            two_q: splat(2 * self.q),
            negative_q: splat((1 << WORD_BITS) - self.q),
            ratio: splat(self.ratio),
            mask: splat((1 << WORD_BITS) - 1),
        }
    }
}

impl Lanes {
    /// The low 52 bits.
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    #[inline]
    pub(crate) fn word(&self, a: __m512i) -> __m512i {
        _mm512_and_si512(a, self.mask)
    }

    /// `addend + a*factor` mod 2^52 with a product in `[0, 2q)`, for any 52-bit `a`.
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    #[inline]
    pub(crate) fn multiply_add(&self, addend: __m512i, a: __m512i, factor: Factor) -> __m512i {
        let quotient = _mm512_madd52hi_epu64(_mm512_setzero_si512(), a, factor.quotient);
        let product = _mm512_madd52lo_epu64(addend, a, factor.value);
        _mm512_madd52lo_epu64(product, quotient, self.negative_q)
    }

    /// `a*factor` in `[0, 2q)`, for any 52-bit `a`.
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    #[inline]
    pub(crate) fn multiply(&self, a: __m512i, factor: Factor) -> __m512i {
        self.word(self.multiply_add(_mm512_setzero_si512(), a, factor))
    }

    /// Any 52-bit value as one in `[0, 2q)`.
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    #[inline]
    pub(crate) fn reduce(&self, a: __m512i) -> __m512i {
        let quotient = _mm512_madd52hi_epu64(_mm512_setzero_si512(), a, self.ratio);
        self.word(_mm512_madd52lo_epu64(a, quotient, self.negative_q))
    }

    /// A value below 4q as one below 2q.
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    #[inline]
    pub(crate) fn halve_range(&self, a: __m512i) -> __m512i {
        _mm512_min_epu64(a, _mm512_sub_epi64(a, self.two_q))
    }

    /// A value below 2q as a residue.
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    #[inline]
    pub(crate) fn normalise(&self, a: __m512i) -> __m512i {
        _mm512_min_epu64(a, _mm512_sub_epi64(a, self.q))
    }
}

/// One word in every lane.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn splat(word: u64) -> __m512i {
    _mm512_set1_epi64(word.cast_signed())
}

/// A factor and its quotient in every lane.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn splat_factor([value, quotient]: [u64; 2]) -> Factor {
    Factor { value: splat(value), quotient: splat(quotient) }
}

/// Eight words.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn load(words: &[u64; 8]) -> __m512i {
    // SAFETY: reads the 64 bytes of the array; the instruction needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

/// Writes eight words.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn store(words: &mut [u64; 8], value: __m512i) {
    // SAFETY: writes the 64 bytes of the array; the instruction needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), value) }
}

/// Four words, twice.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn load_four(words: &[u64; 4]) -> __m512i {
    // SAFETY: reads the 32 bytes of the array; the instruction needs no alignment.
    _mm512_broadcast_i64x4(unsafe { _mm256_loadu_si256(words.as_ptr().cast()) })
}

/// Two words, four times.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
pub(crate) fn load_two(words: &[u64; 2]) -> __m512i {
    // SAFETY: reads the 16 bytes of the array; the instruction needs no alignment.
    _mm512_broadcast_i64x2(unsafe { _mm_loadu_si128(words.as_ptr().cast()) })
}
