//! The security table: how wide a ciphertext modulus may be at each ring degree.
//!
//! Bounds `log2` of the largest modulus ever used with a key, for a uniform ternary secret, error of
//! standard deviation 3.2 and 128 bits of classical security under the MATZOV cost model.
//! Source: [LatticeEstimator, BCC24].

/// Security level of every computational assumption in this project, in bits.
pub const COMPUTATIONAL_SECURITY_BITS: u32 = 128;

/// Statistical security of one inference, in bits.
pub const STATISTICAL_SECURITY_BITS: u32 = 40;

/// Largest width of the modulus in bits at ring degree N, or `None` for a degree not in the table.
#[must_use]
pub fn max_modulus_bits(ring_degree: usize) -> Option<u32> {
    match ring_degree {
        1024 => Some(26),
        2048 => Some(53),
        4096 => Some(106),
        8192 => Some(214),
        _ => None,
    }
}
